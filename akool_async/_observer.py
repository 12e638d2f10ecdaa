"""What happens, as plain values: for logs, traces and metrics. Nothing is decided here.

The client and its batches report each step once. The standard logging lines are made from these reports, too.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, ClassVar, Final

import attrs

from akool_async._model.outcomes import Outcome

logger = logging.getLogger("akool_async")


@attrs.frozen(kw_only=True)
class Event:
    """One thing that happened. No event holds a URL or a credential.

    Attributes:
        name: what kind of thing, such as "submitted"; does not change between versions.
        level: how the standard logging reports it.
    """

    name: ClassVar[str] = ""
    level: ClassVar[int] = logging.DEBUG - 5  # at DEBUG there is one line for each call, and no more

    def fields(self) -> dict[str, Any]:
        """Return what it says, as plain values by name."""
        return attrs.asdict(self, recurse=False)

    def __str__(self) -> str:
        """Return it as a line of a log."""
        return f"{self.name}: " + ", ".join(f"{name} {value}" for name, value in self.fields().items())


@attrs.frozen(kw_only=True)
class CallEvent(Event):
    """One attempt of a call to the API has ended.

    Attributes:
        origin: the API host, such as "https://openapi.akool.com".
        method: of HTTP.
        path: below the host, without a query.
        result: in words, with the HTTP status and the vendor's code where there was an answer.
        http_status: None without an answer.
        attempt: 1 for the first one.
        seconds: that it took.
    """

    name: ClassVar[str] = "call"
    level: ClassVar[int] = logging.DEBUG
    origin: str
    method: str
    path: str
    result: str
    http_status: int | None
    attempt: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.method} {self.path}: {self.result}, attempt {self.attempt}, {self.seconds:.3f} s"


@attrs.frozen(kw_only=True)
class RetryEvent(Event):
    """A call that failed is sent again after a wait.

    Attributes:
        path: of the call.
        reason: why it failed.
        wait: seconds.
    """

    name: ClassVar[str] = "retried"
    path: str
    reason: str
    wait: float

    def __str__(self) -> str:
        return f"{self.path} is called again in {self.wait:.1f} s: {self.reason}"


@attrs.frozen(kw_only=True)
class RateLimitEvent(Event):
    """The vendor answered that calls come too often; all calls of the client wait.

    Attributes:
        path: of the call.
        retry_after: seconds that the vendor asked for, or None.
    """

    name: ClassVar[str] = "rate_limited"
    path: str
    retry_after: float | None

    def __str__(self) -> str:
        return f"The vendor is rate limiting ({self.path}); all calls of this client wait."


@attrs.frozen(kw_only=True)
class PollEvent(Event):
    """A job was polled.

    Attributes:
        job_id: the job.
        status: the vendor's number for it; None where the poll failed.
        progress: percent, as the vendor reports it, or None.
        error: why the poll failed, or "".
    """

    name: ClassVar[str] = "polled"
    job_id: str
    status: int | None
    progress: int | None
    error: str = ""

    def __str__(self) -> str:
        said = self.error or f"status {self.status}, progress {self.progress}"
        return f"Job {self.job_id} was polled: {said}"


@attrs.frozen(kw_only=True)
class PostStartedEvent(Event):
    """A paid POST is about to be sent; its intent is committed next. Ends with `PostEndedEvent`.

    Attributes:
        entries: key and language of all that it is for.
    """

    name: ClassVar[str] = "post_started"
    entries: tuple[tuple[str, str], ...]


@attrs.frozen(kw_only=True)
class PostEndedEvent(Event):
    """A paid POST was answered, and that is recorded; or it was given up, or not sent after all.

    Attributes:
        entries: as in its `PostStartedEvent`.
        job_ids: the jobs that it made.
        error: what it failed with, or "".
    """

    name: ClassVar[str] = "post_ended"
    entries: tuple[tuple[str, str], ...]
    job_ids: tuple[str, ...] = ()
    error: str = ""


@attrs.frozen(kw_only=True)
class _EntryEvent(Event):
    """Something that happened to one entry.

    Attributes:
        key: the caller's name of the entry, or its fingerprint.
        target: the language; "" for a lip-sync.
        job_id: its job, or "".
    """

    key: str
    target: str
    job_id: str = ""


@attrs.frozen(kw_only=True)
class SubmittedEvent(_EntryEvent):
    """A job was made, and its id is durable.

    Attributes:
        credits_locked: what was locked for it, or None.
    """

    name: ClassVar[str] = "submitted"
    level: ClassVar[int] = logging.INFO
    credits_locked: float | None = None

    def __str__(self) -> str:
        return f"Submitted {self.key} ({self.target}): job {self.job_id}."


@attrs.frozen(kw_only=True)
class FollowedEvent(_EntryEvent):
    """A job is polled from now on, because it was submitted or resumed."""

    name: ClassVar[str] = "followed"


@attrs.frozen(kw_only=True)
class TerminalEvent(_EntryEvent):
    """A job has ended, and that is durable.

    Attributes:
        completed: whether it has a result.
        reason: why it failed, or "".
        credits_used: what was deducted for it, or None.
    """

    name: ClassVar[str] = "terminal"
    level: ClassVar[int] = logging.INFO
    completed: bool
    reason: str = ""
    credits_used: float | None = None

    def __str__(self) -> str:
        end = "is completed." if self.completed else f"failed: {self.reason}"
        return f"Job {self.job_id} of {self.key} ({self.target}) {end}"


@attrs.frozen(kw_only=True)
class DownloadStartedEvent(_EntryEvent):
    """The download of a result begins. Ends with a `DownloadEndedEvent`."""

    name: ClassVar[str] = "download_started"


@attrs.frozen(kw_only=True)
class SavedEvent(_EntryEvent):
    """A result is complete under its final name.

    Attributes:
        video: the path.
    """

    name: ClassVar[str] = "saved"
    level: ClassVar[int] = logging.INFO
    video: str

    def __str__(self) -> str:
        return f"The result of {self.key} ({self.target}) is saved in {self.video}."


@attrs.frozen(kw_only=True)
class DownloadEndedEvent(_EntryEvent):
    """A download has ended.

    Attributes:
        error: why the result is not saved, or "".
    """

    name: ClassVar[str] = "download_ended"
    error: str = ""


@attrs.frozen(kw_only=True)
class DoubtEvent(_EntryEvent):
    """A paid POST was sent, or may have been, and its answer is not known; `job_id` is "".

    Attributes:
        reason: why.
        doubt_ids: ids in its answer that may be jobs.
    """

    name: ClassVar[str] = "in_doubt"
    level: ClassVar[int] = logging.INFO
    reason: str
    doubt_ids: tuple[str, ...] = ()

    def __str__(self) -> str:
        ids = f" It may have made: {', '.join(self.doubt_ids)}." if self.doubt_ids else ""
        return f"{self.key} ({self.target}) is in doubt: {self.reason}{ids}"


@attrs.frozen(kw_only=True)
class OutcomeEvent(_EntryEvent):
    """An entry has ended for the caller.

    Attributes:
        outcome: "Completed", "Failed", "Rejected", "InDoubt", "Expired" or "NotSubmitted".
        reason: in words, or "".
        credits: what it cost or locked, or None where that is not known.
        submitted_at: when its POST went out, aware, or None.
        ended_at: when it ended, aware, or None.
        resumed: whether an earlier run had ended it already.
        traceparent: what `Observer.traceparent` returned when it was submitted, maybe in an earlier run.
    """

    name: ClassVar[str] = "outcome"
    outcome: str
    reason: str
    credits: float | None
    submitted_at: datetime | None
    ended_at: datetime | None
    resumed: bool
    traceparent: str

    @classmethod
    def create(cls, outcome: Outcome, traceparent: str) -> OutcomeEvent:
        """Return the event of an outcome."""
        return cls(
            key=outcome.key,
            target=outcome.target,
            job_id=outcome.job_id,
            outcome=type(outcome).__name__,
            reason=outcome.reason,
            credits=outcome.credits,
            submitted_at=outcome.submitted_at,
            ended_at=outcome.ended_at,
            resumed=outcome.resumed,
            traceparent=traceparent,
        )


@attrs.frozen(kw_only=True)
class StoppedEvent(Event):
    """A batch submits nothing more.

    Attributes:
        cause: a value of `StopCause`.
        reason: in words.
    """

    name: ClassVar[str] = "stopped"
    level: ClassVar[int] = logging.INFO
    cause: str
    reason: str

    def __str__(self) -> str:
        return f"Nothing more is submitted ({self.cause}): {self.reason}"


class Observer:
    """Base class of what a client and its batches report to; give it as `AkoolClient(observers=[...])`.

    It is called in the event loop, in the task in which the thing happened, so it should return at once.
    What it raises is logged once and changes nothing. `SystemExit` and `KeyboardInterrupt` end the program;
    during a paid POST of a batch, once its answer is in the journal.
    """

    def on_event(self, event: Event) -> None:
        """Something happened. Events of a kind that is not known here should be left alone."""

    def traceparent(self) -> str:
        """Return what is stored in the journal with the intent of a POST, as W3C Trace Context, or "".

        Called after the POST's `PostStartedEvent`. The entry's `OutcomeEvent` brings it back, also in a later
        run.
        """
        return ""


_ENDS_THE_PROGRAM: Final = (KeyboardInterrupt, SystemExit, GeneratorExit)
_postponed: Final[ContextVar[list[BaseException] | None]] = ContextVar("_postponed", default=None)


class Observers:
    """All that a client reports to; the standard logging always is among them.

    Args:
        observers: the caller's.

    Attributes:
        detailed: whether there are any, who want events of every call; at DEBUG the log wants them, too.
    """

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers: Final = tuple(observers)
        self._failed: set[int] = set()
        self.detailed: Final = bool(self._observers)

    def report(self, event: Event) -> None:
        """Report an event to all; it can't fail, for an observer must not cost a paid job.

        A cancellation that comes out of an observer is its own: nothing is awaited here.
        """
        if logger.isEnabledFor(event.level):
            self._log(event.level, "%s", event)
        for observer in self._observers:
            try:
                observer.on_event(event)
            except _ENDS_THE_PROGRAM as end:
                if (postponed := _postponed.get()) is None:
                    raise
                postponed.append(end)
            except BaseException:  # noqa: BLE001
                self._log_failure(observer)

    @contextmanager
    def ends_postponed(self) -> Iterator[None]:
        """Let an observer end the program only after this, which may learn the ids of paid jobs."""
        ends: list[BaseException] = []
        before = _postponed.set(ends)
        try:
            yield
        finally:
            _postponed.reset(before)
        if ends:
            raise ends[0]

    @contextmanager
    def download(self, **entry: str) -> Iterator[None]:
        """Report the start and the end of the download of an entry's result."""
        self.report(DownloadStartedEvent(**entry))
        error = "given up"
        try:
            yield
            error = ""
        except Exception as failure:
            error = str(failure)
            raise
        finally:
            self.report(DownloadEndedEvent(**entry, error=error))

    def traceparent(self) -> str:
        """Return what is stored with an intent: the first that is not empty."""
        for observer in self._observers:
            try:
                found = observer.traceparent() or ""
                found.encode("ascii")  # fails for what could not be stored with the intent
            except _ENDS_THE_PROGRAM:
                raise
            except BaseException:  # noqa: BLE001 - as above
                self._log_failure(observer)
                continue
            if found:
                return found
        return ""

    def _log_failure(self, observer: Observer) -> None:
        if id(observer) not in self._failed:
            self._failed.add(id(observer))
            said = "The observer %s failed; it is still called, and this is logged once."
            self._log(logging.ERROR, said, type(observer).__name__, exc_info=True)

    def _log(self, level: int, message: str, about: object, *, exc_info: bool = False) -> None:
        try:
            logger.log(level, message, about, exc_info=exc_info)
        except _ENDS_THE_PROGRAM:
            raise
        except BaseException:  # noqa: BLE001 - a filter of the caller's; shown as logging shows its own errors
            if logging.raiseExceptions and id(logger) not in self._failed:
                self._failed.add(id(logger))
                traceback.print_exc()
