"""An asyncio client and batch runner for the Akool video translation API."""

import importlib
from typing import TYPE_CHECKING, Any

from akool_async._client import AkoolClient
from akool_async._core.clock import Clock
from akool_async._core.errors import (
    AccountClosed,
    AccountError,
    AkoolError,
    BadCredentials,
    CallerError,
    CertificateRejected,
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    DiskFailed,
    DownloadFailed,
    DuplicateRefused,
    InboxUnusable,
    InvalidRequest,
    JobFailed,
    JobGone,
    JournalBroken,
    JournalClosed,
    JournalError,
    JournalLocked,
    JournalRefused,
    JournalTooNew,
    JournalUnwritable,
    MediaRefused,
    NetworkError,
    OutOfCredits,
    ProtocolError,
    RequestRefused,
    ServerTrouble,
    SubmissionInDoubt,
    Throttled,
    UnexpectedRedirect,
    VendorError,
    WaitTimeout,
)
from akool_async._core.fingerprint import fingerprint, key_of
from akool_async._core.learned import LearnedSchedule
from akool_async._core.lifecycle import State
from akool_async._core.models import (
    AudioSplits,
    Job,
    Language,
    Refusal,
    Snapshot,
    Status,
    Submission,
    Voice,
)
from akool_async._core.outcomes import (
    Completed,
    Expired,
    Failed,
    InDoubt,
    NotSubmitted,
    Outcome,
    Rejected,
    Saved,
)
from akool_async._core.requests import CaptionType, LipSyncRequest, Request, TranslationRequest
from akool_async._core.schedule import (
    FixedSchedule,
    GrowingSchedule,
    LearningSchedule,
    PollFacts,
    PollSchedule,
    RetryPolicy,
    Sighting,
)

if TYPE_CHECKING:
    from akool_async._batch import AtWork, Batch, Stage, Statistics, StopCause, open_batch
    from akool_async._journal import Change, Entry, Journal, open_journal

__all__ = [
    "AccountClosed",
    "AccountError",
    "AkoolClient",
    "AkoolError",
    "AtWork",
    "AudioSplits",
    "BadCredentials",
    "Batch",
    "CallerError",
    "CaptionType",
    "CertificateRejected",
    "Change",
    "ClientClosed",
    "Clock",
    "Completed",
    "ConnectFailed",
    "ConnectionLost",
    "DiskFailed",
    "DownloadFailed",
    "DuplicateRefused",
    "Entry",
    "Expired",
    "Failed",
    "FixedSchedule",
    "GrowingSchedule",
    "InDoubt",
    "InboxUnusable",
    "InvalidRequest",
    "Job",
    "JobFailed",
    "JobGone",
    "Journal",
    "JournalBroken",
    "JournalClosed",
    "JournalError",
    "JournalLocked",
    "JournalRefused",
    "JournalTooNew",
    "JournalUnwritable",
    "Language",
    "LearnedSchedule",
    "LearningSchedule",
    "LipSyncRequest",
    "MediaRefused",
    "NetworkError",
    "NotSubmitted",
    "OutOfCredits",
    "Outcome",
    "PollFacts",
    "PollSchedule",
    "ProtocolError",
    "Refusal",
    "Rejected",
    "Request",
    "RequestRefused",
    "RetryPolicy",
    "Saved",
    "ServerTrouble",
    "Sighting",
    "Snapshot",
    "Stage",
    "State",
    "Statistics",
    "Status",
    "StopCause",
    "Submission",
    "SubmissionInDoubt",
    "Throttled",
    "TranslationRequest",
    "UnexpectedRedirect",
    "VendorError",
    "Voice",
    "WaitTimeout",
    "fingerprint",
    "key_of",
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
