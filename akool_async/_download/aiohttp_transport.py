"""The fast way to file hosts: aiohttp's connections to addresses that were checked, asyncio only.

aiohttp parses in C and hands over large pieces, which halves what a download costs.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
import httpcore
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.helpers import is_ip_address
from yarl import URL

from akool_async._aiohttp import httpx_error
from akool_async._download.network import PublicAddressBackend, parse_ip
from akool_async._model.errors import DownloadError

_BROKEN: Final = (aiohttp.ClientError, httpcore.NetworkError, httpcore.TimeoutException, OSError)
_LONGEST_FIELD: Final = 64 * 1024
"""Bytes of one header; signed locations of redirects have thousands."""

_KEPT: Final = 4 * 1024 * 1024
"""Bytes: twice as much free memory may stay with this process."""


class AiohttpFileTransport(httpx.AsyncBaseTransport):
    """Sends requests of httpx over aiohttp: no redirects, cookies, proxies, netrc or unpacking."""

    def __init__(self, backend: PublicAddressBackend, context: ssl.SSLContext) -> None:
        # Chunks are so large that glibc would give their memory back to the system, and take it anew, each
        # time, which made a download a third dearer. It keeps twice the largest block that was ever freed.
        bytes(_KEPT)
        self._backend = backend
        # Built by the first request, in whose event loop all others run.
        self._connector = _CheckedConnector(backend, context)
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_line_size=_LONGEST_FIELD,
            max_field_size=_LONGEST_FIELD,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response, its body not read yet.

        Raises:
            DownloadError: the host has an address that is not allowed.
            httpx.HTTPError: the exchange failed.
        """
        seconds = request.extensions["timeout"]
        host = request.url.raw_host.decode("ascii")
        try:
            if is_ip_address(host):  # aiohttp asks no resolver about what it takes for an address
                await self._connector.check(host, request.url.port or 443, seconds["connect"])
            response = await self._session.request(
                request.method,
                # As it is: encoding it once more could change what was signed.
                URL(str(request.url), encoded=True),
                headers=request.headers.items(),
                allow_redirects=False,
                # Who reads the body limits its time, which costs less than a timer for each piece.
                timeout=aiohttp.ClientTimeout(connect=seconds["connect"], sock_connect=seconds["connect"]),
            )
        except _BROKEN as error:
            raise httpx_error(error) from error
        stream = _Body(response)
        return httpx.Response(
            response.status,
            headers=response.raw_headers,
            stream=stream,
            request=request,
            extensions={"network_stream": stream},
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.close()


class _Body(httpx.AsyncByteStream):
    """The body of a response, in the pieces in which it arrives."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        content, more = self._response.content, True
        try:
            while more:
                chunk, more = await content.readchunk()
                if chunk:
                    more = True
                    yield chunk
        # aiohttp's RuntimeError is "Connection closed.": its parser failed without a word to the stream.
        except (*_BROKEN, RuntimeError) as error:
            # aiohttp keeps back what arrived before the error: the part would be shorter than it need be,
            # and a host that cuts every connection would seem to bring nothing at all.
            for chunk in [*content._buffer]:
                yield chunk
            raise httpx_error(error) from error

    async def aclose(self) -> None:
        # A connection whose body was read to its end is free for the next request already, and stays open.
        self._response.close()


class _CheckedConnector(aiohttp.TCPConnector):
    """Connects to checked addresses alone, and believes nobody else who answers."""

    def __init__(self, backend: PublicAddressBackend, context: ssl.SSLContext) -> None:
        self._backend = backend
        self._checked: set[str] = set()
        # No cache: a name is resolved for each connection, and connected to what was checked.
        super().__init__(resolver=_CheckedResolver(self), use_dns_cache=False, ssl=context)

    async def check(self, host: str, port: int, seconds: float | None) -> list[str]:
        """Return the addresses of a host; see `PublicAddressBackend.addresses`."""
        addresses = await self._backend.addresses(host, port, seconds)
        self._checked.update(addresses)
        return addresses

    async def connect(self, *args: Any, **options: Any) -> aiohttp.connector.Connection:
        """Connect, before anything is sent, and look who it is."""
        connection = await super().connect(*args, **options)
        peer = connection.transport.get_extra_info("peername") if connection.transport else None
        # The system may write an address in another way than it was given.
        if peer is not None and peer[0] not in self._checked:
            if parse_ip(str(peer[0])) in set(map(parse_ip, self._checked)):
                return connection
            connection.close()
            raise DownloadError("The connection to the file host led to another address.")
        return connection


class _CheckedResolver(AbstractResolver):
    def __init__(self, connector: _CheckedConnector) -> None:
        self._connector = connector

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        # Its time is limited by the time-out for the connection.
        addresses = await self._connector.check(host, port, None)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass
