"""A copy of a journal while a run is writing it: whole, the owner's alone, and never over something."""

from __future__ import annotations

import stat
from pathlib import Path

import anyio
import pytest

from akool_async import JournalError, JournalOlderError, JournalWriteError
from akool_async._journal import database, open_journal
from akool_async._model.states import State
from tests.journal.conftest import bring_to, video

pytestmark = pytest.mark.anyio


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

    async with open_journal(copy) as journal:
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
        with pytest.raises(JournalWriteError, match="No space left"):
            await journal.backup(folder / "backup.sqlite3")
        with pytest.raises(JournalWriteError, match="could not be made"):
            await journal.backup(tmp_path / "no" / "folder")

    assert list(folder.iterdir()) == []
