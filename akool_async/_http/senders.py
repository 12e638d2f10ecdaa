"""How one request to the API host is sent, and its answer read, by a client of httpx."""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

import anyio
import attrs
import httpcore
import httpx

from akool_async._http.auth import AuthHeader
from akool_async._library_logs import SENDING
from akool_async._model.errors import ClientClosedError
from akool_async._model.responses import GZIP_MAGIC

MAX_BODY: Final = 4 * 2**20
"""Bytes of an answer's body that are read; a longer one is not an answer of this API."""

_PACKED: Final = ("gzip", "x-gzip", "deflate")
_MOST_LAYERS: Final = 2
"""How often a body may be packed; one that is packed more often is not unpacked at all."""

_MOST_UNPACKED_SLOWLY: Final = 2**18
"""Bytes of a broken compressed body in which ids are looked for."""

_REST: Final = 1.0
"""Seconds for the rest of an answer whose head can't be read: where it ends is not known."""

_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE: Final = re.compile(rb"(?:\r?\n)?([0-9a-fA-F]{1,8})[^\r\n]*\r?\n")

_SECRET_HEADERS: Final = ("authorization", "x-api-key", "cookie", "proxy-authorization")


@attrs.define(kw_only=True)
class ApiRequest:
    """One request to the API host; `connect` limits the seconds for a connection."""

    method: str
    target: str
    content: bytes | None = attrs.field(default=None, repr=False)
    auth: AuthHeader | None = None
    connect: float


class SendTracker:
    """Watches a request with httpcore's trace hook: whether any of its bytes may have been sent.

    On a connection of HTTP/1.1 that is made for the request it also keeps what arrives until the head of the
    answer is complete: of an answer whose head h11 refuses, as for one malformed header, httpcore returns
    nothing. A connection of HTTP/2 may carry the answers to other requests, too, which made other jobs.

    Args:
        before_send: awaited once the connection is made, before the first byte; what it raises withdraws the
            request.

    Attributes:
        connecting: whether a connection was being made.
        sending: whether the first byte may have been sent.
        refused: the bytes of an answer whose head can't be read.
    """

    def __init__(self, before_send: Callable[[], Awaitable[None]] | None = None) -> None:
        self.connecting = False
        self.sending = False
        self.refused = bytearray()
        self._stream: Any = None
        self._keeping = False
        self._before_send = before_send

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Record one trace event."""
        if event.startswith("connection.connect_"):
            self.connecting = True
        elif event.endswith(".send_request_headers.started"):
            # CONNECT goes to the proxy: what it sends says nothing about the request itself.
            tunnel = getattr(info.get("request"), "method", b"") == b"CONNECT"
            # Not until it has returned: what it raises proves that nothing was sent.
            if self._before_send is not None and not tunnel:
                await self._before_send()
            self.sending = self.sending or not tunnel
            if event.startswith("http11.") and not tunnel:
                self._keep_reads()
        elif event == "http11.receive_response_headers.complete" and self._keeping:
            del self._stream.read
            self._keeping = False
            self.refused.clear()
        elif event == "http11.receive_response_headers.failed" and self._keeping:
            # Before httpcore closes the connection.
            with anyio.move_on_after(_REST), contextlib.suppress(Exception):
                while len(self.refused) <= MAX_BODY and await self._stream.read(2**16):
                    pass
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._stream = info.get("return_value")

    def _keep_reads(self) -> None:
        async def kept(*args: Any, **options: Any) -> bytes:
            data: bytes = await read(*args, **options)
            if self._keeping and len(self.refused) <= MAX_BODY:
                self.refused += data
            return data

        with contextlib.suppress(AttributeError):  # of a connection that was open, or no stream of httpcore's
            read, self._stream.read = self._stream.read, kept
            self._keeping = True

    def proves_unsent(self, error: BaseException | None) -> bool:
        """Return whether it is certain that nothing was sent: without proof, a paid POST is in doubt.

        Args:
            error: what the exchange ended with, if not with its deadline.
        """
        # From the first byte on the vendor may have read it all, whatever error followed.
        if self.sending:
            return False
        # Only httpcore's own time-out counts: another transport may raise this error after it has sent.
        waited = isinstance(error, httpx.PoolTimeout) and isinstance(error.__cause__, httpcore.PoolTimeout)
        return self.connecting or waited


class ResponseBody:
    """What arrived of a body, up to the largest size.

    Attributes:
        received: the bytes, as they came.
        layers: how often they are to be unpacked; -1 if they are packed too often for that.
    """

    def __init__(self) -> None:
        self.received = bytearray()
        self.layers = 0

    @property
    def too_large(self) -> bool:
        """Whether there is more than is read."""
        return len(self.received) > MAX_BODY

    def begin(self, content_encoding: str) -> None:
        """Note how the body is packed; one that is packed in another way is read as it comes."""
        codings = [coding for coding in re.split(r"[,\s]+", content_encoding.lower()) if coding in _PACKED]
        # No library unpacks: they have no bound, and two layers of gzip make gigabytes of a few kilobytes.
        self.layers = len(codings) if len(codings) <= _MOST_LAYERS else -1

    def unpacked_or(self, refused: bytearray) -> bytes:
        """Return the body as far as it can be read; without one, that of an answer whose head was refused."""
        if not self.received:
            head, body = b"", bytes(refused)
            # Several heads: of answers with a status below 200, which come before the real one.
            while not body.startswith(b"{") and (not head or body.startswith(b"HTTP/")):
                end = _END_OF_HEAD.search(body)
                if end is None:
                    break
                head, body = body[: end.start()].lower(), body[end.end() :]
            if re.search(rb"\ntransfer-encoding:[^\n]*chunked", head):
                body = _without_chunk_sizes(body)
            coding = re.search(rb"\ncontent-encoding:([^\r\n]*)", head)
            self.begin("" if coding is None else coding[1].decode("latin-1"))
            self.add(body)
        return self.unpacked()[0]

    def add(self, chunk: bytes) -> bool:
        """Add bytes; return whether there is room for more."""
        self.received += chunk[: MAX_BODY + 1 - len(self.received)]
        return len(self.received) <= MAX_BODY

    def unpacked(self) -> tuple[bytes, bool]:
        """Return the body without its coding, as far as it can be read, and whether that is all of it."""
        content, whole = bytes(self.received), True
        # JSON never begins like this, so a server has packed it without saying so.
        for _ in range(self.layers or int(content.startswith(GZIP_MAGIC))):
            if content:  # also where the outer one is broken: what can be read of the inner one has the ids
                content, good = _inflated(content)
                whole = whole and good
        return content, whole

    async def read(self, response: httpx.Response) -> None:
        """Add the body of a response of httpx, and close the connection of one that is too large."""
        # httpx drops what it has unpacked before a bad checksum, and a paid job's id with it.
        raw = not response.is_stream_consumed
        if raw:
            self.begin(response.headers.get("content-encoding", ""))
        async for chunk in response.aiter_raw() if raw else response.aiter_bytes():
            if not self.add(chunk):
                # Close the connection under the body, so that reading it ends with an error from inside:
                # leaving the loop would leave generators behind, which trio complains about.
                stream = response.extensions.get("network_stream")
                if stream is None:
                    break
                await stream.aclose()


def _without_chunk_sizes(body: bytes) -> bytes:
    """Return what the chunks of a body hold, as far as their sizes can be read."""
    content, at = bytearray(), 0
    while size := _CHUNK_SIZE.match(body, at):
        at = size.end() + int(size[1], 16)
        content += body[size.end() : at]
    return bytes(content) or body


def _inflated(packed: bytes) -> tuple[bytes, bool]:
    wrapped = packed.startswith(GZIP_MAGIC) or (
        packed[0] & 0x0F == 8 and int.from_bytes(packed[:2]) % 31 == 0
    )
    # gzip or zlib by its header; else bare deflate, which some servers send.
    form = zlib.MAX_WBITS | 32 if wrapped else -zlib.MAX_WBITS
    inflater = zlib.decompressobj(form)
    with contextlib.suppress(zlib.error):
        return inflater.decompress(packed, MAX_BODY + 1), True  # one without an end is torn: its JSON tells
    # An error drops everything that the same call unpacked, so approach it byte by byte.
    inflater, readable = zlib.decompressobj(form), bytearray()
    with contextlib.suppress(zlib.error):
        for number in range(min(len(packed), _MOST_UNPACKED_SLOWLY)):
            readable += inflater.decompress(packed[number : number + 1], MAX_BODY)
            if len(readable) > MAX_BODY:
                break
    return (packed if b"_id" in packed else bytes(readable)), False  # perhaps only its header calls it packed


Send: TypeAlias = Callable[[ResponseBody, SendTracker], Awaitable[tuple[int, Mapping[str, str]]]]
"""Sends a prepared request, reads the body, and returns the status and the headers, lower case names."""


class Sender(Protocol):
    """Sends requests to the API host."""

    def prepare(self, request: ApiRequest) -> Send:
        """Build a request; what fails here was not sent."""

    async def aclose(self) -> None:
        """Close the connections."""


class HttpxSender:
    """Sends with a client of httpx: without authentication, redirects or secrets of that client.

    Args:
        own: whether the client was built here, so that its headers don't change.
    """

    def __init__(self, client: httpx.AsyncClient, *, origin: str, user_agent: str, own: bool) -> None:
        self.client: httpx.AsyncClient = client
        self._origin = origin
        self._user_agent = user_agent
        self._own = own
        self._prepared: httpx.Headers | None = None

    def check_open(self) -> None:
        """Refuse a client that its owner has closed: an error of a request under way proves nothing."""
        if self.client.is_closed:
            raise ClientClosedError(
                "The http_client of this client is closed.",
                impact="Nothing was sent. Jobs at the vendor continue and are billed.",
                advice="Close it after the AkoolClient that uses it.",
            )

    def prepare(self, request: ApiRequest) -> Send:
        """Build a request; what fails here was not sent."""
        self.check_open()
        headers = self._headers()
        if request.content is not None:
            headers["content-type"] = "application/json"
        built = httpx.Request(
            request.method,
            f"{self._origin}{request.target}",
            headers=headers,
            content=request.content,
            # The deadline covers reading and writing, and unlike a time-out it knows of a frozen process.
            extensions={
                "timeout": {"connect": request.connect, "read": None, "write": None, "pool": request.connect}
            },
        )
        if request.auth is not None:  # last: nothing fails after it whose traceback could show it
            built.headers[request.auth.name] = request.auth.value.reveal()
        return partial(self._send, built)

    def _headers(self) -> httpx.Headers:
        """Return the client's headers without secrets, and ours; cached for a client of our own."""
        if self._prepared is not None:
            return self._prepared.copy()
        headers = httpx.Headers(self.client.headers)
        # The caller's own client may carry credentials for other hosts.
        for name in _SECRET_HEADERS:
            headers.pop(name, None)
        headers.update(
            {"accept": "application/json", "accept-encoding": "gzip, deflate", "user-agent": self._user_agent}
        )
        if self._own:
            headers["host"] = httpx.URL(self._origin).netloc.decode("ascii")
            self._prepared = headers.copy()
        return headers

    async def _send(
        self, request: httpx.Request, body: ResponseBody, tracker: SendTracker
    ) -> tuple[int, Mapping[str, str]]:
        # aiohttp has no such hook, which is one more reason why no paid POST goes through it.
        request.extensions["trace"] = tracker
        outside = SENDING.set(True)
        try:
            response = await self.client.send(request, stream=True, auth=None, follow_redirects=False)
            try:
                await body.read(response)
            finally:
                # Shielded: left open by a cancelled caller, the answer would keep its connection for good.
                if not response.is_closed:
                    with anyio.CancelScope(shield=True):
                        await response.aclose()
        finally:
            SENDING.reset(outside)
        return response.status_code, response.headers

    async def aclose(self) -> None:
        """Close the client."""
        await self.client.aclose()
