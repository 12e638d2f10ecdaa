"""Outcomes that wait for the caller.

Not a memory stream: that hands an item to a waiting task, and one that the event loop itself cancels
just then (as `asyncio.wait_for` does) would take the outcome with it.
"""

from __future__ import annotations

from collections import deque

import anyio
from anyio.lowlevel import checkpoint

from akool_async._core.outcomes import Outcome


class Outbox:
    """A queue whose items stay in it until they are really taken."""

    def __init__(self) -> None:
        self._outcomes: deque[Outcome] = deque()
        self._news = anyio.Event()
        self._closed = False

    @property
    def left(self) -> tuple[Outcome, ...]:
        """What was not taken."""
        return tuple(self._outcomes)

    def put(self, outcome: Outcome) -> None:
        """Add an outcome."""
        self._outcomes.append(outcome)
        self._tell()

    def close(self) -> None:
        """Say that there will be no more."""
        self._closed = True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def take(self) -> Outcome | None:
        """Give the next outcome, None after the last one."""
        if self._outcomes or self._closed:
            await checkpoint()
        while not self._outcomes:
            if self._closed:
                return None
            await self._news.wait()
        return self._outcomes.popleft()
