"""Time and randomness as an argument, and the system's own: nothing else reads a clock or draws at random."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Protocol

import anyio


class Clock(Protocol):
    """Time and randomness as the package uses them; tests pass their own."""

    def monotonic(self) -> float:
        """Return seconds that never jump; only differences have a meaning."""
        ...

    def now(self) -> datetime:
        """Return the wall clock's time, aware, in UTC."""
        ...

    def random(self) -> float:
        """Return a random number from 0 up to 1."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep; may be cancelled."""
        ...


class SystemClock:
    """The clock of the event loop, the wall clock and a random generator.

    Args:
        seed: makes the random numbers repeatable.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)  # noqa: S311 - spreads waits, guards no secret

    def monotonic(self) -> float:
        """Return seconds of the event loop's clock."""
        return anyio.current_time()

    def now(self) -> datetime:
        """Return the wall clock's time, aware, in UTC."""
        return datetime.now(UTC)

    def random(self) -> float:
        """Return a random number from 0 up to 1."""
        return self._random.random()

    async def sleep(self, seconds: float) -> None:
        """Sleep; may be cancelled."""
        await anyio.sleep(max(seconds, 0.0))
