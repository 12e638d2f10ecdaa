"""One GET from a file host over redirects: each hop is checked, none carries anything that says who we are.

Requests go straight to a transport: no client that keeps cookies, reads netrc or adds headers.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from types import TracebackType
from typing import Any, Final, Self, TypeAlias
from urllib.request import getproxies, proxy_bypass

import anyio
import attrs
import httpcore
import httpx

from akool_async._model.credentials import is_loopback
from akool_async._model.errors import DownloadError
from akool_async._model.redact import sanitize, strip_query

# Which network addresses a file host may have: public ones only, in whatever way they are written.
#
# Pure: what a name resolves to is asked elsewhere.


Address: TypeAlias = IPv4Address | IPv6Address
_METADATA: Final = frozenset({ip_address("168.63.129.16")})
"""Of the public addresses, those that mean the machine's own cloud. Source: Azure's page on this address."""

_TRANSLATED: Final = IPv6Network("64:ff9b::/96")
"""IPv4 seen through a translator, as networks without IPv4 show the whole internet. Source: RFC 6052."""

_NO_HOSTS: Final = tuple(
    ip_network(text)
    for text in (
        "192.0.0.0/24 192.88.99.0/24 64:ff9b:1::/48 100::/64 2001::/23 2001:db8::/32 3fff::/20 5f00::/16 "
        "2002::/16 fec0::/10"
    ).split()
)
"""Networks for protocols, tunnels, examples and sites; not every Python counts all of them as not global.
Source: the special-purpose address registries of IANA."""

_NUMBERS: Final = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*\.?", re.IGNORECASE)
_NAME: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", re.IGNORECASE)


def is_public(address: Address) -> bool:
    """Whether `address` is a host of the open internet, and so is an IPv4 address inside of it."""
    inner = _inside(address)
    if inner is not None:
        return is_public(inner)
    if address in _METADATA or not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(address in network for network in _NO_HOSTS)


def _inside(address: Address) -> IPv4Address | None:
    """Give the IPv4 address that an IPv6 address stands for."""
    if isinstance(address, IPv4Address):
        return None
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped


def is_host(host: str) -> bool:
    """Whether `host` is an address or can be a name as it is sent: ASCII, without anything strange."""
    return parse_ip(host) is not None or _NAME.fullmatch(host) is not None


def parse_ip(host: str) -> Address | None:
    """Give the address that `host` is written as; None for a name."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def is_legacy_ipv4(host: str) -> bool:
    """Whether `host` is an IPv4 address in a form that only old resolvers read, such as 0x7f.1."""
    return parse_ip(host) is None and _NUMBERS.fullmatch(host) is not None


def is_local(host: str) -> bool:
    """Whether `host` is written as an address that is not public."""
    address = parse_ip(host)
    return address is not None and not is_public(address)


# Connections to file hosts: a name is resolved once, and what it resolves to is looked at before it is used.
#
# TLS and the Host header keep the name; only the address underneath is ours to choose.


_TURNED_AWAY = "It was not connected to: a result of the vendor does not lie there."
_PATIENCE: Final = 10.0
"""Seconds for asking what the API host's name stands for."""


class PublicAddressBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to public addresses, or to any where the API host itself is not public.

    Args:
        api_host: the API's host; one on this machine or in a private network, such as a sandbox, may
            have its files there too.
    """

    def __init__(self, api_host: str) -> None:
        self._api_host = api_host
        self._network: httpcore.AsyncNetworkBackend = httpcore.AnyIOBackend()
        self._anywhere: bool | None = True if is_loopback(api_host) or is_local(api_host) else None

    @property
    def allow_private(self) -> bool:
        """Whether addresses that are not public are known to be allowed."""
        return bool(self._anywhere)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to one of the addresses that `host` has.

        Raises:
            DownloadError: it has one that no file host of the vendor can have.
            httpcore.ConnectError: none of them answers.
        """
        addresses = await _resolved(host, port, timeout)
        if not all(map(_is_public, addresses)):
            await self._refuse_unless_private(host)
        share = None if timeout is None else max(timeout / len(addresses), 1.0)
        error: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                stream = await self._network.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                error = failed
                continue
            await _check_peer(stream, address, host)
            return stream
        raise error

    async def _refuse_unless_private(self, host: str) -> None:
        if self._anywhere is None:
            self._anywhere = await _is_private(self._api_host)
        if not self._anywhere:
            raise DownloadError(f"The file host {host} has an address that is not public. {_TURNED_AWAY}")

    async def sleep(self, seconds: float) -> None:
        """Wait, for httpcore's own retries."""
        await anyio.sleep(seconds)


def _is_public(address: str) -> bool:
    parsed = parse_ip(address)
    return parsed is not None and is_public(parsed)


async def _resolved(host: str, port: int, seconds: float | None) -> list[str]:
    if parse_ip(host) is not None:
        return [host]
    try:
        with anyio.fail_after(seconds):
            found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError as error:
        raise httpcore.ConnectTimeout(f"{host} was not resolved in time") from error
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} could not be resolved") from error
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


async def _is_private(api_host: str) -> bool:
    """Whether the API host's name stands for addresses that are not public, as in a company's network."""
    try:
        addresses = await _resolved(api_host, 443, _PATIENCE)
    except (httpcore.ConnectError, httpcore.ConnectTimeout):
        return False
    return bool(addresses) and not any(map(_is_public, addresses))


async def _check_peer(stream: httpcore.AsyncNetworkStream, address: str, host: str) -> None:
    """Make sure that who answers is who was asked."""
    peer = stream.get_extra_info("server_addr")
    if peer is not None and parse_ip(str(peer[0])) != parse_ip(address):
        await stream.aclose()
        raise DownloadError(f"The connection to the file host {host} led to another address.")


# How far a download may go: bytes, seconds, redirects.


KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB


@attrs.frozen(kw_only=True)
class DownloadLimits:
    """Bounds of one download.

    Attributes:
        connect: seconds for making a connection.
        window: seconds in which `least` bytes have to come; a line that is slower is dropped.
        least: bytes; 60 KiB in 60 s, so that a line below 1 KiB/s is dropped.
        hops: redirects that are followed.
        tries: connections for one file in all, however much each of them brought.
        largest: bytes of a video; more is not taken in.
        largest_text: bytes of a subtitle file.
        spare: bytes that have to stay free on the disk.
        sync_every: bytes after which what came is put on disk for good.
    """

    connect: float = 10.0
    slow_window: float = 60.0
    min_bytes: int = 60 * KIB
    max_redirects: int = 3
    max_attempts: int = 200
    max_video_bytes: int = 8 * GIB
    max_text_bytes: int = 64 * MIB
    min_free_bytes: int = MIB
    sync_every: int = 4 * MIB


_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_ONE_AT_A_TIME: Final = 1
_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class FileTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport over doors of ours."""

    def __init__(self, doors: PublicAddressBackend, context: ssl.SSLContext) -> None:
        # Its constructor takes no network backend; all that it makes is this pool.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context, max_keepalive_connections=_ONE_AT_A_TIME, network_backend=doors
        )


def proxy_for(url: httpx.URL) -> str | None:
    """Give the proxy that the environment names for `url`, if any."""
    if is_loopback(url.host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(url.host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


class FileHostSession:
    """Connections for the files of one result, closed with it: nothing of a cancelled one stays behind.

    Args:
        doors: make the connections that go through no proxy.
        context: gives what TLS needs, when it is needed.
        limits: bounds.
        user_agent: what is said about us.
        transport: takes all requests instead, as for a sandbox inside the process.
    """

    def __init__(
        self,
        doors: PublicAddressBackend,
        context: Callable[[], ssl.SSLContext],
        limits: DownloadLimits,
        *,
        user_agent: str,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._doors = doors
        self._context = context
        self._limits = limits
        self._headers = {"accept": "*/*", "accept-encoding": "identity", "user-agent": user_agent}
        self._given = transport
        self._made: dict[tuple[str, str | None], httpx.AsyncBaseTransport] = {}

    async def __aenter__(self) -> Self:
        """Nothing is opened before the first request."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        with anyio.CancelScope(shield=True):
            for transport in self._made.values():
                await transport.aclose()

    def _transport(self, url: httpx.URL) -> httpx.AsyncBaseTransport:
        if self._given is not None:
            return self._given
        way = (url.scheme, proxy_for(url))
        if way not in self._made:
            self._made[way] = self._make(*way)
        return self._made[way]

    def _make(self, scheme: str, proxy: str | None) -> httpx.AsyncBaseTransport:
        context = self._context() if scheme == "https" else _NO_TLS
        if proxy is None:
            return FileTransport(self._doors, context)
        try:
            return httpx.AsyncHTTPTransport(verify=context, proxy=httpx.Proxy(proxy))
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise DownloadError(
                "The proxy that the environment names for file hosts is of a kind that can't be used.",
                advice="Name an http proxy in HTTPS_PROXY, or the file hosts in NO_PROXY.",
            ) from error

    def _checked(self, url: str) -> httpx.URL:
        """Give the URL of one hop.

        Raises:
            DownloadError: it leads to where no file of the vendor can be.
        """
        told = sanitize(strip_query(url))
        try:
            parsed = httpx.URL(url)
            host = parsed.host  # which decodes names of other letters, and refuses some
        except (httpx.InvalidURL, ValueError) as error:
            raise DownloadError(f"The result's URL {told} is none.") from error
        if not is_host(parsed.raw_host.decode("ascii")) or not 0 < (parsed.port or 443) < 65_536:
            raise DownloadError(f"The result's URL {told} is none.")
        if parsed.userinfo:
            raise DownloadError(f"The result's URL {told} carries a user name; it was not asked.")
        local = is_loopback(host)
        if parsed.scheme != "https" and not (parsed.scheme == "http" and local and self._doors.allow_private):
            raise DownloadError(f"The result's URL {told} is not https; it was not asked.")
        if is_legacy_ipv4(host) or ((local or is_local(host)) and not self._doors.allow_private):
            raise DownloadError(f"The result's URL {told} is no address of a file host; it was not asked.")
        return parsed

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        """Give the answer to a GET, its body not read yet.

        Raises:
            DownloadError: a hop is not allowed, or there are too many.
            httpx.HTTPError: the exchange broke.
        """
        response = await self._follow(url, headers)
        try:
            yield response
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    async def _follow(self, url: str, headers: Mapping[str, str]) -> httpx.Response:
        for _ in range(self._limits.max_redirects + 1):
            place = self._checked(url)
            response = await self._send(place, headers)
            if response.status_code not in _REDIRECTS:
                return response
            with anyio.CancelScope(shield=True):
                await response.aclose()
            url = _next(place, response.headers.get("location"))
        raise DownloadError(f"The file host redirected more than {self._limits.max_redirects} times.")

    async def _send(self, url: httpx.URL, headers: Mapping[str, str]) -> httpx.Response:
        connect, read = self._limits.connect, self._limits.slow_window
        timeout = httpx.Timeout(read, connect=connect, pool=connect)
        request = httpx.Request(
            "GET", url, headers={**self._headers, **headers}, extensions={"timeout": timeout.as_dict()}
        )
        with anyio.move_on_after(connect + read):  # a read at a time, a head may drip for ever
            return await self._transport(url).handle_async_request(request)
        raise httpx.ReadTimeout("the head of the answer did not come in time")


def _next(place: httpx.URL, location: str | None) -> str:
    if not location:
        raise DownloadError("The file host redirected without saying where to.")
    try:
        return str(place.join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise DownloadError("The file host redirected to what is no URL.") from error


async def abort(response: httpx.Response, chunks: AsyncIterator[bytes]) -> None:
    """Leave a body in the middle: break the connection and let what reads it come to its end.

    To leave its generators alone instead would have them collected as garbage, which trio complains about.
    """
    stream = response.extensions.get("network_stream")
    if stream is not None:
        await stream.aclose()
    try:
        async for _ in chunks:
            pass
    except (httpx.HTTPError, httpx.StreamError, httpcore.NetworkError):
        return
