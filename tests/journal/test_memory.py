"""The journal in memory runs inline: no thread, no file, fast; a batch's own forgets what has ended."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import anyio
import pytest

from akool_async._journal import BatchJournal, Journal, open_journal
from akool_async._model.errors import IllegalTransitionError
from akool_async._model.states import ENDED, State
from tests.journal.conftest import StillClock, bring_to, step, video


async def test_it_uses_no_thread_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a thread was started")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.chdir(tmp_path)
    async with open_journal(Path(":memory:")) as journal:
        await bring_to(journal, State.DELIVERED)
        assert [entry.state async for entry in journal.entries()] == [State.DELIVERED]

    assert list(tmp_path.iterdir()) == []


async def test_it_does_not_survive() -> None:
    async with open_journal(":memory:") as first, open_journal(":memory:") as second:
        await bring_to(first, State.PLANNED)
        assert second.get("talk", "ja") is None
    async with open_journal(":memory:") as journal:
        assert journal.get("talk", "ja") is None


async def test_it_is_fast_enough_for_a_simulation() -> None:
    """A bound that no slow machine breaks: 20 ms of CPU for a record that takes about 0.1."""
    async with open_journal(":memory:") as journal:
        await bring_to(journal, State.SUBMITTED)
        begin = time.process_time()
        for _ in range(500):
            await journal.record(step(State.SUBMITTED, credits_locked=1.0))

        assert time.process_time() - begin < 10


def forgetting(clock: StillClock) -> Journal:
    return BatchJournal(":memory:", now=clock.now, forget_ended=True)


async def number_of_entries(journal: Journal) -> int:
    return len([entry async for entry in journal.entries()])


def test_a_file_never_forgets(path: Path) -> None:
    with pytest.raises(ValueError, match="in memory"):
        BatchJournal(path, forget_ended=True)


@pytest.mark.parametrize("state", State)
async def test_only_what_has_ended_is_deleted_and_everything_is_counted(
    clock: StillClock, state: State
) -> None:
    async with forgetting(clock) as journal:
        await bring_to(journal, state)

        assert await number_of_entries(journal) == (0 if state in ENDED else 1)
        assert journal.counts()[state] == 1
        assert sum(journal.counts().values()) == 1


async def test_credits_of_deleted_entries_are_counted(clock: StillClock) -> None:
    async with forgetting(clock) as journal:
        await bring_to(journal, State.COMPLETED)
        await journal.record(step(State.DELIVERED, credits_used=3.0))

        assert await number_of_entries(journal) == 0
        assert journal.credits() == (0.0, 3.0)


async def test_a_job_with_a_webhook_token_is_given_to_no_other_entry_when_it_has_ended(
    clock: StillClock,
) -> None:
    async with forgetting(clock) as journal:
        await journal.intend(video("a", "ja"), token="first")
        await journal.intend(video("b", "ja"), token="second")
        await journal.record(step(State.SUBMITTED, "a", "ja", job_id="job-of-entry-a"))
        await journal.record(step(State.FAILED, "a", "ja"), step(State.IN_DOUBT, "b", "ja"))

        with pytest.raises(IllegalTransitionError, match="belongs to entry a"):
            await journal.resolve("b", "ja", job_id="job-of-entry-a")


async def test_the_name_of_a_deleted_entry_stays_taken(clock: StillClock) -> None:
    async with forgetting(clock) as journal:
        await journal.intend(video("a", "ja"), names={("a", "ja"): ["Talk"]})
        await journal.record(step(State.SUBMITTED, "a"))
        await journal.record(step(State.COMPLETED, "a"), step(State.DELIVERED, "a"))
        await journal.intend(video("b", "ja"), names={("b", "ja"): ["talk", "talk-2"]})

        assert journal.get("a", "ja") is None
        entry = journal.get("b", "ja")
        assert entry is not None
        assert entry.name == "talk-2"


async def test_a_refused_step_deletes_nothing(clock: StillClock) -> None:
    async with forgetting(clock) as journal:
        await bring_to(journal, State.COMPLETED)
        before = journal.get("talk", "ja")
        with pytest.raises(IllegalTransitionError):
            await journal.record(step(State.DELIVERED), step(State.DELIVERED, "unknown"))
        await journal.record()

        assert journal.get("talk", "ja") == before
        assert journal.counts()[State.COMPLETED] == 1


async def test_the_intent_of_a_cancelled_caller_is_taken_back(clock: StillClock) -> None:
    async with forgetting(clock) as journal:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await journal.intend(video("a", ("ja", "fr")))

        assert scope.cancelled_caught
        assert await number_of_entries(journal) == 0
        assert journal.counts()[State.SUBMITTING] == 0
