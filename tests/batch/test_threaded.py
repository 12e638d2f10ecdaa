"""Sources that block, pulled in a thread of their own."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from akool_async import Completed, ConfigurationError, InvalidRequestError, TranslationRequest, open_batch
from akool_async.sandbox import Sandbox
from akool_async.testing import VirtualClock
from tests.client.conftest import video


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def sandbox() -> Sandbox:
    clock = VirtualClock()
    return Sandbox(media=False, clock=clock.sandbox_time)


async def test_a_source_that_blocks_does_not_block_the_event_loop(sandbox: Sandbox) -> None:
    release, blocked = threading.Event(), threading.Event()

    def source() -> Iterator[TranslationRequest]:
        yield video(1)
        blocked.set()
        assert release.wait(55)
        yield video(2)

    async with (
        sandbox.client(clock=VirtualClock()) as client,
        open_batch(client, source(), threaded=True) as batch,
    ):
        with anyio.fail_after(55):
            while not (blocked.is_set() and sandbox.audit.jobs):
                await anyio.sleep(0.001)  # only a free event loop gets here
        assert [job.url for job in sandbox.audit.jobs] == [video(1).url]
        release.set()
        with anyio.fail_after(55):
            while len(sandbox.audit.jobs) < 2:
                await anyio.sleep(0.001)
        batch.drain()


async def test_a_database_is_read_in_one_thread(tmp_path: Path) -> None:
    clock = VirtualClock()
    sandbox = Sandbox(media=False, clock=clock.sandbox_time)
    path = tmp_path / "theirs.sqlite3"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE video (url TEXT)")
        database.executemany("INSERT INTO video VALUES (?)", [(video(n).url,) for n in range(30)])
    threads = set()

    def source() -> Iterator[TranslationRequest]:
        connection = sqlite3.connect(path)  # refuses to be used in another thread
        try:
            for (url,) in connection.execute("SELECT url FROM video"):
                threads.add(threading.get_ident())
                yield TranslationRequest(url=url, targets="ja")
        finally:
            connection.close()

    async with (
        sandbox.client(clock=clock) as client,
        open_batch(client, source(), threaded=True) as batch,
    ):
        outcomes = [outcome async for outcome in batch]

    assert len(outcomes) == 30
    assert all(isinstance(outcome, Completed) for outcome in outcomes)
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_what_the_source_raises_is_raised_after_the_last_outcome() -> None:
    clock = VirtualClock()
    sandbox = Sandbox(media=False, clock=clock.sandbox_time)

    def source() -> Iterator[TranslationRequest]:
        yield video(1)
        raise LookupError("their database is gone")

    async with (
        sandbox.client(clock=clock) as client,
        open_batch(client, source(), threaded=True) as batch,
    ):
        assert isinstance(await anext(batch), Completed)
        with pytest.raises(LookupError, match="database is gone"):
            await anext(batch)


async def test_a_batch_does_not_wait_for_a_source_that_never_answers(sandbox: Sandbox) -> None:
    release, blocked = threading.Event(), threading.Event()

    def source() -> Iterator[TranslationRequest]:
        blocked.set()
        release.wait(60)
        yield video(1)

    try:
        with anyio.fail_after(55):
            async with sandbox.client() as client, open_batch(client, source(), threaded=True) as batch:
                while not blocked.is_set():
                    await anyio.sleep(0.001)
                batch.drain()
                assert [outcome async for outcome in batch] == []
    finally:
        release.set()

    assert sandbox.audit.jobs == ()


async def test_an_async_source_is_refused(sandbox: Sandbox) -> None:
    async def source() -> AsyncIterator[TranslationRequest]:
        yield video(1)

    async with sandbox.client() as client:
        with pytest.raises(ConfigurationError, match="async iterable"):
            open_batch(client, source(), threaded=True)
        async with open_batch(client, ["no request"], threaded=True) as batch:
            with pytest.raises(InvalidRequestError, match="not str"):
                await anext(batch)
