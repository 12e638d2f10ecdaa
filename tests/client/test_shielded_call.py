"""Work that outlives its caller: its result is told once, to the caller or to whom it is abandoned to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from akool_async._http.exchange import ShieldedCall
from akool_async._model.errors import ClientClosedError


async def fails() -> str:
    raise OSError("it failed")


async def test_a_shielded_call_returns_or_raises_what_its_work_does() -> None:
    async with anyio.create_task_group() as tasks:
        assert await ShieldedCall(returning("done"), shield=True).run(tasks) == "done"
        with pytest.raises(OSError, match="it failed"):
            await ShieldedCall(fails, shield=True).run(tasks)


def returning(result: str) -> Callable[[], Awaitable[str]]:
    async def work() -> str:
        return result

    return work


@pytest.mark.parametrize("result", ["done", OSError("it failed")])
async def test_what_a_caller_that_left_would_have_received_is_told_once(result: str | Exception) -> None:
    told: list[str | Exception] = []
    begun, may_end = anyio.Event(), anyio.Event()

    async def work() -> str:
        begun.set()
        await may_end.wait()
        if isinstance(result, Exception):
            raise result
        return result

    async with anyio.create_task_group() as tasks:
        call = ShieldedCall(work, shield=True, on_abandoned=told.append)
        async with anyio.create_task_group() as callers:
            callers.start_soon(call.run, tasks)
            await begun.wait()
            callers.cancel_scope.cancel()
        assert told == []
        may_end.set()

    assert told == [result]


async def test_a_result_that_comes_while_its_caller_leaves_is_told() -> None:
    told: list[str | Exception] = []
    call = ShieldedCall(returning("done"), shield=True, on_abandoned=told.append)
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await call.run(tasks)

    assert told == ["done"]


async def test_nobody_is_told_of_what_its_caller_received() -> None:
    told: list[Any] = []
    async with anyio.create_task_group() as tasks:
        await ShieldedCall(returning("done"), shield=True, on_abandoned=told.append).run(tasks)

    assert told == []


@pytest.mark.parametrize("shield", [True, False])
async def test_only_shielded_work_outlives_its_group(shield: bool) -> None:
    seen = SimpleNamespace(begun=anyio.Event(), may_end=anyio.Event(), result=None)

    async def work() -> str:
        seen.begun.set()
        await seen.may_end.wait()
        return "done"

    async def end(event: anyio.Event) -> None:
        await anyio.wait_all_tasks_blocked()
        event.set()

    async def wait(call: ShieldedCall[str]) -> None:
        try:
            seen.result = await call.run(tasks)
        except ClientClosedError as error:
            seen.result = error

    async with anyio.create_task_group() as callers, anyio.create_task_group() as tasks:
        callers.start_soon(wait, ShieldedCall(work, shield=shield))
        await seen.begun.wait()
        tasks.cancel_scope.cancel()
        if shield:
            callers.start_soon(end, seen.may_end)

    assert seen.result == "done" if shield else isinstance(seen.result, ClientClosedError)
