"""A receiver, bodies for it, and two ways to send them: over a socket, or by hand as a server would."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import uvicorn

from akool_async.sandbox.server import accept_no_more
from akool_async.webhook import Callback, WebhookReceiver, seal

CLIENT_ID = "sandbox-client-id"
SECRET = "canary-4f9c1b7e2a-------"
JOB = "66c0ffee5eed5eed00000001"
TOKEN = "0123456789abcdef" * 2

_nonces = itertools.count()


def body(job: str = JOB, status: int = 3, *, at: float | None = None, **content: Any) -> bytes:
    """Seal what the vendor would send now."""
    return json.dumps(
        seal(
            {"_id": job, "status": status, "type": "video translate", "url": "", **content},
            client_id=CLIENT_ID,
            client_secret=SECRET,
            timestamp_ms=int((time.time() if at is None else at) * 1000),
            nonce=f"n-{next(_nonces)}",
        )
    ).encode()


def receiver(**options: Any) -> WebhookReceiver:
    return WebhookReceiver(**{"client_id": CLIENT_ID, "client_secret": SECRET} | options)


class Ear:
    """Records the callbacks it receives."""

    def __init__(self) -> None:
        self.heard: list[Callback] = []

    def on_callback(self, callback: Callback) -> None:
        self.heard.append(callback)


async def looked_at(door: WebhookReceiver) -> None:
    """Wait until the queue is empty."""
    with anyio.fail_after(100):
        while True:
            seen = door.statistics()
            judged = seen.delivered + seen.repeated + seen.malformed + seen.wrong_signature + seen.stale
            if judged + seen.unreadable == seen.accepted:
                return
            await anyio.sleep(0.002)


async def posted(app: Any, content: bytes, *, path: str = "/", method: str = "POST", cut: int = 0) -> Any:
    """Send one request by hand; return status, headers and body of the answer."""
    parts = [content] if not cut else [content[at : at + cut] for at in range(0, len(content), cut)]
    rest_of_body = iter(parts)
    messages: list[Any] = []
    left = len(parts)

    async def receive() -> Any:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": next(rest_of_body, b""), "more_body": left > 0}

    async def send(message: Any) -> None:
        messages.append(message)

    await app({"type": "http", "method": method, "path": path, "headers": []}, receive, send)
    start, rest = messages
    return start["status"], start["headers"], rest["body"]


class _Server(uvicorn.Server):
    """A server that leaves no connection open: none that comes in while it stops, none that takes long."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await accept_no_more(self)
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an application with uvicorn in a thread; yield its origin."""
    # After 5 s, as usual, the end of an idle connection would meet a request of httpx, kept as long.
    seconds = {"timeout_graceful_shutdown": 1, "timeout_keep_alive": 60}
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False, **seconds)
    server = _Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until = time.monotonic() + 100
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < until
            time.sleep(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@asynccontextmanager
async def open_ear(**options: Any) -> AsyncIterator[tuple[WebhookReceiver, Ear]]:
    """Open a receiver with a listener."""
    ear = Ear()
    async with receiver(**options) as door:
        door.subscribe(ear)
        yield door, ear
