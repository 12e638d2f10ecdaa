"""What faults of the connection and the body do to an API answer.

Each takes the exchange, the fault and the endpoint's envelope, None when the request had no effect,
and sends something, or breaks the connection, in its place.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from akool_async.sandbox.faults import Fault, FaultKind
from akool_async.sandbox.http import Answer, Headers, HttpExchange
from akool_async.sandbox.response_schema import envelope, refusal

Envelope: TypeAlias = "dict[str, Any] | None"
Distortion: TypeAlias = Callable[[HttpExchange, Fault, Envelope], Awaitable[None]]
JSON: Final[Headers] = ((b"content-type", b"application/json; charset=utf-8"),)
HTML: Final[Headers] = ((b"content-type", b"text/html; charset=utf-8"),)
NOISE: Final = b"\x00\x01\x16\x03noise, not HTTP\r\n\r\n\xff\xfe"
_HUGE: Final = 5 * 2**20


def encode(content: object) -> bytes:
    """Return compact JSON."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def page(title: str) -> bytes:
    """Return a HTML page such as a gateway shows."""
    return f"<!DOCTYPE html><html><title>{title}</title><body><h1>{title}</h1></body></html>".encode()


def _whole(answer: Envelope) -> bytes:
    """Return the body meant for the client; one that names no job when the request had no effect."""
    return encode(envelope({}) if answer is None else answer)


async def _reset(exchange: HttpExchange, _fault: Fault, _answer: Envelope) -> None:
    await exchange.reset()


async def _hang(exchange: HttpExchange, _fault: Fault, _answer: Envelope) -> None:
    await exchange.gone()


async def _http(exchange: HttpExchange, fault: Fault, _answer: Envelope) -> None:
    status = 500 if fault.status is None else fault.status
    body = page(f"{status} from the sandbox") if fault.body is None else fault.body.encode()
    headers = HTML
    if fault.retry_after is not None:
        headers = (*HTML, (b"retry-after", str(fault.retry_after).encode()))
    await exchange.answer(Answer(status, headers, body))


async def _html(exchange: HttpExchange, _fault: Fault, _answer: Envelope) -> None:
    await exchange.answer(Answer(200, HTML, page("Be right back")))


async def _empty(exchange: HttpExchange, _fault: Fault, _answer: Envelope) -> None:
    await exchange.answer(Answer(200, JSON, b""))


async def _truncated(exchange: HttpExchange, fault: Fault, answer: Envelope) -> None:
    body = _whole(answer)
    await exchange.answer(Answer(200, JSON, body[: int(len(body) * fault.keep)]))


async def _short(exchange: HttpExchange, fault: Fault, answer: Envelope) -> None:
    await short(exchange, Answer(200, JSON, _whole(answer)), fault.keep)


async def short(exchange: HttpExchange, answer: Answer, keep: float, *, reset: bool = False) -> None:
    """Announce a whole body, send a part of it and end the connection."""
    length = (b"content-length", str(len(answer.body)).encode())
    await exchange.start(answer.status, (*answer.headers, length))
    await exchange.part(answer.body[: int(len(answer.body) * keep)])
    await (exchange.reset() if reset else exchange.hang_up())


async def _garbage(exchange: HttpExchange, _fault: Fault, _answer: Envelope) -> None:
    await exchange.raw(NOISE)


async def _huge(exchange: HttpExchange, fault: Fault, answer: Envelope) -> None:
    padded = {**(answer or envelope(None)), "padding": "x" * (fault.size or _HUGE)}
    await exchange.answer(Answer(200, JSON, encode(padded)))


async def _wrong_type(exchange: HttpExchange, fault: Fault, answer: Envelope) -> None:
    spoiled = {**(answer or envelope(None)), "data": fault.value}
    await exchange.answer(Answer(200, JSON, encode(spoiled)))


async def _redirect(exchange: HttpExchange, fault: Fault, _answer: Envelope) -> None:
    location = (b"location", (fault.location or "").encode())
    await exchange.answer(Answer(fault.status or 302, (*HTML, location), b""))


async def _code(exchange: HttpExchange, fault: Fault, _answer: Envelope) -> None:
    await exchange.answer(Answer(200, JSON, encode(refusal(fault.code))))


DISTORTIONS: Final[Mapping[FaultKind, Distortion]] = {
    FaultKind.RESET_BEFORE: _reset,
    FaultKind.RESET_AFTER: _reset,
    FaultKind.HANG: _hang,
    FaultKind.HTTP: _http,
    FaultKind.HTML: _html,
    FaultKind.EMPTY: _empty,
    FaultKind.TRUNCATED: _truncated,
    FaultKind.SHORT: _short,
    FaultKind.GARBAGE: _garbage,
    FaultKind.HUGE: _huge,
    FaultKind.WRONG_TYPE: _wrong_type,
    FaultKind.REDIRECT: _redirect,
    FaultKind.CODE: _code,
}
"""One way of going wrong for each kind that replaces the answer."""


def response_fault(faults: tuple[Fault, ...], *, elsewhere: str) -> Fault | None:
    """Return the first fault that replaces the answer; a redirect without a target leads `elsewhere`."""
    fault = next((one for one in faults if one.kind in DISTORTIONS), None)
    if fault is not None and fault.kind is FaultKind.REDIRECT and fault.location is None:
        return attrs.evolve(fault, location=elsewhere)
    return fault
