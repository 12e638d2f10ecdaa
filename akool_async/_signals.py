"""Signals as calls, for work that may not be torn; the handlers of before are back when it has ended."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from types import FrameType
from typing import Any, Final

import anyio

from akool_async._background import BackgroundTasks
from akool_async._model.errors import ConfigurationError
from akool_async._model.redact import safe_repr


def ending_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that ask a command to end: Ctrl-C, SIGTERM, and SIGHUP of a terminal that is closed.

    What is ignored stays so: nohup lets a command outlive its terminal by ignoring SIGHUP.
    """
    # Windows lacks the last.
    known = (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP"))
    return tuple(number for number in known if number and signal.getsignal(number) is not signal.SIG_IGN)


def check_signals(numbers: Iterable[object], field: str) -> tuple[signal.Signals, ...]:
    """Return the signals that a caller names in a field.

    Raises:
        ConfigurationError: these are no signals, or one of them can't be handled.
    """
    try:
        named = tuple(numbers)
    except TypeError:
        raise ConfigurationError(
            f"{field} must be a list of signals, such as [signal.SIGINT], not {safe_repr(numbers)}."
        ) from None
    handled = {one for one in signal.valid_signals() if isinstance(one, signal.Signals)}
    # The system lets no program handle these; Windows lacks them.
    handled -= {getattr(signal, name, None) for name in ("SIGKILL", "SIGSTOP")}
    found: list[signal.Signals] = []
    for number in named:
        if not isinstance(number, int) or isinstance(number, bool) or number not in handled:
            raise ConfigurationError(
                f"{field} must be signals that a program can handle, such as signal.SIGINT, "
                f"not {safe_repr(number)}."
            )
        found.append(signal.Signals(number))
    return tuple(found)


@asynccontextmanager
async def received_signals(
    numbers: Iterable[signal.Signals], on_signal: Callable[[signal.Signals], None]
) -> AsyncIterator[None]:
    """Call a function for each signal until the end of the block, also while what the block holds is closed.

    Main thread only. Where the block is cancelled, signals are received until it has ended. Several blocks
    at the same time each get them, in whatever order they end.

    Args:
        numbers: the signals.
        on_signal: called in the event loop, in order; raises nothing.

    Raises:
        OSError, ValueError: one of them can't be handled; all handlers are as before.
    """
    wanted = frozenset(numbers)
    if not wanted:
        yield
        return
    # Not by the loop's own handlers: asyncio forgets those of before, and leaves the default ones. Then
    # Ctrl-C is raised anywhere, also between the locks of a thread's queue, which waits for ever.
    inward, outward = socket.socketpair()
    listening = anyio.CancelScope(shield=True)

    async def listen() -> None:
        with listening:
            while True:
                await anyio.wait_readable(inward)
                for number in inward.recv(_MOST_AT_ONCE):
                    on_signal(signal.Signals(number))

    with inward, outward:
        for end in (inward, outward):
            end.setblocking(False)
        async with BackgroundTasks() as tasks:
            tasks.start_soon(listen)
            # Also where registering fails: the listener is shielded, and would be waited for without end.
            try:
                for number in wanted:
                    # First who receives it: its handler may be called at once.
                    _RECEIVERS.setdefault(number, []).append(outward)
                    if number not in _BEFORE:
                        _BEFORE[number] = signal.signal(number, _on_signal)
                yield
            finally:
                listening.cancel()
                for number in wanted & _RECEIVERS.keys():
                    with suppress(ValueError):  # it was not reached, or a fork has undone it
                        _RECEIVERS[number].remove(outward)
                    if not _RECEIVERS[number]:
                        _restore(number)


_MOST_AT_ONCE: Final = 64
_RECEIVERS: Final[dict[int, list[socket.socket]]] = {}
"""By signal, where its number is written to."""

_BEFORE: Final[dict[int, Any]] = {}
"""By signal, its handler of before."""


def _on_signal(number: int, _: FrameType | None) -> None:
    for outward in _RECEIVERS.get(number, ()):
        with suppress(BlockingIOError):  # there are thousands that nobody has looked at yet
            outward.send(bytes([number]))


def _restore(*numbers: int) -> None:
    for number in numbers:
        before = _BEFORE.pop(number, None)
        if before is not None:  # else Python did not set it, or could not replace it
            signal.signal(number, before)
        del _RECEIVERS[number]


if hasattr(os, "register_at_fork"):
    # A forked child would tell its parent of its own signals, and not end by them.
    os.register_at_fork(after_in_child=lambda: _restore(*_RECEIVERS))
