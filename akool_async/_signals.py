"""Signals as calls, for work that may not be torn; the handlers of before are back when it has ended."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskStatus

from akool_async._background import BackgroundTasks


def ending_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that ask a command to end: Ctrl-C, SIGTERM, and SIGHUP of a terminal that is closed.

    What is ignored stays so: nohup lets a command outlive its terminal by ignoring SIGHUP.
    """
    known = (
        getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")
    )  # Windows lacks the last
    return tuple(number for number in known if number and signal.getsignal(number) is not signal.SIG_IGN)


@asynccontextmanager
async def received_signals(
    numbers: Iterable[signal.Signals], on_signal: Callable[[signal.Signals], None]
) -> AsyncIterator[None]:
    """Call a function for each signal until the end of the block, also while what the block holds is closed.

    Main thread only. Where the block is cancelled, signals are received until it has ended.

    Args:
        numbers: the signals.
        on_signal: called in the event loop, in order; raises nothing.
    """
    wanted = tuple(numbers)
    if not wanted:
        yield
        return
    handlers = {number: signal.getsignal(number) for number in wanted}

    async def listen(*, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(*wanted) as signals:
            task_status.started()
            async for number in signals:
                on_signal(number)

    try:
        async with BackgroundTasks() as tasks:
            await tasks.start(listen)
            yield
    finally:
        # An event loop of asyncio leaves the default ones: Ctrl-C would be raised anywhere, also between the
        # locks of a thread's queue, which then waits for ever.
        for number, handler in handlers.items():
            if handler is not None:  # not set by Python
                signal.signal(number, handler)
