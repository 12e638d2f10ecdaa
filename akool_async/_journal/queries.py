"""What the journal says: entries out of one connection that sees every commit.

Never writes. A row that the journal can't have written is said to be broken, not guessed at.
"""

from __future__ import annotations

import re
import sqlite3
from array import array
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, Generic, TypeVar, cast

import attrs
from anyio.lowlevel import checkpoint

from akool_async._journal.entry import (
    COLUMN_OF,
    Entry,
    load_datetime,
    load_request,
    load_snapshot,
    load_texts,
)
from akool_async._journal.table import Totals
from akool_async._model.errors import JournalCorruptedError
from akool_async._model.fingerprint import work_of
from akool_async._model.redact import sanitize
from akool_async._model.states import State

AT_RISK: Final = frozenset({State.SUBMITTED, State.COMPLETED})
PAGE: Final = 16
"""Entries between two turns of the loop: reading and showing one takes up to 0.2 ms."""

FIELDS: Final = tuple(attrs.fields_dict(Entry))
COLUMNS: Final = tuple(COLUMN_OF.get(field, field) for field in FIELDS)
_ALL: Final = f"SELECT {', '.join(COLUMNS)} FROM entry"  # noqa: S608 - our names
_BY_NAME: Final = f"{_ALL} WHERE key = ? AND target = ?"
_BY_ID: Final = f"{_ALL} WHERE id = ?"
_BY_JOB: Final = f"{_ALL} WHERE job_id = ? AND job_id <> '' ORDER BY id DESC LIMIT 1"
_BY_TOKEN: Final = f"{_ALL} WHERE token = ? AND token <> '' ORDER BY job_id <> '', id LIMIT 1"
_BY_WORK: Final = f"""{_ALL} WHERE key >= ? AND key < ? AND target = ? AND key <> ? AND length(key) = 32
    AND (state <> 'planned' OR ?) AND NOT (state = 'failed' AND job_id = '') LIMIT 1"""
_EXPIRING: Final = """
    SELECT expires_at, id FROM entry INDEXED BY entry_expiry
    WHERE state IN ('submitted', 'completed') AND expires_at <= ? AND (expires_at, id) > (?, ?)
    ORDER BY expires_at, id LIMIT ?
"""

_UNCLOSED: Final = re.compile(r"\[(?!!?\]?[^\]]*\])")
"""A bracket in a pattern that begins no set."""

_COUNT_EXPIRING: Final = """
    SELECT count(*) FROM entry INDEXED BY entry_expiry
    WHERE state IN ('submitted', 'completed') AND expires_at <= ?
"""

_TOTALS: Final = "SELECT state, entries, locked, used, unpriced FROM totals WHERE entries <> 0"


def _decode(row: tuple[Any, ...]) -> Entry:
    values = dict(zip(FIELDS, row, strict=True))
    for name in ("created_at", "submitted_at", "ended_at", "expires_at", "updated_at"):
        values[name] = load_datetime(values[name])
    values["state"] = State(values["state"])
    values["request"] = load_request(values["request"])
    values["url_redacted"] = bool(values["url_redacted"])
    values["files"] = load_texts(values["files"])
    values["doubt_ids"] = load_texts(values["doubt_ids"])
    if values["snapshot"] is not None:
        values["snapshot"] = load_snapshot(values["snapshot"])
    return Entry(**values)


@attrs.frozen(kw_only=True)
class EntryFilter:
    """Which entries are wanted: those that pass everything that is not None.

    Attributes:
        states: entries in these.
        key: keys like this: `*` stands for any letters, `?` for one, `[ab]` for one of these.
        targets: entries of these languages.
        until: results that are not saved and expire until this moment, as it is stored.
    """

    states: frozenset[State] | None = None
    key: str | None = None
    targets: frozenset[str] | None = None
    until: str | None = None

    @classmethod
    def create(
        cls,
        *,
        states: Iterable[State] | None,
        key: str | None,
        targets: Iterable[str] | None,
        until: str | None,
    ) -> EntryFilter:
        """Return the filter for these arguments of `Journal.entries`."""
        chosen = None if states is None else frozenset(states)
        if until is not None:
            chosen = AT_RISK if chosen is None else AT_RISK & chosen
        names = None if targets is None else frozenset(targets)
        return cls(states=chosen, key=key, targets=names, until=until)

    def allows(self, state: State) -> bool:
        """Return whether an entry may be in this state; the rest of what is asked for never changes."""
        return self.states is None or state in self.states

    @property
    def condition(self) -> tuple[str, tuple[str, ...]]:
        """What SQL has to check beside the state, and its values."""
        parts: list[str] = []
        if self.key is not None:
            # SQLite negates a set by "^", and finds nothing where one is not closed.
            parts += [" AND key GLOB ?"]
        if self.targets is not None:
            parts += [f" AND target IN ({', '.join('?' * len(self.targets))})"]
        if self.until is not None:
            parts += [" AND expires_at <= ?"]
        glob = () if self.key is None else (_UNCLOSED.sub("[[]", self.key).replace("[!", "[^"),)
        values = (*glob, *sorted(self.targets or ()), *(() if self.until is None else (self.until,)))
        return "".join(parts), values


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

    def file_name(self, key: str, target: str) -> str:
        """Return the name of an entry's files, without decoding the rest of it."""
        rows = self._rows("SELECT name FROM entry WHERE key = ? AND target = ?", key, target)
        return str(rows[0][0]) if rows else ""

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

    def by_token(self, token: str) -> Entry | None:
        """Return an entry of the POST with this token; one without a job, if there is one."""
        return next(iter(self._entries(_BY_TOKEN, token)), None)

    def page(self, after: int, wanted: EntryFilter) -> list[int]:
        """Return the next numbers of entries that are wanted, in the order in which they were entered."""
        condition, values = wanted.condition
        if wanted.states is None:
            statement = f"SELECT id FROM entry WHERE id > ?{condition} ORDER BY id LIMIT ?"  # noqa: S608 - ours
            rows = self._rows(statement, after, *values, PAGE)
        elif wanted.states:
            part = f"SELECT id FROM entry WHERE state = ? AND id > ?{condition} ORDER BY id LIMIT ?"  # noqa: S608
            statement = " UNION ALL ".join([f"SELECT * FROM ({part})"] * len(wanted.states))  # noqa: S608
            each = [(state.value, after, *values, PAGE) for state in wanted.states]
            rows = self._rows(f"{statement} ORDER BY 1 LIMIT ?", *chain.from_iterable(each), PAGE)
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

    def saved_files(self) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
        """Yield key, language, name and files of what was saved, without decoding the rest of the entries."""
        statement = "SELECT key, target, name, files FROM entry WHERE state = 'delivered' ORDER BY id"
        for key, target, name, files in self._rows(statement):
            try:
                yield key, target, name or "", load_texts(files)
            except ValueError as error:
                raise JournalCorruptedError(f"The journal {self._name} holds what it never wrote.") from error

    def count_expiring(self, until: str) -> int:
        """Count results that expire until then."""
        return int(self._rows(_COUNT_EXPIRING, until)[0][0])

    def totals(self) -> Totals:
        """Return the totals that the file keeps of all entries."""
        try:
            rows = self._rows(_TOTALS)
            return Totals(
                (State(state), int(entries), int(locked), int(used), int(unpriced))
                for state, entries, locked, used, unpriced in rows
            )
        except (ValueError, TypeError, OverflowError) as error:
            raise JournalCorruptedError(f"The journal {self._name} holds what it never wrote.") from error


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
            # Between pages, so that a loop over a large journal does not hold up polls and downloads.
            await checkpoint()
            page = self._page(self._place)
            if not page:
                raise StopAsyncIteration
            self._ahead = iter(page)
