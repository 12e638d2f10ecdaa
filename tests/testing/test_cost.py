"""What a user's test of jobs costs: counted in calls of functions, since time depends on the machine."""

from __future__ import annotations

import cProfile
import pstats
from pathlib import Path

import pytest

from akool_async import TranslationRequest, open_batch, open_journal
from akool_async.sandbox import Sandbox
from akool_async.testing import VirtualClock

JOBS = 20
MOST_CALLS = 80_000
"""Calls for one job to its end: 42,000 to 51,000 when this was written, which is 20 ms of one core."""
MOST_POLLS = 20


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.thorough
async def test_a_job_in_virtual_time_takes_few_calls(tmp_path: Path) -> None:
    clock, profile = VirtualClock(), cProfile.Profile()
    sandbox = Sandbox(media=False, clock=clock.sandbox_time)
    requests = [TranslationRequest(url=f"https://example.com/{n}.mp4", targets="ja") for n in range(JOBS)]
    async with (
        sandbox.client(clock=clock) as client,
        open_journal(tmp_path / "jobs.sqlite3") as journal,
        open_batch(client, requests, journal=journal) as batch,
    ):
        profile.enable()
        outcomes = [outcome async for outcome in batch]
        profile.disable()

    assert len(outcomes) == JOBS
    assert clock.monotonic() > 60
    assert sandbox.audit.requests["status"] <= MOST_POLLS * JOBS
    assert pstats.Stats(profile).total_calls <= MOST_CALLS * JOBS  # type: ignore[attr-defined]
