"""One request and its answer over ASGI: read the body, send an answer, or break off.

The few moves that honest answers and faults are made of; it knows neither endpoints nor faults.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import attrs

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol


# The types of ASGI, as far as plain HTTP needs them.
#
# Written out here so that the sandbox needs no framework: it has a dozen routes and sends bytes.


Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


# The connection under a request, as far as faults have to reach it.
#
# `SocketLine` is the real one and breaks it for real; the one for calls inside the process lives in
# `inprocess`. An application finds its line in the ASGI scope's state under `LINE`.


CONNECTION: Final = "line"
_LINGER_NOT: Final = struct.pack("ii", 1, 0)


class Connection(Protocol):
    """One connection."""

    number: int
    """Counted from 1 per origin."""
    requests: int
    """How many requests have come over it, the one under way included."""

    @property
    def broken(self) -> bool:
        """Whether nothing can be sent over it any more."""
        ...

    def reset(self) -> None:
        """Break the connection at once; the other side sees a reset."""

    def close(self) -> None:
        """Send what was written, then end the connection."""

    def raw(self, data: bytes) -> None:
        """Write bytes as they are, past HTTP."""


class SocketConnection:
    """A TCP connection of the server.

    Args:
        protocol: The server's side of the connection.
        number: Its number.
    """

    def __init__(self, protocol: H11Protocol, number: int) -> None:
        """Begin without requests."""
        self._protocol = protocol
        self.number = number
        self.requests = 0

    @property
    def broken(self) -> bool:
        """Whether the transport is closing or closed."""
        return self._protocol.transport.is_closing()

    def reset(self) -> None:
        """Close with SO_LINGER 0, which makes the kernel send RST."""
        transport = self._protocol.transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        transport.abort()

    def close(self) -> None:
        """Flush, then close."""
        self._protocol.transport.close()

    def raw(self, data: bytes) -> None:
        """Write past HTTP."""
        self._protocol.transport.write(data)


Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
_CHUNK: Final = 64 * 1024
_LARGEST_BODY: Final = 16 * 2**20


@attrs.frozen
class Answer:
    """A whole answer, ready to be sent."""

    status: int
    headers: Headers
    body: bytes


class HttpExchange:
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
        self.line: Connection = scope["state"][CONNECTION]
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


# Moments as HTTP writes them, in the sandbox's time.
#
# The servers' own Date header is switched off: it would tell real time.


@lru_cache(maxsize=256)
def http_date(second: int) -> bytes:
    """Return a moment, in whole seconds since the epoch, as a Date header has it."""
    return formatdate(second, usegmt=True).encode()


# Range and If-Range as RFC 9110 has them, for one range of bytes.
#
# Pure: header values and a length in, a span or a verdict out. Several ranges at once are ignored, as
# a server may.


_SINGLE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)


class Unsatisfiable(ValueError):
    """The range lies outside of the file."""


@attrs.frozen
class Span:
    """The bytes from `first` up to and including `last`."""

    first: int
    last: int

    def content_range(self, length: int) -> bytes:
        """Return the Content-Range header's value."""
        return f"bytes {self.first}-{self.last}/{length}".encode()


def span_of(
    wanted: str | None, condition: str | None, *, length: int, etag: str, modified: str
) -> Span | None:
    """Return the span to send, None for the whole file.

    Args:
        wanted: The Range header, if any.
        condition: The If-Range header, if any.
        length: The file's length in bytes.
        etag: The file's strong ETag, with its quotes.
        modified: The file's Last-Modified.

    Raises:
        Unsatisfiable: The range lies outside of the file.
    """
    match = _SINGLE.fullmatch(wanted.strip()) if wanted else None
    if match is None or match.group(0) == "bytes=-":
        return None
    if condition is not None and condition.strip() not in {etag, modified}:
        return None
    first, last = match.groups()
    if first and last and int(first) > int(last):
        return None
    return _within(first, last, length)


def _within(first: str, last: str, length: int) -> Span:
    if not first:
        if int(last) == 0 or length == 0:
            raise Unsatisfiable("an empty suffix")
        return Span(max(0, length - int(last)), length - 1)
    if int(first) >= length:
        raise Unsatisfiable("begins behind the end")
    return Span(int(first), min(int(last), length - 1) if last else length - 1)
