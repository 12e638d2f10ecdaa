"""A virtual clock on a machine that stops for seconds: nobody's work is overtaken by time."""

from __future__ import annotations

import time

import anyio
import pytest
from anyio.lowlevel import checkpoint

from akool_async.testing import VirtualClock


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


async def test_a_machine_that_stops_for_seconds_lets_no_time_jump_over_a_busy_task() -> None:
    clock, done_at = VirtualClock(), list[float]()

    async def work() -> None:
        for turn in range(100):
            await checkpoint()
            if turn == 50:
                time.sleep(1.2)  # as while the whole process is stopped
        done_at.append(clock.monotonic())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.sleep, 10.0)
        tasks.start_soon(work)

    assert done_at == [0.0]
    assert clock.monotonic() == 10.0
