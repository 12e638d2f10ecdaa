"""A process that was frozen reads the answers that have arrived before it judges any deadline."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import anyio
import pytest

from akool_async import AkoolClient, SubmissionInDoubt
from akool_async._http.exchange import ExchangeDeadlines
from tests.client.conftest import KEY, QUICK, Way, stray, video
from tests.client.raw import KNOWN, RawVendor, http

pytestmark = pytest.mark.anyio

JOB = KNOWN + "0001"
ANSWER = http({"code": 1000, "msg": "x" * 300_000, "data": {"_id": JOB, "video_status": 1}})
"""So long that it takes several steps of the event loop to read it."""

CHILD = """
import sys, anyio
from akool_async import AkoolClient, TranslationRequest

async def main():
    async with AkoolClient(api_key="key-of-tests", host=sys.argv[2], create_timeout=1.0) as client:
        request = TranslationRequest(url="https://example.com/1.mp4", targets="ja")
        print(*(await client.session.submit_once(request)).job_ids, flush=True)

anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_process_frozen_longer_than_the_deadline_keeps_the_ids_of_its_answer(backend: str) -> None:
    frozen = threading.Event()
    sent = threading.Event()

    def answer(_: int) -> bytes:
        os.kill(child.pid, signal.SIGSTOP)
        frozen.set()
        return ANSWER

    class Vendor(RawVendor):
        def answer(self, connection) -> None:
            super().answer(connection)
            sent.set()

    with Vendor(answer).serve() as vendor:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, backend, vendor.url], stdout=subprocess.PIPE, text=True
        )
        with child:
            assert frozen.wait(20)
            assert sent.wait(20)
            began = time.monotonic()
            while time.monotonic() - began < 1.2:  # past the deadline
                time.sleep(0.05)
            os.kill(child.pid, signal.SIGCONT)
            told = child.communicate(timeout=20)[0]

    assert told.split() == [JOB]


async def test_a_blocked_event_loop_reads_the_answer_first(way: Way) -> None:
    arrived = threading.Event()

    def answer(_: int) -> bytes:
        arrived.set()
        return ANSWER

    with RawVendor(answer).serve() as vendor:
        async with stray(way, vendor.url, create_timeout=0.3) as client, anyio.create_task_group() as tasks:
            found = []

            async def submit() -> None:
                found.extend((await client.session.submit_once(video())).job_ids)

            tasks.start_soon(submit)
            with anyio.fail_after(5):
                while not arrived.is_set():
                    await anyio.sleep(0)
            blocked = time.monotonic()
            while time.monotonic() - blocked < 0.35:
                time.sleep(0.05)

    assert found == [JOB]


async def test_without_an_answer_the_deadline_still_ends_the_call(way: Way) -> None:
    silent = threading.Event()
    with RawVendor(lambda _: (silent.wait(5) and b"") or b"").serve() as vendor:
        async with stray(way, vendor.url, create_timeout=0.1) as client:
            began = anyio.current_time()
            with pytest.raises(SubmissionInDoubt, match=r"within 0\.1 s"):
                await client.session.submit_once(video())
            took = anyio.current_time() - began
        silent.set()

    assert took >= 0.1


@pytest.mark.timeout(20)
async def test_closing_waits_for_no_deadline_that_is_not_there() -> None:
    with RawVendor(lambda _: ANSWER).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url, retry=QUICK, timeout=100.0) as client:
            await client.status(JOB)


async def test_a_longer_deadline_does_not_hide_a_shorter_one() -> None:
    ended: list[float] = []
    async with anyio.create_task_group() as tasks:
        deadlines = ExchangeDeadlines(tasks)

        async def wait(seconds: float) -> None:
            with deadlines.limit(seconds, paid=False):
                await anyio.sleep_forever()
            ended.append(seconds)

        for seconds in (60.0, 1.0, 0.01):
            tasks.start_soon(wait, seconds)
        with anyio.fail_after(20):
            while len(ended) < 2:
                await anyio.sleep(0.005)
        deadlines.close()

    assert ended == [0.01, 1.0, 60.0]
