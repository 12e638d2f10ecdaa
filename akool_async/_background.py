"""Work in tasks that are not the caller's: its end cancels nothing there, and another task may close it.

The one place that starts tasks of an event loop's own library, because a task group belongs to a task. (The
workers on DBOS, whose engine needs asyncio, are a thing of their own.)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

import anyio
from anyio.abc import TaskGroup, TaskStatus
from anyio.lowlevel import checkpoint_if_cancelled, current_token

from akool_async._model.errors import CallerError

_TASKS: Final[set[object]] = set()
"""Holds tasks of asyncio, which an event loop alone does not keep."""


class BackgroundTasks:
    """A task group in a task of its own, cancelled at the end of `async with`.

    Ending a group of the caller's own task cancels that task for a moment. Before Python 3.13 the group of
    asyncio that a caller uses meanwhile may have left its mark on the task, after one of its tasks failed.
    Then asyncio takes the moment for a cancellation from outside, which comes out in place of the error.

    Attributes:
        tasks: the group; it may be handed on before it is entered.
    """

    def __init__(self) -> None:
        self.tasks: TaskGroup = anyio.create_task_group()
        self._host = anyio.create_task_group()
        self._ended = anyio.Event()

    async def __aenter__(self) -> TaskGroup:
        """Enter the group."""
        await self._host.__aenter__()
        try:
            await self._host.start(self._run)
            # That may return although the caller is cancelled just now, and the group has ended already.
            await checkpoint_if_cancelled()
        except BaseException:  # a cancelled caller leaves no group open
            await self._host.__aexit__(None, None, None)
            raise
        return self.tasks

    async def __aexit__(self, *_: object) -> None:
        """End the tasks; an exception of the block is raised as it is, not inside a group."""
        self.tasks.cancel_scope.cancel()
        await self._host.__aexit__(None, None, None)

    def leave(self) -> None:
        """End the tasks, and the caller's block with them."""
        self._host.cancel_scope.cancel()

    async def stop(self) -> None:
        """End the tasks, also from a task that can't leave the block; what they shield is waited for."""
        self.tasks.cancel_scope.cancel()
        await self._ended.wait()

    async def _run(self, *, task_status: TaskStatus[None]) -> None:
        try:
            async with self.tasks:
                task_status.started()
                await anyio.sleep_forever()
        finally:
            self._ended.set()


def runs_on_trio() -> bool:
    """Whether the event loop is trio's."""
    # anyio has no public name for the running backend, and sniffio need not be installed.
    return anyio.get_cancelled_exc_class().__module__.partition(".")[0] == "trio"


def spawn(work: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine function in a task of the event loop, which cancels it when it ends.

    Args:
        work: raises nothing but its cancellation.
    """
    if runs_on_trio():
        import trio

        # A system task outlives every nursery of the caller's, and trio cancels it after the main task:
        # what was forgotten to be closed is closed then, and a paid POST under way is still finished.
        trio.lowlevel.spawn_system_task(work)
        return
    import asyncio

    async def run() -> None:
        await work()

    task = asyncio.get_running_loop().create_task(run())
    _TASKS.add(task)
    task.add_done_callback(_TASKS.discard)


_OPENING: Final[set[int]] = set()


@contextmanager
def opening(word: str, thing: object, *, is_open: bool) -> Iterator[None]:
    """Open a thing in this block, once: refuse it while it is open, or while another task opens it.

    The second of two that open it at once would replace what the first one opened: nothing would close that,
    and the end of the event loop would tear a paid POST out of it.
    """
    if is_open or id(thing) in _OPENING:
        raise RuntimeError(f"This {word} is open already.")
    _OPENING.add(id(thing))
    try:
        yield
    finally:
        _OPENING.discard(id(thing))


class LongLived:
    """Adds `aopen` and `aclose` to what is opened with `async with` and has to be closed by the same task.

    For places without a block around both: fixtures of pytest-asyncio, cells of a notebook, hooks of a
    framework that start and stop a service.
    """

    _keeper: _Keeper | None = None

    async def __aenter__(self) -> Self:
        """Open it."""
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        raise NotImplementedError

    async def aopen(self) -> Self:
        """Open it without `async with`; any task of this event loop may close it with `aclose`.

        Raises:
            RuntimeError: it is open already.
            AkoolError: it can't be opened; the same errors as on entering it.
        """
        keeper = _Keeper(self)
        await keeper.open()
        self._keeper = keeper
        return self

    async def aclose(self) -> None:
        """Close what `aopen` opened, as the end of `async with` would; does nothing if it is closed.

        Raises:
            CallerError: another event loop opened it.
        """
        keeper = self._keeper
        if keeper is None:
            return
        keeper.check_loop()
        self._keeper = None
        await keeper.close()


class _Keeper:
    """Holds something open in a task of its own."""

    def __init__(self, resource: LongLived) -> None:
        self._resource = resource
        self._loop = current_token()
        self._opened = anyio.Event()
        self._closing = anyio.Event()
        self._ended = anyio.Event()
        self._error: BaseException | None = None

    async def open(self) -> None:
        """Open it; a cancelled caller leaves nothing open."""
        spawn(self._run)
        try:
            await self._opened.wait()
        except BaseException:  # the caller will not get it, so nobody else could close it
            self._closing.set()
            raise
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Close it; also where the caller is cancelled, for a paid POST may be under way."""
        self._closing.set()
        # A batch that is torn out of a POST would leave a doubt where the vendor's answer was on its way.
        with anyio.CancelScope(shield=True):
            await self._ended.wait()
        if self._error is not None:
            raise self._error

    def check_loop(self) -> None:
        """Refuse to be used in another event loop, where nothing would ever wake."""
        if self._loop != current_token():
            raise CallerError(
                f"The {type(self._resource).__name__} was opened in another event loop.",
                impact="It was not closed; jobs at the vendor continue and are billed.",
                advice="Open and close it in the same event loop: one asyncio.run, or one portal of anyio.",
            )

    async def _run(self) -> None:
        try:
            async with self._resource:
                self._opened.set()
                await self._closing.wait()
        except Exception as error:  # noqa: BLE001 - raised where it was opened or is closed
            self._error = error
        except BaseExceptionGroup as errors:  # of tasks within, one of which raised more than an Exception
            cancelled, self._error = errors.split(anyio.get_cancelled_exc_class())
            if cancelled is not None:
                raise cancelled from None
        finally:
            self._opened.set()
            self._ended.set()
