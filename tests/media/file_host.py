"""A file host over real sockets: files with ETags, in ranges, and a record of what was asked of it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs

from akool_async.sandbox.media import sample_video
from tests.threads import serve_in_thread


@lru_cache
def film(seconds: float = 2.0, **options: Any) -> bytes:
    """Return a small video."""
    return sample_video(seconds, **{"fps": 4, "width": 32, "height": 32} | options)


@attrs.frozen
class Part:
    """What is at one place of a sparse file; the rest of it is zeros."""

    at: int
    data: bytes


@attrs.define
class FileHost:
    """Files by their paths.

    Attributes:
        conditions: whether it answers 304 to an ETag that is still right.
        asked: method, path and range of each request.
        sent: bytes of bodies.
        most_at_once: requests that were answered at the same time.
        opens_at: nothing is answered before so many requests are there.
    """

    base_url: str = ""
    files: dict[str, tuple[int, tuple[Part, ...]]] = attrs.field(factory=dict)
    statuses: dict[str, int] = attrs.field(factory=dict)
    conditions: bool = True
    asked: list[tuple[str, str, str]] = attrs.field(factory=list)
    sent: int = 0
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = attrs.field(factory=threading.Lock)
    opens_at: int = 0
    opened: threading.Event = attrs.field(factory=threading.Event)

    def add(self, path: str, data: bytes) -> str:
        """Serve a file; return its URL."""
        return self.add_sparse(path, len(data), Part(0, data))

    def add_sparse(self, path: str, size: int, *parts: Part) -> str:
        """Serve a file that is mostly zeros; return its URL."""
        self.files[path] = size, parts
        return f"{self.base_url}/{path}"

    def read(self, path: str, start: int, end: int) -> bytes:
        """Return a range of a file."""
        out = bytearray(end - start)
        for part in self.files[path][1]:
            low, high = max(start, part.at), min(end, part.at + len(part.data))
            if low < high:
                out[low - start : high - start] = part.data[low - part.at : high - part.at]
        return bytes(out)

    def etag(self, path: str) -> str:
        """Return what changes with the file."""
        size, parts = self.files[path]
        return '"' + sha256(b"".join(part.data for part in parts) + str(size).encode()).hexdigest()[:16] + '"'


@contextmanager
def serve_files(tls: ssl.SSLContext | None = None) -> Iterator[FileHost]:
    """Serve files on this machine until the block is left, by https with `tls`."""
    host = FileHost()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with host.lock:
                host.asked.append(("GET", self.path, self.headers.get("range", "")))
                host.at_once += 1
                host.most_at_once = max(host.most_at_once, host.at_once)
                if len(host.asked) >= host.opens_at:
                    host.opened.set()
            host.opened.wait(120)
            self.answer(self.path.partition("?")[0].lstrip("/"))

        def do_HEAD(self) -> None:
            host.asked.append(("HEAD", self.path, ""))
            self.reply(403, b"", {})  # as a presigned GET answers

        def answer(self, path: str) -> None:
            if path not in host.files or path in host.statuses:
                return self.reply(host.statuses.get(path, 404), b"none", {})
            size, etag = host.files[path][0], host.etag(path)
            if host.conditions and self.headers.get("if-none-match") == etag:
                return self.reply(304, b"", {"etag": etag})
            first, _, last = self.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or size - 1) + 1, size)
            if start >= size:
                return self.reply(416, b"", {"content-range": f"bytes */{size}"})
            place = f"bytes {start}-{end - 1}/{size}"
            return self.reply(206, host.read(path, start, end), {"etag": etag, "content-range": place})

        def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            with host.lock:
                host.sent += len(body)
                host.at_once -= 1  # before the client can know, and ask for the next
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hangs up has seen enough."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    with serve_in_thread(server) as url:
        host.base_url = url if tls is None else url.replace("http:", "https:")
        yield host
