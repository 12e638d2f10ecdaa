"""One request and its answer over ASGI: read the body, send an answer, or break off.

The few moves that honest answers and faults are made of; it knows neither endpoints nor faults.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

import attrs

from akool_async.sandbox.asgi import Receive, Scope, Send
from akool_async.sandbox.line import LINE, Line

__all__ = ["Answer", "Exchange", "Headers"]

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
_CHUNK: Final = 64 * 1024
_LARGEST_BODY: Final = 16 * 2**20


@attrs.frozen
class Answer:
    """A whole answer, ready to be sent."""

    status: int
    headers: Headers
    body: bytes


class Exchange:
    """One request on its line.

    Args:
        scope: The request's ASGI scope.
        receive: Gives the body, then word that the client has gone.
        send: Takes the answer.
        date: The Date header's value, from the sandbox's clock.
    """

    __slots__ = ("_receive", "_send", "date", "line", "scope")

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, date: bytes) -> None:
        """Count the request on its line."""
        self.scope: Scope = scope
        self._receive = receive
        self._send = send
        self.date: bytes = date
        self.line: Line = scope["state"][LINE]
        self.line.requests += 1

    @property
    def headers(self) -> dict[str, str]:
        """The request's headers, names in lower case."""
        pairs: Iterable[tuple[bytes, bytes]] = self.scope["headers"]
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}

    async def body(self) -> bytes | None:
        """Return the request's body, None when the client left before its end or it is absurdly long."""
        parts = bytearray()
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return None
            parts += message.get("body", b"")
            if len(parts) > _LARGEST_BODY:
                self.line.reset()
            if not message.get("more_body", False):
                return bytes(parts)

    async def answer(self, answer: Answer) -> None:
        """Send a whole answer with its Content-Length."""
        length = (b"content-length", str(len(answer.body)).encode())
        await self.start(answer.status, (*answer.headers, length))
        if len(answer.body) <= _CHUNK:
            await self._send({"type": "http.response.body", "body": answer.body})
            return
        await self.part(answer.body)
        await self.end()

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head of an answer."""
        stamped = [*headers, (b"date", self.date)]
        await self._send({"type": "http.response.start", "status": status, "headers": stamped})

    async def part(self, data: bytes) -> None:
        """Send some of the body, in pieces that heed a slow reader."""
        view = memoryview(data)
        for begin in range(0, len(data), _CHUNK):
            piece = bytes(view[begin : begin + _CHUNK])
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self) -> None:
        """Finish the body."""
        await self._send({"type": "http.response.body", "body": b""})

    async def reset(self) -> None:
        """Break the connection so that the client sees a reset."""
        self.line.reset()
        await self.gone()

    async def hang_up(self) -> None:
        """Close the connection in the middle of things."""
        self.line.close()
        await self.gone()

    async def raw(self, data: bytes) -> None:
        """Send bytes that are no HTTP and close."""
        self.line.raw(data)
        await self.hang_up()

    @property
    def left(self) -> bool:
        """Whether the connection is known to be gone."""
        return self.line.broken

    async def gone(self) -> None:
        """Wait until the client has gone, or the server stops."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
