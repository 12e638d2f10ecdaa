"""What proves that a job which a callback names may be that of a POST in doubt."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

SKEW: Final = timedelta(minutes=2)
"""How far the vendor's clock may be behind ours, besides what it says itself: a job made longer than this
before the intent is not its."""

LATEST: Final = timedelta(days=1)
"""A job that was made this long after the intent is not its either."""


def is_of_its_time(made: datetime | None, sent: datetime | None, *, ahead: timedelta) -> bool:
    """Return whether a job was made at about the time of a POST.

    Args:
        made: when the job was made, by the vendor's clock.
        sent: when the POST was intended, by ours.
        ahead: how much later it is by our clock than by the vendor's.
    """
    if sent is None or made is None:
        return False
    return sent - max(ahead, timedelta()) - SKEW <= made <= sent + LATEST
