"""A key that is refused while jobs are at the vendor: every batch ends, and says why."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from akool_async import (
    AuthenticationError,
    FixedSchedule,
    State,
    StopCause,
    open_batch,
    open_journal,
)
from akool_async.sandbox import Fault, Sandbox
from tests.batch.test_batch import videos
from tests.client.moments import still_clock

SOON = FixedSchedule(interval=0.1)


async def test_more_jobs_than_the_backlog_holds_end_with_the_refusal(tmp_path: Path) -> None:
    sandbox = Sandbox(media=False, max_jobs=50, clock=still_clock())
    async with open_journal(tmp_path / "jobs.sqlite3") as journal, sandbox.client() as client:
        async with open_batch(client, videos(20), journal=journal, max_in_flight=20):
            with anyio.fail_after(55):
                while journal.counts()[State.SUBMITTED] < 20:
                    await anyio.sleep(0.01)

        async with sandbox.client(api_key="another-key-that-is-wrong") as wrong:
            batch = open_batch(wrong, videos(20), journal=journal, max_in_flight=2)
            with pytest.raises(AuthenticationError), anyio.fail_after(55):
                async with batch:
                    assert [outcome async for outcome in batch] == []

        assert batch.stop_cause is StopCause.CREDENTIALS
        assert journal.counts()[State.SUBMITTED] == len(sandbox.audit.jobs) == 20


@pytest.mark.parametrize("drains", ["before", "after"])
async def test_a_service_that_is_drained_ends_though_its_polls_are_refused(
    tmp_path: Path, drains: str
) -> None:
    sandbox = Sandbox(media=False, faults=[Fault(on="status", kind="code", code=1101)])
    async with open_journal(tmp_path / "jobs.sqlite3") as journal, sandbox.client() as client:
        with pytest.raises(AuthenticationError), anyio.fail_after(55):
            async with open_batch(client, journal=journal, schedule=SOON) as batch:
                await batch.submit(videos(1)[0])
                while not sandbox.audit.jobs or (drains == "after" and batch.stop_cause is None):
                    await anyio.sleep(0.01)
                batch.drain()
                assert [outcome async for outcome in batch] == []

        assert journal.counts()[State.SUBMITTED] == 1
