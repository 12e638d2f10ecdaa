"""Poll schedules: from what is known about a job to the seconds until its next poll."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, Protocol, runtime_checkable

import attrs

from akool_async._model.errors import ConfigurationError
from akool_async._model.responses import Status
from akool_async._model.validators import at_least_one, fraction, seconds_field, share
from akool_async._retry import backoff_step

# The poll history of a job is packed into bytes, five for each poll, because every job in flight carries one.
_POINT: Final = struct.Struct("<fb")
_MAX_POINTS: Final = 24
"""Points that a history holds; a longer one loses every second."""

UNKNOWN: Final = b""
"""The history of a job that no poll has seen running yet."""

NEW: Final = _POINT.pack(0.0, -1)
"""The history of a job that was created just now."""


def append(history: bytes, elapsed: float, progress: int | None) -> bytes:
    """Add that the job was running at the age of `elapsed` seconds, and the percentage it reported."""
    if len(history) >= _MAX_POINTS * _POINT.size:
        points = range(0, len(history), 2 * _POINT.size)
        history = b"".join(history[start : start + _POINT.size] for start in points)
    percent = progress if progress is not None and 0 <= progress <= 100 else -1
    return history + _POINT.pack(min(max(elapsed, 0.0), 1e30), percent)


def iter_points(history: bytes) -> Iterator[tuple[float, int]]:
    """Return the age and the percentage of each poll that is kept; -1 where none was reported."""
    return _POINT.iter_unpack(history)


def last_seen_running(history: bytes) -> float | None:
    """Return the age at which the job was last known to be running; None if it never was."""
    return float(_POINT.unpack(history[-_POINT.size :])[0]) if history else None


@attrs.frozen(kw_only=True)
class PollContext:
    """What is known about a waiting job when its next poll is planned.

    Attributes:
        polls: polls answered so far.
        elapsed: seconds since waiting began, or since the job was created where that is known.
        progress: percent, None where the server sends none.
        stalled: seconds since progress or status last changed.
    """

    polls: int = 0
    elapsed: float = 0.0
    progress: int | None = None
    stalled: float = 0.0


class PollSchedule(Protocol):
    """A rule for the wait before the next poll."""

    def next_poll(self, context: PollContext, rand: float) -> float:
        """Return the seconds until the next poll.

        Args:
            context: what is known about the job.
            rand: a random number from 0 up to 1, from which jitter is made.
        """
        ...


@attrs.frozen(kw_only=True)
class PollResult:
    """One poll that was answered, as a schedule learns from it.

    Attributes:
        elapsed: the job's age in seconds, or seconds since waiting began where that is not known.
        status: the status in the answer; after a terminal one there are no more results.
        history: the earlier polls, packed; `since` and `reports` read it.
        hinted: whether a hint, such as a callback, caused the poll; then an end is only moments old.
    """

    elapsed: float
    status: Status
    history: bytes = attrs.field(default=UNKNOWN, repr=False)
    hinted: bool = False

    @property
    def since(self) -> float | None:
        """The age at which the job was last known to be running; None if it never was."""
        return last_seen_running(self.history)

    @property
    def reports(self) -> Iterator[tuple[float, int]]:
        """Age and percentage of earlier polls, not always of all; -1 where none was reported."""
        return iter_points(self.history)


@runtime_checkable
class AdaptiveSchedule(PollSchedule, Protocol):
    """A poll schedule that learns from the results of polls."""

    def learn(self, seen: PollResult) -> None:
        """Learn from an answered poll, before the next one is planned."""
        ...


@attrs.frozen(kw_only=True)
class BackoffSchedule:
    """Polls that come less often the longer a job runs, and more often near its end.

    The wait grows from `initial_delay` by `multiplier` up to half of `max_delay`. Once the vendor reports
    progress, a share of the estimated remaining time is used instead, up to `max_delay`; progress that
    has not changed for a quarter of the job's age is ignored.

    Args:
        initial_delay: seconds before the first poll, and the shortest wait, before jitter.
        multiplier: the ratio of each wait to the one before, at least 1.
        max_delay: seconds that no wait exceeds, before jitter; at least `initial_delay`.
        eagerness: share of the estimated remaining time to wait before the next poll, up to 1.
        jitter: how far a wait is moved at random, as a share of it, below 1.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    initial_delay: float = seconds_field(2.0)
    multiplier: float = attrs.field(default=1.5, validator=at_least_one)
    max_delay: float = seconds_field(20.0)
    eagerness: float = attrs.field(default=0.8, validator=share)
    jitter: float = attrs.field(default=0.1, validator=fraction)

    def __attrs_post_init__(self) -> None:
        """Check what concerns two fields at once."""
        if self.max_delay < self.initial_delay:
            raise ConfigurationError(
                f"max_delay must not be shorter than initial_delay, which is {self.initial_delay:g} s, "
                f"not {self.max_delay:g}."
            )

    def next_poll(self, context: PollContext, rand: float) -> float:
        """Return the seconds until the next poll; see `PollSchedule`."""
        wait = backoff_step(
            context.polls, self.initial_delay, self.multiplier, max(self.initial_delay, self.max_delay / 2)
        )
        progress = context.progress
        # Progress that has not moved for long would otherwise promise an end that never comes.
        if progress is not None and 0 < progress < 100 and not context.stalled > context.elapsed / 4:
            remaining = context.elapsed * (100 - progress) / progress
            wait = max(self.initial_delay, min(remaining * self.eagerness, self.max_delay))
        return min(wait, self.max_delay) * (1 + self.jitter * (2 * rand - 1))


@attrs.frozen(kw_only=True)
class FixedSchedule:
    """Polls at one interval, give or take a narrow jitter.

    Args:
        interval: seconds between polls, above 0.
        jitter: how far a wait is moved at random, as a share of it, below 1.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    interval: float = seconds_field(5.0)
    jitter: float = attrs.field(default=0.1, validator=fraction)

    def next_poll(self, context: PollContext, rand: float) -> float:
        """Return the seconds until the next poll; see `PollSchedule`."""
        return self.interval * (1 + self.jitter * (2 * rand - 1))
