"""Polls that are rare for as long as callbacks announce the ends of jobs before our polls see them.

Polling is relaxed to one poll in `CALLBACK_INTERVAL` after `CALLBACKS_NEEDED` callbacks; one job that ends
without its callback brings normal polling back until `CALLBACKS_AFTER_LOSS` arrived without a loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from akool_async._polling.schedules import AdaptiveSchedule, PollContext, PollResult, PollSchedule

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
        called: whether callbacks are expected for this job.
        reported_done: whether a callback has reported its end; normal polls have to confirm it.
    """

    schedule: PollSchedule
    trusted: Callable[[], bool]
    called: bool = False
    reported_done: bool = False

    def next_poll(self, context: PollContext, rand: float) -> float:
        """Return the seconds until the next poll; see `PollSchedule`."""
        wait = self.schedule.next_poll(context, rand)
        if not self.called or self.reported_done or not self.trusted():
            return wait
        return max(wait, CALLBACK_INTERVAL * (1 + _JITTER * (2 * rand - 1)))

    def learn(self, seen: PollResult) -> None:
        """Pass on the result of a poll; see `AdaptiveSchedule`."""
        if isinstance(self.schedule, AdaptiveSchedule):
            self.schedule.learn(seen)
