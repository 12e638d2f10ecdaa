"""A receiver on the command line passes what the vendor sends on to whichever worker waits for it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from akool_async import State
from akool_async.sandbox import Fault
from tests.workers.chaos import ROOT, Fleet, fleet, look


@contextmanager
def receiver(workers: Fleet, settings: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    environment = os.environ | {
        "AKOOL_CLIENT_ID": settings.client_id,
        "AKOOL_CLIENT_SECRET": settings.webhook_secret,
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-W", "ignore", "-m", "akool_async", "webhook", "serve", "--port", "0"]
    with subprocess.Popen(
        [*command, "--ledger", workers.database, "--no-timestamps"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        cwd=workers.out.parent,
    ) as process:
        try:
            assert process.stderr is not None
            said = []
            while (found := re.search(r"http://127\.0\.0\.1:\d+", line := process.stderr.readline())) is None:
                said.append(line)
                assert line, "".join(said)
            yield process, found.group()
        finally:
            process.kill()


@pytest.mark.timeout(600)
def test_the_callback_of_a_lost_answer_reaches_the_worker_that_waits_for_it() -> None:
    with fleet(1, cap=8, time_scale=2000.0) as (workers, sandbox):
        sandbox.faults.add(Fault(on="create", kind="reset_after", limit=1))
        with receiver(workers, sandbox.settings) as (process, url):
            workers.options = ("--webhook-url", f"{url}/akool")
            workers.start("one")
            end = time.monotonic() + 300
            while look(workers, sandbox).entries[0].state is not State.DELIVERED:
                assert time.monotonic() < end, (look(workers, sandbox).entries, workers.log("one")[-800:])
                time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            said = process.stderr.read()
            assert process.wait(120) == 0, said

    (job,) = sandbox.audit.jobs
    assert f"Job {job.id} was named for v0 (ja)." in said
    assert "Traceback" not in said
    assert not (workers.out.parent / "results").exists()  # no inbox beside the ledger
