"""Moments that a test waits for or brings about, in place of times that a busy machine does not keep."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

import anyio
import sniffio
import trio

from akool_async import AkoolClient
from akool_async._clock import SystemClock
from akool_async.sandbox import FakeClock, Fault, Sandbox, api


async def until(happened: Callable[[], object], *, seconds: float = 40.0) -> None:
    """Wait until something has happened."""
    await anyio.lowlevel.checkpoint()  # others have a turn, also where it has happened already
    with anyio.fail_after(seconds):
        while not happened():
            await anyio.sleep(0.002)


def still_clock() -> FakeClock:
    """A sandbox's clock that stands still, so that no job ends before the test lets it."""
    return FakeClock(time.time())


class HurriedClock(SystemClock):
    """A clock on which waits of minutes are over at once."""

    def __init__(self) -> None:
        super().__init__()
        self._skipped = 0.0

    def monotonic(self) -> float:
        return anyio.current_time() + self._skipped

    async def sleep(self, seconds: float) -> None:
        if seconds >= 120:
            self._skipped += seconds
            seconds = 0.0
        await super().sleep(seconds)


class SkewedClock(SystemClock):
    """A wall clock that is wrong, such as by `days=9`, after which results of today have expired."""

    def __init__(self, **by: float) -> None:
        super().__init__()
        self._by = timedelta(**by)

    def now(self) -> datetime:
        return super().now() + self._by


@contextmanager
def held_back(
    sandbox: Sandbox, endpoint: str, arrived: threading.Event | None = None
) -> Iterator[Callable[[], None]]:
    """Let a vendor that is asked at an endpoint do nothing, until the function that this gives is called.

    Args:
        sandbox: the vendor.
        endpoint: such as "create".
        arrived: set once it is asked.
    """
    released, answer = threading.Event(), api.wait_and_date

    async def wait(*arguments: Any) -> None:
        if arrived is not None:
            arrived.set()
        while not released.is_set():
            await anyio.sleep(0.002)
        await answer(*arguments)

    sandbox.faults.add(Fault(on=endpoint, kind="delay", seconds=0.0))
    with mock.patch.object(api, "wait_and_date", wait):
        try:
            yield released.set
        finally:
            released.set()


def end_time_of_calls(client: AkoolClient) -> None:
    """Let the time of all calls that are under way be over."""
    deadlines = client.session.opened.api._deadlines
    for limit in deadlines._limits:
        limit.at = -math.inf
        limit.grace = 0.0
    deadlines._wake()


def jump(seconds: float) -> None:
    """Move the clock of this event loop, as it moves while a machine is suspended."""
    if sniffio.current_async_library() == "trio":
        clock = trio.lowlevel.current_clock()
        object.__setattr__(clock, "offset", clock.offset + seconds)  # type: ignore[attr-defined]
    else:
        loop = asyncio.get_running_loop()
        before = loop.time
        loop.time = lambda: before() + seconds  # type: ignore[method-assign]


@contextmanager
def closed_port() -> Iterator[socket.socket]:
    """A port of this machine at which nobody listens, and which no other program gets meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken


def address(of: socket.socket) -> str:
    """The URL of what listens, or would listen, at a socket."""
    return f"http://127.0.0.1:{of.getsockname()[1]}"
