"""How fast paid POSTs may follow each other: halved when the vendor says "too often", raised slowly.

A pure rule over moments that are handed in. As long as nobody complains there is no limit.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import attrs
import backoff

from akool_async._model.validators import at_least_one, positive, seconds_field, whole_number

SLOWEST: Final = 1 / 30
"""POSTs a second, however often the vendor complains."""

STEP: Final = 0.1
"""POSTs a second that each success adds to the rate."""

FREE: Final = 50.0
"""POSTs a second above which there is no limit any more."""


@attrs.define
class AimdRateLimiter:
    """Additive increase, multiplicative decrease of a rate.

    Attributes:
        rate: POSTs a second; None for no limit.
    """

    rate: float | None = None
    _next: float = float("-inf")
    _last: float = float("-inf")
    _gap: float = 1.0
    _halved: float = float("-inf")

    def reserve(self, now: float) -> float:
        """Take the next turn; give the seconds to wait for it."""
        at = max(now, self._next)
        if self.rate is not None:
            self._next = at + 1 / self.rate
        if self._last > float("-inf"):
            self._gap += 0.2 * (max(at - self._last, 1e-3) - self._gap)
        self._last = at
        return at - now

    def rate_limited(self, *, sent: float = float("inf"), now: float = float("-inf")) -> None:
        """Take in that the vendor said "too often": half the rate that was tried.

        Args:
            sent: when the POST was sent; what was sent before the last halving says nothing new.
            now: the present moment.
        """
        if sent < self._halved:
            return
        self._halved = now
        tried = 1 / self._gap if self.rate is None else self.rate
        self.rate = max(min(tried, FREE) / 2, SLOWEST)

    def succeeded(self) -> None:
        """Take in that a POST went through."""
        if self.rate is not None:
            self.rate += STEP
            if self.rate > FREE:
                self.rate = None


# How long to wait before asking again: facts in, seconds or "stop" out.
#
# The one file that uses `backoff`: its wait generators shape the waits, its full jitter spreads
# retries. Its decorators are not used: they sleep and measure in ways that do not suit us.


MOST_RETRY_AFTER: Final = 300.0
"""Seconds: a longer Retry-After is cut to this."""

_HORIZON: Final = 64
"""Steps after which a growing wait has surely reached its longest."""


@lru_cache(maxsize=64)
def _backoff_steps(first: float, factor: float, longest: float) -> tuple[float, ...]:
    growing = backoff.expo(base=factor, factor=first, max_value=longest)
    next(growing)  # backoff's generators start with an empty step
    steps: list[float] = []
    with contextlib.suppress(OverflowError):  # a step too large for a number is longer than the longest
        steps.extend(itertools.islice(growing, _HORIZON))
    return (*steps, *itertools.repeat(longest, _HORIZON - len(steps)))


def backoff_step(number: int, first: float, factor: float, longest: float) -> float:
    return _backoff_steps(first, factor, longest)[min(max(number, 0), _HORIZON - 1)]


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
        InvalidRequestError: a value is out of its range.
    """

    attempts: int = attrs.field(default=5, validator=whole_number)
    initial_delay: float = seconds_field(0.5)
    multiplier: float = attrs.field(default=2.0, validator=at_least_one)
    max_delay: float = seconds_field(30.0)
    deadline: float = seconds_field(120.0)
    throttle_initial_delay: float = seconds_field(1.0)
    throttle_deadline: float = seconds_field(900.0)
    jitter: Callable[[float], float] = attrs.field(default=backoff.full_jitter, repr=False)

    def delay(self, attempt: int, elapsed: float, retry_after: float | None = None) -> float | None:
        """Give the seconds before the next try, or None to stop.

        Args:
            attempt: tries so far, from 1.
            elapsed: seconds since the first try began.
            retry_after: seconds that the server asked for.
        """
        if attempt >= self.attempts:
            return None
        wait = self.jitter(backoff_step(attempt - 1, self.initial_delay, self.multiplier, self.max_delay))
        return self._within(max(wait, _asked(retry_after)), elapsed, self.deadline)

    def throttle_delay(self, times: int, elapsed: float, retry_after: float | None = None) -> float | None:
        """Give the seconds before a throttled call is sent again, or None to stop.

        Args:
            times: how often in a row the vendor said so, from 1.
            elapsed: seconds since the first try began.
            retry_after: seconds that the server asked for.
        """
        step = backoff_step(times - 1, self.throttle_initial_delay, self.multiplier, self.max_delay)
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

    capacity: float = attrs.field(default=50.0, validator=positive)
    refill_amount: float = attrs.field(default=0.2, validator=positive)
    tokens: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Start full."""
        self.tokens = self.capacity

    def try_spend(self) -> bool:
        """Take a token for one retry; False when there is none."""
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def refill(self) -> None:
        """Say that a call succeeded."""
        self.tokens = min(self.capacity, self.tokens + self.refill_amount)
