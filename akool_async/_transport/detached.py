"""Work that goes on when its caller is cancelled, in whichever way: anyio's or the event loop's own.

A shield holds off only anyio's cancellation, so the work runs as a task of the client's group.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from akool_async._core.errors import ClientClosed

T = TypeVar("T")


class Detached(Generic[T]):
    """One piece of work in a task of its own.

    Args:
        work: what is done; it needs a deadline of its own.
        shield: whether closing the group waits for it instead of cancelling it.
        orphaned: called at the end with the result or the error if nobody waits any more.
    """

    def __init__(
        self,
        work: Callable[[], Awaitable[T]],
        *,
        shield: bool,
        orphaned: Callable[[T | Exception], None] | None = None,
    ) -> None:
        self._work = work
        self._shield = shield
        self._orphaned = orphaned
        self._ended = anyio.Event()
        self._result: list[T] = []
        self._error: Exception | None = None
        self._left = False

    async def run_in(self, tasks: TaskGroup) -> T:
        """Start it in `tasks` and wait for its end; a cancelled caller leaves it running."""
        tasks.start_soon(self._run)
        try:
            await self._ended.wait()
        except BaseException:  # a cancelled caller: what comes of the call is told in the log
            self._left = True
            self._tell()
            raise
        if self._error is not None:
            raise self._error
        if not self._result:
            raise ClientClosed("The client was closed while this call was under way.")
        return self._result[0]

    async def _run(self) -> None:
        try:
            with anyio.CancelScope(shield=self._shield):
                self._result.append(await self._work())
        except Exception as error:  # noqa: BLE001 - handed over to the waiting caller
            self._error = error
        finally:
            self._ended.set()
        self._tell()

    def _tell(self) -> None:
        """Tell of the end when it has come and the caller has left, whichever was last."""
        if self._orphaned is None or not self._left or not self._ended.is_set():
            return
        if self._error is not None:
            self._orphaned(self._error)
        elif self._result:
            self._orphaned(self._result[0])
