"""How fast paid POSTs may follow each other: halved when the vendor says "too often", raised slowly.

A pure rule over moments that are handed in. As long as nobody complains there is no limit.
"""

from __future__ import annotations

from typing import Final

import attrs

SLOWEST: Final = 1 / 30
"""POSTs a second, however often the vendor complains."""

STEP: Final = 0.1
"""POSTs a second that each success adds to the rate."""

FREE: Final = 50.0
"""POSTs a second above which there is no limit any more."""


@attrs.define
class Pace:
    """Additive increase, multiplicative decrease of a rate.

    Attributes:
        rate: POSTs a second; None for no limit.
    """

    rate: float | None = None
    _next: float = float("-inf")
    _last: float = float("-inf")
    _gap: float = 1.0
    _halved: float = float("-inf")

    def turn(self, now: float) -> float:
        """Take the next turn; give the seconds to wait for it."""
        at = max(now, self._next)
        if self.rate is not None:
            self._next = at + 1 / self.rate
        if self._last > float("-inf"):
            self._gap += 0.2 * (max(at - self._last, 1e-3) - self._gap)
        self._last = at
        return at - now

    def throttled(self, *, sent: float = float("inf"), now: float = float("-inf")) -> None:
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
