"""A file host of our own over real sockets, that answers whatever a test wants, byte by byte."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import anyio
import attrs
from anyio.abc import SocketAttribute, SocketStream

ETAG = '"one"'


@attrs.frozen
class Asked:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def first(self) -> int:
        """The byte from which on the file is wanted."""
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        return int(found[1]) if found else 0


@attrs.frozen(kw_only=True)
class Reply:
    """What is sent back.

    Attributes:
        keep: bytes of the body after which the connection ends; None for all.
        reset: whether it ends with a reset.
        hang: whether it does not end at all.
    """

    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    keep: int | None = None
    reset: bool = False
    hang: bool = False
    chunked: bool = False

    def head(self) -> bytes:
        told = {"content-type": "video/mp4", **self.headers}
        if self.chunked:
            told["transfer-encoding"] = "chunked"
        elif "content-length" not in told:
            told["content-length"] = str(len(self.body))
        lines = [f"HTTP/1.1 {self.status} OK", *(f"{name}: {value}" for name, value in told.items() if value)]
        return "\r\n".join([*lines, "connection: close", "", ""]).encode()

    def content(self) -> bytes:
        if not self.chunked:
            return self.body
        pieces = [self.body[at : at + 1000] for at in range(0, len(self.body), 1000)]
        return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def part(content: bytes, asked: Asked, etag: str = ETAG, **told: object) -> Reply:
    """Answer as an honest host does."""
    first = asked.first
    if not first or asked.headers.get("if-range") != etag:
        return Reply(headers={"etag": etag}, body=content, **told)
    if first >= len(content):
        return Reply(status=416, headers={"content-range": f"bytes */{len(content)}"})
    span = f"bytes {first}-{len(content) - 1}/{len(content)}"
    return Reply(status=206, headers={"etag": etag, "content-range": span}, body=content[first:], **told)


@attrs.define
class Host:
    """The host while it is there."""

    url: str
    answer: Callable[[Asked], Reply]
    asked: list[Asked] = attrs.field(factory=list)

    async def serve(self, stream: SocketStream) -> None:
        async with stream:
            try:
                await self._serve(stream)
            except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError):
                return

    async def _serve(self, stream: SocketStream) -> None:
        raw = b""
        while b"\r\n\r\n" not in raw:
            raw += await stream.receive()
        first, *lines = raw.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        asked = Asked(first.split()[1], headers, raw)
        self.asked.append(asked)
        reply = self.answer(asked)
        await stream.send(reply.head() + reply.content()[: reply.keep])
        if reply.hang:
            await stream.receive()
        if reply.reset:
            line = stream.extra(SocketAttribute.raw_socket)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@asynccontextmanager
async def hosting(answer: Callable[[Asked], Reply]) -> AsyncIterator[Host]:
    """Serve on loopback until the block is left."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)
        host = Host(f"http://127.0.0.1:{port}", answer)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, host.serve)
            yield host
            tasks.cancel_scope.cancel()
