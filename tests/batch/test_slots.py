"""Slots: so many at once, the longest waiting first, none lost to a cancellation, none returned twice."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from akool_async._batch.limits import WeightedSemaphore


async def test_no_more_are_taken_than_there_are() -> None:
    slots = WeightedSemaphore(3)
    await slots.acquire(2)
    await slots.acquire(1)
    with anyio.move_on_after(0.01) as waiting:
        await slots.acquire(1)

    assert waiting.cancelled_caught
    assert slots.taken == 3


async def test_who_waits_longest_is_served_first_also_if_less_would_fit() -> None:
    slots, served = WeightedSemaphore(3), []

    async def take(name: str, wanted: int) -> None:
        await slots.acquire(wanted)
        served.append(name)

    await slots.acquire(3)
    async with anyio.create_task_group() as tasks:
        for name, wanted in (("three", 3), ("one", 1), ("two", 2)):
            tasks.start_soon(take, name, wanted)
            await anyio.wait_all_tasks_blocked()
        slots.release(2)
        await anyio.wait_all_tasks_blocked()
        assert served == []
        slots.release(1)
        await anyio.wait_all_tasks_blocked()
        assert (served, slots.taken) == (["three"], 3)
        slots.release(3)
    assert (served, slots.taken) == (["three", "one", "two"], 3)


async def test_nobody_overtakes_who_waits() -> None:
    slots = WeightedSemaphore(2)
    await slots.acquire(1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slots.acquire, 2)
        await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(0.01) as waiting:
            await slots.acquire(1)
        assert waiting.cancelled_caught
        slots.release(1)
    assert slots.taken == 2


async def test_who_is_cancelled_while_waiting_makes_room() -> None:
    slots = WeightedSemaphore(3)
    await slots.acquire(2)
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            tasks.start_soon(slots.acquire, 1)
            scope.cancel()
            await slots.acquire(2)
    assert slots.taken == 3
    slots.release(3)
    assert slots.taken == 0


async def test_what_was_given_to_a_task_that_is_cancelled_just_then_is_returned() -> None:
    slots = WeightedSemaphore(3)
    await slots.acquire(3)
    waiting = asyncio.ensure_future(slots.acquire(2))
    await anyio.wait_all_tasks_blocked()
    slots.release(3)  # two are given to it, and it is cancelled before it runs
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert slots.taken == 0


async def test_a_permit_is_returned_once() -> None:
    slots = WeightedSemaphore(2)
    first, _ = await slots.acquire_one(), await slots.acquire_one()
    first.release()
    first.release()

    assert slots.taken == 1
