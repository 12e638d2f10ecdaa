"""A journal that is missing, older or replaced: what it does not know would be paid again, so it says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import anyio
import pytest

from akool_async import JournalOlderError, JournalReplacedError, JournalWriteError
from akool_async._journal import BatchJournal, open_journal
from akool_async._model.states import State
from tests.journal.conftest import bring_to, step, video


def remembered(path: Path) -> dict[str, object]:
    return json.loads(path.with_name(f"{path.name}.lock").read_text())


async def paid(path: Path, *keys: str) -> None:
    async with open_journal(path) as journal:
        for key in keys:
            await bring_to(journal, State.SUBMITTED, key)


async def refused(path: Path, match: str) -> None:
    before = path.exists() and path.read_bytes()
    with pytest.raises(JournalOlderError, match=match) as caught:
        async with open_journal(path):
            pass
    assert (path.exists() and path.read_bytes()) == before
    assert not path.with_name(f"{path.name}-wal").exists()
    assert "accept_older" in caught.value.advice
    assert "paid again" in caught.value.impact


async def test_a_journal_that_was_deleted_is_missed(path: Path) -> None:
    await paid(path, "a", "b")
    path.unlink()
    await refused(path, "is gone; 2 paid calls")

    async with open_journal(path, accept_older=True) as journal:
        assert journal.counts()[State.SUBMITTED] == 0
        await journal.intend(video("c"))
    assert remembered(path)["intents"] == 1
    async with open_journal(path) as journal:
        assert journal.counts()[State.IN_DOUBT] == 1


async def test_paid_calls_that_were_committed_together_are_counted_one_by_one(path: Path) -> None:
    async with open_journal(path) as journal, anyio.create_task_group() as tasks:
        for number in range(20):  # so many at once that some share a transaction
            tasks.start_soon(journal.intend, video(f"v{number}"))
        tasks.start_soon(journal.intend, video("a"), video("b"))
    path.unlink()

    await refused(path, "is gone; 22 paid calls")


async def test_a_journal_that_was_restored_from_an_older_copy_is_noticed(path: Path, tmp_path: Path) -> None:
    await paid(path, "a")
    shutil.copy(path, tmp_path / "copy")
    await paid(path, "b", "c")
    shutil.copy(tmp_path / "copy", path)
    await refused(path, "2 of 3 paid calls are missing")
    async with open_journal(path, read_only=True) as journal:
        assert isinstance(journal.find_older_error(), JournalOlderError)
        assert journal.get("b", "ja") is None

    async with open_journal(path, accept_older=True) as journal:
        assert journal.counts()[State.SUBMITTED] == 1
    async with open_journal(path) as journal:
        assert journal.counts()[State.SUBMITTED] == 1


async def test_a_journal_whose_log_is_gone_is_noticed(path: Path, tmp_path: Path) -> None:
    async with open_journal(path) as journal:
        await bring_to(journal, State.SUBMITTED, "a")
        shutil.copytree(path.parent, tmp_path / "killed")
    killed = tmp_path / "killed" / path.name
    log = killed.with_name(f"{path.name}-wal")
    log.rename(tmp_path / "log")
    killed.with_name(f"{path.name}-shm").unlink()
    await refused(killed, "1 of 1 paid calls are missing")

    (tmp_path / "log").rename(log)
    async with open_journal(killed) as journal:
        assert journal.counts()[State.SUBMITTED] == 1


async def test_another_journal_in_its_place_is_noticed(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "jobs.sqlite3"
    other.parent.mkdir()
    await paid(path, "a")
    await paid(other, "b", "c")
    shutil.move(other, path)
    await refused(path, "not the one that was last written there")


async def test_a_journal_in_which_nothing_was_paid_may_be_deleted(path: Path) -> None:
    async with open_journal(path) as journal:
        await bring_to(journal, State.PLANNED)
    path.unlink()
    async with open_journal(path) as journal:
        assert journal.counts()[State.PLANNED] == 0


async def test_a_journal_that_was_moved_with_or_without_its_lock_is_believed(path: Path) -> None:
    await paid(path, "a")
    moved = path.with_name("moved.sqlite3")
    path.rename(moved)
    async with open_journal(moved) as journal:
        assert journal.counts()[State.SUBMITTED] == 1
    async with open_journal(moved, read_only=True) as journal:
        assert journal.find_older_error() is None


async def test_what_was_refused_or_taken_back_counts_as_nothing(path: Path) -> None:
    async with open_journal(path) as journal:
        await journal.intend(video("a"))
        with pytest.raises(Exception, match="no POST may be sent"):
            await journal.intend(video("a"))
        await journal.record(step(State.SUBMITTED, "a"))
        assert remembered(path)["intents"] == 1
    async with open_journal(path) as journal:
        assert journal.counts()[State.SUBMITTED] == 1


# While it is open.


@pytest.mark.parametrize("lost", ["jobs.sqlite3", "jobs.sqlite3-wal"])
@pytest.mark.parametrize("how", ["deleted", "replaced", "moved"])
async def test_a_file_that_is_lost_while_it_is_open_is_noticed_at_the_next_write(
    path: Path, lost: str, how: str
) -> None:
    file = path.with_name(lost)
    async with open_journal(path) as journal:
        await bring_to(journal, State.SUBMITTED, "a")
        if how == "deleted":
            file.unlink()
        else:
            file.rename(path.with_name("elsewhere"))
        if how == "replaced":
            shutil.copy(path.with_name("elsewhere"), file)
        with pytest.raises(JournalReplacedError, match=lost) as caught:
            await journal.intend(video("b"))
        with pytest.raises(JournalReplacedError):
            await journal.record(step(State.COMPLETED, "a"))

        assert isinstance(caught.value, JournalWriteError)
        assert journal.get("b", "ja") is None
        assert journal.counts()[State.SUBMITTED] == 1


async def test_a_file_that_is_put_back_is_written_again(path: Path) -> None:
    async with open_journal(path) as journal:
        await bring_to(journal, State.SUBMITTING, "a")
        path.rename(path.with_name("elsewhere"))
        with pytest.raises(JournalReplacedError):
            await journal.record(step(State.SUBMITTED, "a"))
        path.with_name("elsewhere").rename(path)
        await journal.record(step(State.SUBMITTED, "a"))
    async with open_journal(path) as journal:
        assert journal.counts()[State.SUBMITTED] == 1


def test_a_journal_says_nothing_of_being_older_while_it_is_closed_or_in_memory(path: Path) -> None:
    assert BatchJournal(path).find_older_error() is None
    assert BatchJournal(":memory:").find_older_error() is None
