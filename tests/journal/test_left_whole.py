"""A journal that nothing has written since it was closed in order is opened without being looked through."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from akool_async._journal import database, open_journal
from akool_async._journal.file_status import FileStatus, mark_closed
from akool_async._model.errors import JournalCorruptedError
from akool_async._model.states import State
from tests.journal.conftest import step
from tests.journal.test_broken import fill

pytestmark = pytest.mark.anyio


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What SQLite is asked to do with journals, in order."""
    asked: list[str] = []
    connect = database._connect

    def traced(path: Path, query: str, *, busy: float = database.BUSY) -> sqlite3.Connection:
        connection = connect(path, query, busy=busy)
        connection.set_trace_callback(asked.append)
        return connection

    monkeypatch.setattr(database, "_connect", traced)
    return asked


async def is_looked_through(path: Path, statements: list[str]) -> bool:
    statements.clear()
    async with open_journal(path) as journal:
        assert journal.counts()[State.SUBMITTED] == 200
    return any("quick_check" in statement for statement in statements)


async def test_what_was_closed_in_order_is_not_looked_through_again(
    path: Path, statements: list[str]
) -> None:
    await fill(path)

    assert [await is_looked_through(path, statements) for _ in range(2)] == [False, False]


def overwrite_in_place(path: Path) -> None:
    """Write the same bytes, and set back the time of the last change."""
    found = path.stat()
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def put_back_a_copy(path: Path) -> None:
    shutil.copy2(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def write_by_hand(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE entry SET reason = 'by hand' WHERE key = 'talk-7'")
    connection.close()


def forget_the_lock(path: Path) -> None:
    path.with_name("jobs.sqlite3.lock").unlink()


CHANGES: list[Callable[[Path], object]] = [
    lambda path: path.write_bytes(path.read_bytes()),
    overwrite_in_place,
    put_back_a_copy,
    write_by_hand,
    forget_the_lock,
]
NAMES = ["rewritten", "rewritten, old times", "put back", "by hand", "no lock"]


@pytest.mark.parametrize("change", CHANGES, ids=NAMES)
async def test_what_something_else_may_have_written_is_looked_through(
    path: Path, statements: list[str], change: Callable[[Path], object]
) -> None:
    await fill(path)
    change(path)

    assert await is_looked_through(path, statements)
    assert not await is_looked_through(path, statements)


async def test_a_run_that_is_killed_leaves_no_word_that_the_journal_is_whole(path: Path) -> None:
    await fill(path)
    lock = path.with_name("jobs.sqlite3.lock")

    assert "closed" in lock.read_text()
    async with open_journal(path) as journal:
        assert "closed" not in lock.read_text()
        await journal.record(step(State.COMPLETED, "talk-1"))
        assert "closed" not in lock.read_text()


@pytest.mark.parametrize("writes", [0, 1])
async def test_damage_that_is_done_while_it_is_open_is_found_on_the_next_opening(
    path: Path, writes: int
) -> None:
    await fill(path)
    connection = sqlite3.connect(path)
    ((root,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'entry_expiry'")
    connection.close()

    async with open_journal(path) as journal:
        with path.open("r+b") as file:
            file.seek(4096 * (root - 1))
            file.write(bytes(4096))
        for _ in range(writes):
            await journal.withdraw("nobody")

    with pytest.raises(JournalCorruptedError):
        async with open_journal(path):
            pass


async def test_what_a_reader_keeps_in_the_log_is_looked_through(path: Path, statements: list[str]) -> None:
    await fill(path)
    async with open_journal(path, read_only=True) as reader:
        async with open_journal(path) as journal:
            await journal.record(step(State.COMPLETED, "talk-1"))
        assert reader.counts()[State.COMPLETED] == 1
        assert "closed" not in path.with_name("jobs.sqlite3.lock").read_text()
    statements.clear()
    async with open_journal(path):
        pass

    assert any("quick_check" in statement for statement in statements)


def test_a_closed_file_has_a_time_that_no_later_write_gives_it(tmp_path: Path) -> None:
    path, steps = tmp_path / "file", 100_000_000
    path.write_bytes(b"before")
    written = path.stat().st_mtime_ns  # by a clock that moves in steps, of up to 16 ms on Windows

    marked = mark_closed(path)

    assert marked is not None
    assert marked == FileStatus.of_file(path)
    assert marked.modified < written - steps
    path.write_bytes(b"behind")
    assert marked != FileStatus.of_file(path)
