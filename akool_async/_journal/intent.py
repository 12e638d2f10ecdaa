"""The intent to send paid POSTs, how it is taken back, and what a dead run left of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypeAlias

import attrs

from akool_async._core.errors import JournalRefused
from akool_async._core.fingerprint import fingerprint
from akool_async._core.lifecycle import NEXT, State
from akool_async._core.requests import Request
from akool_async._journal import codec
from akool_async._journal.claim import claimed
from akool_async._journal.step import named, wanted_columns
from akool_async._journal.table import Row, SqlValue, Table, Values

LEFT_BEHIND: Final = "The run that sent it ended before the vendor's answer was recorded."


@attrs.frozen
class _Wanted:
    """One language of a POST that is about to be sent."""

    key: str
    target: str
    mark: str
    values: dict[str, SqlValue]


_FRESH: Final[Values] = {
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
}
"""What a new POST makes untrue; ids in doubt stay, for they may still be jobs."""

Names: TypeAlias = Mapping[tuple[str, str], Sequence[str]]
_NONE: Final[Names] = MappingProxyType({})


class Intend:
    """The intent to send POSTs: every language of every request, atomic.

    Args:
        requests: what is about to be sent.
        token: the webhook token of these POSTs, or "".
        names: for each (key, target) names that its files may get, the one to be preferred first.
        now: when it is recorded.

    Attributes:
        images: after the step, what each entry was before; None where there was none.
    """

    def __init__(
        self, requests: tuple[Request, ...], token: str, now: datetime, names: Names = _NONE
    ) -> None:
        self._names = names
        self._wanted = tuple(_wanted(requests, token, now))
        self.several = len(self._wanted) > 1
        self.images: list[tuple[_Wanted, dict[str, SqlValue] | None, int]] = []
        seen = set()
        for wanted in self._wanted:
            name = (wanted.key, wanted.target)
            if name in seen:
                raise intended_twice(name)
            seen.add(name)

    def __call__(self, table: Table) -> None:
        """Write it."""
        for wanted in self._wanted:
            row = table.find(wanted.key, wanted.target)
            held = {} if row is not None and row.name else claimed(table, self._offered(wanted))
            if row is None:
                told: Values = {"key": wanted.key, "target": wanted.target, "paid": 1}
                table.enter({**told, **wanted.values, **held})
                self.images.append((wanted, None, 1))
                continue
            objection = objection_to_intent(row, wanted.mark)
            if objection:
                raise JournalRefused(f"Entry {named(wanted.key, wanted.target)} {objection}.")
            self.images.append((wanted, table.image(row), row.paid + 1))
            again = {"paid": row.paid + 1, "credits_before": row.used_before + (row.used or 0.0)}
            table.set(row, {**_FRESH, **wanted.values, **again, **held})

    def _offered(self, wanted: _Wanted) -> Sequence[str]:
        return self._names.get((wanted.key, wanted.target), ())

    def undo(self, table: Table) -> None:
        """Put back what was, for a caller that was cancelled before it could send anything."""
        for wanted, image, paid in self.images:
            row = table.find(wanted.key, wanted.target)
            if row is None or row.state is not State.SUBMITTING or row.paid != paid:
                continue
            if image is None:
                table.take_out(row)
            else:
                table.set(row, image)


def _wanted(requests: tuple[Request, ...], token: str, now: datetime) -> list[_Wanted]:
    moment = codec.write_moment(now)
    state: dict[str, SqlValue] = {"state": State.SUBMITTING.value, "token": token}
    found = []
    for request in requests:
        for target in request.targets:
            mark = fingerprint(request, target)
            values = {**state, **wanted_columns(request, mark), "submitted_at": moment, "updated_at": moment}
            found.append(_Wanted(request.key or mark, target, mark, values))
    return found


def intended_twice(name: tuple[str, str]) -> JournalRefused:
    """Give the error of one entry that stands in an intent twice."""
    return JournalRefused(f"Entry {named(*name)} is intended twice at once; each POST would be paid.")


def objection_to_intent(row: Row, mark: str) -> str:
    """Say why no POST may be sent for an entry, or "".

    Args:
        row: the entry.
        mark: the fingerprint of what is about to be sent.
    """
    if State.SUBMITTING not in NEXT[row.state]:
        return f"is {row.state}, so no POST may be sent for it"
    if row.state is State.IN_DOUBT and row.fingerprint != mark:
        return "is in doubt over other work; resolve that first, or use another key"
    return ""


def leave_in_doubt(table: Table, now: datetime) -> int:
    """Put every intent that a dead run left into doubt; give how many there were."""
    done = table.connection.execute(
        "UPDATE entry SET state = ?, reason = ?, updated_at = ? WHERE state = ?",
        (State.IN_DOUBT.value, LEFT_BEHIND, codec.write_moment(now), State.SUBMITTING.value),
    )
    return done.rowcount
