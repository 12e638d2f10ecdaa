"""A sender that was frozen, and whose POST was called not made meanwhile, sends nothing when it continues."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta

import anyio
import pytest
from anyio.to_thread import run_sync

from akool_async import InDoubt, State
from akool_async._clock import SystemClock
from akool_async._model.errors import IllegalTransitionError
from akool_async._model.responses import Job
from akool_async.ledger import Ledger, LedgerError, Made, NotSent
from akool_async.sandbox import Fault
from tests.ledger.conftest import Bench, end_post_time, video


@pytest.mark.parametrize("moment", ["acquired", "connected"])
async def test_a_frozen_process_does_not_pay_for_what_another_has_paid(bench: Bench, moment: str) -> None:
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.ledger.frozen",
        bench.url,
        bench.client.host,
        moment,
    ]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as frozen:
        try:
            _, status = await run_sync(os.waitpid, frozen.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status), "it ended before it froze"
            assert isinstance(await bench.ledger.submit_once(bench.client, video()), InDoubt)
            end_post_time(bench.url)
            await bench.ledger.resolve("video-1", "ja", not_made=True)
            paid = await bench.ledger.submit_once(bench.client, video())
            await anyio.sleep(0.02)  # longer than what it was told is good for
            frozen.send_signal(signal.SIGCONT)
            said = await run_sync(frozen.communicate)
        finally:
            frozen.kill()

    assert isinstance(paid, Made)
    assert len(bench.sandbox.audit.jobs) == 1
    assert said[0] == "Made\n"  # the other's job, which is known by now
    assert (await bench.ledger.get("video-1", "ja")).doubt_ids == ()  # type: ignore[union-attr]


class JumpingClock(SystemClock):
    """A machine's clock that jumps once, by what it is told, when the right to send was just won."""

    def __init__(self) -> None:
        super().__init__()
        self.jump = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.jump


class Interrupted(Ledger):
    """A ledger of a sender to whom something happens each time after it asked for the right to send."""

    def __init__(self, url: str, clock: JumpingClock) -> None:
        super().__init__(url, clock=clock)
        self.asked = 0
        self.happens: list[object] = []

    async def acquire(self, token: str, sender: str) -> bool:
        won = await super().acquire(token, sender)
        self.asked += 1
        if self.happens:
            await self.happens.pop(0)(token)  # type: ignore[operator]
        return won


async def test_a_machine_that_slept_asks_again_and_sends_if_nothing_was_said(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("akool_async.ledger.ledger.FRESH", 600.0)  # a slow machine does not ask once more
    clock = JumpingClock()

    async def sleep(token: str) -> None:
        clock.jump += timedelta(hours=1)

    async with Interrupted(bench.url, clock) as ledger:
        ledger.happens = [sleep, sleep]
        assert isinstance(await ledger.submit_once(bench.client, video()), Made)

    assert ledger.asked == 3
    assert len(bench.sandbox.audit.jobs) == 1


async def test_a_doubt_that_was_declared_meanwhile_is_left_to_who_resolves_it(bench: Bench) -> None:
    """Nothing is sent, the doubt says so, and it can be resolved without waiting."""
    clock = JumpingClock()

    async def sleep(token: str) -> None:
        clock.jump += timedelta(hours=1)
        await bench.ledger.doubt(token, "It is silent.")

    async with Interrupted(bench.url, clock) as ledger:
        ledger.happens = [sleep]
        found = await ledger.submit_once(bench.client, video())

    assert isinstance(found, InDoubt)
    assert "No job was made" in found.reason
    assert bench.sandbox.audit.creates == ()
    await bench.ledger.resolve("video-1", "ja", not_made=True)


async def test_a_database_that_is_gone_before_the_first_byte_leaves_no_doubt(bench: Bench) -> None:
    clock = JumpingClock()

    async def sleep(token: str) -> None:
        clock.jump += timedelta(hours=1)

    async def fail(token: str) -> None:
        raise LedgerError("The ledger's database failed: gone.")

    async with Interrupted(bench.url, clock) as ledger:
        ledger.happens = [sleep, fail]
        found = await ledger.submit_once(bench.client, video())
        entry = await ledger.get("video-1", "ja")

    assert isinstance(found, NotSent)
    assert entry is not None
    assert entry.state is State.PLANNED
    assert bench.sandbox.audit.creates == ()


class Slow(Ledger):
    """A ledger of a sender that has read an answer and not recorded it yet."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.answered, self.may_record = anyio.Event(), anyio.Event()

    async def made(self, token: str, job: Job) -> bool:
        self.answered.set()
        await self.may_record.wait()
        return await super().made(token, job)


async def test_nobody_calls_a_post_not_made_that_may_be_under_way(bench: Bench) -> None:
    """It takes long, another declares the doubt, and a person is too quick."""
    with anyio.fail_after(50):
        async with Slow(bench.url) as ledger, anyio.create_task_group() as tasks:
            tasks.start_soon(ledger.submit_once, bench.client, video())
            await ledger.answered.wait()
            assert isinstance(await bench.ledger.submit_once(bench.client, video()), InDoubt)
            with pytest.raises(IllegalTransitionError, match="may still be under way") as refused:
                await bench.ledger.resolve("video-1", "ja", not_made=True)
            (job,) = bench.sandbox.audit.jobs
            await bench.ledger.resolve("video-1", "ja", job_id=job.id)  # an id is a proof, at any time
            ledger.may_record.set()

    assert "paid twice" in refused.value.impact
    entry = await bench.ledger.get("video-1", "ja")
    assert entry is not None
    assert (entry.state, entry.job_id, entry.doubt_ids) == (State.SUBMITTED, job.id, ())


async def test_who_sent_it_frees_the_doubt_that_it_declares(bench: Bench) -> None:
    bench.sandbox.faults.add(Fault(on="create", kind="reset_before", limit=1))
    assert isinstance(await bench.ledger.submit_once(bench.client, video()), InDoubt)
    await bench.ledger.resolve("video-1", "ja", not_made=True)

    assert isinstance(await bench.ledger.submit_once(bench.client, video()), Made)
    assert len(bench.sandbox.audit.jobs) == 1


async def test_resolving_lets_workers_begin_anew_in_the_same_transaction(bench: Bench) -> None:
    bench.sandbox.faults.add(Fault(on="create", kind="reset_before", limit=1))
    await bench.ledger.submit_once(bench.client, video())
    assert await bench.ledger.open_work() == []
    await bench.ledger.resolve("video-1", "ja", not_made=True)

    assert await bench.ledger.open_work() == [("video-1", "ja", 1)]


async def test_an_intent_that_nobody_took_can_be_called_off(bench: Bench) -> None:
    intent = await bench.ledger.intend(video(), "video-1", "dead")
    with pytest.raises(IllegalTransitionError, match="may still be under way"):
        await bench.ledger.resolve("video-1", "ja", not_made=True)
    end_post_time(bench.url)
    await bench.ledger.resolve("video-1", "ja", not_made=True)

    assert not await bench.ledger.acquire(intent.token, "dead")
