"""When a line is too slow to wait for."""

from __future__ import annotations

import attrs


@attrs.define
class Watchdog:
    """Counts what a line brings: every `least` bytes have `window` seconds.

    Args:
        least: bytes.
        window: seconds.
        began: when the count began, on a clock that never jumps.
    """

    least: int
    window: float
    began: float
    taken: int = 0

    @property
    def deadline(self) -> float:
        """When patience ends, unless enough comes before."""
        return self.began + self.window

    def fed(self, count: int, now: float) -> None:
        """Say that so many bytes came."""
        self.taken += count
        if self.taken >= self.least:
            self.taken, self.began = 0, now
