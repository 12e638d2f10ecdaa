"""Credits in words: as they are, or rounded where they are only judged."""

from __future__ import annotations

from typing import Final

_SMALL: Final = 10


def exact(amount: float) -> str:
    """Give an amount with two decimals at most, such as "1,234.5"."""
    return f"{amount:,.2f}".rstrip("0").rstrip(".")


def about(amount: float) -> str:
    """Give an amount that is only judged, without decimals where they would mean nothing."""
    return f"{amount:,.0f}" if abs(amount) >= _SMALL else exact(amount)
