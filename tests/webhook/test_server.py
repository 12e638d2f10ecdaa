"""The receiver on a socket that strangers reach: slow ones are ended, and none holds all connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from akool_async.webhook import WebhookReceiver
from akool_async.webhook import server as limits

from .conftest import Ear, body, receiver


@contextmanager
def serving(door: WebhookReceiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """Serve a receiver in a thread; yield its address."""
    started: list[limits.uvicorn.Server] = []
    ready = threading.Event()
    startup = limits.uvicorn.Server.startup

    async def noted(self: limits.uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        started.append(self)
        await startup(self, sockets)

    monkeypatch.setattr(limits.uvicorn.Server, "startup", noted)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(
            target=limits.serve, args=(door, listening), kwargs={"on_ready": ready.set}, daemon=True
        )
        thread.start()
        assert ready.wait(50)
        try:
            yield listening.getsockname()
        finally:
            started[0].should_exit = True
            thread.join(50)


def post(address: tuple[str, int], content: bytes) -> int:
    return httpx.post(
        f"http://127.0.0.1:{address[1]}/", content=content, timeout=50, trust_env=False
    ).status_code


@pytest.mark.parametrize(
    "sent", [b"", b"P", b"POST / HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "a byte", "headers"]
)
def test_headers_that_do_not_come_end_the_connection(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEADER_TIMEOUT", 0.05)
    with (
        serving(receiver(), monkeypatch) as address,
        socket.create_connection(address, timeout=50) as one,
        pytest.raises(ConnectionError),  # a slow sender sees it while it sends
    ):
        one.sendall(sent)
        assert one.recv(100) == b""
        raise ConnectionError


def test_headers_that_drip_on_a_used_connection_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEADER_TIMEOUT", 50.0)
    with serving(receiver(), monkeypatch) as address, socket.create_connection(address, timeout=50) as one:
        one.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        answer = one.recv(4096)
        monkeypatch.setattr(limits, "HEADER_TIMEOUT", 0.05)
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            for _ in range(8000):
                one.sendall(b"P")
                threading.Event().wait(0.005)

    assert answer.startswith(b"HTTP/1.1 200")


def test_an_idle_connection_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IDLE_TIMEOUT", 0.05)
    monkeypatch.setattr(limits, "HEADER_TIMEOUT", 50.0)
    with serving(receiver(), monkeypatch) as address, socket.create_connection(address, timeout=50) as one:
        one.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")

        assert one.recv(4096).startswith(b"HTTP/1.1 200")
        assert one.recv(4096) == b""


def test_strangers_that_hold_all_connections_lose_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CONNECTIONS", 5)
    monkeypatch.setattr(limits, "HEADER_TIMEOUT", 50.0)
    ear, door = Ear(), receiver()
    door.subscribe(ear)
    with serving(door, monkeypatch) as address:
        strangers = [socket.create_connection(address, timeout=50) for _ in range(8)]
        statuses = [post(address, body(f"{number:024}")) for number in range(10)]
        ended = sum(not still_open(one) for one in strangers)
        for one in strangers:
            one.close()

    assert statuses == [200] * 10
    assert len(ear.heard) == 10
    assert ended >= 3


def still_open(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        return one.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


@pytest.mark.parametrize(
    "sent",
    [b"\x00\xff\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"],
)
def test_nonsense_is_not_logged(
    sent: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(receiver(), monkeypatch) as address:
        for _ in range(30):
            with socket.create_connection(address, timeout=50) as one:
                one.sendall(sent)
                one.recv(4096)

    assert [record for record in caplog.records if record.levelname != "INFO"] == []
