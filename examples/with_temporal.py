"""Translate videos with Temporal: a workflow for each, the ledger in Postgres.

pip install 'akool-async[ledger]' temporalio
export AKOOL_LEDGER=postgresql://user@host/database TEMPORAL=host:7233 AKOOL_API_KEY=...
python with_temporal.py enqueue ja https://media.example/1.mp4 https://media.example/2.mp4
python with_temporal.py work      # on each machine

An activity may run twice, or be killed at any moment: the ledger allows each POST once, so even the paid
activity has Temporal's usual retries.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from akool_async import AkoolClient, TranslationRequest
    from akool_async.ledger import Ledger, Made, NotSent, open_ledger

QUEUE = "akool"


class Activities:
    """What touches the world, with one ledger and one client, whose polls share a schedule, for all."""

    def __init__(self, ledger: Ledger, client: AkoolClient) -> None:
        """Keep both, which are open."""
        self.ledger, self.client = ledger, client

    @activity.defn
    async def submit(self, key: str, target: str) -> bool:
        """Make the job of an entry once; False if it was refused or is in doubt, which the ledger holds."""
        # From the ledger, not as an argument: Temporal keeps arguments, and a URL may be signed.
        entry = await self.ledger.get(key, target)
        if entry is None:
            raise LookupError(key)
        submitted = await self.ledger.submit_once(self.client, entry.request, work=key)
        if isinstance(submitted, NotSent):  # rate limited, or as many jobs as the account may have
            raise ApplicationError(
                submitted.reason, next_retry_delay=timedelta(seconds=submitted.retry_after)
            )
        return isinstance(submitted, Made)

    @activity.defn
    async def wait(self, key: str, target: str) -> None:
        """Wait for the job. The heartbeats let another machine wait, soon after this one is lost."""

        async def beat() -> None:
            while True:
                activity.heartbeat()
                await asyncio.sleep(5)

        beats = asyncio.create_task(beat())
        try:
            await self.ledger.wait_once(self.client, key, target)
        finally:
            beats.cancel()

    @activity.defn
    async def save(self, key: str, target: str) -> str:
        """Save the result; return the entry's state."""
        into = os.environ.get("RESULTS", "results")
        entry = await self.ledger.save_once(self.client, key, target, into=into)
        return entry.state.value


@workflow.defn
class Translate:
    """The life of one video in one language."""

    @workflow.run
    async def run(self, key: str, target: str) -> str:
        """Return the state in which the entry ended."""
        # With retries under one limit for all attempts; a lost machine is noticed by the limit of one.
        brief, hours = timedelta(minutes=10), timedelta(hours=24)
        if not await workflow.execute_activity_method(
            Activities.submit, args=[key, target], start_to_close_timeout=brief
        ):
            return "not submitted"
        beat = timedelta(seconds=20)
        await workflow.execute_activity_method(
            Activities.wait, args=[key, target], start_to_close_timeout=hours, heartbeat_timeout=beat
        )
        return await workflow.execute_activity_method(
            Activities.save, args=[key, target], start_to_close_timeout=timedelta(hours=2)
        )


async def enqueue(target: str = "", *urls: str) -> None:
    """Enter videos into the ledger, and start a workflow for each that is not over and has none."""
    temporal = await Client.connect(os.environ["TEMPORAL"])
    async with open_ledger(os.environ["AKOOL_LEDGER"]) as ledger:
        await ledger.plan(TranslationRequest(url=url, targets=target) for url in urls)
        for key, language, generation in await ledger.open_work():
            await temporal.start_workflow(
                Translate.run,
                args=[key, language],
                id=f"{key}/{language}/{generation}",
                task_queue=QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            )


async def work() -> None:
    """Run activities and workflows until SIGTERM."""
    temporal, stopped = await Client.connect(os.environ["TEMPORAL"]), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with open_ledger(os.environ["AKOOL_LEDGER"]) as ledger, AkoolClient() as client:
        does = Activities(ledger, client)
        async with Worker(
            temporal,
            task_queue=QUEUE,
            workflows=[Translate],
            activities=[does.submit, does.wait, does.save],
            max_concurrent_activities=500,
            graceful_shutdown_timeout=timedelta(seconds=200),
        ):
            await stopped.wait()


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    asyncio.run({"enqueue": enqueue, "work": work}[command](*arguments))
