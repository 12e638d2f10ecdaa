"""One request and its answer, under one deadline: what came, or how it failed and whether it left.

Knows no meaning of answers beyond their size, and repeats nothing.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

import anyio
import attrs
import httpcore
import httpx

from akool_async._core.causes import causes
from akool_async._core.failures import Failure

LARGEST: Final = 4 * 2**20
"""Bytes of an answer's body that are taken in; more is not an answer of this API."""


@attrs.frozen(kw_only=True)
class Answer:
    """What came back.

    Attributes:
        http_status: the status line's number.
        body: at most 4 MiB.
        headers: names in lower case.
    """

    http_status: int
    body: bytes = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)


class ExchangeFailed(Exception):
    """No whole answer came.

    Attributes:
        failure: how it failed.
        reason: in words, without anything secret.
        partial: the bytes of the body that did come.
    """

    def __init__(self, failure: Failure, reason: str, partial: bytes = b"") -> None:
        super().__init__(reason)
        self.failure = failure
        self.reason = reason
        self.partial = partial


class Trail:
    """Watches a request through httpcore's trace hook: whether any of its bytes may have left."""

    def __init__(self) -> None:
        self.connecting = False
        self.sending = False

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Take in one trace event."""
        if event.startswith("connection.connect_"):
            self.connecting = True
        elif event.endswith(".send_request_headers.started"):
            tunnel = getattr(info.get("request"), "method", b"") == b"CONNECT"
            self.sending = self.sending or not tunnel

    def proves_unsent(self, error: BaseException | None) -> bool:
        """Whether it is certain that nothing was sent; without proof it is not.

        Args:
            error: what the exchange ended with, if not with its deadline.
        """
        if self.sending:
            return False
        waited = isinstance(error, httpx.PoolTimeout) and isinstance(error.__cause__, httpcore.PoolTimeout)
        return self.connecting or waited


class _Body:
    """Takes in a body up to the largest size, and hangs up on more."""

    def __init__(self) -> None:
        self.bytes = bytearray()

    @property
    def too_large(self) -> bool:
        return len(self.bytes) > LARGEST

    async def read(self, response: httpx.Response) -> None:
        async for chunk in response.aiter_bytes():
            self.bytes += chunk[: LARGEST + 1 - len(self.bytes)]
            if self.too_large and not await _hung_up(response):
                break

    def refused(self) -> ExchangeFailed:
        size = f"an answer of more than {LARGEST // 2**20} MiB"
        return ExchangeFailed(Failure.UNREADABLE, size, bytes(self.bytes))


async def _hung_up(response: httpx.Response) -> bool:
    """Close the connection under a body, so that reading it ends with an error from inside.

    Leaving the loop instead would leave generators behind, which trio complains about.
    """
    stream = response.extensions.get("network_stream")
    if stream is None:
        return False
    await stream.aclose()
    return True


async def exchange(
    client: httpx.AsyncClient, request: httpx.Request, *, deadline: float, honest: bool
) -> Answer:
    """Send `request` and read the whole answer.

    Args:
        client: sends it; without authentication, cookies or redirects of its own.
        request: carries its headers and time-outs.
        deadline: seconds for all of it.
        honest: whether the name of an error says truly that nothing was sent; else that needs proof.

    Raises:
        ExchangeFailed: no whole answer came.
    """
    trail = Trail()
    request.extensions["trace"] = trail
    body = _Body()
    with anyio.move_on_after(deadline):
        try:
            answer = await _exchange(client, request, body)
        except Exception as error:  # whatever a transport raises, it has to be said whether the request left
            if body.too_large:
                raise body.refused() from error
            raise _failed(error, trail, bytes(body.bytes), honest=honest) from error
        if body.too_large:
            raise body.refused()
        return answer
    late = f"no whole answer within {deadline:g} s"
    failure = Failure.UNREACHABLE if trail.proves_unsent(None) else Failure.LOST
    raise ExchangeFailed(failure, late, bytes(body.bytes))


async def _exchange(client: httpx.AsyncClient, request: httpx.Request, body: _Body) -> Answer:
    response = await client.send(request, stream=True, auth=None, follow_redirects=False)
    try:
        await body.read(response)
    finally:
        if not response.is_closed:
            with anyio.CancelScope(shield=True):
                await response.aclose()
    return Answer(http_status=response.status_code, body=bytes(body.bytes), headers=response.headers)


def _failed(error: Exception, trail: Trail, partial: bytes, *, honest: bool) -> ExchangeFailed:
    reason = _reason(error)
    if isinstance(error, httpx.DecodingError):
        return ExchangeFailed(Failure.UNREADABLE, reason, partial)
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in causes(error)):
        return ExchangeFailed(Failure.CERTIFICATE, reason)
    if trail.proves_unsent(error) or (honest and isinstance(error, _UNSENT)):
        return ExchangeFailed(Failure.UNREACHABLE, reason)
    return ExchangeFailed(Failure.LOST, reason, partial)


_UNSENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Errors that should mean that nothing was sent; not every transport keeps to it."""

_WORDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (httpx.ConnectTimeout, "the connection took too long"),
    (httpx.ConnectError, "no connection could be made"),
    (httpx.PoolTimeout, "no connection was free in time"),
    (httpx.ReadTimeout, "the answer did not come in time"),
    (httpx.WriteTimeout, "the request could not be sent in time"),
    (httpx.RemoteProtocolError, "the connection ended in the middle, or what came is not HTTP"),
    (httpx.NetworkError, "the connection broke"),
    (httpx.DecodingError, "the answer's compression is broken"),
    (httpx.ProxyError, "the proxy did not connect"),
)


def _reason(error: Exception) -> str:
    """Say it in words of our own: a library's text may hold anything."""
    words = next((text for kind, text in _WORDS if isinstance(error, kind)), "the exchange failed")
    return f"{words} ({type(error).__name__})"


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Give the seconds that a Retry-After header asks for, in either of its forms; None without one.

    Args:
        headers: of an answer.
        now: seconds since the epoch, for the form with a date.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:6])
    try:
        return max(parsedate_to_datetime(value).timestamp() - now, 0.0)
    except (ValueError, TypeError, OverflowError):
        return None
