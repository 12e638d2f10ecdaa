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

from akool_async.sandbox.audit import WebhookRecord
from akool_async.sandbox.context import SandboxContext
from akool_async.sandbox.faults import FaultKind, FaultTarget
from akool_async.sandbox.jobs import COMPLETED, FAILED, FAILURE_CODE, FAILURE_REASON, SandboxJob
from akool_async.sandbox.settings import ScaledClock, real_wait

_SHORTEST: Final = 0.001
_LONGEST: Final = 0.01
_IDLE: Final = 0.025
_PATIENCE: Final = 10.0


@attrs.frozen
class _Delivery:
    """One webhook on its way."""

    job: SandboxJob
    status: int
    attempt: int = 1


class WebhookSender:
    """Sends the webhooks of one sandbox.

    Args:
        world: The sandbox's parts.
        cdn: The origin of the results.
    """

    def __init__(self, world: SandboxContext, *, cdn: str) -> None:
        """Take the parts over."""
        self._world = world
        self._cdn = cdn
        self._order = count()
        self._due: list[tuple[float, int, _Delivery]] = []
        self._held: dict[str, list[_Delivery]] = {}
        self._nonces = random.Random(f"{world.settings.seed}:nonces")  # noqa: S311 - repeatable

    async def run(self) -> None:
        """Send what is due, for ever."""
        async with AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(anyio.create_task_group())
            client: httpx.AsyncClient | None = None
            while True:
                for change in self._world.engine.take_changes():
                    self._post(_Delivery(change.job, change.status), change.at)
                if self._due and client is None:
                    # Not earlier: it takes long to build, and few sandboxes ever send anything.
                    client = httpx.AsyncClient(trust_env=False, timeout=_PATIENCE)
                    await stack.enter_async_context(client)
                if client is not None:
                    self._send_due(tasks, client)
                await anyio.sleep(self._pause())

    def _pause(self) -> float:
        events = [self._due[0][0]] if self._due else []
        following = self._world.engine.next_event if self._world.engine.watched else None
        if following is not None:
            events.append(following)
        if not events:
            return _LONGEST if self._world.engine.watched else _IDLE
        return real_wait(self._world.clock, min(events), least=_SHORTEST, most=_LONGEST)

    def _post(self, letter: _Delivery, at: float) -> None:
        """Put a new webhook on its way, as far as the faults let it."""
        job = letter.job
        subject = FaultTarget(
            on="webhook", jobs=((job.ordinal, job.id),), languages=(job.spec.language,), status=letter.status
        )
        kinds = {fault.kind: fault for fault in self._world.faults.match(subject)}
        if FaultKind.LOSE in kinds:
            self._note(letter, None, lost=True)
            return
        if FaultKind.REORDER in kinds and letter.status not in (COMPLETED, FAILED):
            self._held.setdefault(job.id, []).append(letter)
            return
        due = at + (kinds[FaultKind.DELAY].seconds if FaultKind.DELAY in kinds else 0.0)
        held = self._held.pop(job.id, [])
        for one in [letter, *held, *([letter] if FaultKind.DUPLICATE in kinds else [])]:
            heapq.heappush(self._due, (due, next(self._order), one))

    def _send_due(self, tasks: TaskGroup, client: httpx.AsyncClient) -> None:
        now = self._world.engine.advance()
        by_job: dict[str, list[_Delivery]] = {}
        while self._due and self._due[0][0] <= now:
            letter = heapq.heappop(self._due)[2]
            by_job.setdefault(letter.job.id, []).append(letter)
        for letters in by_job.values():
            tasks.start_soon(self._deliver_all, client, letters)

    async def _deliver_all(self, client: httpx.AsyncClient, letters: list[_Delivery]) -> None:
        """Send the webhooks of one job in order."""
        for letter in letters:
            await self._deliver(client, letter)

    async def _deliver(self, client: httpx.AsyncClient, letter: _Delivery) -> None:
        try:
            answer = await client.post(letter.job.spec.webhook_url, json=self._sealed(letter))
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError):
            # No answer is the receiver's choice, as good as a refusing one; so is a name that is none.
            answered = None
        else:
            answered = answer.status_code
        self._note(letter, answered)
        settings = self._world.settings
        if answered != 200 and letter.attempt < settings.webhook_attempts:
            wait = settings.webhook_wait * 2 ** (letter.attempt - 1)
            again = attrs.evolve(letter, attempt=letter.attempt + 1)
            heapq.heappush(self._due, (self._world.engine.advance() + wait, next(self._order), again))

    def _sealed(self, letter: _Delivery) -> dict[str, object]:
        from akool_async._wire.sealed import seal

        settings = self._world.settings
        return seal(
            self._content(letter),
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            timestamp_ms=int(self._posted() * 1000),
            nonce=str(self._nonces.randrange(10**12)),
        )

    def _posted(self) -> float:
        """Return the moment of sending: real time, by which receivers judge it, or that of a clock given."""
        return time.time() if isinstance(self._world.clock, ScaledClock) else self._world.clock()

    def _content(self, letter: _Delivery) -> dict[str, Any]:
        job = letter.job
        url = self._world.signer.url(self._cdn, job, "video") if letter.status == COMPLETED else ""
        content = {
            "_id": job.id,
            "status": letter.status,
            "type": "lipsync" if job.spec.kind == "lipsync" else "video translate",
            "url": url,
        }
        if letter.status == FAILED:
            content |= {"error_code": FAILURE_CODE, "error_reason": FAILURE_REASON}
        return content

    def _note(self, letter: _Delivery, answered: int | None, *, lost: bool = False) -> None:
        self._world.audit.note(
            WebhookRecord(
                at=self._world.engine.advance(),
                job_id=letter.job.id,
                status=letter.status,
                attempt=letter.attempt,
                answered=answered,
                lost=lost,
            )
        )
