"""What an open journal answers: entries, requests and totals, at once and from its own connection.

Nothing here writes. A row that the journal can't have written is said to be broken, not guessed at.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import AsyncIterator, Callable, Container, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any, Final, Generic, TypeAlias, TypeVar

from anyio.lowlevel import checkpoint

from akool_async._journal.entry import (
    COLUMNS,
    Entry,
    dump_datetime,
    entry_to_json,
    load_entry,
    load_texts,
)
from akool_async._journal.store import IN_MEMORY, OpenJournal
from akool_async._journal.table import (
    CONTENT,
    DATABASE_ERRORS,
    HAS_CONTENT,
    LAST_DOUBTS,
    SavedEntry,
    Totals,
    read_totals,
)
from akool_async._model.errors import JournalClosedError, JournalCorruptedError
from akool_async._model.fingerprint import work_by_content, work_of
from akool_async._model.redact import sanitize
from akool_async._model.requests import Request, private_inputs
from akool_async._model.states import State

AT_RISK: Final = frozenset({State.SUBMITTED, State.COMPLETED})
_SENT: Final = AT_RISK | {State.DELIVERED}
"""States that are resumed by the job's id alone, so that the request's URL is not needed."""

IN_PROGRESS: Final = AT_RISK | {State.PLANNED}
EVER: Final = timedelta(days=36_500)  # for `expiring`: however late
States: TypeAlias = Container[State]
PAGE: Final = 16
"""Entries between two turns of the loop: reading and showing one takes up to 0.2 ms."""

_ALL: Final = f"SELECT {', '.join(COLUMNS)} FROM entry"  # noqa: S608 - our names
_BY_NAME: Final = f"{_ALL} WHERE key = ? AND target = ?"
_BY_ID: Final = f"{_ALL} WHERE id = ?"
_BY_JOB: Final = f"{_ALL} WHERE job_id = ? AND job_id <> '' ORDER BY id DESC LIMIT 1"
_WITH_JOB_BEFORE: Final = "SELECT key, target FROM earlier_post WHERE job_id = ? AND job_id <> ''"
_BY_EARLIER_JOB: Final = f"{_ALL} WHERE (key, target) IN ({_WITH_JOB_BEFORE}) LIMIT 1"
_WITH_OTHER_JOBS: Final = f"{_ALL} WHERE doubt_ids <> '[]' AND job_id <> '' ORDER BY id"
_BY_TOKEN: Final = f"{_ALL} WHERE token = ? AND token <> '' ORDER BY job_id <> '', id LIMIT 1"
_BY_WORK: Final = f"""{_ALL} WHERE key >= ? AND key < ? AND target = ? AND key <> ? AND length(key) = 32
    AND (state <> 'planned' OR ?) AND NOT (state = 'failed' AND job_id = '') LIMIT 1"""
_UNFINISHED: Final = f"""{_ALL} WHERE state IN ('in_doubt', 'submitting', 'submitted')
    AND instr(request, ?) ORDER BY state LIMIT 1"""
_BY_MARK: Final = f"{_ALL} WHERE fingerprint = ? AND target = ? AND key <> ?"
_BY_CONTENT: Final = f"""{_ALL} WHERE {HAS_CONTENT} AND {CONTENT} = ? AND target = ? AND key <> ?
    AND state <> 'planned'"""
_BY_ANY_QUERY: Final = f"{_BY_MARK} UNION ALL SELECT * FROM ({_BY_WORK})"  # noqa: S608 - ours
_NUMBERED_BY_NAME: Final = f"SELECT {', '.join(COLUMNS)}, id FROM entry WHERE key = ? AND target = ?"  # noqa: S608
_FOLLOWING: Final = f"SELECT {', '.join(COLUMNS)}, id FROM entry WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608
MOST_AHEAD: Final = 256
"""Rows that are read before they are asked for, at most: 4 µs each instead of 11."""

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


class ReadableJournal:
    """The reading half of a journal; `Journal` opens it and writes it."""

    _state: OpenJournal | None
    _ahead: RowsAhead
    _path: Path | None
    _read_only: bool
    _now: Callable[[], datetime]

    @property
    def _opened(self) -> OpenJournal:
        if self._state is None:
            raise JournalClosedError("The journal is not open.")
        if (lock := self._state.store.lock) is not None and lock.forked:
            raise JournalClosedError(
                "The journal was opened by the parent of this process.",
                advice="Open it after the fork, in one process; the others may open it with read_only=True.",
            )
        return self._state

    def _rows(self, statement: str, *values: str | int) -> list[tuple[Any, ...]]:
        connection = self._opened.reading
        try:
            return connection.execute(statement, values).fetchall()
        except DATABASE_ERRORS as error:
            raise JournalCorruptedError(f"The journal {self._shown} can't be read: {error}.") from error

    def _first(self, statement: str, *values: str | int) -> Entry | None:
        return next(map(self._entry, self._rows(statement, *values)), None)

    def _entry(self, row: tuple[Any, ...], request: Request | None = None) -> Entry:
        try:
            return load_entry(row, request)
        except (ValueError, TypeError, RecursionError) as error:
            message = f"Entry {sanitize(row[0])} of the journal {self._shown} can't be read."
            raise JournalCorruptedError(message) from error

    @property
    def _shown(self) -> str:
        return str(self._path or IN_MEMORY)

    @property
    def _totals(self) -> Totals:
        return read_totals(self._opened.reading, self._shown) if self._read_only else self._opened.totals

    def get(self, key: str, target: str = "") -> Entry | None:
        """Return an entry, at once; sees everything whose `record` has returned.

        Raises:
            JournalCorruptedError: the entry can't be read.
        """
        return self._first(_BY_NAME, key, target)

    def find_job(self, job_id: str) -> Entry | None:
        """Return the entry that has a job, or had it before it was paid again; at once."""
        return self._first(_BY_JOB, job_id) or self._first(_BY_EARLIER_JOB, job_id)

    def find_other_query(self, mark: str, target: str) -> Entry | None:
        """Return an entry for the same work, but for the query of a URL, that has no key of the caller's.

        An entry that was not sent yet does not count.
        """
        work = work_of(mark)
        return self._first(_BY_WORK, work, f"{work}g", target, mark, 0)

    def find_work(
        self, mark: str, target: str, key: str, *, any_query: bool, planned: bool = False, ignore: States = ()
    ) -> Entry | None:
        """Return an entry of another key for this work, unless it surely failed; at once.

        Args:
            mark: a fingerprint.
            target: its language.
            key: the key that is not meant.
            any_query: whether what `find_other_query` returns is meant, too.
            planned: whether such an entry counts, too, if it was not sent yet.
            ignore: states of entries that do not count.
        """
        work, same = work_of(mark), (mark, target, key)
        others = (work, f"{work}g", target, mark, int(planned)) if any_query else ()
        found = map(self._entry, self._rows(_BY_ANY_QUERY if any_query else _BY_MARK, *same, *others))
        meant = (one for one in found if one.state not in ignore)
        return next((one for one in meant if one.fingerprint != mark or not one.surely_failed), None)

    def find_moved(self, request: Request, target: str, key: str) -> Entry | None:
        """Return an entry of another key that was sent for this work, with its files elsewhere; at once."""
        if not (content := work_by_content(request, target)):
            return None
        place = next(url for url in private_inputs(request).values() if "?sha256=" in url)
        digest = place.partition("?sha256=")[2]
        found = map(self._entry, self._rows(_BY_CONTENT, digest, target, key))
        same = (one for one in found if work_by_content(one.request, target) == content)
        return next((one for one in same if not one.surely_failed), None)

    def entries(
        self,
        *,
        states: Iterable[State] | None = None,
        key: str | None = None,
        targets: Iterable[str] | None = None,
        expiring: timedelta | None = None,
    ) -> AsyncIterator[Entry]:
        """Return entries in the order in which they were entered, each as it is at that moment.

        The journal may be written meanwhile, also by the loop's own body. None does not narrow them down.

        Args:
            states: only entries in these.
            key: only keys like this: `*` stands for any letters, `?` for one, `[ab]` for one of these.
            targets: only these languages; "" is for lip-sync.
            expiring: only results that are not saved and expire within this time.
        """
        chosen = None if states is None else frozenset(states)
        condition, values = "", list[str]()
        if key is not None:
            # SQLite negates a set by "^", and finds nothing where one is not closed.
            condition += " AND key GLOB ?"
            values.append(_UNCLOSED.sub("[[]", key).replace("[!", "[^"))
        if targets is not None:
            names = sorted(frozenset(targets))
            condition += f" AND target IN ({', '.join('?' * len(names))})"
            values += names
        if expiring is not None:
            condition += " AND expires_at <= ?"
            values.append(self._until(expiring))
            chosen = AT_RISK if chosen is None else AT_RISK & chosen

        def read(number: int) -> Entry | None:
            entry = self._first(_BY_ID, number)
            # Its state may have changed since it was found; the rest of what is asked for never changes.
            return entry if entry is not None and (chosen is None or entry.state in chosen) else None

        return PagedIterator(0, lambda after: self._page(after, chosen, condition, values), read)

    def _page(
        self, after: int, states: frozenset[State] | None, condition: str = "", values: Sequence[str] = ()
    ) -> list[int]:
        """Return the next numbers of entries that are wanted, in the order in which they were entered."""
        if states is None:
            statement = f"SELECT id FROM entry WHERE id > ?{condition} ORDER BY id LIMIT ?"  # noqa: S608 - ours
            rows = self._rows(statement, after, *values, PAGE)
        elif states:
            part = f"SELECT id FROM entry WHERE state = ? AND id > ?{condition} ORDER BY id LIMIT ?"  # noqa: S608
            statement = " UNION ALL ".join([f"SELECT * FROM ({part})"] * len(states))  # noqa: S608
            each = [(state.value, after, *values, PAGE) for state in states]
            rows = self._rows(f"{statement} ORDER BY 1 LIMIT ?", *chain.from_iterable(each), PAGE)
        else:
            rows = []
        return [number for (number,) in rows]

    def requests(self, *, states: Iterable[State] = IN_PROGRESS) -> AsyncIterator[Request]:
        """Return the requests of entries, one per language, for a batch that resumes without the catalog.

        Entries that would have to be sent, but whose URL was redacted (`Entry.url_redacted`), are left out:
        only the catalog has their URL.

        Args:
            states: entries that are in these now; default is what is planned, at the vendor, or done and
                not saved. FAILED and EXPIRED need a batch with `retry_failed=True`.
        """
        wanted = [state.value for state in frozenset(states)]
        statement = f"SELECT id FROM entry WHERE state IN ({', '.join('?' * len(wanted))}) ORDER BY id"  # noqa: S608 - our marks
        chosen = array("q", [row[0] for row in self._rows(statement, *wanted)])  # 8 bytes each

        def read(place: int) -> Request | None:
            entry = self._first(_BY_ID, chosen[place])
            if entry is None or (entry.url_redacted and entry.state not in _SENT):
                return None
            return entry.request_for_target

        return PagedIterator(-1, lambda after: range(after + 1, min(after + 1 + PAGE, len(chosen))), read)

    def expiring(self, within: timedelta, now: datetime | None = None) -> AsyncIterator[Entry]:
        """Return entries whose result is still at the vendor and expires soon, the soonest first.

        Args:
            within: those that expire in this time, including those that should have expired already.
            now: counted from here, aware; default is the journal's clock.
        """
        until = self._until(within, now)

        def read(place: tuple[str, int]) -> Entry | None:
            entry = self._first(_BY_ID, place[1])
            return entry if entry is not None and entry.state in AT_RISK else None

        def page(after: tuple[str, int]) -> list[tuple[str, int]]:
            return [(moment, number) for moment, number in self._rows(_EXPIRING, until, *after, PAGE)]

        return PagedIterator(("", 0), page, read)

    def count_expiring(self, within: timedelta) -> int:
        """Count the entries that `expiring` would give, at once."""
        return int(self._rows(_COUNT_EXPIRING, self._until(within))[0][0])

    def _until(self, within: timedelta, now: datetime | None = None) -> str:
        return dump_datetime((now or self._now()) + within) or ""

    def saved_files(self) -> Iterator[SavedEntry]:
        """Return everything that was saved, at once."""
        # Without decoding the rest of the entries.
        statement = "SELECT key, target, name, files, reason FROM entry WHERE state = 'delivered' ORDER BY id"
        for key, target, name, files, reason in self._rows(statement):
            try:
                yield SavedEntry(key, target, name or "", load_texts(files), reason)
            except ValueError as error:
                message = f"The journal {self._shown} is damaged: it contains invalid values."
                raise JournalCorruptedError(message) from error

    def with_other_jobs(self) -> list[Entry]:
        """Return the entries that have a job, and for which another one was named, at once.

        Each of their `doubt_ids` may be billed, too.
        """
        return [*map(self._entry, self._rows(_WITH_OTHER_JOBS))]

    def export(self) -> AsyncIterator[str]:
        """Return every entry as one line of JSON, without tokens and without queries of webhook URLs."""

        def read(number: int) -> str | None:
            entry = self._first(_BY_ID, number)
            return None if entry is None else entry_to_json(entry)

        return PagedIterator(0, lambda after: self._page(after, None), read)

    def counts(self) -> Mapping[State, int]:
        """Count the entries in each state, zeros included."""
        return self._totals.counts

    def credits(self) -> tuple[float, float]:
        """Return credits (locked, used): locked for jobs that did not fail and whose deduction is unknown."""
        return self._totals.credits

    def count_unpriced(self) -> int:
        """Return the number of entries with a job of which the vendor has not said what it costs.

        They are in none of the sums of `credits`: what they cost is unknown, and not nothing.
        """
        return self._totals.unpriced


class BatchReads(ReadableJournal):
    """What a batch alone looks up in its journal."""

    def recall(self, key: str, target: str, request: Request) -> Entry | None:
        """Return an entry like `get`; one that has ended with the caller's `request`, which is not checked.

        For many entries in the order in which they were entered. Sees everything whose `record` has
        returned, and nothing for certain that another program writes meanwhile.

        Raises:
            JournalCorruptedError: the entry can't be read.
        """
        operations = self._opened.totals.operations
        row = self._ahead.find(key, target, operations)
        return None if row is None else self._entry(row[:-1], request)

    def file_name(self, key: str, target: str) -> str:
        """Return the name that an entry's files were given, at once; "" without one."""
        # Without decoding the rest of the entry.
        rows = self._rows("SELECT name FROM entry WHERE key = ? AND target = ?", key, target)
        return str(rows[0][0]) if rows else ""

    def find_unfinished(self, sha256: str) -> Entry | None:
        """Return an entry with an input of this content that may have a job which has not ended, at once."""
        return self._first(_UNFINISHED, f"?sha256={sha256}")

    def find_token(self, token: str) -> Entry | None:
        """Return an entry of the POST with this webhook token, at once; one without a job, if any."""
        return self._first(_BY_TOKEN, token)

    def count_last_doubts(self, most: int) -> int:
        """Count the POSTs since the last one that was answered, each in doubt, at once; at most `most`."""
        return int(self._rows(LAST_DOUBTS, most)[0][0])


Row: TypeAlias = tuple[Any, ...]


class RowsAhead:
    """The rows behind the last one that was asked for, read with it.

    A catalog is usually run again in the order in which it was entered. So once two rows that follow each
    other were asked for, up to `MOST_AHEAD` that follow them are read by one query.
    """

    def __init__(self, rows: Callable[..., list[Row]]) -> None:
        self._rows = rows
        self._ahead: dict[tuple[str, str], Row] = {}
        self._next = self._wanted = self._operations = 0

    def find(self, key: str, target: str, operations: int) -> Row | None:
        """Return the row of an entry, with its number at the end.

        Args:
            key: the entry's name.
            target: its language.
            operations: how often the journal was written; what was read before the last time is read again.
        """
        if operations != self._operations:
            self._ahead.clear()
            self._operations = operations
        row = self._ahead.pop((key, target), None)
        if row is None:
            for row in self._rows(_NUMBERED_BY_NAME, key, target):
                self._read_ahead(row[-1])
        return row

    def _read_ahead(self, number: int) -> None:
        # Twice as many each time: a catalog in another order, or one that is being worked on, costs little.
        self._wanted = min(max(2 * self._wanted, 2), MOST_AHEAD) if number == self._next else 0
        self._next, self._ahead = number + 1, {}
        if self._wanted:
            try:
                rows = self._rows(_FOLLOWING, number, self._wanted)
            except JournalCorruptedError:  # raised where the row that can't be read is asked for
                return
            self._ahead = {(row[0], row[1]): row for row in rows}
            self._next = rows[-1][-1] + 1 if rows else self._next


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
