"""A batch under cancellation by the event loop itself, as `asyncio.wait_for` and `Task.cancel` do it.

AKOOL_TEST_CANCELS sets how many runs are cancelled.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
from pathlib import Path

import pytest

from akool_async import (
    AkoolClient,
    FixedSchedule,
    Journal,
    Outcome,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async.sandbox import Fault, Sandbox
from tests.batch.simulation import check
from tests.client.conftest import KEY

CANCELS = int(os.environ.get("AKOOL_TEST_CANCELS", "10"))

pytestmark = [
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
    pytest.mark.timeout(600),
]


async def _run(
    client: AkoolClient, wanted: list[TranslationRequest], journal: Journal, out: Path, taken: list[Outcome]
) -> None:
    """Take outcomes with a time-out around each, as applications do."""
    async with open_batch(client, wanted, max_in_flight=4, journal=journal, download_to=out) as batch:
        while True:
            try:
                taken.append(await asyncio.wait_for(anext(batch), 0.003))
            except TimeoutError:
                continue
            except StopAsyncIteration:
                return


async def test_cancelled_runs_lose_nothing_and_the_last_one_brings_all_home(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    sandbox = Sandbox(api_key=KEY, media=False, time_scale=2000.0, max_jobs=4, seed=seed)
    sandbox.faults.add(Fault(on="create", kind="delay", seconds=0.01, probability=0.5))
    wanted = [
        TranslationRequest(url=f"https://example.com/{number}.mp4", targets="ja,fr")
        for number in range(4 * CANCELS)
    ]
    runs: list[list[Outcome]] = []
    async with (
        sandbox.serve() as server,
        open_journal(tmp_path / "jobs.sqlite3") as journal,
        AkoolClient(api_key=KEY, host=server.base_url, schedule=FixedSchedule(interval=0.05)) as client,
    ):
        for number in range(CANCELS + 1):
            runs.append([])
            work = asyncio.ensure_future(_run(client, wanted, journal, tmp_path / "out", runs[-1]))
            if number < CANCELS:
                await asyncio.wait([work], timeout=chance.random() * 0.3)
                work.cancel()
            await asyncio.wait([work])
            assert work.cancelled() or work.exception() is None
        await check(sandbox, journal, wanted, runs)

    assert len(runs[-1]) == 2 * len(wanted) == len(sandbox.audit.jobs)
    print(f"{CANCELS} runs cancelled, {len(sandbox.audit.jobs)} jobs")


async def test_a_ticket_hears_of_its_cancellation_also_where_the_one_who_cancels_is_gone(
    tmp_path: Path,
) -> None:
    sandbox = Sandbox(api_key=KEY, media=False, time_scale=1.0)
    async with (
        sandbox.serve() as server,
        open_journal(tmp_path / "jobs.sqlite3") as journal,
        AkoolClient(api_key=KEY, host=server.base_url, schedule=FixedSchedule(interval=0.05)) as client,
        open_batch(client, journal=journal, max_in_flight=1) as batch,
    ):
        orders = [
            TranslationRequest(url=f"https://example.com/{number}.mp4", targets="ja", key=f"{number}")
            for number in range(5)
        ]
        tickets = [await batch.submit(order) for order in orders]
        while not sandbox.audit.jobs:
            await asyncio.sleep(0.01)
        for turns in range(1, 5):
            cancelling = asyncio.ensure_future(batch.cancel(f"{turns}", "ja"))
            for _ in range(turns):
                await asyncio.sleep(0)
            cancelling.cancel()
            await asyncio.wait([cancelling])
            outcome = await asyncio.wait_for(tickets[turns].outcome(), 20)
            assert outcome.reason.startswith("It was cancelled")
            assert journal.get(f"{turns}", "ja") is None


# What anyio's group starts and the loop cancels before its first step was "never awaited", which is no fault.
@pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited:RuntimeWarning")
async def test_the_end_of_the_loop_leaves_a_batch_cancelled_and_nothing_else(tmp_path: Path) -> None:
    sandbox = Sandbox(api_key=KEY, media=False, time_scale=1.0)
    told: list[dict[str, object]] = []

    async def work(host: str) -> None:
        async with (
            AkoolClient(api_key=KEY, host=host, schedule=FixedSchedule(interval=0.05)) as client,
            open_journal(tmp_path / "jobs.sqlite3") as journal,
        ):
            await _run(
                client,
                [TranslationRequest(url="https://example.com/1.mp4", targets="ja")],
                journal,
                tmp_path,
                [],
            )

    async def leave(host: str) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        left.append(asyncio.ensure_future(work(host)))
        while not sandbox.audit.jobs:
            await asyncio.sleep(0.01)

    left: list[asyncio.Task[None]] = []
    async with sandbox.serve() as server:
        await asyncio.to_thread(asyncio.run, leave(server.base_url))

    assert not told
    assert left.pop().cancelled()
    gc.collect()  # inside this test, whose filter lets the warnings pass
