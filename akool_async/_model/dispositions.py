"""What an error of a paid POST means for the request that was sent, and for the requests after it."""

from __future__ import annotations

import enum

from akool_async._model.states import State


class Disposition(enum.Enum):
    """What an error of a paid POST, or of fetching its token, means for money and for the next step.

    A batch judges by it, and so can any queue or workflow engine: `error.disposition`.
    """

    RETRY = "retry"
    """It surely made no job: the same request may be sent again, later."""
    REJECTED = "rejected"
    """The vendor refused this request and made no job; other requests may succeed."""
    IN_DOUBT = "in_doubt"
    """It was sent, or may have been: a job may exist and be billed. Never send it again by itself."""
    IN_DOUBT_STOP = "in_doubt_stop"
    """The same, and every next POST would end like it: a wrong host costs one doubt, not one for each."""
    OUT_OF_CREDITS = "out_of_credits"
    """It made no job, and no other request will before the account is topped up."""
    STOP = "stop"
    """It made no job, and no other request will before its cause is corrected."""

    @property
    def in_doubt(self) -> bool:
        """Whether a job may exist that is billed."""
        return self in (Disposition.IN_DOUBT, Disposition.IN_DOUBT_STOP)

    @property
    def stops(self) -> bool:
        """Whether nothing more should be submitted."""
        return self in (Disposition.IN_DOUBT_STOP, Disposition.OUT_OF_CREDITS, Disposition.STOP)

    @property
    def state(self) -> State:
        """The state of the entry after it: IN_DOUBT, FAILED or, where it may be sent again, PLANNED."""
        if self.in_doubt:
            return State.IN_DOUBT
        return State.FAILED if self is Disposition.REJECTED else State.PLANNED
