"""One GET from a file host over redirects: each hop is checked, none carries anything that says who we are.

Requests go straight to a transport: no client that keeps cookies, reads netrc or adds headers.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self
from urllib.request import getproxies, proxy_bypass

import anyio
import httpcore
import httpx

from akool_async._core.errors import DownloadFailed
from akool_async._core.host import is_loopback
from akool_async._core.text import clean, without_query
from akool_async._download.addresses import is_disguised, is_host, is_local
from akool_async._download.doors import Doors
from akool_async._download.limits import Limits

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_ONE_AT_A_TIME: Final = 1
_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class FileTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport over doors of ours."""

    def __init__(self, doors: Doors, context: ssl.SSLContext) -> None:
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


class Line:
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
        doors: Doors,
        context: Callable[[], ssl.SSLContext],
        limits: Limits,
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
            raise DownloadFailed(
                "The proxy that the environment names for file hosts is of a kind that can't be used.",
                advice="Name an http proxy in HTTPS_PROXY, or the file hosts in NO_PROXY.",
            ) from error

    def _checked(self, url: str) -> httpx.URL:
        """Give the URL of one hop.

        Raises:
            DownloadFailed: it leads to where no file of the vendor can be.
        """
        told = clean(without_query(url))
        try:
            parsed = httpx.URL(url)
            host = parsed.host  # which decodes names of other letters, and refuses some
        except (httpx.InvalidURL, ValueError) as error:
            raise DownloadFailed(f"The result's URL {told} is none.") from error
        if not is_host(parsed.raw_host.decode("ascii")) or not 0 < (parsed.port or 443) < 65_536:
            raise DownloadFailed(f"The result's URL {told} is none.")
        if parsed.userinfo:
            raise DownloadFailed(f"The result's URL {told} carries a user name; it was not asked.")
        local = is_loopback(host)
        if parsed.scheme != "https" and not (parsed.scheme == "http" and local and self._doors.anywhere):
            raise DownloadFailed(f"The result's URL {told} is not https; it was not asked.")
        if is_disguised(host) or ((local or is_local(host)) and not self._doors.anywhere):
            raise DownloadFailed(f"The result's URL {told} is no address of a file host; it was not asked.")
        return parsed

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        """Give the answer to a GET, its body not read yet.

        Raises:
            DownloadFailed: a hop is not allowed, or there are too many.
            httpx.HTTPError: the exchange broke.
        """
        response = await self._follow(url, headers)
        try:
            yield response
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    async def _follow(self, url: str, headers: Mapping[str, str]) -> httpx.Response:
        for _ in range(self._limits.hops + 1):
            place = self._checked(url)
            response = await self._send(place, headers)
            if response.status_code not in _REDIRECTS:
                return response
            with anyio.CancelScope(shield=True):
                await response.aclose()
            url = _next(place, response.headers.get("location"))
        raise DownloadFailed(f"The file host redirected more than {self._limits.hops} times.")

    async def _send(self, url: httpx.URL, headers: Mapping[str, str]) -> httpx.Response:
        connect, read = self._limits.connect, self._limits.window
        timeout = httpx.Timeout(read, connect=connect, pool=connect)
        request = httpx.Request(
            "GET", url, headers={**self._headers, **headers}, extensions={"timeout": timeout.as_dict()}
        )
        with anyio.move_on_after(connect + read):  # a read at a time, a head may drip for ever
            return await self._transport(url).handle_async_request(request)
        raise httpx.ReadTimeout("the head of the answer did not come in time")


def _next(place: httpx.URL, location: str | None) -> str:
    if not location:
        raise DownloadFailed("The file host redirected without saying where to.")
    try:
        return str(place.join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise DownloadFailed("The file host redirected to what is no URL.") from error


async def hang_up(response: httpx.Response, chunks: AsyncIterator[bytes]) -> None:
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
