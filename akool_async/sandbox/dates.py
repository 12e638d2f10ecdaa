"""Moments as HTTP writes them, in the sandbox's time.

The servers' own Date header is switched off: it would tell real time.
"""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache

__all__ = ["http_date"]


@lru_cache(maxsize=256)
def http_date(second: int) -> bytes:
    """Return a moment, in whole seconds since the epoch, as a Date header has it."""
    return formatdate(second, usegmt=True).encode()
