"""A receiver on a socket of its own that strangers can reach: time limits, and a limit of connections."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from akool_async._environment import needs_extra
from akool_async.webhook.receiver import WebhookReceiver

with needs_extra("sandbox", "Receivers on a socket of their own"):
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_TIMEOUT: Final = 10.0
"""Seconds in which the headers of a request have to arrive. The receiver limits the time of the body."""

IDLE_TIMEOUT: Final = 5
"""Seconds in which the next request of a connection has to begin."""

MAX_CONNECTIONS: Final = 512
"""Open connections, below the usual limit of 1,024 files of a process."""


def serve(receiver: WebhookReceiver, listening: socket.socket, *, on_ready: Callable[[], None]) -> None:
    """Serve a receiver on a listening socket until SIGINT, SIGTERM or SIGHUP."""

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            on_ready()

    config = uvicorn.Config(
        receiver,
        http=LimitedProtocol,
        ws="none",
        timeout_keep_alive=IDLE_TIMEOUT,
        timeout_graceful_shutdown=IDLE_TIMEOUT,
        log_config=None,
        log_level="error",  # a stranger can cause a warning with each request
        access_log=False,  # paths hold tokens
        server_header=False,
        lifespan="on",
        proxy_headers=False,  # nothing here depends on who the sender says it is
    )
    server = Server(config)
    if threading.current_thread() is threading.main_thread():
        # Uvicorn does not know SIGHUP, and raises SIGTERM again after it has stopped, which would end the
        # process without a word. What is ignored stays so, as under nohup.
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, server.handle_exit)
    with suppress(KeyboardInterrupt):  # uvicorn raises Ctrl-C again too
        server.run(sockets=[listening])


class LimitedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, which limits neither the time of the headers nor the number of connections.

    uvicorn's own `limit_concurrency` answers everyone with 503 while strangers hold the connections.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # uvicorn asks the logger and not its own setting, and another server in this process may have
        # turned the logger on: each path would be logged, with the token that makes a callback believable.
        self.access_log = False
        self._header_timer: Any = None
        self._waits_since = 0.0

    @property
    def waits_since(self) -> float | None:
        """When it began to wait for a request, None while it answers one."""
        return self._waits_since if self.cycle is None or self.cycle.response_complete else None

    def connection_made(self, transport: Any) -> None:
        """Accept a connection; one too many costs the one that has waited longest, or is itself ended."""
        super().connection_made(transport)
        self._waits_since = self.loop.time()
        self._limit_headers()
        if len(self.connections) > MAX_CONNECTIONS:
            others = [one for one in self.connections if isinstance(one, LimitedProtocol)]
            longest = min(
                others, key=lambda one: float("inf") if one.waits_since is None else one.waits_since
            )
            longest.transport.abort()
            self.connections.discard(longest)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        super().data_received(data)
        self._limit_headers()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._waits_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        if self._header_timer is not None:
            self._header_timer.cancel()

    def _limit_headers(self) -> None:
        if self.waits_since is None:
            if self._header_timer is not None:
                self._header_timer.cancel()
            self._header_timer = None
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_TIMEOUT, self.transport.abort)
