"""A server of raw sockets that answers with the bytes it is given, for the client and for child processes."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs

KNOWN = "66160f989dfc997ac289"
"""What the ids of this vendor's jobs begin with, unless a test lists others."""


@attrs.define
class RawVendor:
    """Answers each POST with the next of `answers`, the last one for ever; a GET with the job that it names.

    Attributes:
        answers: bytes of whole HTTP answers to creates; a function makes them of the number of the POST.
        known: whether the account has a job of this id.
        posts: bodies of the creates.
        polls: job ids of the GETs.
    """

    answers: Callable[[int], bytes]
    known: Callable[[str], bool] = lambda job_id: job_id.startswith(KNOWN)
    posts: list[Any] = attrs.field(factory=list)
    polls: list[str] = attrs.field(factory=list)
    url: str = ""

    def answer(self, connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        length = next((int(line[15:]) for line in lines if line.lower().startswith("content-length:")), 0)
        while len(body) < length:
            body += connection.recv(65536)
        if lines[0].startswith("POST"):
            self.posts.append(json.loads(body))
            connection.sendall(self.answers(len(self.posts)))
            return
        job_id = lines[0].split("video_model_id=")[-1].split()[0]
        self.polls.append(job_id)
        data = {"_id": job_id, "video_status": 2, "deduction_lock_duration": 4}
        found = {"code": 1000, "data": data} if self.known(job_id) else {"code": 1008, "msg": "not exist"}
        connection.sendall(http(found))

    @contextmanager
    def serve(self) -> Iterator[RawVendor]:
        """Serve in a thread."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        self.answer(connection)
                        connection.shutdown(socket.SHUT_WR)
                        connection.settimeout(1)
                        connection.recv(1)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield self
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join()


def http(body: Any, status: int = 200, *, length: int | None = None, **headers: str) -> bytes:
    """Return an HTTP answer; a body that is no bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {
        "content_length": str(len(content) if length is None else length),
        "connection": "close",
    } | headers
    lines = [
        f"HTTP/1.1 {status} Answer",
        *(f"{name.replace('_', '-')}: {text}" for name, text in named.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + content


def gzip_with_bad_checksum(body: Any, **options: Any) -> bytes:
    packed = bytearray(gzip.compress(json.dumps(body).encode()))
    packed[-6] ^= 0xFF
    return http(bytes(packed), content_encoding="gzip", **options)
