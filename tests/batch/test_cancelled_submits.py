"""Callers that are cancelled while their request is entered in the journal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import anyio
import pytest

from akool_async import (
    Batch,
    Completed,
    InvalidRequestError,
    Journal,
    JournalWriteError,
    NotSubmitted,
    State,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async._journal.operations import RecordUpdates
from akool_async._journal.store import Store
from tests.client.conftest import House, Open, video
from tests.client.moments import until

MOMENTS = ["gathered", "written", "committed"]
"""Where the step of a cancelled caller is: waiting for its commit, in it, or in the file."""


@contextmanager
def held_writer(moment: str) -> Iterator[threading.Event]:
    """Hold back the writer's next commit, before or after the file is written; give what is set by then."""
    arrived, go_on, commit = threading.Event(), threading.Event(), Store.commit

    def hold(store: Store, operations: Any) -> None:
        if moment == "committed":
            commit(store, operations)
        arrived.set()
        go_on.wait(30)
        if moment != "committed":
            commit(store, operations)

    with mock.patch.object(Store, "commit", hold):
        try:
            yield arrived
        finally:
            go_on.set()


@asynccontextmanager
async def opened(
    house: Open, path: Path | str, *, time_scale: float = 2000.0, **options: Any
) -> AsyncIterator[tuple[House, Journal, Batch]]:
    async with open_journal(path) as journal, house(time_scale=time_scale) as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal, **options) as batch:
                yield home, journal, batch


async def submit_and_cancel(batch: Batch, request: TranslationRequest, moment: str) -> None:
    """Submit a request, and cancel that at a moment of its write."""
    with held_writer(moment) as arrived:
        async with anyio.create_task_group() as tasks:
            if moment == "gathered":
                tasks.start_soon(batch._state.journal._open_writer.write, RecordUpdates((), _now(batch)))
                await until(arrived.is_set)
            tasks.start_soon(batch.submit, request)
            await until(arrived.is_set)
            for _ in range(50):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()


def _now(batch: Batch) -> Any:
    return batch._state.clock.now()


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_request_whose_submit_is_cancelled_is_in_no_journal_and_is_not_sent(
    house: Open, tmp_path: Path, moment: str
) -> None:
    async with opened(house, tmp_path / "j.sqlite3") as (home, journal, batch):
        await submit_and_cancel(batch, video(1, key="k", targets="ja,fr"), moment)
        with pytest.raises(InvalidRequestError, match="no entry"):
            await batch.outcome("k", "ja")
        assert isinstance(await (await batch.submit(video(2))).outcome(), Completed)
        entries = [journal.get("k", target) for target in ("ja", "fr")]

        assert [job.url for job in home.sandbox.audit.jobs] == [video(2).url]
    assert entries == [None, None]


@pytest.mark.parametrize("moment", MOMENTS)
async def test_it_may_be_submitted_again_and_is_sent_once(house: Open, tmp_path: Path, moment: str) -> None:
    async with opened(house, tmp_path / "j.sqlite3") as (home, _, batch):
        await submit_and_cancel(batch, video(1, key="k", targets="ja,fr"), moment)
        again = await batch.submit(video(1, key="k", targets="ja,fr"))
        outcomes = await again.outcomes()
        urls = [job.url for job in home.sandbox.audit.jobs]

    assert all(isinstance(outcome, Completed) for outcome in outcomes)
    assert urls == [video(1).url] * 2


@pytest.mark.parametrize("moment", MOMENTS)
async def test_its_work_may_be_submitted_under_another_key(house: Open, tmp_path: Path, moment: str) -> None:
    async with opened(house, tmp_path / "j.sqlite3") as (home, _, batch):
        await submit_and_cancel(batch, video(1, key="k"), moment)
        outcome = await (await batch.submit(video(1, key="l"))).outcome()
        jobs = home.sandbox.audit.jobs

    assert isinstance(outcome, Completed), outcome.reason
    assert len(jobs) == 1


@pytest.mark.parametrize("moment", MOMENTS)
async def test_what_was_taken_back_before_stays_so(house: Open, tmp_path: Path, moment: str) -> None:
    async with opened(house, tmp_path / "j.sqlite3", time_scale=1.0, max_in_flight=1) as (
        home,
        journal,
        batch,
    ):
        await batch.submit(video(0))
        await until(lambda: journal.counts()[State.SUBMITTED])
        first = await batch.submit(video(1, key="k"))
        await until(lambda: batch.statistics().pulled == 2)
        assert await batch.cancel("k", "ja")
        await submit_and_cancel(batch, video(1, key="k"), moment)
        home.sandbox.engine.clock.scale = 2000.0
        outcome = await first.outcome()
        await (await batch.submit(video(2))).outcome()

        assert [job.url for job in home.sandbox.audit.jobs] == [video(0).url, video(2).url]
    assert isinstance(outcome, NotSubmitted)


@pytest.mark.parametrize("moment", ["written", "committed"])
async def test_what_can_not_be_taken_out_of_the_journal_is_worked_on(
    house: Open, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_step: RecordUpdates, _table: object) -> None:
        raise JournalWriteError("The journal can't be written.")

    monkeypatch.setattr(RecordUpdates, "undo", fail)
    async with opened(house, tmp_path / "j.sqlite3") as (_, _, batch):
        await submit_and_cancel(batch, video(1, key="k"), moment)
        outcome = await batch.outcome("k", "ja")

    assert isinstance(outcome, Completed)


async def test_a_write_that_fails_meanwhile_leaves_nothing(
    house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_step: RecordUpdates, _table: object) -> None:
        raise JournalWriteError("The journal can't be written.")

    async with opened(house, tmp_path / "j.sqlite3") as (home, journal, batch):
        with monkeypatch.context() as patched:
            patched.setattr(RecordUpdates, "__call__", fail)
            await submit_and_cancel(batch, video(1, key="k"), "written")
            await until(lambda: not batch._state.withdrawals.undecided)
        assert journal.get("k", "ja") is None
        assert isinstance(await (await batch.submit(video(1, key="k"))).outcome(), Completed)
        assert len(home.sandbox.audit.jobs) == 1


async def test_a_journal_in_memory_takes_it_back_too(house: Open) -> None:
    async with opened(house, ":memory:") as (home, journal, batch):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await batch.submit(video(1, key="k"))
        assert scope.cancelled_caught
        assert journal.get("k", "ja") is None
        assert isinstance(await (await batch.submit(video(2))).outcome(), Completed)
        assert [job.url for job in home.sandbox.audit.jobs] == [video(2).url]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancelled_task_leaves_nothing_at_any_turn(fast_house: Open, tmp_path: Path) -> None:
    async with opened(fast_house, tmp_path / "j.sqlite3") as (home, journal, batch):
        taken = set[str]()
        for turns in range(40):
            task = asyncio.ensure_future(batch.submit(video(turns, key=f"k{turns}")))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                taken.add(video(turns).url)
                await (await task).outcome()
        assert isinstance(await (await batch.submit(video(99))).outcome(), Completed)

        assert {job.url for job in home.sandbox.audit.jobs} == taken | {video(99).url}
        assert journal.counts()[State.PLANNED] == 0
