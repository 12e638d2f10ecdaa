"""Who may reach the sandbox, and what it may reach: hosts, web pages, addresses; with the request log."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpcore
import httpx

from akool_async._download.network import FileTransport, PublicAddressBackend, parse_ip
from akool_async._environment import is_loopback
from akool_async._model.errors import DownloadError
from akool_async.sandbox.auth import Authenticator
from akool_async.sandbox.http import CONTROL, LOGGED, Application, Message, Receive, Scope, Send
from akool_async.sandbox.settings import DEFAULT_API_KEY, SandboxSettings

logger: Final[logging.Logger] = logging.getLogger("akool_async.sandbox")
_PUBLIC: Final = "1.1.1.1"
"""An API host for which addresses that are not public are refused. It is never connected to."""

_LOCAL_NAMES: Final = frozenset({"localhost", "host.docker.internal"})
_PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
    (b"access-control-allow-headers", b"authorization, content-type, range, x-api-key"),
    (b"access-control-max-age", b"600"),
    (b"vary", b"origin"),
)


class AccessMiddleware:
    """Guards an origin: checks the Host header, answers browsers, and logs each request without secrets."""

    def __init__(self, app: Application, settings: SandboxSettings, authenticator: Authenticator) -> None:
        self._app = app
        self._settings = settings
        self._authenticator = authenticator
        self._names = _LOCAL_NAMES | {name.lower() for name in settings.allow_remote}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let the application do so."""
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1")
        # A page needs the key to do anything; but the default one is known to every page.
        shared = origin and (self._settings.api_key != DEFAULT_API_KEY or is_loopback(_host_of(origin)))
        shared = shared and not scope["path"].startswith(CONTROL)
        cors = [(b"access-control-allow-origin", b"*")] if shared else []
        status: int | None = None

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *cors]
            await send(message)

        host = _host_of("//" + headers.get(b"host", b"").decode("latin-1"))
        # A page of another site can make its own name lead to this machine, and then is no other site for the
        # browser. With an address it can't.
        is_ours = host in self._names or host.endswith(".localhost")
        try:
            if not is_ours and parse_ip(host) is None:
                await _answer(
                    send_on,
                    421,
                    b"This sandbox is not served under that name. Allow it with --allow-remote.\n",
                )
            elif scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
                await _answer(send_on, 204, b"", _PREFLIGHT)
            else:
                await self._app(scope, receive, send_on)
        finally:
            if logger.isEnabledFor(logging.DEBUG):
                self._log(scope, status)

    def _log(self, scope: Scope, status: int | None) -> None:
        settings, path = self._settings, scope["path"]
        # A client that takes a key for a path must not have it printed here.
        secrets = (
            settings.api_key,
            settings.client_secret,
            settings.webhook_secret,
            *self._authenticator.issued,
        )
        shown = "[redacted]" if any(secret in path for secret in secrets) else quote(path)
        said = [f"{scope['method']} {shown} {status or 'no answer'}"]
        logged: dict[str, Any] = scope["state"].get(LOGGED, {})
        said += [f"{name} {logged[name]}" for name in ("code", "fault") if logged.get(name)]
        logger.debug("%s", ", ".join(said))


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


async def _answer(send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    length = (b"content-length", str(len(body)).encode())
    plain = (b"content-type", b"text/plain")
    await send({"type": "http.response.start", "status": status, "headers": [*headers, plain, length]})
    await send({"type": "http.response.body", "body": body})


def outgoing_client(
    settings: SandboxSettings, *, timeout: float, tls: ssl.SSLContext | None = None
) -> httpx.AsyncClient:
    """Return a client for videos and webhooks, which without `allow_remote` may be on this machine too."""
    verify = httpx.create_ssl_context(trust_env=False) if tls is None else tls
    # Else anyone who reaches the sandbox could reach the inner network through it.
    transport = FileTransport(_PublicOnly(_PUBLIC), verify) if settings.allow_remote else None
    return httpx.AsyncClient(trust_env=False, verify=verify, transport=transport, timeout=timeout)


class _PublicOnly(PublicAddressBackend):
    async def connect_tcp(self, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        try:
            return await super().connect_tcp(*args, **options)
        except DownloadError as error:
            raise httpcore.ConnectError("the address is not public") from error
