"""Translate videos with Taskiq: tasks in Redis or Valkey, the ledger in Postgres.

pip install 'akool-async[ledger]' taskiq taskiq-redis
export AKOOL_LEDGER=postgresql://user@host/database REDIS_URL=redis://host AKOOL_API_KEY=...
python with_taskiq.py ja https://media.example/1.mp4 https://media.example/2.mp4
taskiq worker with_taskiq:broker --workers 1 --max-async-tasks 500      # on each machine

A task may run twice, or be killed at any moment: the ledger allows each POST once. Without videos, the first
command queues again what is left, so a lost message does no harm.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from typing import Annotated

from taskiq import Context, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq_redis import RedisStreamBroker

from akool_async import AkoolClient, TranslationRequest
from akool_async.ledger import Made, NotSent, open_ledger

LEDGER = os.environ["AKOOL_LEDGER"]
RESULTS = os.environ.get("RESULTS", "results")
broker = RedisStreamBroker(os.environ["REDIS_URL"], consumer_id="0", unacknowledged_lock_timeout=60)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def start(state: TaskiqState) -> None:
    """Open one ledger and one client, whose polls share a schedule, for all tasks of this process."""
    state.stack = AsyncExitStack()
    state.ledger = await state.stack.enter_async_context(open_ledger(LEDGER))
    state.client = await AkoolClient().aopen()
    state.stack.push_async_callback(state.client.aclose)


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def stop(state: TaskiqState) -> None:
    """Close them."""
    await state.stack.aclose()


@broker.task
async def translate(key: str, target: str, context: Annotated[Context, TaskiqDepends()]) -> None:
    """Make the job of an entry once, wait for it and save its result."""
    ledger, client = context.state.ledger, context.state.client
    entry = await ledger.get(key, target)
    submitted = await ledger.submit_once(client, entry.request, work=key)
    while isinstance(submitted, NotSent):  # rate limited, or as many jobs as the account may have
        await asyncio.sleep(submitted.retry_after)
        submitted = await ledger.submit_once(client, entry.request, work=key)
    # Refused or in doubt is recorded in the ledger; `akool-async ledger resolve` lets a person decide.
    if isinstance(submitted, Made):
        await ledger.wait_once(client, key, target)
        await ledger.save_once(client, key, target, into=RESULTS)


async def enqueue(target: str = "", *urls: str) -> None:
    """Enter videos into the ledger, and queue everything that is not finished."""
    await broker.startup()
    async with open_ledger(LEDGER) as ledger:
        await ledger.plan(TranslationRequest(url=url, targets=target) for url in urls)
        for key, language, _ in await ledger.open_work():
            await translate.kiq(key, language)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(enqueue(*sys.argv[1:]))
