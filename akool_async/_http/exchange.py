"""One request and its answer under one deadline: the answer, or how it failed and whether it was sent.

Nothing is repeated here.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import anyio
import attrs
import httpx
from anyio.abc import TaskGroup

from akool_async._environment import EnvironmentProxy, describe_cause
from akool_async._http.senders import MAX_BODY, ResponseBody, Send, SendTracker
from akool_async._model.codes import (
    SUCCESS,
    Failure,
    error_for,
    failure_of_code,
    failure_of_status,
    not_understood,
)
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
    WrongHostError,
)
from akool_async._model.redact import drop_frames, exception_chain
from akool_async._wire import Envelope, find_job_ids, holds_id, naming_headers, omits_targets, read_envelope


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


async def exchange(
    send: Send,
    *,
    deadlines: ExchangeDeadlines,
    timeout: float,  # noqa: ASYNC109 - `deadlines` measures it
    paid: bool,
    trust_error_types: bool,
    before_send: Callable[[], Awaitable[None]] | None = None,
) -> RawResponse:
    """Send a request and read the whole answer.

    Args:
        send: sends it.
        deadlines: ends it when its time is over.
        timeout: seconds for all of it.
        paid: whether it is finished when the client is closed.
        trust_error_types: whether an error type alone proves that nothing was sent; otherwise the trace must.
        before_send: see `SendTracker`; a transport without httpcore's trace never calls it.

    Raises:
        ExchangeFailed: no complete answer arrived.
        AkoolError: `before_send` raised it, and nothing was sent.
    """
    tracker, body = SendTracker(before_send), ResponseBody()
    with deadlines.limit(timeout, paid=paid):
        try:
            status, headers = await send(body, tracker)
        except AkoolError:
            raise  # of `before_send`: no transport raises one
        except Exception as error:  # any error of a transport must become "sent", "not sent" or "unknown"
            if not body.too_large:
                partial = body.unpacked_or(tracker.refused)
                raise _failed(error, tracker, partial, trust_error_types=trust_error_types) from error
        except BaseException as error:  # noqa: BLE001 - a caller's time-out: frames below hold the key
            raise drop_frames(error)  # noqa: B904 - the same error
        unpacked, whole = body.unpacked()
        if body.too_large:
            size = f"an answer of more than {MAX_BODY // 2**20} MiB"
            raise ExchangeFailed(Failure.UNREADABLE, size, unpacked)
        if not whole:
            raise ExchangeFailed(Failure.UNREADABLE, "an answer whose compression is broken", unpacked)
        return RawResponse(http_status=status, body=unpacked, headers=headers)
    failure = Failure.UNREACHABLE if tracker.proves_unsent(None) else Failure.CONNECTION_LOST
    raise ExchangeFailed(
        failure, f"no complete answer within {timeout:g} s", body.unpacked_or(tracker.refused)
    )


def _failed(
    error: Exception, tracker: SendTracker, partial: bytes, *, trust_error_types: bool
) -> ExchangeFailed:
    # In words of our own: the text of a library's error may contain anything, also secrets.
    words = next((text for kind, text in _REASONS if isinstance(error, kind)), "the exchange failed")
    reason = f"{words} ({describe_cause(error)})"
    if isinstance(error, httpx.DecodingError):
        return ExchangeFailed(Failure.UNREADABLE, reason, partial)
    # Before "unreachable": waiting and trying again does not make a certificate valid.
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in exception_chain(error)):
        return ExchangeFailed(Failure.CERTIFICATE, describe_cause(error))
    # In doubt unless proved otherwise: calling a sent POST unsent would pay for it twice.
    if tracker.proves_unsent(error) or (trust_error_types and isinstance(error, _UNSENT)):
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
    (httpx.DecodingError, "an answer whose compression is broken"),
    (httpx.ProxyError, "the proxy did not connect"),
)


class CallFailed(Exception):
    """One attempt of a call failed.

    Attributes:
        failure: how.
        error: the error for the caller if the call is not repeated.
        body: what arrived of the answer's body and of `naming_headers`, which may name jobs all the same.
        retry_after: seconds that the server asked for.
    """

    def __init__(self, failure: Failure, error: AkoolError, body: bytes = b"") -> None:
        super().__init__(str(error))
        self.failure = failure
        self.error = error
        self.body = body
        self.retry_after: float | None = None


def parse_response(
    answer: RawResponse, *, host: str, languages: int, sent: Mapping[str, Any] | None = None
) -> Envelope:
    """Return the envelope of a successful answer.

    A refusal of a paid call that holds an id, or omits languages, is returned too: jobs may exist.

    Args:
        answer: the HTTP answer.
        host: where it came from.
        languages: how many jobs a paid call asks for; 0 for a call that creates none.
        sent: the payload of a paid call.

    Raises:
        CallFailed: the answer is a refusal, an error or unreadable.
    """
    status, body, unreadable = answer.http_status, answer.body, None
    try:
        envelope = read_envelope(body)
    except ProtocolError as caught:
        envelope, unreadable = Envelope(code=None), caught
        unreadable.http_status = status
    # Nearly every answer. What follows tells refusals apart, and costs more than reading the answer did.
    if envelope.code == SUCCESS and 200 <= status < 300:
        return envelope
    body += naming_headers(answer.headers) if languages else b""
    failure = failure_of_status(status)
    if failure is not None:
        raise CallFailed(failure, _error_of_status(failure, answer, envelope, host), body)
    if not_understood(status, envelope.code):
        words = f"The server at {host} did not understand the call (HTTP {status}, no answer of this API)."
        raise CallFailed(Failure.NOT_UNDERSTOOD, WrongHostError(words, http_status=status), body)
    # The status says success and the body does not say anything: jobs may have been made.
    if unreadable is not None:
        raise CallFailed(Failure.UNREADABLE, unreadable, body) from unreadable
    failure = failure_of_code(envelope.code)
    # A rate-limited or unauthorized call would be sent again: with an id it must stay a failure.
    refused, named = failure in (Failure.REFUSED, Failure.BUSY), holds_id(envelope.raw, sent)
    jobs_may_exist = (refused and named) or (omits_targets(envelope, languages) and not named)
    if envelope.ok or (languages and jobs_may_exist):
        return envelope
    error = error_for(envelope.code, envelope.message, http_status=status, creating=languages > 0)
    raise CallFailed(failure, error, body)


def _error_of_status(failure: Failure, answer: RawResponse, envelope: Envelope, host: str) -> AkoolError:
    status, message = answer.http_status, envelope.message
    said = f' It says: "{message}".' if message else ""
    facts: ErrorDetails = {"code": envelope.code, "http_status": status, "vendor_message": message}
    if failure is Failure.RATE_LIMITED:
        words = f"The API host {host} answered HTTP {status}: calls come too often.{said}"
        return RateLimitError(words, **facts)
    if failure is Failure.UNAUTHORIZED:
        words = f"The API host {host} answered HTTP {status}: it does not take these credentials.{said}"
        return AuthenticationError(words, **facts)
    if failure in (Failure.REDIRECT, Failure.SEE_OTHER):
        words = f"The API host {host} answered with a redirect (HTTP {status})."
        return UnexpectedRedirectError(words, **facts)
    return ServerError(f"The service at {host} failed (HTTP {status}).{said}", **facts)


def map_failure(failed: ExchangeFailed, host: str, proxy: EnvironmentProxy | None) -> CallFailed:
    """Return the failed call for an exchange with `host` without a complete answer."""
    if failed.failure is Failure.UNREADABLE:
        # A torn answer may hold the ids of paid jobs: the error keeps them, so that they can be polled.
        ids = find_job_ids(failed.partial)
        error: AkoolError = ProtocolError(f"The vendor sent {failed.reason}.", job_ids=ids)
    elif failed.failure is Failure.CERTIFICATE:
        error = CertificateError(f"The certificate of the API host {host} was not accepted: {failed.reason}.")
    elif failed.failure is Failure.UNREACHABLE and proxy is not None:
        words = f"The API host {host} could not be reached by the proxy {proxy}: {failed.reason}."
        error = ConnectError(words, advice=f"Check the proxy, or correct or unset {proxy.named_by}.")
    elif failed.failure is Failure.UNREACHABLE:
        error = ConnectError(f"The API host {host} could not be reached: {failed.reason}.")
    else:
        error = ConnectionLostError(f"The exchange with the API host {host} failed: {failed.reason}.")
    return CallFailed(failed.failure, error, failed.partial)


def client_closed() -> ClientClosedError:
    """Return the error of a call that ends because its client is closed."""
    return ClientClosedError("The client was closed while this call was under way.")


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
        # Neither result nor error: the group was cancelled before the work came to its end.
        if not self._result:
            raise client_closed()
        return self._result[0]

    async def _run(self) -> None:
        try:
            with anyio.CancelScope(shield=self._shield):
                self._result.append(await self._work())
        except Exception as error:  # noqa: BLE001 - handed over to the waiting caller
            self._error = error
        finally:  # also where the event loop itself cancels it
            self._ended.set()
            self._notify_if_abandoned()

    def _notify_if_abandoned(self) -> None:
        """Report the end once the work has ended and the caller has left, whichever is last."""
        # Each of the two calls this; only the later one finds both true, so that the ids are logged once.
        if self._on_abandoned is None or not self._left or not self._ended.is_set():
            return
        # Neither: the event loop itself cancelled the work, perhaps after it was sent.
        self._on_abandoned(self._error or (self._result[0] if self._result else client_closed()))


# How long exchanges may take.

_TICK: Final = 1.0
"""Seconds after which the watcher wakes at the latest, to notice that the process was frozen."""

_FROZEN: Final = 0.02
"""Seconds that the watcher wakes late when the process was frozen, or blocked for as long."""

_GRACE: Final = 1.0
"""Seconds that an exchange has left after a freeze, at most, to read an answer that has arrived."""

_MOST_GRACE: Final = 5.0
"""Seconds that an exchange is given in all, so that an event loop that always lags ends it, too."""


class ExchangeDeadlines:
    """Cancels exchanges that take too long, also when the process was frozen meanwhile.

    A process that continues after SIGSTOP, a paused container or a closed lid finds the answers that came
    meanwhile in its sockets. A plain deadline has passed by then, and would throw away the ids of paid jobs.
    So one task watches all deadlines. When it wakes late, it moves them by as much.

    Args:
        tasks: the group that the watcher runs in; it outlives the group's cancellation for paid exchanges.
    """

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._limits: set[ExchangeLimit] = set()
        self._frozen = 0.0
        self._watching = False
        self._sleeping: anyio.CancelScope | None = None
        self._due = 0.0
        self._closed = False
        self._idle = anyio.Event()

    def limit(self, seconds: float, *, paid: bool) -> ExchangeLimit:
        """Return a scope that ends after so many seconds, and unless `paid` when the client is closed."""
        # The moment is in time without freezes: what a later freeze adds is added for all limits at once.
        return ExchangeLimit(self, anyio.current_time() - self._frozen + seconds, paid)

    def add(self, limit: ExchangeLimit) -> None:
        """Watch a limit from now on."""
        self._limits.add(limit)
        self._wake(limit.at + self._frozen)

    def remove(self, limit: ExchangeLimit) -> None:
        """Stop watching a limit."""
        self._limits.remove(limit)
        # Closing waits for this: until here a paid exchange may still bring the ids of its jobs.
        if self._closed and not self._limits:
            self._idle.set()
            self._wake()

    async def wait_idle(self) -> None:
        """Wait for the end of the last exchange; call it after `close`."""
        if self._limits:
            await self._idle.wait()

    def close(self) -> None:
        """Cancel what is not paid; the watcher ends with the last paid exchange."""
        self._closed = True
        for limit in self._limits:
            # A paid exchange is finished: its answer names jobs that the account is billed for.
            if not limit.paid:
                limit.scope.cancel()
        self._wake()

    def _wake(self, before: float = -math.inf) -> None:
        """Let the watcher look at the deadlines now, unless it would wake before that moment anyway."""
        if not self._watching and self._limits:
            self._watching, self._due = True, anyio.current_time()
            self._tasks.start_soon(self._watch)
        elif self._sleeping is not None and before < self._due:
            self._due = anyio.current_time()
            self._sleeping.cancel()

    async def _watch(self) -> None:
        # Shielded: closing the client cancels its group, and a paid exchange would then have no deadline.
        with anyio.CancelScope(shield=True):
            while self._limits or not self._closed:
                late = anyio.current_time() - self._due
                # Waking late means that the process did not run. No exchange may be ended for time in which
                # its answer could not be read, above all not a paid one.
                if late > _FROZEN:
                    self._frozen += late
                now = anyio.current_time() - self._frozen
                soonest = math.inf
                for limit in self._limits:
                    # Bounded: on an event loop that always lags, an exchange would never end.
                    if late > _FROZEN and limit.grace > 0:
                        at = max(limit.at, now + min(late, _GRACE, limit.grace))
                        limit.grace, limit.at = limit.grace - (at - limit.at), at
                    if limit.at <= now:
                        limit.scope.cancel()
                    else:
                        soonest = min(soonest, limit.at)
                self._due = self._frozen + min(soonest, now + _TICK) if self._limits else math.inf
                with anyio.CancelScope() as self._sleeping:
                    await anyio.sleep_until(self._due)
                self._sleeping = None
        self._watching = False


@attrs.define(eq=False)
class ExchangeLimit:
    """The scope of one exchange; `at` is a moment of the time in which this process ran."""

    _deadlines: ExchangeDeadlines
    at: float
    paid: bool
    grace: float = _MOST_GRACE
    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)

    def __enter__(self) -> Self:
        """Begin the exchange."""
        self.scope.__enter__()
        self._deadlines.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """End the exchange; one whose time is over is left without an error."""
        self._deadlines.remove(self)
        return bool(self.scope.__exit__(kind, error, trace))
