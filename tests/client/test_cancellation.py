"""A cancelled caller tears no paid POST, and leaves the client as it was."""

from __future__ import annotations

import asyncio
import logging
import os
import random

import anyio
import pytest

from akool_async import AkoolClient, AkoolError, RetryPolicy, SubmissionInDoubt
from akool_async.sandbox import Fault
from tests.client.conftest import House, Open, Way, video
from tests.client.moments import held_back, still_clock, until


async def _cancelled_once(home: House, call, endpoint: str) -> None:
    """Call with a video, and cancel that once the vendor has been asked."""
    ended = False

    async def called() -> None:
        nonlocal ended
        await call(video())
        ended = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(called)
        await until(lambda: home.sandbox.audit.requests.get(endpoint))
        tasks.cancel_scope.cancel()
    assert not ended


async def test_a_paid_post_under_way_is_finished_and_its_ids_are_told(house: Open, caplog) -> None:
    async with house() as home:
        client = await home.client()
        with caplog.at_level(logging.WARNING, "akool_async"):
            with held_back(home.sandbox, "create"):
                await _cancelled_once(home, client.submit, "create")
            await until(lambda: caplog.records)

        (job,) = home.sandbox.audit.jobs
    assert job.id in caplog.text


async def test_the_event_loops_own_cancellation_does_not_tear_it_either(fast_house: Open, caplog) -> None:
    async with fast_house() as home:
        client = await home.client()
        with caplog.at_level(logging.WARNING, "akool_async"):
            with held_back(home.sandbox, "create"):
                caller = asyncio.create_task(client.submit(video()))
                await until(lambda: home.sandbox.audit.requests.get("create"))
                caller.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await caller
            await until(lambda: caplog.records)

        (job,) = home.sandbox.audit.jobs
    assert job.id in caplog.text


async def test_a_paid_post_that_an_event_loop_tears_is_in_doubt(fast_house: Open) -> None:
    async with fast_house() as home:
        client = await home.client()
        with held_back(home.sandbox, "create"):
            caller = asyncio.create_task(client.submit(video()))
            await until(lambda: home.sandbox.audit.requests)
            for task in asyncio.all_tasks():
                if "ShieldedCall" in task.get_name():
                    task.cancel()
            with pytest.raises(SubmissionInDoubt):
                await caller


async def test_closing_the_client_waits_for_a_paid_post(house: Open, caplog) -> None:
    async with house() as home:
        options = {"api_key": "canary-4f9c1b7e2a", "host": home.server.base_url}
        with caplog.at_level(logging.WARNING, "akool_async"), held_back(home.sandbox, "create") as answer:
            async with AkoolClient(**options) as client:
                await _cancelled_once(home, client.submit, "create")
                answer()

        (job,) = home.sandbox.audit.jobs
        assert job.id in caplog.text


async def test_a_doubt_of_a_cancelled_caller_is_told(house: Open, caplog) -> None:
    async with house(faults=[Fault(on="create", kind="reset_after")]) as home:
        client = await home.client()
        with caplog.at_level(logging.WARNING, "akool_async"):
            with held_back(home.sandbox, "create"):
                await _cancelled_once(home, client.submit, "create")
            await until(lambda: caplog.records)

    assert "may have been made" in caplog.text


async def test_cancelled_while_a_doubt_is_being_confirmed_its_job_is_told(house: Open, caplog) -> None:
    faults = [Fault(on="create", kind="truncated", keep=0.9), Fault(on="status", kind="hang")]
    async with house(faults=faults) as home:
        client = await home.client()
        with caplog.at_level(logging.WARNING, "akool_async"):
            await _cancelled_once(home, client.submit, "status")

        (job,) = home.sandbox.audit.jobs
    assert job.id in caplog.text


async def test_cancelled_while_the_gate_is_closed_nothing_is_sent(house: Open) -> None:
    async with house(faults=[Fault(on="create", kind="http", status=429, retry_after=60, nth=1)]) as home:
        client = await home.client(retry=RetryPolicy())
        await _cancelled_once(home, client.submit, "create")

        assert home.sandbox.audit.requests["create"] == 1
        assert home.sandbox.audit.jobs == ()


async def test_cancelled_while_waiting_the_job_is_told_and_goes_on(house: Open, caplog) -> None:
    async with house(clock=still_clock()) as home:
        client = await home.client()
        with caplog.at_level(logging.WARNING, "akool_async"):
            await _cancelled_once(home, client.translate, "status")

        (job,) = home.sandbox.audit.jobs
    assert job.id in caplog.text


SECONDS = float(os.environ.get("AKOOL_TEST_CANCEL_SECONDS", "1"))


async def test_the_client_still_answers_after_random_cancellation_under_contention(
    way: Way, house: Open
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with house() as home:
        client = await home.client()
        ended = anyio.current_time() + SECONDS
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(_ask_and_leave, client, chance, ended)

        with anyio.fail_after(40):
            async with anyio.create_task_group() as tasks:
                for _ in range(100):
                    tasks.start_soon(client.credit)


async def _ask_and_leave(client: AkoolClient, chance: random.Random, ended: float) -> None:
    while anyio.current_time() < ended:
        with anyio.move_on_after(chance.random() * 0.01):
            await client.credit()
        await anyio.lowlevel.checkpoint()


async def test_native_cancellation_under_contention_leaves_a_working_client(fast_house: Open) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with fast_house() as home:
        for transport in ("auto", "plain"):
            client = await home.client(transport=transport)
            for _ in range(12):
                calls = [asyncio.ensure_future(client.credit()) for _ in range(30)]
                await asyncio.sleep(chance.random() * 0.01)
                for call in calls:
                    call.cancel()
                await asyncio.gather(*calls, return_exceptions=True)
            with anyio.fail_after(40):
                assert await client.credit() > 0


@pytest.mark.parametrize("steps", range(0, 60, 3))
async def test_a_submission_cancelled_at_any_step_makes_at_most_one_job(fast_house: Open, steps: int) -> None:
    async with fast_house() as home:
        client = await home.client()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_submit, client)
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert await client.credit() > 0

        assert home.sandbox.audit.requests.get("create", 0) <= 1
        assert len(home.sandbox.audit.jobs) <= 1


async def _submit(client: AkoolClient) -> None:
    try:
        await client.submit(video())
    except AkoolError:
        pytest.fail("nothing went wrong here")
