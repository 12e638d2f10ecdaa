"""A shared file stays while any entry, of this run or an earlier one, may have a job that needs it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from akool_async import (
    AkoolClient,
    Completed,
    InDoubt,
    Journal,
    JournalCorruptedError,
    NotSubmitted,
    Outcome,
    State,
    Storage,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async._journal import BatchJournal
from akool_async.sandbox import Fault
from tests.batch.test_batch import run
from tests.client.conftest import Open
from tests.client.moments import until
from tests.storage.conftest import TestBucket

LOST = Fault(on="create", kind="reset_after", nth=1)
"""The first job is made, and the answer to its POST is lost."""

STUCK = Fault(on="status", kind="unknown_status", value=7, job=1)
"""The first job never ends."""


@pytest.fixture
def storage(bucket: TestBucket) -> Storage:
    return Storage(share=bucket.url)


def into(talk: Path, target: str, key: str = "talk") -> TranslationRequest:
    return TranslationRequest(url=talk, targets=target, key=key)


async def leave_at_vendor(
    client: AkoolClient, journal: Journal, request: TranslationRequest, **how: Any
) -> None:
    """Run until the job is made, and leave it there."""
    async with open_batch(client, [request], journal=journal, **how):
        await until(lambda: journal.counts()[State.SUBMITTED] > 0)


def kinds(outcomes: list[Outcome]) -> dict[str, type[Outcome]]:
    return {outcome.target: type(outcome) for outcome in outcomes}


@pytest.mark.parametrize("runs", [1, 2])
async def test_the_file_of_a_doubt_stays_when_another_entry_with_it_ends(
    runs: int, house: Open, bucket: TestBucket, storage: Storage, talk: Path, tmp_path: Path
) -> None:
    requests = [into(talk, "ja"), into(talk, "fr", key="the same file again")]
    outcomes: list[Outcome] = []
    async with house(faults=[LOST]) as home:
        client = await home.client()
        for batch in [requests] if runs == 1 else [[request] for request in requests]:
            async with open_journal(tmp_path / "j.sqlite3") as journal:
                outcomes += await run(client, batch, journal=journal, storage=storage)

    assert kinds(outcomes) == {"ja": InDoubt, "fr": Completed}
    assert len(bucket.names) == 1


async def test_the_file_of_a_job_that_an_earlier_run_left_at_the_vendor_stays(
    fast_house: Open, bucket: TestBucket, storage: Storage, talk: Path, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(faults=[STUCK]) as home:
        client = await home.client()
        await leave_at_vendor(client, journal, into(talk, "ja"), storage=storage)
        outcomes = await run(client, [into(talk, "fr")], journal=journal, storage=storage)

        assert journal.counts()[State.SUBMITTED] == 1
    assert kinds(outcomes) == {"fr": Completed}
    assert len(bucket.names) == 1


async def test_once_the_doubt_is_resolved_the_run_that_ends_its_job_deletes_the_file(
    fast_house: Open,
    bucket: TestBucket,
    storage: Storage,
    talk: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    requests = [into(talk, "ja"), into(talk, "fr")]
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(faults=[LOST]) as home:
        client = await home.client()
        with caplog.at_level(logging.WARNING, "akool_async"):
            await run(client, requests, journal=journal, storage=storage)
        (said,) = [text for text in caplog.messages if "shared file" in text]
        (kept,) = bucket.names
        await journal.resolve("talk", "ja", job_id=home.sandbox.audit.jobs[0].id)
        outcomes = await run(client, requests, journal=journal, storage=storage)

    assert f"{bucket.url}/{kept} stays" in said
    assert "talk (ja)" in said
    assert kinds(outcomes) == {"ja": Completed, "fr": Completed}
    assert bucket.names == []


async def test_a_row_given_twice_does_not_delete_the_file_of_the_job_in_flight(
    fast_house: Open, bucket: TestBucket, storage: Storage, talk: Path
) -> None:
    async with fast_house(faults=[STUCK]) as home:
        client = await home.client()

        async def rows() -> AsyncIterator[TranslationRequest]:
            yield into(talk, "ja")
            await until(lambda: home.sandbox.audit.creates)
            yield into(talk, "ja")

        async with open_batch(client, rows(), storage=storage) as batch:
            refused = await anext(batch)
            await anyio.sleep(0.3)
            names = bucket.names

    assert isinstance(refused, NotSubmitted)
    assert len(names) == 1


async def test_a_file_stays_where_the_journal_can_not_say_who_needs_it(
    fast_house: Open,
    bucket: TestBucket,
    storage: Storage,
    talk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: object) -> None:
        raise JournalCorruptedError("Entry talk can't be read.")

    monkeypatch.setattr(BatchJournal, "find_unfinished", broken)
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        await run(await home.client(), [into(talk, "ja")], journal=journal, storage=storage)

    assert len(bucket.names) == 1
    assert "whether a job needs it is not known. Entry talk can't be read." in caplog.text
