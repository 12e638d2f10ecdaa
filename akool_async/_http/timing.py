"""How long exchanges may take, when calls may be sent again, and what time it is at the vendor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Final, Self

import anyio
import attrs
from anyio.abc import TaskGroup

from akool_async._clock import Clock
from akool_async._retry import RetryPolicy

_TICK: Final = 1.0
"""Seconds after which the watcher wakes at the latest, to notice that the process was frozen."""

_FROZEN: Final = 0.02
"""Seconds that the watcher wakes late when the process was frozen, or blocked for as long."""

_GRACE: Final = 1.0
"""Seconds that an exchange has left after a freeze, at most, to read an answer that has arrived."""

_MOST_GRACE: Final = 5.0
"""Seconds that an exchange is given in all, so that an event loop that always lags ends it, too."""


class ExchangeDeadlines:
    """Cancels exchanges that take too long, also when the process was frozen meanwhile.

    A process that continues after SIGSTOP, a paused container or a closed lid finds the answers that came
    meanwhile in its sockets. A plain deadline has passed by then, and would throw away the ids of paid jobs.
    So one task watches all deadlines. When it wakes late, it moves them by as much.

    Args:
        tasks: the group that the watcher runs in; it outlives the group's cancellation for paid exchanges.
    """

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._limits: set[ExchangeLimit] = set()
        self._frozen = 0.0
        self._watching = False
        self._sleeping: anyio.CancelScope | None = None
        self._due = 0.0
        self._closed = False
        self._idle = anyio.Event()

    def limit(self, seconds: float, *, paid: bool) -> ExchangeLimit:
        """Return a scope that ends after so many seconds, and unless `paid` when the client is closed."""
        # The moment is in time without freezes: what a later freeze adds is added for all limits at once.
        return ExchangeLimit(self, anyio.current_time() - self._frozen + seconds, paid)

    def add(self, limit: ExchangeLimit) -> None:
        """Watch a limit from now on."""
        self._limits.add(limit)
        self._wake(limit.at + self._frozen)

    def remove(self, limit: ExchangeLimit) -> None:
        """Stop watching a limit."""
        self._limits.remove(limit)
        # Closing waits for this: until here a paid exchange may still bring the ids of its jobs.
        if self._closed and not self._limits:
            self._idle.set()
            self._wake()

    async def wait_idle(self) -> None:
        """Wait for the end of the last exchange; call it after `close`."""
        if self._limits:
            await self._idle.wait()

    def close(self) -> None:
        """Cancel what is not paid; the watcher ends with the last paid exchange."""
        self._closed = True
        for limit in self._limits:
            # A paid exchange is finished: its answer names jobs that the account is billed for.
            if not limit.paid:
                limit.scope.cancel()
        self._wake()

    def _wake(self, before: float = -math.inf) -> None:
        """Let the watcher look at the deadlines now, unless it would wake before that moment anyway."""
        if not self._watching and self._limits:
            self._watching, self._due = True, anyio.current_time()
            self._tasks.start_soon(self._watch)
        elif self._sleeping is not None and before < self._due:
            self._due = anyio.current_time()
            self._sleeping.cancel()

    async def _watch(self) -> None:
        # Shielded: closing the client cancels its group, and a paid exchange would then have no deadline.
        with anyio.CancelScope(shield=True):
            while self._limits or not self._closed:
                late = anyio.current_time() - self._due
                # Waking late means that the process did not run. No exchange may be ended for time in which
                # its answer could not be read, above all not a paid one.
                if late > _FROZEN:
                    self._frozen += late
                now = anyio.current_time() - self._frozen
                soonest = math.inf
                for limit in self._limits:
                    # Bounded: on an event loop that always lags, an exchange would never end.
                    if late > _FROZEN and limit.grace > 0:
                        at = max(limit.at, now + min(late, _GRACE, limit.grace))
                        limit.grace, limit.at = limit.grace - (at - limit.at), at
                    if limit.at <= now:
                        limit.scope.cancel()
                    else:
                        soonest = min(soonest, limit.at)
                self._due = self._frozen + min(soonest, now + _TICK) if self._limits else math.inf
                with anyio.CancelScope() as self._sleeping:
                    await anyio.sleep_until(self._due)
                self._sleeping = None
        self._watching = False


@attrs.define(eq=False)
class ExchangeLimit:
    """The scope of one exchange; `at` is a moment of the time in which this process ran."""

    _deadlines: ExchangeDeadlines
    at: float
    paid: bool
    grace: float = _MOST_GRACE
    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)

    def __enter__(self) -> Self:
        """Begin the exchange."""
        self.scope.__enter__()
        self._deadlines.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """End the exchange; one whose time is over is left without an error."""
        self._deadlines.remove(self)
        return bool(self.scope.__exit__(kind, error, trace))


class ThrottlePause:
    """Delays all calls of a client after a rate-limited answer, for longer when several follow each other.

    Answers to calls that were sent before the pause began say nothing new and do not extend it.
    """

    def __init__(self, policy: RetryPolicy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self._times = 0
        self._opens = float("-inf")
        self._closed = float("-inf")
        self._wait = 0.0

    @property
    def remaining(self) -> float:
        """Seconds until calls are sent again; 0 without a pause."""
        return max(self._opens - self._clock.monotonic(), 0.0)

    async def wait(self) -> None:
        """Wait for the end of the pause, and a random part of half of it more, so that calls spread out."""
        # A loop: other answers may have made the pause longer meanwhile.
        while (left := self._opens - self._clock.monotonic()) > 0:
            await self._clock.sleep(left + self._clock.random() * self._wait / 2)

    def rate_limited(self, *, sent: float, elapsed: float, retry_after: float | None) -> bool:
        """Begin a pause; return False if the call has waited too long and should fail.

        Args:
            sent: when the rate-limited call was sent.
            elapsed: seconds since its first attempt.
            retry_after: seconds that the server asked for.
        """
        # Many calls are under way when the first is refused. Each refusal of these is about the same burst,
        # and counting all of them would make the pause minutes long.
        if sent > self._closed:
            self._times += 1
        wait = self._policy.throttle_delay(self._times, elapsed, retry_after)
        if wait is None:
            return False
        now = self._clock.monotonic()
        if sent > self._closed or now + wait > self._opens + self._wait:
            self._closed, self._opens, self._wait = now, now + wait, wait
        return True

    def succeeded(self, *, sent: float) -> None:
        """Record that a call succeeded; one that was sent after the pause ends the row of pauses."""
        # An answer to a call from before the pause proves nothing about the vendor's limit now.
        if sent >= self._opens:
            self._times = 0


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
        if date == self._date:
            return
        try:
            parsed = parsedate_to_datetime(date)
        except (ValueError, TypeError, OverflowError):
            return
        # Without a zone the parsed time is naive; taken for local time it would shift every expiry by hours.
        self._date = date
        self._date_time = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed
        self._heard = self._clock.monotonic()

    def now(self) -> datetime:
        """Return the vendor's time, aware."""
        if self._date_time is None:
            return self._clock.now()
        return self._date_time + timedelta(seconds=self._clock.monotonic() - self._heard)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that a Retry-After header asks for, in either of its forms; None without one.

    Args:
        headers: of an answer.
        now: seconds since the epoch, for the form with a date.
    """
    value = headers.get("retry-after", "").strip()
    # isdigit() alone accepts digits of other scripts, and float() of a long text could be infinite.
    if value.isascii() and value.isdigit():
        return float(value[:6])
    try:
        return max(parsedate_to_datetime(value).timestamp() - now, 0.0)
    except (ValueError, TypeError, OverflowError):
        return None
