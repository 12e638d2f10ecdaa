"""What a batch keeps between two steps: outcomes, terminal jobs, recovered jobs."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from typing import Final

import anyio
import attrs
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from akool_async._batch.entry import BatchEntry
from akool_async._model.errors import AkoolError
from akool_async._model.outcomes import Outcome
from akool_async._model.requests import Request
from akool_async._polling.scheduler import PolledJob

_TURN: Final = 16
"""Outcomes that are taken between two turns of the loop."""

# Outcomes that wait for the caller.
#
# Not a memory stream: that hands an item to a waiting task, and one that the event loop itself cancels
# just then (as `asyncio.wait_for` does) would take the outcome with it.


class OutcomeQueue:
    """A queue whose items stay in it until they are really taken."""

    def __init__(self) -> None:
        self._outcomes: deque[Outcome] = deque()
        self._news: anyio.Event | None = None
        self._closed = False
        self._taken = 0

    @property
    def untaken(self) -> tuple[Outcome, ...]:
        """What was not taken."""
        return tuple(self._outcomes)

    def __len__(self) -> int:
        return len(self._outcomes)

    def drop_oldest(self) -> None:
        """Forget the outcome that has waited longest."""
        self._outcomes.popleft()

    def put(self, outcome: Outcome) -> None:
        """Add an outcome."""
        self._outcomes.append(outcome)
        self._tell()

    def close(self) -> None:
        """Say that there will be no more."""
        self._closed = True
        self._tell()

    def _tell(self) -> None:
        if self._news is not None:  # an iteration waits
            self._news.set()
            self._news = None

    async def get(self) -> Outcome | None:
        """Return the next outcome, None after the last one."""
        if self._outcomes or self._closed:
            # Not at each one: a turn of the loop costs as much as to tell a finished entry.
            self._taken += 1
            await (checkpoint if self._taken % _TURN == 0 else checkpoint_if_cancelled)()
        while not self._outcomes:
            if self._closed:
                return None
            self._news = self._news or anyio.Event()
            await self._news.wait()
        return self._outcomes.popleft()


# Jobs that have ended and wait to be finished: what expires soonest is fetched first.


class FinishedQueue:
    """A queue ordered by when results expire; what has nothing to be fetched goes first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, BatchEntry, PolledJob]] = []
        self._order = itertools.count()
        self._news = anyio.Event()

    def put(self, batch_entry: BatchEntry, watch: PolledJob) -> None:
        """Add a job that has ended."""
        snapshot = watch.state.snapshot
        expires = 0.0  # there is nothing to be fetched
        if snapshot is not None and snapshot.url:
            expires = float("inf") if snapshot.expires_at is None else snapshot.expires_at.timestamp()
        heapq.heappush(self._heap, (expires, next(self._order), batch_entry, watch))
        self._news.set()
        self._news = anyio.Event()

    async def get(self) -> tuple[BatchEntry, PolledJob]:
        """Wait for the next one."""
        if self._heap:
            await checkpoint()
        while not self._heap:
            await self._news.wait()
        _, _, batch_entry, watch = heapq.heappop(self._heap)
        return batch_entry, watch


# Jobs that an earlier run left at the vendor, taken up before the source comes to them.
#
# A source may come to them late or never, and their results expire meanwhile.


class RecoveredJobs:
    """Keeps apart who was recovered early from who was asked for, by key and language."""

    def __init__(self) -> None:
        self._ended: dict[tuple[str, str], Outcome | AkoolError | None] = {}
        self._asked: dict[tuple[str, str], Request] = {}

    def __contains__(self, name: tuple[str, str]) -> bool:
        """Whether the job of this entry was taken up and not asked for yet."""
        return name in self._ended

    def adopt(self, key: str, target: str) -> None:
        """Take up a job that nobody has asked for yet."""
        self._ended[key, target] = None

    def claim(self, key: str, target: str, request: Request) -> Outcome | AkoolError | None:
        """Record that the source came to such a job; give its outcome, or why there is none, if it ended."""
        ended = self._ended.pop((key, target))
        if ended is None:
            self._asked[key, target] = request
        elif not isinstance(ended, AkoolError):
            return attrs.evolve(ended, request=request)
        return ended

    def fail(self, name: tuple[str, str], error: AkoolError) -> bool:
        """Record why it is unknown how a job ended; whether the source has come to it."""
        if name not in self._ended:
            return True
        self._ended[name] = error
        return False

    def complete(self, outcome: Outcome) -> Outcome | None:
        """Record an outcome; give it back unless nobody has asked for it yet."""
        name = (outcome.key, outcome.target)
        if name in self._ended:
            self._ended[name] = outcome
            return None
        request = self._asked.pop(name, None)
        return outcome if request is None else attrs.evolve(outcome, request=request)
