"""What a caller wants to be recorded about one entry, checked when it is built."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime

import attrs

from akool_async._core.errors import InvalidRequest
from akool_async._core.lifecycle import State
from akool_async._core.models import Snapshot, end_of_result
from akool_async._core.requests import Request
from akool_async._core.text import shown


def _check_aware(_: object, attribute: attrs.Attribute[datetime | None], value: datetime | None) -> None:
    if value is not None and (not isinstance(value, datetime) or value.utcoffset() is None):
        raise InvalidRequest(f"{attribute.name} must be an aware datetime, not {shown(value)}.")


def _as_paths(paths: Iterable[str | os.PathLike[str]] | None) -> tuple[str, ...] | None:
    return None if paths is None else tuple(os.fspath(path) for path in paths)


def _as_ids(ids: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if ids is None else tuple(ids)


@attrs.frozen(kw_only=True)
class Change:
    """One step of one entry; None leaves a field as it is.

    Args:
        key: the entry's name.
        target: its language; "" for lip-sync.
        state: where it is now. To SUBMITTING only `Journal.intend` leads. A step to SUBMITTED needs the
            job's id here or in the entry. A step back to PLANNED says that the last POST surely made no
            job: it is not counted in `Entry.paid` any more.
        request: enters an entry that is not there yet, as PLANNED.
        job_id: the vendor's id; an entry that has one is never given another.
        credits_locked: credits that are locked for the job.
        credits_used: credits that were deducted; default is what `snapshot` says.
        reason: in words, why. A step to another state without a reason clears the old one, and the code.
        code: the vendor's number for a failure or refusal.
        created_at: the server's time of creation, aware; default is what `snapshot` says.
        submitted_at: when the POST went out, aware; `Journal.intend` sets it.
        ended_at: when the outcome was known, aware.
        expires_at: when the result dies, aware; default is 7 days after `created_at`.
        files: paths of what was brought home.
        snapshot: the answer that said so. Its URLs are kept without their queries, `raw` is not kept.
        doubt_ids: ids that could be read in an answer but not be told to belong to an entry.
        token: with a step to IN_DOUBT, that of the earlier POST which the doubt is about again, or "": the
            last one surely made no job, and is not counted in `Entry.paid` any more.

    Raises:
        InvalidRequest: a moment is not aware.
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
    files: tuple[str, ...] | None = attrs.field(default=None, converter=_as_paths)
    snapshot: Snapshot | None = None
    doubt_ids: tuple[str, ...] | None = attrs.field(default=None, converter=_as_ids)
    token: str | None = attrs.field(default=None, repr=False)

    @property
    def created(self) -> datetime | None:
        """The server's time of creation, as given or as the snapshot says."""
        if self.created_at is None and self.snapshot is not None:
            return self.snapshot.created_at
        return self.created_at

    @property
    def expires(self) -> datetime | None:
        """When the result dies, as given or counted from the creation."""
        if self.expires_at is not None:
            return self.expires_at
        return end_of_result(self.created)

    @property
    def used(self) -> float | None:
        """Credits that were deducted, as given or as the snapshot says."""
        if self.credits_used is None and self.snapshot is not None:
            return self.snapshot.credits_used
        return self.credits_used
