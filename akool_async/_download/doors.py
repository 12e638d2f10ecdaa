"""Connections to file hosts: a name is resolved once, and what it resolves to is looked at before it is used.

TLS and the Host header keep the name; only the address underneath is ours to choose.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any, Final

import anyio
import httpcore

from akool_async._core.errors import DownloadFailed
from akool_async._core.host import is_loopback
from akool_async._download.addresses import is_local, is_public, literal

_TURNED_AWAY = "It was not connected to: a result of the vendor does not lie there."

_PATIENCE: Final = 10.0
"""Seconds for asking what the API host's name stands for."""


class Doors(httpcore.AsyncNetworkBackend):
    """Opens connections to public addresses, or to any where the API host itself is not public.

    Args:
        api_host: the API's host; one on this machine or in a private network, such as a sandbox, may
            have its files there too.
    """

    def __init__(self, api_host: str) -> None:
        self._api_host = api_host
        self._network: httpcore.AsyncNetworkBackend = httpcore.AnyIOBackend()
        self._anywhere: bool | None = True if is_loopback(api_host) or is_local(api_host) else None

    @property
    def anywhere(self) -> bool:
        """Whether addresses that are not public are known to be allowed."""
        return bool(self._anywhere)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to one of the addresses that `host` has.

        Raises:
            DownloadFailed: it has one that no file host of the vendor can have.
            httpcore.ConnectError: none of them answers.
        """
        addresses = await _resolved(host, port, timeout)
        if not all(map(_is_public, addresses)):
            await self._refuse_unless_private(host)
        share = None if timeout is None else max(timeout / len(addresses), 1.0)
        error: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                stream = await self._network.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                error = failed
                continue
            await _check_peer(stream, address, host)
            return stream
        raise error

    async def _refuse_unless_private(self, host: str) -> None:
        if self._anywhere is None:
            self._anywhere = await _is_private(self._api_host)
        if not self._anywhere:
            raise DownloadFailed(f"The file host {host} has an address that is not public. {_TURNED_AWAY}")

    async def sleep(self, seconds: float) -> None:
        """Wait, for httpcore's own retries."""
        await anyio.sleep(seconds)


def _is_public(address: str) -> bool:
    parsed = literal(address)
    return parsed is not None and is_public(parsed)


async def _resolved(host: str, port: int, seconds: float | None) -> list[str]:
    if literal(host) is not None:
        return [host]
    try:
        with anyio.fail_after(seconds):
            found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError as error:
        raise httpcore.ConnectTimeout(f"{host} was not resolved in time") from error
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} could not be resolved") from error
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


async def _is_private(api_host: str) -> bool:
    """Whether the API host's name stands for addresses that are not public, as in a company's network."""
    try:
        addresses = await _resolved(api_host, 443, _PATIENCE)
    except (httpcore.ConnectError, httpcore.ConnectTimeout):
        return False
    return bool(addresses) and not any(map(_is_public, addresses))


async def _check_peer(stream: httpcore.AsyncNetworkStream, address: str, host: str) -> None:
    """Make sure that who answers is who was asked."""
    peer = stream.get_extra_info("server_addr")
    if peer is not None and literal(str(peer[0])) != literal(address):
        await stream.aclose()
        raise DownloadFailed(f"The connection to the file host {host} led to another address.")
