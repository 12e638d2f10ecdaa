"""The brake of one client: when the vendor says "too often", all its calls wait, not only one."""

from __future__ import annotations

from akool_async._core.clock import Clock
from akool_async._core.schedule import RetryPolicy


class Gate:
    """Closed for a while after each throttled answer, for longer when they follow each other.

    Answers to calls that were sent before the gate closed say nothing new and close it no longer.
    """

    def __init__(self, policy: RetryPolicy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self._times = 0
        self._opens = float("-inf")
        self._closed = float("-inf")
        self._wait = 0.0

    async def passed(self) -> None:
        """Wait until the gate is open; those who waited leave spread out over half the wait."""
        while (left := self._opens - self._clock.monotonic()) > 0:
            await self._clock.sleep(left + self._clock.random() * self._wait / 2)

    def throttled(self, *, sent: float, elapsed: float, retry_after: float | None) -> bool:
        """Take in a throttled answer; False when the call has waited long enough and should give up.

        Args:
            sent: when the call was sent that was answered so.
            elapsed: seconds since its first try.
            retry_after: seconds that the server asked for.
        """
        if sent > self._closed:
            self._times += 1
        wait = self._policy.throttled_for(self._times, elapsed, retry_after)
        if wait is None:
            return False
        now = self._clock.monotonic()
        if sent > self._closed or now + wait > self._opens + self._wait:
            self._closed, self._opens, self._wait = now, now + wait, wait
        return True

    def succeeded(self, *, sent: float) -> None:
        """Take in that a call went through which was sent after the gate opened again."""
        if sent >= self._opens:
            self._times = 0
