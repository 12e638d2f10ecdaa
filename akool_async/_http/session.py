"""Calls to the API host: repeated, delayed, re-authenticated or left in doubt as the policy table says."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlencode

import anyio
import attrs
from anyio.abc import TaskGroup

from akool_async._clock import Clock, ServerClock, retry_after
from akool_async._http.auth import AuthHeader, TokenAuth
from akool_async._http.clients import HttpClients
from akool_async._http.exchange import (
    CallFailed,
    ExchangeDeadlines,
    ExchangeFailed,
    RawResponse,
    ShieldedCall,
    client_closed,
    exchange,
    map_failure,
    parse_response,
)
from akool_async._http.senders import ApiRequest, Send, Sender
from akool_async._model.codes import POLICY, Action, Failure
from akool_async._model.credentials import ApiKey, Credentials
from akool_async._model.errors import (
    AkoolError,
    ClientClosedError,
    ConnectionLostError,
    ProtocolError,
    RateLimitError,
)
from akool_async._model.events import CallEvent, RateLimitEvent, RetryEvent
from akool_async._model.redact import Secret, detach
from akool_async._model.validators import seconds_field
from akool_async._observer import Observers
from akool_async._retry import RetryBudget, RetryPolicy, ThrottlePause
from akool_async._wire import TOKEN_PATH, Envelope, may_name_job, read_token, token_payload

logger = logging.getLogger("akool_async")
T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Timeouts:
    """How long single exchanges may take, in seconds.

    Attributes:
        create_timeout: for the whole paid POST; generous, because giving up leaves the submission in doubt.
    """

    connect_timeout: float = seconds_field(10.0)
    timeout: float = seconds_field(30.0)
    create_timeout: float = seconds_field(180.0)


@attrs.frozen(kw_only=True)
class ApiCall:
    """One call of the API.

    Attributes:
        job_count: how many jobs it creates, each of which costs money; 0 for a call that creates none.
        patient: whether it waits when rate limited and is repeated when no connection could be made; if
            not, it fails at once. With a new token in place of a refused one it is sent again all the same.
        on_abandoned: of a paid call: called with the envelope or the error if the caller was cancelled.
        before_send: of a paid call: awaited before its first byte; what it raises withdraws the call.
    """

    path: str
    method: str = "GET"
    query: Mapping[str, str | int] = MappingProxyType({})
    payload: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    job_count: int = 0
    patient: bool = True
    on_abandoned: Callable[[Envelope | Exception], None] | None = None
    before_send: Callable[[], Awaitable[None]] | None = None

    @property
    def creates_jobs(self) -> bool:
        """Whether it costs money."""
        return self.job_count > 0


Judge: TypeAlias = Callable[["RawResponse | BaseException"], Envelope]
"""Returns the envelope of an attempt's answer, or raises, and reports the attempt's end."""


class CallInDoubt(CallFailed):
    """A paid call was sent, or may have been, and its answer is not known; `body` may name its jobs."""


def _torn() -> CallInDoubt:
    """Return the failure of a paid call that the event loop itself cancelled, perhaps after it was sent."""
    lost = ConnectionLostError("It was interrupted while it was in progress.")
    return CallInDoubt(Failure.CONNECTION_LOST, lost)


@attrs.define
class _CallState:
    """The attempts of one call so far."""

    began: float
    attempts: int = 1
    renewed: bool = False


class ApiSession:
    """Calls to the API host with one set of credentials; those in `tasks` outlive a cancelled caller."""

    def __init__(
        self,
        *,
        origin: str,
        credentials: Credentials,
        clients: HttpClients,
        clock: Clock,
        tasks: TaskGroup,
        retry: RetryPolicy,
        timeouts: Timeouts,
        observers: Observers,
    ) -> None:
        self._origin = origin
        self._clients = clients
        self._clock = clock
        self._tasks = tasks
        self._retry = retry
        self._timeouts = timeouts
        self._observers = observers
        self.server_time: ServerClock = ServerClock(clock)
        self._budget = RetryBudget()
        self._pause = ThrottlePause(retry)
        self._slots = anyio.Semaphore(clients.max_concurrency, fast_acquire=True)
        self.set_credentials(credentials)
        self._closed = False
        self._deadlines = ExchangeDeadlines(tasks)

    def close(self) -> None:
        """Send nothing more, and give up what may be repeated; a paid call that was sent is finished."""
        # In this order: a call that wakes up because its exchange was ended must find the client closed.
        self._closed = True
        self._deadlines.close()

    async def wait_closed(self) -> None:
        """Wait until nothing is under way any more; call it after `close`."""
        await self._deadlines.wait_idle()

    def set_credentials(self, credentials: Credentials) -> None:
        """Authenticate the calls that begin from now on with these credentials."""
        self._identity = self._identify(credentials)

    def _identify(self, credentials: Credentials) -> AuthHeader | TokenAuth:
        if isinstance(credentials, ApiKey):
            return AuthHeader("x-api-key", credentials.api_key)
        call = ApiCall(method="POST", path=TOKEN_PATH, payload=token_payload(credentials))

        async def fetch() -> Secret:
            try:
                return await self._until_answered(call, None, read_token)
            except AkoolError as error:
                # The refusal is about the account. A batch must not take it for a refusal of the entry whose
                # POST waited for this token: that POST was never sent.
                error.during_auth = True
                raise

        return TokenAuth(fetch, self._clock)

    async def send_paid(self, call: ApiCall) -> Envelope:
        """Make a paid call.

        It is sent once, and again only if it surely made no job; a cancelled caller does not cancel it once
        it is sent.

        Raises:
            CallInDoubt: it was sent, or may have been, and the answer is not known.
            AkoolError: it failed, was refused or was never sent.
        """
        return await self._until_answered(call, self._identity, lambda envelope: envelope)

    async def call(self, call: ApiCall, read: Callable[[Envelope], T]) -> T:
        """Make a call that costs nothing, and return the parsed answer.

        Args:
            call: the call.
            read: reads the answer; where it raises `ProtocolError` the call is repeated.

        Raises:
            AkoolError: it failed or was refused, or no answer could be read.
        """
        return await self._until_answered(call, self._identity, read)

    async def wait_ready(self) -> None:
        """Wait until a call can be sent: there is no pause, and there is a token.

        Raises:
            AkoolError: no token could be fetched, or the caller's own HTTP client is closed.
        """
        if not self._clients.owned:  # its owner may have closed it
            self._clients.creates.check_open()
        await self._wait_out_pause()
        if isinstance(self._identity, TokenAuth):
            await self._identity.header()

    async def _wait_out_pause(self) -> None:
        # A loop: other answers may have made the pause longer meanwhile.
        while (left := self._pause.remaining(self._clock.monotonic())) > 0:
            await self._clock.sleep(left + self._clock.random() * self._pause.spread)

    async def _until_answered(
        self, call: ApiCall, identity: AuthHeader | TokenAuth | None, read: Callable[[Envelope], T]
    ) -> T:
        tries = _CallState(self._clock.monotonic())
        while True:
            # A batch's POST has waited already, before its intent was committed.
            if call.patient:
                await self._wait_out_pause()
            auth = await identity.header() if isinstance(identity, TokenAuth) else identity
            sent = self._clock.monotonic()
            try:
                envelope = await self._attempt(call, auth, tries.attempts)
                # Reading is part of the attempt: an answer that lacks what it should hold is asked for again.
                try:
                    result = read(envelope)
                except ProtocolError as error:
                    raise CallFailed(Failure.UNREADABLE, error) from error
            except CallFailed as failed:
                await self._after_failure(call, detach(failed), tries, identity, auth, sent)
                continue
            # Only here: an answer that could not be read is no sign that the vendor is well again.
            self._budget.refill()
            self._pause.succeeded(sent=sent)
            if isinstance(identity, TokenAuth) and auth is not None:
                identity.confirm(auth)
            return result

    async def _after_failure(
        self,
        call: ApiCall,
        failed: CallFailed,
        tries: _CallState,
        identity: AuthHeader | TokenAuth | None,
        auth: AuthHeader | None,
        sent: float,
    ) -> None:
        """Return if the call should be sent again; else raise."""
        now = self._clock.monotonic()
        elapsed = now - tries.began
        match self._action(call, failed):
            case Action.WAIT:
                # The pause is for all calls, also when this one may not wait for its end.
                pause = self._pause.rate_limited(
                    now, sent=sent, elapsed=elapsed, retry_after=failed.retry_after
                )
                self._observers.report(RateLimitEvent(path=call.path, retry_after=failed.retry_after))
                if pause and call.patient:
                    return
                if isinstance(failed.error, RateLimitError):
                    failed.error.retry_after = max(self._pause.remaining(now), failed.retry_after or 0.0)
            # Once for each call: an account that refuses every token would be asked for new ones for ever.
            case Action.REFRESH_TOKEN if (
                isinstance(identity, TokenAuth)
                and auth is not None
                and not tries.renewed
                and await identity.refresh(auth)
            ):
                tries.renewed = True
                return
            case Action.RETRY if call.patient:
                wait = self._retry.delay(tries.attempts, elapsed, failed.retry_after)
                if wait is not None and self._budget.try_spend():
                    # From the budget of all calls: in an outage, polls that each repeat would be a flood.
                    tries.attempts += 1
                    self._observers.report(RetryEvent(path=call.path, reason=failed.error.message, wait=wait))
                    await self._clock.sleep(wait)
                    return
            case Action.IN_DOUBT:
                raise CallInDoubt(failed.failure, failed.error, failed.body) from detach(failed.error)
        raise detach(failed.error) from None

    def _action(self, call: ApiCall, failed: CallFailed) -> Action:
        if not call.creates_jobs:
            return POLICY[failed.failure][0]
        # With what may be an id a job may exist, whatever the failure says: a repeat could pay twice. Plain
        # refusals have none, see `parse_response`.
        refused = failed.failure in (Failure.REFUSED, Failure.BUSY)
        named = not refused and may_name_job(failed.body, call.payload)
        return Action.IN_DOUBT if named else POLICY[failed.failure][1]

    async def _attempt(self, call: ApiCall, auth: AuthHeader | None, attempt: int) -> Envelope:
        judge = partial(self._judge, call, attempt, self._clock.monotonic())
        answer: RawResponse | Exception
        try:
            answer = await self._exchange(call, auth, judge)
        except Exception as error:  # noqa: BLE001 - raised again by `_judge`
            answer = error
        except BaseException as left:
            if not call.creates_jobs:  # a paid call continues without its caller, and is judged at its end
                judge(left)
            raise
        return judge(answer)

    def _judge(
        self, call: ApiCall, attempt: int, began: float, answer: RawResponse | BaseException
    ) -> Envelope:
        """Return the envelope of an answer, and report the attempt that it ends.

        Raises:
            CallFailed: the answer is a refusal, an error or unreadable, or there is no complete one.
            BaseException: the answer itself, if it is any other exception.
        """
        result, status = "given up", None
        try:
            if isinstance(answer, RawResponse):
                status = answer.http_status
                try:
                    envelope = self._parsed(call, answer)
                except CallFailed as failed:
                    result = f"HTTP {status}, code {failed.error.code}"
                    raise
                result = f"HTTP {status}, code {envelope.code}"
                return envelope
            if not isinstance(answer, ExchangeFailed):
                raise answer
            result = answer.reason
            # A closing client ends exchanges itself: the error says so, for it is not the host's fault. A
            # paid call keeps its own error, because it may have made jobs.
            if self._closed and not call.creates_jobs:
                raise client_closed() from detach(answer)
            raise map_failure(answer, self._origin, self._clients.proxy) from detach(answer)
        finally:
            if self._observers.detailed or logger.isEnabledFor(logging.DEBUG):
                event = CallEvent(
                    origin=self._origin,
                    method=call.method,
                    path=call.path,
                    result=result,
                    http_status=status,
                    attempt=attempt,
                    seconds=self._clock.monotonic() - began,
                )
                self._observers.report(event)

    def _parsed(self, call: ApiCall, answer: RawResponse) -> Envelope:
        self.server_time.update(answer.headers.get("date", ""))
        try:
            return parse_response(answer, host=self._origin, languages=call.job_count, sent=call.payload)
        except CallFailed as failed:
            # By the clock of the same answer: with a wrong clock here a date could mean years.
            failed.retry_after = retry_after(answer.headers, self.server_time.now())
            raise

    async def _exchange(self, call: ApiCall, auth: AuthHeader | None, judge: Judge) -> RawResponse:
        if call.creates_jobs:
            return await self._exchange_paid(call, auth, judge)
        # httpx's pool becomes slow with many waiting for a connection; so only so many get that far.
        await self._slots.acquire()
        if self._closed:
            self._slots.release()
            raise client_closed()
        try:
            send = self._prepare(self._clients.reads, call, auth, self._timeouts.timeout)
        except BaseException:  # what was not sent frees its place
            self._slots.release()
            raise

        async def read() -> RawResponse:
            try:
                return await exchange(
                    send,
                    deadlines=self._deadlines,
                    timeout=self._timeouts.timeout,
                    paid=False,
                    trust_error_types=self._clients.owned,
                )
            finally:
                self._slots.release()

        # httpcore 1.0 never frees the slot of a request that was cancelled while it connected.
        if self._clients.cancel_unsafe:
            return await ShieldedCall(read, shield=False).run(self._tasks)
        return await read()

    async def _exchange_paid(self, call: ApiCall, auth: AuthHeader | None, judge: Judge) -> RawResponse:
        if self._closed:
            raise client_closed()
        # Never over a connection that was kept: after a reset nothing would prove that the POST was not read.
        timeout = self._timeouts.create_timeout
        send = self._prepare(self._clients.creates, call, auth, timeout)

        def on_abandoned(answer: RawResponse | Exception) -> None:
            # An observer that ends the program does so once the ids are logged.
            with self._observers.ends_postponed():
                result = self._abandoned_result(call, judge, answer)
                if call.on_abandoned is not None:
                    call.on_abandoned(result)

        work = ShieldedCall(
            partial(
                exchange,
                send,
                deadlines=self._deadlines,
                timeout=timeout,
                paid=True,
                trust_error_types=False,
                before_send=call.before_send,
            ),
            shield=True,
            on_abandoned=on_abandoned,
        )
        try:
            return await work.run(self._tasks)
        except ClientClosedError as error:
            raise _torn() from error

    def _abandoned_result(
        self, call: ApiCall, judge: Judge, answer: RawResponse | Exception
    ) -> Envelope | Exception:
        """Return what the cancelled caller would have received."""
        try:
            return judge(_torn() if isinstance(answer, ClientClosedError) else answer)
        except CallFailed as failed:
            # Judged by the same table as for a caller that waits: the log must not say "refused" of a doubt.
            in_doubt = self._action(call, failed) is Action.IN_DOUBT
            return CallInDoubt(failed.failure, failed.error, failed.body) if in_doubt else failed.error
        except Exception as error:  # noqa: BLE001 - what `before_send` raised
            return error

    def _prepare(self, sender: Sender, call: ApiCall, auth: AuthHeader | None, seconds: float) -> Send:
        query = f"?{urlencode(call.query)}" if call.query else ""
        content = None if call.payload is None else json.dumps(call.payload, ensure_ascii=False).encode()
        connect = min(self._timeouts.connect_timeout, seconds * 0.9)
        return sender.prepare(
            ApiRequest(
                method=call.method,
                target=f"{call.path}{query}",
                content=content,
                auth=auth,
                connect=connect,
            )
        )
