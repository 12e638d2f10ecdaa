"""A vendor that gives one job to two entries, maybe since it makes nothing twice: each has its own end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from akool_async import (
    AkoolClient,
    Completed,
    EntryUpdate,
    Journal,
    JournalWriteError,
    Outcome,
    State,
    open_batch,
    open_journal,
)
from tests.client.conftest import KEY, OFTEN, QUICK, video

pytestmark = pytest.mark.anyio

JOB = "a" * 24
REQUESTS = {key: video(number, key=key) for number, key in enumerate("AB")}


def _answer(request: httpx.Request) -> httpx.Response:
    done = {"video_status": 3, "video": "http://127.0.0.1:9/x.mp4"}
    told = {"video_status": 1, "language": "ja"} if request.method == "POST" else done
    return httpx.Response(200, json={"code": 1000, "data": {"_id": JOB, **told}})


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[AkoolClient, Journal]]:
    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(_answer)) as http,
        AkoolClient(
            api_key=KEY, host="http://127.0.0.1:9", http_client=http, retry=QUICK, schedule=OFTEN
        ) as client,
        open_journal(":memory:") as journal,
    ):
        yield client, journal


@pytest.mark.parametrize("order", ["AB", "BA"])
async def test_each_entry_that_was_left_with_one_job_gets_its_own_outcome(order: str, tmp_path: Path) -> None:
    async with opened() as (client, journal):
        for key, request in REQUESTS.items():
            await journal.intend(request)
            await journal.record(EntryUpdate(key=key, target="ja", state=State.SUBMITTED, job_id=JOB))
        requests = [REQUESTS[key] for key in order]
        with anyio.fail_after(55):
            async with open_batch(client, requests, journal=journal, download_to=tmp_path) as batch:
                outcomes = [outcome async for outcome in batch]

    assert {outcome.key: outcome.request for outcome in outcomes} == REQUESTS


async def test_an_entry_that_can_not_be_recorded_tears_nothing_down() -> None:
    async with opened() as (client, journal):
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
