"""Translate videos with Celery: tasks in Redis or Valkey, the ledger in Postgres.

pip install 'akool-async[ledger]' 'celery[redis]'
export AKOOL_LEDGER=postgresql://user@host/database REDIS_URL=redis://host AKOOL_API_KEY=...
python with_celery.py ja https://media.example/1.mp4 https://media.example/2.mp4
celery -A with_celery worker --pool threads --concurrency 500      # on each machine

A task may run twice, or be killed at any moment: the ledger allows each POST once. Without videos, the first
command queues again what is left, so a lost message does no harm.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from typing import Any

import anyio
from anyio.from_thread import start_blocking_portal
from celery import Celery, Task
from celery.signals import worker_init, worker_shutdown

from akool_async import AkoolClient, TranslationRequest
from akool_async.ledger import Ledger, Made, NotSent, Submitted, open_ledger

LEDGER = os.environ["AKOOL_LEDGER"]
RESULTS = os.environ.get("RESULTS", "results")
app = Celery("akool", broker=os.environ["REDIS_URL"])
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, task_ignore_result=True)
opened = ExitStack()
shared: dict[str, Any] = {}


@worker_init.connect
def start(**_: object) -> None:
    """Open one ledger and one client in a loop of their own, for the threads of all tasks."""
    shared["portal"] = portal = opened.enter_context(start_blocking_portal())
    for name, resource in (("ledger", open_ledger(LEDGER)), ("client", AkoolClient())):
        shared[name] = opened.enter_context(portal.wrap_async_context_manager(resource))


@worker_shutdown.connect
def stop(**_: object) -> None:
    """Close them."""
    opened.close()


async def submit(ledger: Ledger, client: AkoolClient, key: str, target: str) -> Submitted:
    """Make the job of an entry, unless it was made."""
    entry = await ledger.get(key, target)
    if entry is None:
        raise LookupError(key)
    return await ledger.submit_once(client, entry.request, work=key)


async def finish(ledger: Ledger, client: AkoolClient, key: str, target: str) -> None:
    """Wait for a job and save its result."""
    await ledger.wait_once(client, key, target)
    await ledger.save_once(client, key, target, into=RESULTS)


@app.task(bind=True, name="translate", max_retries=None, autoretry_for=(Exception,), default_retry_delay=5)
def translate(self: Task, key: str, target: str) -> None:
    """Make the job of an entry once, wait for it and save its result."""
    ledger, client, call = shared["ledger"], shared["client"], shared["portal"].call
    submitted = call(submit, ledger, client, key, target)
    if isinstance(submitted, NotSent):  # rate limited, or as many jobs as the account may have
        raise self.retry(countdown=submitted.retry_after)
    # Refused or in doubt is recorded in the ledger; `akool-async ledger resolve` lets a person decide.
    if isinstance(submitted, Made):
        call(finish, ledger, client, key, target)


async def enqueue(target: str = "", *urls: str) -> None:
    """Enter videos into the ledger, and queue everything that is not finished."""
    async with open_ledger(LEDGER) as ledger:
        await ledger.plan(TranslationRequest(url=url, targets=target) for url in urls)
        for key, language, _ in await ledger.open_work():
            translate.delay(key, language)


if __name__ == "__main__":
    anyio.run(enqueue, *sys.argv[1:])
