"""Signals: the first drains, the second leaves, and a paid call under way is finished all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest

from akool_async import State, open_journal
from tests.cli.vendor import served

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
            client, requests, max_in_flight=2, journal=journal, drain_signals=[signal.SIGINT]
        ) as batch,
    ):
        async for outcome in batch:
            pass

try:
    anyio.run(main, backend=sys.argv[1])
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_second_signal_leaves_in_order(backend: str, tmp_path: Path) -> None:
    with served(KEY) as vendor:
        vendor.fault(on="create", kind="delay", seconds=0.7)
        environment = os.environ | {"AKOOL_API_KEY": KEY, "AKOOL_API_HOST": vendor.base_url}
        command = [sys.executable, "-c", SCRIPT, backend]
        with subprocess.Popen(
            command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
        ) as run:
            assert run.stderr is not None
            try:
                end = time.monotonic() + 40
                while not vendor.ledger()["requests"].get("create"):
                    assert time.monotonic() < end
                    time.sleep(0.02)
                run.send_signal(signal.SIGINT)
                assert "Stopping" in run.stderr.readline()
                run.send_signal(signal.SIGINT)
                said = run.stderr.read()
                assert run.wait(40) == 130
            finally:
                run.kill()
        jobs = len(vendor.ledger()["jobs"])

    async def counts() -> tuple[int, int]:
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            return journal.counts()[State.SUBMITTED], journal.counts()[State.IN_DOUBT]

    assert "Traceback" not in said
    assert (jobs, anyio.run(counts)) == (2, (2, 0))
