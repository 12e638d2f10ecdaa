"""The fast way for repeatable calls to the API host: aiohttp's own connections, asyncio only.

It can't tell reliably whether a request left the machine, so the paid POST never uses it. aiohttp repeats
an idempotent request once by itself when its connection was reset: that covers connections closed while idle.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import partial
from typing import Final

import aiohttp
import httpx
from yarl import URL

from akool_async._aiohttp import httpx_error
from akool_async._http.senders import ApiRequest, ResponseBody, Send, SendTracker
from akool_async._library_logs import SENDING

_JSON: Final = {"content-type": "application/json"}
_LONGEST_LINE: Final = 64 * 1024
_MOST_HEADERS: Final = 4096


class AiohttpSender:
    """Sends over aiohttp's connections: no redirects, cookies, hooks, proxies or netrc.

    Between a request and its answer httpx's URL, headers and response cost more than all that aiohttp does,
    and a call to the API host needs none of them.
    """

    def __init__(self, *, origin: str, user_agent: str, context: ssl.SSLContext, connections: int) -> None:
        self._origin = origin
        self._context = context
        self._connections = connections
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}
        self._headers = {
            "accept": "application/json",
            "accept-encoding": "gzip, deflate",
            "user-agent": user_agent,
        }
        self._opened: aiohttp.ClientSession | None = None
        self._closed = False

    def prepare(self, request: ApiRequest) -> Send:
        """Build a request; what fails here was not sent."""
        if self._closed:
            raise RuntimeError("Cannot send a request, as the client has been closed.")
        return partial(self._send, request)

    def _session(self) -> aiohttp.ClientSession:  # built on first use, as it needs a running event loop
        if self._opened is None:
            self._opened = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, ssl=self._context),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
                auto_decompress=False,
                # A gateway's long or many headers must not make polls fail where the paid POST is understood.
                max_line_size=_LONGEST_LINE,
                max_field_size=_LONGEST_LINE,
                max_headers=_MOST_HEADERS,
            )
        return self._opened

    async def _send(
        self, request: ApiRequest, body: ResponseBody, _: SendTracker
    ) -> tuple[int, Mapping[str, str]]:
        auth, connect = request.auth, request.connect
        timeout = self._timeouts.get(connect)
        if timeout is None:
            timeout = self._timeouts[connect] = aiohttp.ClientTimeout(connect=connect, sock_connect=connect)
        headers = {} if request.content is None else dict(_JSON)
        if auth is not None:
            headers[auth.name] = auth.value.reveal()
        outside = SENDING.set(True)
        try:
            response = await self._session().request(
                request.method,
                URL(f"{self._origin}{request.target}", encoded=True),
                headers=headers,
                data=request.content,
                allow_redirects=False,
                timeout=timeout,
            )
            try:
                body.begin(", ".join(response.headers.getall("content-encoding", ())))
                while (chunk := await response.content.readany()) and body.add(chunk):
                    pass
            finally:
                # Does nothing after the end of the body; a body that was left must not keep its connection.
                response.close()
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            mapped = httpx_error(error)
            if mapped is error:
                raise
            raise mapped from error
        finally:
            SENDING.reset(outside)
            del headers  # it holds the credentials, and a traceback with local variables would show them
        return response.status, response.headers

    async def aclose(self) -> None:
        """Close the connections."""
        self._closed = True
        if self._opened is not None:
            await self._opened.close()
