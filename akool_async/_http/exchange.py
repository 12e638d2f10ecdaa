"""One request and its answer under one deadline: the answer, or how it failed and whether it was sent.

Nothing is repeated here.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, Generic, TypeVar

import anyio
import attrs
import httpcore
import httpx
from anyio.abc import TaskGroup

from akool_async._clock import Clock
from akool_async._model.codes import Failure, error_for, failure_of_code, failure_of_status
from akool_async._model.errors import (
    AkoolError,
    AuthenticationError,
    CertificateError,
    ClientClosedError,
    ConnectError,
    ConnectionLostError,
    ErrorDetails,
    ProtocolError,
    RateLimitError,
    ServerError,
    UnexpectedRedirectError,
    exception_chain,
)
from akool_async._model.redact import sanitize
from akool_async._wire import Envelope, find_job_ids, omits_targets, read_envelope

MAX_BODY: Final = 4 * 2**20
"""Bytes of an answer's body that are read; a longer one is not an answer of this API."""


@attrs.frozen(kw_only=True)
class RawResponse:
    """An HTTP answer.

    Attributes:
        http_status: the status line's number.
        body: at most 4 MiB.
        headers: names in lower case.
    """

    http_status: int
    body: bytes = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)


class ExchangeFailed(Exception):
    """No complete answer arrived.

    Attributes:
        failure: how it failed.
        reason: in words, without anything secret.
        partial: the bytes of the body that did arrive.
    """

    def __init__(self, failure: Failure, reason: str, partial: bytes = b"") -> None:
        super().__init__(reason)
        self.failure = failure
        self.reason = reason
        self.partial = partial


class SendTracker:
    """Watches a request with httpcore's trace hook: whether any of its bytes may have been sent."""

    def __init__(self) -> None:
        self.connecting = False
        self.sending = False

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Record one trace event."""
        if event.startswith("connection.connect_"):
            self.connecting = True
        elif event.endswith(".send_request_headers.started"):
            tunnel = getattr(info.get("request"), "method", b"") == b"CONNECT"
            self.sending = self.sending or not tunnel

    def proves_unsent(self, error: BaseException | None) -> bool:
        """Return whether it is certain that nothing was sent: without proof, a paid POST is in doubt.

        Args:
            error: what the exchange ended with, if not with its deadline.
        """
        if self.sending:
            return False
        waited = isinstance(error, httpx.PoolTimeout) and isinstance(error.__cause__, httpcore.PoolTimeout)
        return self.connecting or waited


class _Body:
    """Reads a body up to the largest size, and closes the connection of a larger one."""

    def __init__(self) -> None:
        self.bytes = bytearray()

    @property
    def too_large(self) -> bool:
        return len(self.bytes) > MAX_BODY

    async def read(self, response: httpx.Response) -> None:
        async for chunk in response.aiter_bytes():
            self.bytes += chunk[: MAX_BODY + 1 - len(self.bytes)]
            if self.too_large:
                # Close the connection under the body, so that reading it ends with an error from inside:
                # leaving the loop would leave generators behind, which trio complains about.
                stream = response.extensions.get("network_stream")
                if stream is None:
                    break
                await stream.aclose()

    def refused(self) -> ExchangeFailed:
        size = f"an answer of more than {MAX_BODY // 2**20} MiB"
        return ExchangeFailed(Failure.UNREADABLE, size, bytes(self.bytes))


async def exchange(
    client: httpx.AsyncClient, request: httpx.Request, *, deadline: float, trust_error_types: bool
) -> RawResponse:
    """Send `request` and read the whole answer.

    Args:
        client: sends it; without authentication, cookies or redirects of its own.
        request: carries its headers and time-outs.
        deadline: seconds for all of it.
        trust_error_types: whether an error type alone proves that nothing was sent; otherwise the trace must.

    Raises:
        ExchangeFailed: no complete answer arrived.
    """
    trail = SendTracker()
    request.extensions["trace"] = trail
    body = _Body()
    with anyio.move_on_after(deadline):
        try:
            answer = await _exchange(client, request, body)
        except Exception as error:  # any error of a transport must become "sent", "not sent" or "unknown"
            if body.too_large:
                raise body.refused() from error
            raise _failed(error, trail, bytes(body.bytes), honest=trust_error_types) from error
        if body.too_large:
            raise body.refused()
        return answer
    late = f"no complete answer within {deadline:g} s"
    failure = Failure.UNREACHABLE if trail.proves_unsent(None) else Failure.CONNECTION_LOST
    raise ExchangeFailed(failure, late, bytes(body.bytes))


async def _exchange(client: httpx.AsyncClient, request: httpx.Request, body: _Body) -> RawResponse:
    response = await client.send(request, stream=True, auth=None, follow_redirects=False)
    try:
        await body.read(response)
    finally:
        if not response.is_closed:
            with anyio.CancelScope(shield=True):
                await response.aclose()
    return RawResponse(http_status=response.status_code, body=bytes(body.bytes), headers=response.headers)


def _failed(error: Exception, trail: SendTracker, partial: bytes, *, honest: bool) -> ExchangeFailed:
    # In words of our own: the text of a library's error may contain anything, also secrets.
    words = next((text for kind, text in _REASONS if isinstance(error, kind)), "the exchange failed")
    reason = f"{words} ({type(error).__name__})"
    if isinstance(error, httpx.DecodingError):
        return ExchangeFailed(Failure.UNREADABLE, reason, partial)
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in exception_chain(error)):
        return ExchangeFailed(Failure.CERTIFICATE, reason)
    if trail.proves_unsent(error) or (honest and isinstance(error, _UNSENT)):
        return ExchangeFailed(Failure.UNREACHABLE, reason)
    return ExchangeFailed(Failure.CONNECTION_LOST, reason, partial)


_UNSENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Errors that should mean that nothing was sent; not every transport respects that."""

_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (httpx.ConnectTimeout, "the connection took too long"),
    (httpx.ConnectError, "no connection could be made"),
    (httpx.PoolTimeout, "no connection was free in time"),
    (httpx.ReadTimeout, "the answer did not come in time"),
    (httpx.WriteTimeout, "the request could not be sent in time"),
    (httpx.RemoteProtocolError, "the connection ended early, or the answer is not HTTP"),
    (httpx.NetworkError, "the connection broke"),
    (httpx.DecodingError, "the answer's compression is broken"),
    (httpx.ProxyError, "the proxy did not connect"),
)


class ServerClock:
    """The vendor's clock: the Date of its last answer plus monotonic time since.

    Results expire by the vendor's clock, and the local wall clock may be wrong or jump.

    Args:
        clock: the local clock, used until there is an answer.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._date_time: datetime | None = None
        self._heard = 0.0
        self._date = ""

    def update(self, date: str) -> None:
        """Record the Date header of an answer; an invalid one, or the same second again, is ignored."""
        if date == self._date:
            return
        try:
            parsed = parsedate_to_datetime(date)
        except (ValueError, TypeError, OverflowError):
            return
        self._date = date
        self._date_time = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed
        self._heard = self._clock.monotonic()

    def now(self) -> datetime:
        """Return the vendor's time, aware."""
        if self._date_time is None:
            return self._clock.now()
        return self._date_time + timedelta(seconds=self._clock.monotonic() - self._heard)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that a Retry-After header asks for, in either of its forms; None without one.

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


class CallFailed(Exception):
    """One attempt of a call failed.

    Attributes:
        failure: how.
        error: the error for the caller if the call is not repeated.
        job_ids: job ids that the answer named all the same.
        retry_after: seconds that the server asked for.
    """

    def __init__(self, failure: Failure, error: AkoolError, *, job_ids: tuple[str, ...] = ()) -> None:
        super().__init__(str(error))
        self.failure = failure
        self.error = error
        self.job_ids = job_ids
        self.retry_after: float | None = None


def parse_response(answer: RawResponse, *, secrets: Iterable[str], languages: int) -> Envelope:
    """Return the envelope of a successful answer.

    A paid answer that names a job, or omits languages, is returned whatever its code: some jobs may exist.

    Args:
        answer: the HTTP answer.
        secrets: texts that must not be shown.
        languages: how many jobs a paid call asks for; 0 for a call that creates none.

    Raises:
        CallFailed: the answer is a refusal, an error or unreadable.
    """
    failure = failure_of_status(answer.http_status)
    if failure is not None:
        error = _error_of_status(failure, answer, secrets)
        raise CallFailed(failure, error, job_ids=find_job_ids(answer.body))
    try:
        envelope = read_envelope(answer.body)
    except ProtocolError as error:
        error.http_status = answer.http_status
        raise CallFailed(Failure.UNREADABLE, error, job_ids=find_job_ids(answer.body)) from error
    if envelope.ok:
        return envelope
    ids = find_job_ids(answer.body)
    if languages and (ids or omits_targets(envelope, languages)):
        return envelope
    failure = failure_of_code(envelope.code)
    message = sanitize(envelope.message, secrets=secrets)
    refusal = error_for(envelope.code, message, http_status=answer.http_status)
    raise CallFailed(failure, refusal, job_ids=ids)


def _error_of_status(failure: Failure, answer: RawResponse, secrets: Iterable[str]) -> AkoolError:
    status = answer.http_status
    try:
        envelope = read_envelope(answer.body)
    except ProtocolError:
        code, message = None, ""
    else:
        code, message = envelope.code, sanitize(envelope.message, secrets=secrets)
    said = f' It says: "{message}".' if message else ""
    facts: ErrorDetails = {"code": code, "http_status": status, "vendor_message": message}
    if failure is Failure.RATE_LIMITED:
        return RateLimitError(f"The vendor answered HTTP {status}: calls come too often.{said}", **facts)
    if failure is Failure.UNAUTHORIZED:
        return AuthenticationError(
            f"The vendor answered HTTP {status}: it does not take these credentials.{said}", **facts
        )
    if failure is Failure.REDIRECT:
        return UnexpectedRedirectError(f"The API host answered with a redirect (HTTP {status}).", **facts)
    return ServerError(f"The vendor's service failed (HTTP {status}).{said}", **facts)


def map_failure(failed: ExchangeFailed) -> CallFailed:
    """Return the failed call for an exchange without a complete answer."""
    ids = find_job_ids(failed.partial)
    if failed.failure is Failure.UNREADABLE:
        error: AkoolError = ProtocolError(f"The vendor sent {failed.reason}.", job_ids=ids)
    elif failed.failure is Failure.CERTIFICATE:
        error = CertificateError("The API host's certificate was not accepted.")
    elif failed.failure is Failure.UNREACHABLE:
        error = ConnectError(f"The API host could not be reached: {failed.reason}.")
    else:
        error = ConnectionLostError(f"The exchange with the API host failed: {failed.reason}.")
    return CallFailed(failed.failure, error, job_ids=ids)


T = TypeVar("T")


class ShieldedCall(Generic[T]):
    """Work that continues when its caller is cancelled, by anyio or by the event loop itself.

    A shield stops only anyio's cancellation, so the work runs as a task of the client's group.

    Args:
        work: the work; it needs a deadline of its own.
        shield: whether closing the group waits for it instead of cancelling it.
        on_abandoned: called at the end with the result or the error if the caller has left.
    """

    def __init__(
        self,
        work: Callable[[], Awaitable[T]],
        *,
        shield: bool,
        on_abandoned: Callable[[T | Exception], None] | None = None,
    ) -> None:
        self._work = work
        self._shield = shield
        self._on_abandoned = on_abandoned
        self._ended = anyio.Event()
        self._result: list[T] = []
        self._error: Exception | None = None
        self._left = False

    async def run(self, tasks: TaskGroup) -> T:
        """Start it in `tasks` and wait for its end; a cancelled caller leaves it running."""
        tasks.start_soon(self._run)
        try:
            await self._ended.wait()
        except BaseException:  # the caller is cancelled: the result of a paid call must still be recorded
            self._left = True
            self._notify_if_abandoned()
            raise
        if self._error is not None:
            raise self._error
        if not self._result:
            raise ClientClosedError("The client was closed while this call was under way.")
        return self._result[0]

    async def _run(self) -> None:
        try:
            with anyio.CancelScope(shield=self._shield):
                self._result.append(await self._work())
        except Exception as error:  # noqa: BLE001 - handed over to the waiting caller
            self._error = error
        finally:
            self._ended.set()
        self._notify_if_abandoned()

    def _notify_if_abandoned(self) -> None:
        """Report the end once the work has ended and the caller has left, whichever is last."""
        if self._on_abandoned is None or not self._left or not self._ended.is_set():
            return
        if self._error is not None:
            self._on_abandoned(self._error)
        elif self._result:
            self._on_abandoned(self._result[0])
