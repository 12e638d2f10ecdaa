"""A batch run again asks soon about what an earlier run left, whatever the clocks say of its age."""

from __future__ import annotations

from datetime import datetime, timedelta

import anyio
import httpx
import pytest
import trio
import trio.testing

from akool_async import AkoolClient, TranslationRequest, open_batch, open_journal
from akool_async._polling.scheduler import RESUME_SPACING
from akool_async.sandbox import Sandbox
from tests.batch.simulation import EPOCH, KEY, VirtualClock

JOBS = 200


class WrongClock(VirtualClock):
    """A wall clock that is wrong by some hours."""

    hours = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(hours=self.hours)


@pytest.mark.parametrize("hours", [0.0, -5.0, 5.0])
def test_jobs_that_come_back_are_asked_about_soon_and_not_in_a_burst(hours: float) -> None:
    async def test() -> None:
        clock = WrongClock(1)
        start = EPOCH.timestamp()
        sandbox = Sandbox(
            api_key=KEY,
            media=False,
            max_jobs=JOBS,
            median_seconds=3600,
            clock=lambda: start + trio.current_time(),
        )
        wanted = [TranslationRequest(url=f"https://example.com/{n}.mp4", targets="ja") for n in range(JOBS)]
        http = httpx.AsyncClient(transport=sandbox.http_transport(), trust_env=False)
        async with (
            http,
            open_journal(":memory:", now=clock.now) as journal,
            AkoolClient(api_key=KEY, host="http://127.0.0.1:1", http_client=http, clock=clock) as client,
        ):
            for seconds in (2.0, JOBS * RESUME_SPACING + 1.0):
                polled = sum(sandbox.audit.polled.values())
                again = trio.current_time() + start
                with anyio.move_on_after(seconds):
                    async with open_batch(client, wanted, max_in_flight=JOBS, journal=journal) as batch:
                        async for _ in batch:
                            pass
                clock.hours = hours

        assert len(sandbox.audit.jobs) == JOBS
        assert polled == 0
        firsts = sorted(sandbox.audit.polls(job.id)[0] - again for job in sandbox.audit.jobs)
        assert firsts[JOBS // 2] > 0.4 * JOBS * RESUME_SPACING
        assert firsts[-1] <= JOBS * RESUME_SPACING + 0.5

    trio.run(test, clock=trio.testing.MockClock(autojump_threshold=0))
