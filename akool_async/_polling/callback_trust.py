"""Whether callbacks can be relied on, and polls that are seldom while they can.

A callback is never believed, but where every job has one, there is little reason to ask meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from akool_async._polling.schedules import AdaptiveSchedule, PollContext, PollResult, PollSchedule

CALLBACK_INTERVAL: Final = 240.0
"""Seconds between polls of a job whose callback can be relied on: a safety net, should it be lost."""

_NET_JITTER: Final = 0.1
_FEWEST: Final = 3
"""Callbacks that have to come before they are relied on."""

_AFTER_A_LOSS: Final = 20
_AFTER_MANY: Final = 640
"""After one was lost so many have to come first, and after each further loss twice as many: a lost one costs
minutes of delay, a poll too many next to nothing."""

_LATE: Final = 5.0
"""Seconds for which the callback of a job that a poll saw end may still be on its way."""

_SILENCE: Final = 30.0
_GAPS: Final = 3.0
"""Silence means something once it is so many times longer than silence was before, and a little more."""


class CallbackReliability:
    """What the last jobs have shown about callbacks; moments are seconds of one clock."""

    def __init__(self) -> None:
        self._came = 0
        self._wanted = _FEWEST
        self._late: dict[str, float] = {}
        self._heard = 0.0
        self._gap = 0.0

    def record_callback(self, now: float) -> None:
        """A callback came for a job that is waited for."""
        if self._came >= _FEWEST:
            self._gap = max(now - self._heard, self._gap * 0.9)
        self._heard = now
        self._came += 1

    def record_late(self, job_id: str, now: float) -> None:
        """A callback came for a job that is not waited for: maybe for one that was, a moment ago."""
        if self._late.pop(job_id, None) is not None:
            self.record_callback(now)

    def record_missed(self, job_id: str, now: float) -> None:
        """A poll saw a job end of which no callback has said so; it may be on its way."""
        self._late[job_id] = now

    def record_idle(self, now: float) -> None:
        """There is no job for which a callback could come."""
        self._heard = now

    def is_reliable(self, now: float) -> bool:
        """Whether callbacks can be relied on."""
        lost = [job_id for job_id, since in self._late.items() if now - since > _LATE]
        for job_id in lost:
            del self._late[job_id]
            self._came, self._wanted = 0, min(max(2 * self._wanted, _AFTER_A_LOSS), _AFTER_MANY)
        if self._came >= self._wanted and self._silent(now):
            self._came, self._wanted = 0, max(self._wanted, _AFTER_A_LOSS)
        return self._came >= self._wanted

    def _silent(self, now: float) -> bool:
        return now - self._heard > _SILENCE + _GAPS * self._gap


@attrs.define(eq=False)
class CallbackSchedule:
    """The poll schedule of one job whose callbacks may come here.

    Args:
        schedule: when to ask as long as callbacks can't be relied on.
        trusted: whether they can.
        called: whether this job's come here.
        over: whether one has said that the job does not go on; then asking is no longer seldom.
    """

    schedule: PollSchedule
    trusted: Callable[[], bool]
    called: bool = False
    reported_done: bool = False

    def next_poll(self, context: PollContext, rand: float) -> float:
        """Give seconds until the next poll; see `PollSchedule`."""
        wait = self.schedule.next_poll(context, rand)
        if not self.called or self.reported_done or not self.trusted():
            return wait
        return max(wait, CALLBACK_INTERVAL * (1 + _NET_JITTER * (2 * rand - 1)))

    def learn(self, seen: PollResult) -> None:
        """Pass on what a poll said; see `AdaptiveSchedule`."""
        if isinstance(self.schedule, AdaptiveSchedule):
            self.schedule.learn(seen)
