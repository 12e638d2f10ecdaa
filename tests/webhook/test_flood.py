"""Senders that know no key and want to shut the vendor out: by number, by size, by slowness.

AKOOL_TEST_CONNECTIONS says how many connections the flood has.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import anyio
import attrs
import httpx
import pytest

from akool_async.webhook import Callback, WebhookReceiver
from akool_async.webhook.memory import PeerQueues

from .conftest import JOB, TOKEN, Ear, body, looked_at, open_ear, receiver, served

CONNECTIONS = int(os.environ.get("AKOOL_TEST_CONNECTIONS", "20"))
GENUINE = 40

FLOOD = """
import socket, sys
address, content, connections = ("127.0.0.1", int(sys.argv[1])), bytes.fromhex(sys.argv[2]), int(sys.argv[3])
request = b"POST / HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(content), content)
sockets = [socket.create_connection(address, timeout=100) for _ in range(connections)]
print(flush=True)
for one in sockets:
    one.sendall(request)
while True:
    for one in sockets:
        one.recv(4096)
        one.sendall(request)
"""


def request(content: bytes, *, length: int | None = None) -> bytes:
    size = len(content) if length is None else length
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (size, content)


def connected(origin: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(origin.rpartition(":")[2])), timeout=50)


@contextmanager
def flooded(origin: str, content: bytes) -> Iterator[None]:
    """Send a body in a loop over many connections, from a process of its own."""
    arguments = [origin.rpartition(":")[2], content.hex(), str(CONNECTIONS)]
    with subprocess.Popen([sys.executable, "-c", FLOOD, *arguments], stdout=subprocess.PIPE) as flood:
        try:
            assert flood.stdout is not None
            flood.stdout.readline()
            yield
        finally:
            flood.kill()


@pytest.mark.parametrize(
    "make", [lambda: b"{}", lambda: b"x" * 16_000, body], ids=["object", "large", "caught"]
)
async def test_a_flood_does_not_shut_real_callbacks_out(
    make: Callable[[], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    content = make()
    ear, door = Ear(), receiver(queue_size=7 * max(CONNECTIONS, GENUINE))
    door.subscribe(ear)
    # A slow machine can't keep up with a flood from the vendor's own address: what no flood can take is the
    # vendor's own share of the queue, in which all of its bodies have a place.
    peer = "127.0.0.2"
    statuses: list[int] = []
    seconds: list[float] = []

    async def vendor(http: httpx.AsyncClient, numbers: Iterable[int]) -> None:
        for number in numbers:
            began = time.monotonic()
            answer = await http.post(f"{origin}/akool/{TOKEN}", content=body(f"{number:024}"))
            statuses.append(answer.status_code)
            seconds.append(time.monotonic() - began)
            await anyio.sleep(0.04)

    with served(door) as origin:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with flooded(origin, content):
            async with (
                httpx.AsyncClient(
                    transport=httpx.AsyncHTTPTransport(local_address=peer), timeout=100
                ) as http,
                anyio.create_task_group() as tasks,
            ):
                for first in range(8):
                    tasks.start_soon(vendor, http, range(first, GENUINE, 8))
        await looked_at(door)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    records = [record for record in caplog.records if record.name == "akool_async"]

    print(f"{door.statistics().accepted - GENUINE} forged at {CONNECTIONS} connections, {GENUINE} genuine")
    print(f"within {max(seconds):.2f} s; {grown} KiB more memory, {len(records)} lines logged")
    assert statuses == [200] * GENUINE
    assert len({callback.job_id for callback in ear.heard} - {JOB}) == GENUINE
    assert len(records) <= 20
    assert grown < 20_000


async def test_several_peers_are_served_in_turn_and_none_fills_the_queue() -> None:
    async with open_ear(queue_size=100) as (door, ear):
        noisy = [door.receive(b"{}", "/", "203.0.113.1") for _ in range(200)]
        others = [door.receive(b"{}", "/", f"203.0.113.{number}") for number in (2, 3)]
        genuine = [door.receive(body(f"{number:024}"), "/", "198.51.100.7") for number in range(5)]
        handled: list[str] = []
        door.subscribe(Noting(handled, door))
        await looked_at(door)

    assert noisy.count(200) == 80
    assert [*others, *genuine] == [200] * 7
    assert len(ear.heard) == 5
    assert max(map(int, handled)) <= 4 * 5  # not behind the 80 of the noisy one


def test_a_queue_keeps_what_it_accepted_and_accepts_nothing_once_it_is_closed() -> None:
    queue = PeerQueues(10)
    assert queue.put("a", b"1", "/")
    queue.close()

    assert not queue.put("a", b"2", "/")
    queue.wait()
    assert queue.pop() == (b"1", "/")
    queue.wait()
    assert queue.pop() is None


@attrs.frozen
class Noting:
    """Notes how many bodies were refused before each callback."""

    handled: list[str]
    door: WebhookReceiver

    def on_callback(self, callback: Callback) -> None:
        self.handled.append(str(self.door.statistics().malformed))


async def test_an_endless_body_is_answered_and_its_connection_is_closed() -> None:
    with served(receiver()) as origin, connected(origin) as sender:
        sender.sendall(request(b"x", length=10**12))
        sent = 0
        with pytest.raises(OSError, match=r"reset|Broken pipe|aborted"):
            while sent < 500 * 2**20:
                sent += sender.send(b"x" * 2**16)

    assert sent < 20 * 2**20


async def test_the_sender_of_a_body_that_is_too_large_still_sees_the_answer() -> None:
    with served(receiver()) as origin, connected(origin) as sender:
        sender.sendall(request(b"x" * 500_000))

        assert sender.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_body_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("akool_async.webhook.receiver._BODY_TIMEOUT", 0.05)
    with served(receiver()) as origin, connected(origin) as sender:
        sender.sendall(request(b"{", length=1000))
        answer = sender.recv(4096)
        ended = sender.recv(4096)

    assert answer.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in answer.lower()
    assert ended == b""


@pytest.mark.parametrize("method", [b"GET", b"PUT"])
async def test_a_body_of_another_method_is_not_read(method: bytes) -> None:
    with served(receiver()) as origin, connected(origin) as sender:
        sender.sendall(request(b"x" * 100, length=10**12).replace(b"POST", method))
        answer = sender.recv(4096)

    assert answer.startswith(b"HTTP/1.1 405")
    assert b"connection: close" in answer.lower()
