"""The table of entries as the writer uses it: find, insert, update, delete; and the totals of its rows.

Which step may follow is not decided here. Every write adds a `Delta` that moves the totals.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, cast

import attrs

from akool_async._journal import codec
from akool_async._model.errors import JournalCorruptedError
from akool_async._model.filenames import collision_key
from akool_async._model.fingerprint import CompactSet
from akool_async._model.redact import sanitize
from akool_async._model.requests import Request
from akool_async._model.states import State

_PARTS: Final = 1_000_000
"""Credits are summed in whole millionths, so that nothing drifts."""

_NOTHING_LOCKED: Final = frozenset({State.PLANNED, State.FAILED})


class Contribution(NamedTuple):
    """What an entry adds to the tally."""

    state: State
    locked: float | None = None
    used: float | None = None
    used_before: float = 0.0

    def cost(self) -> tuple[int, int]:
        """Return millionths of credits locked and used: a deduction that is known replaces the lock."""
        used = round(((self.used or 0.0) + self.used_before) * _PARTS)
        if self.used is not None or self.locked is None or self.state in _NOTHING_LOCKED:
            return 0, used
        return round(self.locked * _PARTS), used


class Delta(NamedTuple):
    """One entry's step; None stands for not being there."""

    before: Contribution | None
    after: Contribution | None


class Totals:
    """Counts of states and sums of credits."""

    def __init__(self) -> None:
        self._counts: dict[State, int] = dict.fromkeys(State, 0)
        self._locked = 0
        self._used = 0

    def apply(self, moves: Iterable[Delta]) -> None:
        """Count committed steps."""
        for before, after in moves:
            if before is not None:
                self._add(before, -1)
            if after is not None:
                self._add(after, 1)

    def _add(self, contribution: Contribution, times: int) -> None:
        locked, used = contribution.cost()
        self._counts[contribution.state] += times
        self._locked += times * locked
        self._used += times * used

    @property
    def counts(self) -> Mapping[State, int]:
        """Entries in each state, zeros included."""
        return dict(self._counts)

    @property
    def credits(self) -> tuple[float, float]:
        """Credits locked and used."""
        return self._locked / _PARTS, self._used / _PARTS


SqlValue: TypeAlias = str | int | float | None
Values: TypeAlias = Mapping[str, SqlValue]
"""Columns to be written."""

_STATES: Final[Mapping[SqlValue, State]] = {state.value: state for state in State}
_FIND: Final = """
    SELECT id, state, paid, job_id, fingerprint, credits_locked, credits_used, credits_before, name
    FROM entry WHERE key = ? AND target = ?
"""


ENDED: Final = frozenset({State.DELIVERED, State.FAILED, State.EXPIRED})
"""States after which a run that will not be resumed does nothing more about an entry."""

_FORGET: Final = """
    DELETE FROM entry WHERE id = ? AND token = '' AND state IN ('delivered', 'failed', 'expired')
"""


class EntryRow(NamedTuple):
    """What a step has to know of an entry before it writes."""

    id: int
    state: State
    paid: int
    job_id: str
    fingerprint: str
    locked: float | None
    used: float | None
    used_before: float
    name: str

    @property
    def contribution(self) -> Contribution:
        """What it adds to the tally."""
        return Contribution(self.state, self.locked, self.used, self.used_before)


@functools.lru_cache(maxsize=256)
def _update_statement(names: tuple[str, ...]) -> str:
    return f"UPDATE entry SET {', '.join(f'{name} = ?' for name in names)} WHERE id = ?"  # noqa: S608 - our names


@functools.lru_cache(maxsize=16)
def _insert_statement(names: tuple[str, ...]) -> str:
    return f"INSERT INTO entry ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608 - our names


def _after(values: Values, before: Contribution) -> Contribution:
    """Return what an entry adds to the tally once `values` are written."""
    value_of = values.get
    return Contribution(
        _STATES[value_of("state", before.state.value)],
        cast("float | None", value_of("credits_locked", before.locked)),
        cast("float | None", value_of("credits_used", before.used)),
        cast("float | None", value_of("credits_before", before.used_before)) or 0.0,
    )


class EntryTable:
    """The entries of one file, inside the transaction of the one writer.

    Args:
        connection: the writer's connection.
        forgotten_names: names of deleted entries; None keeps every entry.

    Attributes:
        connection: the writer's connection.
        moves: what was written since the last `take_deltas`.
    """

    def __init__(self, connection: sqlite3.Connection, forgotten_names: CompactSet | None = None) -> None:
        self.connection = connection
        self.moves: list[Delta] = []
        self._forgotten_names = forgotten_names
        self._ended: list[EntryRow] = []

    def take_deltas(self) -> list[Delta]:
        """Return what was written since the last call."""
        moves, self.moves = self.moves, []
        return moves

    def find(self, key: str, target: str) -> EntryRow | None:
        """Return what a step has to know of an entry; None if it does not exist.

        Raises:
            JournalCorruptedError: the state in the file does not exist.
        """
        found = self.connection.execute(_FIND, (key, target)).fetchone()
        if found is None:
            return None
        if found[1] not in _STATES:
            raise JournalCorruptedError(f"Entry {sanitize(key)} has an unknown state.")
        return EntryRow(found[0], _STATES[found[1]], *found[2:])

    def name_taken(self, name_folded: str) -> bool:
        """Whether an entry holds a name that meets this one."""
        # A file of a deleted entry is still on the disk: another entry of that name would overwrite it.
        if self._forgotten_names is not None and self._forgotten_names.contains(name_folded, ""):
            return True
        statement = "SELECT 1 FROM entry WHERE name_folded = ? AND name_folded <> ''"
        return self.connection.execute(statement, (name_folded,)).fetchone() is not None

    def insert(self, values: Values) -> None:
        """Add an entry."""
        self.connection.execute(_insert_statement(tuple(values)), tuple(values.values()))
        self.moves.append(Delta(None, _after(values, Contribution(State.PLANNED))))

    def update(self, row: EntryRow, values: Values) -> None:
        """Write columns of an entry; the others stay."""
        self.connection.execute(_update_statement(tuple(values)), (*values.values(), row.id))
        before = row.contribution
        after = _after(values, before)
        self.moves.append(Delta(before, after))
        if after.state in ENDED and self._forgotten_names is not None:
            self._ended.append(row)

    def forget_ended(self) -> None:
        """Delete the entries that have ended, if this table forgets; the totals still count them.

        An entry whose POST had a webhook token stays: a late callback could give its job to another entry.
        """
        ended, self._ended = self._ended, []
        if self._forgotten_names is None:
            return
        for row in ended:
            deleted = self.connection.execute(_FORGET, (row.id,)).rowcount
            if deleted and row.name:
                self._forgotten_names.add(collision_key(row.name), "")

    def row_image(self, row: EntryRow) -> dict[str, SqlValue]:
        """Return all columns of an entry, to put it back later as it was."""
        cursor = self.connection.execute("SELECT * FROM entry WHERE id = ?", (row.id,))
        image = dict(zip((column[0] for column in cursor.description), cursor.fetchone(), strict=True))
        del image["id"]
        return image

    def delete(self, row: EntryRow) -> None:
        """Remove an entry, as if it had never been entered."""
        self.connection.execute("DELETE FROM entry WHERE id = ?", (row.id,))
        self.moves.append(Delta(row.contribution, None))


class Operation(Protocol):
    """One caller's write, all of it or nothing."""

    @property
    def several(self) -> bool:
        """Whether it may write more than once, so that it needs a way back."""
        ...

    def __call__(self, table: EntryTable) -> Any:
        """Do it inside a transaction; what is raised fails this caller alone.

        Raises:
            IllegalTransitionError: the entry's state does not allow it.
        """
        ...


@attrs.frozen
class Barrier:
    """Writes nothing; when it is done, so is every operation before it."""

    several: bool = False

    def __call__(self, table: EntryTable) -> None:
        """Write nothing."""


Undo: TypeAlias = Callable[[EntryTable], None]
"""Takes a committed step back, for a caller that was cancelled before it learned of it."""


def display_name(key: str, target: str) -> str:
    """Return an entry's name as errors show it."""
    return f"{sanitize(key)} ({target})" if target else sanitize(key)


def request_columns(request: Request, mark: str) -> dict[str, SqlValue]:
    """Return the columns that say what was asked for."""
    return {
        "fingerprint": mark,
        "request": codec.dump_request(request),
        "stripped": int(codec.loses_signature(request)),
    }
