"""What httpx, httpcore and aiohttp log of our requests shows no secret, also where a host repeats one."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream

from akool_async import AkoolError, inspect
from akool_async._library_logs import SENDING
from tests.client.conftest import KEY, Way, stray, video

SIGNATURE = "SIGNATURE0123456789abcdef"
COOKIE = "COOKIE0123456789abcdef"
JOB = "66160f989dfc997ac2890001"


@asynccontextmanager
async def echoing_vendor() -> AsyncIterator[str]:
    """Serve a vendor whose headers repeat the key, and whose files are behind a redirect to a signed URL."""
    host = ""

    def answer(head: str) -> str:
        path = head.split(" ")[1]
        if path.startswith("/other"):
            return "HTTP/1.1 200 OK\r\nx-other: 1\r\ncontent-length: 0"
        if path.startswith("/video"):
            return f"HTTP/1.1 302 Found\r\nlocation: /moved?X-Amz-Signature={SIGNATURE}\r\ncontent-length: 0"
        job = {"_id": JOB, "video_status": 3, "video": f"{host}/video.mp4?X-Amz-Signature={SIGNATURE}"}
        body = json.dumps({"code": 1000, "data": {**job, "credit": 7}})
        echoed = f"x-echo: {KEY}\r\nset-cookie: {COOKIE}=1\r\nset-cookie: {COOKIE} x=1"
        return f"HTTP/1.1 200 {KEY}\r\n{echoed}\r\ncontent-length: {len(body)}\r\n\r\n{body}"

    async def serve(stream: SocketStream) -> None:
        async with stream:
            head = (await stream.receive()).decode()
            closing = answer(head).replace("content-length", "connection: close\r\ncontent-length", 1)
            await stream.send((closing if "\r\n\r\n" in closing else f"{closing}\r\n\r\n").encode())

    server = await anyio.create_tcp_listener(local_host="127.0.0.1")
    host = f"http://127.0.0.1:{server.extra(SocketAttribute.local_port)}"
    async with server, anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, serve)
        yield host
        tasks.cancel_scope.cancel()


async def test_no_library_logs_a_secret_at_any_level(
    way: Way, everything_logged: io.StringIO, tmp_path: Path
) -> None:
    async with echoing_vendor() as host, stray(way, host) as client:
        await client.credit()
        submission = await client.submit(video())
        with pytest.raises(AkoolError):
            await client.download(submission.accepted[0].id, into=tmp_path)
        with pytest.raises(AkoolError):
            await inspect(f"{host}/video.mp4?X-Amz-Signature={SIGNATURE}", allow_private=True)

    logged = everything_logged.getvalue()
    assert "HTTP Request: GET" in logged  # of the look into the video, in every way
    for secret in (KEY, SIGNATURE, COOKIE):
        assert secret not in logged


async def test_other_requests_of_the_program_are_logged_as_before(everything_logged: io.StringIO) -> None:
    async with echoing_vendor() as host, httpx.AsyncClient(trust_env=False) as http:
        await http.get(f"{host}/other?page=2")

    assert "/other?page=2" in everything_logged.getvalue()
    assert "x-other" in everything_logged.getvalue()


def test_no_detail_of_an_event_is_shown(everything_logged: io.StringIO) -> None:
    outside = SENDING.set(True)
    logging.getLogger("httpcore.socks").debug("setup_socks5_connection.started auth=(b'user', b'%s')", KEY)
    logging.getLogger("aiohttp.internal").warning("Can not load cookies: Illegal cookie name %r", KEY)
    SENDING.reset(outside)

    assert everything_logged.getvalue() == "setup_socks5_connection.started\n"
