"""A poll schedule that fails loses no paid job: what it should have said is a safe wait, in one warning."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
import attrs
import pytest

from akool_async import (
    AkoolClient,
    Completed,
    ConfigurationError,
    LearnedSchedule,
    PollContext,
    RetryPolicy,
    Status,
    open_batch,
)
from akool_async.sandbox import Fault, Sandbox
from akool_async.testing import VirtualClock
from tests.batch.seam import Telling
from tests.client.conftest import video
from tests.client.moments import until


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


def fail() -> float:
    raise ZeroDivisionError("a schedule's mistake")


class Unshown:
    def __repr__(self) -> str:
        raise OSError("no repr")


@attrs.define(eq=False)
class Odd:
    """Fails from the poll after the first `good` answers on."""

    answer: Callable[[], object]
    good: int = 0

    def next_poll(self, context: PollContext, rand: float) -> float:
        return 5.0 if context.polls < self.good else self.answer()  # type: ignore[return-value]


class Unteachable(LearnedSchedule):
    def learn(self, seen: object) -> None:
        raise KeyError("a schedule's mistake")


class Cancelling(Odd):
    def next_poll(self, context: PollContext, rand: float) -> float:
        raise asyncio.CancelledError


ODD = [None, math.nan, -5.0, 0, math.inf, 1e9, 10**400, "5", True, Unshown()]
NAMES = ["none", "nan", "negative", "zero", "inf", "huge", "larger-than-any-float", "text", "bool", "unshown"]


@asynccontextmanager
async def opened(**options: object) -> AsyncIterator[tuple[Sandbox, AkoolClient]]:
    clock = VirtualClock()
    sandbox = Sandbox(media=False, clock=clock.sandbox_time)
    with anyio.fail_after(60):
        async with sandbox.client(clock=clock, **options) as client:
            yield sandbox, client


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    return found


async def check_polled(client: AkoolClient, schedule: Odd, caplog: pytest.LogCaptureFixture) -> None:
    """All jobs of a batch and one by itself end, with one warning each."""
    async with open_batch(client, [video(number) for number in range(3)], schedule=schedule) as batch:
        assert [type(outcome) async for outcome in batch] == [Completed] * 3
    (warning,) = said(caplog)
    assert f"The poll schedule {type(schedule).__name__} " in warning
    job = (await client.submit(video(3))).accepted[0]
    assert (await client.wait(job.id, schedule=schedule)).status is Status.COMPLETED
    assert len(said(caplog)) == 1
    assert (await client.translate(video(4))).snapshot.status is Status.COMPLETED


@pytest.mark.parametrize("answer", ODD, ids=NAMES)
async def test_jobs_whose_schedule_answers_no_time_are_polled_on(
    caplog: pytest.LogCaptureFixture, answer: object
) -> None:
    async with opened() as (sandbox, client):
        await check_polled(client, Odd(lambda: answer), caplog)

    assert all(count < 200 for count in sandbox.audit.polled.values())


@pytest.mark.parametrize("good", [0, 1])
async def test_jobs_whose_schedule_raises_are_polled_on(caplog: pytest.LogCaptureFixture, good: int) -> None:
    async with opened() as (_, client):
        await check_polled(client, Odd(fail, good), caplog)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancellation_of_the_schedules_own_is_an_error_like_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with opened() as (_, client):
        await check_polled(client, Cancelling(fail), caplog)


async def test_the_clients_own_schedule_may_fail_too(caplog: pytest.LogCaptureFixture) -> None:
    async with opened(schedule=Odd(fail)) as (_, client):
        assert (await client.translate(video(1))).snapshot.status is Status.COMPLETED
        async with open_batch(client, [video(2)]) as batch:
            assert [type(outcome) async for outcome in batch] == [Completed]

    assert len(said(caplog)) == 1


async def test_what_a_schedule_fails_to_learn_ends_no_polling(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        opened(schedule=Unteachable()) as (_, client),
        open_batch(client, [video(1), video(2)]) as batch,
    ):
        assert [type(outcome) async for outcome in batch] == [Completed] * 2

    (warning,) = said(caplog)
    assert "The poll schedule Unteachable raised an error while it learned" in warning


async def test_a_batch_that_hears_callbacks_is_polled_on(caplog: pytest.LogCaptureFixture) -> None:
    requests = [video(number) for number in range(3)]
    hooks = {"webhook_url": "https://hooks.example.org/akool", "callbacks": Telling()}
    async with opened() as (_, client), open_batch(client, requests, schedule=Odd(fail), **hooks) as batch:
        assert [type(outcome) async for outcome in batch] == [Completed] * 3

    assert len(said(caplog)) == 1


async def test_a_shortest_wait_is_no_poll_without_pause() -> None:
    async with opened() as (sandbox, client):
        job = (await client.submit(video(1))).accepted[0]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(client.wait, job.id, schedule=Odd(lambda: 1e-300)))
            await until(lambda: len(sandbox.audit.polls(job.id)) > 1)  # others have a turn between them
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("schedule", [5, "often", object()], ids=["number", "text", "object"])
async def test_what_is_no_schedule_is_refused_before_anything_is_sent(schedule: object) -> None:
    async with opened() as (sandbox, client):
        with pytest.raises(ConfigurationError, match="next_poll"):
            open_batch(client, [video(1)], schedule=schedule)
        with pytest.raises(ConfigurationError, match="next_poll"):
            AkoolClient(api_key="k", schedule=schedule)

        assert sandbox.audit.jobs == ()


@pytest.mark.parametrize("answer", [fail, lambda: None, lambda: math.nan], ids=["error", "none", "nan"])
async def test_a_jitter_that_fails_ends_neither_polls_nor_posts(answer: Callable[[], object]) -> None:
    retry = RetryPolicy(jitter=lambda _: answer())  # type: ignore[arg-type,return-value]
    async with opened(retry=retry) as (sandbox, client):
        sandbox.faults.add(Fault(on="create", kind="http", status=429, nth=[1]))
        sandbox.faults.add(Fault(on="status", kind="http", status=503, nth=[1, 2]))
        async with open_batch(client, [video(1)]) as batch:
            assert [type(outcome) async for outcome in batch] == [Completed]
