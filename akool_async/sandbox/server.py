"""The sandbox on real sockets: two origins served by uvicorn in a thread with an event loop of its own.

Works the same whatever event loop the caller runs, or none. Nothing here knows the vendor.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Sequence
from itertools import count
from typing import Any, Final, TypeAlias

import anyio
import attrs
from anyio import to_thread
from anyio.from_thread import BlockingPortal
from anyio.lowlevel import checkpoint

from akool_async._environment import needs_extra
from akool_async.sandbox.http import CONNECTION, Application

with needs_extra("sandbox", "Sandboxes on sockets"):
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol
    from uvicorn.server import ServerState

Worker: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
_STOP_TIMEOUT: Final = 2.0
_KEEP_ALIVE: Final = 3600
_START: Final = 30.0
_BACKLOG: Final = 2048
_ACCEPTING: Final = 5
"""Turns of the event loop after which what was accepted last is known as a connection; it needs three."""


class _Config(uvicorn.Config):
    def __init__(self, app: Application) -> None:
        super().__init__(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            loop="asyncio",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEEP_ALIVE,
        )
        self.connections = count(1)


class _Protocol(H11Protocol):
    """HTTP/1.1 that puts a handle of the connection into each request's scope."""

    def __init__(
        self, config: _Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None
    ) -> None:
        connection = _SocketConnection(self, next(config.connections))
        super().__init__(config, server_state, {**app_state, CONNECTION: connection}, _loop)
        # uvicorn asks the logger and not its own setting: with a root logger at INFO each request's path
        # would be logged, and that of a result holds the token that opens it.
        self.access_log = False


class _SocketConnection:
    def __init__(self, protocol: H11Protocol, number: int) -> None:
        self._protocol = protocol
        self.number = number
        self.requests = 0

    @property
    def broken(self) -> bool:
        return self._protocol.transport.is_closing()

    def reset(self) -> None:
        transport = self._protocol.transport
        # An SO_LINGER of 0 seconds makes the kernel send RST instead of FIN.
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()

    def close(self) -> None:
        self._protocol.transport.close()

    def raw(self, data: bytes) -> None:
        self._protocol.transport.write(data)


class _Server(uvicorn.Server):
    """A server that stops at once when `stop` is set, instead of looking ten times a second."""

    def __init__(self, config: _Config) -> None:
        super().__init__(config)
        self.stop = anyio.Event()

    async def main_loop(self) -> None:
        """Serve until `stop` is set."""
        await self.stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close everything and break what is still under way."""
        await accept_no_more(self)
        for server in self.servers:
            server.close()
        for one in sockets or ():
            one.close()
        with anyio.move_on_after(_STOP_TIMEOUT):
            # uvicorn tells nobody when its last task ends.
            while self.server_state.tasks or self.server_state.connections:
                for connection in list(self.server_state.connections):
                    connection.transport.abort()
                await anyio.sleep(0.001)
        for task in list(self.server_state.tasks):
            task.cancel()


async def accept_no_more(server: uvicorn.Server) -> None:
    """Let what a server accepted become connections: one of asyncio that closes first leaves them open."""
    for listening in server.servers:
        for one in listening.sockets:
            listening.get_loop().remove_reader(one.fileno())
    for _ in range(_ACCEPTING):
        await checkpoint()


@attrs.frozen
class Origin:
    """An application and the listening socket at which it is served."""

    app: Application
    socket: socket.socket
    name: str | None = None
    """The host in its URL; None for the address of the socket."""

    @property
    def url(self) -> str:
        """The origin's address, such as "http://127.0.0.1:8000"."""
        address, port = self.socket.getsockname()[:2]
        host = self.name or address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Raises:
        OSError: The address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, connections get TCP_NODELAY; without, each answer waits 40 ms for an ACK.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


class ServerThread:
    """A daemon thread that serves some origins, with workers beside them that run until it stops."""

    def __init__(self, origins: Sequence[Origin], workers: Sequence[Worker]) -> None:
        self._origins = origins
        self._workers = workers
        self._running = threading.Event()
        self._portal: BlockingPortal | None = None
        self._servers: list[_Server] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)

    async def start(self) -> None:
        """Start serving; returns when requests are answered."""
        self._thread.start()
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._running.wait, _START)
        if self._error is not None:
            raise RuntimeError("the sandbox could not be started") from self._error

    async def stop(self) -> None:
        """Stop serving; returns when the thread has ended."""
        if self._portal is not None and self._thread.is_alive():
            for server in self._servers:
                self._portal.start_task_soon(server.stop.set)
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._thread.join)
        for origin in self._origins:
            origin.socket.close()
        if self._error is not None:
            raise RuntimeError("the sandbox broke down") from self._error

    def _run(self) -> None:
        try:
            anyio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - raised again by `start` and `stop`
            self._error = error
        finally:
            self._running.set()

    async def _main(self) -> None:
        self._servers = [_Server(_Config(origin.app)) for origin in self._origins]
        async with BlockingPortal() as self._portal, anyio.create_task_group() as workers:
            for worker in self._workers:
                workers.start_soon(worker)
            async with anyio.create_task_group() as servers:
                for server, origin in zip(self._servers, self._origins, strict=True):
                    servers.start_soon(server.serve, [origin.socket])
                # uvicorn tells nobody when it has started.
                while not all(server.started for server in self._servers):  # noqa: ASYNC110
                    await anyio.sleep(0.0005)
                self._running.set()
            workers.cancel_scope.cancel()
