"""What is no journal, is damaged or comes from the future is refused, and not a byte of it changes."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from akool_async._journal import open_journal, schema
from akool_async._model.errors import (
    JournalCorruptedError,
    JournalError,
    JournalVersionError,
    JournalWriteError,
)
from akool_async._model.states import State
from tests.journal.conftest import bring_to, step, video


async def fill(path: Path, entries: int = 200) -> bytes:
    """Make a journal; give its bytes."""
    async with open_journal(path) as journal:
        await journal.intend(*(video(f"talk-{number}") for number in range(entries)))
        await journal.record(*(step(State.SUBMITTED, f"talk-{number}") for number in range(entries)))
    return path.read_bytes()


async def refused(path: Path, kind: type[JournalError], *, read_only: bool = False) -> JournalError:
    """Try to open it; check that nothing of it changed."""
    files = {file: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    with pytest.raises(kind) as caught:
        async with open_journal(path, read_only=read_only):
            pass
    traces = (".lock", "-shm")
    there = [file for file in path.parent.iterdir() if file.is_file() and not file.name.endswith(traces)]
    left = {file: file.read_bytes() for file in there}
    assert left == {file: text for file, text in files.items() if not file.name.endswith(traces)}
    assert caught.value.impact
    assert caught.value.advice
    return caught.value


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE places (url TEXT)")
    connection.close()


NO_JOURNALS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("key,target,state\n" * 1000),
    "random": lambda path: path.write_bytes(random.Random(7).randbytes(20_000)),
    "one byte": lambda path: path.write_bytes(b"S"),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(8192)),
    "header only": lambda path: path.write_bytes(b"SQLite format 3\x00"),
    "foreign": foreign,
}


@pytest.mark.parametrize("make", NO_JOURNALS.values(), ids=NO_JOURNALS.keys())
@pytest.mark.parametrize("read_only", [False, True])
async def test_what_is_no_journal_is_refused(
    path: Path, make: Callable[[Path], object], read_only: bool
) -> None:
    make(path)

    await refused(path, JournalCorruptedError, read_only=read_only)
    assert not path.with_name("jobs.sqlite3.lock").exists()


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_folder_is_no_journal(path: Path, read_only: bool) -> None:
    path.mkdir()

    error = await refused(path, JournalCorruptedError, read_only=read_only)
    assert "not a file" in str(error)
    assert list(path.parent.iterdir()) == [path]


async def test_a_pipe_is_no_journal_and_does_not_hang(path: Path) -> None:
    os.mkfifo(path)

    with anyio.fail_after(55), pytest.raises(JournalCorruptedError):
        async with open_journal(path):
            pass


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_missing_folder_is_said_to_be_missing(path: Path, read_only: bool) -> None:
    with pytest.raises(JournalWriteError, match=r"folder .*nowhere"):
        async with open_journal(path.parent / "nowhere" / "jobs.sqlite3", read_only=read_only):
            pass
    assert list(path.parent.iterdir()) == []


async def test_a_file_in_place_of_the_folder_is_an_error(path: Path) -> None:
    path.write_text("")
    with pytest.raises(JournalError):
        async with open_journal(path / "jobs.sqlite3"):
            pass


async def test_a_missing_journal_is_not_made_for_reading(path: Path) -> None:
    with pytest.raises(JournalError, match="There is no journal"):
        async with open_journal(path, read_only=True):
            pass
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("size", [100, 512, 4096, 20_000, -4096, -1])
async def test_a_truncated_journal_is_refused(path: Path, size: int) -> None:
    whole = await fill(path)
    path.write_bytes(whole[:size])

    await refused(path, JournalCorruptedError)


async def test_random_damage_is_refused_or_harmless(path: Path, chance: random.Random) -> None:
    """Whatever is overwritten, nothing but a `JournalError` comes out, and never a hang."""
    whole = await fill(path)
    ended = {"refused": 0, "unreadable entry": 0, "harmless": 0}
    for _ in range(40):
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 3, 30])):
            at = chance.randrange(len(damaged))
            damaged[at : at + 8] = chance.randbytes(8)
        path.write_bytes(damaged)
        ended[await look(path)] += 1
    print(ended)
    assert ended["refused"]


@pytest.mark.parametrize(
    ("trigger", "named"), [("entry_changed", b"old.state"), ("entry_added", b"new.state")]
)
async def test_a_damaged_trigger_is_told_though_its_error_is_no_text(
    path: Path, trigger: str, named: bytes
) -> None:
    """SQLite quotes the damaged name in its error, and Python can't decode that."""
    whole = bytearray(await fill(path))
    at = whole.index(named, whole.index(b"CREATE TRIGGER " + trigger.encode()))
    whole[at + 5] = 0xFC
    path.write_bytes(whole)

    with pytest.raises(JournalCorruptedError) as caught:
        async with open_journal(path) as journal:
            await journal.intend(video("another"))
    assert isinstance(caught.value.__cause__, UnicodeDecodeError)


async def look(path: Path) -> str:
    try:
        async with open_journal(path) as journal:
            try:
                async for entry in journal.entries():
                    journal.find_job(entry.job_id)
                [line async for line in journal.export()]
                await journal.record()
            except JournalCorruptedError:
                return "unreadable entry"
    except JournalError:
        return "refused"
    return "harmless"


@pytest.mark.parametrize("part", ["entry", "entry_job", "entry_expiry", "sqlite_autoindex_entry_1"])
async def test_damage_inside_is_found_on_opening(path: Path, part: str) -> None:
    """Also in an index that nothing reads on opening."""
    whole = bytearray(await fill(path))
    connection = sqlite3.connect(path)
    ((root,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (part,))
    connection.close()
    whole[4096 * (root - 1) : 4096 * root] = bytes(4096)
    path.write_bytes(whole)

    await refused(path, JournalCorruptedError)


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_journal_of_a_newer_version_is_not_touched(path: Path, read_only: bool) -> None:
    await fill(path)
    mark(path, f"user_version = {len(schema.MIGRATIONS) + 1}")
    path.with_name("jobs.sqlite3.lock").unlink()

    error = await refused(path, JournalVersionError, read_only=read_only)
    assert f"version {len(schema.MIGRATIONS) + 1}" in str(error)
    assert not path.with_name("jobs.sqlite3.lock").exists()


@pytest.mark.parametrize("pragma", ["application_id = 7", "user_version = 0", "user_version = -1"])
async def test_a_journal_with_other_marks_is_none(path: Path, pragma: str) -> None:
    await fill(path)
    mark(path, pragma)

    await refused(path, JournalCorruptedError)


def mark(path: Path, pragma: str) -> None:
    rewrite(path, f"PRAGMA {pragma}")


def rewrite(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement)
    connection.close()


async def test_a_journal_without_one_of_its_columns_is_broken(path: Path) -> None:
    await fill(path)
    rewrite(path, "ALTER TABLE entry RENAME COLUMN doubt_ids TO dubious_ids")

    await refused(path, JournalCorruptedError)


async def test_a_log_without_its_journal_is_not_overwritten(path: Path) -> None:
    """The last entries may be in the log; a new journal would swallow or lose them."""
    log = path.with_name("jobs.sqlite3-wal")
    log.write_bytes(b"frames")

    await refused(path, JournalCorruptedError)
    assert not path.exists()


@pytest.mark.parametrize(
    "damage",
    [
        "state = 'lost'",
        "request = '{}'",
        "snapshot = '['",
        "files = '3'",
        "doubt_ids = 'x'",
        "updated_at = 'now'",
    ],
)
async def test_an_entry_that_can_not_be_read_is_said_to_be_broken(path: Path, damage: str) -> None:
    async with open_journal(path) as journal:
        await bring_to(journal, State.IN_DOUBT)
    rewrite(path, f"UPDATE entry SET {damage}")

    with pytest.raises(JournalCorruptedError, match=r"talk|invalid values"):
        async with open_journal(path) as journal:
            journal.get("talk", "ja")


async def test_a_change_of_an_entry_with_an_unknown_state_is_refused(path: Path) -> None:
    async with open_journal(path) as journal:
        await bring_to(journal, State.IN_DOUBT)
        rewrite(path, "UPDATE entry SET state = 'lost', doubt_ids = 'x'")
        with pytest.raises(JournalCorruptedError):
            await journal.record(step(State.FAILED))
        rewrite(path, "UPDATE entry SET state = 'in_doubt'")
        with pytest.raises(JournalCorruptedError):
            await journal.resolve("talk", not_made=True)
        rewrite(path, "UPDATE entry SET state = 'failed', token = 'first'")
        with pytest.raises(JournalCorruptedError):
            await journal.keep_named_job("first", "a" * 24)


# Migrations.


async def test_an_older_journal_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(path)
    newer = (*schema.MIGRATIONS, ("ALTER TABLE entry ADD COLUMN note TEXT NOT NULL DEFAULT 'none'",))
    monkeypatch.setattr(schema, "MIGRATIONS", newer)

    before = path.read_bytes()
    async with open_journal(path, read_only=True) as journal:  # read as it would be, and left as it is
        assert journal.counts()[State.SUBMITTED] == 200
        assert len([entry async for entry in journal.entries()]) == 200
        assert journal._rows("SELECT DISTINCT note FROM entry") == [("none",)]
    assert path.read_bytes() == before
    async with open_journal(path) as journal:
        assert journal.counts()[State.SUBMITTED] == 200
    async with open_journal(path, read_only=True) as journal:
        assert journal._rows("SELECT DISTINCT note FROM entry") == [("none",)]
    monkeypatch.undo()
    await refused(path, JournalVersionError)


async def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(path)
    broken = (
        *schema.MIGRATIONS,
        ("ALTER TABLE entry ADD COLUMN note TEXT", "ALTER TABLE nothing ADD COLUMN x"),
    )
    monkeypatch.setattr(schema, "MIGRATIONS", broken)
    with pytest.raises(JournalWriteError, match="nothing"):
        async with open_journal(path):
            pass
    monkeypatch.undo()

    async with open_journal(path) as journal:
        assert journal.counts()[State.SUBMITTED] == 200
        assert journal._rows("SELECT name FROM pragma_table_info('entry') WHERE name = 'note'") == []


async def test_a_new_journal_that_can_not_be_made_leaves_no_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", (("CREATE TABLE",),))
    with pytest.raises(JournalWriteError):
        async with open_journal(path):
            pass

    assert [file.name for file in path.parent.iterdir()] == ["jobs.sqlite3.lock"]
