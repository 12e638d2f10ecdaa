"""The webhooks: sealed, sent when a job changes state, sent again until they are answered with 200.

Runs beside the servers. Waits are in sandbox seconds. What a webhook says is what the vendor's say.
"""

from __future__ import annotations

import heapq
import random
import time
from contextlib import AsyncExitStack
from itertools import count
from typing import Any, Final

import anyio
import attrs
import httpx
from anyio.abc import TaskGroup

from akool_async.sandbox.access import logger, outgoing_client
from akool_async.sandbox.audit import WebhookRecord
from akool_async.sandbox.context import SandboxContext
from akool_async.sandbox.fault_kinds import FaultKind
from akool_async.sandbox.faults import FaultTarget
from akool_async.sandbox.jobs import COMPLETED, FAILED, FAILURE, SandboxJob
from akool_async.sandbox.settings import ScaledClock

_SHORTEST: Final = 0.001
_LONGEST: Final = 0.01
_IDLE: Final = 0.025
_TIMEOUT: Final = 10.0


@attrs.frozen
class _Delivery:
    """One webhook on its way."""

    job: SandboxJob
    status: int
    attempt: int = 1


class WebhookSender:
    """Sends the webhooks of one sandbox; `cdn` is the origin of the results."""

    def __init__(self, context: SandboxContext, *, cdn: str) -> None:
        self._context = context
        self._cdn = cdn
        self._sequence = count()
        self._due: list[tuple[float, int, _Delivery]] = []
        self._delayed: dict[str, list[_Delivery]] = {}
        self._nonces = random.Random(f"{context.settings.seed}:nonces")  # noqa: S311 - repeatable

    async def run(self) -> None:
        """Send what is due, for ever."""
        async with AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(anyio.create_task_group())
            client: httpx.AsyncClient | None = None
            while True:
                for event in self._context.engine.take_events():
                    self._schedule(_Delivery(event.job, event.status), event.at)
                if self._due and client is None:
                    # Not earlier: it takes long to build, and few sandboxes ever send anything.
                    client = outgoing_client(self._context.settings, timeout=_TIMEOUT)
                    await stack.enter_async_context(client)
                if client is not None:
                    self._send_due(tasks, client)
                await anyio.sleep(self._pause())

    def _pause(self) -> float:
        engine, clock = self._context.engine, self._context.clock
        if not self._due and not engine.watched:
            return _IDLE
        events = [self._due[0][0]] if self._due else []
        if engine.watched and (following := engine.next_event) is not None:
            events.append(following)
        if not events or not isinstance(clock, ScaledClock):  # another clock can't tell when that is
            return _LONGEST
        return min(max((min(events) - clock()) / clock.scale, _SHORTEST), _LONGEST)

    def _schedule(self, delivery: _Delivery, at: float) -> None:
        """Put a new webhook on its way, as far as the faults let it."""
        job = delivery.job
        target = attrs.evolve(FaultTarget.for_job("webhook", job), status=delivery.status)
        kinds = {fault.kind: fault for fault in self._context.faults.match(target)}
        if FaultKind.LOSE in kinds:
            self._note(delivery, None, lost=True)
            return
        if FaultKind.REORDER in kinds and delivery.status not in (COMPLETED, FAILED):
            self._delayed.setdefault(job.id, []).append(delivery)
            return
        due = at + (kinds[FaultKind.DELAY].seconds if FaultKind.DELAY in kinds else 0.0)
        earlier = self._delayed.pop(job.id, [])
        # Those that a fault delayed follow at the same moment; the sequence keeps the order.
        for one in [delivery, *earlier, *([delivery] if FaultKind.DUPLICATE in kinds else [])]:
            heapq.heappush(self._due, (due, next(self._sequence), one))

    def _send_due(self, tasks: TaskGroup, client: httpx.AsyncClient) -> None:
        """Send what is due: the webhooks of one job one after the other."""
        now = self._context.engine.advance()
        by_job: dict[str, list[_Delivery]] = {}
        while self._due and self._due[0][0] <= now:
            delivery = heapq.heappop(self._due)[2]
            by_job.setdefault(delivery.job.id, []).append(delivery)

        async def deliver(deliveries: list[_Delivery]) -> None:
            for delivery in deliveries:
                await self._deliver(client, delivery)

        for deliveries in by_job.values():
            tasks.start_soon(deliver, deliveries)

    async def _deliver(self, client: httpx.AsyncClient, delivery: _Delivery) -> None:
        try:
            answer = await client.post(delivery.job.spec.webhook_url, json=self._sealed(delivery))
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError):
            # No answer, or an invalid host name, counts as a refusal: the webhook is sent again.
            answered = None
        else:
            answered = answer.status_code
        what = f"of job {delivery.job.id}, status {delivery.status}, attempt {delivery.attempt}"
        logger.debug("webhook %s: %s", what, answered or "no answer")
        settings = self._context.settings
        if answered != 200 and delivery.attempt < settings.webhook_attempts:
            wait = settings.webhook_wait * 2 ** (delivery.attempt - 1)
            again = attrs.evolve(delivery, attempt=delivery.attempt + 1)
            heapq.heappush(self._due, (self._context.engine.advance() + wait, next(self._sequence), again))
        self._note(delivery, answered)  # last: who reads it in another thread may then move the clock

    def _sealed(self, delivery: _Delivery) -> dict[str, object]:
        from akool_async._wire.sealed import seal

        settings, clock, job = self._context.settings, self._context.clock, delivery.job
        content: dict[str, Any] = {
            "_id": job.id,
            "status": delivery.status,
            "type": "lipsync" if job.spec.kind == "lipsync" else "video translate",
            "url": self._context.signer.url(self._cdn, job, "video") if delivery.status == COMPLETED else "",
        }
        if delivery.status == FAILED:
            content["error_code"], content["error_reason"] = job.spec.failure or FAILURE
        # Receivers judge the moment of sending by real time, unless they were given a clock too.
        moment = time.time() if isinstance(clock, ScaledClock) else clock()
        return seal(
            content,
            client_id=settings.client_id,
            client_secret=settings.webhook_secret,
            timestamp_ms=int(moment * 1000),
            nonce=str(self._nonces.randrange(10**12)),
        )

    def _note(self, delivery: _Delivery, answered: int | None, *, lost: bool = False) -> None:
        self._context.audit.note(
            WebhookRecord(
                at=self._context.engine.advance(),
                job_id=delivery.job.id,
                status=delivery.status,
                attempt=delivery.attempt,
                answered=answered,
                lost=lost,
            )
        )
