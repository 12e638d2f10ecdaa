"""Sources that end by what is no `Exception`: something they waited for was cancelled, or they exit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import NoReturn

import anyio
import pytest

from akool_async import Completed, FixedSchedule, Outcome, StopCause, TranslationRequest, open_batch
from akool_async._batch.feeder import Requests
from akool_async.sandbox import Sandbox
from akool_async.testing import VirtualClock
from tests.client.conftest import video
from tests.client.moments import until


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


both_loops = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


async def cancelled_task() -> NoReturn:
    other = asyncio.ensure_future(asyncio.sleep(60))
    other.cancel()
    await other
    raise AssertionError


async def check(source: Requests, failure: type[BaseException], *, threaded: bool = False) -> None:
    """Run a source that fails after three requests; each comes out first, and what is paid is home."""
    clock, outcomes = VirtualClock(), list[Outcome]()
    sandbox = Sandbox(media=False, clock=clock.sandbox_time)
    with anyio.fail_after(55):
        async with (
            sandbox.client(clock=clock) as client,
            open_batch(client, source, threaded=threaded) as batch,
        ):
            with pytest.raises(failure):
                async for outcome in batch:
                    outcomes.append(outcome)
            assert batch.stop_cause is StopCause.FAILURE
            assert batch.stopped == f"The source of requests failed: {failure.__name__}."

    assert len(outcomes) == 3
    assert sum(isinstance(outcome, Completed) for outcome in outcomes) == len(sandbox.audit.jobs)


async def test_a_source_that_waited_for_what_was_cancelled_ends_after_the_last_outcome() -> None:
    async def source() -> AsyncIterator[TranslationRequest]:
        for number in range(3):
            yield video(number)
        await cancelled_task()

    await check(source(), asyncio.CancelledError)


@pytest.mark.parametrize("threaded", [False, True])
async def test_an_iterable_that_looked_at_what_was_cancelled_ends_after_the_last_outcome(
    threaded: bool,
) -> None:
    def source() -> Iterator[TranslationRequest]:
        for number in range(3):
            yield video(number)
        raise asyncio.CancelledError

    await check(source(), asyncio.CancelledError, threaded=threaded)


@both_loops
@pytest.mark.parametrize("kind", ["plain", "threaded", "async"])
async def test_a_source_that_leaves_the_program_tears_no_paid_job(anyio_backend: str, kind: str) -> None:
    def source() -> Iterator[TranslationRequest]:
        for number in range(3):
            yield video(number)
        raise SystemExit(3)

    async def async_source() -> AsyncIterator[TranslationRequest]:
        for request in source():
            yield request

    given: Requests = async_source() if kind == "async" else source()
    await check(given, SystemExit, threaded=kind == "threaded")


@pytest.mark.parametrize("backlog", [1, 9])
async def test_a_timeout_that_a_source_leaves_open_ends_the_batch_wherever_it_waits(backlog: int) -> None:
    sandbox, over = Sandbox(media=False, time_scale=1.0), list[asyncio.Timeout]()

    async def source() -> AsyncIterator[TranslationRequest]:
        async with asyncio.timeout(None) as timeout:
            over.append(timeout)
            for number in range(9):
                yield video(number)

    outcomes, pulled = [], min(backlog, 2)  # the second waits for the slot, or for room to be pulled
    with anyio.fail_after(55):
        async with (
            sandbox.client(schedule=FixedSchedule(interval=0.05)) as client,
            open_batch(client, source(), max_in_flight=1, backlog=backlog) as batch,
        ):
            await until(lambda: sandbox.audit.jobs and batch.statistics().pulled == pulled)
            over[0].reschedule(asyncio.get_running_loop().time())
            await until(lambda: batch.stopped)
            sandbox.engine.clock.scale = 5000.0
            with pytest.raises(asyncio.CancelledError):
                async for outcome in batch:
                    outcomes.append(outcome)
            assert batch.statistics().in_flight == 0

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Completed", "NotSubmitted"][:pulled]
    assert len(sandbox.audit.jobs) == 1


@both_loops
async def test_a_batch_that_is_left_ends_its_source_and_calls_that_no_failure(anyio_backend: str) -> None:
    told: list[str] = []

    async def source() -> AsyncIterator[TranslationRequest]:
        told.append("waits")
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            told.append("cancelled")
            raise
        yield video(1)

    with anyio.fail_after(55):
        async with Sandbox(media=False).client() as client:
            async with open_batch(client, source()) as batch:
                await until(lambda: told)
            assert batch.stop_cause is None

    assert told == ["waits", "cancelled"]


async def test_a_source_that_waits_for_a_task_is_drained_without_a_failure() -> None:
    waiting: list[asyncio.Future[None]] = []

    async def source() -> AsyncIterator[TranslationRequest]:
        waiting.append(asyncio.ensure_future(asyncio.sleep(60)))
        await waiting[0]
        yield video(1)

    with anyio.fail_after(55):
        async with Sandbox(media=False).client() as client, open_batch(client, source()) as batch:
            await until(lambda: waiting)
            batch.drain()
            assert [outcome async for outcome in batch] == []
            assert batch.stop_cause is StopCause.REQUESTED


async def test_a_caller_that_is_cancelled_leaves_the_batch() -> None:
    waiting: list[bool] = []

    async def source() -> AsyncIterator[TranslationRequest]:
        waiting.append(True)
        await asyncio.sleep(60)
        yield video(1)

    async def run() -> None:
        async with Sandbox(media=False).client() as client, open_batch(client, source()) as batch:
            async for _ in batch:
                pass

    task = asyncio.ensure_future(run())
    await until(lambda: waiting)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
