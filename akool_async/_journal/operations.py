"""The operations of the one writer: intents, updates, file names, resolved doubts.

Which state may follow which is decided by the table of transitions; what else would lose money, here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import attrs

from akool_async._journal import codec
from akool_async._journal.entry import EntryUpdate
from akool_async._journal.table import EntryRow, EntryTable, SqlValue, Values, display_name, request_columns
from akool_async._model.errors import IllegalTransitionError, InvalidRequestError, JournalCorruptedError
from akool_async._model.filenames import collision_key
from akool_async._model.fingerprint import fingerprint
from akool_async._model.redact import safe_repr, sanitize
from akool_async._model.requests import Request
from akool_async._model.responses import Snapshot
from akool_async._model.states import TRANSITIONS, State, may_follow
from akool_async._wire import read_id


def reserve(table: EntryTable, names: Iterable[str]) -> dict[str, SqlValue]:
    """Return the columns that hold the first free one of `names`; no columns if there are no names.

    Raises:
        IllegalTransitionError: all of them are name_columns.
    """
    tried = 0
    for name in names:
        mark, tried = collision_key(name), tried + 1
        if not table.name_taken(mark):
            return {"name": name, "name_folded": mark}
    if tried:
        raise IllegalTransitionError("Each of the names that were offered belongs to another entry.")
    return {}


@attrs.frozen
class ReserveName:
    """Reserves a file name for an existing entry.

    Attributes:
        names: the one to be preferred first.
        another: whether it gives up the name that it holds for one that it does not hold yet.
    """

    key: str
    target: str
    names: tuple[str, ...]
    another: bool
    now: datetime

    several = False

    def __call__(self, table: EntryTable) -> None:
        """Write it; an entry that holds a name keeps it, unless it wants another.

        Raises:
            IllegalTransitionError: the entry is not there, or all names belong to others.
        """
        row = table.find(self.key, self.target)
        if row is None:
            raise IllegalTransitionError(
                f"Entry {display_name(self.key, self.target)} is not in the journal."
            )
        if self.another or not row.name:
            table.update(row, {**reserve(table, self.names), "updated_at": codec.dump_datetime(self.now)})


LEFT_BEHIND: Final = "The run that sent it ended before the vendor's answer was recorded."


@attrs.frozen
class _IntendedEntry:
    """One language of a POST that is about to be sent."""

    key: str
    target: str
    mark: str
    values: dict[str, SqlValue]


_FRESH: Final[Values] = {
    "job_id": "",
    "credits_locked": None,
    "credits_used": None,
    "reason": "",
    "code": None,
    "created_at": None,
    "ended_at": None,
    "expires_at": None,
    "files": "[]",
    "snapshot": None,
}
"""What a new POST makes untrue; ids in doubt stay, for they may still be jobs."""

Names: TypeAlias = Mapping[tuple[str, str], Sequence[str]]
_NONE: Final[Names] = MappingProxyType({})


class RecordIntent:
    """The intent to send POSTs: every language of every request, atomic.

    Args:
        requests: what is about to be sent.
        token: the webhook token of these POSTs, or "".
        names: for each (key, target) names that its files may get, the one to be preferred first.
        now: when it is recorded.

    Attributes:
        images: after the step, what each entry was before; None where there was none.
    """

    def __init__(
        self, requests: tuple[Request, ...], token: str, now: datetime, names: Names = _NONE
    ) -> None:
        self._names = names
        self._entries = tuple(_intended_entries(requests, token, now))
        self.several = len(self._entries) > 1
        self.images: list[tuple[_IntendedEntry, dict[str, SqlValue] | None, int]] = []
        seen = set()
        for wanted in self._entries:
            name = (wanted.key, wanted.target)
            if name in seen:
                raise duplicate_intent(name)
            seen.add(name)

    def __call__(self, table: EntryTable) -> None:
        """Write it."""
        for wanted in self._entries:
            row = table.find(wanted.key, wanted.target)
            name_columns = {} if row is not None and row.name else reserve(table, self._offered(wanted))
            if row is None:
                identity: Values = {"key": wanted.key, "target": wanted.target, "paid": 1}
                table.insert({**identity, **wanted.values, **name_columns})
                self.images.append((wanted, None, 1))
                continue
            rejection = intent_rejection_reason(row, wanted.mark)
            if rejection:
                raise IllegalTransitionError(f"Entry {display_name(wanted.key, wanted.target)} {rejection}.")
            self.images.append((wanted, table.row_image(row), row.paid + 1))
            again = {"paid": row.paid + 1, "credits_before": row.used_before + (row.used or 0.0)}
            table.update(row, {**_FRESH, **wanted.values, **again, **name_columns})

    def _offered(self, wanted: _IntendedEntry) -> Sequence[str]:
        return self._names.get((wanted.key, wanted.target), ())

    def undo(self, table: EntryTable) -> None:
        """Put back what was, for a caller that was cancelled before it could send anything."""
        for wanted, image, paid in self.images:
            row = table.find(wanted.key, wanted.target)
            if row is None or row.state is not State.SUBMITTING or row.paid != paid:
                continue
            if image is None:
                table.delete(row)
            else:
                table.update(row, image)


def _intended_entries(requests: tuple[Request, ...], token: str, now: datetime) -> list[_IntendedEntry]:
    moment = codec.dump_datetime(now)
    state: dict[str, SqlValue] = {"state": State.SUBMITTING.value, "token": token}
    found = []
    for request in requests:
        for target in request.targets:
            mark = fingerprint(request, target)
            values = {**state, **request_columns(request, mark), "submitted_at": moment, "updated_at": moment}
            found.append(_IntendedEntry(request.key or mark, target, mark, values))
    return found


def duplicate_intent(name: tuple[str, str]) -> IllegalTransitionError:
    """Return the error for an entry that is in an intent twice."""
    return IllegalTransitionError(
        f"Entry {display_name(*name)} is intended twice at once; each POST would be paid."
    )


def intent_rejection_reason(row: EntryRow, mark: str) -> str:
    """Say why no POST may be sent for an entry, or "".

    Args:
        row: the entry.
        mark: the fingerprint of what is about to be sent.
    """
    if State.SUBMITTING not in TRANSITIONS[row.state]:
        return f"is {row.state}, so no POST may be sent for it"
    if row.state is State.IN_DOUBT and row.fingerprint != mark:
        return "is in doubt over other work; resolve that first, or use another key"
    return ""


def mark_interrupted(table: EntryTable, now: datetime) -> int:
    """Set intents that an interrupted run left to IN_DOUBT; return how many there were."""
    done = table.connection.execute(
        "UPDATE entry SET state = ?, reason = ?, updated_at = ? WHERE state = ?",
        (State.IN_DOUBT.value, LEFT_BEHIND, codec.dump_datetime(now), State.SUBMITTING.value),
    )
    return done.rowcount


_COLUMNS: Final[tuple[tuple[str, str, Callable[[Any], SqlValue]], ...]] = (
    ("job_id", "job_id", str),
    ("credits_locked", "credits_locked", codec.dump_float),
    ("credits_used", "used", codec.dump_float),
    ("reason", "reason", codec.dump_text),
    ("code", "code", codec.dump_int),
    ("created_at", "created", codec.dump_datetime),
    ("submitted_at", "submitted_at", codec.dump_datetime),
    ("ended_at", "ended_at", codec.dump_datetime),
    ("expires_at", "expires", codec.dump_datetime),
    ("files", "files", codec.dump_texts),
    ("snapshot", "snapshot", codec.dump_snapshot),
    ("doubt_ids", "doubt_ids", codec.dump_texts),
    ("token", "token", str),
)
"""Each column, what of a change it holds, and how that is written."""

_READ_FIELDS: Final = attrgetter(*(field for _, field, _ in _COLUMNS))


def columns(change: EntryUpdate, now: datetime) -> dict[str, SqlValue]:
    """Return the columns that a change sets."""
    values: dict[str, SqlValue] = {"state": change.state.value, "updated_at": codec.dump_datetime(now)}
    for (name, _, write), value in zip(_COLUMNS, _READ_FIELDS(change), strict=True):
        if value is not None and (written := write(value)) is not None:
            values[name] = written
    return values


@attrs.frozen
class _PreparedUpdate:
    """One change, made ready outside the transaction."""

    change: EntryUpdate
    mark: str | None
    request: dict[str, SqlValue]
    values: dict[str, SqlValue]

    @classmethod
    def prepare(cls, change: EntryUpdate, now: datetime) -> _PreparedUpdate:
        wanted = change.request
        mark = None if wanted is None else fingerprint(wanted, change.target)
        request = {} if wanted is None or mark is None else request_columns(wanted, mark)
        return cls(change, mark, request, columns(change, now))

    def __call__(self, table: EntryTable) -> None:
        change = self.change
        row = table.find(change.key, change.target)
        rejection = rejection_reason(change, row, self.mark)
        if rejection:
            raise IllegalTransitionError(f"Entry {display_name(change.key, change.target)} {rejection}.")
        if row is None:
            table.insert({"key": change.key, "target": change.target, **self.request, **self.values})
        else:
            table.update(row, self._setting(row))

    def _setting(self, row: EntryRow) -> Values:
        """Return what is written over a row."""
        if self.change.state is row.state:
            planned = row.state is State.PLANNED
            return {**self.request, **self.values} if planned else self.values
        reset: dict[str, SqlValue] = {"reason": "", "code": None}
        if self.change.state is State.PLANNED:
            # The last POST surely made no job, so it does not count as one that may have been charged.
            reset |= {"paid": max(row.paid - 1, 0), "submitted_at": None, "doubt_ids": "[]"}
        elif self.change.token is not None:
            reset["paid"] = max(row.paid - 1, 0)
        return {**reset, **self.values}


def rejection_reason(change: EntryUpdate, row: EntryRow | None, mark: str | None) -> str:
    """Say why a change can't be done, or "".

    Args:
        change: what is wanted.
        row: the entry, None where there is none.
        mark: the fingerprint of the request that the change gives; None where it gives none.
    """
    after, given = change.state, change.job_id
    if row is None:
        if change.request is None:
            return "is not in the journal, and no request was given to enter it"
        if after is not State.PLANNED:
            return f"is not in the journal, so it can't be {after}: it has to be planned or intended first"
        return ""
    if not may_follow(row.state, after):
        return f"is {row.state}, and {after} may not follow"
    if after is State.SUBMITTING and row.state is not after:
        return f"is {row.state}; an intent has to be committed with intend()"
    if row.job_id and given and given != row.job_id:
        return f"holds job {sanitize(row.job_id)} already and can't be given job {sanitize(given)}"
    if after is State.SUBMITTED and not (row.job_id or given):
        return "can't be submitted without the vendor's job id"
    if change.token is not None and (row.state, after) != (State.SUBMITTING, State.IN_DOUBT):
        return f"is {row.state}, and the doubt about an earlier POST can't come back"
    if after is State.PLANNED and (row.job_id or given):
        return f"holds job {sanitize(row.job_id or given)}: a job was made, so it can't be planned anew"
    if mark not in (None, row.fingerprint) and row.state is not State.PLANNED:
        return f"is {row.state} and names other work than the request that is given"
    return ""


class RecordUpdates:
    """Changes of one caller, atomic.

    Args:
        changes: in the order in which they happened.
        now: when they are recorded.
    """

    def __init__(self, changes: tuple[EntryUpdate, ...], now: datetime) -> None:
        self._writes = tuple(_PreparedUpdate.prepare(change, now) for change in changes)
        self.several = len(self._writes) > 1

    def __call__(self, table: EntryTable) -> None:
        """Write them."""
        for write in self._writes:
            write(table)


def check_resolution(job_id: str | None, snapshot: Snapshot | None, *, not_made: bool) -> None:
    """Refuse what does not say what became of a doubt.

    Raises:
        InvalidRequestError: both or neither are given, the id is invalid, or the snapshot is another job's.
    """
    if (job_id is None) is not not_made:
        raise InvalidRequestError("Use either job_id=... or not_made=True.")
    if job_id is not None and read_id(job_id) is None:
        raise InvalidRequestError(f"job_id must be an id as the vendor gives it, not {safe_repr(job_id)}.")
    if snapshot is not None and snapshot.job_id != job_id:
        raise InvalidRequestError(f"The snapshot is of job {snapshot.job_id}, not of {safe_repr(job_id)}.")


@attrs.frozen
class ResolveDoubt:
    """A resolved doubt: the job was made and has this id, or it was not made."""

    key: str
    target: str | None
    job_id: str | None
    now: datetime
    snapshot: Snapshot | None = None

    several = True

    def __call__(self, table: EntryTable) -> None:
        """Write it.

        Raises:
            IllegalTransitionError: no entry or several are in doubt, or the job belongs to another entry.
        """
        target, ids = self._doubt(table)
        if self.job_id is None:
            change = EntryUpdate(key=self.key, target=target, state=State.PLANNED)
        else:
            self._refuse_taken(table, self.job_id)
            left = tuple(other for other in ids if other != self.job_id)
            change = EntryUpdate(
                key=self.key,
                target=target,
                state=State.SUBMITTED,
                job_id=self.job_id,
                doubt_ids=left,
                snapshot=self.snapshot,
            )
        RecordUpdates((change,), self.now)(table)

    def _doubt(self, table: EntryTable) -> tuple[str, tuple[str, ...]]:
        """Return the one language that is in doubt, and the ids that it may have."""
        rows = table.connection.execute(
            "SELECT target, doubt_ids FROM entry WHERE key = ? AND state = ? ORDER BY target",
            (self.key, State.IN_DOUBT.value),
        ).fetchall()
        found = {target: ids for target, ids in rows if self.target in (None, target)}
        if not found:
            raise IllegalTransitionError(
                f"Entry {display_name(self.key, self.target or '')} is not in doubt."
            )
        if len(found) > 1:
            raise IllegalTransitionError(
                f"Entry {sanitize(self.key)} is in doubt for {', '.join(found)}.",
                advice="Say which: target=...",
            )
        ((target, ids),) = found.items()
        try:
            return target, codec.load_texts(ids)
        except codec.DecodeError as error:
            raise JournalCorruptedError(
                f"Entry {display_name(self.key, target)} can't be read: {error}."
            ) from error

    def _refuse_taken(self, table: EntryTable, job_id: str) -> None:
        taken = table.connection.execute(
            "SELECT key, target FROM entry WHERE job_id = ? AND job_id <> ''", (job_id,)
        ).fetchone()
        if taken is not None:
            raise IllegalTransitionError(
                f"Job {sanitize(job_id)} belongs to entry {display_name(*taken)} already."
            )
