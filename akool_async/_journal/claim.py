"""Names of files: each held by one entry, told apart as every system would."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import attrs

from akool_async._core.errors import JournalRefused
from akool_async._core.names import folded
from akool_async._journal import codec
from akool_async._journal.step import named
from akool_async._journal.table import SqlValue, Table


def claimed(table: Table, names: Iterable[str]) -> dict[str, SqlValue]:
    """Give the columns that hold the first of `names` that nobody holds; none where there are no names.

    Raises:
        JournalRefused: all of them are held.
    """
    tried = 0
    for name in names:
        mark, tried = folded(name), tried + 1
        if not table.holds(mark):
            return {"name": name, "name_folded": mark}
    if tried:
        raise JournalRefused("Each of the names that were offered belongs to another entry.")
    return {}


@attrs.frozen
class Claim:
    """The wish of an entry that is there to hold a name.

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

    def __call__(self, table: Table) -> None:
        """Write it; an entry that holds a name keeps it, unless it wants another.

        Raises:
            JournalRefused: the entry is not there, or all names belong to others.
        """
        row = table.find(self.key, self.target)
        if row is None:
            raise JournalRefused(f"Entry {named(self.key, self.target)} is not in the journal.")
        if self.another or not row.name:
            table.set(row, {**claimed(table, self.names), "updated_at": codec.write_moment(self.now)})
