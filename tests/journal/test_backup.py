"""A copy of a journal while a run is writing it: whole, the owner's alone, and never over something."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from akool_async import JournalError, JournalOlderError, JournalWriteError
from akool_async._journal import database, open_journal
from akool_async._model.states import State
from tests.journal.conftest import bring_to, video


def stored(path: Path, statement: str) -> str:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return str(connection.execute(statement).fetchone()[0])


async def test_a_backup_of_a_running_journal_holds_all_that_was_recorded(place: str, tmp_path: Path) -> None:
    copy = tmp_path / "backup.sqlite3"
    async with open_journal(place) as journal:
        for number in range(20):
            await bring_to(journal, State.SUBMITTED, f"talk-{number}")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(journal.backup, copy)
            for number in range(20):
                await journal.intend(video(f"later-{number}"))
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600

    async with open_journal(copy, read_only=True) as journal:
        assert journal.counts()[State.SUBMITTED] == 20


async def test_a_reader_can_back_up_and_the_copy_is_older_once_the_run_goes_on(
    path: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "backup.sqlite3"
    async with open_journal(path) as journal:
        await journal.intend(video("a"))
        async with open_journal(path, read_only=True) as seen:
            await seen.backup(str(copy))
        await journal.intend(video("b"))
    copy.replace(path)

    with pytest.raises(JournalOlderError, match="1 of 2"):
        async with open_journal(path):
            pass


@pytest.mark.parametrize("with_lock", [False, True])
async def test_a_backup_in_the_place_of_the_journal_is_written_once_that_is_accepted(
    place: str, tmp_path: Path, *, with_lock: bool
) -> None:
    copy = tmp_path / "backup.sqlite3"
    async with open_journal(place) as journal:
        await bring_to(journal, State.SUBMITTED, "a")
        await journal.backup(copy)
    if with_lock:  # of the same moment, as the copy of a whole folder has it
        intents = int(stored(copy, "SELECT intents FROM watermark"))
        lock = {"journal": stored(copy, "SELECT journal FROM watermark"), "intents": intents}
        copy.with_name(f"{copy.name}.lock").write_text(json.dumps(lock))
        copy.with_name(f"{copy.name}.lock").chmod(0o600)
    before = copy.read_bytes()

    for _ in range(2):
        with pytest.raises(JournalOlderError, match="is a copy that `backup` made on") as caught:
            async with open_journal(copy):
                pass
    assert stored(copy, "SELECT made_at FROM backup") in caught.value.message
    assert "accept_older" in caught.value.advice
    assert "paid again" in caught.value.impact
    assert copy.read_bytes() == before

    async with open_journal(copy, accept_older=True) as journal:
        await journal.intend(video("b"))
    async with open_journal(copy) as journal:
        assert journal.counts()[State.IN_DOUBT] == 1


async def test_a_backup_can_be_read_and_copied_and_says_what_it_is(path: Path, tmp_path: Path) -> None:
    copy, second = tmp_path / "backup.sqlite3", tmp_path / "second.sqlite3"
    async with open_journal(path) as journal:
        await bring_to(journal, State.SUBMITTED, "a")
        await journal.backup(copy)
        assert journal.find_older_error() is None
    async with open_journal(copy, read_only=True) as seen:
        await seen.backup(second)
        said = seen.find_older_error()

        assert seen.counts()[State.SUBMITTED] == 1
    assert said is not None
    assert "is a copy" in said.message
    with pytest.raises(JournalOlderError, match="is a copy"):
        async with open_journal(second):
            pass
    async with open_journal(path):  # the journal itself is written as before
        pass


async def test_a_backup_of_a_journal_of_an_earlier_version_is_one_too(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "backup.sqlite3"
    async with open_journal(path) as journal:
        await bring_to(journal, State.SUBMITTED, "a")
    with closing(sqlite3.connect(path)) as older, older:
        for statement in ("DROP TABLE watermark", "PRAGMA user_version = 2"):
            older.execute(statement)
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as source:
        database.back_up(source, copy)

    with pytest.raises(JournalOlderError, match="is a copy"):
        async with open_journal(copy):
            pass


async def test_a_backup_overwrites_nothing(path: Path, tmp_path: Path) -> None:
    taken, dangling = tmp_path / "taken", tmp_path / "dangling"
    taken.write_text("mine")
    dangling.symlink_to(tmp_path / "nowhere")
    async with open_journal(path) as journal:
        for target in (taken, dangling, path):
            with pytest.raises(JournalError, match="exists already"):
                await journal.backup(target)

    assert taken.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


async def test_a_backup_that_fails_leaves_nothing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    folder = tmp_path / "backups"
    folder.mkdir()
    async with open_journal(path) as journal:
        monkeypatch.setattr(database, "_publish", full)
        with pytest.raises(JournalWriteError, match="No space left") as no_space:
            await journal.backup(folder / "backup.sqlite3")
        with pytest.raises(JournalWriteError, match="no for the copy is not there") as no_folder:
            await journal.backup(tmp_path / "no" / "folder")

    assert list(folder.iterdir()) == []
    for failed in (no_space, no_folder):  # nothing is wrong with the journal, in which paid work is recorded
        assert failed.value.impact == "No copy was made. The journal is as it was."
        assert "submit nothing" not in str(failed.value)


BELONGS = ["-wal", "-shm", "-journal", ".lock", ".runs", ".on-saved", "-WAL"]


@pytest.mark.parametrize("ending", BELONGS)
@pytest.mark.parametrize("there", [False, True])
async def test_a_backup_has_no_name_that_belongs_beside_a_journal(
    place: str, tmp_path: Path, ending: str, *, there: bool
) -> None:
    copy = tmp_path / f"talks.sqlite3{ending}"
    if there:
        copy.with_name("talks.sqlite3").write_bytes(b"a journal")
    async with open_journal(place) as journal:
        await bring_to(journal, State.SUBMITTED, "a")
        with pytest.raises(JournalError, match="is that of a file that is kept beside talks") as caught:
            await journal.backup(copy)
        with pytest.raises(JournalError, match="still being made"):
            await journal.backup(tmp_path / ".talks.sqlite3.x.new")

    assert "overwritten or deleted" in caught.value.impact
    assert not copy.exists()


@pytest.mark.parametrize("ending", BELONGS)
async def test_no_journal_is_made_under_a_name_that_belongs_beside_another(
    tmp_path: Path, ending: str
) -> None:
    place = tmp_path / f"jobs.sqlite3{ending}"
    for options in ({}, {"read_only": True}, {"accept_older": True}):
        with pytest.raises(JournalError, match="is that of a file that is kept beside jobs"):
            async with open_journal(place, **options):
                pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"\x37\x7f\x06\x82" + bytes(4092)])
async def test_what_is_beside_a_journal_is_no_journal_that_may_be_deleted(
    path: Path, tmp_path: Path, content: bytes
) -> None:
    log = tmp_path / f"{path.name}-wal"
    async with open_journal(path):
        pass
    log.write_bytes(content)
    for read_only in (False, True):
        with pytest.raises(JournalError, match="is that of a file that is kept beside jobs") as caught:
            async with open_journal(log, read_only=read_only):
                pass
        assert "delete it" not in str(caught.value)

    assert log.read_bytes() == content


async def test_a_journal_of_an_unlucky_name_is_used_until_it_would_be_overwritten(
    path: Path, tmp_path: Path
) -> None:
    unlucky = tmp_path / "talks-wal"
    async with open_journal(path) as journal:
        await bring_to(journal, State.SUBMITTED, "a")
    path.replace(unlucky)
    async with open_journal(unlucky, accept_older=True) as journal:
        await journal.intend(video("b"))
    (tmp_path / "talks").write_bytes(b"")

    with pytest.raises(JournalError, match="beside talks"):
        async with open_journal(unlucky):
            pass
    async with open_journal(unlucky, read_only=True) as journal:
        assert journal.get("a", "ja") is not None
        assert journal.find_older_error() is None
        await journal.backup(tmp_path / "copy.sqlite3")
