"""The fast transport for repeatable calls to the API host: httpx over aiohttp's connections, asyncio only.

It can't tell reliably whether a request left the machine, so the paid POST never uses it. aiohttp repeats
an idempotent request once by itself when its connection was reset: that covers connections closed while idle.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Any, Final, NoReturn

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream

_BROKEN: Final = (httpx.HTTPError, aiohttp.ClientError, OSError)


def _raise_mapped(error: Exception) -> NoReturn:
    """Raise the httpx error that matches the cause, whatever the transport called it."""
    renamed = _mapped(error)
    if renamed is error:
        raise error
    raise renamed from error


def _mapped(error: Exception) -> httpx.TransportError:
    cause = error if isinstance(error, aiohttp.ClientError) else error.__cause__
    text = str(error) or type(error).__name__
    # httpx-aiohttp reports a reset after sending as ConnectTimeout, which would pass for "never sent".
    if isinstance(cause, aiohttp.ConnectionTimeoutError):
        return httpx.ConnectTimeout(text)
    if isinstance(cause, aiohttp.ServerTimeoutError):
        return httpx.ReadTimeout(text)
    if isinstance(cause, aiohttp.ClientConnectorError):
        return httpx.ConnectError(text)
    if isinstance(cause, aiohttp.ClientResponseError):
        return httpx.RemoteProtocolError(text)
    if isinstance(error, httpx.TransportError) and not isinstance(error, httpx.ConnectTimeout):
        return error
    return httpx.ReadError(text)


class _Stream(httpx.AsyncByteStream):
    def __init__(self, inner: AiohttpResponseStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                yield chunk
        except _BROKEN as error:
            _raise_mapped(error)

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        except _BROKEN as error:
            _raise_mapped(error)


class FastAiohttpTransport(AiohttpTransport):
    """aiohttp's connection pool for httpx, without cookies and with the right errors."""

    def __init__(self, *, context: ssl.SSLContext, connections: int) -> None:
        def session() -> aiohttp.ClientSession:  # built on first use, as it needs a running event loop
            connector = aiohttp.TCPConnector(limit=connections, ssl=context)
            return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

        super().__init__(verify=context, client=session)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request."""
        try:
            response = await super().handle_async_request(request)
        except _BROKEN as error:
            _raise_mapped(error)
        assert isinstance(response.stream, AiohttpResponseStream)  # noqa: S101 - for the type checker
        response.stream = _Stream(response.stream)
        return response


class FastAiohttpClient(httpx.AsyncClient):
    """An httpx client that passes each request directly to its transport.

    No redirects, authentication, cookies or hooks: the API host must not get them, and they cost a tenth of
    a poll.
    """

    def __init__(self, *, context: ssl.SSLContext, connections: int) -> None:
        self._direct = FastAiohttpTransport(context=context, connections=connections)
        super().__init__(transport=self._direct, trust_env=False)

    async def send(self, request: httpx.Request, *, stream: bool = False, **_: Any) -> httpx.Response:
        """Send one request unchanged.

        Raises:
            RuntimeError: the client was closed.
        """
        if self.is_closed:
            raise RuntimeError("Cannot send a request, as the client has been closed.")
        response = await self._direct.handle_async_request(request)
        if not stream:
            await response.aread()
        return response
