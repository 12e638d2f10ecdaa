"""A journal that was moved into a ledger is retired: no later run on it pays for anything."""

from __future__ import annotations

import asyncio
import errno
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import anyio
import attrs
import pytest

from akool_async import JournalOlderError, JournalWriteError, Snapshot, State, open_journal
from akool_async._journal import EntryUpdate
from akool_async._journal.lock import JournalLock, Watermark
from akool_async._journal.store import Store
from akool_async.ledger import Ledger, NotSent, open_ledger
from tests.cli.vendor import served
from tests.ledger.conftest import Bench, video
from tests.postgres import new_database

KEY = "canary-4f9c1b7e2a"


def akool(folder: Path, host: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "PYTHONPATH": ":".join(sys.path),
        "AKOOL_API_KEY": KEY,
        "AKOOL_API_HOST": host,
    }
    command = [sys.executable, "-W", "ignore", "-m", "akool_async", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_a_journal_that_was_moved_pays_for_nothing_any_more(tmp_path: Path) -> None:
    rows = "".join(f"https://example.com/{number}.mp4,ja\n" for number in range(3))
    (tmp_path / "one.csv").write_text("url,languages\nhttps://example.com/0.mp4,ja\n", encoding="utf-8")
    (tmp_path / "all.csv").write_text("url,languages\n" + rows, encoding="utf-8")
    with served(KEY) as vendor:

        def run_until_paid(jobs: int, *words: str) -> None:
            """Run, and give up soon, until so many were made: none of them ends."""
            for _ in range(20):
                done = akool(
                    tmp_path, vendor.base_url, "run", *words, "--yes", "--no-check", "--give-up-after", "1s"
                )
                if len(vendor.ledger()["jobs"]) >= jobs:
                    break
            assert len(vendor.ledger()["jobs"]) == jobs, done.stderr

        run_until_paid(1, "one.csv")
        moved = akool(
            tmp_path, vendor.base_url, *("enqueue", "--from-journal", "results", "--ledger", new_database())
        )
        assert moved.returncode == 0, moved.stderr
        assert "retired" in moved.stderr + moved.stdout
        for words in (("run", "all.csv", "--yes", "--no-check"), ("resume",), ("retry", "--failed", "--yes")):
            refused = akool(tmp_path, vendor.base_url, *words)
            if words[0] != "retry":  # which has nothing to pay for again
                assert refused.returncode == 1, refused.stderr
                assert "moved to the ledger" in refused.stderr
        assert akool(tmp_path, vendor.base_url, "status").returncode == 0
        assert len(vendor.ledger()["jobs"]) == 1

        run_until_paid(3, "all.csv", "--accept-older-journal")


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_a_retry_asks_before_it_spends(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text(
        "url,languages,key\nhttps://example.com/0.mp4,ja,talk\n", encoding="utf-8"
    )
    ledger = ("--ledger", new_database())
    with served(KEY) as vendor:
        vendor.fault(on="create", kind="code", code=1003, limit=1)
        assert akool(tmp_path, vendor.base_url, "enqueue", "one.csv", *ledger).returncode == 0
        worker = akool(
            tmp_path, vendor.base_url, "worker", "--name", "one", "--out", "out", "--until-done", *ledger
        )
        assert '"failed"' in akool(tmp_path, vendor.base_url, "status", "--json", *ledger).stdout, (
            worker.stderr
        )

        unasked = akool(tmp_path, vendor.base_url, "retry", "--failed", *ledger)
        unknown = akool(tmp_path, vendor.base_url, "retry", "tour", "--yes", *ledger)
        assert (unasked.returncode, unknown.returncode) == (2, 2)
        assert "--yes" in unasked.stderr
        assert "'tour'" in unknown.stderr
        assert '"failed"' in akool(tmp_path, vendor.base_url, "status", "--json", *ledger).stdout

        assert akool(tmp_path, vendor.base_url, "retry", "talk", "--yes", *ledger).returncode == 0
        assert '"planned"' in akool(tmp_path, vendor.base_url, "status", "--json", *ledger).stdout
        assert vendor.ledger()["jobs"] == []


ORDERS = [video(number) for number in range(3)]


@pytest.fixture
async def journal(tmp_path: Path) -> Path:
    """Make a journal of a service that was stopped before it sent two of its orders."""
    path = tmp_path / "jobs.sqlite3"
    async with open_journal(path) as opened:
        for order in ORDERS:
            request = attrs.evolve(order, url=str(order.url).partition("?")[0])
            if order is ORDERS[0]:
                await opened.intend(request, token="token")
                await opened.record(
                    EntryUpdate(key="video-0", target="ja", state=State.SUBMITTED, job_id="job-0")
                )
            else:
                key = order.key or ""
                await opened.record(EntryUpdate(key=key, target="ja", state=State.PLANNED, request=request))
    return path


def killed(*_: object) -> None:
    raise KilledError


class KilledError(Exception):
    """The process ended there."""


def unsent(work: list[tuple[str, str, int]]) -> list[str]:
    return [key for key, _, _ in work]


async def test_nobody_pays_in_the_ledger_before_the_journal_is_retired(
    bench: Bench, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(Store, "retire", killed)
        await bench.ledger.move_journal(journal)
    assert unsent(await bench.ledger.open_work(State.PLANNED)) == []
    assert await bench.ledger.count_unreleased() == (0, 2)
    await bench.ledger.plan([video(1)])  # its journal may be in use: a catalog does not say that it is not
    assert isinstance(await bench.ledger.submit_once(bench.client, video(1)), NotSent)
    assert bench.sandbox.audit.creates == ()

    # The journal is in use again: one of its orders is sent.
    async with open_journal(journal) as opened:
        await opened.intend(attrs.evolve(ORDERS[1], url="https://media.example/1.mp4"), token="again")
        await opened.record(EntryUpdate(key="video-1", target="ja", state=State.SUBMITTED, job_id="job-1"))
    assert await bench.ledger.move_journal(journal) == 3
    assert unsent(await bench.ledger.open_work(State.PLANNED)) == ["video-2"]
    assert sorted(unsent(await bench.ledger.open_work(State.SUBMITTED))) == ["video-0", "video-1"]
    assert await bench.ledger.count_unreleased() == (0, 0)


async def test_a_move_that_was_killed_after_the_journal_was_retired_is_ended_by_the_same_call(
    bench: Bench, database: str, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(Ledger, "release", killed)
        await bench.ledger.move_journal(journal)
    assert unsent(await bench.ledger.open_work(State.PLANNED)) == []
    async with open_ledger(new_database()) as another:
        with pytest.raises(JournalOlderError):
            await another.move_journal(journal)

    assert await bench.ledger.move_journal(journal) == 3
    assert unsent(await bench.ledger.open_work(State.PLANNED)) == ["video-1", "video-2"]
    with pytest.raises(JournalOlderError):
        await bench.ledger.move_journal(journal)


async def test_a_move_whose_caller_is_cancelled_is_ended(bench: Bench, journal: Path) -> None:
    async with open_ledger(bench.url) as other:
        task = asyncio.create_task(other.move_journal(journal))
        await anyio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert unsent(await bench.ledger.open_work(State.PLANNED)) == ["video-1", "video-2"]
    with pytest.raises(JournalOlderError):
        async with open_journal(journal):
            pass


async def test_a_journal_that_can_not_be_retired_leaves_nothing_that_both_pay(
    bench: Bench, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    real = JournalLock.remember

    def remember(lock: JournalLock, watermark: Watermark | None) -> None:
        return full() if watermark and watermark.moved else real(lock, watermark)

    with monkeypatch.context() as patch, pytest.raises(JournalWriteError):
        patch.setattr(JournalLock, "remember", remember)
        await bench.ledger.move_journal(journal)

    assert unsent(await bench.ledger.open_work(State.PLANNED)) == []
    assert await bench.ledger.move_journal(journal) == 3


async def test_a_journal_that_was_retired_says_where_it_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite3"
    async with open_journal(path) as journal:
        await journal.retire("another place")
    with pytest.raises(JournalOlderError, match="another place"):
        async with open_journal(path):
            pass
    async with open_journal(path, read_only=True) as journal:
        assert journal.counts()[State.PLANNED] == 0
        assert "another place" in str(journal.find_older_error())
    async with open_journal(path, accept_older=True):
        pass
    async with open_journal(path):
        pass


@pytest.mark.parametrize("where", ["journal", "ledger"])
async def test_an_entry_whose_job_another_one_has_is_moved_as_a_doubt(
    bench: Bench, tmp_path: Path, where: str
) -> None:
    """As a vendor's wrong answer left it in an earlier version's journal."""
    path = tmp_path / "j.sqlite3"
    async with open_journal(path) as opened:
        for number in (1, 2):
            await opened.intend(video(number))
            job_id, key = f"{number:024x}", f"video-{number}"
            for state in (State.SUBMITTED, State.COMPLETED):
                await opened.record(EntryUpdate(key=key, target="ja", state=state, job_id=job_id))
        saved = EntryUpdate(key="video-2", target="ja", state=State.DELIVERED, files=["2.ja.mp4"])
        await opened.record(attrs.evolve(saved, snapshot=Snapshot(job_id="", credits_used=4.0)))
    if where == "ledger":  # the other entry was moved with another journal
        shutil.copy(path, tmp_path / "other.sqlite3")
        with closing(sqlite3.connect(tmp_path / "other.sqlite3")) as connection, connection:
            connection.execute("DELETE FROM entry WHERE key = 'video-2'")
        assert await bench.ledger.move_journal(tmp_path / "other.sqlite3") == 1
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE entry SET job_id = ?", [f"{1:024x}"])
        connection.execute("DELETE FROM entry WHERE key = 'video-1' AND ? = 'ledger'", [where])
    await bench.ledger.move_journal(path)
    first, second = await bench.ledger.get("video-1", "ja"), await bench.ledger.get("video-2", "ja")

    assert first is not None
    assert (first.state, first.job_id) == (State.COMPLETED, f"{1:024x}")
    assert second is not None
    assert (second.state, second.job_id, second.doubt_ids) == (State.IN_DOUBT, "", (f"{1:024x}",))
    assert (second.files, second.credits_used) == ((), None)
    assert "video-1 (ja)" in second.reason
    assert [key for key, _, _ in await bench.ledger.open_work()] == ["video-1"]
    await bench.ledger.resolve("video-2", "ja", job_id=f"{2:024x}")
