"""Polls that are seldom while callbacks come, and as frequent as ever once they stop."""

from __future__ import annotations

from typing import Final

from akool_async._batch.entry import BatchEntry
from akool_async._client import ClientSession
from akool_async._model.responses import Callback
from akool_async._polling.callback_trust import CallbackReliability, CallbackSchedule
from akool_async._polling.schedules import PollSchedule

_TICK: Final = 5.0
"""Seconds between two looks at whether callbacks have stopped."""


class CallbackPolling:
    """The poll schedules of a batch that hears callbacks.

    Args:
        session: polls, and has the schedule where the batch has none.
        schedule: the batch's.
        hears: whether callbacks can come at all.
    """

    def __init__(self, session: ClientSession, schedule: PollSchedule | None, *, hears: bool) -> None:
        self._session = session
        self._clock = session.clock
        self._schedule = schedule
        self._hears = hears
        self._schedules: dict[str, CallbackSchedule] = {}
        self._evidence = CallbackReliability()
        self._relied = False

    def schedule(self, batch_entry: BatchEntry) -> PollSchedule | None:
        """Return the schedule of a job that is about to be followed; None for the client's own."""
        if not self._hears:
            return self._schedule
        schedule = CallbackSchedule(
            self._schedule or self._session.schedule, self._trusted, called=bool(batch_entry.token)
        )
        self._schedules[batch_entry.job_id] = schedule
        return schedule

    def _trusted(self) -> bool:
        return self._evidence.is_reliable(self._clock.monotonic())

    def on_callback(self, callback: Callback) -> None:
        """Record a callback, before it makes the batch poll."""
        schedule = self._schedules.get(callback.job_id)
        if schedule is None:
            self._evidence.record_late(callback.job_id)
            return
        schedule.called, schedule.reported_done = True, schedule.reported_done or not callback.in_progress
        self._evidence.record_callback()

    def job_ended(self, job_id: str) -> None:
        """A poll saw a job end."""
        schedule = self._schedules.pop(job_id, None)
        if schedule is not None and schedule.called and not schedule.reported_done:
            self._evidence.record_missed(job_id, self._clock.monotonic())

    async def watch(self) -> None:
        """Poll all jobs as usual as soon as callbacks can't be relied on any more."""
        while True:
            await self._clock.sleep(_TICK)
            relied, self._relied = self._relied, self._trusted()
            if relied and not self._relied:
                self._session.reschedule()
