"""However a worker ends, the answer of a POST under way is recorded; and it ends when all is done."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from anyio.to_thread import run_sync

from akool_async import TranslationRequest
from akool_async._model.responses import Callback
from akool_async._model.states import State
from akool_async.ledger import LedgerError
from akool_async.workers.dbos import Worker, WorkerSettings, enqueue
from akool_async.workers.workflows import deliver_callback, engine_client, queue_stranded
from tests.client.moments import until
from tests.ledger.conftest import Bench, video
from tests.workers.test_stranded import END, change

Submit = Callable[..., Awaitable[Any]]


@attrs.define
class SlowAnswer:
    """A POST whose job is made and whose answer is under way until it is let through."""

    made: anyio.Event = attrs.field(factory=anyio.Event)
    arrives: anyio.Event = attrs.field(factory=anyio.Event)


@pytest.fixture
def slow(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> SlowAnswer:
    answer, kind = SlowAnswer(), type(bench.client.session)
    submit: Submit = kind.submit_once

    async def wait(self: object, *arguments: Any, **options: Any) -> Any:
        submission = await submit(self, *arguments, **options)
        answer.made.set()
        await answer.arrives.wait()
        return submission

    monkeypatch.setattr(kind, "submit_once", wait)
    return answer


@pytest.fixture
async def worker(bench: Bench, tmp_path: Path) -> Worker:
    await bench.ledger.plan([video(1)])
    await enqueue(bench.ledger)
    return Worker(bench.ledger, bench.client, WorkerSettings(name="one", into=tmp_path))


async def assert_recorded(bench: Bench) -> None:
    entry = await bench.ledger.get("video-1", "ja")
    (job,) = bench.sandbox.audit.jobs
    assert entry is not None
    assert entry.job_id == job.id
    # While the engine ends, the worker may see more of its job.
    assert entry.state in (State.SUBMITTED, State.COMPLETED, State.DELIVERED)


async def test_a_worker_that_stops_while_its_database_fails_waits_for_an_answer(
    bench: Bench, worker: Worker, slow: SlowAnswer, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat = Worker._beat

    async def fail(self: Worker, state: str) -> None:
        if state == "stopping":
            raise LedgerError("The ledger's database failed.")
        await beat(self, state)

    async def stop() -> None:
        await slow.made.wait()
        worker.stop()
        await anyio.sleep(1)  # a worker that does not wait has ended by now
        slow.arrives.set()

    monkeypatch.setattr(Worker, "_beat", fail)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop)
        await worker.run()

    await assert_recorded(bench)


async def test_a_worker_that_is_cancelled_waits_for_an_answer(
    bench: Bench, worker: Worker, slow: SlowAnswer
) -> None:
    async def let_through() -> None:
        await anyio.sleep(1)
        slow.arrives.set()

    async with anyio.create_task_group() as outer, anyio.create_task_group() as tasks:
        tasks.start_soon(worker.run)
        await slow.made.wait()
        outer.start_soon(let_through)
        tasks.cancel_scope.cancel()

    await assert_recorded(bench)


def statuses(bench: Bench) -> dict[str, str]:
    """Return by key how far the engine is with each workflow."""
    with engine_client(bench.ledger) as client:
        return {one.workflow_id.split("/")[1]: one.status for one in client.list_workflows(load_input=False)}


async def test_a_worker_that_stops_takes_nothing_more_and_gives_back_what_it_has_not_begun(
    bench: Bench, worker: Worker, slow: SlowAnswer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("akool_async.workers.dbos._POLL_QUEUE", 0.05)
    await bench.ledger.execute("UPDATE akool_ledger.account SET max_in_flight = 1 WHERE name = :account")

    async def stop() -> None:
        await slow.made.wait()
        await bench.ledger.plan([video(2)])
        await enqueue(bench.ledger)
        while (await run_sync(statuses, bench))["video-2"] != "PENDING":  # it waits for room
            await anyio.sleep(0.05)
        worker.stop()
        # Nobody looks into the queue any more, though the worker waits for its POST.
        await until(lambda: not any(one.name.startswith("queue-worker-") for one in threading.enumerate()))
        await bench.ledger.plan([video(3)])
        await enqueue(bench.ledger)
        slow.arrives.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop)
        await worker.run()

    await assert_recorded(bench)
    assert await run_sync(statuses, bench) == {
        "video-1": "PENDING",
        "video-2": "ENQUEUED",
        "video-3": "ENQUEUED",
    }


async def test_what_waited_for_its_turn_is_sent_with_the_urls_of_its_last_catalog(
    bench: Bench, tmp_path: Path
) -> None:
    """A URL that has expired meanwhile would be a job that fails, and may be billed."""

    def signed(signature: str) -> TranslationRequest:
        url = f"https://media.example/1.mp4?X-Amz-Signature={signature}&X-Amz-Date=20300101T000000Z"
        return TranslationRequest(url=url, targets="ja", key="video-1")

    ledger = bench.ledger
    await ledger.execute("UPDATE akool_ledger.account SET max_in_flight = 1 WHERE name = :account")
    await ledger.intend(video(9), "video-9", "another")
    await ledger.plan([signed("old")])
    worker = Worker(ledger, bench.client, WorkerSettings(name="one", into=tmp_path))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker._finish, "video-1", "ja", 0, None)
        await until(lambda: worker._admission._one_by_one)  # it has read the entry, and waits for room
        await ledger.plan([signed("new")])
        await ledger.execute("UPDATE akool_ledger.account SET max_in_flight = 2 WHERE name = :account")
        worker._admission.free()
        await until(lambda: bench.sandbox.audit.creates)
        tasks.cancel_scope.cancel()

    assert "Signature=new" in bench.sandbox.audit.creates[0].payload["url"]


@pytest.mark.thorough
async def test_a_worker_until_all_is_done_ends_where_nothing_is_left(bench: Bench, tmp_path: Path) -> None:
    environment = os.environ | {"AKOOL_API_KEY": "canary-5d1", "AKOOL_LEDGER": bench.url}
    command = ["-m", "akool_async", "worker", "--name", "one", "--until-done", "--out", str(tmp_path)]
    run = partial(subprocess.run, capture_output=True, text=True, timeout=250, check=False, env=environment)
    ended = await run_sync(lambda: run([sys.executable, *command]))

    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False), ended.stderr


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        pytest.param("file", "file is not a folder.", marks=pytest.mark.thorough),
        ("new", "A worker named one is running."),
    ],
)
async def test_a_worker_that_can_not_begin_says_why(
    bench: Bench, tmp_path: Path, folder: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    running = Worker(bench.ledger, bench.client, WorkerSettings(name="one", into=tmp_path))
    environment = os.environ | {"AKOOL_API_KEY": "canary-5d1", "AKOOL_LEDGER": bench.url}
    command = ["-m", "akool_async", "worker", "--name", "one", "--out", str(tmp_path / folder)]
    run = partial(subprocess.run, capture_output=True, text=True, timeout=250, check=False, env=environment)

    async def begin_another() -> None:
        ended = await run_sync(lambda: run([sys.executable, *command]))
        running.stop()
        assert (ended.returncode, "Traceback" in ended.stderr) == (2, False), ended.stderr
        assert reason in " ".join(ended.stderr.split())

    async with anyio.create_task_group() as tasks:
        await running.run(on_ready=lambda: tasks.start_soon(begin_another))


@pytest.mark.thorough
async def test_workflows_of_an_older_version_keep_no_worker_busy(bench: Bench, worker: Worker) -> None:
    change(bench, "UPDATE dbos.workflow_status SET status = 'PENDING', application_version = 'old'")
    assert await queue_stranded(bench.ledger) == 1

    async def watch() -> None:
        with anyio.fail_after(250):
            while not await worker.is_done():
                await anyio.sleep(0.2)
        worker.stop()

    async with anyio.create_task_group() as tasks:
        await worker.run(on_ready=lambda: tasks.start_soon(watch))

    entry = await bench.ledger.get("video-1", "ja")
    assert entry is not None
    assert entry.state is State.DELIVERED


@pytest.mark.parametrize(
    "state", [END, "DELETE FROM dbos.workflow_status"], ids=["over", "of another engine or a journal"]
)
async def test_a_callback_whose_workflow_is_over_leaves_its_job_to_who_resolves_the_doubt(
    bench: Bench, state: str
) -> None:
    await bench.ledger.plan([video(1)])
    await enqueue(bench.ledger)
    intent = await bench.ledger.intend(video(1), "video-1", "one")
    await bench.ledger.acquire(intent.token, "one")
    await bench.ledger.doubt(intent.token, "lost")
    change(bench, state)
    assert await deliver_callback(bench.ledger, Callback(job_id="a" * 24, token=intent.token))
    entry = await bench.ledger.get("video-1", "ja")
    assert entry is not None
    assert (entry.state, entry.doubt_ids) == (State.IN_DOUBT, ("a" * 24,))
