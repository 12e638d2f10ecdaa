"""The journal of a run that keeps none: entries are values, and what has ended is forgotten.

It follows the same rules as the one on disk. Memory and work per entry stay small however long a
catalog is; what ended is only counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self

import attrs
from anyio.lowlevel import checkpoint_if_cancelled

from akool_async._journal.entry import Entry, EntryUpdate
from akool_async._journal.held import Held, sent
from akool_async._journal.journal import AT_RISK, IN_MEMORY, Journal
from akool_async._journal.operations import (
    check_resolution,
    duplicate_intent,
    intent_rejection_reason,
    rejection_reason,
)
from akool_async._journal.table import Delta, Totals, display_name
from akool_async._model.errors import IllegalTransitionError
from akool_async._model.filenames import collision_key
from akool_async._model.fingerprint import CompactSet, entry_key, fingerprint
from akool_async._model.redact import sanitize
from akool_async._model.requests import Request
from akool_async._model.responses import Snapshot
from akool_async._model.states import State

OVER: Final = frozenset({State.DELIVERED, State.FAILED, State.EXPIRED})
"""What nothing more is done about in a run that will not be resumed."""

_Name = tuple[str, str]


class Passing(Journal):
    """A journal without a file, for one run.

    An entry whose POST had a webhook token is kept to the end: no callback may give its job to another.

    Args:
        now: the wall clock, aware.
        over: states in which an entry is forgotten.
    """

    def __init__(self, *, now: Callable[[], datetime], over: Collection[State] = OVER) -> None:
        super().__init__(IN_MEMORY, now=now)
        self._over = over
        self._lines: dict[_Name, Held] = {}
        self._names = CompactSet()
        self._tokens: dict[str, tuple[_Name, ...]] = {}
        self._passed = Totals()

    def __len__(self) -> int:
        """Entries that are held."""
        return len(self._lines)

    def __bool__(self) -> bool:
        return True

    async def __aenter__(self) -> Self:
        """Nothing has to be opened."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing has to be closed."""

    async def _settled(self) -> None:
        """What is handed in is noted at once."""

    # Writing.

    async def intend(
        self,
        *requests: Request,
        token: str = "",
        names: Mapping[_Name, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        """Note the intent to send POSTs; see `Journal.intend`."""
        wanted = [
            (request, (entry_key(request, target), target))
            for request in requests
            for target in request.targets
        ]
        before = self._before(name for _, name in wanted)
        if len(before) < len(wanted):
            raise duplicate_intent(_doubled(name for _, name in wanted))
        try:
            for request, name in wanted:
                self._check_intent(name, request)
                self._send(name, request, token)
                self._claim(name, names.get(name, ()))
        except IllegalTransitionError:
            self._put_back(before)
            raise
        try:
            await checkpoint_if_cancelled()
        except BaseException:  # a cancelled caller sends nothing, so it intends nothing
            self._put_back(before)
            raise

    def _check_intent(self, name: _Name, request: Request) -> None:
        line = self._lines.get(name)
        objection = "" if line is None else _objection(line, request)
        if objection:
            raise IllegalTransitionError(f"Entry {display_name(*name)} {objection}.")

    def _claim(self, entry: _Name, offered: Sequence[str], *, another: bool = False) -> None:
        line = self._lines[entry]
        if not offered or (line.name and not another):
            return
        free = next((name for name in offered if self._names.add(collision_key(name), "")), None)
        if free is None:
            raise IllegalTransitionError("Each of the names that were offered belongs to another entry.")
        line.name = free

    async def claim(self, key: str, target: str, names: Sequence[str], *, another: bool = False) -> None:
        """Give an entry a name for its files; see `Journal.claim`. A name that was held stays taken."""
        if (key, target) not in self._lines:
            raise IllegalTransitionError(f"Entry {display_name(key, target)} is not in the journal.")
        self._claim((key, target), names, another=another)
        await checkpoint_if_cancelled()

    def _send(self, name: _Name, request: Request, token: str) -> None:
        now = self._now()
        line = self._lines.get(name)
        standing = None if line is None else line.standing
        if line is None:
            line = self._lines[name] = sent(request, name[1], token, now)
        else:
            line.send(request, token, now)
        if token:
            self._tokens[token] = tuple(dict.fromkeys((*self._tokens.get(token, ()), name)))
        self._passed.apply([Delta(standing, line.standing)])

    async def record(self, *changes: EntryUpdate) -> None:
        """Note changes, all of them or none; see `Journal.record`."""
        self._do(changes)
        await checkpoint_if_cancelled()

    def _do(self, changes: tuple[EntryUpdate, ...]) -> None:
        before = self._before((change.key, change.target) for change in changes) if len(changes) > 1 else {}
        for change in changes:
            try:
                self._take(change)
            except IllegalTransitionError:
                self._put_back(before)
                raise
        for change in changes:
            self._forget((change.key, change.target))

    def _take(self, change: EntryUpdate) -> None:
        name, now = (change.key, change.target), self._now()
        line = self._lines.get(name)
        given = change.request
        mark = None if given is None else fingerprint(given, change.target)
        objection = rejection_reason(
            change, None if line is None else line.row(marked=mark is not None), mark
        )
        if objection:
            raise IllegalTransitionError(f"Entry {display_name(*name)} {objection}.")
        standing = None if line is None else line.standing
        if line is None:
            assert given is not None  # noqa: S101 - the rules say so
            line = self._lines[name] = Held(request=given, target=name[1], updated_at=now)
        line.take(change, now)
        self._passed.apply([Delta(standing, line.standing)])

    def _forget(self, name: _Name) -> None:
        line = self._lines.get(name)
        if line is not None and line.state in self._over and not line.token:
            del self._lines[name]

    def _before(self, names: Iterable[_Name]) -> dict[_Name, Held | None]:
        """Give what stands under these names, to be put back."""
        return {name: self._copied(name) for name in dict.fromkeys(names)}

    def _copied(self, name: _Name) -> Held | None:
        line = self._lines.get(name)
        return None if line is None else attrs.evolve(line)

    def _put_back(self, before: Mapping[_Name, Held | None]) -> None:
        for name, line in before.items():
            there = self._lines.pop(name, None)
            if line is not None:
                self._lines[name] = line
            moved = Delta(None if there is None else there.standing, None if line is None else line.standing)
            self._passed.apply([moved])

    async def resolve(
        self,
        key: str,
        target: str | None = None,
        *,
        job_id: str | None = None,
        snapshot: Snapshot | None = None,
        not_made: bool = False,
    ) -> None:
        """Clear up a doubt; see `Journal.resolve`."""
        check_resolution(job_id, snapshot, not_made=not_made)
        doubts = [
            name
            for name, line in self._lines.items()
            if name[0] == key and target in (None, name[1]) and line.state is State.IN_DOUBT
        ]
        if len(doubts) != 1:
            raise IllegalTransitionError(
                f"Entry {display_name(key, target or '')} is not in doubt, or for several languages."
            )
        told: dict[str, Any] = {"state": State.PLANNED}
        if job_id is not None:
            if self.find_job(job_id) is not None:
                raise IllegalTransitionError(f"Job {sanitize(job_id)} belongs to another entry already.")
            left = tuple(other for other in self._lines[doubts[0]].doubt_ids if other != job_id)
            told = {"state": State.SUBMITTED, "job_id": job_id, "doubt_ids": left, "snapshot": snapshot}
        await self.record(EntryUpdate(key=key, target=doubts[0][1], **told))

    # Reading.

    def get(self, key: str, target: str = "") -> Entry | None:
        """Give an entry that is held."""
        line = self._lines.get((key, target))
        return None if line is None else line.entry(key)

    def _found(self, names: Iterable[_Name], wanted: Callable[[Held], bool]) -> Iterator[Entry]:
        lines = ((name[0], self._lines.get(name)) for name in names)
        return (line.entry(key) for key, line in lines if line is not None and wanted(line))

    def find_job(self, job_id: str) -> Entry | None:
        """Give the entry of a job."""
        return next(self._found(self._lines, lambda line: line.job_id == job_id != ""), None)

    def find_token(self, token: str) -> Entry | None:
        """Give an entry of the POST with this webhook token."""
        return next(iter(self.with_token(token)), None)

    def with_token(self, token: str) -> tuple[Entry, ...]:
        """Give all entries of the POST with this webhook token, those without a job first."""
        found = self._found(self._tokens.get(token, ()), lambda line: line.token == token)
        return tuple(sorted(found, key=lambda entry: entry.job_id != ""))

    def entries(self, *, states: Iterable[State] | None = None) -> AsyncIterator[Entry]:
        """Give the entries that are held."""
        wanted = frozenset(State if states is None else states)
        return _each([*self._found([*self._lines], lambda line: line.state in wanted)])

    def expiring(self, within: timedelta, now: datetime | None = None) -> AsyncIterator[Entry]:
        """Give entries whose result is still at the vendor and dies soon, the soonest first."""
        until = (now or self._now()) + within
        found = self._found(
            [*self._lines],
            lambda line: line.state in AT_RISK and line.expires_at is not None and line.expires_at <= until,
        )
        return _each(sorted(found, key=lambda entry: entry.expires_at or until))

    def counts(self) -> Mapping[State, int]:
        """Count entries in each state, also those that are forgotten."""
        return self._passed.counts

    def credits(self) -> tuple[float, float]:
        """Give credits (locked, used), also of those that are forgotten."""
        return self._passed.credits


async def _each(entries: list[Entry]) -> AsyncIterator[Entry]:
    for entry in entries:
        yield entry


def _objection(line: Held, request: Request) -> str:
    in_doubt = line.state is State.IN_DOUBT
    mark = fingerprint(request, line.target) if in_doubt else ""
    return intent_rejection_reason(line.row(marked=in_doubt), mark)


def _doubled(names: Iterable[_Name]) -> _Name:
    return next(name for name, times in Counter(names).items() if times > 1)
