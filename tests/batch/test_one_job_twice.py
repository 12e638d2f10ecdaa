"""A vendor whose answer names a job that another entry has: it is that entry's, and the answer is a doubt.

What an older journal has of it all the same is resumed, and each entry has its own end.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from akool_async import (
    AkoolClient,
    Completed,
    InDoubt,
    Journal,
    JournalWriteError,
    Outcome,
    State,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async._journal import EntryUpdate
from tests.client.conftest import KEY, OFTEN, QUICK, video

JOB, OTHER = "a" * 24, "b" * 24
REQUESTS = {key: video(number, key=key) for number, key in enumerate("AB")}


class Vendor:
    """Answers each POST with the first job, as a cache between would; by `own` one has a job of its own."""

    def __init__(self, *own: str) -> None:
        self.own = own
        self.posts: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method != "POST":
            job_id = request.url.params["video_model_id"]
            done = {"_id": job_id, "video_status": 3, "video": "http://127.0.0.1:9/x.mp4"}
            return httpx.Response(200, json={"code": 1000, "data": done})
        self.posts.append(json.loads(request.content)["url"])
        number = next((at for at, one in enumerate(self.own, 2) if one in self.posts[-1]), 1)
        job = {"_id": JOB if number == 1 else f"{number:024x}", "video_status": 1, "language": "ja"}
        return httpx.Response(200, json={"code": 1000, "data": job | {"deduction_lock_duration": 4}})


@asynccontextmanager
async def opened(
    path: Path | str = ":memory:", *own: str
) -> AsyncIterator[tuple[AkoolClient, Journal, Vendor]]:
    vendor = Vendor(*own)
    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(vendor)) as http,
        AkoolClient(
            api_key=KEY, host="http://127.0.0.1:9", http_client=http, retry=QUICK, schedule=OFTEN
        ) as client,
        open_journal(path) as journal,
    ):
        yield client, journal, vendor


async def run(client: AkoolClient, requests: list[TranslationRequest], **options: Any) -> dict[str, Outcome]:
    with anyio.fail_after(55):
        async with open_batch(client, requests, **options) as batch:
            return {outcome.key: outcome async for outcome in batch}


@pytest.mark.parametrize("at_once", [1, 8])
async def test_a_job_that_another_entry_has_makes_the_answer_a_doubt(at_once: int) -> None:
    async with opened() as (client, journal, _):
        outcomes = await run(client, [*REQUESTS.values()], journal=journal, max_in_flight=at_once)
        entries = {entry.key: entry async for entry in journal.entries()}

    (doubted,) = (key for key, outcome in outcomes.items() if isinstance(outcome, InDoubt))
    (completed,) = (key for key, outcome in outcomes.items() if isinstance(outcome, Completed))
    assert {doubted, completed} == {"A", "B"}
    assert entries[completed].job_id == JOB
    entry = entries[doubted]
    assert (entry.state, entry.job_id, entry.doubt_ids) == (State.IN_DOUBT, "", (JOB,))
    assert entry.candidate_ids == ()
    assert entry.paid_submissions == 1
    assert JOB in entry.reason
    assert outcomes[doubted].job is None


async def test_it_is_noticed_in_a_batch_that_forgets_what_has_ended() -> None:
    async with opened() as (client, _, _):
        outcomes = await run(client, [*REQUESTS.values()], max_in_flight=1)

    assert [type(outcomes[key]) for key in "AB"] == [Completed, InDoubt]


async def test_a_vendor_that_answers_nothing_else_is_not_paid_without_end() -> None:
    requests = [video(number, key=f"{number}") for number in range(40)]
    async with opened() as (client, journal, vendor):
        await run(client, requests, journal=journal, max_in_flight=1, max_doubts=3)

    assert len(vendor.posts) == 1 + 3


async def test_its_cost_is_not_known_and_counts_against_the_budget() -> None:
    requests = [video(number, key=f"{number}") for number in range(5)]
    async with opened() as (client, journal, vendor):
        await run(client, requests, journal=journal, max_in_flight=1, max_credits=8)

    assert len(vendor.posts) == 2


async def test_what_is_surely_another_entrys_does_not_keep_it_from_being_sent_again(tmp_path: Path) -> None:
    path, requests = tmp_path / "j.sqlite3", [*REQUESTS.values()]
    async with opened(path) as (client, journal, _):
        await run(client, requests, journal=journal, max_in_flight=1)
    async with opened(path, "1.mp4") as (client, journal, vendor):
        outcomes = await run(client, requests, journal=journal, on_in_doubt="resubmit")
        entry = journal.get("B", "ja")

    assert len(vendor.posts) == 1
    assert isinstance(outcomes["B"], Completed)
    assert entry is not None
    assert (entry.job_id, entry.doubts_before) == (f"{2:024x}", 1)


async def leave_one_job_twice(path: Path) -> None:
    """Leave a journal as an earlier version could, whose entries have one job."""
    async with open_journal(path) as journal:
        for key, job_id in (("A", JOB), ("B", OTHER)):
            await journal.intend(REQUESTS[key])
            await journal.record(EntryUpdate(key=key, target="ja", state=State.SUBMITTED, job_id=job_id))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE entry SET job_id = ?", [JOB])


@pytest.mark.parametrize("order", ["AB", "BA"])
async def test_each_entry_that_was_left_with_one_job_gets_its_own_outcome(order: str, tmp_path: Path) -> None:
    await leave_one_job_twice(tmp_path / "j.sqlite3")
    async with opened(tmp_path / "j.sqlite3") as (client, journal, _):
        requests = [REQUESTS[key] for key in order]
        outcomes = await run(client, requests, journal=journal, download_to=tmp_path / "out")

    assert {key: outcome.request for key, outcome in outcomes.items()} == REQUESTS


async def test_an_entry_that_can_not_be_recorded_tears_nothing_down(tmp_path: Path) -> None:
    await leave_one_job_twice(tmp_path / "j.sqlite3")
    async with opened(tmp_path / "j.sqlite3") as (client, journal, _):
        record, ended = journal.record, anyio.Event()

        async def full(*changes: Any) -> None:
            if changes[0].state is State.COMPLETED and changes[0].key == "B":
                await ended.wait()
                raise JournalWriteError("full")
            await record(*changes)

        journal.record = full
        outcomes: list[Outcome] = []
        with anyio.fail_after(55):
            async with open_batch(client, REQUESTS.values(), journal=journal) as batch:
                with pytest.raises(JournalWriteError):
                    async for outcome in batch:
                        outcomes.append(outcome)
                        ended.set()

    assert [(type(outcome), outcome.key) for outcome in outcomes] == [(Completed, "A")]
