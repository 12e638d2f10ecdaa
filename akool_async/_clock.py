"""Real time and real chance: the only place that asks the machine for either."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Protocol

import anyio


class SystemClock:
    """The clock of the event loop, the wall clock and a random generator.

    Args:
        seed: makes the random numbers repeatable.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)  # noqa: S311 - spreads waits, guards no secret

    def monotonic(self) -> float:
        """Seconds of the event loop's clock."""
        return anyio.current_time()

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""
        return datetime.now(UTC)

    def random(self) -> float:
        """A random number from 0 up to 1."""
        return self._random.random()

    async def sleep(self, seconds: float) -> None:
        """Wait; can be cancelled."""
        await anyio.sleep(max(seconds, 0.0))


# What the package asks of time and chance. The real one lives in `_clock`; tests bring their own.


class Clock(Protocol):
    """Time and chance, as an argument."""

    def monotonic(self) -> float:
        """Seconds that never jump; only differences mean something."""
        ...

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""
        ...

    def random(self) -> float:
        """A random number from 0 up to 1."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; can be cancelled."""
        ...
