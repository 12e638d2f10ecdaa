"""The inbox: what one process writes another reads, in order, each once, whatever happens to either."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import closing
from datetime import datetime, tzinfo
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskStatus

from akool_async import InboxError
from akool_async._model.responses import Callback
from akool_async.webhook import WebhookReceiver, open_inbox
from akool_async.webhook import inbox as file
from akool_async.webhook.inbox import InboxFile
from tests.client.moments import until

from .conftest import JOB, TOKEN, Ear, body, looked_at, receiver


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


def told(number: int = 1, status: int | None = 3) -> Callback:
    return Callback(job_id=f"{number:024x}", token=f"{number:032x}", status=status)


async def heard(ear: Ear, count: int) -> None:
    await until(lambda: len(ear.heard) >= count)


async def test_what_was_answered_is_kept_though_the_receivers_task_is_cancelled(tmp_path: Path) -> None:
    """As when a service shuts its group of tasks down: the vendor takes what was answered for delivered."""
    ear = Ear()

    async def serve(task_status: TaskStatus[WebhookReceiver]) -> None:
        async with receiver(inbox=tmp_path / "inbox") as door:
            door.subscribe(ear)
            task_status.started(door)
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        door = await tasks.start(serve)
        for number in range(1, 21):
            assert door.receive(body(f"{number:024}"), f"/{number:032x}") == 200
        tasks.cancel_scope.cancel()

    assert len(ear.heard) == 20
    async with open_inbox(tmp_path / "inbox") as inbox:
        assert all(inbox.callbacks_for(f"{number:032x}") for number in range(1, 21))


async def test_a_listener_that_fails_ends_neither_the_inbox_nor_the_block(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def on_callback(self, callback: Callback) -> None:
            raise ValueError(callback.token)

    ear = Ear()
    async with receiver(inbox=tmp_path / "inbox") as door, open_inbox(tmp_path / "inbox") as inbox:
        inbox.subscribe(Broken())
        inbox.subscribe(ear)
        for number in (1, 2):
            door.receive(body(f"{number:024}"), f"/{number:032x}")
            await heard(ear, number)

    assert "A listener failed" in caplog.text


async def test_what_a_receiver_writes_is_read_by_another(tmp_path: Path) -> None:
    ear = Ear()
    async with receiver(inbox=tmp_path / "inbox") as door, open_inbox(tmp_path / "inbox") as inbox:
        detach = inbox.subscribe(ear)
        for number in range(250):
            door.receive(body(f"{number:024}", 2), f"/{number:032x}")
        await looked_at(door)
        await heard(ear, 250)
        detach()
        door.receive(body(status=3), f"/{TOKEN}")
        await looked_at(door)

    assert [callback.token for callback in ear.heard] == [f"{number:032x}" for number in range(250)]
    assert ear.heard[7] == Callback(job_id=f"{7:024}", token=f"{7:032x}", status=2)


async def test_what_came_while_nobody_read_is_found(tmp_path: Path) -> None:
    ear = Ear()
    async with receiver(inbox=tmp_path / "inbox") as door:
        for status in (2, 3):
            door.receive(body(status=status), f"/{TOKEN}")
    async with open_inbox(tmp_path / "inbox") as inbox:
        inbox.subscribe(ear)

        assert inbox.callbacks_for(TOKEN) == tuple(
            Callback(job_id=JOB, token=TOKEN, status=status) for status in (2, 3)
        )
        assert inbox.callbacks_for("f" * 32) == ()
    assert inbox.callbacks_for(TOKEN) == ()
    assert ear.heard == []


def test_each_callback_is_kept_once(tmp_path: Path) -> None:
    with closing(InboxFile(tmp_path / "inbox")) as inbox:
        for _ in range(3):
            inbox.write([told(), told(status=2), told(status=None)])

        assert [callback for _, callback in inbox.since(0)] == [told(), told(status=2), told(status=None)]


def test_only_the_owner_can_read_it_and_no_secret_is_in_it(tmp_path: Path) -> None:
    with closing(InboxFile(tmp_path / "inbox")) as inbox:
        inbox.write([told()])
        modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    with closing(sqlite3.connect(tmp_path / "inbox")) as read:
        columns = {row[1] for row in read.execute("PRAGMA table_info(callback)")}

    assert modes == {0o600}
    assert columns == {"id", "token", "job_id", "status", "repeated", "came_at"}


def test_too_many_are_deleted_and_numbers_never_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "MAX_ROWS", 5)
    with closing(InboxFile(tmp_path / "inbox")) as inbox:
        inbox.write(map(told, range(9)))
        inbox._prune()
        assert [number for number, _ in inbox.since(0)] == [5, 6, 7, 8, 9]
        inbox._connection.execute("DELETE FROM callback")
    with closing(InboxFile(tmp_path / "inbox")) as inbox:
        assert inbox.last_id() == 0
        inbox.write([told()])
        assert inbox.since(9)[0][0] == 10


@pytest.mark.parametrize("replaced", [True, False])
def test_an_inbox_that_is_gone_is_told_by_who_writes_and_who_reads(tmp_path: Path, replaced: bool) -> None:
    """What is written to it then would be read by nobody."""
    path = tmp_path / "inbox"
    with closing(InboxFile(path)) as inbox:
        inbox.write([told()])
        kept = path.rename(tmp_path / "kept")
        if replaced:
            path.touch(0o600)
        for act in (partial(inbox.write, [told(2)]), inbox.data_version):
            with pytest.raises(InboxError, match="replaced" if replaced else "deleted"):
                act()

        kept.replace(path)
        inbox.write([told(2)])
        assert len(inbox.since(0)) == 2


def test_random_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    seed = int(os.environ.get("INBOX_SEED") or random.SystemRandom().randrange(10**9))
    print(f"INBOX_SEED={seed}")
    chance = random.Random(seed)
    with closing(InboxFile(tmp_path / "whole")) as inbox:
        inbox.write(map(told, range(200)))
    whole = (tmp_path / "whole").read_bytes()
    ended = {"refused": 0, "harmless": 0}
    for number in range(60):
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 3, 30])):
            at = chance.randrange(chance.choice([4096, len(damaged)]))
            damaged[at : at + 8] = chance.randbytes(8)
        path = tmp_path / f"inbox-{number}"
        path.write_bytes(damaged)
        try:
            with closing(InboxFile(path)) as inbox:
                callbacks = [callback for _, callback in inbox.since(inbox.last_id() - 100)]
                inbox.find(TOKEN)
                inbox.write([told()])
        except InboxError:
            ended["refused"] += 1
        else:
            assert all(type(one.job_id) is type(one.token) is str for one in callbacks)
            ended["harmless"] += 1
    print(ended)
    assert all(ended.values())


def test_a_damaged_name_is_told_though_its_error_is_no_text(tmp_path: Path) -> None:
    """SQLite quotes it in its error, and Python can't decode that."""
    path = tmp_path / "inbox"
    with closing(InboxFile(path)) as inbox:
        inbox.write([told()])
    path.write_bytes(path.read_bytes().replace(b"tablecallback", b"tablecallb\xfcck"))

    with pytest.raises(InboxError) as caught, closing(InboxFile(path)) as inbox:
        inbox.write([told(1)])
    assert isinstance(caught.value.__cause__, UnicodeDecodeError)


@pytest.mark.parametrize("days", [-400, 9, 400])
def test_a_clock_that_is_off_deletes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    class Off(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Off:  # type: ignore[override]
            return cls.fromtimestamp(datetime.now(tz).timestamp() + days * 86_400, tz)

    with closing(InboxFile(tmp_path / "inbox")) as inbox:
        inbox.write([told(1)])
    with monkeypatch.context() as clock:
        clock.setattr(file, "datetime", Off)
        with closing(InboxFile(tmp_path / "inbox")) as inbox:
            inbox.write([told(2)])
            inbox._prune()
    with closing(InboxFile(tmp_path / "inbox")) as inbox:
        inbox._prune()
        assert [callback for _, callback in inbox.since(0)] == [told(1), told(2)]


def test_what_is_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"a text, and long enough to be no header of anything else" * 20)
    with closing(sqlite3.connect(tmp_path / "other")) as other:
        other.execute("CREATE TABLE mine (x)")
    with closing(InboxFile(tmp_path / "newer")) as newer:
        newer._connection.execute("PRAGMA user_version = 2")
    for name in ("text", "other", "newer", "missing/inbox"):
        before = (tmp_path / name).read_bytes() if (tmp_path / name).exists() else b""
        with pytest.raises(InboxError):
            InboxFile(tmp_path / name)
        assert ((tmp_path / name).read_bytes() if before else b"") == before


def lay(kind: str, trap: Path, victim: Path) -> None:
    """Lay a trap where an inbox, or a file of SQLite's beside it, would be."""
    if kind == "link":
        trap.symlink_to(victim)
    elif kind == "dangling link":
        trap.symlink_to(victim.with_name("not there"))
    elif kind == "hard link":
        os.link(victim, trap)
    elif kind == "pipe":
        os.mkfifo(trap)
    elif kind == "folder":
        trap.mkdir()
    else:
        shutil.copy(victim, trap)
        os.chown(trap, 12345, 12345)


@pytest.mark.parametrize("beside", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "pipe", "folder", "another user's"])
def test_a_trap_where_the_inbox_should_be_is_told_and_not_touched(
    tmp_path: Path, kind: str, beside: str
) -> None:
    if kind == "another user's" and os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    victim, trap = tmp_path / "victim", tmp_path / f"inbox{beside}"
    with closing(InboxFile(victim)) as inbox:
        inbox.write([told()])
    if beside:
        InboxFile(tmp_path / "inbox").close()
    lay(kind, trap, victim)
    before = victim.read_bytes()

    with pytest.raises(InboxError, match=r"link, a pipe or another user's file\. It was not opened"):
        InboxFile(tmp_path / "inbox")

    assert victim.read_bytes() == before
    assert not (tmp_path / "not there").exists()
    assert trap.is_symlink() or trap.exists()


def test_a_file_put_in_its_place_while_it_is_opened_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = file._create

    def swapped(path: Path) -> os.stat_result:
        checked = create(path)
        path.rename(tmp_path / "before")
        path.write_bytes(b"")
        return checked

    monkeypatch.setattr(file, "_create", swapped)
    with pytest.raises(InboxError, match="was replaced while it was open"):
        InboxFile(tmp_path / "inbox")


async def test_a_pipe_in_its_place_does_not_stop_a_batch_from_reading_the_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "inbox")
    with anyio.fail_after(40), pytest.raises(InboxError, match="a pipe"):
        async with open_inbox(tmp_path / "inbox"):
            pass


def test_processes_make_and_write_one_file_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from akool_async.webhook.inbox import InboxFile\n"
        "from akool_async._model.responses import Callback\n"
        "inbox = InboxFile(sys.argv[1])\n"
        "for n in range(20): inbox.write([Callback(job_id=f'{sys.argv[2]}-{n}', token='t', status=2)])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "inbox")]
    runs = [subprocess.Popen([*command, str(number)]) for number in range(3)]
    try:
        assert [run.wait(250) for run in runs] == [0, 0, 0]
    finally:
        for run in runs:
            run.kill()
            run.wait()
    with closing(InboxFile(tmp_path / "inbox")) as inbox:
        assert len(inbox.find("t")) == 60


def test_one_that_another_process_makes_meanwhile_is_no_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = InboxFile._has_tables

    def slow(self: InboxFile) -> bool:
        monkeypatch.setattr(InboxFile, "_has_tables", usual)
        InboxFile(tmp_path / "inbox").close()
        return usual(self)

    monkeypatch.setattr(InboxFile, "_has_tables", slow)
    with closing(InboxFile(tmp_path / "inbox")) as inbox:
        inbox.write([told()])
        assert inbox.last_id() == 1


async def test_trouble_while_reading_is_told_once_and_waited_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ear, broken, looks = Ear(), [True], itertools.count()
    after = InboxFile.since

    def sometimes(self: InboxFile, number: int):
        if broken:
            if next(looks) == 10:
                broken.clear()
            raise InboxError("The inbox could not be read: disk I/O error.")
        return after(self, number)

    monkeypatch.setattr("akool_async.webhook.inbox.POLL_INTERVAL", 0.005)
    monkeypatch.setattr(InboxFile, "since", sometimes)
    async with open_inbox(tmp_path / "inbox") as inbox:
        inbox.subscribe(ear)
        with closing(InboxFile(tmp_path / "inbox")) as other:
            other.write([told()])
        await heard(ear, 1)

    assert caplog.text.count("disk I/O error") == 1


async def test_what_can_not_be_written_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    full = [True]
    write = InboxFile.write

    def sometimes(self: InboxFile, callbacks):
        if full:
            raise InboxError("The inbox could not be written: disk full.")
        write(self, callbacks)

    monkeypatch.setattr(InboxFile, "write", sometimes)
    async with receiver(inbox=tmp_path / "inbox") as door:
        door.receive(body(status=2), f"/{TOKEN}")
        await until(lambda: door.statistics().write_errors)
        full.clear()
        door.receive(body(status=3), f"/{TOKEN}")
    async with open_inbox(tmp_path / "inbox") as inbox:
        assert [callback.status for callback in inbox.callbacks_for(TOKEN)] == [2, 3]
    assert "disk full" in caplog.text


async def test_what_could_not_be_written_is_tried_again_without_another_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failures = InboxFile.write, [InboxError("The inbox could not be written: disk full.")] * 3

    def recovering(self: InboxFile, callbacks: Iterable[Callback]) -> None:
        if failures:
            raise failures.pop()
        write(self, callbacks)

    monkeypatch.setattr(InboxFile, "write", recovering)
    monkeypatch.setattr("akool_async.webhook.receiver._WRITE_RETRY", 0.01)
    async with receiver(inbox=tmp_path / "inbox") as door, open_inbox(tmp_path / "inbox") as inbox:
        door.receive(body(), f"/{TOKEN}")
        await until(lambda: inbox.callbacks_for(TOKEN))

    assert door.statistics().write_errors == 3


async def test_a_slow_disk_does_not_keep_bodies_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, go = InboxFile.write, threading.Event()

    def slow(self: InboxFile, callbacks: Iterable[Callback]) -> None:
        go.wait(50)
        write(self, callbacks)

    monkeypatch.setattr(InboxFile, "write", slow)
    async with receiver(inbox=tmp_path / "inbox", queue_size=10) as door:
        for number in range(5):
            door.receive(body(f"{number:024}", 2), f"/{number:032x}")
            await looked_at(door)
        assert door.statistics().delivered == 5
        go.set()
    async with open_inbox(tmp_path / "inbox") as inbox:
        assert all(inbox.callbacks_for(f"{number:032x}") for number in range(5))


async def test_an_inbox_that_can_not_be_used_stops_the_receiver_at_once(tmp_path: Path) -> None:
    with pytest.raises(InboxError, match="missing"):
        async with receiver(inbox=tmp_path / "missing" / "inbox"):
            pass


@pytest.mark.parametrize("ending", ["-wal", "-shm", "-journal", ".lock"])
async def test_no_inbox_gets_a_name_that_belongs_beside_a_journal(tmp_path: Path, ending: str) -> None:
    place = tmp_path / f"jobs.sqlite3{ending}"
    with pytest.raises(InboxError, match="is that of a file that is kept beside jobs") as caught:
        async with open_inbox(place):
            pass

    assert "overwritten or deleted" in caught.value.impact
    assert not place.exists()
