"""What time it is at the vendor: its results die by its clock, and ours may be wrong or jump."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from akool_async._core.clock import Clock


class ServerTime:
    """The server's clock, as its last answer told it and time that can't jump has moved it since.

    Args:
        clock: ours, which is believed until there is an answer.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: datetime | None = None
        self._heard = 0.0
        self._date = ""

    def hear(self, date: str) -> None:
        """Take in the Date header of an answer; what is none says nothing, nor is one more of that second."""
        if date == self._date:
            return
        try:
            told = parsedate_to_datetime(date)
        except (ValueError, TypeError, OverflowError):
            return
        self._date = date
        self._told = told.replace(tzinfo=UTC) if told.tzinfo is None else told
        self._heard = self._clock.monotonic()

    def now(self) -> datetime:
        """Give the moment, aware."""
        if self._told is None:
            return self._clock.now()
        return self._told + timedelta(seconds=self._clock.monotonic() - self._heard)
