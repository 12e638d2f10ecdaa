"""What a worker pays, and says, while the vendor's answers are lost or nothing can be paid."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from akool_async import AkoolClient, State
from akool_async.ledger import LostAnswer, NotSent
from akool_async.sandbox import Fault
from akool_async.workers.admission import MOST_LOST
from akool_async.workers.dbos import Worker, WorkerSettings, enqueue
from tests.client.moments import until
from tests.ledger.conftest import QUICK, Bench, video

ENTRIES = 12


@asynccontextmanager
async def working(bench: Bench, folder: Path, client: AkoolClient | None = None) -> AsyncIterator[Worker]:
    """Let a worker finish all entries of a ledger, without the engine."""
    await bench.ledger.plan(video(number) for number in range(ENTRIES))
    worker = Worker(bench.ledger, client or bench.client, WorkerSettings(name="one", into=folder))
    async with anyio.create_task_group() as tasks:
        for number in range(ENTRIES):
            tasks.start_soon(worker._finish, f"video-{number}", "ja", 0, None)
        yield worker
        tasks.cancel_scope.cancel()


async def until_counted(bench: Bench, state: State, wanted: int) -> None:
    with anyio.fail_after(250):
        while (await bench.ledger.counts())[state] != wanted:
            await anyio.sleep(0.05)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    said = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    return [one for one in said if "Nothing more is submitted" in one]


async def test_an_outage_that_makes_jobs_costs_a_worker_a_few_doubts(
    quick: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outage = Fault(on="create", kind="http", status=502, acted=True)
    quick.sandbox.faults.add(outage)
    async with working(quick, tmp_path) as worker:
        await until(lambda: worker._admission.holds)
        await anyio.sleep(1)  # what would go out has gone out by then
        assert len(quick.sandbox.audit.jobs) == MOST_LOST
        assert len(warnings(caplog)) == 1
    quick.sandbox.faults.clear()

    monkeypatch.setattr("akool_async.workers.admission._HOLD", (0.05, 1.0, 0.05))
    async with working(quick, tmp_path):
        await until_counted(quick, State.DELIVERED, ENTRIES - MOST_LOST)
    assert (await quick.ledger.counts())[State.IN_DOUBT] == MOST_LOST


async def test_a_worker_that_is_started_again_in_an_outage_makes_one_more_doubt(
    quick: Bench, tmp_path: Path
) -> None:
    quick.sandbox.faults.add(Fault(on="create", kind="http", status=502, acted=True))
    await quick.ledger.plan(video(number) for number in range(ENTRIES))
    await enqueue(quick.ledger)
    made = []
    for expected in (MOST_LOST, MOST_LOST + 1):
        worker = Worker(quick.ledger, quick.client, WorkerSettings(name="one", into=tmp_path))

        async def stop(worker: Worker = worker, expected: int = expected) -> None:
            await until(lambda: worker._admission.holds and len(quick.sandbox.audit.jobs) >= expected)
            await anyio.sleep(0.5)  # for one too many
            worker.stop()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop)
            await worker.run()
        made.append(len(quick.sandbox.audit.jobs))

    assert made == [MOST_LOST, MOST_LOST + 1]


async def test_doubts_since_the_last_answer_are_counted(quick: Bench) -> None:
    async def submit(number: int, **fault: object) -> None:
        if fault:
            quick.sandbox.faults.add(Fault(on="create", limit=1, **fault))  # type: ignore[arg-type]
        await quick.ledger.submit_once(quick.client, video(number))

    lost = {"kind": "http", "status": 502, "acted": True}
    assert await quick.ledger.count_last_doubts() == 0
    for number in (1, 2):
        await submit(number, **lost)
    assert await quick.ledger.count_last_doubts() == 2
    await submit(3)
    assert await quick.ledger.count_last_doubts() == 0
    await submit(4, **lost)
    assert await quick.ledger.count_last_doubts() == 1
    await submit(5, kind="code", code=1203)
    assert await quick.ledger.count_last_doubts() == 0


async def test_a_wrong_host_costs_a_worker_one_doubt(
    quick: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("akool_async.workers.admission._HOLD", (0.05, 1.0, 0.05))
    monkeypatch.setattr("akool_async.workers.admission._STOPPED", 0.05)
    for on in ("create", "credit"):
        quick.sandbox.faults.add(Fault(on=on, kind="http", status=404))
    async with working(quick, tmp_path) as worker:
        await until(lambda: worker._admission._misses > 3)  # a call that costs nothing is tried in its place

    assert (await quick.ledger.counts())[State.IN_DOUBT] == 1
    assert any("may have made a job that is billed" in one for one in warnings(caplog))


@pytest.mark.parametrize("why", ["key", "budget"])
async def test_a_worker_that_can_not_pay_says_why_once(
    quick: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, why: str
) -> None:
    monkeypatch.setattr("akool_async.workers.admission._STOPPED", 0.05)
    monkeypatch.setattr("akool_async.workers.admission._FIRST", 0.05)
    key = "canary-5d1"
    if why == "key":
        key = "canary-wrong"
    else:
        await quick.ledger.execute("UPDATE akool_ledger.account SET max_credits = 0 WHERE name = :account")
    async with (
        AkoolClient(api_key=key, host=quick.client.host, retry=QUICK) as client,
        working(quick, tmp_path, client) as worker,
    ):
        await until(lambda: worker._admission._misses > 3)

    (said,) = warnings(caplog)
    assert ("max_credits (0) would be exceeded" if why == "budget" else "key") in said
    assert not quick.sandbox.audit.jobs


async def test_a_ledger_says_which_doubt_is_of_this_call(quick: Bench) -> None:
    quick.sandbox.faults.add(Fault(on="create", kind="http", status=502, acted=True, limit=1))
    first = await quick.ledger.submit_once(quick.client, video(1))
    again = await quick.ledger.submit_once(quick.client, video(1))
    quick.sandbox.faults.add(Fault(on="create", kind="http", status=404, limit=1))
    wrong_host = await quick.ledger.submit_once(quick.client, video(2))

    assert isinstance(first, LostAnswer)
    assert not first.stops
    assert not isinstance(again, LostAnswer | NotSent)
    assert isinstance(wrong_host, LostAnswer)
    assert wrong_host.stops
