"""Signals: the first drains, the second leaves, and a paid call under way is finished all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from akool_async import State, open_batch, open_journal
from akool_async.sandbox import Sandbox
from tests.cli.vendor import Vendor, served
from tests.client import moments
from tests.client.conftest import video
from tests.client.moments import still_clock

KEY = "canary-4f9c1b7e2a"

SCRIPT = """
import signal, sys
import anyio
from akool_async import AkoolClient, TranslationRequest, open_batch, open_journal

async def main():
    requests = [TranslationRequest(url=f"https://example.com/{n}.mp4", targets="ja,fr") for n in range(4)]
    async with (
        AkoolClient() as client,
        open_journal("j.sqlite3") as journal,
        open_batch(
            client,
            requests,
            max_in_flight=2,
            journal=journal,
            drain_signals=[signal.SIGINT, signal.SIGTERM],
        ) as batch,
    ):
        if sys.argv[2:] == ["leave"]:
            await anyio.to_thread.run_sync(sys.stdin.readline)
            print("Leaving", file=sys.stderr, flush=True)
            return
        async for outcome in batch:
            pass

try:
    anyio.run(main, backend=sys.argv[1])
except KeyboardInterrupt:
    sys.exit(130)
"""


WAITED_FOR = "Paid calls under way: 1. They are waited for, 180 s at most, so that no job is lost."
MORE = {"no more": [], "more": [signal.SIGTERM, signal.SIGINT, signal.SIGINT]}
"""Sent after the second signal, while the POST is still under way."""


@pytest.mark.parametrize("backend", ["asyncio", pytest.param("trio", marks=pytest.mark.thorough)])
@pytest.mark.parametrize("more", MORE.values(), ids=MORE)
def test_the_second_signal_leaves_in_order(backend: str, more: list[signal.Signals], tmp_path: Path) -> None:
    with served(KEY) as vendor:
        vendor.fault(on="create", kind="delay", seconds=2.0)
        with run_script(backend, vendor, tmp_path) as run:
            assert run.stderr is not None
            until_sent(vendor)
            run.send_signal(signal.SIGINT)
            assert "Stopping" in run.stderr.readline()
            run.send_signal(signal.SIGINT)
            assert WAITED_FOR in run.stderr.readline()
            for number in more:
                time.sleep(0.1)
                run.send_signal(number)
            vendor.advance(2.0)
            said = run.stderr.read()
            assert run.wait(120) == 130
        jobs = len(vendor.ledger()["jobs"])

    assert "Traceback" not in said
    assert (jobs, *counts(tmp_path)) == (2, 2, 0)
    assert "waited for" not in said  # once is enough


async def test_where_no_call_is_under_way_none_is_said_to_be_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sandbox = Sandbox(media=False, clock=still_clock())
    async with sandbox.client() as client, open_batch(client, [video(1)]) as batch:
        await moments.until(lambda: batch.in_progress() and batch.in_progress()[0].job_id)
        await moments.until(lambda: not batch._callbacks.posts_under_way)

    assert "continue at the vendor" in caplog.text
    assert "waited for" not in caplog.text


@pytest.mark.thorough
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_signal_tears_nothing_of_a_batch_that_is_being_closed(backend: str, tmp_path: Path) -> None:
    with served(KEY) as vendor:
        vendor.fault(on="create", kind="delay", seconds=2.0)
        with run_script(backend, vendor, tmp_path, "leave") as run:
            assert run.stdin is not None
            assert run.stderr is not None
            until_sent(vendor)
            run.stdin.write("\n")
            run.stdin.flush()
            assert run.stderr.readline() == "Leaving\n"
            assert WAITED_FOR in run.stderr.readline()
            run.send_signal(signal.SIGTERM)
            vendor.advance(2.0)
            said = run.stderr.read()
            assert run.wait(120) == 0
        jobs = len(vendor.ledger()["jobs"])

    assert "Traceback" not in said
    assert (jobs, *counts(tmp_path)) == (2, 2, 0)


@contextmanager
def run_script(backend: str, vendor: Vendor, folder: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"AKOOL_API_KEY": KEY, "AKOOL_API_HOST": vendor.base_url}
    command = [sys.executable, "-c", SCRIPT, backend, *more]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, env=environment, stdin=pipe, stderr=pipe, text=True) as run:
        try:
            yield run
        finally:
            run.kill()


def until_sent(vendor: Vendor) -> None:
    until(lambda: vendor.ledger()["requests"].get("create"))


def until(happened: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def counts(folder: Path) -> tuple[int, int]:
    """Return how many entries the journal has with known jobs, and how many in doubt."""

    async def read() -> tuple[int, int]:
        async with open_journal(folder / "j.sqlite3") as journal:
            return journal.counts()[State.SUBMITTED], journal.counts()[State.IN_DOUBT]

    return anyio.run(read)
