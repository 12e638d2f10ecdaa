"""One scheduler that polls all waiting jobs of a client: a heap of due times and a few pollers.

How a poll is made is passed in. A job costs an entry in the heap and a small record, not a task with a timer.
"""

from __future__ import annotations

import heapq
import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, TypeAlias

import anyio
import attrs
from anyio.abc import TaskGroup

from akool_async._clock import Clock
from akool_async._model.errors import (
    AccountError,
    AkoolError,
    CallerError,
    ClientClosedError,
    ConfigurationError,
    JobNotFoundError,
)
from akool_async._model.events import PollEvent
from akool_async._model.redact import safe_repr
from akool_async._model.responses import Snapshot
from akool_async._observer import Observers
from akool_async._polling.poll_state import (
    AdaptiveSchedule,
    PollContext,
    PollResult,
    PollSchedule,
    PollState,
    PollVerdict,
)
from akool_async._polling.schedules import BackoffSchedule

logger = logging.getLogger("akool_async")
MIN_HINTED_INTERVAL: Final = 1.0
"""Seconds between polls of one job that hints can cause, so that a flood of hints is one poll."""

RESUME_SPACING: Final = 0.01
"""Seconds between the first polls of jobs that an earlier run submitted, so that they are not a burst.

Of 2,000 jobs, 95 % are known again after 19 s; at twice the spacing it was 38 s.
"""

JUST_MADE: Final = 10.0
"""Seconds for which a job counts as new: its first poll is planned by its schedule, not taken in turn."""

SHORTEST_WAIT: Final = 0.005
LONGEST_WAIT: Final = 120_000.0
"""Seconds between two polls of a job, whatever its schedule says. With four polls missed the longest becomes
6.9 days, and a result expires after 7.
"""

_SAFE: Final = BackoffSchedule()

Poll: TypeAlias = Callable[[str], Awaitable[Snapshot]]
Listener: TypeAlias = Callable[["PolledJob"], None]


class GuardedSchedule:
    """A schedule that may be the caller's code; where it raises, or answers no time, a safe wait is taken.

    A poller that its error ended would leave all jobs of the client unwatched, and these are paid for.

    Args:
        schedule: the schedule; it is still asked after it failed.

    Raises:
        ConfigurationError: it has no method `next_poll`, or is a class.
    """

    __slots__ = ("_learn", "_schedule", "_warned")

    def __init__(self, schedule: PollSchedule) -> None:
        if isinstance(schedule, type) or not callable(getattr(schedule, "next_poll", None)):
            raise ConfigurationError(
                "schedule must be an object with a method next_poll, as PollSchedule says, not "
                f"{safe_repr(schedule)}."
            )
        self._schedule = schedule
        self._learn = schedule.learn if isinstance(schedule, AdaptiveSchedule) else None
        self._warned = False

    @classmethod
    def guard(cls, schedule: PollSchedule) -> GuardedSchedule:
        """Return the guarded schedule; one that is already is returned as it is, and warns no second time."""
        return schedule if isinstance(schedule, cls) else cls(schedule)

    @property
    def learns(self) -> bool:
        """Whether it is worth telling it the results of polls."""
        return self._learn is not None

    def next_poll(self, context: PollContext, rand: float) -> float:
        """Return the seconds until the next poll; it can't fail."""
        wait: object = None
        # Nothing is awaited in it, so a cancellation can't be this task's: it is an error like the others.
        try:
            wait = self._schedule.next_poll(context, rand)
        except (Exception, anyio.get_cancelled_exc_class()) as error:  # noqa: BLE001 - it is the caller's code
            self._warn("raised an error", error)
        else:
            if isinstance(wait, int | float) and wait is not True and 0 < wait <= LONGEST_WAIT:
                return max(float(wait), SHORTEST_WAIT)
            self._warn(f"answered {safe_repr(wait)}, which is not a valid wait")
        return _SAFE.next_poll(context, rand)

    def learn(self, seen: PollResult) -> None:
        """Pass on the result of a poll to a schedule that learns; it can't fail."""
        try:
            if self._learn is not None:
                self._learn(seen)
        except (Exception, anyio.get_cancelled_exc_class()) as error:  # noqa: BLE001 - likewise
            self._warn("raised an error while it learned", error)

    def _warn(self, what: str, error: BaseException | None = None) -> None:
        if not self._warned:
            self._warned = True
            said = "The poll schedule %s %s. Until it answers, jobs are polled every 2 to 20 s; logged once."
            logger.warning(said, type(self._schedule).__qualname__, what, exc_info=error)


@attrs.define(eq=False, weakref_slot=False)
class PolledJob:
    """One job that one or several listeners wait for.

    Attributes:
        error: what stopped the polling for good, such as bad credentials.
        hinted_poll: whether the next poll, or the one under way, is made because of a hint.
        hint_kept: whether a hint came during a poll, whose answer may be older; the next poll follows soon.
        raw_wanted: whether a listener wants the raw answers of a running job; they are large.
        end_reported: whether a listener reports to observers that it has ended, or has done so.
    """

    state: PollState
    schedule: GuardedSchedule
    listeners: tuple[Listener, ...] = ()
    error: AkoolError | None = None
    due: float = 0.0
    polled_at: float = float("-inf")
    polling: bool = False
    hinted_poll: bool = False
    hint_kept: bool = False
    raw_wanted: bool = True
    end_reported: bool = False

    @property
    def job_id(self) -> str:
        """The id of the job."""
        return self.state.job_id

    @property
    def is_terminal(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.state.verdict is not PollVerdict.WAITING or self.error is not None

    @property
    def finished(self) -> bool:
        """Whether it is not polled any more."""
        return not self.listeners or self.is_terminal


class PollScheduler:
    """Polls jobs until they end.

    Args:
        poll: fetches a snapshot of a job, retries included.
        pollers: the largest number of concurrent polls.
        vendor_now: returns the vendor's time, for the age of jobs.
    """

    def __init__(
        self,
        poll: Poll,
        *,
        clock: Clock,
        tasks: TaskGroup,
        pollers: int,
        vendor_now: Callable[[], datetime],
        observers: Observers,
    ) -> None:
        self._poll = poll
        self._clock = clock
        self._tasks = tasks
        self._pollers = pollers
        self._vendor_now = vendor_now
        self._observers = observers
        self._jobs: dict[str, PolledJob] = {}
        self._heap: list[tuple[float, int, PolledJob | None]] = []
        self._resumed: list[tuple[float, int, PolledJob]] = []
        self._next_resumed = float("-inf")
        self._ready: deque[PolledJob] = deque()
        self._order = itertools.count()
        self._active = 0
        self._sleeping: anyio.CancelScope | None = None
        self._sleeps_until = float("inf")
        self._running = False
        self._closed = False

    def watch(
        self,
        job_id: str,
        schedule: PollSchedule,
        listener: Listener,
        *,
        age: float | None = None,
        raw_wanted: bool = True,
    ) -> PolledJob:
        """Begin to wait for a job; several listeners share its polls.

        Args:
            job_id: the job.
            schedule: when to poll; the first listener's schedule is used.
            listener: called after every poll, the last time when the job has ended.
            age: seconds since the job was created. 0 for one created just now; an older one is polled when
                its turn comes, the oldest first; one of unknown age, None, is polled at once.
            raw_wanted: whether the raw answers are wanted while the job runs.

        Raises:
            ClientClosedError: the scheduler was closed.
            ConfigurationError: the schedule has no method `next_poll`.
        """
        if self._closed:
            raise _closed(job_id)
        guarded = GuardedSchedule.guard(schedule)
        watch = self._jobs.get(job_id)
        # Two requests may name one job, as after a resume: it is polled once for both.
        if watch is not None:
            watch.listeners += (listener,)
            watch.raw_wanted = watch.raw_wanted or raw_wanted
            return watch
        now = self._clock.monotonic()
        begun = PollState.begin(job_id, now, age=age)
        watch = self._jobs[job_id] = PolledJob(begun, guarded, (listener,), raw_wanted=raw_wanted)
        if age is None:
            self._plan(watch, now)
        elif age >= JUST_MADE:
            # Each resumed job adds one turn, and the oldest takes the next: its result expires first.
            watch.due = self._next_resumed = max(now, self._next_resumed + RESUME_SPACING)
            heapq.heappush(self._resumed, (-age, next(self._order), watch))
            self._push(watch.due, None)
        else:
            self._plan(watch, now + watch.state.next_poll(guarded, now, self._clock.random()))
        return watch

    def unwatch(self, watch: PolledJob, listener: Listener) -> None:
        """Remove a listener; without any, the job is not polled any more but keeps running."""
        if watch.finished:
            return
        watch.listeners = tuple(other for other in watch.listeners if other is not listener)
        if not watch.listeners:
            self._jobs.pop(watch.job_id, None)

    def close(self) -> None:
        """End the polling, and call all listeners a last time."""
        # A listener may call back into this scheduler, so all of it is closed before the first one is called.
        self._closed = True
        self._heap.clear()
        self._ready.clear()
        if self._sleeping is not None:
            self._sleeping.cancel()
        jobs, self._jobs = self._jobs, {}
        for watch in jobs.values():
            watch.error = _closed(watch.job_id)
            for listener in watch.listeners:
                listener(watch)

    def hint(self, job_id: str) -> bool:
        """Poll a job soon; return False if no listener waits for it. The hint itself proves nothing."""
        watch = self._jobs.get(job_id)
        if watch is None:
            return False
        soon = max(self._clock.monotonic(), watch.polled_at + MIN_HINTED_INTERVAL)
        # Callbacks can be forged and repeated: however many come, the vendor is asked once a second at most.
        if watch.polling:  # its answer may be older than the hint
            watch.hint_kept = True
        elif soon < watch.due:
            watch.hinted_poll = True
            self._plan(watch, soon)
        return True

    def reschedule(self) -> None:
        """Consult each schedule again; a poll may move forward, never back."""
        now = self._clock.monotonic()
        for watch in self._jobs.values():
            due = now + watch.state.next_poll(watch.schedule, now, self._clock.random())
            # Never later: a schedule that starts to trust callbacks would put off every poll at once.
            if due < watch.due and not watch.polling:
                self._plan(watch, due)

    def _plan(self, watch: PolledJob, due: float) -> None:
        """Put a job into the heap; its earlier entry, due at another time, becomes void."""
        watch.due = due
        self._push(due, watch)

    def _push(self, due: float, watch: PolledJob | None) -> None:
        heapq.heappush(self._heap, (due, next(self._order), watch))
        if not self._running:
            self._running = True
            self._tasks.start_soon(self._run)
        elif self._sleeping is not None and due < self._sleeps_until:
            self._sleeping.cancel()

    async def _run(self) -> None:
        """Start pollers for the jobs that are due, sleep until the next is, end when the heap is empty."""
        while self._heap:
            self._collect_due()
            # No more pollers than exchanges: others would only wait for a connection.
            for _ in range(min(self._pollers - self._active, len(self._ready))):
                self._active += 1
                self._tasks.start_soon(self._work)
            if not self._heap:
                break
            with anyio.CancelScope() as self._sleeping:
                self._sleeps_until = self._heap[0][0]
                await self._clock.sleep(self._sleeps_until - self._clock.monotonic())
            self._sleeping = None
        self._running = False

    def _collect_due(self) -> None:
        now = self._clock.monotonic()
        while self._heap and self._heap[0][0] <= now:
            due, _, planned = heapq.heappop(self._heap)
            # Turns are kept apart from jobs: the oldest job of this moment takes the next one.
            if planned is None:  # the turn of a resumed job; it was polled already if a hint came first
                watch = heapq.heappop(self._resumed)[2]
                ready = watch.polled_at == float("-inf")
            else:
                watch, ready = planned, due == planned.due
            if ready and not watch.finished and not watch.polling:
                watch.polling = True
                self._ready.append(watch)

    async def _work(self) -> None:
        """Poll ready jobs until there are none."""
        try:
            while self._ready:
                await self._poll_job(self._ready.popleft())
        finally:
            self._active -= 1

    async def _poll_job(self, watch: PolledJob) -> None:
        if watch.finished:
            return
        error: AkoolError | None = None
        try:
            snapshot = await self._poll(watch.job_id)
        except AkoolError as missed:
            error = missed
        if watch.error is not None:  # the client is being closed, and all listeners know it
            return
        now = self._clock.monotonic()
        before, polled_before = watch.state, watch.polled_at
        watch.polled_at, watch.polling = now, False
        if error is None:
            self._record_snapshot(watch, snapshot, now)
        elif isinstance(error, AccountError | CallerError | ClientClosedError) and not isinstance(
            error, JobNotFoundError
        ):
            # Another poll can't help: the credentials, the account, the call or the HTTP client is wrong.
            watch.error = error
        else:  # a poll missed, never a job failed: the job may be running, and it is paid for
            watch.state = watch.state.after_error(error, now)
        watch.hinted_poll = False
        if self._observers.detailed or logger.isEnabledFor(logging.DEBUG):
            seen = None if error is not None else snapshot
            self._observers.report(
                PollEvent(
                    job_id=watch.job_id,
                    status=None if seen is None else int(seen.status),
                    progress=None if seen is None else seen.progress,
                    error="" if error is None else error.message,
                )
            )
        if not watch.listeners:
            return
        if watch.is_terminal:
            self._jobs.pop(watch.job_id, None)
        else:
            if watch.state.stalled(now) and not before.stalled(polled_before):
                said = "Job %s has not moved for %.0f min; it is still waited for."
                logger.warning(said, watch.job_id, (now - watch.state.changed) / 60)
            if watch.hint_kept:
                watch.hint_kept, watch.hinted_poll = False, True
                wait = MIN_HINTED_INTERVAL
            else:
                wait = watch.state.next_poll(watch.schedule, now, self._clock.random())
            self._plan(watch, now + wait)
        for listener in watch.listeners:
            listener(watch)

    def _record_snapshot(self, watch: PolledJob, snapshot: Snapshot, now: float) -> None:
        before = watch.state
        # Its age decides whether "not found" may mean "too new", and what its end teaches.
        if not before.age_known and snapshot.created_at is not None:
            age = (self._vendor_now() - snapshot.created_at).total_seconds()
            before = attrs.evolve(before, created=now - max(age, 0.0), age_known=True)
        watch.state = before.after_snapshot(snapshot, now, slim=not watch.raw_wanted)
        if watch.schedule.learns:
            seen = watch.state.poll_result(before, now, hinted=watch.hinted_poll)
            if seen is not None:
                watch.schedule.learn(seen)


def _closed(job_id: str) -> ClientClosedError:
    return ClientClosedError(f"The client was closed while job {job_id} was waited for.")
