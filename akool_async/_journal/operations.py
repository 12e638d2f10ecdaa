"""The operations of the one writer: intents, updates, file names, resolved doubts.

Which state may follow which is decided by the table of transitions; what else would lose money, here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import attrs

from akool_async._journal.entry import (
    DecodeError,
    EntryUpdate,
    dump_datetime,
    dump_float,
    dump_int,
    dump_snapshot,
    dump_text,
    dump_texts,
    encode_request,
    load_texts,
)
from akool_async._journal.table import EntryRow, EntryTable, JobTakenError, SqlValue, Values
from akool_async._model.errors import IllegalTransitionError, JournalCorruptedError
from akool_async._model.filenames import collision_key
from akool_async._model.fingerprint import fingerprint, work_of
from akool_async._model.redact import sanitize
from akool_async._model.requests import Request
from akool_async._model.responses import Job
from akool_async._model.states import ENDED, TRANSITIONS, State, may_follow


def display_name(key: str, target: str) -> str:
    """Return an entry's name as errors show it."""
    return f"{sanitize(key)} ({target})" if target else sanitize(key)


def read_doubt_ids(name: tuple[str, str], text: str) -> tuple[str, ...]:
    """Return the `doubt_ids` of an entry, as they are in its row.

    Raises:
        JournalCorruptedError: they can't be read.
    """
    try:
        return load_texts(text)
    except DecodeError as error:
        raise JournalCorruptedError(f"Entry {display_name(*name)} can't be read: {error}.") from error


def request_columns(request: Request, mark: str) -> dict[str, SqlValue]:
    """Return the columns that say what was asked for."""
    text, lost = encode_request(request)
    return {"fingerprint": mark, "request": text, "stripped": int(lost)}


def name_columns(table: EntryTable, names: Sequence[str]) -> dict[str, SqlValue]:
    """Return the columns that hold the first free one of `names`; no columns if there are no names."""
    for name in names:
        folded = collision_key(name)
        # By its folded form: two names that differ in case are one file on macOS and Windows.
        if not table.name_taken(folded):
            return {"name": name, "name_folded": folded}
    if names:
        raise IllegalTransitionError("Each of the names that were offered belongs to another entry.")
    return {}


@attrs.frozen
class ReserveName:
    """Reserves a file name for an existing entry; one that has a name keeps it, unless it wants another."""

    key: str
    target: str
    names: tuple[str, ...]
    another: bool
    now: datetime

    needs_savepoint = False

    def __call__(self, table: EntryTable) -> None:
        """Write it."""
        row = table.find(self.key, self.target)
        if row is None:
            raise IllegalTransitionError(
                f"Entry {display_name(self.key, self.target)} is not in the journal."
            )
        if self.another or not row.name:
            moment = dump_datetime(self.now)
            table.update(row, {**name_columns(table, self.names), "updated_at": moment})


FRESH: Final[Values] = {
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
    "candidate_ids": "[]",
}
"""What a new POST makes untrue. Ids in doubt stay, for a person: they may be jobs, but not of this POST."""

Names: TypeAlias = Mapping[tuple[str, str], Sequence[str]]
_NONE: Final[Names] = MappingProxyType({})


class RecordIntent:
    """The intent to send POSTs: every language of every request, atomic.

    Attributes:
        posts: how many they are.
    """

    def __init__(
        self,
        requests: tuple[Request, ...],
        token: str,
        now: datetime,
        names: Names = _NONE,
        traceparent: str = "",
    ) -> None:
        moment = dump_datetime(now)
        sent: Values = {
            "state": State.SUBMITTING.value,
            "token": token,
            "traceparent": dump_text(traceparent),
            "submitted_at": moment,
        }
        self._names = names
        self._entries: dict[tuple[str, str], Values] = {}
        self._images: list[tuple[str, str, dict[str, SqlValue] | None, int, int]] = []
        """Each entry that was written: what it was before, or None, how often it is paid now, and the number
        of the POST that was its last one."""
        for request in requests:
            for target in request.targets:
                mark = fingerprint(request, target)
                name = (request.key or mark, target)
                # Two POSTs for one entry: whichever answer comes last would hide the other's paid job.
                if name in self._entries:
                    raise IllegalTransitionError(
                        f"Entry {display_name(*name)} is intended twice at once; each POST would be paid."
                    )
                self._entries[name] = {**sent, **request_columns(request, mark), "updated_at": moment}
        self.needs_savepoint = len(self._entries) > 1
        self.posts = len(requests)

    def __call__(self, table: EntryTable) -> None:
        """Write it."""
        for (key, target), intent in self._entries.items():
            mark, row = intent["fingerprint"], table.find(key, target)
            names = () if row is not None and row.name else self._names.get((key, target), ())
            values = {**intent, **name_columns(table, names)}
            if row is None:
                table.insert({"key": key, "target": target, "paid": 1, **values})
                self._images.append((key, target, None, 1, 0))
                continue
            rejection = ""
            # Inside the transaction, whatever the caller has checked before: the POST follows at once.
            if State.SUBMITTING not in TRANSITIONS[row.state]:
                rejection = f"is {row.state}, so no POST may be sent for it"
            # Sending other work under this key would bury a doubt about a job that may be paid.
            elif row.state is State.IN_DOUBT and work_of(row.fingerprint) != work_of(str(mark)):
                rejection = "is in doubt over other work; resolve that first, or use another key"
            if rejection:
                raise IllegalTransitionError(f"Entry {display_name(key, target)} {rejection}.")
            # A callback may name the job of the POST before at any time. What is planned was not sent, or is
            # kept since it was called not made.
            kept = 0 if row.state is State.PLANNED else table.keep_post(row, row.state)
            self._images.append((key, target, table.row_image(row), row.paid + 1, kept))
            # What earlier jobs of the entry cost is kept apart from the price of the new one.
            ended = table.cost_of_ended(row)
            # A doubt that is paid again may have been charged, and an expired job of unknown price was.
            unpriced = row.state is State.IN_DOUBT or (row.state is State.EXPIRED and not ended)
            again: Values = {
                "paid": row.paid + 1,
                "credits_before": row.credits_before + ended,
                "doubts_before": row.doubts_before + unpriced,
            }
            table.update(row, {**FRESH, **values, **again})

    def undo(self, table: EntryTable) -> None:
        """Put back what was, for a caller that was cancelled before it could send anything."""
        for key, target, image, paid, kept in self._images:
            row = table.find(key, target)
            # Only its own intent is taken back: a later one of the same entry may have been sent.
            if row is None or row.state is not State.SUBMITTING or row.paid != paid:
                continue
            if image is None:
                table.delete(row)
            else:
                # A callback may have named a job meanwhile.
                table.update(row, {**image, "doubt_ids": row.doubt_ids})
                table.drop_post(kept)


class WithdrawPlanned:
    """Removes an entry that was entered and for which nothing was sent, now or ever.

    Attributes:
        withdrawn: whether it was removed.
    """

    needs_savepoint = False

    def __init__(self, key: str, target: str) -> None:
        self.key = key
        self.target = target
        self.withdrawn = False

    def __call__(self, table: EntryTable) -> None:
        """Write it."""
        row = table.find(self.key, self.target)
        # A row that names a payment, or what may have been one, stays: without it the work is paid again.
        if row is not None and row.state is State.PLANNED and not row.paid and not row.credits_before:
            table.delete(row)
            self.withdrawn = True


def mark_interrupted(table: EntryTable, now: datetime) -> int:
    """Set intents that an interrupted run left to IN_DOUBT; return how many there were."""
    reason = "The run that sent it ended before the vendor's answer was recorded."
    # Never back to PLANNED: whether the POST left before the process was killed is not known.
    done = table.connection.execute(
        "UPDATE entry SET state = ?, reason = ?, updated_at = ? WHERE state = ?",
        (State.IN_DOUBT.value, reason, dump_datetime(now), State.SUBMITTING.value),
    )
    return done.rowcount


_COLUMNS: Final[tuple[tuple[str, str, Callable[[Any], SqlValue]], ...]] = (
    ("job_id", "job_id", str),
    ("credits_locked", "credits_locked", dump_float),
    ("credits_used", "used", dump_float),
    ("reason", "reason", dump_text),
    ("code", "code", dump_int),
    ("created_at", "created", dump_datetime),
    ("submitted_at", "submitted_at", dump_datetime),
    ("ended_at", "ended_at", dump_datetime),
    ("expires_at", "expires", dump_datetime),
    ("files", "files", dump_texts),
    ("snapshot", "snapshot", dump_snapshot),
    ("doubt_ids", "doubt_ids", dump_texts),
    ("candidate_ids", "candidate_ids", dump_texts),
    ("token", "token", str),
)
"""Each column, what of a change it holds, and how that is written."""

_READ_FIELDS: Final = attrgetter(*(field for _, field, _ in _COLUMNS))


class _PreparedUpdate:
    """One change, encoded outside the transaction."""

    def __init__(self, change: EntryUpdate, now: datetime, *, with_snapshot: bool) -> None:
        self.change = change
        self.name = (change.key, change.target)
        self.mark = None if change.request is None else fingerprint(change.request, change.target)
        self.values: dict[str, SqlValue] = {
            "state": change.state.value,
            "updated_at": dump_datetime(now),
        }
        for (column, _, encode), value in zip(_COLUMNS, _READ_FIELDS(change), strict=True):
            wanted = value is not None and (with_snapshot or column != "snapshot")
            if wanted and (written := encode(value)) is not None:
                self.values[column] = written

    def columns(self, row: EntryRow | None) -> Values:
        """Return what is written over a row, or into a new one."""
        change, request = self.change, self.change.request
        values: Values = self.values
        # Nothing else names what may be a paid job: no later answer replaces the ids that are there.
        if row is not None and (change.doubt_ids or row.doubt_ids != "[]"):
            known = dict.fromkeys((*read_doubt_ids(self.name, row.doubt_ids), *(change.doubt_ids or ())))
            ids = tuple(one for one in known if one != change.job_id)
            values = {**values, "doubt_ids": dump_texts(ids)}
        if row is None or change.state is row.state:
            if request is None or self.mark is None or (row is not None and row.state is not State.PLANNED):
                return values
            return {**request_columns(request, self.mark), **values}
        reset: dict[str, SqlValue] = {"reason": "", "code": None}
        if change.state is State.PLANNED:
            # The last POST surely made no job, so it does not count as one that may have been charged.
            reset |= {"paid": max(row.paid - 1, 0), "submitted_at": None, "candidate_ids": "[]"}
        # The doubt is again about an earlier POST: the last one surely made no job, and is not counted.
        elif change.token is not None:
            reset |= {"paid": max(row.paid - 1, 0), "doubts_before": max(row.doubts_before - 1, 0)}
        return {**reset, **values}


def _extra_costs(table: EntryTable, row: EntryRow, jobs: tuple[Job, ...], columns: Values) -> Values:
    """Return what counts the jobs that nobody asked for, as far as they are not counted yet."""
    new = [job for job in jobs if job.id not in row.doubt_ids and table.job_owner(job.id) is None]
    known = [price for job in new if (price := dump_float(job.credits_locked)) is not None and price > 0]
    return {
        "credits_before": row.credits_before + sum(known),
        "doubts_before": row.after(columns).doubts_before + len(new) - len(known),
    }


def rejection_reason(change: EntryUpdate, row: EntryRow | None, mark: str | None) -> str:
    """Say why a change can't be done, or ""; `mark` is the fingerprint of the request that it gives."""
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
    # Overwriting the id of a paid job would lose it: nothing else knows it.
    if row.job_id and given and given != row.job_id:
        return f"holds job {sanitize(row.job_id)} already and can't be given job {sanitize(given)}"
    if after is State.SUBMITTED and not (row.job_id or given):
        return "can't be submitted without the vendor's job id"
    # A token decides whose callback names a job, so it moves only back to where it came from.
    if change.token is not None and (row.state, after) != (State.SUBMITTING, State.IN_DOUBT):
        return f"is {row.state}, and the doubt about an earlier POST can't come back"
    # Planned means "send it": with a job in hand that would pay a second time.
    if after is State.PLANNED and (row.job_id or given):
        return f"holds job {sanitize(row.job_id or given)}: a job was made, so it can't be planned anew"
    other = mark is not None and work_of(mark) != work_of(row.fingerprint)
    if other and row.state is not State.PLANNED:
        return f"is {row.state} and names other work than the request that is given"
    return ""


def check_owner(table: EntryTable, job_id: str, entry: tuple[str, str]) -> None:
    """Refuse to give an entry the job of another one, or of an earlier POST: its own would be lost."""
    owner = table.job_owner(job_id)
    if owner is not None:
        name = f"entry {display_name(*owner)}" if owner[0] else "an entry that has ended"
        raise JobTakenError(f"Job {sanitize(job_id)} belongs to {name} already.", entry, owner, job_id)


_DROP_RESTORED: Final = """
    DELETE FROM earlier_post WHERE key = ? AND target = ? AND token = ? AND submitted_at IS ?
"""
"""Removes an earlier POST about which its entry is in doubt again."""


class RecordUpdates:
    """Changes of one caller, atomic.

    Args:
        forgets: whether the journal deletes what has ended, so that its snapshot need not be encoded.
    """

    def __init__(self, changes: tuple[EntryUpdate, ...], now: datetime, *, forgets: bool = False) -> None:
        last = {(change.key, change.target): change.state for change in changes}
        # What happens to one entry is one write, unless the first change enters it.
        self.needs_savepoint = len(last) > 1 or (len(changes) > 1 and changes[0].request is not None)
        self._updates = [
            _PreparedUpdate(
                change,
                now,
                with_snapshot=not forgets or last[change.key, change.target] not in ENDED,
            )
            for change in changes
        ]
        self._entered: list[tuple[str, str]] = []

    def __call__(self, table: EntryTable) -> None:
        """Write them; what happened to one entry in a row is one write."""
        for (key, target), updates in groupby(self._updates, key=attrgetter("name")):
            found, values = table.find(key, target), dict[str, SqlValue]()
            for update in updates:
                row = found.after(values) if found is not None and values else found
                rejection = rejection_reason(update.change, row, update.mark)
                if rejection:
                    raise IllegalTransitionError(f"Entry {display_name(key, target)} {rejection}.")
                if row is not None and update.change.job_id and not row.job_id:
                    check_owner(table, update.change.job_id, (key, target))
                if update.change.token is not None:
                    moment = dump_datetime(update.change.submitted_at)
                    table.connection.execute(_DROP_RESTORED, (key, target, update.change.token, moment))
                columns = update.columns(row)
                if row is not None and update.change.extra_jobs:
                    columns = {**columns, **_extra_costs(table, row, update.change.extra_jobs, columns)}
                if row is None:
                    table.insert({"key": key, "target": target, **columns})
                    found = table.find(key, target)
                    self._entered.append((key, target))
                else:
                    values |= columns
            if found is not None and values:
                table.update(found, values)

    def undo(self, table: EntryTable) -> None:
        """Remove what it entered, as long as nothing was sent for that."""
        for name in self._entered:
            WithdrawPlanned(*name)(table)
