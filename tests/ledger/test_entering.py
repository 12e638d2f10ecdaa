"""A catalog is entered all at once or not at all: nobody pays for a part of it."""

from __future__ import annotations

import asyncio
from functools import partial

import anyio
import attrs
import pytest
from anyio.to_thread import run_sync

from akool_async import InvalidRequestError
from akool_async._model.filenames import DEFAULT_TEMPLATE
from akool_async.cli.app import run
from akool_async.ledger import Entering, Ledger, LedgerError, Made, NotSent, open_ledger
from akool_async.workers.workflows import queue_stranded
from tests.ledger.conftest import Bench, video


async def kill_while_entering(url: str, *numbers: int) -> None:
    """Leave what an `enqueue` left that was killed before it ended."""
    async with open_ledger(url) as ledger:
        await ledger.enter([video(number) for number in numbers], DEFAULT_TEMPLATE, hold="entering killed")


async def keys(ledger: Ledger) -> list[str]:
    return [entry.key async for entry in ledger.entries()]


async def test_nobody_pays_for_what_is_being_entered(bench: Bench) -> None:
    async with bench.ledger.entering() as entering:
        assert len(await entering.plan([video(1)])) == 1
        assert await bench.ledger.open_work() == []
        assert await queue_stranded(bench.ledger) == 0
        unpaid = await bench.ledger.submit_once(bench.client, video(1))
        assert isinstance(unpaid, NotSent)
        assert "enqueue has not ended" in unpaid.reason
        assert await bench.ledger.count_unreleased() == (1, 0)

    assert bench.sandbox.audit.creates == ()
    assert entering.released
    assert await bench.ledger.open_work() == [("video-1", "ja", 0)]
    assert isinstance(await bench.ledger.submit_once(bench.client, video(1)), Made)


async def test_after_an_error_all_is_taken_back_but_what_was_there(bench: Bench) -> None:
    await bench.ledger.plan([video(1)])
    with pytest.raises(InvalidRequestError):
        async with bench.ledger.entering() as entering:
            await entering.plan([video(1), video(2)])
            await entering.plan([attrs.evolve(video(9), key="video-1")])

    assert await keys(bench.ledger) == ["video-1"]
    assert await bench.ledger.open_work() == [("video-1", "ja", 0)]
    with pytest.raises(LedgerError, match="taken back already"):
        await entering.plan([video(3)])


@pytest.mark.parametrize("native", [False, True])
async def test_a_caller_that_is_cancelled_leaves_nothing_entered(bench: Bench, native: bool) -> None:
    async def enter(entered: anyio.Event) -> None:
        async with bench.ledger.entering() as entering:
            await entering.plan([video(1)])
            entered.set()
            await entering.plan([video(number) for number in range(2, 60)])
            await anyio.sleep_forever()

    entered = anyio.Event()
    if native:  # as of Ctrl-C: no shield holds it back
        task = asyncio.create_task(enter(entered))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(enter, entered)
            await entered.wait()
            tasks.cancel_scope.cancel()

    assert await keys(bench.ledger) == []


async def test_what_was_left_by_a_call_that_was_killed_is_paid_by_nobody_and_taken_back(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    await kill_while_entering(bench.url, 1, 2)
    assert await bench.ledger.open_work() == []
    await run_sync(partial(run, ["status", "--ledger", bench.url]))
    told = capsys.readouterr().err
    assert "2  of the entries are not submitted until their enqueue ends" in told
    await run_sync(partial(run, ["list", "--ledger", bench.url]))
    assert "run it again" in capsys.readouterr().out

    async with bench.ledger.entering() as entering:
        assert entering.taken_back == 2
        # The same work under another key is no conflict with what was taken back.
        await entering.plan([attrs.evolve(video(1), key="renamed"), video(2)])
    assert sorted(await keys(bench.ledger)) == ["renamed", "video-2"]


async def test_a_plan_of_its_own_pays_for_what_a_call_left_that_was_killed(bench: Bench) -> None:
    await kill_while_entering(bench.url, 1, 2)
    assert await bench.ledger.plan([video(1)]) == []

    assert await bench.ledger.open_work() == [("video-1", "ja", 0)]
    async with bench.ledger.entering() as entering:
        assert entering.taken_back == 1
    assert await keys(bench.ledger) == ["video-1"]


async def test_two_that_enter_wait_for_each_other(bench: Bench) -> None:
    waited, order = anyio.Event(), list[str]()

    async def second() -> None:
        async with open_ledger(bench.url) as other, other.entering(on_wait=waited.set) as entering:
            order.append("second")
            await entering.plan([video(1)])

    async with anyio.create_task_group() as tasks, bench.ledger.entering() as entering:
        tasks.start_soon(second)
        await waited.wait()
        await entering.plan([video(1)])
        order.append("first")

    assert order == ["first", "second"]
    assert await bench.ledger.open_work() == [("video-1", "ja", 0)]


async def test_accounts_do_not_wait_for_each_other(bench: Bench) -> None:
    async with open_ledger(bench.url, account="films") as other, bench.ledger.entering():
        with anyio.fail_after(30):
            async with other.entering() as entering:
                await entering.plan([video(1)])
        assert await keys(other) == ["video-1"]


async def test_one_whose_lock_was_lost_does_not_say_that_all_was_entered(bench: Bench) -> None:
    entering: Entering | None = None
    with pytest.raises(LedgerError):
        async with bench.ledger.entering() as entering:
            await entering.plan([video(1)])
            await bench.ledger.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database d ON d.oid = database"
                " WHERE locktype = 'advisory' AND d.datname = current_database()"
            )

    assert entering is not None
    assert not entering.released
    assert await keys(bench.ledger) == []
