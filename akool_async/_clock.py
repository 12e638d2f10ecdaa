"""The clock that everything else is given: time, waits and random numbers; and times in answers of hosts."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final, Protocol

import anyio

from akool_async._model.errors import ConfigurationError
from akool_async._model.redact import safe_repr
from akool_async._model.validators import implements


class Clock(Protocol):
    """What time it is, how to wait, and a random number; tests give one of their own."""

    def monotonic(self) -> float:
        """Return seconds that only grow."""

    def now(self) -> datetime:
        """Return the wall clock, aware, in UTC."""

    def random(self) -> float:
        """Return a random number from 0 up to 1."""

    async def sleep(self, seconds: float) -> None:
        """Wait; can be cancelled."""


_clock: Final = implements(
    "a clock with now(), monotonic(), random() and sleep(), as Clock says", "now", "monotonic", "random"
)


def check_clock(clock: Clock) -> Clock:
    """Return a clock of the caller's; refuse what would fail only after something was paid.

    Raises:
        ConfigurationError: a method is missing, or its `now` is not aware.
    """
    _clock.check("clock", clock)
    if not callable(getattr(clock, "sleep", None)):
        _clock.check("clock", None)
    now = clock.now()
    if not isinstance(now, datetime) or now.utcoffset() is None:
        raise ConfigurationError(
            f"clock.now() must return an aware datetime, as datetime.now(UTC), not {safe_repr(now)}."
        )
    return clock


class SystemClock:
    """The clock of the event loop, the wall clock and a random generator.

    Args:
        seed: makes the random numbers repeatable.
    """

    monotonic = staticmethod(anyio.current_time)
    now = staticmethod(partial(datetime.now, UTC))

    def __init__(self, seed: int | None = None) -> None:
        self.random = random.Random(seed).random  # noqa: S311 - spreads waits, guards no secret

    async def sleep(self, seconds: float) -> None:
        """Wait; can be cancelled."""
        await anyio.sleep(max(seconds, 0.0))


default_clock: Callable[[], Clock] = SystemClock
"""Makes the clock of a client that was given none; `akool_async.testing` puts its own here during a test."""


async def wait_event(event: anyio.Event, clock: Clock, seconds: float | None) -> bool:
    """Wait for an event, at most so many seconds of the clock; return whether it has happened."""
    if seconds is None:
        await event.wait()
        return True

    async def expire() -> None:
        await clock.sleep(seconds)
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(expire)
        await event.wait()
        tasks.cancel_scope.cancel()
    return event.is_set()


class ServerClock:
    """The vendor's clock: the Date of its last answer plus monotonic time since.

    Results expire by the vendor's clock, and the local wall clock may be wrong or jump.

    Args:
        clock: the local clock, used until there is an answer.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._date_time: datetime | None = None
        self._heard = 0.0
        self._date = ""

    def update(self, date: str) -> None:
        """Record the Date header of an answer; an invalid one, or the same second again, is ignored."""
        if date != self._date and (moment := http_date(date)) is not None:
            self._date, self._date_time, self._heard = date, moment, self._clock.monotonic()

    @property
    def is_known(self) -> bool:
        """Whether there was an answer that gave the time."""
        return self._date_time is not None

    def now(self) -> datetime:
        """Return the vendor's time, aware."""
        if self._date_time is None:
            return self._clock.now()
        return self._date_time + timedelta(seconds=self._clock.monotonic() - self._heard)


def http_date(text: str) -> datetime | None:
    """Return a date of HTTP, aware; None for what is not one."""
    try:
        parsed = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    # Without a zone the parsed time is naive; taken for local time it would shift every expiry by hours.
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed


def retry_after(headers: Mapping[str, str], now: datetime | None) -> float | None:
    """Return the seconds that a Retry-After header asks for, in either of its forms; None without one.

    Args:
        headers: of an answer.
        now: for the form with a date, aware; where it is not known, such a date asks for no wait.
    """
    value = headers.get("retry-after", "").strip()
    # isdigit() alone accepts digits of other scripts, and float() of a long text could be infinite.
    if value.isascii() and value.isdigit():
        return float(value[:6])
    at = http_date(value)
    return None if at is None else max((at - (now or at)).total_seconds(), 0.0)
