"""A proxy before a file host that cuts, resets, stalls and slices at random offsets, by a seed."""

from __future__ import annotations

import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import anyio
import attrs
from anyio.abc import SocketAttribute, SocketStream

KINDS = "pass cut cut cut reset reset reset stall slices deaf".split()
_BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError)


def _reset(stream: SocketStream) -> None:
    """Make closing it a reset."""
    line = stream.extra(SocketAttribute.raw_socket)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@attrs.define
class Proxy:
    """The way to a host, with trouble on it.

    Attributes:
        chance: decides what happens to each connection.
        first: what happens to the first one, which no chance decides.
        longest: bytes after which nothing happens any more.
        mercy: connections after which all pass.
        seen: how often each kind of trouble happened.
    """

    upstream: str
    chance: random.Random
    first: str
    longest: int
    mercy: int = 30
    url: str = ""
    seen: Counter[str] = attrs.field(factory=Counter)

    async def serve(self, stream: SocketStream) -> None:
        kind = "pass" if sum(self.seen.values()) >= self.mercy else self.chance.choice(KINDS)
        if not self.seen:
            kind = self.first
        after = self.chance.randrange(self.longest)
        if self.chance.random() < 0.2:
            after %= 300  # within the head
        self.seen[kind] += 1
        try:
            async with stream:
                await self._serve(stream, kind, after)
        except _BROKEN:
            return

    async def _serve(self, stream: SocketStream, kind: str, after: int) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += await stream.receive()
        if kind == "deaf":
            _reset(stream)
            return
        place = urlsplit(self.upstream)
        async with await anyio.connect_tcp(place.hostname, place.port) as host:
            await host.send(asked)
            passed = 0
            async for piece in host:
                room = len(piece) if kind in ("pass", "slices") else max(after - passed, 0)
                await self._pass(stream, piece[:room], kind)
                passed += len(piece)
                if len(piece) > room:
                    break
            else:
                return
        if kind == "reset":
            _reset(stream)
        elif kind == "stall":
            await stream.receive()

    async def _pass(self, stream: SocketStream, piece: bytes, kind: str) -> None:
        if kind != "slices":
            await stream.send(piece)
            return
        at = 0
        while at < len(piece):
            step = self.chance.randint(1, 3000)
            await stream.send(piece[at : at + step])
            at += step


@asynccontextmanager
async def proxying(upstream: str, seed: int, longest: int) -> AsyncIterator[Proxy]:
    """Stand before a host until the block is left."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        proxy = Proxy(upstream, random.Random(seed), KINDS[seed % len(KINDS)], longest)
        proxy.url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, proxy.serve)
            yield proxy
            tasks.cancel_scope.cancel()
