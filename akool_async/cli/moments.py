"""Moments and spans of time in the words that people use."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def span(length: timedelta) -> str:
    """Give a length in its two largest units, such as "1 d 4 h"."""
    seconds = max(int(length.total_seconds()), 0)
    for number, (unit, size) in enumerate(_UNITS):
        if seconds >= size:
            parts = [(seconds // size, unit)]
            if number + 1 < len(_UNITS):
                smaller, least = _UNITS[number + 1]
                parts.append((seconds % size // least, smaller))
            return " ".join(f"{count} {name}" for count, name in parts if count)
    return "0 s"


def ago(moment: datetime | None, now: datetime) -> str:
    """Give a moment of the past, such as "2026-03-01 12:00 UTC, 3 h ago"."""
    if moment is None:
        return "at a time that is not known"
    return f"{moment:%Y-%m-%d %H:%M} UTC, {span(now - moment)} ago"
