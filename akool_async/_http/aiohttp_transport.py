"""The fast way to the API host for calls that may be repeated: httpx over aiohttp's connections.

Only asyncio has it. It says wrongly whether a request left the machine, so the paid POST never takes
it; here its errors are at least sorted into those of httpx. aiohttp sends a request that may be repeated
once more by itself when its connection was reset: that mends connections that died while idle.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream


@contextlib.contextmanager
def mapped_errors() -> Iterator[None]:
    """Raise httpx's error for what really happened, whatever name it was given on the way."""
    try:
        yield
    except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
        cause = error if isinstance(error, aiohttp.ClientError) else error.__cause__
        renamed = _renamed(error, cause)
        if renamed is error:
            raise
        raise renamed from error


def _renamed(error: Exception, cause: BaseException | None) -> httpx.TransportError:
    text = str(error) or type(error).__name__
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
        with mapped_errors():
            async for chunk in self._inner:
                yield chunk

    async def aclose(self) -> None:
        with mapped_errors():
            await self._inner.aclose()


class FastAiohttpTransport(AiohttpTransport):
    """aiohttp's connection pool under httpx, without cookies and with errors named rightly."""

    def __init__(self, *, context: ssl.SSLContext, connections: int) -> None:
        super().__init__(verify=context, client=self._session)
        self._context = context
        self._connections = connections

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=self._connections, ssl=self._context)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request."""
        with mapped_errors():
            response = await super().handle_async_request(request)
        assert isinstance(response.stream, AiohttpResponseStream)  # noqa: S101 - for the type checker
        response.stream = _Stream(response.stream)
        return response


class FastAiohttpClient(httpx.AsyncClient):
    """An httpx client that hands each request straight to its transport.

    It has no redirects, authentication, cookies or hooks: calls to the API host must not have them, and
    they are a tenth of what a poll costs.
    """

    def __init__(self, *, context: ssl.SSLContext, connections: int) -> None:
        self._straight = FastAiohttpTransport(context=context, connections=connections)
        super().__init__(transport=self._straight, trust_env=False)

    async def send(self, request: httpx.Request, *, stream: bool = False, **_: Any) -> httpx.Response:
        """Send one request, as it is.

        Raises:
            RuntimeError: the client was closed.
        """
        if self.is_closed:
            raise RuntimeError("Cannot send a request, as the client has been closed.")
        response = await self._straight.handle_async_request(request)
        if not stream:
            await response.aread()
        return response
