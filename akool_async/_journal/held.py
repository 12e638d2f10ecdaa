"""One entry of a run that keeps no journal: a value that changes as the entry goes on.

Which change may follow which is not decided here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import attrs

from akool_async._journal.entry import Entry, EntryUpdate
from akool_async._journal.table import Contribution, EntryRow
from akool_async._model.fingerprint import fingerprint
from akool_async._model.requests import Request
from akool_async._model.responses import Snapshot
from akool_async._model.states import State

_TOLD: Final = (
    "job_id",
    "credits_locked",
    "reason",
    "code",
    "submitted_at",
    "ended_at",
    "files",
    "doubt_ids",
    "token",
)


@attrs.define(kw_only=True)
class Held:
    """One entry, as it stands."""

    request: Request
    target: str
    updated_at: datetime
    state: State = State.PLANNED
    token: str = ""
    paid: int = 0
    job_id: str = ""
    credits_locked: float | None = None
    credits_used: float | None = None
    credits_before: float = 0.0
    reason: str = ""
    code: int | None = None
    created_at: datetime | None = None
    submitted_at: datetime | None = None
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    files: tuple[str, ...] = ()
    snapshot: Snapshot | None = None
    doubt_ids: tuple[str, ...] = ()
    name: str = ""

    @property
    def standing(self) -> Contribution:
        """What it adds to the tally."""
        return Contribution(self.state, self.credits_locked, self.credits_used, self.credits_before)

    def row(self, *, marked: bool) -> EntryRow:
        """Give what the rules want to know, with the fingerprint where they ask for it."""
        mark = fingerprint(self.request, self.target) if marked else ""
        money = (self.credits_locked, self.credits_used, self.credits_before)
        return EntryRow(0, self.state, self.paid, self.job_id, mark, *money, self.name)

    def entry(self, key: str) -> Entry:
        """Give it as everyone else sees it."""
        told = {field.name: getattr(self, field.name) for field in attrs.fields(Held)}
        return Entry(key=key, fingerprint=fingerprint(self.request, self.target), **told)

    def send(self, request: Request, token: str, now: datetime) -> None:
        """Take in that a POST is about to be sent for it once more."""
        fresh = sent(request, self.target, token, now)
        fresh.credits_before = self.credits_before + (self.credits_used or 0.0)
        fresh.doubt_ids, fresh.paid, fresh.name = self.doubt_ids, self.paid + 1, self.name
        for field in attrs.fields(Held):
            setattr(self, field.name, getattr(fresh, field.name))

    def take(self, change: EntryUpdate, now: datetime) -> None:
        """Take in a change that the rules allow."""
        if change.state is not self.state:
            self.reason, self.code = "", None
            if change.state is State.PLANNED:
                self.paid, self.submitted_at, self.doubt_ids = max(self.paid - 1, 0), None, ()
            elif change.token is not None:
                self.paid = max(self.paid - 1, 0)
        if change.request is not None and self.state is State.PLANNED is change.state:
            self.request = change.request
        self.state, self.updated_at = change.state, now
        for name in _TOLD:
            told = getattr(change, name)
            if told is not None:
                setattr(self, name, told)
        self.credits_used = self.credits_used if change.used is None else change.used
        self.created_at = change.created or self.created_at
        self.expires_at = change.expires or self.expires_at
        self.snapshot = change.snapshot or self.snapshot


def sent(request: Request, target: str, token: str, now: datetime) -> Held:
    """Give an entry for which a POST is about to be sent, the first one."""
    return Held(
        request=request,
        target=target,
        updated_at=now,
        state=State.SUBMITTING,
        token=token,
        paid=1,
        submitted_at=now,
    )
