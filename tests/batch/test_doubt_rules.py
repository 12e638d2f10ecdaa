"""`on_in_doubt` as a function: one answer for each entry, and nothing is paid where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from akool_async import (
    Completed,
    ConfigurationError,
    InDoubt,
    NotSubmitted,
    Outcome,
    State,
    StopCause,
    open_batch,
    open_journal,
)
from akool_async._journal import Entry, EntryUpdate
from akool_async.sandbox import Sandbox
from akool_async.testing import VirtualClock
from tests.client.conftest import video

DOUBTS: dict[str, dict[str, tuple[str, ...]]] = {
    "no id": {},
    "an id in its answer": {"doubt_ids": ("a" * 23,), "candidate_ids": ("a" * 23,)},
    "an id in an earlier answer": {"doubt_ids": ("b" * 23,)},
}


async def run(
    rule: Any, ids: dict[str, tuple[str, ...]], *, doubts: int = 3, new: int = 0
) -> tuple[list[Outcome], BaseException | None, list[str]]:
    """Run a batch over entries in doubt and new ones; return outcomes, error and what was sent."""
    clock = VirtualClock()
    sandbox = Sandbox(media=False, clock=clock.sandbox_time)
    films = [video(number, key=f"k{number}") for number in range(doubts + new)]
    outcomes: list[Outcome] = []
    async with sandbox.client(clock=clock) as client, open_journal(":memory:") as journal:
        for number, film in enumerate(films[:doubts]):
            own = {name: tuple(f"{one}{number}" for one in named) for name, named in ids.items()}
            doubt = EntryUpdate(key=f"k{number}", target="ja", state=State.IN_DOUBT, reason="lost")
            await journal.intend(film)
            await journal.record(attrs.evolve(doubt, **own))
        error: BaseException | None = None
        try:
            async with open_batch(client, films, journal=journal, on_in_doubt=rule, max_doubts=9) as batch:
                async for outcome in batch:
                    outcomes.append(outcome)
        except BaseException as raised:
            error = raised
            assert batch.stop_cause is StopCause.FAILURE
    return outcomes, error, [job.url for job in sandbox.audit.jobs]


@pytest.mark.parametrize("ids", DOUBTS.values(), ids=DOUBTS)
async def test_each_doubt_is_asked_about_once_and_the_answer_counts(ids: dict[str, tuple[str, ...]]) -> None:
    asked: list[str] = []

    def only_the_second(entry: Entry) -> str:
        asked.append(entry.key)
        return "resubmit" if len(asked) == 2 else "hold"

    outcomes, error, sent = await run(only_the_second, ids)

    assert error is None
    assert asked == ["k0", "k1", "k2"]
    assert sent == [video(1).url]
    assert {one.key: type(one) for one in outcomes} == {"k0": InDoubt, "k1": Completed, "k2": InDoubt}


async def _awaited(_entry: Entry) -> str:
    return "resubmit"


@pytest.mark.parametrize(
    "rule", [lambda _: True, lambda _: "RESUBMIT", lambda _: None, lambda entry: _awaited(entry)]
)
@pytest.mark.parametrize("ids", DOUBTS.values(), ids=DOUBTS)
async def test_what_is_no_answer_stops_the_batch_and_pays_nothing(
    rule: Callable[[Entry], object], ids: dict[str, tuple[str, ...]]
) -> None:
    outcomes, error, sent = await run(rule, ids, new=1)

    assert isinstance(error, ConfigurationError)
    assert "on_in_doubt" in str(error)
    assert sent == []
    assert [type(one) for one in sorted(outcomes, key=lambda one: one.key)] == [InDoubt] * 3 + [NotSubmitted]


@pytest.mark.parametrize("kind", [KeyError, SystemExit])
async def test_what_a_rule_raises_is_raised_after_the_last_outcome(kind: type[BaseException]) -> None:
    asked: list[str] = []

    def rule(entry: Entry) -> str:
        asked.append(entry.key)
        raise kind("mine")

    outcomes, error, sent = await run(rule, {}, new=1)

    assert isinstance(error, kind)
    assert (asked, sent) == (["k0"], [])
    assert [type(one) for one in sorted(outcomes, key=lambda one: one.key)] == [InDoubt] * 3 + [NotSubmitted]


async def test_an_async_rule_is_refused_before_anything_is_opened() -> None:
    async with Sandbox(media=False).client() as client:
        with pytest.raises(ConfigurationError, match="on_in_doubt must be a plain function"):
            open_batch(client, [], on_in_doubt=_awaited)  # type: ignore[arg-type]
