"""What goes wrong in an exchange, down to the byte."""

from __future__ import annotations

import gzip
import json
import re
import signal
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

REASONS = {200: "OK", 206: "Partial Content", 404: "Not Found", 416: "Range Not Satisfiable", 429: "Too Many"}
Shape = Callable[[int, bytes], bytes]
"""Turns status and body into what goes over the wire."""


def head(status: int, *lines: str, version: str = "HTTP/1.1") -> bytes:
    return "\r\n".join([f"{version} {status} {REASONS.get(status, 'Other')}", *lines, "\r\n"]).encode()


def with_length(status: int, body: bytes) -> bytes:
    return head(status, "Content-Type: application/json", f"Content-Length: {len(body)}") + body


def longer_than_said(status: int, body: bytes) -> bytes:
    """Say that the body is 20 bytes shorter than it is."""
    return head(status, "Content-Type: application/json", f"Content-Length: {len(body) - 20}") + body


def shorter_than_said(status: int, body: bytes) -> bytes:
    return head(status, "Content-Type: application/json", f"Content-Length: {len(body) + 20}") + body


def two_lengths(status: int, body: bytes) -> bytes:
    return head(status, f"Content-Length: {len(body)}", f"Content-Length: {len(body) + 5}") + body


def senseless_length(status: int, body: bytes) -> bytes:
    return head(status, "Content-Length: -7") + body


def http_1_0(status: int, body: bytes) -> bytes:
    """The end of the connection is the end of the body."""
    return head(status, "Content-Type: application/json", version="HTTP/1.0") + body


def chunked(status: int, body: bytes, *, size: int = 40) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    sent = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return head(status, "Content-Type: application/json", "Transfer-Encoding: chunked") + sent + b"0\r\n\r\n"


def bad_chunk(status: int, body: bytes) -> bytes:
    """The last chunk's size is not a number."""
    whole = chunked(status, body)
    return whole.removesuffix(b"0\r\n\r\n") + b"oops\r\n\r\n"


def no_last_chunk(status: int, body: bytes) -> bytes:
    return chunked(status, body).removesuffix(b"0\r\n\r\n")


def zipped(status: int, body: bytes) -> bytes:
    packed = gzip.compress(body)
    return head(status, "Content-Encoding: gzip", f"Content-Length: {len(packed)}") + packed


def bad_checksum(status: int, body: bytes) -> bytes:
    packed = gzip.compress(body)
    packed = packed[:-8] + bytes(byte ^ 0xFF for byte in packed[-8:])
    return head(status, "Content-Encoding: gzip", f"Content-Length: {len(packed)}") + packed


def called_zipped(status: int, body: bytes) -> bytes:
    """Plain text that a header calls gzip."""
    return head(status, "Content-Encoding: gzip", f"Content-Length: {len(body)}") + body


def after_early_hints(status: int, body: bytes) -> bytes:
    return head(103, "Link: </style.css>") + head(102) + with_length(status, body)


def switches_protocols(status: int, body: bytes) -> bytes:
    return head(101, "Upgrade: websocket", "Connection: Upgrade") + with_length(status, body)


def twice(status: int, body: bytes) -> bytes:
    return with_length(status, body) * 2


def not_http(status: int, body: bytes) -> bytes:
    return b"\x16\x03\x01\x02\x00 this is not HTTP\r\n" + body


@dataclass(frozen=True, kw_only=True)
class Strike:
    """Signals to the client's process in the middle of an exchange.

    Attributes:
        signals: sent one after the other.
        moment: "read" when `byte` bytes of the request were read, "made" when its job was made, "sent" when
            `byte` bytes of the answer were sent.
        byte: counted from 0; a number beyond the end means the end.
        pause: seconds between the moment and the first signal, in which the vendor does nothing.
        gap: seconds between two signals.
        thaw: seconds after the answer was sent at which a stopped client continues.
    """

    signals: tuple[int, ...] = (signal.SIGKILL,)
    moment: str = "sent"
    byte: int = 0
    pause: float = 0.0
    gap: float = 0.0
    thaw: float | None = None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong, and in which exchanges.

    Attributes:
        on: the kind of exchange: create, status, token, credit, languages, voices, file.
        skip: exchanges of this kind that go well before.
        times: exchanges that it happens to; None for all that follow.
        stop_reading: bytes of the request after which the vendor reads no more and makes nothing.
        makes: whether a create makes jobs.
        status: HTTP status of the answer.
        change: makes another envelope, or the bytes of a body, of the envelope.
        shape: makes bytes on the wire of status and body.
        until: what has to have happened before the answer's first byte is sent.
        delay: seconds between that and the first byte.
        cut: bytes of the answer that are sent at all.
        end: what becomes of the connection: "keep", "fin" or "rst".
        strike: what happens to the client meanwhile.
    """

    on: str = "create"
    skip: int = 0
    times: int | None = 1
    stop_reading: int | None = None
    makes: bool = True
    status: int = 200
    change: Callable[[dict[str, Any]], dict[str, Any] | bytes] | None = None
    shape: Shape = with_length
    until: Callable[[], object] | None = None
    delay: float = 0.0
    cut: int | None = None
    end: str = "keep"
    strike: Strike | None = None

    def body(self, envelope: dict[str, Any]) -> bytes:
        changed = envelope if self.change is None else self.change(envelope)
        return changed if isinstance(changed, bytes) else json.dumps(changed).encode()


NO_FAULT = Fault()


def readable_text(wire: bytes) -> bytes:
    """Return what a patient reader finds in the first bytes of an answer: unpacked, without chunk sizes."""
    while wire.startswith(b"HTTP/1.1 1"):
        wire = wire.partition(b"\r\n\r\n")[2]
    lines, blank, body = wire.partition(b"\r\n\r\n")
    if not blank:
        return wire
    if b"chunked" in lines.lower():
        body = re.sub(rb"\r\n[0-9a-f]+\r\n", b"", b"\r\n" + body)
    if b"content-encoding: gzip" in lines.lower():
        unpacker, pieces = zlib.decompressobj(wbits=31), []
        try:
            for byte in body:  # one by one: what comes before a bad checksum can be read
                pieces.append(unpacker.decompress(bytes([byte])))
        except zlib.error:
            pass
        return b"".join(pieces) or body
    return body
