"""GET requests to file hosts: every redirect is checked, and no request carries credentials.

Requests go straight to a transport, because a client would keep cookies, read netrc and add headers.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final, TypeAlias

import anyio
import attrs
import httpcore
import httpx

from akool_async._environment import EnvironmentProxy, is_loopback, proxy_for
from akool_async._library_logs import SENDING
from akool_async._model.errors import ConfigurationError, DownloadError
from akool_async._model.redact import sanitize, strip_query

Address: TypeAlias = IPv4Address | IPv6Address
_CLOUD_METADATA: Final = frozenset({ip_address("168.63.129.16")})
"""Public addresses that lead to the machine's own cloud. Source: Azure's page on this address."""

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""IPv4 addresses as IPv6-only networks show the whole internet. Source: RFC 6052."""

_SPECIAL_NETWORKS: Final = tuple(
    ip_network(text)
    for text in (
        "192.0.0.0/24 192.88.99.0/24 64:ff9b:1::/48 100::/64 2001::/23 2001:db8::/32 3fff::/20 5f00::/16 "
        "2002::/16 fec0::/10"
    ).split()
)
"""Networks for protocols, tunnels and examples; some Python versions count a few of them as global.
Source: the special-purpose address registries of IANA."""

_LEGACY_IPV4: Final = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*\.?", re.IGNORECASE)
_HOST_NAME: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?", re.IGNORECASE)
_RESOLVE_TIMEOUT: Final = 10.0
"""Seconds for resolving the API host's name."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB


@attrs.frozen(kw_only=True)
class DownloadLimits:
    """Bounds of one download.

    Attributes:
        connect: seconds for opening a connection.
        slow_window: seconds in which `min_bytes` have to arrive; a slower connection is closed.
        min_bytes: bytes; 60 KiB in 60 s close a connection that is slower than 1 KiB/s.
        max_redirects: redirects that are followed.
        max_attempts: connections for one file in all, however much each of them brought.
        max_video_bytes: size of the largest video that is accepted.
        max_text_bytes: the same for subtitle files.
        min_free_bytes: bytes that have to stay free on the disk.
        sync_every: bytes after which the part is synced to disk; so many are lost at most by a kill.
    """

    connect: float = 10.0
    slow_window: float = 60.0
    min_bytes: int = 60 * KIB
    max_redirects: int = 3
    max_attempts: int = 200
    max_video_bytes: int = 8 * GIB
    max_text_bytes: int = 16 * MIB
    min_free_bytes: int = MIB
    sync_every: int = 64 * MIB


class FileHostSession:
    """Connections for the files of one result, closed with it, also when it is cancelled.

    Args:
        direct: makes the transport for hosts that are not behind a proxy, of the context for TLS.
        tls_context: makes that context.
        transport: sends all requests instead, if given.
    """

    def __init__(
        self,
        backend: PublicAddressBackend,
        direct: Callable[[ssl.SSLContext], httpx.AsyncBaseTransport],
        tls_context: Callable[[], ssl.SSLContext],
        limits: DownloadLimits,
        *,
        user_agent: str,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._backend = backend
        self._connect_directly = direct
        self._tls_context = tls_context
        self._limits = limits
        self._headers = {"accept": "*/*", "accept-encoding": "identity", "user-agent": user_agent}
        self._transport = transport
        self._opened: dict[tuple[str, str | None], httpx.AsyncBaseTransport] = {}
        self._proxies: dict[tuple[str, str], EnvironmentProxy | None] = {}

    async def aclose(self) -> None:
        """Close the connections."""
        with anyio.CancelScope(shield=True):
            for transport in self._opened.values():
                await transport.aclose()

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        """Return the response to a GET, its body not read yet.

        Raises:
            DownloadError: the URL or a redirect is not allowed, or there are too many redirects.
            httpx.HTTPError: the exchange failed.
        """
        outside = SENDING.set(True)
        try:
            response = await self._follow_redirects(url, headers)
            try:
                yield response
            finally:
                with anyio.CancelScope(shield=True):
                    await response.aclose()
        finally:
            SENDING.reset(outside)

    async def _follow_redirects(self, url: str, headers: Mapping[str, str]) -> httpx.Response:
        # Each target is checked, too: a public host could redirect into this machine's network.
        for _ in range(self._limits.max_redirects + 1):
            checked = self._check_url(url)
            response = await self._send(checked, headers)
            if response.status_code not in _REDIRECTS:
                return response
            with anyio.CancelScope(shield=True):
                await response.aclose()
            location = response.headers.get("location")
            if not location:
                raise DownloadError("The file host redirected without a target.")
            try:
                url = str(checked.join(location))
            except (httpx.InvalidURL, ValueError) as error:
                raise DownloadError("The file host redirected to an invalid URL.") from error
        raise DownloadError(f"The file host redirected more than {self._limits.max_redirects} times.")

    def _check_url(self, url: str) -> httpx.URL:
        """Parse the URL of a result or of a redirect; refuse one that can't lead to a file of the vendor."""

        def shown() -> str:
            return f"result URL {sanitize(strip_query(url))}"

        try:
            parsed = httpx.URL(url)
            host = parsed.host  # decodes internationalised names, and raises for some of them
        except (httpx.InvalidURL, ValueError) as error:
            raise DownloadError(f"The vendor returned an invalid {shown()}.") from error
        ascii_host = parsed.raw_host.decode("ascii")
        known = parse_ip(ascii_host) is not None or _HOST_NAME.fullmatch(ascii_host) is not None
        if not known or not 0 < (parsed.port or 443) < 65_536:
            raise DownloadError(f"The vendor returned an invalid {shown()}.")
        if parsed.userinfo:
            raise DownloadError(f"The {shown()} contains a user name; it was not requested.")
        if _origin(parsed) in self._proxies:  # it was requested before
            return parsed
        # A forged or leaked URL must not make this machine read its own services or its network.
        loopback, private_allowed = is_loopback(host), self._backend.allow_private
        if parsed.scheme != "https" and not (parsed.scheme == "http" and loopback and private_allowed):
            raise DownloadError(f"The {shown()} is not https; it was not requested.")
        if is_legacy_ipv4(host) or ((loopback or is_local(host)) and not private_allowed):
            raise DownloadError(f"The {shown()} is not on a public host; it was not requested.")
        return parsed

    async def _send(self, url: httpx.URL, headers: Mapping[str, str]) -> httpx.Response:
        try:
            origin = _origin(url)
            if origin not in self._proxies:
                self._proxies[origin] = proxy_for(str(url))
            proxy = self._proxies[origin]
            key = (url.scheme, None if proxy is None else proxy.url)
            transport = self._transport or self._opened.get(key)
            if transport is None:
                context = self._tls_context() if url.scheme == "https" else _NO_TLS
                if proxy is None:
                    transport = self._connect_directly(context)
                else:
                    transport = httpx.AsyncHTTPTransport(verify=context, proxy=httpx.Proxy(proxy.url))
                self._opened[key] = transport
        except ConfigurationError as error:  # the environment is wrong, not the result: it can be tried again
            raise DownloadError(error.message, advice=error.advice) from error
        connect, read = self._limits.connect, self._limits.slow_window
        timeout = httpx.Timeout(read, connect=connect, pool=connect)
        request = httpx.Request(
            "GET", url, headers={**self._headers, **headers}, extensions={"timeout": timeout.as_dict()}
        )
        # httpx limits the time of each read; a host that drips its headers would never reach it.
        with anyio.move_on_after(connect + read):
            return await transport.handle_async_request(request)
        raise httpx.ReadTimeout("the headers of the response did not arrive in time")


def _origin(url: httpx.URL) -> tuple[str, str]:
    return url.scheme, url.netloc.decode("ascii")


class FileTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport over connections of a given backend."""

    def __init__(
        self, backend: PublicAddressBackend, context: ssl.SSLContext, *, connections: int = 10, idle: int = 1
    ) -> None:
        # The constructor of the base class accepts no network backend; this pool is all that it creates.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=connections,
            max_keepalive_connections=idle,
            network_backend=backend,
        )


class PublicAddressBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to public addresses, or to any if the API host itself is not public.

    A name is resolved once, and its addresses are checked before one is used; TLS and the Host header keep
    the name.

    Args:
        api_host: the API's host; one on this machine or in a private network, such as a sandbox, may
            have its files there too.
    """

    def __init__(self, api_host: str) -> None:
        self._api_host = api_host
        self._network: httpcore.AsyncNetworkBackend = httpcore.AnyIOBackend()
        self._api_is_private: bool | None = True if is_loopback(api_host) or is_local(api_host) else None

    @property
    def allow_private(self) -> bool:
        """Whether addresses that are not public are known to be allowed."""
        return bool(self._api_is_private)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to one of the addresses of `host`.

        Raises:
            DownloadError: one of them can't be that of a file host.
            httpcore.ConnectError: none of them accepts the connection.
        """
        addresses = await self.addresses(host, port, timeout)
        share = None if timeout is None else max(timeout / len(addresses), 1.0)
        error: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                stream = await self._network.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                error = failed
                continue
            peer = stream.get_extra_info("server_addr")
            if peer is not None and parse_ip(str(peer[0])) != parse_ip(address):
                await stream.aclose()
                raise DownloadError(f"The connection to the file host {host} led to another address.")
            return stream
        raise error

    async def addresses(self, host: str, port: int, seconds: float | None) -> list[str]:
        """Return the addresses of `host`, all of which may be connected to.

        Raises:
            DownloadError: one of them can't be that of a file host.
            httpcore.ConnectError: it has none.
            httpcore.ConnectTimeout: they were not found in so many seconds.
        """
        # Resolved once, and connected to what was checked: a second look-up could give another address.
        addresses = await _resolve(host, port, seconds)
        if not all(map(_is_public_ip, addresses)):
            if self._api_is_private is None:
                # As in a company's network, where the API's name leads to a private address.
                try:
                    api_addresses = await _resolve(self._api_host, 443, _RESOLVE_TIMEOUT)
                except (httpcore.ConnectError, httpcore.ConnectTimeout):
                    api_addresses = []
                self._api_is_private = bool(api_addresses) and not any(map(_is_public_ip, api_addresses))
            if not self._api_is_private:
                raise DownloadError(
                    f"The file host {host} has an address that is not public, which no result of the vendor "
                    "can have. No connection was opened."
                )
        return addresses


async def _resolve(host: str, port: int, seconds: float | None) -> list[str]:
    if parse_ip(host) is not None:
        return [host]
    try:
        with anyio.fail_after(seconds):
            found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError as error:
        raise httpcore.ConnectTimeout(f"{host} was not resolved in time") from error
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} could not be resolved") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: Address) -> bool:
    """Return whether `address`, and an IPv4 address embedded in it, is on the public internet."""
    # An IPv4 address inside an IPv6 one leads to the IPv4 host: 64:ff9b::a9fe:a9fe is a cloud's metadata.
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
    if address in _CLOUD_METADATA or not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(address in network for network in _SPECIAL_NETWORKS)


def _is_public_ip(text: str) -> bool:
    address = parse_ip(text)
    return address is not None and is_public(address)


def is_local(host: str) -> bool:
    """Return whether `host` is written as an address that is not public."""
    address = parse_ip(host)
    return address is not None and not is_public(address)


def is_legacy_ipv4(host: str) -> bool:
    """Return whether `host` is an IPv4 address in a form that only some resolvers accept, as 0x7f.1."""
    return parse_ip(host) is None and _LEGACY_IPV4.fullmatch(host) is not None


def parse_ip(host: str) -> Address | None:
    """Return the address that `host` is written as; None for a name."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


async def abort(response: httpx.Response, chunks: AsyncIterator[bytes]) -> None:
    """Close a connection in the middle of a body, and let the body's iterator end."""
    stream = response.extensions.get("network_stream")
    if stream is not None:
        await stream.aclose()
    # Without this the generators would be finalised by the garbage collector, of which trio complains.
    try:
        async for _ in chunks:
            pass
    except (httpx.HTTPError, httpx.StreamError, httpcore.NetworkError):
        return
