"""What an entry forgets when its POST surely made no job, and what it keeps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from akool_async._journal import Journal
from akool_async._journal.operations import RecordIntent
from akool_async._model.states import State
from tests.journal.conftest import step, video

pytestmark = pytest.mark.anyio


async def test_a_post_that_made_no_job_is_forgotten(opened: Callable[[], Journal]) -> None:
    async with opened() as journal:
        await journal.intend(video())
        await journal.record(
            step(State.IN_DOUBT, reason="no answer", code=7, doubt_ids=("66160f989dfc997ac2890001",))
        )
        await journal.resolve("talk", "ja", not_made=True)
        entry = journal.get("talk", "ja")

    assert entry is not None
    assert entry.state is State.PLANNED
    assert (entry.paid_submissions, entry.submitted_at) == (0, None)
    assert (entry.reason, entry.code, entry.doubt_ids) == ("", None, ())


async def test_each_post_that_may_have_been_charged_counts(opened: Callable[[], Journal]) -> None:
    async with opened() as journal:
        for _ in range(3):
            await journal.intend(video())
            await journal.record(step(State.IN_DOUBT, reason="no answer"))
        counted = journal.get("talk", "ja")
        await journal.intend(video())
        await journal.record(step(State.PLANNED))
        undone = journal.get("talk", "ja")

    assert counted is not None
    assert undone is not None
    assert (counted.paid_submissions, undone.paid_submissions) == (3, 3)


class Rows:
    """A table of two entries that were intended together, of which the first has its job by now."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.deleted: list[str] = []

    def insert(self, columns: dict[str, Any]) -> None:
        self.rows[columns["target"]] = Row(columns["target"], State(columns["state"]), columns["paid"])

    def find(self, _: str, target: str) -> Row | None:
        return self.rows.get(target)

    def delete(self, row: Row) -> None:
        self.deleted.append(row.target)


@attrs.define
class Row:
    target: str
    state: State
    paid: int
    name: str = ""


def test_an_intent_that_is_taken_back_leaves_what_was_sent_and_takes_the_rest() -> None:
    intent, table = RecordIntent((video(targets="ja,fr,de"),), "", datetime.now(UTC)), Rows()
    intent(table)  # type: ignore[arg-type]
    table.rows["ja"].state = State.SUBMITTED
    table.rows["fr"].paid = 2  # a later intent of the same entry
    intent.undo(table)  # type: ignore[arg-type]

    assert table.deleted == ["de"]


async def test_an_entry_that_is_planned_twice_at_once_is_there_once(opened: Callable[[], Journal]) -> None:
    async with opened() as journal:
        await journal.record(step(State.PLANNED, request=video()), step(State.PLANNED, request=video()))
        assert [entry.state async for entry in journal.entries()] == [State.PLANNED]
