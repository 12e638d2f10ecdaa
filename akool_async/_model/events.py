"""What happens, as plain values: for logs, traces and metrics. Nothing is decided here."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any, ClassVar

import attrs

from akool_async._model.outcomes import Outcome


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

    A POST of `AkoolClient.submit` or `translate` whose caller is cancelled ends as given up. It continues,
    and a `SubmittedEvent` or a `DoubtEvent` tells its answer.

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
        key: the caller's name of the entry, or its fingerprint; "" where the client was given a job alone.
        target: the language; "" for a lip-sync, and without a key.
        job_id: its job, or "".
    """

    key: str
    target: str
    job_id: str = ""

    @property
    def _name(self) -> str:
        if not self.key:
            return f"job {self.job_id}"
        return f"{self.key} ({self.target})" if self.target else self.key


@attrs.frozen(kw_only=True)
class SubmittedEvent(_EntryEvent):
    """A job was made, and its id is in the journal, if there is one.

    Attributes:
        credits_locked: what was locked for it, or None.
    """

    name: ClassVar[str] = "submitted"
    level: ClassVar[int] = logging.INFO
    credits_locked: float | None = None

    def __str__(self) -> str:
        return f"Submitted {self._name}: job {self.job_id}."


@attrs.frozen(kw_only=True)
class FollowedEvent(_EntryEvent):
    """A batch polls a job from now on, because it was submitted or resumed."""

    name: ClassVar[str] = "followed"


@attrs.frozen(kw_only=True)
class TerminalEvent(_EntryEvent):
    """A job has ended, and that is in the journal, if there is one.

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
        return f"Job {self.job_id}{f' of {self._name}' if self.key else ''} {end}"


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
        return f"The result of {self._name} is saved in {self.video}."


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
        return f"{self._name} is in doubt: {self.reason}{ids}"


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
