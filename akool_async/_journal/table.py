"""The table of entries, as statements of the one writer: find, enter, set, take out.

Says nothing about which step may follow; every write is told to the tally through `moves`.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias, cast

from akool_async._core.errors import JournalBroken
from akool_async._core.lifecycle import State
from akool_async._core.text import clean
from akool_async._journal.tally import Move, Standing

SqlValue: TypeAlias = str | int | float | None
Values: TypeAlias = Mapping[str, SqlValue]
"""Columns to be written."""

_STATES: Final[Mapping[SqlValue, State]] = {state.value: state for state in State}

_FIND: Final = """
    SELECT id, state, paid, job_id, fingerprint, credits_locked, credits_used, credits_before, name
    FROM entry WHERE key = ? AND target = ?
"""


class Row(NamedTuple):
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
    def standing(self) -> Standing:
        """What it adds to the tally."""
        return Standing(self.state, self.locked, self.used, self.used_before)


@functools.lru_cache(maxsize=256)
def _setting(names: tuple[str, ...]) -> str:
    return f"UPDATE entry SET {', '.join(f'{name} = ?' for name in names)} WHERE id = ?"  # noqa: S608 - our names


@functools.lru_cache(maxsize=16)
def _entering(names: tuple[str, ...]) -> str:
    return f"INSERT INTO entry ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608 - our names


def _after(values: Values, before: Standing) -> Standing:
    """Give what an entry adds to the tally once `values` are written."""
    told = values.get
    return Standing(
        _STATES[told("state", before.state.value)],
        cast("float | None", told("credits_locked", before.locked)),
        cast("float | None", told("credits_used", before.used)),
        cast("float | None", told("credits_before", before.used_before)) or 0.0,
    )


class Table:
    """The entries of one file, inside the transaction of the one writer.

    Attributes:
        connection: the writer's connection.
        moves: what was written since the last `take_moves`.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.moves: list[Move] = []

    def take_moves(self) -> list[Move]:
        """Give what was written since the last call."""
        moves, self.moves = self.moves, []
        return moves

    def find(self, key: str, target: str) -> Row | None:
        """Give what stands there.

        Raises:
            JournalBroken: somebody else wrote a state that there is not.
        """
        found = self.connection.execute(_FIND, (key, target)).fetchone()
        if found is None:
            return None
        if found[1] not in _STATES:
            raise JournalBroken(f"Entry {clean(key)} has a state that there is not.")
        return Row(found[0], _STATES[found[1]], *found[2:])

    def holds(self, name_folded: str) -> bool:
        """Whether an entry holds a name that meets this one."""
        statement = "SELECT 1 FROM entry WHERE name_folded = ? AND name_folded <> ''"
        return self.connection.execute(statement, (name_folded,)).fetchone() is not None

    def enter(self, values: Values) -> None:
        """Add an entry."""
        self.connection.execute(_entering(tuple(values)), tuple(values.values()))
        self.moves.append(Move(None, _after(values, Standing(State.PLANNED))))

    def set(self, row: Row, values: Values) -> None:
        """Write columns of an entry; the others stay."""
        self.connection.execute(_setting(tuple(values)), (*values.values(), row.id))
        before = row.standing
        self.moves.append(Move(before, _after(values, before)))

    def image(self, row: Row) -> dict[str, SqlValue]:
        """Give all columns of an entry, to put it back later as it was."""
        cursor = self.connection.execute("SELECT * FROM entry WHERE id = ?", (row.id,))
        image = dict(zip((column[0] for column in cursor.description), cursor.fetchone(), strict=True))
        del image["id"]
        return image

    def take_out(self, row: Row) -> None:
        """Remove an entry, as if it had never been entered."""
        self.connection.execute("DELETE FROM entry WHERE id = ?", (row.id,))
        self.moves.append(Move(row.standing, None))
