"""One row of the journal, as a value."""

from __future__ import annotations

from datetime import datetime

import attrs

from akool_async._core.fingerprint import key_of
from akool_async._core.lifecycle import State
from akool_async._core.models import Snapshot
from akool_async._core.requests import Request, only


@attrs.frozen(kw_only=True)
class Entry:
    """What the journal knows of one (key, language).

    Attributes:
        key: the caller's name of the entry, or its fingerprint.
        target: the language; "" for lip-sync.
        fingerprint: hash of the normalised request, which tells whether the key still names the same work.
        state: where it is, for us.
        request: what was asked for; its URLs lack what signs them.
        stripped: whether a URL lost its signature or its user here, so that the request can't be sent from
            the journal alone: the caller has to give it again.
        token: the unguessable part of its webhook URL, or "".
        job_id: the vendor's id of its job, or "".
        paid: POSTs that were sent, or may have been, and were not proved to have made no job.
        credits_locked: credits that were locked for the job.
        credits_used: credits that were deducted for the job.
        credits_before: credits that were deducted for earlier jobs of this entry.
        reason: in words, why it is in its state; "" when there is nothing to say.
        code: the vendor's number for the failure or refusal.
        created_at: the server's time of the job's creation, aware.
        submitted_at: when the last intent was committed, aware.
        ended_at: when the outcome was known, aware.
        expires_at: when the result dies, aware.
        name: of its files, without ending; "" while it holds none.
        files: paths of what was brought home, the video first.
        snapshot: the last answer that was recorded, its URLs without their queries, without `raw`.
        doubt_ids: job ids that could be read in an answer but not be told to belong to this entry.
        updated_at: when the row was last written, aware.
    """

    key: str
    target: str
    fingerprint: str
    state: State
    request: Request
    stripped: bool = False
    token: str = attrs.field(default="", repr=False)
    job_id: str = ""
    paid: int = 0
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
    updated_at: datetime

    @property
    def own_request(self) -> Request:
        """The request for this entry's language alone: what a batch takes to go on with the entry."""
        request = only(self.request, (self.target,))
        return request if key_of(request, self.target) == self.key else attrs.evolve(request, key=self.key)
