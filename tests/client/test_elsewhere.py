"""A client used in another task or event loop than its own says so and what to do; and what it logs."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from typing import Any

import anyio
import pytest

from akool_async import AkoolClient, ClientClosedError
from akool_async.sandbox import Fault
from tests.client.conftest import KEY, Open, video
from tests.client.raw import KNOWN, RawVendor, http

JOB = KNOWN + "0001"
ANSWER = http({"code": 1000, "data": {"_id": JOB, "video_status": 1}})


async def test_closed_in_another_task_it_leaves_nothing_running() -> None:
    with RawVendor(lambda _: ANSWER).serve() as vendor:
        client = AkoolClient(api_key=KEY, host=vendor.url)
        before = asyncio.all_tasks()
        await asyncio.create_task(client.__aenter__())  # as a notebook runs each cell
        (job,) = (await client.submit(video())).accepted
        waiting = asyncio.create_task(client.wait(job.id))
        await anyio.sleep(0.01)

        await client.__aexit__(None, None, None)
        with pytest.raises(ClientClosedError):
            await waiting
        with anyio.fail_after(30):
            while asyncio.all_tasks() - before:
                await anyio.sleep(0.005)

    assert "closed" in repr(client)


async def test_closed_in_another_task_than_one_that_still_runs_it_says_so() -> None:
    client = AkoolClient(api_key=KEY, host="http://127.0.0.1:9")
    opened, end = anyio.Event(), anyio.Event()

    async def owner() -> None:
        await client.__aenter__()
        opened.set()
        await end.wait()

    task = asyncio.create_task(owner())
    await opened.wait()
    with pytest.raises(ClientClosedError, match="another task") as caught:
        await client.__aexit__(None, None, None)
    end.set()
    await task

    assert "aopen" in caught.value.advice
    assert "cancel scope" not in str(caught.value)


async def test_closed_in_another_task_it_finishes_a_paid_post_first() -> None:
    posted, released = threading.Event(), threading.Event()

    def answer(_: int) -> bytes:
        posted.set()
        assert released.wait(40)
        return ANSWER

    with RawVendor(answer).serve() as vendor:
        client = AkoolClient(api_key=KEY, host=vendor.url)
        await asyncio.create_task(client.__aenter__())
        submitting = asyncio.create_task(client.submit(video()))
        with anyio.fail_after(30):
            while not posted.is_set():
                await anyio.sleep(0.005)
        closing = asyncio.create_task(client.__aexit__(None, None, None))
        await anyio.sleep(0.01)
        assert not closing.done()
        released.set()
        await closing

        assert (await submitting).job_ids == (JOB,)


def test_used_or_closed_in_another_event_loop_it_says_so() -> None:
    client = AkoolClient(api_key=KEY, host="http://127.0.0.1:9")
    asyncio.run(client.__aenter__())

    for use in (client.credit, lambda: client.wait(JOB), lambda: client.__aexit__(None, None, None)):
        with pytest.raises(ClientClosedError, match="another event loop") as caught:
            asyncio.run(use())
    with pytest.raises(ClientClosedError, match="not open"):
        asyncio.run(client.credit())

    assert "asyncio.run" in caught.value.advice


def test_outside_of_any_event_loop_it_says_so() -> None:
    client = AkoolClient(api_key=KEY, host="http://127.0.0.1:9")
    asyncio.run(client.__aenter__())

    with pytest.raises(ClientClosedError, match="another event loop"):
        client.watch(JOB)


async def test_each_call_is_one_line_without_url_body_or_key(house: Open, caplog: Any) -> None:
    faults = [
        Fault(on="credit", kind="http", status=503, nth=1),
        Fault(on="credit", kind="empty", nth=2),
        Fault(on="create", kind="code", code=1005, nth=1),
    ]
    async with house(faults=faults) as home:
        client = await home.client()
        with caplog.at_level(logging.DEBUG, "akool_async"):
            await client.credit()
            await client.submit(video())
            await client.status(home.sandbox.audit.jobs[0].id)

    records = [one for one in caplog.records if (one.name, one.levelno) == ("akool_async", logging.DEBUG)]
    lines = [record.getMessage() for record in records]
    credit, create = "GET .*/quota/info", "POST /api/open/v3/content/video/createbytranslate"
    patterns = [
        rf"{credit}: HTTP 503, code None, attempt 1, \d\.\d{{3}} s",
        rf"{credit}: HTTP 200, code None, attempt 2, .* s",
        rf"{credit}: HTTP 200, code 1000, attempt 3, .* s",
        rf"{create}: HTTP 200, code 1005, attempt 1, .* s",
        rf"{create}: HTTP 200, code 1000, attempt 1, .* s",
        r"GET /api/open/v3/content/video/infobymodelid: HTTP 200, code 1000, attempt 1, .* s",
    ]
    assert [bool(re.fullmatch(*pair)) for pair in zip(patterns, lines, strict=True)] == [True] * 6
    for secret in (KEY, "example.com", "?", "127.0.0.1"):
        assert secret not in "".join(lines)
