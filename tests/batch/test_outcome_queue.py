"""Outcomes that wait for the caller: none is lost with a caller that is cancelled."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from akool_async import NotSubmitted
from akool_async._batch.entry import OutcomeQueue
from tests.client.conftest import video


def outcome(key: str) -> NotSubmitted:
    return NotSubmitted(key=key, request=video(1), target="ja")


async def test_gives_outcomes_in_the_order_in_which_they_came() -> None:
    outbox = OutcomeQueue()
    outbox.put(outcome("a"))
    outbox.put(outcome("b"))
    outbox.close()

    assert [(await outbox.get()).key, (await outbox.get()).key] == ["a", "b"]
    assert await outbox.get() is None


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_taker_that_the_event_loop_cancels_leaves_the_outcome_where_it_is() -> None:
    outbox = OutcomeQueue()
    taker = asyncio.ensure_future(outbox.get())
    for _ in range(3):
        await asyncio.sleep(0)
    outbox.put(outcome("a"))
    taker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taker

    with anyio.fail_after(55):
        assert (await outbox.get()).key == "a"


async def test_several_takers_get_one_each() -> None:
    outbox, taken = OutcomeQueue(), []

    async def take() -> None:
        taken.append(await outbox.get())

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        outbox.put(outcome("a"))
        outbox.put(outcome("b"))
        await anyio.wait_all_tasks_blocked()
        outbox.close()

    assert sorted(found.key for found in taken if found) == ["a", "b"]
    assert taken.count(None) == 1
