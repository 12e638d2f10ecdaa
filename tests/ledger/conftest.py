"""A sandbox, a client of it and a ledger in a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import psycopg
import pytest

from akool_async import AkoolClient, FixedSchedule, PollSchedule, RetryPolicy, TranslationRequest
from akool_async.ledger import Ledger, open_ledger
from akool_async.sandbox import Sandbox
from tests.postgres import new_database, pytest_collection_finish, pytest_sessionfinish

__all__ = [
    "QUICK",
    "SHORT_JOBS",
    "Bench",
    "end_post_time",
    "pytest_collection_finish",
    "pytest_sessionfinish",
    "video",
]

QUICK = RetryPolicy(initial_delay=0.001, max_delay=0.01, throttle_initial_delay=0.001)
SHORT_JOBS: dict[str, float] = {"time_scale": 20.0, "median_seconds": 0.5}
"""Jobs that end at once, of a vendor whose clock stays near ours. By a fast clock a slow machine takes days:
a job is then not of the time of its intent, and results expire."""


def video(number: int = 1, target: str = "ja", **more: object) -> TranslationRequest:
    url = f"https://media.example/{number}.mp4?sig=canary"
    return TranslationRequest(url=url, targets=target, key=f"video-{number}", **more)  # type: ignore[arg-type]


@attrs.frozen
class Bench:
    sandbox: Sandbox
    client: AkoolClient
    ledger: Ledger
    url: str


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def database() -> str:
    return new_database()


@asynccontextmanager
async def open_bench(database: str, schedule: PollSchedule | None = None) -> AsyncIterator[Bench]:
    """Serve a vendor, and open a client of it and a ledger."""
    sandbox = Sandbox(api_key="canary-5d1", media=False, **SHORT_JOBS, seed=1)
    async with (
        sandbox.serve() as server,
        AkoolClient(api_key="canary-5d1", host=server.base_url, retry=QUICK, schedule=schedule) as client,
        open_ledger(database) as ledger,
    ):
        yield Bench(sandbox, client, ledger, database)


@pytest.fixture
async def bench(database: str) -> AsyncIterator[Bench]:
    async with open_bench(database) as opened:
        yield opened


@pytest.fixture
async def quick(database: str) -> AsyncIterator[Bench]:
    """The same, whose client asks often for its jobs."""
    async with open_bench(database, FixedSchedule(interval=0.02)) as opened:
        yield opened


def end_post_time(url: str) -> None:
    """Let the time pass in which a POST may be under way."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE akool_ledger.intent SET post_ends_at = now() - interval '1 second'")
