"""Jobs that have ended and wait to be finished: what dies soonest is fetched first."""

from __future__ import annotations

import heapq
import itertools

import anyio
from anyio.lowlevel import checkpoint

from akool_async._batch.flight import Flight
from akool_async._waiting import Watch


class Arrivals:
    """A queue ordered by when results die; what has nothing to be fetched goes first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Flight, Watch]] = []
        self._order = itertools.count()
        self._news = anyio.Event()

    def put(self, flight: Flight, watch: Watch) -> None:
        """Add a job that has ended."""
        heapq.heappush(self._heap, (_dies(watch), next(self._order), flight, watch))
        self._news.set()
        self._news = anyio.Event()

    async def take(self) -> tuple[Flight, Watch]:
        """Wait for the next one."""
        if self._heap:
            await checkpoint()
        while not self._heap:
            await self._news.wait()
        _, _, flight, watch = heapq.heappop(self._heap)
        return flight, watch


def _dies(watch: Watch) -> float:
    """When the result dies, in seconds since the epoch."""
    snapshot = watch.observation.snapshot
    if snapshot is None or not snapshot.url:
        return 0.0
    return float("inf") if snapshot.expires_at is None else snapshot.expires_at.timestamp()
