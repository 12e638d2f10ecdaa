"""What made a batch stop to submit."""

from __future__ import annotations

import enum


class StopCause(enum.StrEnum):
    """What made a batch stop to submit; the first one counts."""

    TOLD = "told"
    """The caller: `batch.drain()`."""
    SIGNAL = "signal"
    """One of the signals in `drain_on`."""
    BUDGET = "budget"
    """`max_credits` would be exceeded."""
    CREDITS = "credits"
    """The account has no more credits."""
    FAILURE = "failure"
    """The account, the journal or the source of requests; it is raised after the last outcome."""
