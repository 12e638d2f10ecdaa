"""Polls that are seldom while callbacks come, and as frequent as ever once they stop."""

from __future__ import annotations

from typing import Final

from akool_async._batch.flight import Flight
from akool_async._client import AkoolClient
from akool_async._core.callback import Callback
from akool_async._core.evidence import Evidence, Net
from akool_async._core.schedule import PollSchedule

_TICK: Final = 5.0
"""Seconds between two looks at whether callbacks have stopped."""


class Nets:
    """The poll schedules of a batch that hears callbacks.

    Args:
        client: asks, and has the schedule where the batch has none.
        schedule: the batch's.
        hears: whether callbacks can come at all.
    """

    def __init__(self, client: AkoolClient, schedule: PollSchedule | None, *, hears: bool) -> None:
        self._client = client
        self._clock = client._clock
        self._schedule = schedule
        self._hears = hears
        self._nets: dict[str, Net] = {}
        self._evidence = Evidence()
        self._relied = False

    def schedule(self, flight: Flight) -> PollSchedule | None:
        """Give the schedule of a job that is about to be followed; None for the client's own."""
        if not self._hears:
            return self._schedule
        net = Net(self._schedule or self._client._schedule, self._trusted, called=bool(flight.token))
        self._nets[flight.job_id] = net
        return net

    def _trusted(self) -> bool:
        return self._evidence.trusted(self._clock.monotonic())

    def called_back(self, callback: Callback) -> None:
        """Take in a callback, before anybody asks because of it."""
        net = self._nets.get(callback.job_id)
        now = self._clock.monotonic()
        if net is None:
            self._evidence.late(callback.job_id, now)
            return
        net.called, net.over = True, net.over or not callback.at_work
        self._evidence.called(now)

    def ended(self, job_id: str) -> None:
        """A poll saw a job end."""
        net = self._nets.pop(job_id, None)
        if net is not None and net.called and not net.over:
            self._evidence.ended(job_id, self._clock.monotonic())

    async def watch(self) -> None:
        """Ask about everything as usual as soon as callbacks can't be relied on any more."""
        while True:
            await self._clock.sleep(_TICK)
            if not self._nets:
                self._evidence.idle(self._clock.monotonic())
            relied, self._relied = self._relied, self._trusted()
            if relied and not self._relied:
                self._client._replan()
