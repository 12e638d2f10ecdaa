"""Changes of entries.

Which state may follow which stands in the lifecycle's table; what else would lose money stands here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

import attrs

from akool_async._core.errors import JournalRefused
from akool_async._core.fingerprint import fingerprint
from akool_async._core.lifecycle import State, may_follow
from akool_async._core.text import clean
from akool_async._journal import codec
from akool_async._journal.change import Change
from akool_async._journal.step import named, wanted_columns
from akool_async._journal.table import Row, SqlValue, Table, Values

_COLUMNS: Final[tuple[tuple[str, str, Callable[[Any], SqlValue]], ...]] = (
    ("job_id", "job_id", str),
    ("credits_locked", "credits_locked", codec.write_float),
    ("credits_used", "used", codec.write_float),
    ("reason", "reason", codec.write_text),
    ("code", "code", codec.write_int),
    ("created_at", "created", codec.write_moment),
    ("submitted_at", "submitted_at", codec.write_moment),
    ("ended_at", "ended_at", codec.write_moment),
    ("expires_at", "expires", codec.write_moment),
    ("files", "files", codec.write_texts),
    ("snapshot", "snapshot", codec.write_snapshot),
    ("doubt_ids", "doubt_ids", codec.write_texts),
    ("token", "token", str),
)
"""Each column, what of a change it holds, and how that is written."""

_TOLD: Final = attrgetter(*(told for _, told, _ in _COLUMNS))


def columns(change: Change, now: datetime) -> dict[str, SqlValue]:
    """Give the columns that a change sets."""
    values: dict[str, SqlValue] = {"state": change.state.value, "updated_at": codec.write_moment(now)}
    for (name, _, write), value in zip(_COLUMNS, _TOLD(change), strict=True):
        if value is not None and (written := write(value)) is not None:
            values[name] = written
    return values


@attrs.frozen
class _Write:
    """One change, made ready outside the transaction."""

    change: Change
    mark: str | None
    request: dict[str, SqlValue]
    values: dict[str, SqlValue]

    @classmethod
    def of(cls, change: Change, now: datetime) -> _Write:
        wanted = change.request
        mark = None if wanted is None else fingerprint(wanted, change.target)
        request = {} if wanted is None or mark is None else wanted_columns(wanted, mark)
        return cls(change, mark, request, columns(change, now))

    def __call__(self, table: Table) -> None:
        change = self.change
        row = table.find(change.key, change.target)
        objection = objection_to(change, row, self.mark)
        if objection:
            raise JournalRefused(f"Entry {named(change.key, change.target)} {objection}.")
        if row is None:
            table.enter({"key": change.key, "target": change.target, **self.request, **self.values})
        else:
            table.set(row, self._setting(row))

    def _setting(self, row: Row) -> Values:
        """Give what is written over a row."""
        if self.change.state is row.state:
            planned = row.state is State.PLANNED
            return {**self.request, **self.values} if planned else self.values
        reset: dict[str, SqlValue] = {"reason": "", "code": None}
        if self.change.state is State.PLANNED:
            reset |= _taken_back(row)
        elif self.change.token is not None:
            reset["paid"] = max(row.paid - 1, 0)
        return {**reset, **self.values}


def objection_to(change: Change, row: Row | None, mark: str | None) -> str:
    """Say why a change can't be done, or "".

    Args:
        change: what is wanted.
        row: the entry, None where there is none.
        mark: the fingerprint of the request that the change gives; None where it gives none.
    """
    after, given = change.state, change.job_id
    if row is None:
        return _objection_to_new(change)
    if not may_follow(row.state, after):
        return f"is {row.state}, and {after} may not follow"
    if after is State.SUBMITTING and row.state is not after:
        return f"is {row.state}; an intent has to be committed with intend()"
    if row.job_id and given and given != row.job_id:
        return f"holds job {clean(row.job_id)} already and can't be given job {clean(given)}"
    if after is State.SUBMITTED and not (row.job_id or given):
        return "can't be submitted without the vendor's job id"
    if change.token is not None and (row.state, after) != (State.SUBMITTING, State.IN_DOUBT):
        return f"is {row.state}, and the doubt about an earlier POST can't come back"
    if after is State.PLANNED and (row.job_id or given):
        return f"holds job {clean(row.job_id or given)}: a job was made, so it can't be planned anew"
    if mark not in (None, row.fingerprint) and row.state is not State.PLANNED:
        return f"is {row.state} and names other work than the request that is given"
    return ""


def _objection_to_new(change: Change) -> str:
    if change.request is None:
        return "is not in the journal, and no request was given to enter it"
    if change.state is not State.PLANNED:
        return f"is not in the journal, so it can't be {change.state}: it has to be planned or intended first"
    return ""


def _taken_back(row: Row) -> dict[str, SqlValue]:
    """Give what changes when the last POST surely made no job."""
    return {"paid": max(row.paid - 1, 0), "submitted_at": None, "doubt_ids": "[]"}


class Record:
    """Changes of one caller, atomic.

    Args:
        changes: in the order in which they happened.
        now: when they are recorded.
    """

    def __init__(self, changes: tuple[Change, ...], now: datetime) -> None:
        self._writes = tuple(_Write.of(change, now) for change in changes)
        self.several = len(self._writes) > 1

    def __call__(self, table: Table) -> None:
        """Write them."""
        for write in self._writes:
            write(table)
