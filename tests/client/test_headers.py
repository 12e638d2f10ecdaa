"""What stands in the head of each request: ours, the credentials once, and nothing of other calls."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import pytest

from akool_async import AkoolClient
from akool_async._http.clients import TransportName
from tests.client.conftest import KEY, WAYS, Way, stray, video

JOB = "0123456789abcdef01234567"
ANSWER = json.dumps({"code": 1000, "msg": "OK", "data": {"_id": JOB, "language": "ja", "video_status": 1}})


@asynccontextmanager
async def _listening(heads: list[dict[str, str]], *, cookie: str) -> AsyncIterator[str]:
    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            came = b""
            while True:
                try:
                    came += await stream.receive()
                except anyio.EndOfStream:
                    return
                head, end, body = came.partition(b"\r\n\r\n")
                lines = head.decode().split("\r\n")[1:]
                fields = [line.partition(": ") for line in lines]
                told = {name.lower(): value for name, _, value in fields}
                if not end or len(body) < int(told.get("content-length", 0)):
                    continue
                assert len(told) == len(fields)
                came = b""
                heads.append(told)
                await stream.send(
                    f"HTTP/1.1 200 OK\r\nset-cookie: {cookie}\r\n"
                    f"content-length: {len(ANSWER)}\r\n\r\n{ANSWER}".encode()
                )

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        yield f"http://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


async def test_each_call_has_the_headers_of_its_own_and_no_cookie(way: Way) -> None:
    heads: list[dict[str, str]] = []
    async with _listening(heads, cookie="a=b; path=/") as host, stray(way, host) as client:
        await client.status(JOB)
        await client.submit(video())
        await client.status(JOB)

    read, paid, again = heads
    assert read == again
    assert "content-type" not in read
    assert paid["content-type"] == "application/json"
    for head in heads:
        assert head["x-api-key"] == KEY
        assert head["accept"] == "application/json"
        assert head["user-agent"].startswith("akool-async")
        assert "cookie" not in head


async def test_a_closed_fast_client_sends_nothing() -> None:
    heads: list[dict[str, str]] = []
    async with _listening(heads, cookie="a=b") as host, stray(WAYS[0], host) as client:
        await client.status(JOB)
        await client.session.opened.api._clients.reads.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            await client.status(JOB)

    assert len(heads) == 1


@pytest.mark.parametrize("transport", ["auto", "plain"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("cookie", [f"a={'b' * 20_000}", "a=b\r\nx-more: c" + "\r\nx-more: c" * 200])
async def test_what_a_paid_call_understands_a_poll_understands_too(
    transport: TransportName, cookie: str
) -> None:
    # A gateway that adds long or many headers would else let jobs be made that nobody can ask about.
    async with (
        _listening([], cookie=cookie) as host,
        AkoolClient(api_key=KEY, host=host, transport=transport) as client,
    ):
        await client.submit(video())
        assert (await client.status(JOB)).job_id == JOB
