"""One scheduler that asks about every waiting job of a client: a heap of moments and a few pollers.

Knows when to ask and when a job has ended; how a poll is made is handed in. A job costs an entry in
the heap and a small record, not a task with a timer.
"""

from __future__ import annotations

import heapq
import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

import anyio
import attrs
from anyio.abc import TaskGroup

from akool_async._clock import Clock
from akool_async._model.errors import (
    AccountError,
    AkoolError,
    CallerError,
    ClientClosedError,
    JobNotFoundError,
)
from akool_async._model.responses import Snapshot
from akool_async._polling.poll_state import PollState
from akool_async._polling.schedules import AdaptiveSchedule, PollSchedule

# Who waits for which job: a hint about a job reaches its one waiter.
#
# A hint is not believed here or anywhere: it only makes the scheduler ask sooner.


class Waiter(Protocol):
    """Waits for one job and can be made to look sooner."""

    def hinted(self) -> None:
        """Take in that something may have happened to the job."""
        ...


W = TypeVar("W", bound=Waiter)


class Notifier(Generic[W]):
    """A table from job id to the one that waits for the job."""

    def __init__(self) -> None:
        self._waiters: dict[str, W] = {}

    def __len__(self) -> int:
        """Jobs that are waited for."""
        return len(self._waiters)

    def __iter__(self) -> Iterator[W]:
        """Give all who wait."""
        return iter(tuple(self._waiters.values()))

    def listen(self, job_id: str, waiter: W) -> None:
        """Send hints about the job to `waiter`."""
        self._waiters[job_id] = waiter

    def waiter(self, job_id: str) -> W | None:
        """Give who waits for the job."""
        return self._waiters.get(job_id)

    def forget(self, job_id: str) -> None:
        """Send hints about the job to nobody; unknown ids are fine."""
        self._waiters.pop(job_id, None)

    def hint(self, job_id: str) -> bool:
        """Wake whoever waits for the job; False when nobody does."""
        waiter = self._waiters.get(job_id)
        if waiter is None:
            return False
        waiter.hinted()
        return True


logger = logging.getLogger("akool_async")
MIN_HINTED_INTERVAL: Final = 1.0
"""Seconds between polls of one job that hints can cause, so that a flood of hints is one poll."""

RESUME_SPACING: Final = 0.02
"""Seconds between the first polls of jobs that an earlier run submitted, so that thousands are no burst."""

Poll: TypeAlias = Callable[[str], Awaitable[Snapshot]]
Listener: TypeAlias = Callable[["PolledJob"], None]


@attrs.define(eq=False, weakref_slot=False)
class PolledJob:
    """One job that is waited for, by one or several.

    Attributes:
        observation: what its polls have said so far.
        schedule: when to ask.
        error: what stopped the polling for good, such as bad credentials.
        raw_wanted: whether somebody wants the raw answers of a job that goes on; they are large.
    """

    state: PollState
    schedule: PollSchedule
    _waiting: PollScheduler
    listeners: tuple[Listener, ...] = ()
    error: AkoolError | None = None
    due: float = 0.0
    polled_at: float = float("-inf")
    polling: bool = False
    hinted_poll: bool = False
    hint_kept: bool = False
    raw_wanted: bool = True

    @property
    def job_id(self) -> str:
        """The job."""
        return self.state.job_id

    @property
    def is_terminal(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.state.is_terminal or self.error is not None

    @property
    def finished(self) -> bool:
        """Whether it is asked about no more."""
        return not self.listeners or self.is_terminal

    def hinted(self) -> None:
        """Ask sooner, as the notifier wants it."""
        self._waiting.expedite(self)


class PollScheduler:
    """The scheduler.

    Args:
        poll: asks the vendor about a job once, retries included.
        clock: time and chance.
        tasks: the group that its tasks run in.
        pollers: polls under way at once, at most.
        vendor_now: what time it is at the vendor, for the age of jobs; default is the clock's.
    """

    def __init__(
        self,
        poll: Poll,
        *,
        clock: Clock,
        tasks: TaskGroup,
        pollers: int,
        vendor_now: Callable[[], datetime] | None = None,
    ) -> None:
        self._poll = poll
        self._clock = clock
        self._tasks = tasks
        self._pollers = pollers
        self._vendor_now = vendor_now or clock.now
        self._notifier: Notifier[PolledJob] = Notifier()
        self._heap: list[tuple[float, int, PolledJob | None]] = []
        self._returned: list[tuple[float, int, PolledJob]] = []
        self._next_return = float("-inf")
        self._ready: deque[PolledJob] = deque()
        self._order = itertools.count()
        self._at_work = 0
        self._sleeping: anyio.CancelScope | None = None
        self._sleeps_until = float("inf")
        self._running = False
        self._closed = False

    def __len__(self) -> int:
        """Jobs that are waited for."""
        return len(self._notifier)

    def watch(
        self,
        job_id: str,
        schedule: PollSchedule,
        listener: Listener,
        *,
        age: float | None = None,
        raw_wanted: bool = True,
    ) -> PolledJob:
        """Begin to wait for a job; several may wait for one, and share its polls.

        Args:
            job_id: the job.
            schedule: when to ask; the first to wait for a job decides.
            listener: called after every poll, the last time when the job has ended.
            age: seconds since the job was made. 0 is for one made just now; an older one is asked about
                as soon as its turn comes, the oldest first; None, for unknown, asks at once.
            raw_wanted: whether the raw answers are wanted while the job goes on.

        Raises:
            ClientClosedError: nothing is asked any more.
        """
        if self._closed:
            raise _closed(job_id)
        watch = self._notifier.waiter(job_id)
        if watch is not None:
            watch.listeners += (listener,)
            watch.raw_wanted = watch.raw_wanted or raw_wanted
            return watch
        now = self._clock.monotonic()
        begun = PollState.begin(job_id, now, age=age)
        watch = PolledJob(begun, schedule, self, (listener,), raw_wanted=raw_wanted)
        self._notifier.listen(job_id, watch)
        if age is None:
            self._plan(watch, now)
        elif age > 0:
            self._return(watch, age, now)
        else:
            self._plan(watch, now + watch.state.next_poll(schedule, now, self._clock.random()))
        return watch

    def _return(self, watch: PolledJob, age: float, now: float) -> None:
        """Plan the first poll of a job of an earlier run: one turn for each, and the oldest takes the next.

        The oldest is the likeliest to be done, and the first whose result expires.
        """
        self._next_return = max(now, self._next_return + RESUME_SPACING)
        watch.due = self._next_return
        heapq.heappush(self._returned, (-age, next(self._order), watch))
        self._push(watch.due, None)

    def unwatch(self, watch: PolledJob, listener: Listener) -> None:
        """Stop waiting; a job that nobody waits for is asked about no more and goes on at the vendor."""
        if watch.finished:
            return
        watch.listeners = tuple(other for other in watch.listeners if other is not listener)
        if not watch.listeners:
            self._notifier.forget(watch.job_id)

    def close(self) -> None:
        """Tell everybody who still waits that nothing is asked any more."""
        self._closed = True
        for watch in self._notifier:
            watch.error = _closed(watch.job_id)
            self._notifier.forget(watch.job_id)
            for listener in watch.listeners:
                listener(watch)

    def hint(self, job_id: str) -> bool:
        """Ask about a job soon; False when nobody waits for it."""
        return self._notifier.hint(job_id)

    def expedite(self, watch: PolledJob) -> None:
        """Plan the next poll of a job for now, or for a little after the one that is under way."""
        if watch.polling:
            watch.hint_kept = True
            return
        soon = max(self._clock.monotonic(), watch.polled_at + MIN_HINTED_INTERVAL)
        if soon < watch.due:
            watch.hinted_poll = True
            self._plan(watch, soon)

    def reschedule(self) -> None:
        """Ask each schedule once more; no poll comes later than it was planned."""
        now = self._clock.monotonic()
        for watch in self._notifier:
            due = now + watch.state.next_poll(watch.schedule, now, self._clock.random())
            if due < watch.due and not watch.polling:
                self._plan(watch, due)

    def _plan(self, watch: PolledJob, due: float) -> None:
        """Put a job into the heap; an entry that was there for a later moment becomes void."""
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
        """Hand out what is due, sleep until the next moment, end when nothing waits."""
        while self._heap:
            self._collect()
            self._hand_out()
            if not self._heap:
                break
            with anyio.CancelScope() as self._sleeping:
                self._sleeps_until = self._heap[0][0]
                await self._clock.sleep(self._sleeps_until - self._clock.monotonic())
            self._sleeping = None
        self._running = False

    def _collect(self) -> None:
        now = self._clock.monotonic()
        while self._heap and self._heap[0][0] <= now:
            due, _, planned = heapq.heappop(self._heap)
            watch = self._oldest_returned() if planned is None else planned
            if watch is None or watch.finished or watch.polling or (planned and due != watch.due):
                continue
            watch.polling = True
            self._ready.append(watch)

    def _oldest_returned(self) -> PolledJob | None:
        """Take the oldest job of an earlier run that was not asked about yet."""
        while self._returned:
            _, _, watch = heapq.heappop(self._returned)
            if not (watch.finished or watch.polling) and watch.polled_at == float("-inf"):
                return watch
        return None

    def _hand_out(self) -> None:
        for _ in range(min(self._pollers - self._at_work, len(self._ready))):
            self._at_work += 1
            self._tasks.start_soon(self._work)

    async def _work(self) -> None:
        """Be one poller: poll what is ready until nothing is."""
        try:
            while self._ready:
                await self._ask(self._ready.popleft())
        finally:
            self._at_work -= 1

    async def _ask(self, watch: PolledJob) -> None:
        if watch.finished:
            return
        error: AkoolError | None = None
        try:
            snapshot = await self._poll(watch.job_id)
        except AkoolError as missed:
            error = missed
        if watch.error is not None:  # the client is being closed, and everybody was told
            return
        now = self._clock.monotonic()
        stalled = watch.state.stalled(watch.polled_at)
        watch.polled_at, watch.polling = now, False
        if error is None:
            self._answered(watch, snapshot, now)
        elif _is_fatal(error):
            watch.error = error
        else:
            watch.state = watch.state.after_error(error, now)
        watch.hinted_poll = False
        if not stalled:
            _tell_stall(watch, now)
        self._after(watch, now)

    def _answered(self, watch: PolledJob, snapshot: Snapshot, now: float) -> None:
        before = watch.state
        if not before.age_known and snapshot.created_at is not None:
            before = before.with_age((self._vendor_now() - snapshot.created_at).total_seconds(), now)
        watch.state = before.after_snapshot(snapshot, now, slim=not watch.raw_wanted)
        if isinstance(watch.schedule, AdaptiveSchedule):
            seen = watch.state.poll_result(before, now, hinted=watch.hinted_poll)
            if seen is not None:
                watch.schedule.learn(seen)

    def _after(self, watch: PolledJob, now: float) -> None:
        if not watch.listeners:
            return
        if watch.is_terminal:
            self._notifier.forget(watch.job_id)
        else:
            self._plan(watch, self._next(watch, now))
        for listener in watch.listeners:
            listener(watch)

    def _next(self, watch: PolledJob, now: float) -> float:
        if watch.hint_kept:
            watch.hint_kept, watch.hinted_poll = False, True
            return now + MIN_HINTED_INTERVAL
        return now + watch.state.next_poll(watch.schedule, now, self._clock.random())


def _closed(job_id: str) -> ClientClosedError:
    return ClientClosedError(f"The client was closed while job {job_id} was waited for.")


def _tell_stall(watch: PolledJob, now: float) -> None:
    if watch.listeners and watch.state.stalled(now) and not watch.is_terminal:
        minutes = (now - watch.state.changed) / 60
        logger.warning("Job %s has not moved for %.0f min; it is still waited for.", watch.job_id, minutes)


def _is_fatal(error: AkoolError) -> bool:
    """Whether asking again can't help: the credentials or the account, or a call that is wrong."""
    return isinstance(error, AccountError | CallerError) and not isinstance(error, JobNotFoundError)
