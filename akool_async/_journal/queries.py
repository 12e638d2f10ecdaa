"""What the journal says: entries out of one connection that sees every commit.

Never writes. A row that the journal can't have written is said to be broken, not guessed at.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from typing import Any, Final, Generic, TypeVar, cast

import attrs
from anyio.lowlevel import checkpoint

from akool_async._journal import codec
from akool_async._journal.entry import Entry
from akool_async._journal.table import Contribution, Delta, Totals
from akool_async._model.errors import JournalCorruptedError
from akool_async._model.fingerprint import work_of
from akool_async._model.redact import sanitize
from akool_async._model.states import State

PAGE: Final = 16
"""Entries between two turns of the loop: reading and showing one takes up to 0.2 ms."""

FIELDS: Final = tuple(attrs.fields_dict(Entry))
COLUMNS: Final = tuple(codec.COLUMN_OF.get(field, field) for field in FIELDS)
_ALL: Final = f"SELECT {', '.join(COLUMNS)} FROM entry"  # noqa: S608 - our names
_BY_NAME: Final = f"{_ALL} WHERE key = ? AND target = ?"
_BY_ID: Final = f"{_ALL} WHERE id = ?"
_BY_JOB: Final = f"{_ALL} WHERE job_id = ? AND job_id <> '' ORDER BY id DESC LIMIT 1"
_BY_TOKEN: Final = f"{_ALL} WHERE token = ? AND token <> '' ORDER BY job_id <> '', id"
_BY_WORK: Final = f"""{_ALL} WHERE key >= ? AND key < ? AND target = ? AND key <> ? AND length(key) = 32
    AND (state <> 'planned' OR ?) AND NOT (state = 'failed' AND job_id = '') LIMIT 1"""
_EXPIRING: Final = """
    SELECT expires_at, id FROM entry INDEXED BY entry_expiry
    WHERE state IN ('submitted', 'completed') AND expires_at <= ? AND (expires_at, id) > (?, ?)
    ORDER BY expires_at, id LIMIT ?
"""

_COUNT_EXPIRING: Final = """
    SELECT count(*) FROM entry INDEXED BY entry_expiry
    WHERE state IN ('submitted', 'completed') AND expires_at <= ?
"""

_TOTALS: Final = """
    SELECT state, credits_locked, credits_used, credits_before, count(*) FROM entry GROUP BY 1, 2, 3, 4
"""


def _decode(row: tuple[Any, ...]) -> Entry:
    values = dict(zip(FIELDS, row, strict=True))
    for name in ("created_at", "submitted_at", "ended_at", "expires_at", "updated_at"):
        values[name] = codec.load_datetime(values[name])
    values["state"] = State(values["state"])
    values["request"] = codec.load_request(values["request"])
    values["url_redacted"] = bool(values["url_redacted"])
    values["files"] = codec.load_texts(values["files"])
    values["doubt_ids"] = codec.load_texts(values["doubt_ids"])
    if values["snapshot"] is not None:
        values["snapshot"] = codec.load_snapshot(values["snapshot"])
    return Entry(**values)


class JournalReader:
    """Reads one journal.

    Args:
        connection: a connection that nobody writes on, or the only one.
        name: the journal's path, for errors.
    """

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._name = name

    def _rows(self, statement: str, *values: str | int) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise JournalCorruptedError(f"The journal {self._name} can't be read: {error}.") from error

    def _entries(self, statement: str, *values: str | int) -> list[Entry]:
        entries = []
        for row in self._rows(statement, *values):
            try:
                entries.append(_decode(row))
            except (ValueError, TypeError, RecursionError) as error:
                message = f"Entry {sanitize(row[0])} of the journal {self._name} can't be read."
                raise JournalCorruptedError(message) from error
        return entries

    def get(self, key: str, target: str) -> Entry | None:
        """Return the entry of this name."""
        return next(iter(self._entries(_BY_NAME, key, target)), None)

    def by_id(self, number: int) -> Entry | None:
        """Return the entry of this number."""
        return next(iter(self._entries(_BY_ID, number)), None)

    def by_job(self, job_id: str) -> Entry | None:
        """Return the entry of this job."""
        return next(iter(self._entries(_BY_JOB, job_id)), None)

    def with_other_query(self, mark: str, target: str, *, planned: bool) -> Entry | None:
        """Return an entry that is named by a fingerprint of the same work, but for the query of a URL."""
        work = work_of(mark)
        return next(iter(self._entries(_BY_WORK, work, f"{work}g", target, mark, int(planned))), None)

    def by_token(self, token: str) -> list[Entry]:
        """Return the entries of the POST with this token, those without a job first."""
        return self._entries(_BY_TOKEN, token)

    def page(self, after: int, states: Collection[State] | None) -> list[int]:
        """Return the next numbers, in the order in which the entries were entered."""
        if states is None:
            rows = self._rows("SELECT id FROM entry WHERE id > ? ORDER BY id LIMIT ?", after, PAGE)
        elif states:
            parts = ["SELECT * FROM (SELECT id FROM entry WHERE state = ? AND id > ? ORDER BY id LIMIT ?)"]
            statement = f"{' UNION ALL '.join(parts * len(states))} ORDER BY 1 LIMIT ?"
            values = [value for state in states for value in (state.value, after, PAGE)]
            rows = self._rows(statement, *values, PAGE)
        else:
            rows = []
        return [number for (number,) in rows]

    def ids(self, states: Collection[State]) -> array[int]:
        """Return the numbers of all entries in these states: 8 bytes each."""
        marks = ", ".join("?" * len(states))
        statement = f"SELECT id FROM entry WHERE state IN ({marks}) ORDER BY id"  # noqa: S608 - our marks
        return array("q", [row[0] for row in self._rows(statement, *(state.value for state in states))])

    def expiring(self, until: str, after: tuple[str, int]) -> list[tuple[str, int]]:
        """Return the next (moment, number) of results that expire until then, soonest first."""
        return cast("list[tuple[str, int]]", self._rows(_EXPIRING, until, *after, PAGE))

    def saved_files(self) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """Yield key, language and files of what was saved, without decoding the rest of the entries."""
        statement = "SELECT key, target, files FROM entry WHERE state = 'delivered' ORDER BY id"
        for key, target, files in self._rows(statement):
            try:
                yield key, target, codec.load_texts(files)
            except ValueError as error:
                raise JournalCorruptedError(f"The journal {self._name} holds what it never wrote.") from error

    def count_expiring(self, until: str) -> int:
        """Count results that expire until then."""
        return int(self._rows(_COUNT_EXPIRING, until)[0][0])

    def totals(self) -> Totals:
        """Count all entries; takes as long as reading them."""
        totals = Totals()
        try:
            for state, locked, used, before, times in self._rows(_TOTALS):
                contribution = Contribution(State(state), locked, used, before)
                totals.apply([Delta(None, contribution)] * times)
        except (ValueError, TypeError, OverflowError) as error:
            raise JournalCorruptedError(f"The journal {self._name} holds what it never wrote.") from error
        return totals


P = TypeVar("P")
T = TypeVar("T")


class PagedIterator(AsyncIterator[T], Generic[P, T]):
    """Iterate over many rows, each read at the moment in which it is returned.

    Not a generator, because that would have to be closed when a loop is left; this holds nothing open.

    Args:
        start: a place before the first.
        page: gives the next places after one, an empty page at the end.
        read: returns the row at a position, or None if it is not wanted any more.
    """

    def __init__(self, start: P, page: Callable[[P], Sequence[P]], read: Callable[[P], T | None]) -> None:
        self._place = start
        self._page = page
        self._read = read
        self._ahead: Iterator[P] = iter(())

    async def __anext__(self) -> T:
        """Return the next one."""
        while True:
            for place in self._ahead:
                self._place = place
                found = self._read(place)
                if found is not None:
                    return found
            await checkpoint()
            page = self._page(self._place)
            if not page:
                raise StopAsyncIteration
            self._ahead = iter(page)
