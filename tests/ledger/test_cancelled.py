"""A paid call whose task is cancelled by the event loop itself, or whose ledger is closed, is recorded."""

from __future__ import annotations

import asyncio
import threading

import anyio
import pytest

from akool_async import State
from akool_async.ledger import open_ledger
from tests.client.moments import held_back
from tests.ledger.conftest import Bench, video


async def happened(event: threading.Event) -> None:
    with anyio.fail_after(40):
        while not event.is_set():
            await anyio.sleep(0.01)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_call_whose_task_is_cancelled_by_asyncio_is_recorded(bench: Bench, times: int) -> None:
    with held_back(bench.sandbox, "create", asked := threading.Event()) as answer:
        async with open_ledger(bench.url) as ledger:
            task = asyncio.create_task(ledger.submit_once(bench.client, video()))
            await happened(asked)
            for _ in range(times):
                task.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await task
            answer()

    entry = await bench.ledger.get("video-1", "ja")
    assert entry is not None
    assert [entry.job_id] == [job.id for job in bench.sandbox.audit.jobs]
    assert entry.state is State.SUBMITTED


async def test_a_ledger_is_closed_after_the_paid_calls_under_way(bench: Bench) -> None:
    with held_back(bench.sandbox, "create", asked := threading.Event()) as answer:
        async with open_ledger(bench.url) as ledger:
            task = asyncio.create_task(ledger.submit_once(bench.client, video()))
            await happened(asked)
            asyncio.get_running_loop().call_later(0.2, answer)

    entry = await bench.ledger.get("video-1", "ja")
    assert entry is not None
    assert [entry.job_id] == [job.id for job in bench.sandbox.audit.jobs]
    task.cancel()


async def test_a_ledger_is_opened_once_at_a_time(bench: Bench) -> None:
    with pytest.raises(RuntimeError, match="open already"):
        async with bench.ledger:
            pass
    assert await bench.ledger.get("video-1", "ja") is None
