"""The vendor's inside: jobs, the cap on concurrent jobs, credits, as pure state over a clock.

No sockets, no sleep, no background work: every call first catches up with the clock, event by event,
so that jobs start and end at their exact moments however rarely they are polled. Thread-safe.
"""

from __future__ import annotations

import copy
import heapq
import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Literal, TypeAlias

import attrs

from akool_async.sandbox.jobs import (
    COMPLETED,
    FAILED,
    PROCESSING,
    ApiRejection,
    JobSpec,
    SandboxJob,
    script_for,
)
from akool_async.sandbox.settings import SandboxClock, SandboxSettings

MovementKind: TypeAlias = Literal["locked", "deducted", "released"]


class Engine:
    """All jobs of the account and what becomes of them.

    Args:
        settings: The choices behind the sandbox.
        clock: Tells the sandbox's time.
    """

    def __init__(self, settings: SandboxSettings, clock: SandboxClock) -> None:
        """Begin without jobs."""
        self._settings = settings
        self.clock = clock
        self._lock = threading.RLock()
        self._now = clock()
        draw = random.Random(f"{settings.seed}:ids")  # noqa: S311 - repeatable
        self._machine = draw.randbytes(5).hex()
        self._counter = count(draw.randrange(1 << 22))
        self._credits = Credits(paid_in=settings.credits, available=settings.credits)
        self._movements: list[LedgerEntry] = []
        self._jobs: list[SandboxJob] = []
        self._by_id: dict[str, SandboxJob] = {}
        self._queue: deque[SandboxJob] = deque()
        self._ends: list[tuple[float, int]] = []
        self._lip_synced: set[tuple[str, str]] = set()
        self._events: deque[JobEvent] = deque()
        self._watched = 0

    def advance(self) -> float:
        """Catch up with the clock and return the time reached; it never goes back."""
        with self._lock:
            now = max(self._now, self.clock())
            # In the order of their ends: each one frees the slot in which a queued job starts at that moment.
            while self._ends and self._ends[0][0] <= now:
                at, ordinal = heapq.heappop(self._ends)
                self._end(self._jobs[ordinal - 1], at)
                if self._queue:
                    self._start(self._queue.popleft(), at)
            self._now = now
            return now

    def submit(self, spec: JobSpec) -> SandboxJob:
        """Make a job and lock its credits.

        Raises:
            ApiRejection: Too few credits (1006, 1104), or a second lip-sync of one video and language (1202).
        """
        with self._lock:
            now = self.advance()
            again = (
                spec.kind == "translate" and spec.lipsync and (spec.url, spec.language) in self._lip_synced
            )
            if again and self._settings.reject_duplicates:
                # Source: the text of 1202, by which it does not matter whether the first one has ended.
                raise ApiRejection(1202, "this video has been lip-synced in this language already")
            available = self._credits.available
            if spec.credits > available:
                # Unconfirmed: which of the two the vendor answers when.
                code = 1006 if available <= 0 else 1104
                raise ApiRejection(code, f"the job takes {spec.credits} credits, {available} are left")
            job = self._make(spec, now)
            if spec.lipsync:
                self._lip_synced.add((spec.url, spec.language))
            # As with the vendor, a job beyond the account's share is taken and paid for, and waits with
            # status 1.
            if len(self._ends) < self._settings.max_jobs:
                self._start(job, now)
            else:
                self._queue.append(job)
            return job

    def job(self, job_id: str) -> SandboxJob | None:
        """Return a job as it is now, None when there is none."""
        with self._lock:
            self.advance()
            return self._by_id.get(job_id)

    def peek(self, job_id: str) -> SandboxJob | None:
        """Return a copy of a job that stays as it is now, None when there is none."""
        job = self.job(job_id)
        # A copy: a fault decides by what the job was when the call came, not by what it is when it answers.
        return None if job is None else copy.copy(job)

    @property
    def jobs(self) -> Sequence[SandboxJob]:
        """All jobs as they are now, in the order in which they were made."""
        with self._lock:
            self.advance()
            return tuple(self._jobs)

    @property
    def credits(self) -> Credits:
        """The account now."""
        with self._lock:
            self.advance()
            return attrs.evolve(self._credits)

    @property
    def movements(self) -> Sequence[LedgerEntry]:
        """Every change of the account, in order."""
        with self._lock:
            self.advance()
            return tuple(self._movements)

    def deposit(self, amount: float) -> None:
        """Add credits to the account."""
        with self._lock:
            self._credits.paid_in += amount
            self._credits.available += amount

    @property
    def next_event(self) -> float | None:
        """When the next job ends, None when none is in progress."""
        with self._lock:
            return self._ends[0][0] if self._ends else None

    @property
    def watched(self) -> int:
        """How many unfinished jobs have a webhook."""
        return self._watched

    def take_events(self) -> list[JobEvent]:
        """Return the events of jobs with a webhook since the last call."""
        with self._lock:
            self.advance()
            taken = list(self._events)
            self._events.clear()
            return taken

    def mutate(self, change: Callable[[], None]) -> None:
        """Change a job while nothing else does."""
        with self._lock:
            change()

    def _make(self, spec: JobSpec, now: float) -> SandboxJob:
        ordinal = len(self._jobs) + 1
        job = SandboxJob(
            id=str(1_000_000 + ordinal) if spec.short_id else self._make_id(now),
            ordinal=ordinal,
            spec=spec,
            script=script_for(ordinal, self._settings, bound_to_fail=spec.failure is not None),
            created=now,
            video_id=self._make_id(now),
        )
        self._move("locked", job, now)
        self._jobs.append(job)
        self._by_id[job.id] = job
        self._watched += bool(spec.webhook_url)
        return job

    def _make_id(self, now: float) -> str:
        """Return 24 hex digits, as a Mongo ObjectId has: time, "machine" (from the seed), counter."""
        return f"{int(now) & 0xFFFFFFFF:08x}{self._machine}{next(self._counter) & 0xFFFFFF:06x}"

    def _move(self, kind: MovementKind, job: SandboxJob, at: float) -> None:
        """Lock the credits of a new job, deduct those of a completed one, release those of a failed one."""
        amount = job.spec.credits
        self._credits.locked += amount if kind == "locked" else -amount
        if kind == "deducted":
            self._credits.spent += amount
        else:
            self._credits.available += -amount if kind == "locked" else amount
        self._movements.append(LedgerEntry(at, job.id, kind, amount))

    def _start(self, job: SandboxJob, at: float) -> None:
        job.started = at
        job.status = PROCESSING
        # The ordinal decides between equal ends, so that the same seed gives the same history.
        heapq.heappush(self._ends, (at + job.script.span, job.ordinal))
        self._emit(job, at)

    def _end(self, job: SandboxJob, at: float) -> None:
        spec = job.spec
        job.ended = at
        job.status = FAILED if job.script.fails else COMPLETED
        self._move("released" if job.script.fails else "deducted", job, at)
        if job.script.fails:
            # Unconfirmed: that a lip-sync which failed may be made again.
            self._lip_synced.discard((spec.url, spec.language))
        self._watched -= bool(spec.webhook_url)
        self._emit(job, at)

    def _emit(self, job: SandboxJob, at: float) -> None:
        if job.spec.webhook_url:
            self._events.append(JobEvent(at, job, job.status))


@attrs.frozen
class JobEvent:
    """A job with a webhook got another status."""

    at: float
    job: SandboxJob
    status: int


@attrs.define(kw_only=True)
class Credits:
    """The account at one moment; available + locked + spent is always what was paid in."""

    paid_in: float
    available: float
    locked: float = 0.0
    spent: float = 0.0


@attrs.frozen
class LedgerEntry:
    """One change of the account for one job."""

    at: float
    job_id: str
    kind: MovementKind
    amount: float
