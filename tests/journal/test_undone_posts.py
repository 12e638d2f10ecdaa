"""What an entry forgets when its POST surely made no job, and what it keeps."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest

from akool_async._journal import EntryUpdate, Journal, open_journal, schema
from akool_async._journal.operations import RecordIntent
from akool_async._model.states import State
from tests.journal.conftest import step, video

IDS = ("66160f989dfc997ac2890001",)


async def test_a_post_that_made_no_job_is_forgotten(opened: Callable[[], Journal]) -> None:
    async with opened() as journal:
        await journal.intend(video())
        await journal.record(
            step(State.IN_DOUBT, reason="no answer", code=7, doubt_ids=IDS, candidate_ids=IDS)
        )
        await journal.resolve("talk", "ja", not_made=True)
        entry = journal.get("talk", "ja")

    assert entry is not None
    assert entry.state is State.PLANNED
    assert (entry.paid_submissions, entry.submitted_at) == (0, None)
    assert (entry.reason, entry.code) == ("", None)
    # For a person: that no job was made may turn out to be wrong.
    assert (entry.doubt_ids, entry.candidate_ids) == (IDS, ())


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


OUTCOMES: dict[str, tuple[EntryUpdate, ...]] = {
    "made": (step(State.SUBMITTED, job_id="job-2", credits_locked=4.0), step(State.COMPLETED)),
    "refused": (step(State.FAILED, reason="refused"),),
    "failed": (step(State.SUBMITTED, job_id="job-2"), step(State.FAILED)),
    "in doubt": (step(State.IN_DOUBT),),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_a_doubt_that_is_sent_once_more_is_kept_whatever_becomes_of_that(
    opened: Callable[[], Journal], outcome: str
) -> None:
    async with opened() as journal:
        await journal.intend(video(), token="first")
        await journal.record(step(State.IN_DOUBT))
        await journal.intend(video(), token="second")
        sent = journal.get("talk", "ja")
        for change in OUTCOMES[outcome]:
            await journal.record(change)
        entry = journal.get("talk", "ja")

    assert sent is not None
    assert entry is not None
    assert (sent.doubts_before, entry.doubts_before) == (1, 1)
    assert entry.last_unpriced is (outcome == "in doubt")


async def test_a_doubt_that_came_back_is_the_last_one_again(opened: Callable[[], Journal]) -> None:
    async with opened() as journal:
        await journal.intend(video(), token="first")
        await journal.record(step(State.IN_DOUBT))
        await journal.intend(video(), token="second")
        await journal.record(step(State.IN_DOUBT, token="first"))
        again = journal.get("talk", "ja")
        await journal.resolve("talk", "ja", not_made=True)
        undone = journal.get("talk", "ja")

    assert again is not None
    assert undone is not None
    assert (again.doubts_before, again.last_unpriced) == (0, True)
    assert (undone.doubts_before, undone.last_unpriced) == (0, False)


@pytest.mark.parametrize(
    ("known", "doubts"), [({}, 1), ({"credits_locked": 4.0}, 0)], ids=["unknown", "known"]
)
async def test_an_expired_job_counts_once_more_where_no_price_is_known(
    opened: Callable[[], Journal], known: dict[str, float], doubts: int
) -> None:
    async with opened() as journal:
        await journal.intend(video())
        await journal.record(step(State.SUBMITTED, **known), step(State.EXPIRED))
        await journal.intend(video())
        entry = journal.get("talk", "ja")

    assert entry is not None
    assert (entry.doubts_before, entry.credits_before) == (doubts, known.get("credits_locked", 0.0))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    ("state", "paid", "before", "doubts"),
    [("delivered", 1, 0, 0), ("delivered", 3, 0, 2), ("delivered", 2, 4.0, 0), ("planned", 1, 0, 1)],
)
async def test_in_an_older_journal_each_earlier_post_of_unknown_cost_is_a_doubt(
    path: Path, monkeypatch: pytest.MonkeyPatch, state: str, paid: int, before: float, doubts: int
) -> None:
    with monkeypatch.context() as older:
        older.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:6])
        write_row(path, state=state, paid=paid, credits_before=before)

    async with open_journal(path) as journal:
        entry = journal.get("talk", "ja")
    assert entry is not None
    assert entry.doubts_before == doubts


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(
    ("state", "paid", "candidates"), [("in_doubt", 1, IDS), ("in_doubt", 2, ()), ("delivered", 1, ())]
)
async def test_ids_in_an_older_journal_are_candidates_where_one_answer_alone_can_have_named_them(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    paid: int,
    candidates: tuple[str, ...],
    read_only: bool,
) -> None:
    with monkeypatch.context() as older:
        older.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:7])
        write_row(path, state=state, paid=paid, doubt_ids=json.dumps(IDS))

    async with open_journal(path, read_only=read_only) as journal:
        entry = journal.get("talk", "ja")
    assert entry is not None
    assert (entry.doubt_ids, entry.candidate_ids) == (IDS, candidates)


def write_row(path: Path, **columns: str | float) -> None:
    """Write a journal of one entry as this version of the package would."""
    values = {
        "key": "talk",
        "target": "ja",
        "fingerprint": "f",
        "request": '{"kind": "translation", "url": "https://e.com/v.mp4", "targets": ["ja"]}',
        "updated_at": "2026-01-01T00:00:00+00:00",
        **columns,
    }
    with closing(sqlite3.connect(path)) as connection, connection:
        schema.migrate(connection)
        connection.execute(
            f"INSERT INTO entry ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
            tuple(values.values()),
        )


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
