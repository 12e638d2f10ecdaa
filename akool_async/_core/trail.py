"""What the polls of one job said, packed small: at which age it was at work, and how far it said it was.

A trail is bytes, five for each poll and never many polls, because every job in flight carries one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

_POINT: Final = struct.Struct("<fb")
_MOST: Final = 24
"""Points that a trail holds; a longer one loses every second."""

UNKNOWN: Final = b""
"""The trail of a job that nobody has seen at work yet."""

NEW: Final = _POINT.pack(0.0, -1)
"""The trail of a job that was made just now."""


def longer(trail: bytes, elapsed: float, progress: int | None) -> bytes:
    """Add that the job was at work at the age of `elapsed` seconds, and the percentage that it said."""
    if len(trail) >= _MOST * _POINT.size:
        points = range(0, len(trail), 2 * _POINT.size)
        trail = b"".join(trail[at : at + _POINT.size] for at in points)
    told = progress if progress is not None and 0 <= progress <= 100 else -1
    return trail + _POINT.pack(min(max(elapsed, 0.0), 1e30), told)


def points(trail: bytes) -> Iterator[tuple[float, int]]:
    """Give the age and the percentage of each poll that is kept; -1 for a poll that told none."""
    return _POINT.iter_unpack(trail)


def last_alive(trail: bytes) -> float | None:
    """Give the age at which the job was last known to be at work; None if it never was."""
    return None if not trail else float(_POINT.unpack(trail[-_POINT.size :])[0])
