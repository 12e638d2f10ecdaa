"""One run writes a journal; the second stops at once and names the first."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from akool_async._journal import lock as lock_module
from akool_async._journal import open_journal
from akool_async._journal.lock import JournalLock
from akool_async._model.errors import JournalError, JournalLockedError
from akool_async._model.states import State
from tests.journal.conftest import StillClock, video

HOLD = """
import sys, anyio
from akool_async._model.requests import TranslationRequest
from akool_async._journal import open_journal

async def main():
    async with open_journal(sys.argv[1]) as journal:
        await journal.intend(TranslationRequest(url="https://e.com/v.mp4", targets="ja", key="talk"))
        print("held", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)

anyio.run(main)
"""


@contextmanager
def another_run(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes the journal until its input ends."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


async def test_a_second_process_stops_at_once_and_names_the_first(path: Path) -> None:
    with another_run(path) as first:
        with pytest.raises(JournalLockedError) as caught:
            async with open_journal(path):
                pass

        assert caught.value.pid == first.pid
        assert caught.value.host == socket.gethostname()
        assert str(first.pid) in str(caught.value)
        assert caught.value.since in str(caught.value)
        async with open_journal(path, read_only=True) as journal:
            assert journal.counts()[State.SUBMITTING] == 1


async def test_the_error_of_a_lock_says_what_another_journal_would_cost(path: Path) -> None:
    async with open_journal(path):
        with pytest.raises(JournalLockedError) as caught:
            async with open_journal(path):
                pass

    assert "Another journal would not know what is paid, and pay again." in str(caught.value)


async def test_the_lock_is_free_when_its_holder_was_killed(path: Path) -> None:
    with another_run(path) as first:
        first.kill()
        first.wait()
        async with open_journal(path) as journal:
            assert journal.recovered_count == 1


async def test_the_lock_is_free_when_its_holder_has_ended(path: Path) -> None:
    with another_run(path) as first:
        assert first.stdin is not None
        first.stdin.close()
        assert first.wait() == 0
        async with open_journal(path) as journal:
            assert journal.counts()[State.IN_DOUBT] == 1


async def test_a_second_opening_in_one_process_stops_too(path: Path, clock: StillClock) -> None:
    async with open_journal(path, now=clock.now) as journal:
        with pytest.raises(JournalLockedError) as caught:
            async with open_journal(str(path)):
                pass
        await journal.intend(video())

        assert caught.value.pid == os.getpid()
        assert caught.value.since == "2026-03-01T12:00:00+00:00"
    async with open_journal(path):
        pass


async def test_a_reader_is_told_who_writes_and_takes_nothing_away(path: Path) -> None:
    async with open_journal(path):
        pass
    async with open_journal(path, read_only=True) as journal:
        assert journal.find_lock_holder() is None
        with another_run(path) as first:
            held = journal.find_lock_holder()
        first.wait()

        assert held is not None
        assert held.pid == first.pid
        assert str(first.pid) in held.message
        assert journal.find_lock_holder() is None
    async with open_journal(path) as journal:
        assert journal.find_lock_holder() is None


async def test_somebody_who_only_looks_does_not_stop_a_run(path: Path) -> None:
    async with open_journal(path):
        pass
    looks = anyio.Event()

    def look() -> None:
        for _ in range(3000):
            JournalLock(path).holder()

    async def keep_looking() -> None:
        await anyio.to_thread.run_sync(look)
        looks.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep_looking)
        while not looks.is_set():
            async with open_journal(path):
                pass


async def test_a_link_to_a_journal_is_the_same_journal(path: Path) -> None:
    link = path.with_name("link.sqlite3")
    link.symlink_to(path)
    async with open_journal(path):
        with pytest.raises(JournalLockedError):
            async with open_journal(link):
                pass


@pytest.mark.parametrize(
    "text", [b"", b"\x00\xff", b"[1]", b'{"pid": "x\\u001b[31m", "host": 7, "since": null}']
)
async def test_a_lock_file_with_nonsense_in_it_says_nothing(path: Path, text: bytes) -> None:
    async with open_journal(path):
        path.with_name("jobs.sqlite3.lock").write_bytes(text)
        with pytest.raises(JournalLockedError) as caught:
            async with open_journal(path):
                pass

    assert caught.value.pid is None
    assert "\x1b" not in str(caught.value)


# What is at the lock's name, and is no lock.


async def refused(path: Path, match: str) -> None:
    with anyio.fail_after(55), pytest.raises(JournalError, match=match):
        async with open_journal(path):
            pass


async def test_a_link_at_the_locks_name_is_not_followed(path: Path) -> None:
    other = path.with_name("thesis.txt")
    other.write_text("mine")
    path.with_name("jobs.sqlite3.lock").symlink_to(other)
    await refused(path, "lock .* can't be opened")

    assert other.read_text() == "mine"
    assert not path.exists()


async def test_a_hard_link_at_the_locks_name_is_not_written(path: Path) -> None:
    other = path.with_name("thesis.txt")
    other.write_text("{}")
    path.with_name("jobs.sqlite3.lock").hardlink_to(other)
    await refused(path, "several names")

    assert other.read_text() == "{}"


@pytest.mark.parametrize("content", [b"mine", b"SQLite format 3\0", b"[1]", b"\xff"])
async def test_another_file_at_the_locks_name_is_not_overwritten(path: Path, content: bytes) -> None:
    other = path.with_name("jobs.sqlite3.lock")
    other.write_bytes(content)
    await refused(path, "another file, not a lock")

    assert other.read_bytes() == content
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", bytes(512), b"{}\n"])
async def test_a_lock_that_says_nothing_is_a_lock(path: Path, content: bytes) -> None:
    path.with_name("jobs.sqlite3.lock").write_bytes(content)
    async with open_journal(path):
        pass


async def test_a_pipe_at_the_locks_name_hangs_nobody(path: Path) -> None:
    os.mkfifo(path.with_name("jobs.sqlite3.lock"))
    await refused(path, "not a regular file")

    assert JournalLock(path).holder() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_a_lock_of_another_user_is_refused(path: Path) -> None:
    lock = path.with_name("jobs.sqlite3.lock")
    lock.touch()
    os.chown(lock, 65534, 65534)
    await refused(path, "another user")

    assert lock.read_bytes() == b""


# One file under several names.


async def test_a_journal_with_a_hard_link_is_refused(path: Path) -> None:
    async with open_journal(path):
        pass
    link = path.with_name("link.sqlite3")
    link.hardlink_to(path)
    before = path.read_bytes()
    for name in (path, link):
        await refused(name, "2 names")
    assert path.read_bytes() == before
    assert not path.with_name("link.sqlite3-wal").exists()

    link.unlink()
    async with open_journal(path):
        pass


async def test_a_journal_that_is_mounted_by_itself_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As `docker run -v jobs.sqlite3:/jobs.sqlite3` does; its log would stay in the container."""
    async with open_journal(path):
        pass
    named = path.with_name("my jobs.sqlite3")
    path.rename(named)
    point = str(named).replace(" ", r"\040")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        f"35 29 254:0 /a /b rw - ext4 /dev/vda rw\n36 29 254:0 /x {point} rw - ext4 /dev/vda rw\n"
    )
    monkeypatch.setattr(lock_module, "MOUNTS", mounts)
    await refused(named, "mounted as a single file")

    mounts.write_text(f"36 29 254:0 /x {path.parent} rw - ext4 /dev/vda rw\n")
    async with open_journal(named):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="needs locks of an open file")
async def test_a_journal_that_was_moved_while_a_run_writes_it_has_no_second_writer(path: Path) -> None:
    moved = path.with_name("moved.sqlite3")
    with another_run(path):
        path.rename(moved)
        with pytest.raises(JournalLockedError, match="another path"):
            async with open_journal(moved):
                pass
    async with open_journal(path.with_name("own.sqlite3")):
        path.with_name("own.sqlite3").rename(path.with_name("own-moved.sqlite3"))
        with pytest.raises(JournalLockedError, match="another path"):
            async with open_journal(path.with_name("own-moved.sqlite3")):
                pass


@pytest.mark.skipif(sys.platform != "linux", reason="needs locks of an open file")
async def test_a_lock_that_was_deleted_lets_no_second_run_in(path: Path) -> None:
    with another_run(path):
        path.with_name("jobs.sqlite3.lock").unlink()
        with pytest.raises(JournalLockedError):
            async with open_journal(path):
                pass


# Fork.

FORK = """
import os, sys, time, anyio
from akool_async import TranslationRequest, open_journal
from akool_async._model.errors import JournalClosedError

async def main():
    async with open_journal(sys.argv[1]) as journal:
        await journal.intend(TranslationRequest(url="https://e.com/v.mp4", targets="ja", key="parent"))
        child = os.fork()
        if child == 0:
            for use in (lambda: journal.get("parent", "ja"), journal.counts):
                try:
                    use()
                except JournalClosedError as error:
                    assert "parent" in str(error), error
                else:
                    os._exit(3)
            try:
                await journal.intend(TranslationRequest(url="https://e.com/v.mp4", targets="ja", key="child"))
            except JournalClosedError:
                pass
            else:
                os._exit(4)
            if sys.argv[2] == "leaves":
                await journal.__aexit__(None, None, None)
                os._exit(0)
            print("forked", flush=True)
            sys.stdin.read()
            os._exit(0)
        if sys.argv[2] == "leaves":
            assert os.waitpid(child, 0)[1] == 0, "the child failed"
            print("forked", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)
        await journal.intend(TranslationRequest(url="https://e.com/v.mp4", targets="ja", key="later"))

anyio.run(main)
"""


@contextmanager
def a_run_that_forks(path: Path, child: str) -> Iterator[subprocess.Popen[str]]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", FORK, str(path), child],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "forked\n"
        yield process


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
async def test_a_forked_child_that_ends_gives_the_lock_of_its_parent_away_to_nobody(path: Path) -> None:
    with a_run_that_forks(path, "leaves") as run:
        with pytest.raises(JournalLockedError) as caught:
            async with open_journal(path):
                pass
        assert caught.value.pid == run.pid
        assert run.stdin is not None
        run.stdin.close()
        assert run.wait() == 0

    async with open_journal(path) as journal:
        assert {entry.key async for entry in journal.entries()} == {"parent", "later"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
async def test_the_lock_of_a_killed_run_is_free_although_a_child_of_it_lives(path: Path) -> None:
    with a_run_that_forks(path, "stays") as run:
        run.kill()
        run.wait()
        async with open_journal(path) as journal:
            assert journal.recovered_count == 1


async def test_files_are_the_owners_alone_from_the_first_moment(path: Path) -> None:
    mask = os.umask(0)
    try:
        async with open_journal(path) as journal:
            await journal.intend(video())
            files = sorted(path.parent.iterdir())
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in files}
    finally:
        os.umask(mask)

    names = ["jobs.sqlite3", "jobs.sqlite3-shm", "jobs.sqlite3-wal", "jobs.sqlite3.lock"]
    assert modes == dict.fromkeys(names, 0o600)
    assert sorted(file.name for file in path.parent.iterdir()) == ["jobs.sqlite3", "jobs.sqlite3.lock"]
