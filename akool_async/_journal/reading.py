"""What an open journal answers: entries, requests and totals, at once and from its own connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from akool_async._journal.entry import Entry, dump_datetime, entry_to_json
from akool_async._journal.queries import AT_RISK, PAGE, EntryFilter, JournalReader, PagedIterator
from akool_async._journal.table import Totals
from akool_async._journal.writers import OpenJournal
from akool_async._model.errors import JournalClosedError
from akool_async._model.requests import Request
from akool_async._model.states import State

_SENT: Final = AT_RISK | {State.DELIVERED}
"""States that are resumed by the job's id alone, so that the request's URL is not needed."""

IN_PROGRESS: Final = AT_RISK | {State.PLANNED}


class ReadableJournal:
    """The reading half of a journal; `Journal` opens it and writes it."""

    _state: OpenJournal | None
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

    @property
    def _reader(self) -> JournalReader:
        return self._opened.reader

    @property
    def _totals(self) -> Totals:
        return self._reader.totals() if self._read_only else self._opened.totals

    def get(self, key: str, target: str = "") -> Entry | None:
        """Return an entry, at once; sees everything whose `record` has returned.

        Raises:
            JournalCorruptedError: the entry can't be read.
        """
        return self._reader.get(key, target)

    def file_name(self, key: str, target: str) -> str:
        """Return the name that an entry's files were given, at once; "" without one."""
        return self._reader.file_name(key, target)

    def find_job(self, job_id: str) -> Entry | None:
        """Return the entry of a job, at once."""
        return self._reader.by_job(job_id)

    def find_other_query(self, mark: str, target: str, *, planned: bool = False) -> Entry | None:
        """Return an entry for the same work, but for the query of a URL, that has no key of the caller's.

        Args:
            mark: a fingerprint.
            target: its language.
            planned: whether an entry counts that was not sent yet.
        """
        return self._reader.with_other_query(mark, target, planned=planned)

    def find_token(self, token: str) -> Entry | None:
        """Return an entry of the POST with this webhook token, at once; one without a job, if any."""
        return self._reader.by_token(token)

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
        until = None if expiring is None else self._until(expiring)
        wanted = EntryFilter.create(states=states, key=key, targets=targets, until=until)

        def read(number: int) -> Entry | None:
            entry = self._reader.by_id(number)
            return entry if entry is not None and wanted.allows(entry.state) else None

        return PagedIterator(0, lambda after: self._reader.page(after, wanted), read)

    def requests(self, *, states: Iterable[State] = IN_PROGRESS) -> AsyncIterator[Request]:
        """Return the requests of entries, one per language, for a batch that resumes without the catalog.

        Entries that would have to be sent, but whose URL was redacted (`Entry.url_redacted`), are left out:
        only the catalog has their URL.

        Args:
            states: entries that are in these now; default is what is planned, at the vendor, or done and
                not saved. FAILED and EXPIRED need a batch with `retry_failed=True`.
        """
        reader = self._reader
        chosen = reader.ids(frozenset(states))

        def read(place: int) -> Request | None:
            entry = self._reader.by_id(chosen[place])
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
            entry = self._reader.by_id(place[1])
            return entry if entry is not None and entry.state in AT_RISK else None

        return PagedIterator(("", 0), lambda after: self._reader.expiring(until, after), read)

    def count_expiring(self, within: timedelta, now: datetime | None = None) -> int:
        """Count the entries that `expiring` would give, at once."""
        return self._reader.count_expiring(self._until(within, now))

    def _until(self, within: timedelta, now: datetime | None = None) -> str:
        return dump_datetime((now or self._now()) + within) or ""

    def saved_files(self) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
        """Return key, language, name and the paths of files of everything that was saved, at once."""
        return self._reader.saved_files()

    def export(self) -> AsyncIterator[str]:
        """Return every entry as one line of JSON, without tokens and without queries of webhook URLs."""

        def read(number: int) -> str | None:
            entry = self._reader.by_id(number)
            return None if entry is None else entry_to_json(entry)

        return PagedIterator(0, lambda after: self._reader.page(after, EntryFilter()), read)

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
