"""The connection under a request, as far as faults have to reach it.

`SocketLine` is the real one and breaks it for real; the one for calls inside the process lives in
`inprocess`. An application finds its line in the ASGI scope's state under `LINE`.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["LINE", "Line", "SocketLine"]

LINE: Final = "line"
_LINGER_NOT: Final = struct.pack("ii", 1, 0)


class Line(Protocol):
    """One connection."""

    number: int
    """Counted from 1 per origin."""
    requests: int
    """How many requests have come over it, the one under way included."""

    @property
    def broken(self) -> bool:
        """Whether nothing can be sent over it any more."""
        ...

    def reset(self) -> None:
        """Break the connection at once; the other side sees a reset."""

    def close(self) -> None:
        """Send what was written, then end the connection."""

    def raw(self, data: bytes) -> None:
        """Write bytes as they are, past HTTP."""


class SocketLine:
    """A TCP connection of the server.

    Args:
        protocol: The server's side of the connection.
        number: Its number.
    """

    def __init__(self, protocol: H11Protocol, number: int) -> None:
        """Begin without requests."""
        self._protocol = protocol
        self.number = number
        self.requests = 0

    @property
    def broken(self) -> bool:
        """Whether the transport is closing or closed."""
        return self._protocol.transport.is_closing()

    def reset(self) -> None:
        """Close with SO_LINGER 0, which makes the kernel send RST."""
        transport = self._protocol.transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        transport.abort()

    def close(self) -> None:
        """Flush, then close."""
        self._protocol.transport.close()

    def raw(self, data: bytes) -> None:
        """Write past HTTP."""
        self._protocol.transport.write(data)
