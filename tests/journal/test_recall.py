"""`recall` reads many rows by one query, and returns nothing that is older than the last write."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from akool_async._journal import Journal, open_journal
from akool_async._model.errors import JournalCorruptedError
from akool_async._model.states import State
from tests.journal.conftest import bring_to, step, video
from tests.journal.test_broken import rewrite

ENTRIES = 300


async def fill(journal: Journal, state: State = State.DELIVERED) -> list[str]:
    keys = [f"talk-{number}" for number in range(ENTRIES)]
    await journal.intend(*map(video, keys))
    await journal.record(*(step(State.SUBMITTED, key) for key in keys))
    await journal.record(*(step(State.COMPLETED, key) for key in keys))
    await journal.record(*(step(state, key) for key in keys))
    return keys


def recall(journal: Journal, key: str) -> State | None:
    entry = journal.recall(key, "ja", video(key))
    assert entry is None or (entry.key, entry.request.key) == (key, key)
    return None if entry is None else entry.state


async def test_a_catalog_in_order_is_read_by_few_queries(path: Path) -> None:
    async with open_journal(path) as journal:
        keys, asked = await fill(journal), list[str]()
        journal._opened.reading.set_trace_callback(asked.append)

        states = {recall(journal, key) for key in keys}

    assert states == {State.DELIVERED}
    assert len(asked) < ENTRIES / 10


@pytest.mark.parametrize("memory", [False, True])
async def test_it_returns_what_get_returns_in_any_order_while_entries_change(
    path: Path, memory: bool, chance: random.Random
) -> None:
    async with open_journal(":memory:" if memory else path) as journal:
        keys, at = await fill(journal, State.COMPLETED), 0
        for _ in range(1500):
            at = (at + 1 if chance.random() < 0.95 else chance.randrange(ENTRIES)) % ENTRIES
            if chance.random() < 0.02:  # near ahead, where rows were read already
                other = keys[(at + chance.randrange(3)) % ENTRIES]
                entry = journal.get(other, "ja")
                if entry is not None and entry.state is State.COMPLETED:
                    await journal.record(step(State.DELIVERED, other))
            entry = journal.get(keys[at], "ja")
            assert entry is not None
            assert journal.recall(keys[at], "ja", entry.request) == entry
        assert journal.recall("nobody", "ja", video("nobody")) is None


@pytest.mark.parametrize("memory", [False, True])
async def test_an_entry_that_was_withdrawn_is_not_there_although_it_was_read_ahead(
    path: Path, memory: bool
) -> None:
    async with open_journal(":memory:" if memory else path) as journal:
        keys = [f"talk-{number}" for number in range(20)]
        await journal.record(*(step(State.PLANNED, key, request=video(key)) for key in keys))
        assert [recall(journal, key) for key in keys[:10]] == [State.PLANNED] * 10

        await journal.withdraw(keys[10], "ja")

        assert recall(journal, keys[10]) is None
        assert recall(journal, keys[11]) is State.PLANNED


@pytest.mark.parametrize("damage", ["ended_at = 'now'", "reason = CAST(x'ff' AS TEXT)"])
async def test_an_entry_that_can_not_be_read_is_said_to_be_broken_where_it_is_asked_for(
    path: Path, damage: str
) -> None:
    async with open_journal(path) as journal:
        keys = await fill(journal)
    rewrite(path, f"UPDATE entry SET {damage} WHERE key = 'talk-20'")

    async with open_journal(path) as journal:
        for key in keys:
            if key == "talk-20":
                with pytest.raises(JournalCorruptedError):
                    recall(journal, key)
            else:
                assert recall(journal, key) is State.DELIVERED


async def test_the_stored_request_is_not_read_where_an_entry_has_ended(path: Path) -> None:
    async with open_journal(path) as journal:
        await bring_to(journal, State.SUBMITTED, "open")
        await fill(journal)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE entry SET request = '{'")
    connection.close()

    async with open_journal(path) as journal:
        assert recall(journal, "talk-3") is State.DELIVERED
        with pytest.raises(JournalCorruptedError, match="open"):
            recall(journal, "open")
