"""Downloads over aiohttp's connections: only to addresses that were checked, and to who was asked."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator

import anyio
import anyio.abc
import httpx
import pytest

from akool_async import DownloadError
from akool_async._download.aiohttp_transport import AiohttpFileTransport
from akool_async._download.network import PublicAddressBackend
from tests.download.conftest import connecting
from tests.download.host import Asked, Reply, hosting
from tests.download.test_hops import resolving

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
PUBLIC, PRIVATE = "openapi.akool.com", "127.0.0.1"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def to_public() -> AsyncIterator[AiohttpFileTransport]:
    transport = AiohttpFileTransport(PublicAddressBackend(PUBLIC), TLS)
    yield transport
    await transport.aclose()


@pytest.fixture
async def to_any() -> AsyncIterator[AiohttpFileTransport]:
    transport = AiohttpFileTransport(PublicAddressBackend(PRIVATE), TLS)
    yield transport
    await transport.aclose()


def get(url: str) -> httpx.Request:
    return httpx.Request("GET", url, extensions={"timeout": {"connect": 50.0, "read": 50.0}})


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1", "fd00::1", "100.64.0.1"]
)
@pytest.mark.parametrize("others", [[], ["93.184.216.34"]])
async def test_a_name_with_a_private_address_is_not_connected_to(
    address: str, others: list[str], to_public: AiohttpFileTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, files_example=[*others, address], openapi_akool_com=["93.184.216.1"])
    asked = connecting(monkeypatch)

    with pytest.raises(DownloadError, match="not public"):
        await to_public.handle_async_request(get("https://files.example/a"))
    assert asked == []


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "[::1]", "[::ffff:a9fe:a9fe]", "[fd00::1]"])
async def test_a_private_address_is_not_connected_to(
    host: str, to_public: AiohttpFileTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, openapi_akool_com=["93.184.216.1"])
    asked = connecting(monkeypatch)

    with pytest.raises(DownloadError, match="not public"):
        await to_public.handle_async_request(get(f"https://{host}/a"))
    assert asked == []


async def test_is_connected_to_the_addresses_that_were_looked_at(
    to_public: AiohttpFileTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = resolving(monkeypatch, files_example=[["93.184.216.34", "2606:4700::1111"], ["127.0.0.1"]])
    asked = connecting(monkeypatch)

    with pytest.raises(httpx.ConnectError):
        await to_public.handle_async_request(get("https://files.example/a"))
    assert names == ["files.example"]
    assert sorted(asked) == ["2606:4700::1111", "93.184.216.34"]
    monkeypatch.setattr(to_public._connector._backend, "_api_is_private", False)
    with pytest.raises(DownloadError, match="not public"):
        await to_public.handle_async_request(get("https://files.example/a"))
    assert "127.0.0.1" not in asked


async def test_who_answers_has_to_be_who_was_asked(
    to_public: AiohttpFileTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, files_example=["93.184.216.34"])
    with socket.create_server(("127.0.0.1", 0)) as server:
        connecting(monkeypatch, to=server.getsockname())
        with anyio.fail_after(50), pytest.raises(DownloadError, match="another address"):
            await to_public.handle_async_request(get("http://files.example/a"))
        connection, _ = server.accept()
        with connection:
            connection.settimeout(50)
            assert await anyio.to_thread.run_sync(connection.recv, 100) == b""


async def test_a_name_keeps_its_host_header_and_its_url_as_it_was_signed(
    to_any: AiohttpFileTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, files_example=["127.0.0.1"])
    target = "/a%2Fb%7Ec%20d+e/%C3%A9.mp4?X-Sig=a%2Bb%2F%3D&x=%7E~+%20&y"
    seen: list[Asked] = []

    def answer(asked: Asked) -> Reply:
        seen.append(asked)
        return Reply(headers={"set-cookie": "a=b"}, body=b"here")

    async with hosting(answer) as host:
        port = host.url.rpartition(":")[2]
        for _ in range(2):
            response = await to_any.handle_async_request(get(f"http://files.example:{port}{target}"))
            assert await response.aread() == b"here"
            await response.aclose()

    for asked in seen:
        assert asked.raw.startswith(f"GET {target} HTTP/1.1\r\n".encode())
        assert asked.headers["host"] == f"files.example:{port}"
        assert "cookie" not in asked.headers


@pytest.mark.parametrize("known", [True, False])
async def test_an_api_host_in_a_private_network_may_have_its_files_there(
    known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(
        monkeypatch, api_internal=["10.0.0.5"] if known else ["93.184.216.34"], files_internal=["10.0.0.6"]
    )
    asked = connecting(monkeypatch)
    transport = AiohttpFileTransport(PublicAddressBackend("api.internal"), TLS)
    with pytest.raises(httpx.ConnectError if known else DownloadError):
        await transport.handle_async_request(get("https://files.internal/a"))
    await transport.aclose()

    assert asked == (["10.0.0.6"] if known else [])


async def test_a_body_that_is_left_closes_its_connection(to_any: AiohttpFileTransport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a"
        heads: list[socket.socket] = []

        def serve() -> None:
            connection, _ = server.accept()
            heads.append(connection)
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbegin")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, serve)
            response = await to_any.handle_async_request(get(url))
            assert await anext(aiter(response.stream)) == b"begin"
            await response.aclose()
        with heads[0] as connection:
            connection.settimeout(50)
            assert await anyio.to_thread.run_sync(connection.recv, 100) == b""


async def test_what_is_no_chunk_is_a_broken_body_though_the_parser_tells_nobody(
    to_any: AiohttpFileTransport,
) -> None:
    received, broken = anyio.Event(), anyio.Event()

    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
            await received.wait()
            await stream.send(b"3\r\ndef\r\nzz\r\n")
            broken.set()
            await anyio.sleep(0.1)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        response = await to_any.handle_async_request(get(f"http://127.0.0.1:{port}/a"))
        pieces = aiter(response.stream)
        content = await anext(pieces)
        received.set()
        await broken.wait()
        await anyio.sleep(0.2)  # the parser fails while nobody reads, as while a block is written
        with pytest.raises(httpx.TransportError), anyio.fail_after(50):
            while True:
                content += await anext(pieces)
        await response.aclose()
        tasks.cancel_scope.cancel()

    assert b"abcdef".startswith(content)
