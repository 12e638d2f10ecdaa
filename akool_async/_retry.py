"""Retries and rates as pure rules: when a call is repeated, when all calls pause, how fast paid POSTs follow.

The only file that uses `backoff`, and only its wait generators and jitter: its decorators sleep and measure
time in ways that don't suit anyio or a fake clock.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import attrs
import backoff

from akool_async._model.validators import at_least_one, is_number, positive, seconds_field, whole_number

SLOWEST: Final = 1 / 30
"""POSTs a second, however often the vendor limits the rate."""

STEP: Final = 0.1
"""POSTs a second that each success adds to the rate."""

FREE: Final = 50.0
"""POSTs a second above which there is no limit any more."""


@attrs.define
class AimdRateLimiter:
    """Additive increase, multiplicative decrease of a rate; no limit before the first rate-limited answer.

    Attributes:
        rate: POSTs a second; None for no limit.
    """

    rate: float | None = None
    _next: float = float("-inf")
    _last: float = float("-inf")
    _gap: float = 1.0
    _halved: float = float("-inf")

    def reserve(self, now: float) -> float:
        """Reserve the next turn; return the seconds to wait for it."""
        at = max(now, self._next)
        if self.rate is not None:
            self._next = at + 1 / self.rate
        if self._last > float("-inf"):
            self._gap += 0.2 * (max(at - self._last, 1e-3) - self._gap)
        self._last = at
        return at - now

    def rate_limited(self, *, sent: float = float("inf"), now: float = float("-inf")) -> None:
        """Halve the rate: the vendor said "too often"."""
        # POSTs of one burst that are all refused are one sign: 1/256 of the rate would take days.
        if sent < self._halved:
            return
        self._halved = now
        # The pace that was really gone at: half of "no limit" would be no limit.
        tried = 1 / self._gap if self.rate is None else self.rate
        self.rate = max(min(tried, FREE) / 2, SLOWEST)

    def succeeded(self) -> None:
        """Record that a POST succeeded."""
        if self.rate is not None:
            # Slowly: what the vendor allows is not known, and every refusal makes all POSTs wait.
            self.rate += STEP
            if self.rate > FREE:
                self.rate = None


MOST_RETRY_AFTER: Final = 300.0
"""Seconds: a longer Retry-After is cut to this."""

_HORIZON: Final = 64
"""Steps after which a growing wait has surely reached its longest."""


def backoff_step(number: int, first: float, factor: float, longest: float) -> float:
    """Return the wait before a retry or poll, counted from 0, before jitter."""
    return _backoff_steps(first, factor, longest)[min(max(number, 0), _HORIZON - 1)]


# Every poll of every job needs a step of the same few sequences.
@lru_cache(maxsize=64)
def _backoff_steps(first: float, factor: float, longest: float) -> tuple[float, ...]:
    growing = backoff.expo(base=factor, factor=first, max_value=longest)
    next(growing)  # backoff's generators start with an empty step
    steps: list[float] = []
    with contextlib.suppress(OverflowError):  # a step too large for a number is longer than the longest
        steps.extend(itertools.islice(growing, _HORIZON))
    return (*steps, *itertools.repeat(longest, _HORIZON - len(steps)))


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When a failed call is sent again: exponential backoff with full jitter.

    Args:
        attempts: attempts in all, at least 1.
        initial_delay: seconds before the second attempt, before jitter.
        multiplier: the ratio of each wait to the one before, at least 1.
        max_delay: seconds that no wait exceeds, unless the server asks for longer.
        deadline: seconds in which the call has to succeed, retries included.
        throttle_initial_delay: seconds before a rate-limited call is sent again, before jitter.
        throttle_deadline: seconds for which a rate-limited call is kept waiting.
        jitter: returns the seconds to wait for the computed seconds; default is full jitter, a random time
            from 0 up to that. Where it raises, or returns no such number, the computed seconds are waited.

    Raises:
        ConfigurationError: a value is out of its range.
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
        """Return the seconds before the next attempt, or None to stop.

        Args:
            attempt: attempts so far, from 1.
            elapsed: seconds since the first attempt began.
            retry_after: seconds that the server asked for.
        """
        if attempt >= self.attempts:
            return None
        wait = self._moved(backoff_step(attempt - 1, self.initial_delay, self.multiplier, self.max_delay))
        return self._within(max(wait, _asked(retry_after)), elapsed, self.deadline)

    def throttle_delay(self, times: int, elapsed: float, retry_after: float | None = None) -> float | None:
        """Return the seconds before a rate-limited call is sent again, or None to stop.

        Args:
            times: rate-limited answers in a row, from 1.
            elapsed: seconds since the first attempt began.
            retry_after: seconds that the server asked for.
        """
        step = backoff_step(times - 1, self.throttle_initial_delay, self.multiplier, self.max_delay)
        wait = step / 2 + self._moved(step / 2)
        return self._within(max(wait, _asked(retry_after)), elapsed, self.throttle_deadline)

    def _moved(self, wait: float) -> float:
        """Return a wait moved by the jitter, or as it is where that fails."""
        try:
            moved = self.jitter(wait)
        except Exception:  # noqa: BLE001 - the caller's function must not end polls or a paid call
            return wait
        return moved if is_number(moved) and moved >= 0 else wait

    @staticmethod
    def _within(wait: float, elapsed: float, deadline: float) -> float | None:
        return wait if elapsed + wait <= deadline else None


def _asked(retry_after: float | None) -> float:
    return 0.0 if retry_after is None else min(max(0.0, retry_after), MOST_RETRY_AFTER)


@attrs.define
class RetryBudget:
    """A token bucket for retries of one client, so that an outage is not multiplied.

    Each retry takes one token, each success returns a part of one. With an empty bucket calls fail at once.

    Args:
        capacity: retries that can be made at once.
        refill_amount: tokens that a success returns.
    """

    capacity: float = attrs.field(default=50.0, validator=positive)
    refill_amount: float = attrs.field(default=0.2, validator=positive)
    tokens: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Start full."""
        self.tokens = self.capacity

    def try_spend(self) -> bool:
        """Take a token for one retry; return False if there is none."""
        # Failing at once is what helps then: a vendor that is down gets no call more for each that fails.
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def refill(self) -> None:
        """Record that a call succeeded."""
        self.tokens = min(self.capacity, self.tokens + self.refill_amount)


class ThrottlePause:
    """Delays all calls of a client after a rate-limited answer, for longer when several follow each other.

    Answers to calls that were sent before the pause began say nothing new and do not extend it.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._times = 0
        self._opens = float("-inf")
        self._closed = float("-inf")
        self._wait = 0.0

    def remaining(self, now: float) -> float:
        """Return the seconds until calls are sent again; 0 without a pause."""
        return max(self._opens - now, 0.0)

    @property
    def spread(self) -> float:
        """Seconds of which each call waits a random part more: all at once would be a burst again."""
        return self._wait / 2

    def rate_limited(self, now: float, *, sent: float, elapsed: float, retry_after: float | None) -> bool:
        """Begin a pause; return False if the call, `elapsed` seconds after its beginning, should fail."""
        # Many calls are under way when the first is refused. Each refusal of these is about the same burst,
        # and counting all of them would make the pause minutes long.
        if sent > self._closed:
            self._times += 1
        wait = self._policy.throttle_delay(self._times, elapsed, retry_after)
        if wait is None:
            return False
        if sent > self._closed or now + wait > self._opens + self._wait:
            self._closed, self._opens, self._wait = now, now + wait, wait
        return True

    def succeeded(self, *, sent: float) -> None:
        """Record that a call succeeded; one that was sent after the pause ends the row of pauses."""
        # An answer to a call from before the pause proves nothing about the vendor's limit now.
        if sent >= self._opens:
            self._times = 0
