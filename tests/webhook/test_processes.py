"""Three programs: the vendor, a web application that receives its webhooks, and a batch that is killed.

Half of the POSTs' answers are lost. Every doubt is cleared up by its callback, and nothing is paid twice.
AKOOL_TEST_KILLS says how often the batch is killed, AKOOL_TEST_WEBHOOK_KILLS how often at most.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from anyio.to_thread import run_sync

from akool_async import State, open_journal
from akool_async.sandbox import FakeClock, Fault, Sandbox
from akool_async.webhook import open_inbox
from tests.client.moments import until

from .conftest import CLIENT_ID, SECRET

MOST_KILLS = int(os.environ.get("AKOOL_TEST_WEBHOOK_KILLS", "8"))
KILLS = min(int(os.environ.get("AKOOL_TEST_KILLS", "3")), MOST_KILLS)
COUNT = 4 + 2 * KILLS
UNKIND = [
    {"on": "create", "kind": "reset_after", "probability": 0.5},
    {"on": "webhook", "kind": "duplicate", "probability": 0.3},
    {"on": "webhook", "kind": "reorder", "probability": 0.3},
    {"on": "webhook", "kind": "delay", "seconds": 60, "probability": 0.3},
]


def _surroundings(url: str = "") -> dict[str, str]:
    return {**os.environ, "AKOOL_CLIENT_ID": CLIENT_ID, "AKOOL_API_KEY": SECRET, "AKOOL_API_HOST": url}


@contextmanager
def web_application(folder: Path) -> Iterator[str]:
    """Run the receiver's process; give where the vendor shall call."""
    command = [sys.executable, "-m", "tests.webhook.door", str(folder / "inbox.sqlite3")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_surroundings()) as process:
        try:
            assert process.stdout is not None
            yield f"{process.stdout.readline().strip()}/akool"
        finally:
            process.terminate()


@contextmanager
def _catalog(folder: Path, vendor: str, url: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.webhook.catalog", str(folder), url, str(COUNT)]
    with subprocess.Popen(command, env=_surroundings(vendor)) as process:
        try:
            yield process
        finally:
            process.kill()


def _run(folder: Path, vendor: str, url: str, seconds: float) -> int:
    """Run the catalog to its end, or kill it after so many seconds."""
    with _catalog(folder, vendor, url) as process:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            return process.wait()


@pytest.mark.thorough
@pytest.mark.timeout(600 + 60 * KILLS)
async def test_every_doubt_is_cleared_up_also_after_kills(tmp_path: Path) -> None:
    seed = int(os.environ.get("AKOOL_TEST_SEED", random.randrange(10**6)))
    print(f"seed {seed}: set AKOOL_TEST_SEED to repeat")
    chance = random.Random(seed)
    sandbox = Sandbox(
        api_key=SECRET, client_id=CLIENT_ID, media=False, time_scale=60.0, max_jobs=40, seed=seed
    )
    for fault in UNKIND:
        sandbox.faults.add(Fault(**fault))
    with web_application(tmp_path) as url:
        async with sandbox.serve() as server:
            for _ in range(KILLS):
                await run_sync(_run, tmp_path, server.base_url, url, chance.uniform(0.8, 2.5))
            # A callback that is too late for a run on a slow machine clears up the doubt in the next one.
            for _ in range(4):
                code = await run_sync(_run, tmp_path, server.base_url, url, 300 + 5 * KILLS)
                async with open_journal(tmp_path / "jobs.sqlite3", read_only=True) as journal:
                    entries = [entry async for entry in journal.entries()]
                delivered = {entry.job_id for entry in entries if entry.state is State.DELIVERED}
                if code or delivered == {job.id for job in sandbox.audit.jobs}:
                    break

    assert code == 0
    assert sandbox.audit.paid_twice() == ()
    lost = sum("reset_after" in create.faults for create in sandbox.audit.creates)
    made = {job.id: (job.url, job.language) for job in sandbox.audit.jobs}
    assert lost > 0
    assert {entry.job_id for entry in entries if entry.job_id} == set(made)
    assert all(made[entry.job_id] == (entry.request.url, entry.target) for entry in entries if entry.job_id)
    # What was killed before it was sent has no job, and no callback can say so: it stays in doubt.
    assert {entry.state for entry in entries if entry.job_id} == {State.DELIVERED}
    unsent = [entry for entry in entries if not entry.job_id]
    assert {entry.state for entry in unsent} <= {State.IN_DOUBT}
    assert len(unsent) <= KILLS * 8
    print(f"{KILLS} kills, {len(made)} jobs, {lost} answers lost, {len(unsent)} killed before they were sent")


@pytest.mark.thorough
@pytest.mark.timeout(600)
async def test_a_callback_that_came_while_no_batch_ran_clears_up_the_next_runs_doubt(tmp_path: Path) -> None:
    clock = FakeClock(time.time())  # stands still while the first run lives: no callback comes
    sandbox = Sandbox(api_key=SECRET, client_id=CLIENT_ID, media=False, clock=clock, max_jobs=40, seed=1)
    # Only once a POST was answered several go out at once.
    sandbox.faults.add(Fault(on="create", kind="hang", acted=True, nth=range(2, 100)))
    sandbox.faults.add(Fault(on="webhook", kind="delay", seconds=1.0))
    async with sandbox.serve() as server, open_inbox(tmp_path / "inbox.sqlite3") as inbox:
        with web_application(tmp_path) as url:
            with _catalog(tmp_path, server.base_url, url) as process:
                # The answered one and as many as go out at once. With fewer, a POST might be on its way
                # that the vendor never reads: a doubt without a job.
                await until(lambda: len(sandbox.audit.jobs) >= 9, seconds=200)
                process.kill()
            tokens = [job.spec.webhook_url.rpartition("/")[2] for job in sandbox.engine.jobs]
            assert not any(inbox.callbacks_for(token) for token in tokens)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_turn, clock)
                await until(lambda: all(inbox.callbacks_for(token) for token in tokens), seconds=100)
                sandbox.faults.clear()
                code = await run_sync(_run, tmp_path, server.base_url, url, 250)
                tasks.cancel_scope.cancel()
    given = (tmp_path / "given.txt").read_text().split("\n")[:-1]

    assert code == 0
    assert sandbox.audit.paid_twice() == ()
    assert len(given) == len(set(given)) == len(sandbox.audit.jobs) == 2 * COUNT
    assert all(line.endswith("Completed") for line in given), given


async def _turn(clock: FakeClock) -> None:
    while True:
        clock.advance(2)
        await anyio.sleep(0.01)
