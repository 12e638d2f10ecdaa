"""SIGKILL at random moments, then the same again: nothing paid twice, nothing paid and lost, all delivered.

AKOOL_TEST_KILLS sets how many kills there are.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest

from akool_async import AkoolClient, Entry, State, open_journal
from akool_async.sandbox import Fault, Sandbox
from tests.batch.catalog import KEY
from tests.batch.whole import check_files

pytestmark = pytest.mark.timeout(1800)

KILLS = int(os.environ.get("AKOOL_TEST_KILLS", "10"))


def _run(url: str, folder: Path, count: int, after: float | None, environment: dict[str, str]) -> int:
    """Run the catalog; kill it `after` seconds from when it began to work."""
    command = [sys.executable, "-m", "tests.batch.catalog", url, str(folder), str(count)]
    told = {"AKOOL_API_HOST": "", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | told | environment
    ) as run:
        assert run.stdout is not None
        try:
            if after is not None:
                run.stdout.readline()
                time.sleep(after)
                run.send_signal(signal.SIGKILL)
            return run.wait(300)
        finally:
            run.kill()


async def _entries(folder: Path) -> list[Entry]:
    async with open_journal(folder / "jobs.sqlite3", read_only=True) as journal:
        return [entry async for entry in journal.entries()]


async def _kill_loop(
    folder: Path, kills: int, sandbox: Sandbox, environment: dict[str, str], *, until_doubled: bool = False
) -> int:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    killed = 0
    count = 3
    async with sandbox.serve() as server:
        while killed < kills and not (until_doubled and sandbox.audit.paid_twice()):
            after = chance.random() * 0.25
            code = await anyio.to_thread.run_sync(_run, server.base_url, folder, count, after, environment)
            assert code in (0, -signal.SIGKILL)
            killed += code != 0
            count += 2 if code == 0 else chance.randrange(2)
        if not until_doubled:
            assert (
                await anyio.to_thread.run_sync(_run, server.base_url, folder, count, None, environment) == 0
            )
    return count


async def test_after_many_kills_the_three_ledgers_agree(tmp_path: Path) -> None:
    sandbox = Sandbox(api_key=KEY, media=False, time_scale=400.0, max_jobs=20, seed=3)
    sandbox.faults.add(Fault(on="create", kind="delay", seconds=0.02, probability=0.5))
    for do in ("short", "reset_mid", "no_length", "truncated"):
        sandbox.faults.add(Fault(on="cdn", kind=do, probability=0.1))
    count = await _kill_loop(tmp_path, KILLS, sandbox, {})

    ledger, entries = sandbox.audit, await _entries(tmp_path)
    known = {entry.job_id: entry for entry in entries if entry.job_id}
    doubts = [entry for entry in entries if entry.state is State.IN_DOUBT]
    assert ledger.paid_twice() == ()
    assert len(entries) == 2 * count
    assert {entry.state for entry in entries} <= {State.DELIVERED, State.IN_DOUBT}
    lost = [job for job in ledger.jobs if job.id not in known]
    declared = {(f"https://example.com/{entry.key.split('-')[1]}.mp4", entry.target) for entry in doubts}
    assert {(job.url, job.language) for job in lost} <= declared

    delivered = [entry for entry in entries if entry.state is State.DELIVERED]
    given = (tmp_path / "given.txt").read_text().split("\n")[:-1]
    check_files(sandbox, tmp_path / "out")
    assert all(Path(file).stat().st_size > 0 for entry in delivered for file in entry.files)
    assert all(entry.files for entry in delivered)
    assert len(given) == len(set(given))
    print(f"{KILLS} kills, {len(ledger.jobs)} jobs, {len(doubts)} doubts, {len(lost)} of them made")


@pytest.mark.thorough
async def test_the_kill_loop_finds_double_payments_when_the_intent_is_not_committed(tmp_path: Path) -> None:
    sandbox = Sandbox(api_key=KEY, media=False, time_scale=400.0, max_jobs=20, seed=3)
    sandbox.faults.add(Fault(on="create", kind="delay", seconds=0.02, probability=0.5))
    await _kill_loop(tmp_path, 200, sandbox, {"AKOOL_TEST_NO_INTENT": "1"}, until_doubled=True)

    assert sandbox.audit.paid_twice()


async def test_a_second_run_on_one_journal_stops_at_once(tmp_path: Path) -> None:
    sandbox = Sandbox(api_key=KEY, media=False, time_scale=1.0)
    async with sandbox.serve() as server, AkoolClient(api_key=KEY, host=server.base_url):
        async with open_journal(tmp_path / "jobs.sqlite3"):
            code = await anyio.to_thread.run_sync(_run, server.base_url, tmp_path, 2, None, {})

        assert code != 0
        assert sandbox.audit.creates == ()
