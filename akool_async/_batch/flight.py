"""One entry on its way through a batch, from the source to its outcome."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs

from akool_async._core.fingerprint import key_of
from akool_async._core.lifecycle import State
from akool_async._core.models import Job, Snapshot
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
from akool_async._core.requests import Request
from akool_async._journal import Change, Entry


@attrs.frozen(kw_only=True, weakref_slot=False)
class Flight:
    """What is known about an entry while it is at work.

    Attributes:
        request: what was asked for, with this and maybe other languages.
        target: the language.
        job: the job, once there is one.
        submitted_at: when the POST went out.
        token: what its callbacks come with, or "".
        key: the entry's name; a hash, so it is made once.
    """

    request: Request
    target: str
    job: Job | None = None
    submitted_at: datetime | None = None
    token: str = attrs.field(default="", repr=False)
    key: str = attrs.field(init=False, repr=False)

    @key.default
    def _named(self) -> str:
        return key_of(self.request, self.target)

    @property
    def job_id(self) -> str:
        """The id of its job, or ""."""
        return "" if self.job is None else self.job.id

    def going_on(self, entry: Entry) -> Flight:
        """Give the same with the job that the journal knows."""
        job = Job(
            id=entry.job_id,
            target=entry.target,
            created_at=entry.created_at,
            credits_locked=entry.credits_locked,
        )
        return attrs.evolve(self, job=job, submitted_at=entry.submitted_at)

    def change(self, state: State, **told: Any) -> Change:
        """Give the journal's change to a state."""
        return Change(key=self.key, target=self.target, state=state, **told)

    def _facts(self, **told: Any) -> dict[str, Any]:
        locked = None if self.job is None else self.job.credits_locked
        return {
            "key": self.key,
            "request": self.request,
            "target": self.target,
            "job": self.job,
            "submitted_at": self.submitted_at,
            "credits": locked,
        } | told

    def completed(
        self, snapshot: Snapshot, saved: Saved | None, now: datetime, reason: str = ""
    ) -> Completed:
        """Give the outcome of a result that is there."""
        facts = self._facts(snapshot=snapshot, saved=saved, ended_at=now, reason=reason)
        if snapshot.credits_used is not None:
            facts["credits"] = snapshot.credits_used
        return Completed(**facts)

    def failed(self, reason: str, snapshot: Snapshot | None, now: datetime) -> Failed:
        """Give the outcome of a job without a result."""
        return Failed(**self._facts(reason=reason, snapshot=snapshot, ended_at=now))

    def expired(self, reason: str, now: datetime) -> Expired:
        """Give the outcome of a result that died."""
        return Expired(**self._facts(reason=reason, ended_at=now))

    def rejected(self, reason: str, code: int | None, now: datetime) -> Rejected:
        """Give the outcome of a request that the vendor refused."""
        return Rejected(**self._facts(reason=reason, code=code, ended_at=now, credits=0.0))

    def in_doubt(self, reason: str, now: datetime) -> InDoubt:
        """Give the outcome of a POST whose answer is unknown."""
        return InDoubt(**self._facts(reason=reason, ended_at=now))

    def not_submitted(self, reason: str, now: datetime) -> NotSubmitted:
        """Give the outcome of an entry for which nothing was sent."""
        return NotSubmitted(**self._facts(reason=reason, ended_at=now, credits=0.0))


def told_again(entry: Entry, request: Request) -> Outcome:
    """Give the outcome that an earlier run came to."""
    job = None
    if entry.job_id:
        job = Job(
            id=entry.job_id,
            target=entry.target,
            created_at=entry.created_at,
            credits_locked=entry.credits_locked,
        )
    facts: dict[str, Any] = {
        "key": entry.key,
        "request": request,
        "target": entry.target,
        "job": job,
        "reason": entry.reason,
        "submitted_at": entry.submitted_at,
        "ended_at": entry.ended_at,
        "credits": entry.credits_locked if entry.credits_used is None else entry.credits_used,
        "resumed": True,
    }
    if entry.state is State.DELIVERED:
        snapshot = entry.snapshot or Snapshot(job_id=entry.job_id)
        return Completed(**facts, snapshot=snapshot, saved=Saved.of(entry.files))
    if entry.state is State.FAILED and not entry.job_id:
        return Rejected(**facts, code=entry.code)
    if entry.state is State.FAILED:
        return Failed(**facts, snapshot=entry.snapshot)
    return Expired(**facts) if entry.state is State.EXPIRED else InDoubt(**facts)
