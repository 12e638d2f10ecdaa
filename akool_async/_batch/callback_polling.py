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
        client: asks, and has the schedule where the batch has none.
        schedule: the batch's.
        hears: whether callbacks can come at all.
    """

    def __init__(self, client: ClientSession, schedule: PollSchedule | None, *, hears: bool) -> None:
        self._client = client
        self._clock = client.clock
        self._schedule = schedule
        self._hears = hears
        self._nets: dict[str, CallbackSchedule] = {}
        self._evidence = CallbackReliability()
        self._relied = False

    def schedule(self, batch_entry: BatchEntry) -> PollSchedule | None:
        """Give the schedule of a job that is about to be followed; None for the client's own."""
        if not self._hears:
            return self._schedule
        net = CallbackSchedule(
            self._schedule or self._client.schedule, self._trusted, called=bool(batch_entry.token)
        )
        self._nets[batch_entry.job_id] = net
        return net

    def _trusted(self) -> bool:
        return self._evidence.is_reliable(self._clock.monotonic())

    def on_callback(self, callback: Callback) -> None:
        """Take in a callback, before anybody asks because of it."""
        net = self._nets.get(callback.job_id)
        if net is None:
            self._evidence.record_late(callback.job_id)
            return
        net.called, net.reported_done = True, net.reported_done or not callback.in_progress
        self._evidence.record_callback()

    def ended(self, job_id: str) -> None:
        """A poll saw a job end."""
        net = self._nets.pop(job_id, None)
        if net is not None and net.called and not net.reported_done:
            self._evidence.record_missed(job_id, self._clock.monotonic())

    async def watch(self) -> None:
        """Ask about everything as usual as soon as callbacks can't be relied on any more."""
        while True:
            await self._clock.sleep(_TICK)
            relied, self._relied = self._relied, self._trusted()
            if relied and not self._relied:
                self._client.reschedule()
