"""The receiver's HTTP side: a bare ASGI application that knows one method and two answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeAlias

import anyio

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
_PATIENCE: Final = 10.0
"""Seconds in which a body has to be there."""

_NOT_POSTED: Final = 405
_TOO_SLOW: Final = 408
_NO_BODY: Final = (b"content-length", b"0")
_ONLY_POST: Final = (b"allow", b"POST")


class AsgiEndpoint:
    """Reads bodies and answers.

    Args:
        opened: gives what is open as long as the server runs, where this is the whole application.
        take: gives the status for a body and the path that it came to.
        largest: bytes of a body that are kept; of a larger one no more than one byte too many.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractAsyncContextManager[Any]],
        take: Callable[[bytes, str], int],
        *,
        largest: int,
    ) -> None:
        """Take the parts over."""
        self._opened = opened
        self._take = take
        self._largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the life of the server."""
        match scope["type"]:
            case "lifespan":
                await self._lifespan(receive, send)
            case "websocket":
                await send({"type": "websocket.close"})
            case "http" if scope["method"] == "POST":
                body: bytes | None = None
                with anyio.move_on_after(_PATIENCE):
                    body = await self._read(receive)
                await _answer(send, _TOO_SLOW if body is None else self._take(body, scope["path"]))
            case "http":
                await _answer(send, _NOT_POSTED, _ONLY_POST)

    async def _read(self, receive: Receive) -> bytes | None:
        """Give the body, cut after one byte too many; None if the sender left."""
        body = bytearray()
        while len(body) <= self._largest:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")[: self._largest + 1]
            if not message.get("more_body", False):
                break
        return bytes(body[: self._largest + 1])

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """Open the receiver when the server starts and close it when it stops."""
        await receive()
        async with self._opened():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


async def _answer(send: Send, status: int, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [_NO_BODY, *headers]})
    await send({"type": "http.response.body", "body": b""})
