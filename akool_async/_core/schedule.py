"""How long to wait before asking again: facts in, seconds or "stop" out.

The one file that uses `backoff`: its wait generators shape the waits, its full jitter spreads
retries. Its decorators are not used: they sleep and measure in ways that do not suit us.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, Protocol, runtime_checkable

import attrs
import backoff

from akool_async._core import trail as trails
from akool_async._core.errors import InvalidRequest
from akool_async._core.models import Status
from akool_async._core.text import shown

MOST_RETRY_AFTER: Final = 300.0
"""Seconds: a longer Retry-After is cut to this."""

_HORIZON: Final = 64
"""Steps after which a growing wait has surely reached its longest."""


@lru_cache(maxsize=64)
def _steps(first: float, factor: float, longest: float) -> tuple[float, ...]:
    growing = backoff.expo(base=factor, factor=first, max_value=longest)
    next(growing)  # backoff's generators start with an empty step
    steps: list[float] = []
    with contextlib.suppress(OverflowError):  # a step too large for a number is longer than the longest
        steps.extend(itertools.islice(growing, _HORIZON))
    return (*steps, *itertools.repeat(longest, _HORIZON - len(steps)))


def _step(number: int, first: float, factor: float, longest: float) -> float:
    return _steps(first, factor, longest)[min(max(number, 0), _HORIZON - 1)]


def is_number(value: object) -> bool:
    """Whether a value is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number too large for a float
        return False


_Check = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _must(be: str, holds: Callable[[Any], bool]) -> _Check:
    """Make the validator of a number's range."""

    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not (is_number(value) and holds(value)):
            raise InvalidRequest(f"{attribute.name} must be {be}, not {shown(value)}.")

    return check


_positive: Final = _must("a positive number", lambda value: value > 0)
_at_least_one: Final = _must("a number of 1 or more", lambda value: value >= 1)
_whole: Final = _must("a whole number of 1 or more", lambda value: isinstance(value, int) and value >= 1)
_share: Final = _must("above 0 and at most 1", lambda value: 0 < value <= 1)
_part: Final = _must("0 or more and below 1", lambda value: 0 <= value < 1)


def _seconds(default: float) -> float:
    return attrs.field(default=default, validator=_positive)


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When a failed call is sent again: exponential backoff with full jitter.

    Args:
        attempts: tries in all, at least 1.
        first: seconds before the second try, before jitter.
        factor: by how much each wait is longer than the one before, at least 1.
        longest: seconds that no wait exceeds, unless the server asks for longer.
        deadline: seconds in which the call has to succeed, retries included.
        throttle_first: seconds before a throttled call is sent again, before jitter.
        throttle_deadline: seconds for which a throttled call is kept waiting.
        jitter: gives the seconds to wait from the seconds that were computed; default is full jitter, a
            random time from 0 up to that.

    Raises:
        InvalidRequest: a value is out of its range.
    """

    attempts: int = attrs.field(default=5, validator=_whole)
    first: float = _seconds(0.5)
    factor: float = attrs.field(default=2.0, validator=_at_least_one)
    longest: float = _seconds(30.0)
    deadline: float = _seconds(120.0)
    throttle_first: float = _seconds(1.0)
    throttle_deadline: float = _seconds(900.0)
    jitter: Callable[[float], float] = attrs.field(default=backoff.full_jitter, repr=False)

    def retry_in(self, attempt: int, elapsed: float, retry_after: float | None = None) -> float | None:
        """Give the seconds before the next try, or None to stop.

        Args:
            attempt: tries so far, from 1.
            elapsed: seconds since the first try began.
            retry_after: seconds that the server asked for.
        """
        if attempt >= self.attempts:
            return None
        wait = self.jitter(_step(attempt - 1, self.first, self.factor, self.longest))
        return self._within(max(wait, _asked(retry_after)), elapsed, self.deadline)

    def throttled_for(self, times: int, elapsed: float, retry_after: float | None = None) -> float | None:
        """Give the seconds before a throttled call is sent again, or None to stop.

        Args:
            times: how often in a row the vendor said so, from 1.
            elapsed: seconds since the first try began.
            retry_after: seconds that the server asked for.
        """
        step = _step(times - 1, self.throttle_first, self.factor, self.longest)
        wait = step / 2 + self.jitter(step / 2)
        return self._within(max(wait, _asked(retry_after)), elapsed, self.throttle_deadline)

    @staticmethod
    def _within(wait: float, elapsed: float, deadline: float) -> float | None:
        return wait if elapsed + wait <= deadline else None


def _asked(retry_after: float | None) -> float:
    return 0.0 if retry_after is None else min(max(0.0, retry_after), MOST_RETRY_AFTER)


@attrs.define
class RetryBudget:
    """A token bucket for retries of one client, so that an outage is not multiplied.

    Each retry takes one token, each success gives back a part of one. An empty bucket means: fail
    now, do not repeat.

    Args:
        capacity: retries that can be taken at once.
        refill: what a success gives back, in tokens.
    """

    capacity: float = attrs.field(default=50.0, validator=_positive)
    refill: float = attrs.field(default=0.2, validator=_positive)
    tokens: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Start full."""
        self.tokens = self.capacity

    def take(self) -> bool:
        """Take a token for one retry; False when there is none."""
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def give(self) -> None:
        """Say that a call succeeded."""
        self.tokens = min(self.capacity, self.tokens + self.refill)


@attrs.frozen(kw_only=True)
class PollFacts:
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

    def next_poll(self, facts: PollFacts, spread: float) -> float:
        """Give seconds until the next poll.

        Args:
            facts: what is known about the job.
            spread: a random number from 0 up to 1, from which jitter is made.
        """
        ...


@attrs.frozen(kw_only=True)
class Sighting:
    """One poll that was answered, as a schedule learns from it.

    Attributes:
        elapsed: the job's age in seconds, or seconds since waiting began where that is not known.
        status: what was answered; after a terminal one there is no further sighting.
        trail: what the polls before said, packed; `since` and `reports` read it.
        hinted: whether somebody said that now would be worth a poll, so that an end is no later.
    """

    elapsed: float
    status: Status
    trail: bytes = attrs.field(default=trails.UNKNOWN, repr=False)
    hinted: bool = False

    @property
    def since(self) -> float | None:
        """The age at which the job was last known to be at work; None if it never was."""
        return trails.last_alive(self.trail)

    @property
    def reports(self) -> Iterator[tuple[float, int]]:
        """Age and percentage of the polls before, not always of all; -1 where one told none."""
        return trails.points(self.trail)


@runtime_checkable
class LearningSchedule(PollSchedule, Protocol):
    """A poll schedule that is told what came of the polls."""

    def learn(self, seen: Sighting) -> None:
        """Take in a poll that was answered, before the next one is planned."""
        ...


@attrs.frozen(kw_only=True)
class GrowingSchedule:
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
        InvalidRequest: a value is out of its range.
    """

    first: float = _seconds(2.0)
    factor: float = attrs.field(default=1.5, validator=_at_least_one)
    longest: float = _seconds(20.0)
    eagerness: float = attrs.field(default=0.8, validator=_share)
    jitter: float = attrs.field(default=0.1, validator=_part)

    def __attrs_post_init__(self) -> None:
        """Check what concerns two fields at once."""
        if self.longest < self.first:
            raise InvalidRequest(
                f"longest must not be shorter than first, which is {self.first:g} s, not {self.longest:g}."
            )

    def next_poll(self, facts: PollFacts, spread: float) -> float:
        """Give seconds until the next poll; see `PollSchedule`."""
        wait = _step(facts.polls, self.first, self.factor, max(self.first, self.longest / 2))
        left = _time_left(facts)
        if left is not None:
            wait = max(self.first, min(left * self.eagerness, self.longest))
        return min(wait, self.longest) * (1 + self.jitter * (2 * spread - 1))


def _time_left(facts: PollFacts) -> float | None:
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
        InvalidRequest: a value is out of its range.
    """

    interval: float = _seconds(5.0)
    jitter: float = attrs.field(default=0.1, validator=_part)

    def next_poll(self, facts: PollFacts, spread: float) -> float:
        """Give seconds until the next poll; see `PollSchedule`."""
        return self.interval * (1 + self.jitter * (2 * spread - 1))
