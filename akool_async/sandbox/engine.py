"""The vendor's inside: jobs, the cap on jobs at work, credits, as pure state over a clock.

No sockets, no sleep, no background work: every call first catches up with the clock, event by event,
so that jobs start and end at their exact moments however rarely anybody looks. Thread-safe.
"""

from __future__ import annotations

import copy
import heapq
import threading
from collections import deque
from collections.abc import Callable, Sequence

import attrs

from akool_async.sandbox.account import Account, Credits, Movement
from akool_async.sandbox.clocks import Clock
from akool_async.sandbox.ids import IdMill
from akool_async.sandbox.jobs import COMPLETED, FAILED, PROCESSING, Job, Order, fate_of
from akool_async.sandbox.refusal import Refused
from akool_async.sandbox.settings import Settings

__all__ = ["Change", "Engine"]


@attrs.frozen
class Change:
    """A job with a webhook got another status."""

    at: float
    job: Job
    status: int


class Engine:
    """All jobs of the account and their course.

    Args:
        settings: The choices behind the sandbox.
        clock: Tells the sandbox's time.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Begin without jobs."""
        self._settings = settings
        self._clock = clock
        self._lock = threading.RLock()
        self._now = clock()
        self._ids = IdMill(settings.seed)
        self._account = Account(settings.credits)
        self._jobs: list[Job] = []
        self._by_id: dict[str, Job] = {}
        self._queue: deque[Job] = deque()
        self._ends: list[tuple[float, int]] = []
        self._unfinished: dict[tuple[str, str, bool], int] = {}
        self._changes: deque[Change] = deque()
        self._watched = 0

    def advance(self) -> float:
        """Catch up with the clock and return the time reached; it never goes back."""
        with self._lock:
            now = max(self._now, self._clock())
            while self._ends and self._ends[0][0] <= now:
                at, ordinal = heapq.heappop(self._ends)
                self._end(self._jobs[ordinal - 1], at)
                if self._queue:
                    self._start(self._queue.popleft(), at)
            self._now = now
            return now

    def submit(self, order: Order) -> Job:
        """Make a job and lock its credits.

        Raises:
            Refused: The credits don't suffice (1006, 1104), or the same job is at work (1202).
        """
        with self._lock:
            now = self.advance()
            twin = (order.url, order.language, order.lipsync)
            if self._settings.reject_duplicates and self._unfinished.get(twin):
                raise Refused(1202, "this video is at work in this language already")
            self._account.check(order.credits)
            job = self._make(order, now)
            self._unfinished[twin] = self._unfinished.get(twin, 0) + 1
            if len(self._ends) < self._settings.max_jobs:
                self._start(job, now)
            else:
                self._queue.append(job)
            return job

    def job(self, job_id: str) -> Job | None:
        """Return a job as it is now, None when there is none."""
        with self._lock:
            self.advance()
            return self._by_id.get(job_id)

    def look(self, job_id: str) -> Job | None:
        """Return a copy of a job as it is now, on which time does not go on; None when there is none."""
        job = self.job(job_id)
        return None if job is None else copy.copy(job)

    @property
    def jobs(self) -> Sequence[Job]:
        """All jobs as they are now, in the order in which they were made."""
        with self._lock:
            self.advance()
            return tuple(self._jobs)

    @property
    def credits(self) -> Credits:
        """The account now."""
        with self._lock:
            self.advance()
            return self._account.credits

    @property
    def movements(self) -> Sequence[Movement]:
        """Every change of the account, in order."""
        with self._lock:
            self.advance()
            return tuple(self._account.movements)

    def pay_in(self, amount: float) -> None:
        """Add credits to the account."""
        with self._lock:
            self._account.pay_in(amount)

    @property
    def next_event(self) -> float | None:
        """When the next job ends, None when none is at work."""
        with self._lock:
            return self._ends[0][0] if self._ends else None

    @property
    def watched(self) -> int:
        """How many unfinished jobs have a webhook."""
        return self._watched

    def take_changes(self) -> list[Change]:
        """Return the changes of jobs with a webhook since the last call."""
        with self._lock:
            self.advance()
            taken = list(self._changes)
            self._changes.clear()
            return taken

    def edit(self, change: Callable[[], None]) -> None:
        """Run something that alters a job, alone."""
        with self._lock:
            change()

    def _make(self, order: Order, now: float) -> Job:
        ordinal = len(self._jobs) + 1
        job = Job(
            id=self._ids.make(now),
            ordinal=ordinal,
            order=order,
            fate=fate_of(ordinal, self._settings),
            created=now,
            video_id=self._ids.make(now),
        )
        self._account.lock(job.id, order.credits, now)
        self._jobs.append(job)
        self._by_id[job.id] = job
        self._watched += bool(order.webhook_url)
        return job

    def _start(self, job: Job, at: float) -> None:
        job.started = at
        job.status = PROCESSING
        heapq.heappush(self._ends, (at + job.fate.span, job.ordinal))
        self._tell(job, at)

    def _end(self, job: Job, at: float) -> None:
        order = job.order
        job.ended = at
        job.status = FAILED if job.fate.fails else COMPLETED
        settle = self._account.release if job.fate.fails else self._account.deduct
        settle(job.id, order.credits, at)
        twin = (order.url, order.language, order.lipsync)
        self._unfinished[twin] -= 1
        if not self._unfinished[twin]:
            del self._unfinished[twin]
        self._watched -= bool(order.webhook_url)
        self._tell(job, at)

    def _tell(self, job: Job, at: float) -> None:
        if job.order.webhook_url:
            self._changes.append(Change(at, job, job.status))
