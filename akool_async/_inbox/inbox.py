"""An inbox as a batch sees it: a source of callbacks that a receiver in another process writes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

import anyio
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync

from akool_async._core.callback import Callback, Listener
from akool_async._core.errors import InboxUnusable
from akool_async._inbox.file import InboxFile

logger = logging.getLogger("akool_async")

GLANCE: Final = 0.1
"""Seconds between two glances at the file; one costs some microseconds."""


def open_inbox(path: str | os.PathLike[str]) -> Inbox:
    """Give the inbox in the file `path`, to be used in `async with` and handed to `open_batch(webhook=...)`.

    A `WebhookReceiver(inbox=path)` in another process writes it. What came while no batch was running is
    found by the next one. The file is made with mode 0600 if it is not there.

    Args:
        path: the file, whose folder has to be there and on a disk of this machine.

    Raises:
        InboxUnusable: on entering, it can't be opened, or is something else.
    """
    return Inbox(path)


class Inbox:
    """Callbacks out of a file; made by `open_inbox`, which describes it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._file: InboxFile | None = None
        self._listeners: list[Listener] = []
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        return f"<Inbox {os.fspath(self._path)!r} {'closed' if self._file is None else 'open'}>"

    async def __aenter__(self) -> Self:
        """Open it and begin to watch it; see `open_inbox` for the errors."""
        if self._file is not None:
            raise RuntimeError("This inbox is open already.")
        async with AsyncExitStack() as stack:
            file = await run_sync(InboxFile, self._path)
            stack.callback(file.close)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            tasks.start_soon(self._watch, file, file.last(), name="inbox")
            stack.callback(tasks.cancel_scope.cancel)
            self._stack = stack.pop_all()
        self._file = file
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching it."""
        self._file = None
        await self._stack.aclose()

    def attach(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` of each callback that comes from now on; give what ends that."""
        self._listeners.append(listener)

        def detach() -> None:
            self._listeners = [other for other in self._listeners if other is not listener]

        return detach

    def find(self, token: str) -> tuple[Callback, ...]:
        """Give the callbacks that came with a token so far, those of earlier days too."""
        if self._file is None:
            return ()
        try:
            return self._file.find(token)
        except InboxUnusable as error:
            logger.warning("%s", error)
            return ()

    async def _watch(self, file: InboxFile, last: int) -> None:
        """Read what comes; trouble with the file is told once, and waited out."""
        mark, trouble = -1, False
        while True:
            try:
                now = file.mark()
                if now != mark:
                    last = await self._read(file, last)
                    mark, trouble = now, False
            except InboxUnusable as error:
                if not trouble:
                    logger.warning("%s", error)
                trouble = True
            await anyio.sleep(GLANCE)

    async def _read(self, file: InboxFile, last: int) -> int:
        """Hand on what came after `last`; give what is last now."""
        while page := file.after(last):
            for number, callback in page:
                last = number
                for listener in self._listeners:
                    listener.called_back(callback)
            await checkpoint()
        return last
