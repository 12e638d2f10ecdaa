"""What becomes of an entry, and of the batch, when its paid POST brought an error: one table."""

from __future__ import annotations

import enum

from akool_async._core.errors import (
    AccountError,
    AkoolError,
    CallerError,
    ConnectFailed,
    ConnectionLost,
    OutOfCredits,
    ProtocolError,
    SubmissionInDoubt,
    Throttled,
    VendorError,
)
from akool_async._core.lifecycle import State


class Fate(enum.Enum):
    """What is done about it; the value is the state that the entry goes to."""

    DOUBT = State.IN_DOUBT
    """It was sent, or may have been: never again by itself."""
    REFUSED = State.FAILED
    """The vendor did not make the job: rejected, the others go on."""
    AGAIN = "planned: surely not made, send it again later"
    NO_CREDITS = "planned: submit nothing more, bring home what runs"
    STOP = "planned: submit nothing more, and tell the caller at the end"

    @property
    def state(self) -> State:
        """Where the entry stands then."""
        return self.value if isinstance(self.value, State) else State.PLANNED


def fate_of(error: AkoolError) -> Fate:
    """Give what becomes of an entry whose POST, or the token for it, ended with `error`."""
    fate = _fate_of(error)
    if fate is not Fate.REFUSED or not error.for_token:
        return fate
    # That is no refusal of the entry: it made no job, and the vendor was not asked for it.
    return Fate.AGAIN if isinstance(error, VendorError) else Fate.STOP


def _fate_of(error: AkoolError) -> Fate:
    match error:
        case SubmissionInDoubt():
            return Fate.DOUBT
        case Throttled() | ConnectFailed() | ConnectionLost() | ProtocolError():
            # The last two come from fetching a token: a paid POST that was sent would be in doubt.
            return Fate.AGAIN
        case OutOfCredits():
            return Fate.NO_CREDITS
        case AccountError():
            return Fate.STOP
        case CallerError():
            return Fate.REFUSED
        case VendorError(code=int()):
            return Fate.REFUSED
        case VendorError():
            return Fate.AGAIN
    return Fate.STOP
