"""How long to wait before asking again: facts in, seconds or "stop" out.

The one file that uses `backoff`: its wait generators shape the waits, its full jitter spreads
retries. Its decorators are not used: they sleep and measure in ways that do not suit us.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, Protocol, runtime_checkable

import attrs

from akool_async._model.errors import InvalidRequestError
from akool_async._model.responses import Status
from akool_async._model.validators import at_least_one, fraction, seconds_field, share
from akool_async._retry import backoff_step

# What the polls of one job said, packed small: at which age it was at work, and how far it said it was.
#
# A trail is bytes, five for each poll and never many polls, because every job in flight carries one.


_POINT: Final = struct.Struct("<fb")
_MOST: Final = 24
"""Points that a trail holds; a longer one loses every second."""

UNKNOWN: Final = b""
"""The trail of a job that nobody has seen at work yet."""

NEW: Final = _POINT.pack(0.0, -1)
"""The trail of a job that was made just now."""


def append(trail: bytes, elapsed: float, progress: int | None) -> bytes:
    """Add that the job was at work at the age of `elapsed` seconds, and the percentage that it said."""
    if len(trail) >= _MOST * _POINT.size:
        points = range(0, len(trail), 2 * _POINT.size)
        trail = b"".join(trail[at : at + _POINT.size] for at in points)
    told = progress if progress is not None and 0 <= progress <= 100 else -1
    return trail + _POINT.pack(min(max(elapsed, 0.0), 1e30), told)


def iter_points(trail: bytes) -> Iterator[tuple[float, int]]:
    """Give the age and the percentage of each poll that is kept; -1 for a poll that told none."""
    return _POINT.iter_unpack(trail)


def last_seen_running(trail: bytes) -> float | None:
    """Give the age at which the job was last known to be at work; None if it never was."""
    return None if not trail else float(_POINT.unpack(trail[-_POINT.size :])[0])


@attrs.frozen(kw_only=True)
class PollContext:
    """What is known about a waiting job when its next poll is planned.

    Attributes:
        polls: polls so far that brought an answer.
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
        """Give seconds until the next poll.

        Args:
            facts: what is known about the job.
            spread: a random number from 0 up to 1, from which jitter is made.
        """
        ...


@attrs.frozen(kw_only=True)
class PollResult:
    """One poll that was answered, as a schedule learns from it.

    Attributes:
        elapsed: the job's age in seconds, or seconds since waiting began where that is not known.
        status: what was answered; after a terminal one there is no further sighting.
        trail: what the polls before said, packed; `since` and `reports` read it.
        hinted: whether somebody said that now would be worth a poll, so that an end is no later.
    """

    elapsed: float
    status: Status
    history: bytes = attrs.field(default=UNKNOWN, repr=False)
    hinted: bool = False

    @property
    def since(self) -> float | None:
        """The age at which the job was last known to be at work; None if it never was."""
        return last_seen_running(self.history)

    @property
    def reports(self) -> Iterator[tuple[float, int]]:
        """Age and percentage of the polls before, not always of all; -1 where one told none."""
        return iter_points(self.history)


@runtime_checkable
class AdaptiveSchedule(PollSchedule, Protocol):
    """A poll schedule that is told what came of the polls."""

    def learn(self, seen: PollResult) -> None:
        """Take in a poll that was answered, before the next one is planned."""
        ...


@attrs.frozen(kw_only=True)
class BackoffSchedule:
    """Polls that come less often the longer a job runs, and oftener near its end.

    The wait grows from `first` by `factor` up to half of `longest`. Once the vendor reports progress,
    a part of the time that seems to be left is taken instead, up to `longest`; progress that stands
    still is not believed for longer than a quarter of the job's age.

    Args:
        first: seconds before the first poll, and the shortest wait, before jitter.
        factor: by how much each wait is longer than the one before, at least 1.
        longest: seconds that no wait exceeds, before jitter; at least `first`.
        eagerness: share of the time that seems to be left before asking again, up to 1.
        jitter: how far a wait is moved at random, as a share of it, below 1; narrow, so that no poll comes
            at once.

    Raises:
        InvalidRequestError: a value is out of its range.
    """

    initial_delay: float = seconds_field(2.0)
    multiplier: float = attrs.field(default=1.5, validator=at_least_one)
    max_delay: float = seconds_field(20.0)
    eagerness: float = attrs.field(default=0.8, validator=share)
    jitter: float = attrs.field(default=0.1, validator=fraction)

    def __attrs_post_init__(self) -> None:
        """Check what concerns two fields at once."""
        if self.max_delay < self.initial_delay:
            raise InvalidRequestError(
                f"max_delay must not be shorter than initial_delay, which is {self.initial_delay:g} s, "
                f"not {self.max_delay:g}."
            )

    def next_poll(self, context: PollContext, rand: float) -> float:
        """Give seconds until the next poll; see `PollSchedule`."""
        wait = backoff_step(
            context.polls, self.initial_delay, self.multiplier, max(self.initial_delay, self.max_delay / 2)
        )
        left = _time_left(context)
        if left is not None:
            wait = max(self.initial_delay, min(left * self.eagerness, self.max_delay))
        return min(wait, self.max_delay) * (1 + self.jitter * (2 * rand - 1))


def _time_left(facts: PollContext) -> float | None:
    """Seconds until the end at the speed so far; None when progress says nothing."""
    if facts.progress is None or not 0 < facts.progress < 100 or facts.stalled > facts.elapsed / 4:
        return None
    return facts.elapsed * (100 - facts.progress) / facts.progress


@attrs.frozen(kw_only=True)
class FixedSchedule:
    """Polls at one interval, give or take a narrow jitter.

    Args:
        interval: seconds between polls, above 0.
        jitter: how far a wait is moved at random, as a share of it, below 1.

    Raises:
        InvalidRequestError: a value is out of its range.
    """

    interval: float = seconds_field(5.0)
    jitter: float = attrs.field(default=0.1, validator=fraction)

    def next_poll(self, context: PollContext, rand: float) -> float:
        """Give seconds until the next poll; see `PollSchedule`."""
        return self.interval * (1 + self.jitter * (2 * rand - 1))
