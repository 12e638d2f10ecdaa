"""Translate videos with Procrastinate: tasks and ledger in one Postgres, with any number of workers.

pip install 'akool-async[ledger]' procrastinate
export AKOOL_LEDGER=postgresql://user@host/database AKOOL_API_KEY=...
python with_procrastinate.py enqueue ja https://media.example/1.mp4 https://media.example/2.mp4
python with_procrastinate.py work      # on each machine

A task may run twice, or be killed at any moment: the ledger allows each POST once. `enqueue` without videos
queues again what is left, so a lost task does no harm.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress

from procrastinate import App, JobContext, PsycopgConnector, RetryStrategy
from procrastinate.exceptions import AlreadyEnqueued

from akool_async import AkoolClient, TranslationRequest
from akool_async.ledger import Made, NotSent, open_ledger

LEDGER = os.environ["AKOOL_LEDGER"]
RESULTS = os.environ.get("RESULTS", "results")
app = App(connector=PsycopgConnector(conninfo=LEDGER))


class TryLaterError(Exception):
    """The account has as many jobs as it may, or the vendor is rate limiting: no job was made."""


@app.task(name="translate", pass_context=True, retry=RetryStrategy(wait=5))
async def translate(context: JobContext, key: str, target: str) -> None:
    """Make the job of an entry once, wait for it and save its result."""
    ledger, client = context.additional_context["ledger"], context.additional_context["client"]
    entry = await ledger.get(key, target)
    submitted = await ledger.submit_once(client, entry.request, work=key)
    if isinstance(submitted, NotSent):
        raise TryLaterError(submitted.reason)
    # Refused or in doubt is recorded in the ledger; `akool-async ledger resolve` lets a person decide.
    if isinstance(submitted, Made):
        await ledger.wait_once(client, key, target)
        await ledger.save_once(client, key, target, into=RESULTS)


async def enqueue(target: str = "", *urls: str) -> None:
    """Enter videos into the ledger, and queue everything that is not finished."""
    async with open_ledger(LEDGER) as ledger, app.open_async():
        if not await app.check_connection_async():
            await app.schema_manager.apply_schema_async()
        await ledger.plan(TranslationRequest(url=url, targets=target) for url in urls)
        for key, language, _ in await ledger.open_work():
            task = translate.configure(queueing_lock=f"{key}/{language}")
            with suppress(AlreadyEnqueued):
                await task.defer_async(key=key, target=language)


async def work() -> None:
    """Run tasks until SIGTERM; one ledger and one client, whose polls share a schedule, for all of them."""
    async with open_ledger(LEDGER) as ledger, AkoolClient() as client, app.open_async():
        shared = {"ledger": ledger, "client": client}
        await app.run_worker_async(concurrency=500, additional_context=shared)


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    asyncio.run({"enqueue": enqueue, "work": work}[command](*arguments))
