"""A batch that submits again in the moment in which it stopped: no step on the way to a POST is left out."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from akool_async import (
    Completed,
    Event,
    InDoubt,
    NotSubmitted,
    Observer,
    StopCause,
    Submission,
    SubmissionInDoubt,
)
from akool_async._batch.batch import Batch
from akool_async._model import errors
from akool_async._model.requests import Request
from akool_async._observer import Observers
from tests.batch.seam import STEADY, Seam, made, opened, video


def stop_and_resume(batch: Batch) -> None:
    """Do both before any task of the batch has had a turn."""
    batch._state.stop("No credits.", cause=StopCause.CREDITS)
    batch.resume_submitting()


class Resuming(Observer):
    """Lets its batch submit again once, while it is told of the stop."""

    def __init__(self, name: str = "stopped") -> None:
        self.name = name
        self.stops: list[str] = []
        self.batch: Batch | None = None

    def on_event(self, event: Event) -> None:
        if event.name == "stopped":
            self.stops.append(str(event.fields()["cause"]))
        if event.name == self.name and self.batch is not None:
            batch, self.batch = self.batch, None
            batch.resume_submitting()


async def test_the_wait_for_a_token_is_not_left_out() -> None:
    seam = Seam([made("ja")], turn=anyio.Event())
    assert seam.turn is not None
    async with opened(seam, video()) as (batch, _):
        await seam.waiting.wait()
        stop_and_resume(batch)
        await anyio.wait_all_tasks_blocked()
        sent_without = len(seam.posts)
        seam.turn.set()
        (outcome,) = [outcome async for outcome in batch]

    assert sent_without == 0
    assert isinstance(outcome, Completed)


async def test_the_pause_before_another_try_is_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    seam, sleeping = Seam([errors.ConnectError("Refused."), made("ja")]), anyio.Event()
    sleep, slept = seam.clock.sleep, list[float]()

    async def held(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 1:
            sleeping.set()
            await anyio.sleep_forever()
        await sleep(seconds)

    monkeypatch.setattr(seam.clock, "sleep", held)
    async with opened(seam, video()) as (batch, _):
        await sleeping.wait()
        stop_and_resume(batch)
        (outcome,) = [outcome async for outcome in batch]

    assert isinstance(outcome, Completed)
    assert seam.times[1] - seam.times[0] >= STEADY.initial_delay


async def test_what_a_stop_cut_short_is_not_sent_after_it() -> None:
    """The observer lets the batch submit again while the entry that waited for a token is ended."""
    seam, observer = Seam([made("ja")], turn=anyio.Event()), Resuming("outcome")
    seam.observers = Observers([observer])
    async with opened(seam, video()) as (batch, _):
        await seam.waiting.wait()
        observer.batch = batch
        batch._state.stop("No credits.", cause=StopCause.CREDITS)
        (outcome,) = [outcome async for outcome in batch]

    assert isinstance(outcome, NotSubmitted)
    assert outcome.reason == "No credits."
    assert seam.posts == []


async def run_resumed(seam: Seam, count: int, **options: Any) -> tuple[list[Any], list[str]]:
    observer = Resuming()
    seam.observers = Observers([observer])
    async with opened(seam, *map(video, range(count)), **options) as (batch, _):
        observer.batch = batch
        return [outcome async for outcome in batch], observer.stops


class SlowSeam(Seam):
    """Answers so slowly that others could be sent meanwhile."""

    async def submit_once(self, request: Request) -> Submission:
        for _ in range(50):
            await checkpoint()
        return await super().submit_once(request)


async def test_an_observer_that_lets_it_submit_again_leaves_the_bound_on_doubts_in_place() -> None:
    seam = SlowSeam([SubmissionInDoubt("Lost.", targets=("ja",))])
    outcomes, stops = await run_resumed(seam, 20, max_doubts=3, max_in_flight=20, max_submits=10)

    assert stops == [StopCause.DOUBTS, StopCause.DOUBTS]
    assert len(seam.posts) == 6
    assert [type(outcome) for outcome in outcomes].count(InDoubt) == 6


async def test_an_observer_that_lets_it_submit_again_takes_no_reason_away() -> None:
    seam = Seam([made("ja")])
    outcomes, stops = await run_resumed(seam, 3, max_credits=5)

    assert stops == [StopCause.BUDGET, StopCause.BUDGET]
    assert [type(outcome) for outcome in outcomes].count(Completed) == 1
    unsent = [outcome.reason for outcome in outcomes if isinstance(outcome, NotSubmitted)]
    told = "max_credits (5) would be exceeded: 4 credits are spent or locked, and 4, the price of the dearest"
    assert [reason.startswith(told) for reason in unsent] == [True] * 2


async def test_an_observer_that_lets_it_submit_again_takes_the_refusal_of_the_key_back() -> None:
    seam = Seam([errors.AuthenticationError("Who?", code=1101), made("ja")])
    outcomes, _ = await run_resumed(seam, 2, max_in_flight=1)

    assert [type(outcome) for outcome in outcomes] == [NotSubmitted, Completed]  # and nothing is raised


async def test_a_batch_that_was_drained_without_a_reason_sends_nothing() -> None:
    seam = Seam([made("ja")], turn=anyio.Event())
    async with opened(seam, video()) as (batch, _):
        await seam.waiting.wait()
        batch.drain("")
        (outcome,) = [outcome async for outcome in batch]

    assert isinstance(outcome, NotSubmitted)
    assert outcome.reason
    assert seam.posts == []
