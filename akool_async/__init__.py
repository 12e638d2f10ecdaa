"""An asyncio client and batch runner for the Akool video translation API."""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from akool_async._batch import Batch, EntryProgress, Stage, Statistics, StopCause, Ticket, open_batch
    from akool_async._client import AkoolClient, confirm, from_wire, new_token, to_wire, with_token
    from akool_async._clock import Clock
    from akool_async._download import (
        FileAlreadyExistsError,
        FileBusyError,
        FileState,
        SavedFile,
        SavedResult,
    )
    from akool_async._environment import MissingExtraError
    from akool_async._journal import Entry, Journal, open_journal
    from akool_async._media import inspect
    from akool_async._model.dispositions import Disposition
    from akool_async._model.errors import (
        AccountError,
        AkoolError,
        AuthenticationError,
        BadRequestError,
        BatchClosedError,
        CallerError,
        CertificateError,
        ClientClosedError,
        ConfigurationError,
        ConnectError,
        ConnectionLostError,
        DownloadError,
        DuplicateJobError,
        IllegalTransitionError,
        InboxError,
        InputError,
        InvalidMediaError,
        InvalidRequestError,
        JobNotFoundError,
        JournalClosedError,
        JournalCorruptedError,
        JournalError,
        JournalLockedError,
        JournalOlderError,
        JournalReplacedError,
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
        WrongHostError,
    )
    from akool_async._model.events import (
        CallEvent,
        DoubtEvent,
        DownloadEndedEvent,
        DownloadStartedEvent,
        Event,
        FollowedEvent,
        OutcomeEvent,
        PollEvent,
        PostEndedEvent,
        PostStartedEvent,
        RateLimitEvent,
        RetryEvent,
        SavedEvent,
        StoppedEvent,
        SubmittedEvent,
        TerminalEvent,
    )
    from akool_async._model.fingerprint import entry_key, fingerprint
    from akool_async._model.media import Limits, MediaError, MediaFacts, MediaProblem
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
    from akool_async._model.redact import Secret
    from akool_async._model.requests import CaptionType, LipSyncRequest, Request, TranslationRequest
    from akool_async._model.responses import (
        AudioSplits,
        Job,
        JobFailed,
        Language,
        Refusal,
        Snapshot,
        Status,
        Submission,
        Voice,
    )
    from akool_async._model.states import State
    from akool_async._observer import Observer
    from akool_async._polling.adaptive import LearnedSchedule
    from akool_async._polling.poll_state import (
        AdaptiveSchedule,
        PollContext,
        PollResult,
        PollSchedule,
        PollState,
        PollVerdict,
    )
    from akool_async._polling.schedules import BackoffSchedule, FixedSchedule
    from akool_async._retry import RetryPolicy
    from akool_async._storage import Storage, verify

__all__ = [
    "AccountError",
    "AdaptiveSchedule",
    "AkoolClient",
    "AkoolError",
    "AudioSplits",
    "AuthenticationError",
    "BackoffSchedule",
    "BadRequestError",
    "Batch",
    "BatchClosedError",
    "CallEvent",
    "CallerError",
    "CaptionType",
    "CertificateError",
    "ClientClosedError",
    "Clock",
    "Completed",
    "ConfigurationError",
    "ConnectError",
    "ConnectionLostError",
    "Disposition",
    "DoubtEvent",
    "DownloadEndedEvent",
    "DownloadError",
    "DownloadStartedEvent",
    "DuplicateJobError",
    "Entry",
    "EntryProgress",
    "Event",
    "Expired",
    "Failed",
    "FileAlreadyExistsError",
    "FileBusyError",
    "FileState",
    "FixedSchedule",
    "FollowedEvent",
    "IllegalTransitionError",
    "InDoubt",
    "InboxError",
    "InputError",
    "InvalidMediaError",
    "InvalidRequestError",
    "Job",
    "JobFailed",
    "JobNotFoundError",
    "Journal",
    "JournalClosedError",
    "JournalCorruptedError",
    "JournalError",
    "JournalLockedError",
    "JournalOlderError",
    "JournalReplacedError",
    "JournalVersionError",
    "JournalWriteError",
    "Language",
    "LearnedSchedule",
    "Limits",
    "LipSyncRequest",
    "MediaError",
    "MediaFacts",
    "MediaProblem",
    "MissingExtraError",
    "NetworkError",
    "NotSubmitted",
    "Observer",
    "OutOfCredits",
    "Outcome",
    "OutcomeEvent",
    "PermissionDeniedError",
    "PollContext",
    "PollEvent",
    "PollResult",
    "PollSchedule",
    "PollState",
    "PollVerdict",
    "PostEndedEvent",
    "PostStartedEvent",
    "ProtocolError",
    "RateLimitError",
    "RateLimitEvent",
    "Refusal",
    "Rejected",
    "Request",
    "RetryEvent",
    "RetryPolicy",
    "Saved",
    "SavedEvent",
    "SavedFile",
    "SavedResult",
    "Secret",
    "ServerError",
    "Snapshot",
    "Stage",
    "State",
    "Statistics",
    "Status",
    "StopCause",
    "StoppedEvent",
    "Storage",
    "StorageError",
    "Submission",
    "SubmissionInDoubt",
    "SubmittedEvent",
    "TerminalEvent",
    "Ticket",
    "TranslationRequest",
    "UnexpectedRedirectError",
    "VendorError",
    "Voice",
    "WaitTimeout",
    "WrongHostError",
    "confirm",
    "entry_key",
    "fingerprint",
    "from_wire",
    "inspect",
    "new_token",
    "open_batch",
    "open_journal",
    "to_wire",
    "verify",
    "with_token",
]


def __dir__() -> list[str]:
    """Return the public names, including those that are not imported yet."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


_PARTS: Final = (
    "_model.errors",
    "_model.requests",
    "_model.responses",
    "_model.outcomes",
    "_model.states",
    "_model.media",
    "_model.redact",
    "_model.dispositions",
    "_model.fingerprint",
    "_model.events",
    "_clock",
    "_retry",
    "_environment",
    "_observer",
    "_polling.poll_state",
    "_polling.schedules",
    "_polling.adaptive",
    "_client",
    "_storage",  # before `_download`, which has a module named `verify`
    "_download",
    "_journal",
    "_batch",
    "_media",
)
"""Where the names are, what is quickly imported first."""

# Hidden from type checkers, so that for them a misspelled name stays an error.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import what has the name on first use.

        A plain client needs neither the journal nor the batch, PyAV or buckets, and the command line has to
        be there before it can end in order on Ctrl-C.
        """
        for part in _PARTS if name in __all__ else ():
            module = importlib.import_module(f"{__name__}.{part}")
            if hasattr(module, name):
                return globals().setdefault(name, getattr(module, name))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
