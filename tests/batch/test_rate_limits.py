"""A vendor that says "too often": it slows down all POSTs, and uses up nobody's attempts. In virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import trio

from akool_async import AkoolClient, Completed, RetryPolicy, TranslationRequest, open_batch
from akool_async.sandbox import Fault, Sandbox
from tests import virtual_time
from tests.batch.simulation import EPOCH, KEY, VirtualClock

ATTEMPTS = 2
LONG = 1000.0
"""Seconds before a failed call is repeated: far longer than any wait for a rate limit here."""

POLICY = RetryPolicy(
    attempts=ATTEMPTS, initial_delay=LONG, max_delay=LONG, deadline=10 * LONG, jitter=lambda seconds: seconds
)


@asynccontextmanager
async def opened(*faults: Fault) -> AsyncIterator[tuple[AkoolClient, Sandbox]]:
    sandbox = Sandbox(
        api_key=KEY, media=False, max_jobs=50, clock=lambda: EPOCH.timestamp() + trio.current_time()
    )
    for fault in faults:
        sandbox.faults.add(fault)
    http = httpx.AsyncClient(transport=sandbox.http_transport(), trust_env=False)
    client = AkoolClient(
        api_key=KEY, host="http://127.0.0.1:1", http_client=http, clock=VirtualClock(1), retry=POLICY
    )
    async with http, client:
        yield client, sandbox


def too_often(on: str, nth: int | Sequence[int]) -> Fault:
    return Fault(on=on, kind="code", code=1005, nth=nth)


async def post_times(count: int, *faults: Fault) -> list[float]:
    """Translate so many videos at once; return when each POST arrived, in seconds after the first."""
    requests = [
        TranslationRequest(url=f"https://example.com/{number}.mp4", targets="ja", source_language="en")
        for number in range(count)
    ]
    async with (
        opened(*faults) as (client, sandbox),
        open_batch(client, requests, max_in_flight=count, max_submits=count) as batch,
    ):
        outcomes = [outcome async for outcome in batch]

    assert {type(outcome) for outcome in outcomes} == {Completed}
    return [create.at - sandbox.audit.creates[0].at for create in sandbox.audit.creates]


def test_a_rate_limited_post_is_not_repeated_as_slowly_as_a_failed_one() -> None:
    times = virtual_time.run(post_times, 1, too_often("create", range(1, 5)), seed=1)

    assert len(times) == 5
    assert times[-1] < LONG


def test_after_a_rate_limit_posts_come_one_by_one() -> None:
    """Before it they all come at once."""
    free = virtual_time.run(post_times, 10, seed=1)
    limited = virtual_time.run(post_times, 10, too_often("create", 2), seed=1)

    assert free[-1] - free[-5] < 0.5
    assert limited[-1] - limited[-5] > 1.5


def test_a_rate_limited_call_uses_up_no_attempt() -> None:
    async def balance() -> float:
        failing = Fault(on="credit", kind="http", status=503, nth=4)
        async with opened(too_often("credit", range(1, 4)), failing) as (client, _):
            return await client.credit()

    assert virtual_time.run(balance, seed=1) > 0


def test_after_its_attempts_a_call_fails() -> None:
    async def balance() -> str:
        failing = Fault(on="credit", kind="http", status=503, nth=range(1, ATTEMPTS + 1))
        async with opened(failing) as (client, _):
            try:
                await client.credit()
            except Exception as error:
                return type(error).__name__
            return ""

    assert virtual_time.run(balance, seed=1) == "ServerError"
