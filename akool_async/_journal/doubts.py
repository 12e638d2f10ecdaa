"""Doubts: what a caller says of them, and what makes an entry that was decided in doubt again.

The POSTs of an entry before its last one are kept in a table of their own: a callback may still name a job of
theirs, which is paid like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import attrs

from akool_async._journal.entry import (
    Entry,
    EntryUpdate,
    dump_datetime,
    dump_text,
    dump_texts,
    load_datetime,
    load_texts,
)
from akool_async._journal.operations import FRESH, RecordUpdates, display_name, read_doubt_ids
from akool_async._journal.reading import BatchReads
from akool_async._journal.table import EntryRow, EntryTable, SqlValue
from akool_async._model.errors import IllegalTransitionError, InvalidRequestError, JournalCorruptedError
from akool_async._model.redact import safe_repr, sanitize
from akool_async._model.responses import Snapshot
from akool_async._model.states import WITHOUT_RESULT, State
from akool_async._wire import read_id

POSTS: Final = """
    SELECT id, key, target, state, token, job_id, submitted_at, candidate_ids, callback_ids FROM earlier_post
"""


@attrs.frozen
class EarlierPost:
    """A POST of an entry that is not its last one, or that surely made no job.

    Attributes:
        number: names it in the journal.
        key: the entry's name.
        target: its language.
        state: that of its entry when it was the last one; PLANNED if it was called not made.
        token: the unguessable part of its webhook URL, or "".
        job_id: the job that it made, or "" if none is known.
        submitted_at: when it was intended; None where an earlier version did not write it.
        candidate_ids: ids in its unusable answer that may be its job.
        callback_ids: ids that its callbacks have named since.
    """

    number: int
    key: str
    target: str
    state: State = attrs.field(converter=State)
    token: str = attrs.field(repr=False)
    job_id: str
    submitted_at: datetime | None = attrs.field(converter=load_datetime)
    candidate_ids: tuple[str, ...] = attrs.field(converter=load_texts)
    callback_ids: tuple[str, ...] = attrs.field(converter=load_texts)

    @property
    def named_ids(self) -> tuple[str, ...]:
        """All ids that may be its job."""
        return tuple(dict.fromkeys((*self.candidate_ids, *self.callback_ids)))


def check_resolution(
    key: str,
    target: str | None,
    job_id: str | None,
    snapshot: Snapshot | None,
    seen: Entry | None,
    *,
    not_made: bool,
) -> None:
    """Refuse what does not say what became of a doubt, or was found out about another entry."""
    if (job_id is None) is not not_made:
        raise InvalidRequestError("Use either job_id=... or not_made=True.")
    if job_id is not None and read_id(job_id) is None:
        raise InvalidRequestError(f"job_id must be an id as the vendor gives it, not {safe_repr(job_id)}.")
    if snapshot is not None and snapshot.job_id != job_id:
        raise InvalidRequestError(f"The snapshot is of job {snapshot.job_id}, not of {safe_repr(job_id)}.")
    if seen is None:
        return
    if not isinstance(seen, Entry):
        raise InvalidRequestError(f"seen must be an entry as the journal gives it, not {safe_repr(seen)}.")
    # All languages of one POST have its moment and its token, so these don't distinguish them.
    if seen.key != key or target not in (None, seen.target):
        raise InvalidRequestError(
            f"seen is entry {display_name(seen.key, seen.target)}, not {display_name(key, target or '')}."
        )


@attrs.frozen
class ResolveDoubt:
    """A resolved doubt: the job was made and has this id, or it was not made."""

    key: str
    target: str | None
    job_id: str | None
    now: datetime
    snapshot: Snapshot | None = None
    seen: Entry | None = None

    needs_savepoint = True

    def __call__(self, table: EntryTable) -> None:
        """Write it."""
        target = self._target_in_doubt(table)
        row = table.find(self.key, target)
        if self.job_id is None and row is not None:
            table.keep_post(row, State.PLANNED)  # its callback may come all the same
        if self.job_id is None:
            change = EntryUpdate(key=self.key, target=target, state=State.PLANNED)
        else:
            change = EntryUpdate(
                key=self.key,
                target=target,
                state=State.SUBMITTED,
                job_id=self.job_id,
                snapshot=self.snapshot,
            )
        RecordUpdates((change,), self.now)(table)

    def _target_in_doubt(self, table: EntryTable) -> str:
        """Return the one language that is in doubt."""
        rows = table.connection.execute(
            "SELECT target, submitted_at, token, doubt_ids FROM entry"
            " WHERE key = ? AND state = ? ORDER BY target",
            (self.key, State.IN_DOUBT.value),
        ).fetchall()
        wanted = self.target if self.seen is None else self.seen.target
        found = [str(target) for target, *_ in rows if wanted in (None, target)]
        if not found:
            raise IllegalTransitionError(f"Entry {display_name(self.key, wanted or '')} is not in doubt.")
        # To guess would give a paid job to the wrong language.
        if len(found) > 1:
            raise IllegalTransitionError(
                f"Entry {sanitize(self.key)} is in doubt for {', '.join(found)}.",
                advice="Say which: target=...",
            )
        ((_, at, token, ids),) = [row for row in rows if row[0] == found[0]]
        # Said of one call, it would be believed of the other, whose job may be paid.
        if self.seen is not None and (load_datetime(at), token) != (self.seen.submitted_at, self.seen.token):
            raise another_call_in_doubt(self.key, found[0])
        check_ids_seen(self.key, found[0], read_doubt_ids((self.key, found[0]), ids), self.seen)
        return found[0]


def check_ids_seen(key: str, target: str, doubt_ids: Iterable[str], seen: Entry | None) -> None:
    """Refuse what was said of a doubt before a job was named for it: that job may be paid."""
    news = [] if seen is None else [one for one in doubt_ids if one not in seen.doubt_ids]
    if news:
        raise IllegalTransitionError(
            f"Job {', '.join(map(sanitize, news))} was named for {display_name(key, target)} meanwhile.",
            impact="Nothing was changed.",
            advice="Look at the doubt again before you say what became of it.",
        )


def another_call_in_doubt(key: str, target: str) -> IllegalTransitionError:
    """Return the refusal of what was said about a POST after which another one has come into doubt."""
    return IllegalTransitionError(
        f"Entry {display_name(key, target)} is in doubt about another call by now: it was sent once more.",
        impact="Nothing was changed.",
        advice="Look at the doubt again before you say what became of it.",
    )


def _doubt_again(
    table: EntryTable, row: EntryRow, post: EarlierPost | None, values: dict[str, SqlValue]
) -> None:
    """Put an entry in doubt about an earlier POST, or, if that is None, about its last one."""
    if post is not None:
        table.drop_post(post.number)
        values |= {
            "token": post.token,
            "submitted_at": dump_datetime(post.submitted_at),
            "candidate_ids": dump_texts(post.candidate_ids),
        }
    # Counted as the last one from here on, and not as one before that.
    doubts = row.doubts_before - (post is not None and post.state is State.IN_DOUBT)
    if row.state is State.PLANNED:
        values["paid"] = row.paid + (post is None or post.state is State.PLANNED)
    else:
        table.keep_post(row, row.state)
        ended = table.cost_of_ended(row)
        doubts += row.state is State.EXPIRED and not ended
        values = {**FRESH, "credits_before": row.credits_before + ended, **values}
    table.update(
        row, {**values, "state": State.IN_DOUBT.value, "code": None, "doubts_before": max(doubts, 0)}
    )


_KEEP_NAMED: Final = """
    INSERT INTO earlier_post (key, target, state, token, job_id, submitted_at, candidate_ids, callback_ids)
    SELECT key, target, state, token, '', submitted_at, '[]', ? FROM entry WHERE id = ?
"""


@attrs.frozen
class KeepNamedJob:
    """A job that a callback names for a POST that is over: kept, because it may be paid.

    An entry that is to be sent, or has no result, is in doubt again, because the job may be its own.
    """

    token: str = attrs.field(repr=False)
    job_id: str
    now: datetime

    needs_savepoint = True

    def __call__(self, table: EntryTable) -> None:
        """Write it."""
        execute = table.connection.execute
        found = execute(f"{POSTS} WHERE token = ? ORDER BY id DESC LIMIT 1", (self.token,)).fetchone()
        post = None if found is None else EarlierPost(*found)
        find = "SELECT key, target FROM entry WHERE token = ? ORDER BY job_id <> '', id LIMIT 1"
        name = execute(find, (self.token,)).fetchone()
        if name is None and post is not None:
            name = post.key, post.target
        row = None if name is None else table.find(*name)
        # Inside the transaction: the answer that names it may just have been recorded.
        if row is None or self.job_id == row.job_id or table.job_owner(self.job_id) is not None:
            return
        # Who called the POST not made knew the ids that were there.
        known = read_doubt_ids(name, row.doubt_ids)
        if self.job_id in known:
            return
        values: dict[str, SqlValue] = {
            "doubt_ids": dump_texts((*known, self.job_id)),
            "updated_at": dump_datetime(self.now),
        }
        if row.state is State.PLANNED or row.state in WITHOUT_RESULT:
            reason = f"It has no result, but a callback names job {self.job_id} for it."
            _doubt_again(table, row, post, {**values, "reason": dump_text(reason)})
            return
        table.update(row, values)
        # Asked for before the entry is paid again.
        if post is not None:
            ids = dump_texts((*post.callback_ids, self.job_id))
            execute("UPDATE earlier_post SET callback_ids = ? WHERE id = ?", (ids, post.number))
        elif row.job_id:
            execute(_KEEP_NAMED, (dump_texts((self.job_id,)), row.id))


@attrs.frozen
class DoubtEarlierPost:
    """An entry without a result is to be paid again, but an earlier POST of it may have made a job."""

    post: EarlierPost
    now: datetime

    needs_savepoint = True

    def __call__(self, table: EntryTable) -> None:
        """Write it."""
        row = table.find(self.post.key, self.post.target)
        name = display_name(self.post.key, self.post.target)
        if row is None or row.state not in WITHOUT_RESULT:
            raise IllegalTransitionError(f"Entry {name} is not without a result any more.")
        ids = ", ".join(map(sanitize, self.post.named_ids))
        reason = f"It was to be paid again, but an earlier call for it may have made a job: {ids}."
        known = read_doubt_ids((self.post.key, self.post.target), row.doubt_ids)
        doubt_ids = dict.fromkeys((*known, *self.post.named_ids))
        values: dict[str, SqlValue] = {
            "doubt_ids": dump_texts(tuple(doubt_ids)),
            "updated_at": dump_datetime(self.now),
            "reason": dump_text(reason),
        }
        _doubt_again(table, row, self.post, values)


class DoubtReads(BatchReads):
    """What a batch looks up of the earlier POSTs of entries."""

    def earlier_posts(self, key: str = "", target: str = "", *, token: str = "") -> list[EarlierPost]:
        """Return the POSTs of an entry before its last one, those with a token, or all that have one."""
        where, values = ("key = ? AND target = ?", [key, target]) if key else ("token <> ''", [])
        if token:
            where, values = "token <> '' AND token = ?", [token]
        rows = self._rows(f"{POSTS} WHERE {where} ORDER BY id", *values)
        try:
            return [EarlierPost(*row) for row in rows]
        except (ValueError, TypeError) as error:
            message = f"The journal {self._shown} is damaged: it contains invalid values."
            raise JournalCorruptedError(message) from error

    def find_named_post(self, key: str, target: str) -> EarlierPost | None:
        """Return an earlier POST of an entry for which a job was named that no entry has; at once."""
        posts = reversed(self.earlier_posts(key, target))
        return next((one for one in posts if any(not self.find_job(job) for job in one.named_ids)), None)

    def is_named_elsewhere(self, job_id: str, key: str, target: str) -> bool:
        """Return whether a job was named for another entry than this one; reads all of them, at once."""
        statement = "SELECT 1 FROM entry WHERE instr(doubt_ids, ?) AND NOT (key = ? AND target = ?) LIMIT 1"
        return bool(self._rows(statement, f'"{job_id}"', key, target))
