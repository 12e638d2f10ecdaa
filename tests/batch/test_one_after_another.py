"""Batches on one journal: one at a time, and the next one sees all that the last one handed in."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from akool_async import Completed, JournalLockedError, State, open_batch, open_journal
from akool_async._journal import EntryUpdate
from akool_async._journal.store import PendingOperation, Store
from tests.batch.test_batch import run, videos
from tests.batch.test_without_catalog import leave_at_work
from tests.client.conftest import Open, video
from tests.client.moments import until


async def test_what_a_left_batch_was_still_writing_is_seen_by_the_next(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, writing = Store.commit, threading.Event()

    def slowly(store: Store, tickets: Sequence[PendingOperation]) -> None:
        writing.set()
        time.sleep(0.3)
        commit(store, tickets)

    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        await leave_at_work(client, journal, [video(1, key="old")])
        monkeypatch.setattr(Store, "commit", slowly)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(
                journal.record,
                EntryUpdate(key="old", target="ja", state=State.COMPLETED),
                EntryUpdate(key="old", target="ja", state=State.DELIVERED),
            )
            await until(writing.is_set)
            tasks.cancel_scope.cancel()
        outcomes = await run(client, [video(1, key="old")], journal=journal, download_to=tmp_path / "out")

    assert [(type(outcome), outcome.resumed) for outcome in outcomes] == [(Completed, True)]


async def test_when_a_batch_has_been_left_the_journal_says_all_that_it_did(
    fast_house: Open, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        for _ in range(10):
            async with open_batch(client, videos(5), journal=journal) as batch:
                await anext(batch)
            assert journal.counts()[State.SUBMITTING] == 0


@pytest.mark.parametrize("kept", ["j.sqlite3", ":memory:"])
async def test_a_second_batch_on_a_journal_is_refused_before_it_does_anything(
    fast_house: Open, tmp_path: Path, kept: str
) -> None:
    path = kept if kept == ":memory:" else tmp_path / kept
    async with open_journal(path) as journal, fast_house() as home:
        client = await home.client()
        async with open_batch(client, videos(2), journal=journal) as first:
            with pytest.raises(JournalLockedError, match="batch"):
                async with open_batch(client, [video(9)], journal=journal):
                    raise AssertionError("it opened")
            assert len([outcome async for outcome in first]) == 2

        assert len(await run(client, [video(9)], journal=journal)) == 1
        assert len(home.sandbox.audit.jobs) == 3
