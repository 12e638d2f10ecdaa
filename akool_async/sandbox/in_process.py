"""The sandbox without sockets: an httpx transport that calls the applications directly.

Faults of the connection come out as the httpx errors that a real one would give. Background work,
such as webhooks, needs the server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, MutableMapping
from typing import Any, Final

import anyio
import httpx

from akool_async.sandbox.http import CONNECTION, Application

API_ORIGIN: Final = "http://127.0.0.1:1"
CDN_ORIGIN: Final = "http://127.0.0.1:2"


class _FakeConnection:
    """A connection that exists in the mind only; each request gets a new one."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.requests = 0
        self.error: httpx.TransportError | None = None
        self._gone = anyio.Event()

    @property
    def broken(self) -> bool:
        """Whether it was reset or closed."""
        return self.error is not None

    def reset(self) -> None:
        """End as a reset connection does."""
        self._break(httpx.ReadError("connection reset by the sandbox"))

    def close(self) -> None:
        """End as a connection closed too early does."""
        self._break(httpx.RemoteProtocolError("the sandbox closed the connection too early"))

    def raw(self, data: bytes) -> None:
        """End as a connection with noise on it does."""
        self._break(httpx.RemoteProtocolError(f"the sandbox sent {len(data)} bytes that are no HTTP"))

    def _break(self, error: httpx.TransportError) -> None:
        self.error = self.error or error
        self._gone.set()

    async def gone(self) -> None:
        """Wait until it is broken."""
        await self._gone.wait()


class _Content(httpx.AsyncByteStream):
    """A body that may end in an error."""

    def __init__(self, parts: list[bytes], error: httpx.TransportError | None) -> None:
        self._parts = parts
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part
        if self._error is not None:
            raise self._error


class _Call:
    """One request to an application and its answer."""

    def __init__(self, body: bytes, connection: _FakeConnection) -> None:
        self._body: bytes | None = body
        self._connection = connection
        self.status: int | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.parts: list[bytes] = []
        self.timeout: float | None = None
        self.scope = anyio.CancelScope()

    async def receive(self) -> MutableMapping[str, Any]:
        """Return the body once, then wait for the end of the connection."""
        if self._body is None:
            await self._connection.gone()
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take a piece of the answer; each one gives the next as much time again."""
        await anyio.lowlevel.checkpoint()
        self.postpone()
        if self._connection.broken:
            return
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        elif message.get("body"):
            self.parts.append(message["body"])

    def postpone(self) -> None:
        """Move the moment at which the client times out."""
        if self.timeout is not None:
            self.scope.deadline = anyio.current_time() + self.timeout


class InProcessTransport(httpx.AsyncBaseTransport):
    """Takes requests for `API_ORIGIN` and `CDN_ORIGIN` to the applications; nobody else is there.

    Args:
        apps: The application behind each origin.
    """

    def __init__(self, apps: Mapping[str, Application]) -> None:
        """Take the applications over."""
        self._apps = apps
        self._connections = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request.

        Raises:
            httpx.ConnectError: The request is for another origin.
            httpx.ReadError: A fault reset the connection.
            httpx.ReadTimeout: No answer within the request's read time-out.
            httpx.RemoteProtocolError: A fault broke the protocol.
        """
        app = self._apps.get(f"{request.url.scheme}://{request.url.netloc.decode()}")
        if app is None:
            raise httpx.ConnectError("no such origin in the sandbox", request=request)
        self._connections += 1
        connection = _FakeConnection(self._connections)
        call = _Call(await request.aread(), connection)
        await self._hold(app, request, call, connection)
        if call.scope.cancelled_caught:
            raise httpx.ReadTimeout("the sandbox did not answer in time", request=request)
        if call.status is None:
            raise connection.error or httpx.RemoteProtocolError("no answer", request=request)
        parts = [] if request.method == "HEAD" else call.parts
        return httpx.Response(
            call.status,
            headers=call.headers,
            stream=_Content(parts, connection.error),
            request=request,
        )

    async def _hold(
        self, app: Application, request: httpx.Request, call: _Call, connection: _FakeConnection
    ) -> None:
        timeouts: Mapping[str, float | None] = request.extensions.get("timeout", {})
        call.timeout = timeouts.get("read")
        call.postpone()
        with call.scope:
            await app(_scope(request, connection), call.receive, call.send)


def _scope(request: httpx.Request, connection: _FakeConnection) -> MutableMapping[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "server": (request.url.host, request.url.port),
        "client": ("127.0.0.1", connection.number),
        "state": {CONNECTION: connection},
    }
