"""The sandbox's sense of time: seconds since the epoch, from a call without arguments.

`ScaledClock` runs with real time or a multiple of it, `FakeClock` stands still until it is moved.
Nothing here sleeps; whoever has to wait asks `real_seconds` how long that is outside.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

__all__ = ["Clock", "FakeClock", "ScaledClock", "real_wait"]


class Clock(Protocol):
    """Anything that tells seconds since the epoch when called."""

    def __call__(self) -> float:
        """Return the sandbox's time now."""
        ...


class ScaledClock:
    """Real time, run `scale` times as fast, starting at the wall clock's now.

    Args:
        scale: Sandbox seconds per real second, above 0.
        start: Where to begin, seconds since the epoch; the wall clock by default.
    """

    def __init__(self, scale: float = 1.0, start: float | None = None) -> None:
        """Start the clock."""
        if not scale > 0:
            raise ValueError(f"the scale of a clock is above 0, not {scale!r}")
        self.scale = scale
        self._start = time.time() if start is None else start
        self._origin = time.monotonic()

    def __call__(self) -> float:
        """Return the sandbox's time now."""
        return self._start + (time.monotonic() - self._origin) * self.scale

    def __repr__(self) -> str:
        """Show the scale."""
        return f"ScaledClock(scale={self.scale})"


class FakeClock:
    """A clock that stands still until `advance` is called; safe to move from any thread."""

    def __init__(self, start: float = 1_760_000_000.0) -> None:
        """Set the clock."""
        self._now = start
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Return the sandbox's time now."""
        return self._now

    def advance(self, seconds: float) -> float:
        """Move forward and return the new time.

        Args:
            seconds: How far, 0 or more.
        """
        if seconds < 0:
            raise ValueError(f"a clock goes forward only, not by {seconds!r} s")
        with self._lock:
            self._now += seconds
            return self._now

    def __repr__(self) -> str:
        """Show the time."""
        return f"FakeClock({self._now})"


def real_wait(clock: Clock, until: float, *, least: float, most: float) -> float:
    """Return the real seconds to wait for `until`, or `most` where the clock can't tell."""
    if isinstance(clock, ScaledClock):
        return min(max((until - clock()) / clock.scale, least), most)
    return most
