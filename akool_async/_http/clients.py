"""Which httpx client a call goes out by: the fast pool, a plain pool, or a connection of its own."""

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
"""Exchanges at once through httpx's own pool, which slows down badly with more than some 20."""

MAX_FAST_CONNECTIONS: Final = 32
"""Exchanges at once, and connections kept, through the fast pool."""


@attrs.frozen
class HttpClients:
    """Two httpx clients and how many exchanges may be under way on the first.

    Attributes:
        repeatable: for calls that may be sent again.
        paid: for the paid POST.
        most: exchanges at once on `repeatable`.
        fragile: a request of `repeatable` that is cancelled while it connects would block a place
            in its pool for good, so it must not be.
        owned: whether both were built here: then they are closed here, and errors of `repeatable` are
            known to say truly whether a request left.
    """

    reads: httpx.AsyncClient
    creates: httpx.AsyncClient
    max_concurrency: int
    cancel_unsafe: bool
    owned: bool

    async def __aenter__(self) -> Self:
        """Nothing is opened before it is used."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what was built here; a client that was handed in stays open."""
        if self.owned:
            with anyio.CancelScope(shield=True):
                await self.reads.aclose()
                await self.creates.aclose()


def from_user_client(client: httpx.AsyncClient) -> HttpClients:
    """Send everything by the caller's own client."""
    return HttpClients(
        reads=client, creates=client, max_concurrency=MAX_PLAIN_CONNECTIONS, cancel_unsafe=True, owned=False
    )


def create_clients(origin: str, transport: TransportName) -> HttpClients:
    """Build the clients for `origin`: fast where it can be, plain where it has to be."""
    host = urlsplit(origin).hostname or ""
    local = is_loopback(host)
    context = _context(origin, trust_env=not local)
    paid = _plain(context, trust_env=not local, keep=0, most=None)
    if transport == "plain" or under_trio() or _proxied(origin, host, local=local):
        plain = _plain(context, trust_env=not local, keep=MAX_PLAIN_CONNECTIONS, most=MAX_PLAIN_CONNECTIONS)
        return HttpClients(
            reads=plain, creates=paid, max_concurrency=MAX_PLAIN_CONNECTIONS, cancel_unsafe=True, owned=True
        )
    return HttpClients(
        reads=_fast(context),
        creates=paid,
        max_concurrency=MAX_FAST_CONNECTIONS,
        cancel_unsafe=False,
        owned=True,
    )


def _fast(context: ssl.SSLContext) -> httpx.AsyncClient:
    from akool_async._http.aiohttp_transport import FastAiohttpClient

    return FastAiohttpClient(context=context, connections=MAX_FAST_CONNECTIONS)


def _plain(context: ssl.SSLContext, *, trust_env: bool, keep: int, most: int | None) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=most, max_keepalive_connections=keep)
    return httpx.AsyncClient(verify=context, limits=limits, trust_env=trust_env)


def _context(origin: str, *, trust_env: bool) -> ssl.SSLContext:
    """One TLS context for all clients: loading the certificates is what makes building slow."""
    if origin.startswith("https:"):
        return httpx.create_ssl_context(trust_env=trust_env)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _proxied(origin: str, host: str, *, local: bool) -> bool:
    if local:
        return False
    proxies = getproxies()
    scheme = urlsplit(origin).scheme
    return bool(proxies.get(scheme) or proxies.get("all")) and not proxy_bypass(host)


def under_trio() -> bool:
    """Whether the running event loop is trio's."""
    return anyio.get_cancelled_exc_class().__module__.partition(".")[0] == "trio"
