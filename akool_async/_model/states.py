"""The states of an entry, which may follow which, and what a resume does with each: tables.

A job travels one way: planned, submitting (intent committed), submitted (ids committed), completed or
failed, delivered. Doubts and retries are the only ways back, and only the caller can take them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


class State(enum.StrEnum):
    """Where an entry is, for us."""

    PLANNED = "planned"
    """Known, nothing sent; also what was not submitted."""
    SUBMITTING = "submitting"
    """The intent is committed; the POST may be under way."""
    SUBMITTED = "submitted"
    """The vendor gave an id, and it is committed."""
    COMPLETED = "completed"
    """The result is at the vendor, not yet at the caller's."""
    FAILED = "failed"
    """The job failed, or was refused and never made (then there is no job id)."""
    DELIVERED = "delivered"
    """The outcome was emitted, and the files are saved if they were wanted."""
    IN_DOUBT = "in_doubt"
    """Sent or maybe sent, the answer is unknown."""
    EXPIRED = "expired"
    """Completed, but the result expired before it was saved."""


class ResumeAction(enum.Enum):
    """What a new run does with an entry that it finds."""

    SUBMIT = "submit it"
    DOUBT = "declare it in doubt, because the intent has no answer"
    HOLD = "keep the doubt, or pay again if the caller says so"
    POLL = "wait for the job"
    DOWNLOAD = "ask for a fresh URL and save the result"
    REPORT = "report how it ended, marked as resumed"


TRANSITIONS: Final[Mapping[State, frozenset[State]]] = MappingProxyType(
    {
        State.PLANNED: frozenset({State.SUBMITTING}),
        State.SUBMITTING: frozenset({State.SUBMITTED, State.FAILED, State.IN_DOUBT, State.PLANNED}),
        State.SUBMITTED: frozenset({State.COMPLETED, State.FAILED, State.EXPIRED}),
        State.COMPLETED: frozenset({State.DELIVERED, State.EXPIRED}),
        State.FAILED: frozenset({State.SUBMITTING}),
        State.DELIVERED: frozenset(),
        State.IN_DOUBT: frozenset({State.SUBMITTED, State.SUBMITTING, State.FAILED, State.PLANNED}),
        State.EXPIRED: frozenset({State.SUBMITTING}),
    }
)
"""Which states may follow. From FAILED and EXPIRED only a retry that was asked for leads on."""

RESUME_ACTIONS: Final[Mapping[State, ResumeAction]] = MappingProxyType(
    {
        State.PLANNED: ResumeAction.SUBMIT,
        State.SUBMITTING: ResumeAction.DOUBT,
        State.SUBMITTED: ResumeAction.POLL,
        State.COMPLETED: ResumeAction.DOWNLOAD,
        State.FAILED: ResumeAction.REPORT,
        State.DELIVERED: ResumeAction.REPORT,
        State.IN_DOUBT: ResumeAction.HOLD,
        State.EXPIRED: ResumeAction.REPORT,
    }
)
"""What a new run does with an entry that an earlier one left in a state."""


WITHOUT_RESULT: Final = frozenset({State.FAILED, State.EXPIRED})
"""Ended without a result to save; paid for again only where the caller asks for it (`retry_failed`)."""


ENDED: Final = WITHOUT_RESULT | {State.DELIVERED}
"""States after which a run that will not be resumed does nothing more about an entry."""


def may_follow(before: State, after: State) -> bool:
    """Whether an entry may go from one state to the other; staying is always allowed."""
    return before is after or after in TRANSITIONS[before]
