"""Whether a job may be that of a POST in doubt, judged by when it was made."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

SKEW: Final = timedelta(minutes=2)
"""How far the vendor's clock may be behind ours, besides what it says itself: a job made longer than this
before the intent is not the job of that POST."""

LATEST: Final = timedelta(days=1)
"""Nor is a job that was made longer than this after the intent."""

EXPECTED_WITHIN: Final = timedelta(minutes=15)
"""A job that a person names is made within this after the intent; whether a later one is meant is asked."""


def is_of_its_time(
    made: datetime | None, sent: datetime | None, *, ahead: timedelta, latest: timedelta = LATEST
) -> bool:
    """Return whether a job was made at about the time of a POST; False where a time is not known.

    Args:
        made: when the job was made, by the vendor's clock.
        sent: when the POST was intended, by ours.
        ahead: how much later it is by our clock than by the vendor's.
        latest: how long after the POST it may have been made.
    """
    if sent is None or made is None:
        return False
    return sent - max(ahead, timedelta()) - SKEW <= made <= sent + latest
