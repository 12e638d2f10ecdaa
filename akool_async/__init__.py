"""An asyncio client and batch runner for the Akool video translation API."""

import importlib
from typing import TYPE_CHECKING, Any

from akool_async._client import AkoolClient
from akool_async._clock import Clock
from akool_async._model.errors import (
    AccountError,
    AkoolError,
    AuthenticationError,
    BadRequestError,
    CallerError,
    CertificateError,
    ClientClosedError,
    ConnectError,
    ConnectionLostError,
    DownloadError,
    DuplicateJobError,
    IllegalTransitionError,
    InboxError,
    InvalidMediaError,
    InvalidRequestError,
    JobFailed,
    JobNotFoundError,
    JournalClosedError,
    JournalCorruptedError,
    JournalError,
    JournalLockedError,
    JournalVersionError,
    JournalWriteError,
    NetworkError,
    OutOfCredits,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServerError,
    StorageError,
    SubmissionInDoubt,
    UnexpectedRedirectError,
    VendorError,
    WaitTimeout,
)
from akool_async._model.fingerprint import entry_key, fingerprint
from akool_async._model.outcomes import (
    Completed,
    Expired,
    Failed,
    InDoubt,
    NotSubmitted,
    Outcome,
    Rejected,
    Saved,
)
from akool_async._model.requests import CaptionType, LipSyncRequest, Request, TranslationRequest
from akool_async._model.responses import (
    AudioSplits,
    Job,
    Language,
    Refusal,
    Snapshot,
    Status,
    Submission,
    Voice,
)
from akool_async._model.states import State
from akool_async._polling.adaptive import LearnedSchedule
from akool_async._polling.schedules import (
    AdaptiveSchedule,
    BackoffSchedule,
    FixedSchedule,
    PollContext,
    PollResult,
    PollSchedule,
)
from akool_async._retry import RetryPolicy

if TYPE_CHECKING:
    from akool_async._batch import Batch, EntryProgress, Stage, Statistics, StopCause, open_batch
    from akool_async._journal import Entry, EntryUpdate, Journal, open_journal


__all__ = [
    "PermissionDeniedError",
    "AccountError",
    "AkoolClient",
    "AkoolError",
    "EntryProgress",
    "AudioSplits",
    "AuthenticationError",
    "Batch",
    "CallerError",
    "CaptionType",
    "CertificateError",
    "EntryUpdate",
    "ClientClosedError",
    "Clock",
    "Completed",
    "ConnectError",
    "ConnectionLostError",
    "StorageError",
    "DownloadError",
    "DuplicateJobError",
    "Entry",
    "Expired",
    "Failed",
    "FixedSchedule",
    "BackoffSchedule",
    "InDoubt",
    "InboxError",
    "InvalidRequestError",
    "Job",
    "JobFailed",
    "JobNotFoundError",
    "Journal",
    "JournalCorruptedError",
    "JournalClosedError",
    "JournalError",
    "JournalLockedError",
    "IllegalTransitionError",
    "JournalVersionError",
    "JournalWriteError",
    "Language",
    "LearnedSchedule",
    "AdaptiveSchedule",
    "LipSyncRequest",
    "InvalidMediaError",
    "NetworkError",
    "NotSubmitted",
    "OutOfCredits",
    "Outcome",
    "PollContext",
    "PollSchedule",
    "ProtocolError",
    "Refusal",
    "Rejected",
    "Request",
    "BadRequestError",
    "RetryPolicy",
    "Saved",
    "ServerError",
    "PollResult",
    "Snapshot",
    "Stage",
    "State",
    "Statistics",
    "Status",
    "StopCause",
    "Submission",
    "SubmissionInDoubt",
    "RateLimitError",
    "TranslationRequest",
    "UnexpectedRedirectError",
    "VendorError",
    "Voice",
    "WaitTimeout",
    "fingerprint",
    "entry_key",
    "open_batch",
    "open_journal",
]


def _later(name: str) -> Any:
    """Import the journal and the batch when they are first asked for: a plain client needs neither."""
    for part in ("_journal", "_batch") if name in __all__ else ():
        module = importlib.import_module(f"{__name__}.{part}")
        if name in module.__all__:
            return globals().setdefault(name, getattr(module, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Give all names, also those that are imported later."""
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:
    __getattr__ = _later  # unseen by type checkers, for which a name that is not there stays an error
