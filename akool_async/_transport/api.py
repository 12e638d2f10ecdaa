"""Calls to the API host: repeated, slowed down, renewed or left in doubt as the policy table says.

Knows paths and envelopes, not what they are about: that is the client's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import anyio
import attrs
import httpx
from anyio.abc import TaskGroup

from akool_async._core.clock import Clock
from akool_async._core.credentials import ApiKey, Credentials
from akool_async._core.errors import (
    AkoolError,
    ClientClosed,
    InvalidRequest,
    ProtocolError,
    SubmissionInDoubt,
)
from akool_async._core.failures import POLICY, Action, Failure
from akool_async._core.schedule import RetryBudget, RetryPolicy
from akool_async._core.wire import TOKEN_PATH, Envelope, read_token, token_payload
from akool_async._transport.detached import Detached
from akool_async._transport.exchange import Answer, ExchangeFailed, exchange, retry_after
from akool_async._transport.gate import Gate
from akool_async._transport.identity import Identity, KeyIdentity, Lease, TokenIdentity
from akool_async._transport.judge import CallFailed, failed_exchange, judge
from akool_async._transport.routes import Routes
from akool_async._transport.servertime import ServerTime

_SECRET_HEADERS: Final = ("authorization", "x-api-key", "cookie", "proxy-authorization")
T = TypeVar("T")

_NOBODY: Final = Lease(("accept", "application/json"))


@attrs.frozen(kw_only=True)
class Limits:
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
                raise InvalidRequest(
                    f"The time-out for {name!r} must be a positive number of seconds, not {value!r}."
                )


@attrs.frozen(kw_only=True)
class Call:
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
    jobs: int = 0
    patient: bool = True
    orphaned: Callable[[Envelope | Exception], None] | None = None

    @property
    def paid(self) -> bool:
        """Whether it costs money."""
        return self.jobs > 0


@attrs.define
class _Tries:
    """What one call has been through so far."""

    began: float
    attempts: int = 1
    renewed: bool = False


class Api:
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
        routes: Routes,
        clock: Clock,
        tasks: TaskGroup,
        retry: RetryPolicy,
        limits: Limits,
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
        self.server_time = ServerTime(clock)
        self._budget = RetryBudget()
        self._gate = Gate(retry, clock)
        self._places = anyio.Semaphore(routes.most, fast_acquire=True)
        self._identity = self._identify(credentials)
        self._closed = False
        self._repeatable: set[anyio.CancelScope] = set()

    def close(self) -> None:
        """Send nothing more, and give up what may be repeated; a paid call that was sent is finished."""
        self._closed = True
        for under_way in self._repeatable:
            under_way.cancel()

    def _identify(self, credentials: Credentials) -> Identity:
        if isinstance(credentials, ApiKey):
            return KeyIdentity(credentials)
        call = Call(method="POST", path=TOKEN_PATH, payload=token_payload(credentials))

        async def fetch() -> str:
            try:
                return await self._perform(call, None, read_token)
            except AkoolError as error:
                error.for_token = True
                raise

        return TokenIdentity(fetch, credentials.secrets, self._clock)

    async def make(self, call: Call) -> Envelope:
        """Make a call.

        One that may be repeated is repeated as the retry policy allows. A paid one is sent once, and
        again only if it surely made no job; a cancelled caller does not cancel it once it is sent.

        Raises:
            SubmissionInDoubt: a paid call was sent, or may have been, and the answer is not known.
            AkoolError: it failed, was refused or was never sent.
        """
        return await self._perform(call, self._identity, _as_it_is)

    async def ask(self, call: Call, read: Callable[[Envelope], T]) -> T:
        """Make a call that costs nothing, and give what its answer says.

        Args:
            call: what is asked.
            read: reads the answer; where it raises `ProtocolError` the call is repeated.

        Raises:
            AkoolError: it failed or was refused, or no answer could be read.
        """
        return await self._perform(call, self._identity, read)

    async def ready(self) -> None:
        """Wait until a call can go out: the gate is open, and there is a token.

        Raises:
            AkoolError: no token could be had.
        """
        await self._gate.passed()
        await self._identity.lease()

    async def _perform(self, call: Call, identity: Identity | None, read: Callable[[Envelope], T]) -> T:
        tries = _Tries(self._clock.monotonic())
        while True:
            if call.patient:
                await self._gate.passed()
            lease = _NOBODY if identity is None else await identity.lease()
            sent = self._clock.monotonic()
            try:
                said = _understood(read, await self._try(call, lease))
            except CallFailed as failed:
                await self._go_on(call, failed, tries, identity, lease, sent)
                continue
            self._budget.give()
            self._gate.succeeded(sent=sent)
            if identity is not None:
                identity.accepted(lease)
            return said

    async def _go_on(
        self,
        call: Call,
        failed: CallFailed,
        tries: _Tries,
        identity: Identity | None,
        lease: Lease,
        sent: float,
    ) -> None:
        """Return when the call should be sent again; raise when it should not."""
        elapsed = self._clock.monotonic() - tries.began
        match self._action(call, failed):
            case Action.WAIT if self._throttled(call, failed, sent, elapsed):
                return
            case Action.RENEW if identity is not None and not tries.renewed and await identity.refused(lease):
                tries.renewed = True
                return
            case Action.REPEAT if call.patient:
                wait = self._retry.retry_in(tries.attempts, elapsed, failed.retry_after)
                if wait is not None and self._budget.take():
                    tries.attempts += 1
                    await self._clock.sleep(wait)
                    return
            case Action.DOUBT:
                raise _doubt(failed) from failed.error
        raise failed.error from failed.__cause__

    def _throttled(self, call: Call, failed: CallFailed, sent: float, elapsed: float) -> bool:
        """Close the gate for all calls; give whether this one waits for it to open."""
        waits = self._gate.throttled(sent=sent, elapsed=elapsed, retry_after=failed.retry_after)
        return waits and call.patient

    def _action(self, call: Call, failed: CallFailed) -> Action:
        if not call.paid:
            return POLICY[failed.failure][0]
        return Action.DOUBT if failed.job_ids else POLICY[failed.failure][1]

    async def _try(self, call: Call, lease: Lease) -> Envelope:
        try:
            answer = await self._send(call, lease)
        except ExchangeFailed as failed:
            if self._closed and not call.paid:
                raise _client_closed() from failed
            raise failed_exchange(failed) from failed
        return self._judged(call, answer)

    def _judged(self, call: Call, answer: Answer) -> Envelope:
        self.server_time.hear(answer.headers.get("date", ""))
        try:
            return judge(answer, secrets=self._identity.secrets, languages=call.jobs)
        except CallFailed as failed:
            failed.retry_after = retry_after(answer.headers, self._clock.now().timestamp())
            raise

    async def _send(self, call: Call, lease: Lease) -> Answer:
        if call.paid:
            return await self._send_paid(call, lease)
        request = self._request(self._routes.repeatable, call, lease, self._limits.call)
        await self._places.acquire()
        if self._closed:
            self._places.release()
            raise _client_closed()
        if self._routes.fragile:
            work = Detached(lambda: self._exchange(request), shield=False)
            return await work.run_in(self._tasks)
        return await self._exchange(request)

    async def _exchange(self, request: httpx.Request) -> Answer:
        """Send what may be repeated, and give back the place that was taken for it."""
        client, deadline = self._routes.repeatable, self._limits.call
        with anyio.CancelScope() as under_way:
            self._repeatable.add(under_way)
            try:
                return await exchange(client, request, deadline=deadline, honest=self._routes.owned)
            finally:
                self._repeatable.remove(under_way)
                self._places.release()
        raise _client_closed()  # a client that is closed under an answer's body would wait for the rest

    async def _send_paid(self, call: Call, lease: Lease) -> Answer:
        if self._closed:
            raise _client_closed()
        client, deadline = self._routes.paid, self._limits.create
        request = self._request(client, call, lease, deadline)

        def orphaned(result: Answer | Exception) -> None:
            if call.orphaned is not None:
                call.orphaned(self._orphan(call, result))

        work = Detached(
            lambda: exchange(client, request, deadline=deadline, honest=False), shield=True, orphaned=orphaned
        )
        try:
            return await work.run_in(self._tasks)
        except ClientClosed as error:  # the event loop itself tore it
            raise SubmissionInDoubt("A paid call was torn while it was under way.") from error

    def _orphan(self, call: Call, result: Answer | Exception) -> Envelope | Exception:
        """Give what the caller would have got, had it waited."""
        try:
            if isinstance(result, Answer):
                return self._judged(call, result)
            if not isinstance(result, ExchangeFailed):
                return result
            failed = failed_exchange(result)
        except CallFailed as error:
            failed = error
        return _doubt(failed) if self._action(call, failed) is Action.DOUBT else failed.error

    def _request(self, client: httpx.AsyncClient, call: Call, lease: Lease, seconds: float) -> httpx.Request:
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


def _understood(read: Callable[[Envelope], T], envelope: Envelope) -> T:
    """Read an answer that says success; what can't be read is as bad as what is no JSON.

    Raises:
        CallFailed: it can't.
    """
    try:
        return read(envelope)
    except ProtocolError as error:
        raise CallFailed(Failure.UNREADABLE, error) from error


def _client_closed() -> ClientClosed:
    return ClientClosed("The client was closed while this call was under way.")


def _doubt(failed: CallFailed) -> AkoolError:
    return SubmissionInDoubt(
        f"A paid call was sent and its answer is not known. {failed.error.what}",
        job_ids=failed.job_ids,
        code=failed.error.code,
        http_status=failed.error.http_status,
        vendor_message=failed.error.vendor_message,
    )
