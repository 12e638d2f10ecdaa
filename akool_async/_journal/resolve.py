"""A doubt that somebody has cleared up: the job was made and has this id, or it was not made."""

from __future__ import annotations

from datetime import datetime

import attrs

from akool_async._core.errors import InvalidRequest, JournalBroken, JournalRefused
from akool_async._core.lifecycle import State
from akool_async._core.models import Snapshot
from akool_async._core.text import clean, shown
from akool_async._core.wire import read_id
from akool_async._journal import codec
from akool_async._journal.change import Change
from akool_async._journal.record import Record
from akool_async._journal.step import named
from akool_async._journal.table import Table


def check_resolution(job_id: str | None, snapshot: Snapshot | None, *, not_made: bool) -> None:
    """Refuse what does not say what became of a doubt.

    Raises:
        InvalidRequest: it is said twice or not at all, the id is none, or the snapshot is another job's.
    """
    if (job_id is None) is not not_made:
        raise InvalidRequest("Give either job_id=... or not_made=True.")
    if job_id is not None and read_id(job_id) is None:
        raise InvalidRequest(f"job_id must be an id as the vendor gives it, not {shown(job_id)}.")
    if snapshot is not None and snapshot.job_id != job_id:
        raise InvalidRequest(f"The snapshot is of job {snapshot.job_id}, not of {shown(job_id)}.")


@attrs.frozen
class Resolve:
    """A doubt that somebody has cleared up."""

    key: str
    target: str | None
    job_id: str | None
    now: datetime
    snapshot: Snapshot | None = None

    several = True

    def __call__(self, table: Table) -> None:
        """Write it.

        Raises:
            JournalRefused: no entry or several are in doubt, or the job belongs to another entry.
        """
        target, ids = self._doubt(table)
        if self.job_id is None:
            change = Change(key=self.key, target=target, state=State.PLANNED)
        else:
            self._refuse_taken(table, self.job_id)
            left = tuple(other for other in ids if other != self.job_id)
            change = Change(
                key=self.key,
                target=target,
                state=State.SUBMITTED,
                job_id=self.job_id,
                doubt_ids=left,
                snapshot=self.snapshot,
            )
        Record((change,), self.now)(table)

    def _doubt(self, table: Table) -> tuple[str, tuple[str, ...]]:
        """Give the one language that is in doubt, and the ids that it may have."""
        rows = table.connection.execute(
            "SELECT target, doubt_ids FROM entry WHERE key = ? AND state = ? ORDER BY target",
            (self.key, State.IN_DOUBT.value),
        ).fetchall()
        found = {target: ids for target, ids in rows if self.target in (None, target)}
        if not found:
            raise JournalRefused(f"Entry {named(self.key, self.target or '')} is not in doubt.")
        if len(found) > 1:
            raise JournalRefused(
                f"Entry {clean(self.key)} is in doubt for {', '.join(found)}.", advice="Say which: target=..."
            )
        ((target, ids),) = found.items()
        try:
            return target, codec.read_texts(ids)
        except codec.Unreadable as error:
            raise JournalBroken(f"Entry {named(self.key, target)} can't be read: {error}.") from error

    def _refuse_taken(self, table: Table, job_id: str) -> None:
        taken = table.connection.execute(
            "SELECT key, target FROM entry WHERE job_id = ? AND job_id <> ''", (job_id,)
        ).fetchone()
        if taken is not None:
            raise JournalRefused(f"Job {clean(job_id)} belongs to entry {named(*taken)} already.")
