"""A webhook that reaches any process with the database settles the doubt of a worker elsewhere."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from akool_async import InDoubt, Job, State
from akool_async._model.responses import Callback
from akool_async.ledger import Made, open_ledger
from akool_async.sandbox import Fault
from akool_async.workers.dbos import Worker, WorkerSettings, deliver_callback, enqueue
from tests.ledger.conftest import SHORT_JOBS, Bench, end_post_time, video
from tests.workers.chaos import Fleet, fleet, look


async def deliver(workers: Fleet, callback: Callback) -> bool:
    async with open_ledger(workers.database) as ledger:
        return await deliver_callback(ledger, callback)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("forged", "true"),
    [
        (0, True),
        pytest.param(3, True, marks=pytest.mark.thorough),
        pytest.param(1, False, marks=pytest.mark.thorough),  # it does not end the wait of two minutes
    ],
)
def test_a_callback_names_the_job_of_a_lost_answer(forged: int, true: bool) -> None:
    with fleet(1, cap=8, **SHORT_JOBS) as (workers, sandbox):
        sandbox.faults.add(Fault(on="create", kind="reset_after", limit=1))
        workers.options = ("--until-done", "--webhook-url", "https://me.example/akool")
        workers.start("one")

        end = time.monotonic() + 300
        while look(workers, sandbox).entries[0].state is not State.IN_DOUBT:
            assert time.monotonic() < end, workers.log("one")[-800:]
            time.sleep(0.2)
        (entry,) = look(workers, sandbox).entries
        (job,) = sandbox.audit.jobs

        assert not anyio.run(deliver, workers, Callback(job_id=job.id, token="0" * 43))
        for number in range(forged):
            assert anyio.run(deliver, workers, Callback(job_id=f"{number:024x}", token=entry.token))
        if true:
            assert anyio.run(deliver, workers, Callback(job_id=job.id, token=entry.token))
        workers.running["one"].wait(300)  # nothing is left; without a callback the doubt would wait for 120 s
        (entry,) = look(workers, sandbox).entries
        assert entry.state is (State.DELIVERED if true else State.IN_DOUBT), workers.log("one")[-800:]

    assert len(sandbox.audit.jobs) == 1


async def in_doubt(bench: Bench, number: int) -> str:
    """Enter a video whose POST made a job that nobody knows; return its token."""
    await bench.ledger.plan([video(number)])
    await enqueue(bench.ledger)
    intent = await bench.ledger.intend(video(number), f"video-{number}", "one")
    await bench.ledger.acquire(intent.token, "one")
    await bench.ledger.doubt(intent.token, "lost")
    return intent.token


async def hear(bench: Bench, folder: Path, *called: str, key: str = "video-1") -> State | None:
    """Finish an entry that has waited for its callback."""
    worker = Worker(bench.ledger, bench.client, WorkerSettings(name="one", into=folder))
    return await worker._finish(key, "ja", 0, [*called])


@pytest.mark.parametrize("hours", [-72, 48])
async def test_a_callback_gives_a_doubt_no_job_of_another_time(
    quick: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture, hours: int
) -> None:
    (job,) = (await quick.client.submit(video(9))).accepted
    made = quick.ledger.clock.now() + timedelta(hours=hours)
    quick.sandbox.faults.add(
        Fault(on="status", kind="odd_time", value=int(made.timestamp() * 1000), job=job.id)
    )
    token = await in_doubt(quick, 1)

    assert await hear(quick, tmp_path, token, job.id) is State.IN_DOUBT
    entry = await quick.ledger.get("video-1", "ja")
    assert entry is not None
    assert (entry.job_id, entry.doubt_ids) == ("", (job.id,))  # for the person who resolves the doubt
    assert "it was not made when the entry was sent" in caplog.text


async def test_a_job_that_callbacks_name_for_two_doubts_is_given_to_neither(
    quick: Bench, tmp_path: Path
) -> None:
    (job,) = (await quick.client.submit(video(9))).accepted
    tokens = [await in_doubt(quick, number) for number in (1, 2)]
    for token in tokens:
        assert await deliver_callback(quick.ledger, Callback(job_id=job.id, token=token))

    for number, token in enumerate(tokens, 1):
        assert await hear(quick, tmp_path, token, job.id, key=f"video-{number}") is State.IN_DOUBT


async def test_a_callback_gives_a_doubt_the_job_of_its_post(quick: Bench, tmp_path: Path) -> None:
    token = await in_doubt(quick, 1)
    (job,) = (await quick.client.submit(video(1))).accepted

    assert await hear(quick, tmp_path, token, "not&an=id") is State.IN_DOUBT
    assert await hear(quick, tmp_path, "0" * 43, job.id) is State.IN_DOUBT
    assert await hear(quick, tmp_path, token, job.id) is State.DELIVERED


async def test_a_job_that_is_named_after_its_post_was_called_not_made_is_not_paid_again(bench: Bench) -> None:
    token, job_id = await in_doubt(bench, 1), "a" * 24
    end_post_time(bench.url)
    await bench.ledger.resolve("video-1", "ja", not_made=True)
    assert await deliver_callback(bench.ledger, Callback(job_id=job_id, token=token))

    assert isinstance(await bench.ledger.submit_once(bench.client, video(1)), InDoubt)
    entry = await bench.ledger.get("video-1", "ja")
    assert entry is not None
    assert (entry.state, entry.doubt_ids, entry.paid_submissions) == (State.IN_DOUBT, (job_id,), 1)
    assert job_id in entry.reason
    # Who has seen the id, and says again that no job was made, is believed.
    await bench.ledger.resolve("video-1", "ja", not_made=True)
    assert await deliver_callback(bench.ledger, Callback(job_id=job_id, token=token))
    assert isinstance(await bench.ledger.submit_once(bench.client, video(1)), Made)


async def test_an_answer_that_comes_after_its_post_was_called_not_made_is_a_doubt(bench: Bench) -> None:
    token, job = await in_doubt(bench, 1), Job(id="a" * 24)
    end_post_time(bench.url)
    await bench.ledger.resolve("video-1", "ja", not_made=True)
    assert not await bench.ledger.made(token, job)
    await bench.ledger.record_end(token, State.IN_DOUBT, reason="", doubt_ids=(job.id,))

    assert isinstance(await bench.ledger.submit_once(bench.client, video(1)), InDoubt)
    await bench.ledger.resolve("video-1", "ja", job_id=job.id)
    entry = await bench.ledger.get("video-1", "ja")
    assert entry is not None
    assert (entry.state, entry.job_id, entry.doubt_ids) == (State.SUBMITTED, job.id, ())


async def test_the_job_of_another_entry_does_not_put_one_in_doubt_again(bench: Bench) -> None:
    made = await bench.ledger.submit_once(bench.client, video(2))
    assert isinstance(made, Made)
    token = await in_doubt(bench, 1)
    end_post_time(bench.url)
    await bench.ledger.resolve("video-1", "ja", not_made=True)
    assert await deliver_callback(bench.ledger, Callback(job_id=made.job.id, token=token))

    assert isinstance(await bench.ledger.submit_once(bench.client, video(1)), Made)
