"""The table of entries as the writer uses it: find, insert, update, delete; and the totals of its rows.

Which state may follow is not decided here. Every write adds a `Delta` that moves the totals.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, cast

import attrs

from akool_async._model.errors import IllegalTransitionError, JournalCorruptedError
from akool_async._model.filenames import collision_key
from akool_async._model.fingerprint import CompactSet
from akool_async._model.redact import sanitize
from akool_async._model.states import ENDED, State

SqlValue: TypeAlias = str | int | float | None
Values: TypeAlias = Mapping[str, SqlValue]
"""Columns to be written."""

DATABASE_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)
"""What a statement raises: an error quotes names from the file, and where that is damaged Python can't decode
them."""

MILLIONTHS: Final = 1_000_000.0
"""Credits are summed in whole millionths, so that nothing drifts."""

MOST_CREDITS: Final = 1e9
"""An entry is counted with at most these: the sums are 64-bit integers, and no real price is larger."""

HAS_CONTENT: Final = "instr(request, '?sha256=')"
CONTENT: Final = f"substr(request, {HAS_CONTENT} + 8, 64)"
"""The hash of the first file of a request that is one of this machine."""

LAST_DOUBTS: Final = """
    SELECT count(*) FROM (
        SELECT DISTINCT submitted_at FROM entry
        WHERE state = 'in_doubt' AND submitted_at > coalesce((
            SELECT max(submitted_at) FROM entry WHERE state NOT IN ('planned', 'submitting', 'in_doubt')
        ), '') LIMIT ?
    )
"""
"""Counts POSTs in doubt that are newer than all answered ones; the entries of one POST have one moment."""

_NOTHING_LOCKED: Final = frozenset({State.PLANNED, State.FAILED})
_MADE: Final = frozenset({State.SUBMITTED, State.COMPLETED, State.DELIVERED, State.EXPIRED})
_STATES: Final[Mapping[SqlValue, State]] = {state.value: state for state in State}


class JobTakenError(IllegalTransitionError):
    """A job was named for a POST of an entry, and that of another POST, or another entry, made it.

    Attributes:
        entry: key and language of the entry for which it was named.
        owner: those of the entry that has it, or had it before it was paid again.
        job_id: the job.
    """

    advice = "Record the entry as IN_DOUBT, with the id among its doubt_ids."

    def __init__(self, message: str, entry: tuple[str, str], owner: tuple[str, str], job_id: str) -> None:
        super().__init__(message)
        self.entry = entry
        self.owner = owner
        self.job_id = job_id


def _millionths(amount: float) -> int:
    """Return millionths of credits, rounded as SQLite does."""
    if not amount:
        return 0
    parts = min(max(amount, -MOST_CREDITS), MOST_CREDITS) * MILLIONTHS
    return int(parts + (0.5 if parts >= 0 else -0.5))


class Totals:
    """Counts of states and sums of credits.

    Args:
        rows: state, entries, millionths of credits locked and used, entries without a price, as a file
            keeps them.
    """

    def __init__(self, rows: Iterable[tuple[State, int, int, int, int]] = ()) -> None:
        self._counts: dict[State, int] = dict.fromkeys(State, 0)
        self._locked = 0
        self._used = 0
        self.unpriced = 0
        self.operations = 0
        for state, entries, locked, used, unpriced in rows:
            self._counts[state] += entries
            self._locked += locked
            self._used += used
            self.unpriced += unpriced

    def apply(self, deltas: Iterable[Delta]) -> None:
        """Count what a committed operation moved."""
        self.operations += 1
        for row, times in deltas:
            locked, used, unpriced = row.cost()
            self._counts[row.state] += times
            self._locked += times * locked
            self._used += times * used
            self.unpriced += times * unpriced

    @property
    def counts(self) -> Mapping[State, int]:
        """Entries in each state, zeros included."""
        return dict(self._counts)

    @property
    def credits(self) -> tuple[float, float]:
        """Credits locked and used."""
        # Divided only here: sums of floats would drift, and `max_credits` is compared with them.
        return self._locked / MILLIONTHS, self._used / MILLIONTHS


def read_totals(connection: sqlite3.Connection, name: str) -> Totals:
    """Return the totals that a file keeps of all its entries."""
    statement = "SELECT state, entries, locked, used, unpriced FROM totals WHERE entries <> 0"
    try:
        return Totals(
            (State(state), int(entries), int(locked), int(used), int(unpriced))
            for state, entries, locked, used, unpriced in connection.execute(statement)
        )
    except DATABASE_ERRORS as error:
        raise JournalCorruptedError(f"The journal {name} can't be read: {error}.") from error
    except (ValueError, TypeError, OverflowError) as error:
        message = f"The journal {name} is damaged: it contains invalid values."
        raise JournalCorruptedError(message) from error


class EntryRow(NamedTuple):
    """What an operation has to know of an entry before it writes, by the names of the columns."""

    id: int
    state: State
    paid: int
    job_id: str
    fingerprint: str
    credits_locked: float | None
    credits_used: float | None
    credits_before: float
    doubts_before: int
    name: str
    token: str
    doubt_ids: str

    def cost(self) -> tuple[int, int, bool]:
        """Return millionths of credits locked and used, and whether it has a job of unknown cost."""
        used = _millionths((self.credits_used or 0.0) + self.credits_before)
        unpriced = self.state in _MADE and self.credits_locked is None and self.credits_used is None
        # Not both: once a deduction is known, the lock that it came from is gone.
        if self.credits_used is not None or self.state in _NOTHING_LOCKED:
            return 0, used, unpriced
        return _millionths(self.credits_locked or 0.0), used, unpriced

    def after(self, values: Values) -> EntryRow:
        """Return the row as it is once these columns are written."""
        number, state, *others = map(cast("Mapping[str, Any]", values).get, self._fields, self)
        return EntryRow(number, _STATES[state], *others)


Delta: TypeAlias = tuple[EntryRow, int]
"""What a write adds to the totals, or takes from them: 1 or -1 times the credits of an entry."""


class SavedEntry(NamedTuple):
    """What is read of an entry whose result is saved, without decoding the rest.

    Attributes:
        name: the name that its files were given, or "".
        files: where they are; () where it ended in a run without a folder for results.
        reason: what is missing or could not be verified, or "".
    """

    key: str
    target: str
    name: str
    files: tuple[str, ...]
    reason: str


_FIND: Final = f"SELECT {', '.join(EntryRow._fields)} FROM entry WHERE key = ? AND target = ?"  # noqa: S608
_DEAREST: Final = """
    SELECT max(coalesce(credits_used, credits_locked))
    FROM (SELECT credits_used, credits_locked FROM entry ORDER BY id DESC LIMIT 1000)
"""
"""What the dearest of the jobs that were entered last cost."""

_JOB_OWNER: Final = """
    SELECT key, target FROM entry WHERE job_id = ? AND job_id <> ''
    UNION ALL SELECT key, target FROM earlier_post WHERE job_id = ? AND job_id <> '' LIMIT 1
"""
_KEEP_POST: Final = """
    INSERT INTO earlier_post (key, target, state, token, job_id, submitted_at, candidate_ids)
    SELECT key, target, :state, token, job_id, submitted_at,
        CASE :state WHEN 'planned' THEN '[]' ELSE candidate_ids END
    FROM entry WHERE id = :id AND (token <> '' OR job_id <> '' OR candidate_ids <> '[]')
"""

_JOB: Final = "job"
"""The second part of a job's name among those of deleted entries; that of a file has none."""

_NO_ROW: Final = EntryRow(0, State.PLANNED, 0, "", "", None, None, 0.0, 0, "", "", "[]")


@functools.lru_cache(maxsize=256)
def _statement(names: tuple[str, ...], *, insert: bool) -> str:
    """Return the statement that writes these columns: our own names, never a caller's text."""
    if insert:
        return f"INSERT INTO entry ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608
    return f"UPDATE entry SET {', '.join(f'{name} = ?' for name in names)} WHERE id = ?"  # noqa: S608


class EntryTable:
    """The entries of one file, inside the transaction of the one writer.

    Args:
        forgotten: names and jobs of deleted entries; None keeps every entry.
    """

    def __init__(self, connection: sqlite3.Connection, forgotten: CompactSet | None = None) -> None:
        self.connection = connection
        self._deltas: list[Delta] = []
        self._forgotten = forgotten
        self._freed: list[tuple[str, str]] = []

    def take_deltas(self) -> list[Delta]:
        """Return what was written since the last call."""
        deltas, self._deltas = self._deltas, []
        return deltas

    def find(self, key: str, target: str) -> EntryRow | None:
        """Return what an operation has to know of an entry; None if it does not exist."""
        found = self.connection.execute(_FIND, (key, target)).fetchone()
        if found is None:
            return None
        # Never guessed: taken for PLANNED, it would be paid again.
        if found[1] not in _STATES:
            raise JournalCorruptedError(f"Entry {sanitize(key)} has an unknown state.")
        return EntryRow(found[0], _STATES[found[1]], *found[2:])

    def name_taken(self, name_folded: str) -> bool:
        """Whether an entry holds a name that collides with this one."""
        # A file of a deleted entry is still on the disk: another entry of that name would overwrite it.
        if self._forgotten is not None and self._forgotten.contains(name_folded, ""):
            return True
        statement = "SELECT 1 FROM entry WHERE name_folded = ? AND name_folded <> ''"
        return self.connection.execute(statement, (name_folded,)).fetchone() is not None

    def job_owner(self, job_id: str) -> tuple[str, str] | None:
        """Return key and language of the entry that has a job, or had; empty ones if it was deleted."""
        if self._forgotten is not None and self._forgotten.contains(job_id, _JOB):
            return "", ""
        found = self.connection.execute(_JOB_OWNER, (job_id, job_id)).fetchone()
        return None if found is None else (str(found[0]), str(found[1]))

    def insert(self, values: Values) -> None:
        """Add an entry."""
        statement = _statement(tuple(values), insert=True)
        self.connection.execute(statement, tuple(values.values()))
        self._deltas.append((_NO_ROW.after(values), 1))

    def update(self, row: EntryRow, values: Values) -> None:
        """Write columns of an entry; the others stay. A table that forgets deletes it if it has ended."""
        after = row.after(values)
        self._deltas += [(row, -1), (after, 1)]
        # An entry whose POST had a token stays: a late callback could give its job to another entry.
        if self._forgotten is not None and after.state in ENDED and not after.token:
            self.connection.execute("DELETE FROM entry WHERE id = ?", (row.id,))
            if after.name:
                self._freed.append((collision_key(after.name), ""))
            if after.job_id:
                self._freed.append((after.job_id, _JOB))
            return
        statement = _statement(tuple(values), insert=False)
        self.connection.execute(statement, (*values.values(), row.id))

    def settle(self, *, done: bool) -> None:
        """Keep names and jobs of what an operation deleted, at its end; one taken back deleted nothing."""
        freed, self._freed = self._freed, []
        if done and self._forgotten is not None:
            for one in freed:
                self._forgotten.add(*one)

    def keep_post(self, row: EntryRow, state: State) -> int:
        """Keep the last POST of an entry, with the state in which that ended; return its number.

        It is 0 if nothing can name that POST any more. Who called it not made has judged its candidates.
        """
        cursor = self.connection.execute(_KEEP_POST, {"state": state.value, "id": row.id})
        return (cursor.lastrowid or 0) if cursor.rowcount else 0

    def drop_post(self, number: int) -> None:
        """Remove an earlier POST, because it is the last one of its entry again."""
        self.connection.execute("DELETE FROM earlier_post WHERE id = ?", (number,))

    def cost_of_ended(self, row: EntryRow) -> float:
        """Return what the job of an entry cost, in credits, which is about to be made once more."""
        if row.credits_used is not None or row.state is not State.EXPIRED:
            return row.credits_used or 0.0
        if row.credits_locked is not None:
            return row.credits_locked
        # It was made, and its price will never be known: counted as nothing, it would exceed the budget.
        # Not all rows are looked at, for the ids of paid POSTs wait for this transaction.
        (dearest,) = self.connection.execute(_DEAREST)
        return dearest[0] or 0.0

    def row_image(self, row: EntryRow) -> dict[str, SqlValue]:
        """Return all columns of an entry, to put it back later as it was."""
        cursor = self.connection.execute("SELECT * FROM entry WHERE id = ?", (row.id,))
        image = dict(zip((column[0] for column in cursor.description), cursor.fetchone(), strict=True))
        del image["id"]
        return image

    def delete(self, row: EntryRow) -> None:
        """Remove an entry, as if it had never been entered."""
        self.connection.execute("DELETE FROM entry WHERE id = ?", (row.id,))
        self._deltas.append((row, -1))


class Operation(Protocol):
    """One caller's write, all of it or nothing."""

    @property
    def needs_savepoint(self) -> bool:
        """Whether it may write more than once, so that it needs a way back."""

    def __call__(self, table: EntryTable) -> None:
        """Do it inside a transaction; what is raised fails this caller alone.

        Raises:
            IllegalTransitionError: the entry's state does not allow it.
        """


Undo: TypeAlias = Callable[[EntryTable], None]
"""Takes a committed operation back, for a caller that was cancelled before it learned of it."""

Then: TypeAlias = Callable[[bool], object]
"""Called in the event loop with whether an operation was done, before its caller is woken; then with False
where it was taken back for a caller that was cancelled."""


@attrs.define(eq=False)
class PendingOperation:
    """One caller's operation on its way through the writer; `done` once it was committed or failed."""

    operation: Operation
    then: Then | None = None
    error: Exception | None = None
    deltas: list[Delta] = attrs.field(factory=list)
    done: bool = False

    def settle(self, totals: Totals) -> None:
        """Count what it did, and call what depends on it."""
        totals.apply(self.deltas)
        if self.then is not None:
            self.then(self.error is None)

    def retract(self, _done: bool = True) -> None:
        """Tell what depends on it that it is not done, or not any more."""
        if self.then is not None:
            self.then(False)


@attrs.frozen
class UndoOperation:
    """Takes an operation back; does nothing where that was not done."""

    pending: PendingOperation
    undo: Undo
    needs_savepoint: bool = True

    def __call__(self, table: EntryTable) -> None:
        """Write it."""
        if self.pending.done and self.pending.error is None:
            self.undo(table)
