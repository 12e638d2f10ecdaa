"""The httpx clients: a fast or a plain pool for repeatable calls, fresh connections for the paid POST."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import anyio
import attrs
import httpx

from akool_async._model.credentials import is_loopback

TransportName: TypeAlias = Literal["auto", "plain"]
MAX_PLAIN_CONNECTIONS: Final = 16
"""Concurrent exchanges through httpx's own pool, which becomes very slow above about 20."""

MAX_FAST_CONNECTIONS: Final = 32
"""Concurrent exchanges, and connections kept, in the fast pool."""


@attrs.frozen
class HttpClients:
    """Two httpx clients and their limits.

    Attributes:
        reads: for calls that may be repeated.
        creates: for the paid POST.
        max_concurrency: the largest number of concurrent exchanges on `reads`.
        cancel_unsafe: whether cancelling a request of `reads` while it connects would block a slot of its
            pool for good, so that it must be finished instead.
        owned: whether both were built here: then they are closed here, and the error types of `reads` say
            reliably whether a request was sent.
    """

    reads: httpx.AsyncClient
    creates: httpx.AsyncClient
    max_concurrency: int
    cancel_unsafe: bool
    owned: bool

    async def __aenter__(self) -> Self:
        """Open nothing: connections are made on first use."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the clients that were built here; a client of the caller stays open."""
        if self.owned:
            with anyio.CancelScope(shield=True):
                await self.reads.aclose()
                await self.creates.aclose()


def from_user_client(client: httpx.AsyncClient) -> HttpClients:
    """Return clients that send everything with the caller's own client."""
    return HttpClients(
        reads=client, creates=client, max_concurrency=MAX_PLAIN_CONNECTIONS, cancel_unsafe=True, owned=False
    )


def create_clients(origin: str, transport: TransportName) -> HttpClients:
    """Build the clients for `origin`: fast if possible, plain under trio, behind a proxy or if asked for."""
    host = urlsplit(origin).hostname or ""
    local = is_loopback(host)
    # One TLS context for all clients: loading the certificates is what makes building slow.
    if origin.startswith("https:"):
        context = httpx.create_ssl_context(trust_env=not local)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # keep=0: a paid POST on a kept connection could meet a reset, with no proof that it was not sent.
    paid = _plain(context, trust_env=not local, keep=0, most=None)
    proxies = {} if local else getproxies()
    proxied = bool(proxies.get(urlsplit(origin).scheme) or proxies.get("all")) and not proxy_bypass(host)
    if transport == "plain" or under_trio() or proxied:
        plain = _plain(context, trust_env=not local, keep=MAX_PLAIN_CONNECTIONS, most=MAX_PLAIN_CONNECTIONS)
        return HttpClients(
            reads=plain, creates=paid, max_concurrency=MAX_PLAIN_CONNECTIONS, cancel_unsafe=True, owned=True
        )
    from akool_async._http.aiohttp_transport import FastAiohttpClient  # aiohttp loads with the first client

    return HttpClients(
        reads=FastAiohttpClient(context=context, connections=MAX_FAST_CONNECTIONS),
        creates=paid,
        max_concurrency=MAX_FAST_CONNECTIONS,
        cancel_unsafe=False,
        owned=True,
    )


def _plain(context: ssl.SSLContext, *, trust_env: bool, keep: int, most: int | None) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=most, max_keepalive_connections=keep)
    return httpx.AsyncClient(verify=context, limits=limits, trust_env=trust_env)


def under_trio() -> bool:
    """Return whether the running event loop is trio's."""
    return anyio.get_cancelled_exc_class().__module__.partition(".")[0] == "trio"
