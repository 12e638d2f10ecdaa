"""A clock for a client and its sandbox that moves on by itself when nothing else can happen.

It works in any running event loop, of asyncio and of trio, because only what asks the clock
itself waits in virtual time. What uses the event loop's own time, such as sockets, waits in real time.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import anyio
import attrs
from anyio import to_thread
from anyio.lowlevel import checkpoint

from akool_async._model.errors import InvalidRequestError

_TURNS: Final = 8
"""Turns of the event loop before its tasks are looked at: cheaper than finding one that is not blocked."""

_BUSY_WAIT: Final = 0.001
"""Real seconds between two looks at tasks that are busy."""

_MOST_LOOKS: Final = 1_000
"""Looks for which busy tasks and threads delay a jump: they may never end. Not measured in real seconds: on a
machine that stops for some, tasks would be busy with what they could have done meanwhile."""


@attrs.define(eq=False)
class _Sleeper:
    """A task that waits until a moment."""

    until: float
    done: bool = False
    called: anyio.Event = attrs.field(factory=anyio.Event)


class VirtualClock:
    """A `Clock` for clients, and with `sandbox_time` one for a sandbox; for one event loop at a time.

    Time passes only when every task is blocked and something waits for this clock: then it jumps to the
    moment that comes first. A job of two hours ends in milliseconds, and everything happens in the order in
    which it would.

    Args:
        seed: makes the random numbers repeatable.
        start: what time it is at first, aware; default is the wall clock's now.
        settle: real seconds for which nothing may happen before time jumps. More than 0 where answers come
            from sockets, which no task of this event loop is busy with meanwhile.
    """

    def __init__(self, *, seed: int = 0, start: datetime | None = None, settle: float = 0.0) -> None:
        """Stop the clock at its start."""
        source = random.Random(seed)  # noqa: S311 - spreads waits, guards no secret
        self.random: Callable[[], float] = source.random
        self.settle = settle
        self._start = datetime.now(UTC) if start is None else start
        self._elapsed = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, _Sleeper]] = []

    def __repr__(self) -> str:
        return f"<VirtualClock {self.now():%Y-%m-%d %H:%M:%S}>"

    def monotonic(self) -> float:
        """Return the virtual seconds since the start."""
        return self._elapsed

    def now(self) -> datetime:
        """Return the virtual wall clock, aware, in UTC."""
        return self._start.astimezone(UTC) + timedelta(seconds=self._elapsed)

    def sandbox_time(self) -> float:
        """Return the same moment in seconds since the epoch, as a sandbox's clock; from any thread."""
        return self._start.timestamp() + self._elapsed

    def advance(self, seconds: float) -> None:
        """Move forward at once.

        Args:
            seconds: how far, 0 or more.

        Raises:
            InvalidRequestError: it is negative.
        """
        if not seconds >= 0:
            raise InvalidRequestError(f"A clock moves forward only, not by {seconds!r} s.")
        self._elapsed += seconds
        self._call_first()

    async def sleep(self, seconds: float) -> None:
        """Wait for virtual seconds; the task that wakes first moves the clock. Can be cancelled."""
        if not seconds > 0:
            await checkpoint()
            return
        sleeper = _Sleeper(self._elapsed + seconds)
        heapq.heappush(self._sleepers, (sleeper.until, next(self._order), sleeper))
        try:
            while self._elapsed < sleeper.until:
                if self._sleepers[0][2] is not sleeper:
                    await sleeper.called.wait()
                    sleeper.called = anyio.Event()
                    continue
                await self._quiet()
                if self._sleepers[0][2] is sleeper:
                    self._elapsed = max(self._elapsed, sleeper.until)
        finally:
            sleeper.done = True
            self._call_first()

    def _call_first(self) -> None:
        """Hand the clock over to the task that wakes next."""
        while self._sleepers and self._sleepers[0][2].done:
            heapq.heappop(self._sleepers)
        if self._sleepers:
            self._sleepers[0][2].called.set()

    async def _quiet(self) -> None:
        """Return when all tasks but this one are blocked, and no thread works for them."""
        settled, limiter = not self.settle, to_thread.current_default_thread_limiter()
        for _ in range(_MOST_LOOKS):
            # First, because a thread may work long: turns of the loop meanwhile would only burn time.
            if limiter.borrowed_tokens:
                await anyio.sleep(_BUSY_WAIT)
                continue
            for _ in range(_TURNS):
                await checkpoint()
            # On asyncio, anyio looks at busy tasks ten times a second only: so leave, and look again.
            with anyio.move_on_after(_BUSY_WAIT) as look:
                await anyio.wait_all_tasks_blocked()
            if look.cancelled_caught or limiter.borrowed_tokens:
                continue
            if settled:
                return
            await anyio.sleep(self.settle)
            settled = True
