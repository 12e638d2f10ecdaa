"""The journal of a run that keeps none follows the same rules, and forgets what has ended."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import anyio
import attrs
import pytest

from akool_async._journal import EntryUpdate, Journal, open_journal
from akool_async._journal.passing import OVER, Passing
from akool_async._model.errors import IllegalTransitionError, InvalidRequestError
from akool_async._model.states import State
from tests.journal import test_walks as walks
from tests.journal.conftest import StillClock, bring_to, step, video

pytestmark = pytest.mark.anyio


@pytest.fixture
def opened(clock: StillClock) -> Callable[[], Journal]:
    """Give a function that opens one that forgets nothing: then it has to be like any other."""
    return lambda: Passing(now=clock.now, over=())


test_random_walks_agree_with_the_table = walks.test_random_walks_agree_with_the_table
test_every_pair_of_states = walks.test_every_pair_of_states


async def both(action: Callable[[Journal], Any], *journals: Journal) -> list[str]:
    """Do the same to several; give what each said."""
    said = []
    for journal in journals:
        try:
            await action(journal)
        except IllegalTransitionError as error:
            said.append(str(error))
        else:
            said.append("")
    return said


def told_of(journal: Journal) -> dict[tuple[str, str], Any]:
    entries = [journal.get(key, target) for key in walks.KEYS for target in walks.TARGETS]
    return {(it.key, it.target): attrs.evolve(it, snapshot=None) for it in entries if it is not None}


async def one_turn(chance: random.Random) -> Callable[[Journal], Any]:
    key, targets = chance.choice(walks.KEYS), chance.choice([walks.TARGETS, ("ja",), ("fr",)])
    if chance.random() < 0.4:
        token = chance.choice(["", "token"])
        return lambda journal: journal.intend(video(key, targets), token=token)
    job_id = f"job-{key}-{targets[0]}"
    if chance.random() < 0.2:
        named = chance.choice([None, job_id])
        return lambda journal: journal.resolve(key, targets[0], job_id=named, not_made=named is None)
    state = chance.choice(list(State))
    told: dict[str, Any] = {"job_id": chance.choice([None, job_id]), "reason": chance.choice([None, "why"])}
    told |= {"credits_locked": chance.choice([None, 4.0]), "credits_used": chance.choice([None, 3.0])}
    changes = [step(state, key, target, **told) for target in targets]
    return lambda journal: journal.record(*changes)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_it_says_and_holds_what_the_one_of_sqlite_does(
    opened: Callable[[], Journal], clock: StillClock, chance: random.Random
) -> None:
    done = 0
    for _ in range(10):
        async with opened() as passing, open_journal(":memory:", now=clock.now) as other:
            for _ in range(80):
                clock.move(seconds=1)
                mine, theirs = await both(await one_turn(chance), passing, other)
                assert bool(mine) == bool(theirs), (mine, theirs)
                assert told_of(passing) == told_of(other)
                assert passing.credits() == other.credits()
                assert passing.counts() == other.counts()
                assert len(passing.with_token("token")) == len(other.with_token("token"))
                done += not mine
    assert done > 100


@pytest.mark.parametrize("state", sorted(OVER))
async def test_what_ended_is_forgotten_and_still_counted(clock: StillClock, state: State) -> None:
    journal = Passing(now=clock.now)
    await bring_to(journal, state)

    assert len(journal) == 0
    assert journal.counts()[state] == 1


@pytest.mark.parametrize("state", sorted({*State} - OVER))
async def test_what_has_not_ended_is_held(clock: StillClock, state: State) -> None:
    journal = Passing(now=clock.now)
    await bring_to(journal, state)

    assert len(journal) == 1


async def test_a_job_with_a_webhook_token_is_given_to_no_other_entry_when_it_has_ended(
    clock: StillClock,
) -> None:
    journal = Passing(now=clock.now)
    await journal.intend(video("a", "ja"), token="first")
    await journal.intend(video("b", "ja"), token="second")
    await journal.record(step(State.SUBMITTED, "a", "ja", job_id="job-of-entry-a"))
    await journal.record(step(State.FAILED, "a", "ja"), step(State.IN_DOUBT, "b", "ja"))

    with pytest.raises(IllegalTransitionError, match="belongs to another"):
        await journal.resolve("b", "ja", job_id="job-of-entry-a")


async def test_what_is_refused_in_the_middle_of_several_changes_none(clock: StillClock) -> None:
    journal = Passing(now=clock.now)
    await journal.intend(video("a", ("ja", "fr")))
    before = journal.get("a", "ja")
    with pytest.raises(IllegalTransitionError):
        await journal.record(
            step(State.SUBMITTED, "a", "ja", job_id="job-a"),
            EntryUpdate(key="a", target="fr", state=State.DELIVERED),
        )

    assert journal.get("a", "ja") == before
    assert journal.counts()[State.SUBMITTING] == 2


async def test_the_intent_of_a_cancelled_caller_is_taken_back(clock: StillClock) -> None:
    journal = Passing(now=clock.now)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await journal.intend(video("a", ("ja", "fr")))

    assert scope.cancelled_caught
    assert len(journal) == 0
    assert journal.counts()[State.SUBMITTING] == 0


async def test_one_name_twice_in_an_intent_is_refused(clock: StillClock) -> None:
    journal = Passing(now=clock.now)
    with pytest.raises(IllegalTransitionError, match="twice at once"):
        await journal.intend(video("a", "ja"), video("a", "ja"))

    assert len(journal) == 0


@pytest.mark.anyio
async def test_a_doubt_is_not_cleared_up_by_saying_nothing() -> None:
    """Saying nothing must not count as "not made", which would have it sent and paid again."""
    async with Passing(now=lambda: datetime.now(UTC)) as journal:
        for told in ({}, {"job_id": "66c0ffee5eed5eed00000001", "not_made": True}, {"job_id": "no id"}):
            with pytest.raises(InvalidRequestError):
                await journal.resolve("a", "ja", **told)
