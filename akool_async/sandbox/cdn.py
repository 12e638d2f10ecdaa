"""The CDN's origin as an ASGI application: results by signed links, ranges, and faults of transfer.

An origin of its own on purpose: no credential may ever come here, and the ledger tells if one does.
"""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias
from urllib.parse import parse_qs

import anyio
import attrs

from akool_async.sandbox.asgi import Receive, Scope, Send
from akool_async.sandbox.control import CONTROL, control
from akool_async.sandbox.dates import http_date
from akool_async.sandbox.distortion import DISTORTIONS, HTML, page, pick, short
from akool_async.sandbox.exchange import Answer, Exchange, Headers
from akool_async.sandbox.faults import Do, Fault
from akool_async.sandbox.leaks import LeakWatch
from akool_async.sandbox.plan import Subject
from akool_async.sandbox.ranges import Unsatisfiable, span_of
from akool_async.sandbox.records import LeakRecord, ServedRecord
from akool_async.sandbox.shelf import File, Place, Shelf, Withheld
from akool_async.sandbox.world import World

__all__ = ["Cdn"]

Transfer: TypeAlias = Callable[[Exchange, Fault, Answer], Awaitable[None]]


async def _truncated(exchange: Exchange, fault: Fault, answer: Answer) -> None:
    cut = answer.body[: int(len(answer.body) * fault.keep)]
    await exchange.answer(attrs.evolve(answer, body=cut))


async def _short(exchange: Exchange, fault: Fault, answer: Answer) -> None:
    await short(exchange, answer, fault.keep)


async def _reset_mid(exchange: Exchange, fault: Fault, answer: Answer) -> None:
    await short(exchange, answer, fault.keep, reset=True)


async def _wrong_length(exchange: Exchange, fault: Fault, answer: Answer) -> None:
    length = len(answer.body) + (fault.size or 100)
    await exchange.start(answer.status, (*answer.headers, (b"content-length", str(length).encode())))
    await exchange.part(answer.body)
    await exchange.hang_up()


async def _no_length(exchange: Exchange, _fault: Fault, answer: Answer) -> None:
    await exchange.start(answer.status, answer.headers)
    await exchange.part(answer.body)
    await exchange.end()


async def _drip(exchange: Exchange, fault: Fault, answer: Answer) -> None:
    size = fault.size or 16
    length = (b"content-length", str(len(answer.body)).encode())
    await exchange.start(answer.status, (*answer.headers, length))
    for begin in range(0, len(answer.body), size):
        if exchange.left:
            return
        await exchange.part(answer.body[begin : begin + size])
        await anyio.sleep(fault.seconds)
    await exchange.end()


async def _stall(exchange: Exchange, fault: Fault, answer: Answer) -> None:
    length = (b"content-length", str(len(answer.body)).encode())
    await exchange.start(answer.status, (*answer.headers, length))
    await exchange.part(answer.body[: int(len(answer.body) * fault.keep)])
    await exchange.gone()


async def _wrong_range(exchange: Exchange, _fault: Fault, answer: Answer) -> None:
    told = dict(answer.headers).get(b"content-range", b"")
    if answer.status == 206 and len(answer.body) > 1:
        first, rest = told.removeprefix(b"bytes ").split(b"-", 1)
        shifted = b"bytes %d-%b" % (int(first) + 1, rest)
        headers = _replaced(answer.headers, b"content-range", shifted)
        answer = Answer(206, headers, answer.body[1:])
    await exchange.answer(answer)


async def _weak_etag(exchange: Exchange, _fault: Fault, answer: Answer) -> None:
    weak = b"W/" + dict(answer.headers)[b"etag"]
    await exchange.answer(attrs.evolve(answer, headers=_replaced(answer.headers, b"etag", weak)))


async def _compressed(exchange: Exchange, _fault: Fault, answer: Answer) -> None:
    headers = (*answer.headers, (b"content-encoding", b"gzip"))
    await exchange.answer(Answer(answer.status, headers, gzip.compress(answer.body)))


def _replaced(headers: Headers, name: bytes, value: bytes) -> Headers:
    return tuple((one, value if one == name else before) for one, before in headers)


_TRANSFERS: Final[Mapping[Do, Transfer]] = {
    Do.TRUNCATED: _truncated,
    Do.SHORT: _short,
    Do.RESET_MID: _reset_mid,
    Do.WRONG_LENGTH: _wrong_length,
    Do.NO_LENGTH: _no_length,
    Do.DRIP: _drip,
    Do.STALL: _stall,
    Do.WRONG_RANGE: _wrong_range,
    Do.WEAK_ETAG: _weak_etag,
    Do.COMPRESSED: _compressed,
}


@attrs.frozen
class _Visit:
    exchange: Exchange
    now: float
    place: Place | None
    faults: tuple[Fault, ...]


class Cdn:
    """The results' origin.

    Args:
        world: The sandbox's parts.
        shelf: The files.
        watch: Looks for credentials.
    """

    def __init__(self, world: World, shelf: Shelf, watch: LeakWatch) -> None:
        """Take the parts over."""
        self._world = world
        self._shelf = shelf
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        now = self._world.engine.advance()
        exchange = Exchange(scope, receive, send, date=http_date(int(now)))
        body = b"" if scope["method"] in {"GET", "HEAD"} else await exchange.body()
        if body is None:
            return
        path = scope["path"]
        if self._world.settings.control and path.startswith(CONTROL):
            await control(self._world, exchange, body)
            return
        for where, what in self._watch.findings(scope, body):
            self._world.ledger.note(LeakRecord(at=now, path=path, where=where, what=what))
        place = self._shelf.place(path)
        visit = _Visit(exchange, now, place, self._struck(path, place))
        await self._serve(visit)

    def _struck(self, path: str, place: Place | None) -> tuple[Fault, ...]:
        if not path.startswith("/results/"):
            return ()
        if place is None:
            return self._world.faults.strike(Subject(on="cdn"))
        job = place.job
        return self._world.faults.strike(
            Subject(
                on="cdn", jobs=((job.ordinal, job.id),), languages=(job.order.language,), status=job.status
            )
        )

    async def _serve(self, visit: _Visit) -> None:
        for fault in visit.faults:
            if fault.do is Do.DELAY:
                await anyio.sleep(fault.seconds)
            elif fault.do is Do.CHANGED_ETAG and visit.place is not None:
                self._shelf.replace(visit.place)
        transfer = next((one for one in visit.faults if one.do in _TRANSFERS), None)
        spoiler = pick(tuple(one for one in visit.faults if one.do not in _TRANSFERS), elsewhere="/elsewhere")
        if transfer is None and spoiler is not None:
            self._note(visit, status=0, sent=0)
            await DISTORTIONS[spoiler.do](visit.exchange, spoiler, None)
            return
        answer = await self._honest(visit)
        self._note(visit, status=answer.status, sent=len(answer.body))
        if transfer is None or answer.status not in (200, 206) or visit.place is None:
            await visit.exchange.answer(answer)
        else:
            await _TRANSFERS[transfer.do](visit.exchange, transfer, answer)

    async def _honest(self, visit: _Visit) -> Answer:
        method = visit.exchange.scope["method"]
        if visit.place is None:
            elsewhere = visit.exchange.scope["path"] == "/elsewhere"
            return _page(200, "You were sent elsewhere") if elsewhere else _page(404, "Not Found")
        if method not in {"GET", "HEAD"}:
            return _page(405, "Method Not Allowed")
        query = parse_qs(visit.exchange.scope["query_string"].decode("latin-1"))
        try:
            file = await self._shelf.take(visit.place, query.get("token", [""])[0], visit.now)
        except Withheld as withheld:
            return _page(withheld.status, "Forbidden" if withheld.status == 403 else "Not Found")
        whole = method != "GET" or any(fault.do is Do.NO_RANGES for fault in visit.faults)
        return _ranged(file, {} if whole else visit.exchange.headers)

    def _note(self, visit: _Visit, *, status: int, sent: int) -> None:
        scope, headers = visit.exchange.scope, visit.exchange.headers
        place = visit.place
        self._world.ledger.note(
            ServedRecord(
                at=visit.now,
                method=scope["method"],
                path=scope["path"],
                job_id=place.job.id if place else None,
                artifact=place.artifact if place else None,
                range=headers.get("range"),
                if_range=headers.get("if-range"),
                status=status,
                sent=0 if scope["method"] == "HEAD" else sent,
                faults=tuple(fault.do.value for fault in visit.faults),
            )
        )


def _page(status: int, title: str) -> Answer:
    return Answer(status, HTML, page(title))


def _ranged(file: File, request: Mapping[str, str]) -> Answer:
    """Return the file or the part of it that was asked for."""
    length, modified = len(file.content), http_date(int(file.modified))
    headers: Headers = (
        (b"content-type", file.media_type),
        (b"etag", file.etag.encode()),
        (b"last-modified", modified),
        (b"accept-ranges", b"bytes"),
    )
    wanted, condition = request.get("range"), request.get("if-range")
    try:
        span = span_of(wanted, condition, length=length, etag=file.etag, modified=modified.decode())
    except Unsatisfiable:
        return Answer(416, (*headers, (b"content-range", f"bytes */{length}".encode())), b"")
    if span is None:
        return Answer(200, headers, file.content)
    part = file.content[span.first : span.last + 1]
    return Answer(206, (*headers, (b"content-range", span.content_range(length))), part)
