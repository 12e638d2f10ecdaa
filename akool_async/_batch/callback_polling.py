"""Polls that are seldom while callbacks announce the ends of jobs, and as frequent as ever once they stop.

Polling is relaxed to one poll in `CALLBACK_INTERVAL` after `CALLBACKS_NEEDED` callbacks; one job that ends
without its callback brings normal polling back until `CALLBACKS_AFTER_LOSS` arrived without a loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from akool_async._batch.entry import BatchEntry
from akool_async._client import ClientSession
from akool_async._model.responses import Callback
from akool_async._polling.poll_state import PollContext, PollResult
from akool_async._polling.scheduler import GuardedSchedule

_TICK: Final = 5.0
"""Seconds between two looks at whether callbacks have stopped."""


class CallbackPolling:
    """The poll schedules of a batch that hears callbacks; `schedule` is the one for all other jobs."""

    def __init__(self, session: ClientSession, schedule: GuardedSchedule) -> None:
        self._session = session
        self._clock = session.clock
        self._schedule = schedule
        self._schedules: dict[str, CallbackSchedule] = {}
        self._evidence = CallbackReliability()
        self._relied = False

    def schedule(self, batch_entry: BatchEntry) -> CallbackSchedule:
        """Return the schedule of a job that is about to be followed."""
        schedule = CallbackSchedule(self._schedule, self._trusted, expects_callbacks=bool(batch_entry.token))
        self._schedules[batch_entry.job_id] = schedule
        return schedule

    def _trusted(self) -> bool:
        return self._evidence.is_reliable(self._clock.monotonic())

    def on_callback(self, callback: Callback) -> None:
        """Record a callback, before it makes the batch poll."""
        schedule = self._schedules.get(callback.job_id)
        # Its poll was faster, or it is not a job of this batch; `record_late` tells which.
        if schedule is None:
            self._evidence.record_late(callback.job_id)
            return
        schedule.expects_callbacks = True
        schedule.reported_done = schedule.reported_done or not callback.in_progress
        self._evidence.record_callback()

    def job_ended(self, job_id: str) -> None:
        """A poll saw a job end."""
        schedule = self._schedules.pop(job_id, None)
        # Without its callback, so far: if callbacks are lost, each result would come minutes late.
        if schedule is not None and schedule.expects_callbacks and not schedule.reported_done:
            self._evidence.record_missed(job_id, self._clock.monotonic())

    async def watch(self) -> None:
        """Poll all jobs as usual as soon as callbacks can't be relied on any more."""
        while True:
            await self._clock.sleep(_TICK)
            relied, self._relied = self._relied, self._trusted()
            # Jobs whose next poll was planned for minutes from now would otherwise sleep through the outage.
            if relied and not self._relied:
                self._session.reschedule()


CALLBACK_INTERVAL: Final = 240.0
"""Seconds between polls of a job whose callback is expected: the longest delay by a lost one."""

CALLBACKS_NEEDED: Final = 3
"""Callbacks, of running or finished jobs, that have to arrive first."""

CALLBACKS_AFTER_LOSS: Final = 20
"""The same once one was lost: a webhook that loses one in ten is hardly ever relied on again."""

_JITTER: Final = 0.1
_GRACE: Final = 5.0
"""Seconds for which the callback of a job that a poll saw end may still be on its way."""


class CallbackReliability:
    """Whether callbacks can be relied on; moments are seconds of one clock."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._needed = CALLBACKS_NEEDED
        self._missing: dict[str, float] = {}

    def record_callback(self) -> None:
        """Record a callback for a job that is waited for."""
        self._in_a_row += 1

    def record_late(self, job_id: str) -> None:
        """Record a callback for a job that a poll may have seen end a moment before."""
        if self._missing.pop(job_id, None) is not None:
            self.record_callback()

    def record_missed(self, job_id: str, now: float) -> None:
        """Record that a poll saw a job end before its callback arrived."""
        self._missing[job_id] = now

    def is_reliable(self, now: float) -> bool:
        """Return whether polling may be relaxed."""
        lost = [job_id for job_id, since in self._missing.items() if now - since > _GRACE]
        for job_id in lost:
            del self._missing[job_id]
        if lost:  # a lost callback delays a result by minutes, a needless poll costs next to nothing
            self._in_a_row, self._needed = 0, CALLBACKS_AFTER_LOSS
        return self._in_a_row >= self._needed


@attrs.define(eq=False)
class CallbackSchedule:
    """The poll schedule of one job that may have callbacks.

    Args:
        schedule: when to poll while callbacks can't be relied on.
        trusted: returns whether they can.
        expects_callbacks: whether callbacks are expected for this job.
        reported_done: whether a callback has reported its end; normal polls have to confirm it.
    """

    schedule: GuardedSchedule
    trusted: Callable[[], bool]
    expects_callbacks: bool = False
    reported_done: bool = False

    def next_poll(self, context: PollContext, rand: float) -> float:
        """Return the seconds until the next poll; see `PollSchedule`."""
        wait = self.schedule.next_poll(context, rand)
        if not self.expects_callbacks or self.reported_done or not self.trusted():
            return wait
        # Never left to callbacks alone: one that is lost delays a result by this much, and loses none.
        return max(wait, CALLBACK_INTERVAL * (1 + _JITTER * (2 * rand - 1)))

    def learn(self, seen: PollResult) -> None:
        """Pass on the result of a poll; see `AdaptiveSchedule`."""
        self.schedule.learn(seen)
