"""A process that was frozen reads the answers that have arrived before it judges any deadline."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from akool_async import AkoolClient, SubmissionInDoubt
from akool_async._http.exchange import ExchangeDeadlines
from tests.client.conftest import KEY, QUICK, Way, stray, video
from tests.client.moments import jump, until
from tests.client.raw import KNOWN, RawVendor, http

JOB = KNOWN + "0001"
ANSWER = http({"code": 1000, "msg": "x" * 300_000, "data": {"_id": JOB, "video_status": 1}})
"""So long that it takes several steps of the event loop to read it."""

CHILD = """
import os, sys, time, anyio, trio._core._run
from akool_async import AkoolClient, TranslationRequest

def later(clock):  # it was frozen for an hour once a file says so
    return lambda: clock() + 3600.0 * os.path.exists(sys.argv[3])

time.monotonic = later(time.monotonic)
trio._core._run.perf_counter = later(trio._core._run.perf_counter)

async def main():
    async with AkoolClient(api_key="key-of-tests", host=sys.argv[2], create_timeout=60.0) as client:
        request = TranslationRequest(url="https://example.com/1.mp4", targets="ja")
        print(*(await client.session.submit_once(request)).job_ids, flush=True)

anyio.run(main, backend=sys.argv[1])
"""


class Vendor(RawVendor):
    """Tells when an answer has been sent."""

    def __init__(self, answers: Callable[[int], bytes], *, sent: threading.Event) -> None:
        super().__init__(answers)
        self.sent = sent

    def answer(self, connection: socket.socket) -> None:
        super().answer(connection)
        self.sent.set()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_process_frozen_longer_than_the_deadline_keeps_the_ids_of_its_answer(
    backend: str, tmp_path: Path
) -> None:
    started, sent = threading.Event(), threading.Event()
    frozen_long = tmp_path / "frozen-long"

    def answer(_: int) -> bytes:
        assert started.wait(40)
        os.kill(child.pid, signal.SIGSTOP)
        return ANSWER

    with Vendor(answer, sent=sent).serve() as vendor:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, backend, vendor.url, frozen_long], stdout=subprocess.PIPE, text=True
        )
        with child:
            try:
                started.set()
                assert sent.wait(40)
                frozen_long.touch()
                os.kill(child.pid, signal.SIGCONT)
                told = child.communicate(timeout=40)[0]
            finally:
                child.kill()

    assert told.split() == [JOB]


async def test_a_blocked_event_loop_reads_the_answer_first(way: Way) -> None:
    asked, blocked, sent = threading.Event(), threading.Event(), threading.Event()

    def answer(_: int) -> bytes:
        asked.set()
        assert blocked.wait(40)
        return ANSWER

    with Vendor(answer, sent=sent).serve() as vendor:
        async with stray(way, vendor.url, create_timeout=60.0) as client, anyio.create_task_group() as tasks:
            found = []

            async def submit() -> None:
                found.extend((await client.session.submit_once(video())).job_ids)

            tasks.start_soon(submit)
            await until(asked.is_set)
            blocked.set()
            sent.wait(40)  # in this thread, which has the event loop
            jump(3600.0)

    assert found == [JOB]


async def test_without_an_answer_the_deadline_still_ends_the_call(way: Way) -> None:
    silent = threading.Event()
    with RawVendor(lambda _: (silent.wait(40) and b"") or b"").serve() as vendor:
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
