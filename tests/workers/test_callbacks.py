"""A webhook that reaches any process with the database settles the doubt of a worker elsewhere."""

from __future__ import annotations

import time

import anyio
import pytest

from akool_async import State
from akool_async._model.responses import Callback
from akool_async.ledger import open_ledger
from akool_async.sandbox import Fault
from akool_async.workers.dbos import deliver_callback
from tests.workers.chaos import Fleet, fleet, look


async def deliver(workers: Fleet, callback: Callback) -> bool:
    async with open_ledger(workers.database) as ledger:
        return await deliver_callback(ledger, callback)


@pytest.mark.timeout(900)
# A forged one does not end the wait, which takes a minute more.
@pytest.mark.parametrize("forged", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_a_callback_names_the_job_of_a_lost_answer(forged: bool) -> None:
    with fleet(1, cap=8, time_scale=2000.0) as (workers, sandbox):
        sandbox.faults.add(Fault(on="create", kind="reset_after", limit=1))
        workers.options = ("--until-done", "--webhook-url", "https://me.example/akool")
        workers.start("one")

        end = time.monotonic() + 300
        while look(workers, sandbox).entries[0].state is not State.IN_DOUBT:
            assert time.monotonic() < end, workers.log("one")[-800:]
            time.sleep(0.2)
        (entry,) = look(workers, sandbox).entries
        (job,) = sandbox.audit.jobs
        named = "0" * 24 if forged else job.id

        assert not anyio.run(deliver, workers, Callback(job_id=job.id, token="0" * 43))
        assert anyio.run(deliver, workers, Callback(job_id=named, token=entry.token))
        workers.running["one"].wait(300)  # nothing is left; without a callback the doubt would wait for 120 s
        (entry,) = look(workers, sandbox).entries
        assert entry.state is (State.IN_DOUBT if forged else State.DELIVERED), workers.log("one")[-800:]

    assert len(sandbox.audit.jobs) == 1
