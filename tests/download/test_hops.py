"""Where a download may lead: https, public addresses, few hops, and nothing on the way that says who asks."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpcore
import httpx
import pytest
import trustme
from anyio.streams.tls import TLSListener

from akool_async import AkoolClient, DownloadError, Snapshot, Status
from akool_async._download.network import PublicAddressBackend
from tests.conftest import CANARY
from tests.download.conftest import QUICK, connecting, downloads, fetch, film, names
from tests.download.host import Asked, Host, Reply, hosting, part

PUBLIC = "https://openapi.akool.com"


def resolving(monkeypatch: pytest.MonkeyPatch, **names: list[str] | list[list[str]]) -> list[str]:
    """Let names stand for addresses; for a list of lists, others each time. Gives who was asked for."""
    asked: list[str] = []

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        known = names.get(host.replace(".", "_").replace("-", "_"))
        asked.append(host)
        if known is None:
            raise OSError("no such name")
        now = known[min(asked.count(host), len(known)) - 1] if isinstance(known[0], list) else known
        return [(0, 0, 0, "", (address, port)) for address in now]

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    return asked


URLS = """
    http://93.184.216.34/a.mp4 http://files.example/a.mp4 ftp://files.example/a.mp4 file:///etc/passwd
    https://127.0.0.1/a https://localhost/a https://10.0.0.1/a https://169.254.169.254/latest/meta-data
    https://100.100.100.200/ https://168.63.129.16/ https://192.168.0.1/ https://0.0.0.0/ https://0/
    https://2130706433/ https://0x7f000001/ https://017700000001/ https://127.1/ https://0x7f.1/
    https://[::1]/ https://[::]/ https://[::ffff:127.0.0.1]/ https://[::ffff:a9fe:a9fe]/
    https://[64:ff9b::7f00:1]/ https://[fd00:ec2::254]/ https://[fe80::1]/ https://[2002:7f00:1::]/
    https://files.example@127.0.0.1/ https://user:word@files.example/ https://127.0.0.1#@files.example/
    https://127.0.0.1\\@files.example/ https://①②⑦.⓪.⓪.①/ https://127。0。0。1/ //127.0.0.1/a
    https:///a https:// a https://files.example:99999999/ https://[::1/ javascript:alert(1)
    https://xn--a/ https://xn--/ https://xn--zzzzzzzzz99999.example/
""".split()


@pytest.mark.parametrize("how", ["at once", "over a redirect"])
@pytest.mark.parametrize("url", URLS)
async def test_leads_nowhere_but_to_public_https(
    url: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[str] = []

    async def connect(host: str, *_: Any) -> Any:
        reached.append(host)
        raise httpcore.ConnectError("not in a test")

    resolving(monkeypatch, files_example=["93.184.216.34"], localhost=["127.0.0.1"])
    downloader = downloads(PUBLIC)
    monkeypatch.setattr(downloader._backend._network, "connect_tcp", connect)
    reached_by_aiohttp = connecting(monkeypatch)
    if how == "over a redirect":
        downloader._transport = _Redirecting(url)
    with pytest.raises(DownloadError) as caught:
        await fetch(downloader, url if how == "at once" else "https://files.example/", tmp_path / "a.mp4")

    assert reached + reached_by_aiohttp == []
    assert "word" not in str(caught.value)
    assert names(tmp_path) == []


class _Redirecting(httpx.AsyncBaseTransport):
    """Sends the first request elsewhere; nothing may come but what stays at this host."""

    def __init__(self, location: str) -> None:
        self._location = location

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert str(request.url) in ("https://files.example/", "https://files.example/a"), request.url
        if request.url.path == "/a":  # from a location that names no host
            return httpx.Response(404)
        return httpx.Response(302, headers=[(b"location", self._location.encode())])


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1", "fd00::1", "100.64.0.1"]
)
@pytest.mark.parametrize("others", [[], ["93.184.216.34"]])
async def test_a_name_with_a_private_address_is_not_connected_to(
    address: str, others: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, files_example=[*others, address], openapi_akool_com=["93.184.216.1"])
    backend = PublicAddressBackend("openapi.akool.com")
    monkeypatch.setattr(backend._network, "connect_tcp", None)

    with pytest.raises(DownloadError, match="not public"):
        await backend.connect_tcp("files.example", 443)


async def test_is_connected_to_the_address_that_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolving(monkeypatch, files_example=[["93.184.216.34"], ["127.0.0.1"]])
    stream = _Stream("93.184.216.34")
    reached: list[str] = []

    async def connect(host: str, *_: Any) -> Any:
        reached.append(host)
        return stream

    backend = PublicAddressBackend("openapi.akool.com")
    monkeypatch.setattr(backend._network, "connect_tcp", connect)

    assert await backend.connect_tcp("files.example", 443) is stream
    assert (asked, reached) == (["files.example"], ["93.184.216.34"])
    with pytest.raises(DownloadError):
        await backend.connect_tcp("files.example", 443)
    assert reached == ["93.184.216.34"]


async def test_who_answers_has_to_be_who_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, files_example=["93.184.216.34"])
    stream = _Stream("127.0.0.1")

    async def connect(*_: Any) -> Any:
        return stream

    backend = PublicAddressBackend("openapi.akool.com")
    monkeypatch.setattr(backend._network, "connect_tcp", connect)

    with pytest.raises(DownloadError, match="another address"):
        await backend.connect_tcp("files.example", 443)
    assert stream.closed


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, peer: str) -> None:
        self._peer = peer
        self.closed = False

    def get_extra_info(self, info: str) -> Any:
        return (self._peer, 443) if info == "server_addr" else None

    async def aclose(self) -> None:
        self.closed = True


async def test_the_next_address_is_tried_when_one_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, files_example=["93.184.216.34", "93.184.216.35"])
    reached: list[str] = []

    async def connect(host: str, *_: Any) -> Any:
        reached.append(host)
        if host.endswith("34"):
            raise httpcore.ConnectTimeout
        return _Stream(host)

    backend = PublicAddressBackend("openapi.akool.com")
    monkeypatch.setattr(backend._network, "connect_tcp", connect)
    await backend.connect_tcp("files.example", 443, timeout=10.0)

    assert reached == ["93.184.216.34", "93.184.216.35"]


@pytest.mark.parametrize("known", [True, False])
async def test_an_api_host_in_a_private_network_may_have_its_files_there(
    known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(
        monkeypatch, api_internal=["10.0.0.5"] if known else ["93.184.216.34"], files_internal=["10.0.0.6"]
    )

    async def connect(host: str, *_: Any) -> Any:
        return _Stream(host)

    backend = PublicAddressBackend("api.internal")
    monkeypatch.setattr(backend._network, "connect_tcp", connect)
    if known:
        await backend.connect_tcp("files.internal", 443)
    else:
        with pytest.raises(DownloadError):
            await backend.connect_tcp("files.internal", 443)


# Redirects.


@pytest.mark.parametrize(("hops", "whole"), [(3, True), (4, False)])
async def test_follows_three_redirects(tmp_path: Path, hops: int, whole: bool) -> None:
    content = film()

    async with hosting(lambda asked: _hop(asked, hops, content)) as host:
        if whole:
            await fetch(downloads(), f"{host.url}/0", tmp_path / "a.mp4")
        else:
            with pytest.raises(DownloadError, match="more than 3 times"):
                await fetch(downloads(), f"{host.url}/0", tmp_path / "a.mp4")

    assert [asked.path for asked in host.asked] == ["/0", "/1", "/2", "/3"]


def _hop(asked: Asked, hops: int, content: bytes) -> Reply:
    number = int(asked.path[1:])
    if number == hops:
        return part(content, asked)
    return Reply(status=(301, 302, 303, 307, 308)[number], headers={"location": f"/{number + 1}"})


async def test_a_resumed_part_is_asked_for_at_every_hop(tmp_path: Path) -> None:
    content = film()

    def answer(asked: Asked) -> Reply:
        if asked.path == "/0":
            return Reply(status=302, headers={"location": "/1"})
        return part(content, asked, keep=None if asked.first else 6000)

    async with hosting(answer) as host:
        await fetch(downloads(), f"{host.url}/0", tmp_path / "a.mp4")

    assert [(asked.path, asked.first) for asked in host.asked] == [
        ("/0", 0),
        ("/1", 0),
        ("/0", 6000),
        ("/1", 6000),
    ]
    assert (tmp_path / "a.mp4").read_bytes() == content


@pytest.mark.parametrize("location", ["", "https://[", "http://other.example/a"])
async def test_a_redirect_to_nowhere_is_an_error(tmp_path: Path, location: str) -> None:
    async with hosting(lambda _: Reply(status=302, headers={"location": location})) as host:
        with pytest.raises(DownloadError):
            await fetch(downloads(), f"{host.url}/0", tmp_path / "a.mp4")

    assert len(host.asked) == 1


SECRET = {"authorization", "x-api-key", "cookie", "proxy-authorization", "referer"}


async def test_nothing_secret_arrives_at_any_hop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"default login someone password {CANARY}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    content = film()
    hosts: list[Host] = []

    def answer(asked: Asked) -> Reply:
        number = int(asked.path[2:3])
        told = {"set-cookie": f"session={CANARY}; Path=/", "www-authenticate": 'Basic realm="x"'}
        if number == 3:
            return part(content, asked, keep=None if asked.first else 6000)
        return Reply(status=302, headers={**told, "location": f"{hosts[(number + 1) % 2].url}/h{number + 1}"})

    async with hosting(answer) as one, hosting(answer) as two:
        hosts += (one, two)
        seen = Snapshot(job_id="job-1", status=Status.COMPLETED, url=f"{one.url}/h0?token=t")
        for options in ({"api_key": CANARY}, {"client_id": "someone", "client_secret": CANARY}):
            async with AkoolClient(host=one.url, retry=QUICK, **options) as client:
                await client.download(seen, into=tmp_path / "out", overwrite=True)

    asked = [*one.asked, *two.asked]
    assert len(asked) == 16
    for request in asked:
        assert CANARY.encode() not in request.raw
        assert not {"authorization", "x-api-key", "cookie", "proxy-authorization", "referer"} & set(
            request.headers
        )


async def test_a_name_that_is_not_resolved_in_time_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def never(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        await anyio.sleep_forever()

    monkeypatch.setattr(anyio, "getaddrinfo", never)
    with pytest.raises(DownloadError, match="ConnectTimeout"):
        await fetch(downloads(PUBLIC, connect=0.01), "https://files.example/a.mp4", tmp_path / "a.mp4")

    assert asked == ["files.example"] * 4


# TLS and proxies.


@pytest.mark.parametrize("proxy", ["gopher://127.0.0.1:70", "http://[::1", "proxy.example:port"])
async def test_a_proxy_of_another_kind_is_told(
    proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(DownloadError, match="ALL_PROXY"):
        await fetch(downloads(PUBLIC), "https://files.example/a.mp4", tmp_path / "a.mp4")


@asynccontextmanager
async def https(
    authority: trustme.CA, name: str, content: bytes
) -> AsyncIterator[tuple[int, list[str], Host]]:
    """Serve a file by TLS as `name`; gives the port and the names that were asked for in the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    heard: list[str] = []
    context.sni_callback = lambda _, told, __: heard.append(told)
    host = Host("", lambda asked: part(content, asked))
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with (
        TLSListener(listener, context, standard_compatible=False) as tls,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(tls.serve, host.serve)
        yield listener.extra(anyio.abc.SocketAttribute.local_port), heard, host
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("name", ["files.example", "other.example"])
async def test_the_name_stays_in_tls_and_host_while_the_address_is_ours(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    resolving(monkeypatch, files_example=["127.0.0.1"])
    downloader = downloads()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    downloader._tls_context = lambda: context
    async with https(authority, name, film()) as (port, heard, host):
        if name == "files.example":
            await fetch(downloader, f"https://files.example:{port}/a.mp4", tmp_path / "a.mp4")
            assert host.asked[0].headers["host"] == f"files.example:{port}"
        else:
            with pytest.raises(DownloadError, match="certificate"):
                await fetch(downloader, f"https://files.example:{port}/a.mp4", tmp_path / "a.mp4")
            assert host.asked == []

    assert heard == ["files.example"]


@pytest.mark.parametrize("scheme", ["http://", ""])
async def test_a_proxy_from_the_environment_is_used_and_gets_no_credential(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hosting(lambda _: Reply(status=502)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}{proxy.url.removeprefix('http://')}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with pytest.raises(DownloadError):
            await fetch(downloads(PUBLIC), "https://files.example/a.mp4", tmp_path / "a.mp4")
        assert {asked.path for asked in proxy.asked} == {"files.example:443"}
        proxy.asked.clear()
        with pytest.raises(DownloadError, match="was not requested"):
            await fetch(downloads(PUBLIC), "https://169.254.169.254/", tmp_path / "a.mp4")
        monkeypatch.setenv("NO_PROXY", "files.example")
        resolving(monkeypatch)
        with pytest.raises(DownloadError):
            await fetch(downloads(PUBLIC), "https://files.example/a.mp4", tmp_path / "a.mp4")

    assert proxy.asked == []
