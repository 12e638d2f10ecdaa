"""What the engine is asked to do: little for each job, and all that a dead worker had in one go."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
import sqlalchemy as sa

from akool_async import AkoolClient, FixedSchedule, State
from akool_async.ledger import Ledger, open_ledger
from akool_async.sandbox import Sandbox
from akool_async.workers.dbos import Worker, WorkerSettings, enqueue
from akool_async.workers.workflows import queue_name, resume
from tests.ledger.conftest import QUICK, SHORT_JOBS, open_bench, video


@contextlib.contextmanager
def statements() -> Iterator[list[str]]:
    """Record what is sent to any database, in order."""
    sent: list[str] = []

    def record(connection: Any, cursor: Any, statement: str, *rest: object) -> None:
        sent.append(" ".join(statement.split()))

    sa.event.listen(sa.Engine, "before_cursor_execute", record)
    try:
        yield sent
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", record)


async def finish(ledger: Ledger, client: AkoolClient, into: Path) -> None:
    """Run a worker until nothing is left."""
    worker = Worker(ledger, client, WorkerSettings(name="one", into=into))

    async def stop_when_done() -> None:
        while not await worker.is_done():
            await anyio.sleep(0.05)
        worker.stop()

    with anyio.fail_after(250):
        async with anyio.create_task_group() as tasks:
            await worker.run(on_ready=lambda: tasks.start_soon(stop_when_done))


def rows(database: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database, autocommit=True) as connection:
        done = connection.execute(query)  # type: ignore[call-overload]
        return list(done.fetchall()) if done.description else []


async def test_a_job_costs_the_engine_no_recorded_step(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("akool_async.ledger.ledger.FRESH", 600.0)  # a slow machine does not ask once more
    jobs = 12
    async with open_bench(database, FixedSchedule(interval=0.05)) as bench:
        client, ledger = bench.client, bench.ledger
        await ledger.plan(video(number) for number in range(jobs))
        await enqueue(ledger)
        with statements() as sent:
            await finish(ledger, client, tmp_path)
        counts = await ledger.counts()

    assert counts[State.DELIVERED] == jobs
    assert rows(database, "SELECT status, count(*) FROM dbos.workflow_status GROUP BY 1") == [
        ("SUCCESS", jobs)
    ]
    assert rows(database, "SELECT count(*) FROM dbos.operation_outputs") == [(0,)]
    # Each state of an entry is committed once, and read once before the POST and once after its job.
    assert not [one for one in sent if one.startswith("INSERT INTO akool_ledger.entry")]  # planned before
    assert sum("SET state = 'sending'" in one for one in sent) == jobs
    assert sum("akool_ledger.entry SET state = 'submitting'" in one for one in sent) == jobs
    assert sum("WITH mine" in one for one in sent) == jobs


async def test_an_entry_that_was_begun_anew_is_left_to_its_new_workflow(
    database: str, tmp_path: Path
) -> None:
    async with open_bench(database, FixedSchedule(interval=0.05)) as bench:
        sandbox, client, ledger = bench.sandbox, bench.client, bench.ledger
        await ledger.plan([video(1)])
        await enqueue(ledger)
        rows(database, "UPDATE akool_ledger.entry SET generation = 1")
        await enqueue(ledger)
        await finish(ledger, client, tmp_path)

    assert len(sandbox.audit.jobs) == 1
    ends = "SELECT workflow_uuid, output FROM dbos.workflow_output ORDER BY 1"
    assert [(one[0][-1], "begun anew" in one[1]) for one in rows(database, ends)] == [
        ("0", True),
        ("1", False),
    ]


async def test_all_that_a_dead_worker_had_is_queued_in_few_transactions(database: str) -> None:
    entries = 300
    async with open_ledger(database) as ledger:
        await ledger.plan(video(number) for number in range(entries))
        await enqueue(ledger)
        for name, digits in (("gone", "[1-9]"), ("alive", "0")):
            rows(
                database,
                f"UPDATE dbos.workflow_status SET status = 'PENDING', executor_id = 'default/{name}'"
                f" WHERE workflow_uuid ~ '{digits}/ja/0$'",
            )
        held: list[str] = []

        @contextlib.contextmanager
        def hold(name: str) -> Iterator[None]:
            held.append(name)
            yield
            held.remove(name)

        with statements() as sent:
            had = await anyio.to_thread.run_sync(
                resume, ledger, ["gone", "alive"], lambda name: None if name == "alive" else hold(name)
            )

    assert had == {"gone": 270}
    assert held == []
    assert len([one for one in sent if one.startswith("UPDATE")]) == 1
    queued = "SELECT queue_name, status, count(*) FROM dbos.workflow_status GROUP BY 1, 2 ORDER BY 3"
    assert rows(database, queued) == [
        (queue_name("default"), "PENDING", 30),
        (queue_name("default"), "ENQUEUED", 270),
    ]


async def test_an_entry_that_fails_goes_on_where_the_ledger_says(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = Sandbox(api_key="canary-5d1", media=False, **SHORT_JOBS, seed=1)
    wait_for, save_once, failures = Ledger.wait_for, Ledger.save_once, ["wait", "wait", "save"]

    async def wait(self: Ledger, *given: Any, **more: Any) -> Any:
        if "wait" in failures:
            failures.remove("wait")
            raise OSError("planned")
        return await wait_for(self, *given, **more)

    async def save(self: Ledger, *given: Any, **more: Any) -> Any:
        if "save" in failures:
            failures.remove("save")
            raise OSError("planned")
        return await save_once(self, *given, **more)

    monkeypatch.setattr("akool_async.workers.dbos._AGAIN", (0.01, 1.0, 0.01))
    monkeypatch.setattr(Ledger, "wait_for", wait)
    monkeypatch.setattr(Ledger, "save_once", save)
    async with (
        sandbox.serve() as server,
        AkoolClient(api_key="canary-5d1", host=server.base_url, retry=QUICK) as client,
        open_ledger(database) as ledger,
    ):
        await ledger.plan([video(1)])
        await enqueue(ledger)
        await finish(ledger, client, tmp_path)
        counts = await ledger.counts()

    assert failures == []
    assert counts[State.DELIVERED] == 1
    assert len(sandbox.audit.jobs) == 1
