"""The sandbox: the vendor's API and CDN, imitated on loopback or inside the process.

Puts the parts together and serves them. How the vendor behaves is in the parts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import attrs
import httpx

from akool_async._environment import is_loopback
from akool_async.sandbox.access import AccessMiddleware, logger
from akool_async.sandbox.api import VendorApi
from akool_async.sandbox.audit import Audit
from akool_async.sandbox.auth import Authenticator
from akool_async.sandbox.cdn import Cdn, ResultStore
from akool_async.sandbox.context import SandboxContext
from akool_async.sandbox.engine import Engine
from akool_async.sandbox.faults import Fault, FaultPlan
from akool_async.sandbox.fixtures import (
    LANGUAGES,
    SandboxLanguage,
    SandboxVoice,
    invent_voices,
    media_backend,
)
from akool_async.sandbox.http import CONNECTION, Application
from akool_async.sandbox.jobs import Signer
from akool_async.sandbox.settings import (
    DEFAULT_API_KEY,
    ApiVersion,
    MediaLimits,
    SandboxClock,
    SandboxSettings,
    ScaledClock,
    ShapeName,
)
from akool_async.sandbox.webhooks import WebhookSender

if TYPE_CHECKING:
    from akool_async._client import AkoolClient

API_ORIGIN: Final = "http://127.0.0.1:1"
CDN_ORIGIN: Final = "http://127.0.0.1:2"


@attrs.frozen(kw_only=True)
class SandboxServer:
    """Where a served sandbox can be reached."""

    base_url: str
    """The API, such as "http://127.0.0.1:8000"."""
    cdn_url: str
    """The results' origin."""


class Sandbox:
    """The vendor with one account, imitated truthfully and made to fail on demand.

    Args:
        api_key: The right value of x-api-key.
        client_id: The right clientId for a token, and the name that webhooks are sealed with.
        client_secret: The right clientSecret, and the key of the webhooks' cipher. As with the vendor it is
            the API key. Webhooks are sealed with `settings.webhook_secret`: this one, filled up with "-"
            or cut where it has not 16, 24 or 32 bytes. A token is given for each of the three.
        credits: What can be spent at the start. They are locked when a job is made, deducted when it
            completes, released when it fails.
        credits_per_10s: What a job costs for each 10 s of video that were begun. The vendor's tariff is not
            published; the default ones fit all of its prices that are known.
        lipsync_credits_per_10s: The same with lip-sync.
        max_jobs: How many jobs are in progress at once; the others wait with status 1.
        rate: Requests per sandbox second that the API takes, with a burst of one second's worth; those
            above get code 1005. None for no limit.
        seed: Makes durations, failures, ids, tokens, links and voices the same in another run.
        median_seconds: Median of the jobs' lognormal durations, in sandbox seconds.
        sigma: Spread of the durations' logarithm; 0 makes them all the same.
        failure_rate: The share of jobs that end with status 4, from 0 to 1.
        time_scale: Sandbox seconds per real second. Has no meaning with a clock of one's own.
        api_version: "current" for what servers answer, "documented" for today's documentation, by which no
            language needs a voice, or "legacy" for the shapes of older servers.
        progress: How jobs show their progress: "linear", "stall", "coarse", "front", "liar" or "none".
        media: Whether videos are really inspected, and results are their copies with a subtitle track
            added (needs PyAV), or any URL will do and results only look right from outside.
        limits: What videos are taken when `media` is on; the vendor's documented limits by default.
        video_seconds: The length of every video when `media` is off.
        result_bytes: The size of a video result when `media` is off.
        token_seconds: How long a token lives, in sandbox seconds.
        result_days: How long results are kept after a job ended, in sandbox days.
        reject_duplicates: Whether a second lip-sync of one video and language is rejected with 1202.
        languages: The languages offered.
        voices: The voices offered; some for each language by default.
        webhook_attempts: How often one webhook is sent at most.
        webhook_wait: Sandbox seconds before it is sent again; twice as long each time.
        faults: What goes wrong from the start on, each a `Fault` or a text for `Fault.parse`; one alone may
            be given as it is.
        control: Whether GET /_sandbox/audit and POST and DELETE /_sandbox/faults are answered on the
            CDN's origin, for tests with the sandbox in another process; never together with `allow_remote`.
        allow_remote: Names or addresses by which other machines reach this one, the first of which is used in
            the result URLs: the consent to be served at another address than a loopback one. The
            sandbox then has to have a key of its own, and neither fetches videos from nor sends webhooks
            to addresses that are not public.
        clock: Tells the sandbox's time, such as a `FakeClock`.
    """

    def __init__(
        self,
        *,
        api_key: str = DEFAULT_API_KEY,
        client_id: str = "sandbox-client-id",
        client_secret: str | None = None,
        credits: float = 100_000.0,  # noqa: A002 - the vendor's word
        credits_per_10s: float = 2.0,
        lipsync_credits_per_10s: float = 10.0,
        max_jobs: int = 10,
        rate: float | None = None,
        seed: int = 0,
        median_seconds: float = 120.0,
        sigma: float = 0.6,
        failure_rate: float = 0.0,
        time_scale: float = 1.0,
        api_version: ApiVersion = "current",
        progress: ShapeName = "stall",
        media: bool = True,
        limits: MediaLimits | None = None,
        video_seconds: float = 16.0,
        result_bytes: int = 4096,
        token_seconds: float = 400 * 86_400.0,
        result_days: float = 7.0,
        reject_duplicates: bool = False,
        languages: Sequence[SandboxLanguage] = LANGUAGES,
        voices: Sequence[SandboxVoice] | None = None,
        webhook_attempts: int = 6,
        webhook_wait: float = 2.0,
        faults: Fault | str | Iterable[Fault | str] = (),
        control: bool = False,
        allow_remote: Sequence[str] = (),
        clock: SandboxClock | None = None,
    ) -> None:
        """Check the choices and put the parts together."""
        # Most arguments are settings of the same name; None stands for the default of the setting.
        arguments = locals()
        chosen = {name: arguments[name] for name in attrs.fields_dict(SandboxSettings)}
        settings = SandboxSettings(**{name: value for name, value in chosen.items() if value is not None})
        engine = Engine(settings, ScaledClock(time_scale) if clock is None else clock)
        authenticator = Authenticator(settings)
        self._context = SandboxContext(
            settings=settings,
            clock=engine.clock,
            engine=engine,
            authenticator=authenticator,
            audit=Audit(engine, authenticator),
            faults=FaultPlan(faults, seed=seed),
            signer=Signer(seed),
            media=media_backend(settings),
            languages=tuple(languages),
            voices=invent_voices(tuple(languages), seed=seed) if voices is None else tuple(voices),
        )
        self._results = ResultStore(self._context)

    @property
    def settings(self) -> SandboxSettings:
        """What was chosen."""
        return self._context.settings

    @property
    def clock(self) -> SandboxClock:
        """Tells the sandbox's time."""
        return self._context.clock

    @property
    def engine(self) -> Engine:
        """The jobs and credits themselves."""
        return self._context.engine

    @property
    def faults(self) -> FaultPlan:
        """What goes wrong; may be changed at any moment from any thread."""
        return self._context.faults

    @property
    def audit(self) -> Audit:
        """The truth about everything that happened."""
        return self._context.audit

    def revoke_tokens(self) -> None:
        """Make all tokens issued so far invalid: calls with them get 1101."""
        self._context.authenticator.revoke()

    @asynccontextmanager
    async def serve(
        self, host: str = "127.0.0.1", port: int = 0, cdn_port: int = 0
    ) -> AsyncIterator[SandboxServer]:
        """Serve on real sockets until the block is left; on asyncio and on trio.

        Args:
            host: The address to listen at; another than a loopback one needs `allow_remote`.
            port: The API's port, 0 for a free one.
            cdn_port: The results' port, 0 for a free one.

        Raises:
            OSError: An address can't be listened at.
            ValueError: The address is not a loopback one, and `allow_remote` is not given.
            MissingExtraError: The extra `akool-async[sandbox]` is not installed.
        """
        from akool_async.sandbox.server import Origin, ServerThread, listen

        names = self.settings.allow_remote
        # An open port with a key that everybody knows would let strangers make this machine fetch any URL.
        if not is_loopback(host) and not names:
            raise ValueError(f"serving other machines at {host} needs allow_remote, and a key of its own")
        name = names[0] if names else None
        cdn = Origin(self._guarded(Cdn(self._context, self._results)), listen(host, cdn_port), name)
        try:
            api = Origin(self._guarded(VendorApi(self._context, cdn=cdn.url)), listen(host, port), name)
        except OSError:
            cdn.socket.close()
            raise
        thread = ServerThread((api, cdn), (WebhookSender(self._context, cdn=cdn.url).run,))
        server = SandboxServer(base_url=api.url, cdn_url=cdn.url)
        if not is_loopback(host):
            logger.warning(
                "The sandbox serves other machines, without encryption: anyone who reaches %s with the key "
                "can use it. It fetches videos from and sends webhooks to public addresses only.",
                server.base_url,
            )
        try:
            await thread.start()
            yield server
        finally:
            await thread.stop()

    def run(
        self,
        host: str = "127.0.0.1",
        port: int = 8700,
        cdn_port: int = 0,
        *,
        ready: Callable[[SandboxServer], object] | None = None,
    ) -> None:
        """Serve until Ctrl-C, for a command line.

        Args:
            host: The address to listen at.
            port: The API's port, 0 for a free one.
            cdn_port: The results' port, 0 for a free one.
            ready: Called with the addresses once requests are answered.
        """

        async def serve() -> None:
            async with self.serve(host, port, cdn_port) as server:
                if ready is not None:
                    ready(server)
                await anyio.sleep_forever()

        try:
            anyio.run(serve)
        except KeyboardInterrupt:
            return

    def http_transport(self) -> httpx.AsyncBaseTransport:
        """Return a transport for httpx that reaches API and CDN inside the process.

        Webhooks are not sent: they need `serve`.
        """
        api, cdn = VendorApi(self._context, cdn=CDN_ORIGIN), Cdn(self._context, self._results)
        return InProcessTransport({API_ORIGIN: self._guarded(api), CDN_ORIGIN: self._guarded(cdn)})

    def _guarded(self, app: Application) -> Application:
        return AccessMiddleware(app, self.settings, self._context.authenticator)

    def client(self, **options: Any) -> AkoolClient:
        """Return a client of this sandbox inside the process.

        Args:
            **options: Passed on to `AkoolClient`; they win over the sandbox's own.
        """
        from akool_async._client import AkoolClient

        usual: dict[str, Any] = {"host": API_ORIGIN}
        if not {"api_key", "client_id", "client_secret"} & options.keys():
            usual["api_key"] = self.settings.api_key
        if "http_client" not in options:
            usual["http_client"] = httpx.AsyncClient(transport=self.http_transport(), trust_env=False)
        client = AkoolClient(**{**usual, **options})
        # The results' origin exists in this process only, too.
        client.session.file_transport = self.http_transport()
        return client

    def __repr__(self) -> str:
        engine = self._context.engine
        return f"<Sandbox {self.settings.api_version}, {len(engine.jobs)} jobs, {len(self.faults)} faults>"


class InProcessTransport(httpx.AsyncBaseTransport):
    """Takes requests for `API_ORIGIN` and `CDN_ORIGIN` to the applications; nobody else is there.

    Faults of the connection come out as the httpx errors that a real one would give.
    """

    def __init__(self, apps: Mapping[str, Application]) -> None:
        self._apps = apps
        self._calls = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request.

        Raises:
            httpx.ConnectError: The request is for another origin.
            httpx.ReadError: A fault reset the connection.
            httpx.ReadTimeout: No answer within the request's read time-out.
            httpx.RemoteProtocolError: A fault broke the protocol.
        """
        app = self._apps.get(f"{request.url.scheme}://{request.url.netloc.decode()}")
        # Nothing leaves the process: a wrong URL in a test reaches, and pays, nobody.
        if app is None:
            raise httpx.ConnectError("no such origin in the sandbox", request=request)
        self._calls += 1
        call = _Call(self._calls, await request.aread(), request.extensions.get("timeout", {}).get("read"))
        scope = {
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
            "client": ("127.0.0.1", call.number),
            "state": {CONNECTION: call},
        }
        with call.reading:
            await app(scope, call.receive, call.send)
        if call.reading.cancelled_caught:
            raise httpx.ReadTimeout("the sandbox did not answer in time", request=request)
        if call.status is None:
            raise call.error or httpx.RemoteProtocolError("no answer", request=request)
        if request.method == "HEAD":
            call.parts.clear()
        return httpx.Response(call.status, headers=call.headers, stream=call, request=request)


class _Call(httpx.AsyncByteStream):
    """One request on an imagined connection of its own, and its answer, which may end in an error."""

    def __init__(self, number: int, body: bytes, timeout: float | None) -> None:
        self.number = number
        self.requests = 0
        self.status: int | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.parts: list[bytes] = []
        self.error: httpx.TransportError | None = None
        self.reading = anyio.CancelScope()
        self._body: bytes | None = body
        self._timeout = timeout
        self._gone = anyio.Event()
        self._postpone()

    def _postpone(self) -> None:
        if self._timeout is not None:
            self.reading.deadline = anyio.current_time() + self._timeout

    async def receive(self) -> MutableMapping[str, Any]:
        if self._body is None:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        await anyio.lowlevel.checkpoint()
        self._postpone()  # a read time-out counts from the last piece of the answer
        if self.broken:
            return
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        elif message.get("body"):
            self.parts.append(message["body"])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            yield part
        if self.error is not None:
            raise self.error

    @property
    def broken(self) -> bool:
        return self.error is not None

    def reset(self) -> None:
        self._break(httpx.ReadError("connection reset by the sandbox"))

    def close(self) -> None:
        self._break(httpx.RemoteProtocolError("the sandbox closed the connection too early"))

    def raw(self, data: bytes) -> None:
        self._break(httpx.RemoteProtocolError(f"the sandbox sent {len(data)} bytes that are no HTTP"))

    def _break(self, error: httpx.TransportError) -> None:
        self.error = self.error or error
        self._gone.set()
