"""What the package asks of time and chance. The real one lives in `_clock`; tests bring their own."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


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
