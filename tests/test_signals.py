"""Signals as calls: every block gets them, and the handlers of before are back, whoever set them."""

from __future__ import annotations

import asyncio
import os
import signal

import anyio
import pytest

from akool_async import _signals
from akool_async._signals import ending_signals, received_signals
from tests.client.moments import until

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system lacks the signal"),
]

NUMBER = signal.SIGUSR1


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_signal_is_a_call_in_the_event_loop() -> None:
    got: list[signal.Signals] = []
    handler = signal.getsignal(NUMBER)
    async with received_signals([NUMBER], got.append):
        signal.raise_signal(NUMBER)
        assert got == []  # not inside whatever runs now
        await until(lambda: got == [NUMBER])
        os.kill(os.getpid(), NUMBER)
        await until(lambda: got == [NUMBER] * 2)

    assert signal.getsignal(NUMBER) is handler


async def test_blocks_that_end_in_any_order_each_get_them() -> None:
    handler = signal.getsignal(NUMBER)
    got: dict[str, list[signal.Signals]] = {"first": [], "second": []}
    leave = {name: anyio.Event() for name in got}
    entered, left = set[str](), set[str]()

    async def receive(name: str) -> None:
        async with received_signals([NUMBER], got[name].append):
            entered.add(name)
            await leave[name].wait()
        left.add(name)

    async with anyio.create_task_group() as tasks:
        for name in got:
            tasks.start_soon(receive, name)
            await until(lambda name=name: name in entered)
        signal.raise_signal(NUMBER)
        await until(lambda: all(len(numbers) == 1 for numbers in got.values()))
        leave["first"].set()
        await until(lambda: left)
        signal.raise_signal(NUMBER)
        await until(lambda: len(got["second"]) == 2)
        leave["second"].set()

    assert len(got["first"]) == 1
    assert signal.getsignal(NUMBER) is handler


async def test_a_cancelled_block_receives_until_it_has_ended() -> None:
    got: list[signal.Signals] = []
    with anyio.CancelScope() as scope:
        async with received_signals([NUMBER], got.append):
            try:
                scope.cancel()
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    signal.raise_signal(NUMBER)
                    await until(lambda: got)

    assert got == [NUMBER]


async def test_more_signals_than_anybody_reads_break_nothing() -> None:
    got: list[signal.Signals] = []
    async with received_signals([NUMBER], got.append):
        for _ in range(20_000):
            signal.raise_signal(NUMBER)
        await until(lambda: got)
        seen = len(got)
        signal.raise_signal(NUMBER)
        await until(lambda: len(got) > seen)


async def test_the_handler_of_an_event_loop_works_again(anyio_backend: str) -> None:
    if anyio_backend == "trio":
        pytest.skip("trio sets handlers as everyone does")
    loop, got = asyncio.get_running_loop(), list[str]()
    loop.add_signal_handler(NUMBER, got.append, "the application")
    try:
        async with received_signals([NUMBER], lambda _: None):
            pass
        signal.raise_signal(NUMBER)
        await until(lambda: got)
    finally:
        loop.remove_signal_handler(NUMBER)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
async def test_a_forked_child_ends_by_its_signals_and_tells_its_parent_of_none() -> None:
    got: list[signal.Signals] = []
    async with received_signals([signal.SIGTERM], got.append):
        child = os.fork()
        if not child:
            signal.raise_signal(signal.SIGTERM)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        for _ in range(10):
            await anyio.sleep(0.002)

    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM
    assert got == []


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another block"])
async def test_a_signal_that_can_not_be_handled_leaves_nothing_behind(*, beside: bool) -> None:
    handler, others = signal.getsignal(NUMBER), [NUMBER] if beside else []
    with anyio.fail_after(30):
        async with received_signals(others, lambda _: None):
            # In whatever order the set of both is registered.
            for wanted in ([NUMBER, signal.SIGKILL], [signal.SIGKILL], [NUMBER, signal.SIGSTOP]):
                with pytest.raises(OSError, match="Invalid argument"):
                    async with received_signals(wanted, lambda _: None):
                        pass
            assert (signal.getsignal(NUMBER) is handler) is not beside

    assert signal.getsignal(NUMBER) is handler
    assert _signals._RECEIVERS == _signals._BEFORE == {}


def test_what_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    ignored = {signal.SIGHUP: signal.SIG_IGN}
    monkeypatch.setattr(signal, "getsignal", lambda number: ignored.get(number, signal.SIG_DFL))

    assert ending_signals() == (signal.SIGINT, signal.SIGTERM)
