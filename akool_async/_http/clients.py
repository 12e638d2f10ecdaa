"""What sends to the API host: a fast or plain pool for repeatable calls, new connections for paid POSTs."""

from __future__ import annotations

import ssl
from functools import cache
from typing import Final, Literal, TypeAlias

import anyio
import attrs
import httpx

from akool_async._background import runs_on_trio
from akool_async._environment import EnvironmentProxy, proxy_for, tls_context
from akool_async._http.senders import HttpxSender, Sender
from akool_async._model.errors import ConfigurationError

TransportName: TypeAlias = Literal["auto", "plain"]
MAX_PLAIN_CONNECTIONS: Final = 16
"""Concurrent exchanges through httpx's own pool, which becomes very slow above about 20."""

MAX_FAST_CONNECTIONS: Final = 32
"""Concurrent exchanges, and connections kept, in the fast pool."""


@attrs.frozen
class HttpClients:
    """Two senders and their limits.

    Attributes:
        reads: for calls that may be repeated.
        creates: for the paid POST.
        max_concurrency: the largest number of concurrent exchanges on `reads`.
        cancel_unsafe: whether cancelling a request of `reads` while it connects would block a slot of its
            pool for good, so that it must be finished instead.
        proxy: what `reads` and `creates` connect to instead of the API host.
        owned: whether both were built here: then they are closed here, and the error types of `reads` say
            reliably whether a request was sent.
    """

    reads: Sender
    creates: HttpxSender
    max_concurrency: int
    cancel_unsafe: bool
    owned: bool
    proxy: EnvironmentProxy | None = None

    async def aclose(self) -> None:
        """Close the clients that were built here; a client of the caller stays open."""
        if self.owned:
            with anyio.CancelScope(shield=True):
                await self.reads.aclose()
                await self.creates.aclose()


def from_user_client(client: httpx.AsyncClient, origin: str) -> HttpClients:
    """Return clients that send everything to `origin` with the caller's own client."""
    if client.is_closed:
        raise ConfigurationError("http_client is closed; open the AkoolClient before you close it.")
    sender = HttpxSender(client, origin=origin, user_agent=user_agent(), own=False)
    # Nothing is known of the caller's transport, so its errors prove nothing, and no request of it is torn.
    return HttpClients(
        reads=sender, creates=sender, max_concurrency=MAX_PLAIN_CONNECTIONS, cancel_unsafe=True, owned=False
    )


def create_clients(origin: str, transport: TransportName) -> HttpClients:
    """Build the clients for `origin`: fast if possible, plain under trio, behind a proxy or if asked for.

    Raises:
        ConfigurationError: the environment names a proxy or certificates that can't be used.
    """
    # One TLS context for all clients: loading the certificates is what makes building slow.
    context = tls_context() if origin.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    proxy = proxy_for(origin)
    # keep=0: a paid POST on a kept connection could meet a reset, with no proof that it was not sent.
    paid = _plain(origin, context, proxy, keep=0, most=None)
    if transport == "plain" or runs_on_trio() or proxy is not None:
        return HttpClients(
            reads=_plain(origin, context, proxy, keep=MAX_PLAIN_CONNECTIONS, most=MAX_PLAIN_CONNECTIONS),
            creates=paid,
            max_concurrency=MAX_PLAIN_CONNECTIONS,
            cancel_unsafe=True,
            owned=True,
            proxy=proxy,
        )
    from akool_async._http.aiohttp_sender import AiohttpSender  # aiohttp loads with the first client

    return HttpClients(
        reads=AiohttpSender(
            origin=origin, user_agent=user_agent(), context=context, connections=MAX_FAST_CONNECTIONS
        ),
        creates=paid,
        max_concurrency=MAX_FAST_CONNECTIONS,
        cancel_unsafe=False,
        owned=True,
    )


def _plain(
    origin: str, context: ssl.SSLContext, proxy: EnvironmentProxy | None, *, keep: int, most: int | None
) -> HttpxSender:
    limits = httpx.Limits(max_connections=most, max_keepalive_connections=keep)
    # trust_env=False: the environment was read already, and it must not add a netrc's credentials either.
    url = None if proxy is None else proxy.url
    client = httpx.AsyncClient(verify=context, limits=limits, trust_env=False, proxy=url)
    return HttpxSender(client, origin=origin, user_agent=user_agent(), own=True)


@cache
def user_agent() -> str:
    """Return the name of this program with its version, where it is installed."""
    from importlib.metadata import PackageNotFoundError, version  # late: it takes as long as all of attrs

    try:
        return f"akool-async/{version('akool-async')}"
    except PackageNotFoundError:
        return "akool-async"
