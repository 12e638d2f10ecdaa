"""Buckets behind lines that break, and buckets that refuse: nothing is spent, nothing half is visible."""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from urllib.parse import urlsplit

import attrs
import pytest

from akool_async import Completed, NotSubmitted, Storage, open_journal
from tests.batch.test_batch import run
from tests.client.conftest import Open, video
from tests.storage.conftest import TestBucket
from tests.storage.test_inputs import reasons, translation
from tests.storage.test_results import LARGE, spooled
from tests.threads import serve_in_thread

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@attrs.define
class Line:
    """The way to an S3 server, or to nothing but answers.

    Attributes:
        url: the endpoint to be used.
        reset_after: bytes from the client after which a connection is reset.
        resets: how many connections are reset.
        answers: what the next connections are answered with, the last one again and again if `always`.
        always: whether no request ever gets through.
        happened: what happened.
    """

    url: str = ""
    reset_after: int = 0
    resets: int = 0
    answers: list[bytes] = attrs.field(factory=list)
    always: bool = False
    happened: list[str] = attrs.field(factory=list)
    lock: threading.Lock = attrs.field(factory=threading.Lock)

    def answer(self) -> bytes | None:
        with self.lock:
            if not self.answers:
                return None
            self.happened.append("answer")
            return self.answers[0] if self.always else self.answers.pop(0)

    def may_reset(self) -> bool:
        with self.lock:
            if not self.resets:
                return False
            self.resets -= 1
            self.happened.append("reset")
            return True


@contextmanager
def served(line: Line, upstream: str) -> Iterator[Line]:
    """Serve the line on this machine until the block is left."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            client: socket.socket = self.request
            head = b""
            while b"\r\n\r\n" not in head:
                if not (chunk := client.recv(65536)):
                    return
                head += chunk
            answer = line.answer()
            if answer is not None:
                length = _LENGTH.search(head)
                left = int(length[1]) if length else 0
                left -= len(head.partition(b"\r\n\r\n")[2])
                while left > 0 and (chunk := client.recv(65536)):
                    left -= len(chunk)
                client.sendall(
                    answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if head[:4] == b"HEAD" else answer
                )
                return
            self.forward(client, head)

        def forward(self, client: socket.socket, head: bytes) -> None:
            to = urlsplit(upstream)
            with socket.create_connection((to.hostname or "", to.port or 0)) as server:
                back = threading.Thread(target=self.pump, args=(server, client), daemon=True)
                back.start()
                sent, chunk = 0, head
                while chunk:
                    sent += len(chunk)
                    if line.reset_after and sent > line.reset_after and line.may_reset():
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        client.close()
                        break
                    server.sendall(chunk)
                    chunk = client.recv(65536)
                server.shutdown(socket.SHUT_RDWR)
                back.join()

        def pump(self, server: socket.socket, client: socket.socket) -> None:
            try:
                while chunk := server.recv(65536):
                    client.sendall(chunk)
            except OSError:
                return  # it was reset

    class Server(ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """A side that hung up is what these tests are about."""

    with serve_in_thread(Server(("127.0.0.1", 0), Handler)) as url:
        line.url = url
        yield line


def error(status: str, code: str, more: str = "") -> bytes:
    """Return what S3 answers to a request that it refuses."""
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>No.</Message>{more}</Error>'
    return (
        f"HTTP/1.1 {status}\r\ncontent-type: application/xml\r\ncontent-length: {len(body)}\r\n"
        f"connection: close\r\n\r\n{body}"
    ).encode()


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(os.urandom(20_000_000))
    return path


async def test_an_upload_that_is_reset_is_sent_again_and_paid_once(
    fast_house: Open, bucket: TestBucket, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(Line(reset_after=1_000_000, resets=3), bucket.server.endpoint) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", line.url)
        async with fast_house() as home:
            storage = Storage(share=bucket.url, keep=True)
            outcomes = await run(await home.client(), [translation(film)], storage=storage)

            assert len(home.sandbox.audit.creates) == 1
    (name,) = bucket.names
    assert line.happened == ["reset"] * 3
    assert [type(outcome) for outcome in outcomes] == [Completed]
    assert bucket.content(name) == film.read_bytes()
    assert bucket.unfinished_uploads == 0


async def test_an_upload_that_never_gets_through_costs_nothing_and_the_next_run_sends_it(
    fast_house: Open, bucket: TestBucket, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(share=bucket.url)
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        with served(Line(reset_after=1_000_000, resets=10_000), bucket.server.endpoint) as line:
            monkeypatch.setenv("AWS_ENDPOINT_URL", line.url)
            failed = await run(client, [translation(film)], journal=journal, storage=storage)
        assert home.sandbox.audit.creates == ()
        assert bucket.names == []
        monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.server.endpoint)
        done = await run(client, [translation(film)], journal=journal, storage=storage)

        assert len(home.sandbox.audit.creates) == 1
    assert [type(outcome) for outcome in failed] == [NotSubmitted]
    assert f"{bucket.url}/" in failed[0].reason
    assert "could not be written" in failed[0].reason
    assert [type(outcome) for outcome in done] == [Completed]


async def test_a_result_whose_upload_is_reset_gets_its_name_only_when_it_is_whole(
    fast_house: Open, bucket: TestBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(result_bytes=LARGE) as home:
        client = await home.client()
        with served(Line(reset_after=1_000_000, resets=10_000), bucket.server.endpoint) as line:
            monkeypatch.setenv("AWS_ENDPOINT_URL", line.url)
            (cut,) = await run(client, [video(1)], journal=journal, download_to=bucket.url)
            seen = bucket.names
            line.resets = 2
            (done,) = await run(client, [video(1)], journal=journal, download_to=bucket.url)

        assert len(home.sandbox.audit.creates) == 1
        videos = [one for one in home.sandbox.audit.served if one.artifact == "video"]
    assert (cut.saved, seen) == (None, [])
    assert done.saved is not None
    assert len(bucket.content("1.ja.mp4")) == LARGE
    assert len(videos) == 1, "the spool had it"
    assert spooled(tmp_path) == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (error("403 Forbidden", "RequestTimeTooSkewed"), "the clock of this machine is wrong"),
        (error("503 Slow Down", "SlowDown"), "it is overloaded and asks for fewer requests"),
        (
            error("400 Bad Request", "AuthorizationHeaderMalformed", "<Region>eu-central-1</Region>"),
            "the bucket is in another region; set AWS_REGION to eu-central-1",
        ),
        (error("301 Moved Permanently", "PermanentRedirect"), "another region; set AWS_REGION"),
        (error("403 Forbidden", "ExpiredToken"), "the credentials have expired"),
    ],
    ids=["clock", "overloaded", "region", "redirect", "token"],
)
async def test_a_store_that_refuses_says_why_and_nothing_is_spent(
    fast_house: Open,
    bucket: TestBucket,
    talk: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes,
    words: str,
) -> None:
    with served(Line(answers=[answer], always=True), bucket.server.endpoint) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", line.url)
        async with fast_house() as home:
            client = await home.client()
            shared = await run(client, [translation(talk)], storage=Storage(share=bucket.url))
            saved = await run(client, [video(1)], download_to=bucket.url)

            assert home.sandbox.audit.creates == ()
    assert line.happened
    assert words in reasons(shared)[0]
    assert words in reasons(saved)[0]


async def test_a_store_that_is_overloaded_for_a_while_is_asked_again(
    fast_house: Open, bucket: TestBucket, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = error("503 Slow Down", "SlowDown")
    with served(Line(answers=[busy] * 3), bucket.server.endpoint) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", line.url)
        async with fast_house() as home:
            storage = Storage(share=bucket.url)
            outcomes = await run(await home.client(), [translation(talk)], storage=storage)

            assert len(home.sandbox.audit.creates) == 1
    assert line.happened == ["answer"] * 3
    assert [type(outcome) for outcome in outcomes] == [Completed]
