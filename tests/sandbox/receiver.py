"""A small receiver of webhooks on a real socket, which answers as it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from akool_async._wire.sealed import Hint, unseal
from tests.client.moments import until
from tests.threads import serve_in_thread


class Receiver:
    """Remembers every body and answers with the next of some statuses, then with 200."""

    def __init__(self, statuses: Sequence[int] = ()) -> None:
        self.bodies: list[dict[str, Any]] = []
        self._statuses = list(statuses)
        self.url = ""

    def take(self, body: bytes) -> int:
        status = self._statuses.pop(0) if self._statuses else 200
        self.bodies.append(json.loads(body))
        return status

    def hints(self, client_id: str, client_secret: str, now: float) -> list[Hint]:
        """Open every envelope."""
        return [
            unseal(
                body,
                client_id=client_id,
                client_secret=client_secret,
                now_ms=int(now * 1000),
                window_seconds=10**9,
            )
            for body in self.bodies
        ]

    async def count(self, expected: int) -> None:
        """Wait until so many have come."""
        await until(lambda: len(self.bodies) >= expected)


@contextmanager
def receiving(statuses: Sequence[int] = ()) -> Iterator[Receiver]:
    """Run a receiver in a thread."""
    receiver = Receiver(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status = receiver.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with serve_in_thread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        receiver.url = f"{url}/hook"
        yield receiver
