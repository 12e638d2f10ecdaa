"""Random walks over both journals against a model in a dictionary: the lifecycle's table is law."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from akool_async._journal import Journal
from akool_async._model.errors import IllegalTransitionError
from akool_async._model.states import TRANSITIONS, State, may_follow
from tests.journal.conftest import bring_to, step, video

KEYS = ("a", "b", "c")
TARGETS = ("ja", "fr")


@attrs.define
class Known:
    """What the model knows of an entry."""

    state: State
    paid: int = 0
    job_id: str = ""
    earlier_jobs: frozenset[str] = attrs.field(default=frozenset(), eq=False)


Model = dict[tuple[str, str], Known]


def refuses(known: Known | None, after: State, job_id: str, entering: bool) -> bool:
    """What the journal has to refuse, said once more in other words."""
    if known is None:
        return not (entering and after is State.PLANNED)
    if not may_follow(known.state, after) or (after is State.SUBMITTING is not known.state):
        return True
    holds = {known.job_id, job_id} - {""}
    if len(holds) > 1 and known.job_id:
        return True
    return (after is State.SUBMITTED and not holds) or (after is State.PLANNED and bool(holds))


def recorded(model: Model, name: tuple[str, str], after: State, job_id: str) -> None:
    known = model.setdefault(name, Known(State.PLANNED))
    if after is State.PLANNED and known.state in (State.SUBMITTING, State.IN_DOUBT):
        known.paid -= 1
    known.state, known.job_id = after, job_id or known.job_id


async def one_record(journal: Journal, model: Model, chance: random.Random) -> bool:
    name = (chance.choice(KEYS), chance.choice(TARGETS))
    after, entering = chance.choice(list(State)), chance.random() < 0.3
    own = f"job-{name[0]}-{name[1]}-{chance.randrange(3)}"
    job_id = chance.choice(["", own, own, "job-other"])
    told: dict[str, Any] = {"job_id": job_id or None} | ({"request": video(*name)} if entering else {})
    taken = job_id and any(known.job_id == job_id for other, known in model.items() if other != name)
    # Nor is a job that any entry had before it was paid again the job of a new POST.
    had = any(job_id in known.earlier_jobs for known in model.values())
    taken = taken or (had and name in model and not model[name].job_id)
    refused = refuses(model.get(name), after, job_id, entering) or bool(name in model and taken)
    try:
        await journal.record(step(after, *name, **told))
    except IllegalTransitionError:
        assert refused, (model.get(name), after, told)
        return False
    assert not refused, (model.get(name), after, told)
    recorded(model, name, after, job_id)
    return True


async def one_intent(journal: Journal, model: Model, chance: random.Random) -> bool:
    key, targets = chance.choice(KEYS), chance.choice([TARGETS, TARGETS[:1], TARGETS[1:]])
    there = [model[key, target].state for target in targets if (key, target) in model]
    refused = any(State.SUBMITTING not in TRANSITIONS[state] for state in there)
    try:
        await journal.intend(video(key, targets))
    except IllegalTransitionError:
        assert refused, (key, targets, there)
        return False
    assert not refused, (key, targets, there)
    for target in targets:
        known = model.get((key, target), Known(State.PLANNED))
        ended = {known.job_id} - {""} if known.state is not State.PLANNED else set()
        earlier = known.earlier_jobs | ended
        model[key, target] = Known(State.SUBMITTING, known.paid + 1, earlier_jobs=earlier)
    return True


async def one_resolution(journal: Journal, model: Model, chance: random.Random) -> bool:
    key, target = chance.choice(KEYS), chance.choice([None, *TARGETS])
    doubts = [
        name
        for name, known in model.items()
        if name[0] == key and target in (None, name[1]) and known.state is State.IN_DOUBT
    ]
    job_id = chance.choice([None, f"resolved-{chance.randrange(4)}"])
    taken = job_id and any(job_id == known.job_id or job_id in known.earlier_jobs for known in model.values())
    lost = len(doubts) == 1 and model[doubts[0]].job_id
    refused = len(doubts) != 1 or bool(taken) or bool(lost)
    try:
        await journal.resolve(key, target, job_id=job_id, not_made=job_id is None)
    except IllegalTransitionError:
        assert refused, (key, target, job_id, doubts)
        return False
    assert not refused, (key, target, job_id, doubts)
    recorded(model, doubts[0], State.PLANNED if job_id is None else State.SUBMITTED, job_id or "")
    return True


async def known_to(journal: Journal) -> Model:
    found = [entry async for entry in journal.entries()]
    return {
        (entry.key, entry.target): Known(
            entry.state,
            entry.paid_submissions,
            entry.job_id,
            frozenset(post.job_id for post in journal.earlier_posts(entry.key, entry.target)) - {""},
        )
        for entry in found
    }


async def agree(journal: Journal, model: Model) -> None:
    there = await known_to(journal)
    assert there == model
    counted = {state: number for state, number in journal.counts().items() if number}
    states = [known.state for known in model.values()]
    assert counted == {state: states.count(state) for state in states}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_random_walks_agree_with_the_table(
    opened: Callable[[], Journal], chance: random.Random
) -> None:
    done = dict.fromkeys((True, False), 0)
    for _ in range(8):
        async with opened() as journal:
            model = await known_to(journal)  # a file remembers the last walk; its intents are doubts now
            for _ in range(60):
                turn = chance.choice([one_record, one_record, one_intent, one_resolution])
                done[await turn(journal, model, chance)] += 1
            await agree(journal, model)
    assert min(done.values()) > 30, done


@pytest.mark.parametrize("before", State)
async def test_every_pair_of_states(opened: Callable[[], Journal], before: State) -> None:
    """Each cell of a row of the table, over the way that leads to it."""
    async with opened() as journal:
        for after in State:
            key = f"to {after}"
            await bring_to(journal, before, key)
            known = journal.get(key, "ja")
            assert known is not None
            change = step(after, key, job_id=None if after is State.PLANNED else known.job_id or f"job {key}")
            allowed = may_follow(before, after) and not (after is State.SUBMITTING is not before)
            if allowed:
                await journal.record(change)
            else:
                with pytest.raises(IllegalTransitionError):
                    await journal.record(change)

            entry = journal.get(key, "ja")
            assert entry is not None
            assert entry.state is (after if allowed else before), after
