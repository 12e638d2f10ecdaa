"""Client, journal and batch where no block surrounds opening and closing: fixtures, notebooks, services."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import anyio
import pytest
from anyio.lowlevel import checkpoint

from akool_async import (
    AkoolClient,
    AkoolError,
    CallerError,
    Completed,
    JournalError,
    JournalLockedError,
    open_batch,
    open_journal,
)
from akool_async._background import BackgroundTasks, LongLived
from akool_async.sandbox import Sandbox
from akool_async.testing import VirtualClock
from akool_async.webhook import WebhookReceiver, open_inbox
from tests import virtual_time
from tests.client.conftest import video
from tests.testing.conftest import ASYNCIO, run_tests


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


def sandbox_and_clock() -> tuple[Sandbox, VirtualClock]:
    clock = VirtualClock()
    return Sandbox(media=False, clock=clock.sandbox_time), clock


async def in_a_task(work: Callable[[], Awaitable[Any]]) -> Any:
    """Run something in a task of its own, as a notebook runs a cell."""
    results: list[Any] = []

    async def run() -> None:
        try:
            results.append(await work())
        except AkoolError as error:
            results.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
    return results[0]


async def test_everything_is_opened_and_closed_in_different_tasks(tmp_path: Path) -> None:
    sandbox, clock = sandbox_and_clock()
    client = sandbox.client(clock=clock)
    journal = open_journal(tmp_path / "jobs.sqlite3")
    batch = open_batch(client, journal=journal, download_to=tmp_path / "out")
    for opening in (client.aopen, journal.aopen, batch.aopen):
        assert isinstance(await in_a_task(opening), type(opening.__self__))
    ticket = await in_a_task(lambda: batch.submit(video(1)))
    outcome = await in_a_task(ticket.outcome)
    for closing in (batch.aclose, journal.aclose, client.aclose, client.aclose):
        assert await in_a_task(closing) is None

    assert isinstance(outcome, Completed)
    assert outcome.saved.video.exists()
    async with open_journal(tmp_path / "jobs.sqlite3"):  # its lock is free
        pass


async def test_aclose_finishes_a_paid_post(tmp_path: Path) -> None:
    sandbox, clock = sandbox_and_clock()
    async with sandbox.client(clock=clock) as client, open_journal(tmp_path / "j") as journal:
        batch = open_batch(client, journal=journal)
        await batch.aopen()
        ticket = await batch.submit(video(1))
        with anyio.fail_after(55):
            while not sandbox.audit.creates:
                await anyio.lowlevel.checkpoint()
        with anyio.CancelScope() as leaving:
            leaving.cancel()
            await batch.aclose()
        entry = journal.get(*ticket.names[0])

    assert entry is not None
    assert entry.job_id == sandbox.audit.jobs[0].id


async def test_what_can_not_be_opened_says_why(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j"):
        second = open_journal(tmp_path / "j")
        with pytest.raises(JournalLockedError):
            await second.aopen()
        await second.aclose()

    sandbox, clock = sandbox_and_clock()
    client = sandbox.client(clock=clock)
    await client.aopen()
    with pytest.raises(RuntimeError, match="open already"):
        await client.aopen()
    assert await client.credit() > 0
    await client.aclose()


@pytest.mark.parametrize("word", ["client", "journal", "batch", "receiver", "inbox"])
async def test_of_two_tasks_that_open_it_at_once_the_second_is_refused(word: str, tmp_path: Path) -> None:
    sandbox, clock = sandbox_and_clock()
    opened: list[Any] = []
    refused: list[BaseException] = []
    async with sandbox.client(clock=clock) as client, open_journal(":memory:") as journal:
        thing: Any = {
            "client": lambda: sandbox.client(clock=clock),
            "journal": lambda: open_journal(tmp_path / "journal"),
            "batch": lambda: open_batch(client, [video(1)], journal=journal),
            "receiver": lambda: WebhookReceiver(
                client_id="someone", client_secret="s" * 16, inbox=tmp_path / "inbox"
            ),
            "inbox": lambda: open_inbox(tmp_path / "inbox"),
        }[word]()
        leave = anyio.Event()

        async def use() -> None:
            try:
                async with thing:
                    opened.append(thing)
                    if len(opened) == 2:
                        leave.set()
                    await leave.wait()
            except (RuntimeError, JournalLockedError) as error:
                refused.append(error)
                leave.set()

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(use)
                tasks.start_soon(use)

    assert opened == [thing]
    assert len(refused) == 1


class Panic(BaseException):
    """What a library raises that no handler of errors is to catch."""


class Broken(LongLived):
    """Ends by what one of its tasks raises."""

    def __init__(self, error: BaseException) -> None:
        self.raised = anyio.Event()
        self._error = error
        self._background = BackgroundTasks()

    async def __aenter__(self) -> Self:
        tasks = await self._background.__aenter__()
        tasks.start_soon(self._fail)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._background.__aexit__()

    async def _fail(self) -> None:
        self.raised.set()
        raise self._error


@pytest.mark.parametrize("error", [Panic("in a task"), LookupError("in a task")], ids=["panic", "error"])
async def test_what_ended_it_meanwhile_is_raised_where_it_is_closed(error: BaseException) -> None:
    broken = await Broken(error).aopen()
    with anyio.fail_after(40):
        await broken.raised.wait()
        with pytest.raises(BaseExceptionGroup) as caught:
            await broken.aclose()

    assert caught.group_contains(type(error), match="in a task")


async def test_blocks_that_are_left_in_another_task_say_so(tmp_path: Path) -> None:
    sandbox, clock = sandbox_and_clock()
    async with (
        sandbox.client(clock=clock) as client,
        open_journal(tmp_path / "j") as journal,
        open_batch(client, journal=journal) as batch,
    ):
        for thing, kind in ((batch, CallerError), (journal, JournalError)):
            leave = thing.__aexit__
            error = await in_a_task(lambda leave=leave: leave(None, None, None))
            assert isinstance(error, kind)
            assert "another task" in error.message
            assert "aopen" in error.advice
        assert isinstance(await (await batch.submit(video(1))).outcome(), Completed)


def test_another_event_loop_is_told_so(tmp_path: Path) -> None:
    """As Django's async_to_sync runs each call in a loop of its own."""
    sandbox, clock = sandbox_and_clock()
    client = sandbox.client(clock=clock)
    journal = open_journal(tmp_path / "j")
    batch = open_batch(client, journal=journal)

    with asyncio.Runner() as first:
        first.run(client.aopen())
        first.run(journal.aopen())
        first.run(batch.aopen())
        with asyncio.Runner() as second:
            for use in (lambda: batch.submit(video(1)), client.credit, client.aclose, batch.aclose):
                with pytest.raises(AkoolError, match="another event loop"):
                    second.run(use())
        ticket = first.run(batch.submit(video(1)))
        assert isinstance(first.run(ticket.outcome()), Completed)
        for close in (batch.aclose, journal.aclose, client.aclose):
            first.run(close())


FIXTURES = """
@pytest_asyncio.fixture
async def with_a_block(akool_sandbox, akool_clock):
    async with akool_sandbox.client(clock=akool_clock) as client:
        yield client

@pytest_asyncio.fixture
async def service(akool_client, tmp_path):
    await akool_client.aopen()
    journal = await open_journal(tmp_path / "jobs.sqlite3").aopen()
    batch = await open_batch(akool_client, journal=journal).aopen()
    yield batch
    await batch.aclose()
    await journal.aclose()
    await akool_client.aclose()

async def test_a_client(with_a_block):
    assert await with_a_block.credit() > 0

async def test_a_service(service):
    assert isinstance(await (await service.submit(video())).outcome(), Completed)
"""


@pytest.mark.thorough
def test_fixtures_of_pytest_asyncio(tmp_path: Path) -> None:
    run = run_tests(tmp_path, ASYNCIO + FIXTURES)

    assert run.outcomes == {"test_a_client": {"PASSED"}, "test_a_service": {"PASSED"}}, run.output


@contextlib.asynccontextmanager
async def a_used_client(folder: Path) -> AsyncIterator[None]:
    async with (
        Sandbox(api_key="k" * 16, media=False).serve() as server,
        AkoolClient(api_key="k" * 16, host=server.base_url) as client,
    ):
        await client.credit()
        yield


@contextlib.asynccontextmanager
async def an_open_batch(folder: Path) -> AsyncIterator[None]:
    async with sandbox_and_clock()[0].client() as client, open_batch(client, []):
        yield


HELD_OPEN: dict[str, Callable[[Path], contextlib.AbstractAsyncContextManager[object]]] = {
    "client": a_used_client,
    "batch": an_open_batch,
    "journal": lambda folder: open_journal(folder / "jobs.sqlite3"),
    "inbox": lambda folder: open_inbox(folder / "inbox.sqlite3"),
    "receiver": lambda _: WebhookReceiver(client_id="an-id", client_secret="k" * 16),
    "sandbox": lambda _: Sandbox(media=False).serve(),
}


@pytest.mark.parametrize("held", HELD_OPEN)
def test_the_error_of_a_task_of_the_callers_comes_out_of_the_block(held: str, tmp_path: Path) -> None:
    # Before Python 3.13 a group of asyncio's, one of whose tasks failed, leaves its mark on the task that it
    # is in. What cancels that task afterwards, as a group of anyio's does, is taken for somebody else.
    async def fail() -> None:
        await anyio.sleep(0.01)
        raise LookupError("what the caller has to see")

    async def use() -> None:
        async with HELD_OPEN[held](tmp_path), asyncio.TaskGroup() as group:
            group.create_task(fail())

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(use())

    assert isinstance(caught.value.exceptions[0], LookupError)


async def _enter_and_cancel(turns: int) -> None:
    async def enter() -> None:
        async with BackgroundTasks() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            await anyio.sleep_forever()

    async with anyio.create_task_group() as callers:
        callers.start_soon(enter)
        for _ in range(turns):
            await checkpoint()
        callers.cancel_scope.cancel()


@pytest.mark.parametrize("turns", range(12))
def test_a_caller_that_is_cancelled_while_it_opens_something_leaves_no_group_open(turns: int) -> None:
    for seed in range(20):  # which decides the order of tasks within a turn
        virtual_time.run(_enter_and_cancel, turns, seed=seed)
    anyio.run(_enter_and_cancel, turns)
