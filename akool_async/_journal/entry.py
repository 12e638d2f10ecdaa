"""One row of the journal, as a value."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime

import attrs

from akool_async._model.errors import InvalidRequestError
from akool_async._model.fingerprint import entry_key
from akool_async._model.redact import safe_repr
from akool_async._model.requests import Request, with_targets
from akool_async._model.responses import Snapshot, result_expiry
from akool_async._model.states import State


@attrs.frozen(kw_only=True)
class Entry:
    """What the journal knows about one (key, language).

    Attributes:
        key: the caller's name of the entry, or its fingerprint.
        target: the language; "" for lip-sync.
        fingerprint: hash of the normalised request, which tells whether the key still names the same work.
        state: where it is, for us.
        request: what was asked for; its URLs lack what signs them.
        url_redacted: whether a URL lost its query or its user when it was stored, so that the caller
            has to pass the request again to have it sent.
        token: the unguessable part of its webhook URL, or "".
        job_id: the vendor's id of its job, or "".
        paid_submissions: POSTs that were sent, or may have been, and were not proved to have made no job.
        credits_locked: credits that were locked for the job.
        credits_used: credits that were deducted for the job.
        credits_before: credits that were deducted for earlier jobs of this entry.
        reason: in words, why it is in its state; "" when there is nothing to say.
        code: the vendor's number for the failure or refusal.
        created_at: the server's time of the job's creation, aware.
        submitted_at: when the last intent was committed, aware.
        ended_at: when the outcome was known, aware.
        expires_at: when the result expires, aware.
        name: the name of its files, without ending; "" while it has none.
        files: paths of the saved files, the video first.
        snapshot: the last answer that was recorded, its URLs without their queries, without `raw`.
        doubt_ids: job ids read in an answer that could not be assigned to this entry for certain.
        traceparent: the trace in which its last POST was sent, as W3C Trace Context, or "".
        updated_at: when the row was last written, aware.
    """

    key: str
    target: str
    fingerprint: str
    state: State
    request: Request
    url_redacted: bool = False
    token: str = attrs.field(default="", repr=False)
    job_id: str = ""
    paid_submissions: int = 0
    credits_locked: float | None = None
    credits_used: float | None = None
    credits_before: float = 0.0
    reason: str = ""
    code: int | None = None
    created_at: datetime | None = None
    submitted_at: datetime | None = None
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    name: str = ""
    files: tuple[str, ...] = ()
    snapshot: Snapshot | None = None
    doubt_ids: tuple[str, ...] = ()
    traceparent: str = ""
    updated_at: datetime

    @property
    def request_for_target(self) -> Request:
        """The request for this entry's language alone: what a batch needs to resume the entry."""
        request = with_targets(self.request, (self.target,))
        return request if entry_key(request, self.target) == self.key else attrs.evolve(request, key=self.key)


def _check_aware(_: object, attribute: attrs.Attribute[datetime | None], value: datetime | None) -> None:
    if value is not None and (not isinstance(value, datetime) or value.utcoffset() is None):
        raise InvalidRequestError(f"{attribute.name} must be an aware datetime, not {safe_repr(value)}.")


def _as_texts(values: Iterable[str | os.PathLike[str]] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(os.fspath(value) for value in values)


@attrs.frozen(kw_only=True)
class EntryUpdate:
    """One step of one entry; None leaves a field as it is.

    Args:
        key: the entry's name.
        target: its language; "" for lip-sync.
        state: where it is now. Only `Journal.intend` sets SUBMITTING; SUBMITTED needs a job's id. A step
            back to PLANNED says that the last POST surely made no job, and no longer counts it.
        request: enters an entry that is not there yet, as PLANNED.
        job_id: the vendor's id; an entry that has one is never given another.
        credits_locked: credits that are locked for the job.
        credits_used: credits that were deducted; default is what `snapshot` says.
        reason: in words, why. A step to another state without a reason clears the old one, and the code.
        code: the vendor's number for a failure or refusal.
        created_at: the server's time of creation, aware; default is what `snapshot` says.
        submitted_at: when the POST went out, aware; `Journal.intend` sets it.
        ended_at: when the outcome was known, aware.
        expires_at: when the result expires, aware; default is 7 days after `created_at`.
        files: paths of the saved files.
        snapshot: the answer that said so. Its URLs are kept without their queries, `raw` is not kept.
        doubt_ids: job ids read in an answer that could not be assigned to an entry for certain.
        token: with a step to IN_DOUBT, that of the earlier POST which the doubt is about again, or "": the
            last one surely made no job, and is no longer counted.

    Raises:
        InvalidRequestError: a moment is not aware.
    """

    key: str
    target: str = ""
    state: State = attrs.field(converter=State)
    request: Request | None = None
    job_id: str | None = None
    credits_locked: float | None = None
    credits_used: float | None = None
    reason: str | None = None
    code: int | None = None
    created_at: datetime | None = attrs.field(default=None, validator=_check_aware)
    submitted_at: datetime | None = attrs.field(default=None, validator=_check_aware)
    ended_at: datetime | None = attrs.field(default=None, validator=_check_aware)
    expires_at: datetime | None = attrs.field(default=None, validator=_check_aware)
    files: tuple[str, ...] | None = attrs.field(default=None, converter=_as_texts)
    snapshot: Snapshot | None = None
    doubt_ids: tuple[str, ...] | None = attrs.field(default=None, converter=_as_texts)
    token: str | None = attrs.field(default=None, repr=False)

    @property
    def created(self) -> datetime | None:
        """The server's time of creation, as given or as the snapshot says."""
        if self.created_at is None and self.snapshot is not None:
            return self.snapshot.created_at
        return self.created_at

    @property
    def expires(self) -> datetime | None:
        """When the result expires, as given or counted from the creation."""
        if self.expires_at is not None:
            return self.expires_at
        return result_expiry(self.created)

    @property
    def used(self) -> float | None:
        """Credits that were deducted, as given or as the snapshot says."""
        if self.credits_used is None and self.snapshot is not None:
            return self.snapshot.credits_used
        return self.credits_used
