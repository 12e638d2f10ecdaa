"""Calls to the API host: repeated, slowed down, renewed or left in doubt as the policy table says.

Knows paths and envelopes, not what they are about: that is the client's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import anyio
import attrs
import httpx
from anyio.abc import TaskGroup

from akool_async._clock import Clock
from akool_async._http.auth import ApiKeyAuth, Auth, AuthHeader, TokenAuth
from akool_async._http.clients import HttpClients
from akool_async._http.exchange import (
    CallFailed,
    ExchangeFailed,
    RawResponse,
    ShieldedCall,
    exchange,
    map_failure,
    parse_response,
    retry_after,
)
from akool_async._model.codes import POLICY, Action, Failure
from akool_async._model.credentials import ApiKey, Credentials
from akool_async._model.errors import (
    AkoolError,
    ClientClosedError,
    InvalidRequestError,
    ProtocolError,
    SubmissionInDoubt,
)
from akool_async._retry import RetryBudget, RetryPolicy
from akool_async._wire import TOKEN_PATH, Envelope, read_token, token_payload

# The brake of one client: when the vendor says "too often", all its calls wait, not only one.


class ThrottlePause:
    """Closed for a while after each throttled answer, for longer when they follow each other.

    Answers to calls that were sent before the gate closed say nothing new and close it no longer.
    """

    def __init__(self, policy: RetryPolicy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self._times = 0
        self._opens = float("-inf")
        self._closed = float("-inf")
        self._wait = 0.0

    async def wait(self) -> None:
        """Wait until the gate is open; those who waited leave spread out over half the wait."""
        while (left := self._opens - self._clock.monotonic()) > 0:
            await self._clock.sleep(left + self._clock.random() * self._wait / 2)

    def throttled(self, *, sent: float, elapsed: float, retry_after: float | None) -> bool:
        """Take in a throttled answer; False when the call has waited long enough and should give up.

        Args:
            sent: when the call was sent that was answered so.
            elapsed: seconds since its first try.
            retry_after: seconds that the server asked for.
        """
        if sent > self._closed:
            self._times += 1
        wait = self._policy.throttle_delay(self._times, elapsed, retry_after)
        if wait is None:
            return False
        now = self._clock.monotonic()
        if sent > self._closed or now + wait > self._opens + self._wait:
            self._closed, self._opens, self._wait = now, now + wait, wait
        return True

    def succeeded(self, *, sent: float) -> None:
        """Take in that a call went through which was sent after the gate opened again."""
        if sent >= self._opens:
            self._times = 0


# What time it is at the vendor: its results die by its clock, and ours may be wrong or jump.


class ServerClock:
    """The server's clock, as its last answer told it and time that can't jump has moved it since.

    Args:
        clock: ours, which is believed until there is an answer.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: datetime | None = None
        self._heard = 0.0
        self._date = ""

    def update(self, date: str) -> None:
        """Take in the Date header of an answer; what is none says nothing, nor is one more of that second."""
        if date == self._date:
            return
        try:
            told = parsedate_to_datetime(date)
        except (ValueError, TypeError, OverflowError):
            return
        self._date = date
        self._told = told.replace(tzinfo=UTC) if told.tzinfo is None else told
        self._heard = self._clock.monotonic()

    def now(self) -> datetime:
        """Give the moment, aware."""
        if self._told is None:
            return self._clock.now()
        return self._told + timedelta(seconds=self._clock.monotonic() - self._heard)


_SECRET_HEADERS: Final = ("authorization", "x-api-key", "cookie", "proxy-authorization")
T = TypeVar("T")
_NO_AUTH: Final = AuthHeader(("accept", "application/json"))


@attrs.frozen(kw_only=True)
class Timeouts:
    """How long single exchanges may take, in seconds.

    Attributes:
        connect: to connect.
        call: for a whole exchange that may be repeated.
        create: for the whole paid POST; generous, because giving up on it makes a doubt.
    """

    connect: float = 10.0
    call: float = 30.0
    create: float = 180.0

    def __attrs_post_init__(self) -> None:
        """Check the ranges."""
        for name, value in attrs.asdict(self).items():
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
                raise InvalidRequestError(
                    f"The time-out for {name!r} must be a positive number of seconds, not {value!r}."
                )


@attrs.frozen(kw_only=True)
class ApiCall:
    """One call of the API.

    Attributes:
        method: of HTTP.
        path: below the host.
        query: names and values.
        payload: the JSON body.
        jobs: how many jobs it makes, each of which costs money; 0 for a call that makes none.
        patient: whether it waits when the vendor says "too often" and tries again when no connection
            could be made; if not, the caller is told at once.
        orphaned: of a paid call: gets the envelope or the error if the caller was cancelled meanwhile.
    """

    path: str
    method: str = "GET"
    query: Mapping[str, str | int] = MappingProxyType({})
    payload: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    job_count: int = 0
    may_wait: bool = True
    on_abandoned: Callable[[Envelope | Exception], None] | None = None

    @property
    def creates_jobs(self) -> bool:
        """Whether it costs money."""
        return self.job_count > 0


@attrs.define
class _CallState:
    """What one call has been through so far."""

    began: float
    attempts: int = 1
    renewed: bool = False


class ApiSession:
    """The API host, seen through one set of credentials.

    Args:
        origin: scheme and host, such as "https://openapi.akool.com".
        credentials: who is asking.
        routes: the HTTP clients.
        clock: time and chance.
        tasks: the group that calls run in which a cancelled caller leaves under way.
        retry: when failed calls are repeated.
        limits: how long exchanges may take.
        user_agent: what the program calls itself.

    Attributes:
        server_time: what time it is there.
    """

    def __init__(
        self,
        *,
        origin: str,
        credentials: Credentials,
        routes: HttpClients,
        clock: Clock,
        tasks: TaskGroup,
        retry: RetryPolicy,
        limits: Timeouts,
        user_agent: str,
    ) -> None:
        self._origin = origin
        self._routes = routes
        self._clock = clock
        self._tasks = tasks
        self._retry = retry
        self._limits = limits
        self._user_agent = user_agent
        self._prepared: dict[httpx.AsyncClient, httpx.Headers] = {}
        self.server_time = ServerClock(clock)
        self._budget = RetryBudget()
        self._gate = ThrottlePause(retry, clock)
        self._places = anyio.Semaphore(routes.max_concurrency, fast_acquire=True)
        self._identity = self._identify(credentials)
        self._closed = False
        self._repeatable: set[anyio.CancelScope] = set()

    def close(self) -> None:
        """Send nothing more, and give up what may be repeated; a paid call that was sent is finished."""
        self._closed = True
        for under_way in self._repeatable:
            under_way.cancel()

    def _identify(self, credentials: Credentials) -> Auth:
        if isinstance(credentials, ApiKey):
            return ApiKeyAuth(credentials)
        call = ApiCall(method="POST", path=TOKEN_PATH, payload=token_payload(credentials))

        async def fetch() -> str:
            try:
                return await self._perform(call, None, read_token)
            except AkoolError as error:
                error.during_auth = True
                raise

        return TokenAuth(fetch, credentials.secrets, self._clock)

    async def send(self, call: ApiCall) -> Envelope:
        """Make a call.

        One that may be repeated is repeated as the retry policy allows. A paid one is sent once, and
        again only if it surely made no job; a cancelled caller does not cancel it once it is sent.

        Raises:
            SubmissionInDoubt: a paid call was sent, or may have been, and the answer is not known.
            AkoolError: it failed, was refused or was never sent.
        """
        return await self._perform(call, self._identity, _as_it_is)

    async def call(self, call: ApiCall, read: Callable[[Envelope], T]) -> T:
        """Make a call that costs nothing, and give what its answer says.

        Args:
            call: what is asked.
            read: reads the answer; where it raises `ProtocolError` the call is repeated.

        Raises:
            AkoolError: it failed or was refused, or no answer could be read.
        """
        return await self._perform(call, self._identity, read)

    async def wait_ready(self) -> None:
        """Wait until a call can go out: the gate is open, and there is a token.

        Raises:
            AkoolError: no token could be had.
        """
        await self._gate.wait()
        await self._identity.header()

    async def _perform(self, call: ApiCall, identity: Auth | None, read: Callable[[Envelope], T]) -> T:
        tries = _CallState(self._clock.monotonic())
        while True:
            if call.may_wait:
                await self._gate.wait()
            lease = _NO_AUTH if identity is None else await identity.header()
            sent = self._clock.monotonic()
            try:
                said = _parse(read, await self._try(call, lease))
            except CallFailed as failed:
                await self._after_failure(call, failed, tries, identity, lease, sent)
                continue
            self._budget.refill()
            self._gate.succeeded(sent=sent)
            if identity is not None:
                identity.confirm(lease)
            return said

    async def _after_failure(
        self,
        call: ApiCall,
        failed: CallFailed,
        tries: _CallState,
        identity: Auth | None,
        lease: AuthHeader,
        sent: float,
    ) -> None:
        """Return when the call should be sent again; raise when it should not."""
        elapsed = self._clock.monotonic() - tries.began
        match self._action(call, failed):
            case Action.WAIT if self._throttled(call, failed, sent, elapsed):
                return
            case Action.REFRESH_TOKEN if (
                identity is not None and not tries.renewed and await identity.refresh(lease)
            ):
                tries.renewed = True
                return
            case Action.RETRY if call.may_wait:
                wait = self._retry.delay(tries.attempts, elapsed, failed.retry_after)
                if wait is not None and self._budget.try_spend():
                    tries.attempts += 1
                    await self._clock.sleep(wait)
                    return
            case Action.IN_DOUBT:
                raise _doubt(failed) from failed.error
        raise failed.error from failed.__cause__

    def _throttled(self, call: ApiCall, failed: CallFailed, sent: float, elapsed: float) -> bool:
        """Close the gate for all calls; give whether this one waits for it to open."""
        waits = self._gate.throttled(sent=sent, elapsed=elapsed, retry_after=failed.retry_after)
        return waits and call.may_wait

    def _action(self, call: ApiCall, failed: CallFailed) -> Action:
        if not call.creates_jobs:
            return POLICY[failed.failure][0]
        return Action.IN_DOUBT if failed.job_ids else POLICY[failed.failure][1]

    async def _try(self, call: ApiCall, lease: AuthHeader) -> Envelope:
        try:
            answer = await self._send(call, lease)
        except ExchangeFailed as failed:
            if self._closed and not call.creates_jobs:
                raise _client_closed() from failed
            raise map_failure(failed) from failed
        return self._parsed(call, answer)

    def _parsed(self, call: ApiCall, answer: RawResponse) -> Envelope:
        self.server_time.update(answer.headers.get("date", ""))
        try:
            return parse_response(answer, secrets=self._identity.secrets, languages=call.job_count)
        except CallFailed as failed:
            failed.retry_after = retry_after(answer.headers, self._clock.now().timestamp())
            raise

    async def _send(self, call: ApiCall, lease: AuthHeader) -> RawResponse:
        if call.creates_jobs:
            return await self._send_paid(call, lease)
        request = self._request(self._routes.reads, call, lease, self._limits.call)
        await self._places.acquire()
        if self._closed:
            self._places.release()
            raise _client_closed()
        if self._routes.cancel_unsafe:
            work = ShieldedCall(lambda: self._exchange(request), shield=False)
            return await work.run(self._tasks)
        return await self._exchange(request)

    async def _exchange(self, request: httpx.Request) -> RawResponse:
        """Send what may be repeated, and give back the place that was taken for it."""
        client, deadline = self._routes.reads, self._limits.call
        with anyio.CancelScope() as under_way:
            self._repeatable.add(under_way)
            try:
                return await exchange(
                    client, request, deadline=deadline, trust_error_types=self._routes.owned
                )
            finally:
                self._repeatable.remove(under_way)
                self._places.release()
        raise _client_closed()  # a client that is closed under an answer's body would wait for the rest

    async def _send_paid(self, call: ApiCall, lease: AuthHeader) -> RawResponse:
        if self._closed:
            raise _client_closed()
        client, deadline = self._routes.creates, self._limits.create
        request = self._request(client, call, lease, deadline)

        def orphaned(result: RawResponse | Exception) -> None:
            if call.on_abandoned is not None:
                call.on_abandoned(self._orphan(call, result))

        work = ShieldedCall(
            lambda: exchange(client, request, deadline=deadline, trust_error_types=False),
            shield=True,
            orphaned=orphaned,
        )
        try:
            return await work.run(self._tasks)
        except ClientClosedError as error:  # the event loop itself tore it
            raise SubmissionInDoubt("A paid call was torn while it was under way.") from error

    def _orphan(self, call: ApiCall, result: RawResponse | Exception) -> Envelope | Exception:
        """Give what the caller would have got, had it waited."""
        try:
            if isinstance(result, RawResponse):
                return self._parsed(call, result)
            if not isinstance(result, ExchangeFailed):
                return result
            failed = map_failure(result)
        except CallFailed as error:
            failed = error
        return _doubt(failed) if self._action(call, failed) is Action.IN_DOUBT else failed.error

    def _request(
        self, client: httpx.AsyncClient, call: ApiCall, lease: AuthHeader, seconds: float
    ) -> httpx.Request:
        headers = self._headers(client)
        name, value = lease.header
        headers[name] = value
        content = None
        if call.payload is not None:
            content = json.dumps(call.payload, ensure_ascii=False).encode()
            headers["content-type"] = "application/json"
        query = f"?{urlencode(call.query)}" if call.query else ""
        return httpx.Request(
            call.method,
            f"{self._origin}{call.path}{query}",
            headers=headers,
            content=content,
            extensions={"timeout": self._timeouts(seconds)},
        )

    def _timeouts(self, seconds: float) -> dict[str, float | None]:
        connect = min(self._limits.connect, seconds * 0.9)
        return {"connect": connect, "read": seconds, "write": seconds, "pool": connect}

    def _headers(self, client: httpx.AsyncClient) -> httpx.Headers:
        """Give the client's headers without secrets, and ours; those of a client of our own never change."""
        if client in self._prepared:
            return self._prepared[client].copy()
        headers = httpx.Headers(client.headers)
        for name in _SECRET_HEADERS:
            headers.pop(name, None)
        headers.update(
            {"accept": "application/json", "accept-encoding": "gzip, deflate", "user-agent": self._user_agent}
        )
        if self._routes.owned:
            headers["host"] = httpx.URL(self._origin).netloc.decode("ascii")
            self._prepared[client] = headers.copy()
        return headers


def _as_it_is(envelope: Envelope) -> Envelope:
    return envelope


def _parse(read: Callable[[Envelope], T], envelope: Envelope) -> T:
    """Read an answer that says success; what can't be read is as bad as what is no JSON.

    Raises:
        CallFailed: it can't.
    """
    try:
        return read(envelope)
    except ProtocolError as error:
        raise CallFailed(Failure.UNREADABLE, error) from error


def _client_closed() -> ClientClosedError:
    return ClientClosedError("The client was closed while this call was under way.")


def _doubt(failed: CallFailed) -> AkoolError:
    return SubmissionInDoubt(
        f"A paid call was sent and its answer is not known. {failed.error.message}",
        job_ids=failed.job_ids,
        code=failed.error.code,
        http_status=failed.error.http_status,
        vendor_message=failed.error.vendor_message,
    )
