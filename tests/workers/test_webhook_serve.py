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

import anyio
import pytest

from akool_async import State
from akool_async._model.responses import Callback
from akool_async.cli.commands.webhook import _forwarded
from akool_async.ledger import Ledger, open_ledger
from akool_async.sandbox import Fault
from akool_async.webhook import WebhookReceiver
from akool_async.workers.dbos import enqueue
from tests.ledger.conftest import SHORT_JOBS, video
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


@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_the_callback_of_a_lost_answer_reaches_the_worker_that_waits_for_it() -> None:
    with fleet(1, cap=8, **SHORT_JOBS) as (workers, sandbox):
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


async def lost_answers(url: str, entries: int) -> dict[str, str]:
    """Enter videos whose POSTs got no answer; return the token of each."""
    tokens = {}
    async with open_ledger(url) as ledger:
        await ledger.plan(video(number) for number in range(entries))
        await enqueue(ledger)
        for number in range(entries):
            intent = await ledger.intend(video(number), f"video-{number}", "one")
            await ledger.acquire(intent.token, "one")
            await ledger.doubt(intent.token, "lost")
            tokens[f"video-{number}"] = intent.token
    return tokens


async def named(url: str) -> dict[str, tuple[str, ...]]:
    async with open_ledger(url) as ledger:
        return {entry.key: entry.doubt_ids async for entry in ledger.entries()}


class Arrivals(WebhookReceiver):
    """A receiver that is told what arrives."""

    def subscribe(self, subscriber: Any) -> Any:
        self.on_callback = subscriber.on_callback
        return super().subscribe(subscriber)


def test_what_was_answered_is_passed_on_before_an_orderly_end(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = anyio.run(lost_answers, database, 6)
    receiver = Arrivals(client_id="cid", client_secret="k" * 24)
    with _forwarded(receiver, database, "default"):
        for number, token in enumerate(tokens.values()):
            receiver.on_callback(Callback(job_id=f"{number:024}", token=token))

    assert anyio.run(named, database) == {key: (f"{n:024}",) for n, key in enumerate(tokens)}
    assert "could not be passed on" not in capsys.readouterr().err


def test_an_orderly_end_does_not_wait_for_ever_for_a_database_that_hangs(
    database: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr("akool_async.cli.commands.webhook._FINISH", 0.1)
    monkeypatch.setattr(Ledger, "find_token", hang)
    receiver = Arrivals(client_id="cid", client_secret="k" * 24)
    with _forwarded(receiver, database, "default"):
        receiver.on_callback(Callback(job_id="a" * 24, token="0" * 43))

    said = " ".join(capsys.readouterr().err.split())
    assert "1 callback could not be passed on within" in said
