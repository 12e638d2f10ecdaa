"""Identifiers in the vendor's manner: 24 lower-case hex digits, as a Mongo ObjectId has.

Four bytes of time, five of the "machine" (from the seed), three of a counter: unique in one sandbox
and the same again for the same seed and clock.
"""

from __future__ import annotations

import random
from itertools import count

__all__ = ["IdMill"]


class IdMill:
    """Makes identifiers, each one once."""

    def __init__(self, seed: int) -> None:
        """Draw the machine and the first count."""
        draw = random.Random(f"{seed}:ids")  # noqa: S311 - repeatable
        self._machine = draw.randbytes(5).hex()
        self._counter = count(draw.randrange(1 << 22))

    def make(self, now: float) -> str:
        """Return a new identifier for the moment `now` (seconds since the epoch)."""
        return f"{int(now) & 0xFFFFFFFF:08x}{self._machine}{next(self._counter) & 0xFFFFFF:06x}"
