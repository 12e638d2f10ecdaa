"""One HTTP request over ASGI: read the body, send an answer or break the connection; dates and ranges.

It knows neither endpoints nor faults. Needs no web framework: the sandbox has a dozen routes and sends bytes.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Final, Protocol, TypeAlias

import attrs

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
CONNECTION: Final = "connection"
"""Where an application finds its `Connection` in the state of an ASGI scope."""
CONTROL: Final = "/_sandbox/"
"""Where the paths begin by which a test steers a sandbox in another process."""
LOGGED: Final = "logged"
"""Where the state of an ASGI scope has what the log says of a request besides its status."""

_CHUNK: Final = 64 * 1024
_MAX_BODY: Final = 16 * 2**20
_SINGLE_RANGE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)


class HttpExchange:
    """One request on its connection.

    Args:
        scope: The request's ASGI scope.
        receive: Returns the body, then reports that the client disconnected.
        send: Sends the answer.
        date: The Date header's value, from the sandbox's clock; empty for none.
    """

    __slots__ = ("_receive", "_send", "connection", "date", "logged", "scope")

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, date: bytes) -> None:
        self.scope: Scope = scope
        self._receive = receive
        self._send = send
        self.date: bytes = date
        self.connection: Connection = scope["state"][CONNECTION]
        self.connection.requests += 1
        self.logged: dict[str, object] = scope["state"].setdefault(LOGGED, {})

    @property
    def headers(self) -> dict[str, str]:
        """The request's headers, names in lower case."""
        pairs: Iterable[tuple[bytes, bytes]] = self.scope["headers"]
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}

    async def body(self) -> bytes | None:
        """Return the request's body, None if the client disconnected or sent more than 16 MiB."""
        parts = bytearray()
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return None
            parts += message.get("body", b"")
            if len(parts) > _MAX_BODY:
                self.connection.reset()
            if not message.get("more_body", False):
                return bytes(parts)

    async def answer(self, answer: Answer) -> None:
        """Send a whole answer with its Content-Length; 204 and 304 have no body (RFC 9110, 6.4.1)."""
        if answer.status in (204, 304):
            answer = attrs.evolve(answer, body=b"")
        await self.announce(answer)
        if len(answer.body) <= _CHUNK:
            await self._send({"type": "http.response.body", "body": answer.body})
            return
        await self.part(answer.body)
        await self.end()

    async def announce(self, answer: Answer, *, more: int = 0) -> None:
        """Send the head of an answer with its Content-Length, or one that is so many bytes too large."""
        length = (b"content-length", str(len(answer.body) + more).encode())
        await self.start(answer.status, (*answer.headers, length))

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head of an answer."""
        stamped = [*headers, (b"date", self.date)] if self.date else [*headers]
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
        self.connection.reset()
        await self.wait_closed()

    async def close(self) -> None:
        """Close the connection, whether or not the answer is complete."""
        self.connection.close()
        await self.wait_closed()

    async def raw(self, data: bytes) -> None:
        """Send bytes that are not HTTP and close."""
        self.connection.raw(data)
        await self.close()

    async def wait_closed(self) -> None:
        """Wait until the client disconnects or the server stops."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


@attrs.frozen
class Answer:
    """A whole answer, ready to be sent."""

    status: int
    headers: Headers
    body: bytes


class Connection(Protocol):
    """The connection under a request, as far as faults have to reach it."""

    number: int
    """Counted from 1 per origin."""
    requests: int
    """How many requests have come over it, the current one included."""

    @property
    def broken(self) -> bool:
        """Whether nothing can be sent over it any more."""

    def reset(self) -> None:
        """Break the connection at once; the other side sees a reset."""

    def close(self) -> None:
        """Send what was written, then end the connection."""

    def raw(self, data: bytes) -> None:
        """Write bytes as they are, past HTTP."""


@lru_cache(maxsize=256)
def http_date(second: int) -> bytes:
    """Return a moment, in whole seconds since the epoch, as the value of a Date header."""
    return formatdate(second, usegmt=True).encode()


class Unsatisfiable(ValueError):
    """The range lies outside of the file."""


def span_of(
    wanted: str | None, condition: str | None, *, length: int, etag: str, modified: str
) -> range | None:
    """Return which bytes Range and If-Range ask for (RFC 9110), None for the whole file.

    Args:
        wanted: The Range header, if any.
        condition: The If-Range header, if any.
        length: The file's length in bytes.
        etag: The file's strong ETag, with its quotes.
        modified: The file's Last-Modified.

    Raises:
        Unsatisfiable: The range lies outside of the file.
    """
    match = _SINGLE_RANGE.fullmatch(wanted.strip()) if wanted else None
    if match is None or match.group(0) == "bytes=-":
        return None  # several ranges at once may be ignored (RFC 9110, 14.2)
    if condition is not None and condition.strip() not in {etag, modified}:
        return None
    first, last = match.groups()
    if first and last and int(first) > int(last):
        return None
    if not first and (int(last) == 0 or length == 0):
        raise Unsatisfiable("an empty suffix")
    if not first:
        return range(max(0, length - int(last)), length)
    if int(first) >= length:
        raise Unsatisfiable("begins behind the end")
    return range(int(first), min(int(last) + 1, length) if last else length)
