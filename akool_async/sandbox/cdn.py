"""The CDN's origin as an ASGI application: results by signed links, ranges, and faults of transfer.

An origin of its own on purpose: no credential may ever come here, and the ledger tells if one does.
"""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs

import anyio
import attrs

from akool_async.sandbox.audit import CredentialLeakDetector, LeakRecord, ServedRecord
from akool_async.sandbox.context import SandboxContext
from akool_async.sandbox.engine import Engine
from akool_async.sandbox.fault_effects import DISTORTIONS, HTML, JSON, encode, page, response_fault, short
from akool_async.sandbox.faults import Fault, FaultKind, FaultTarget
from akool_async.sandbox.fixtures import MediaBackend, modified
from akool_async.sandbox.http import (
    Answer,
    Headers,
    HttpExchange,
    Receive,
    Scope,
    Send,
    Unsatisfiable,
    http_date,
    span_of,
)
from akool_async.sandbox.jobs import ARTIFACTS, COMPLETED, ApiRejection, SandboxJob, Signer
from akool_async.sandbox.request_schema import json_object
from akool_async.sandbox.settings import FakeClock

# The files on the CDN: who may have which, and for how long.
#
# Finds the bytes and the verdict; sending them is the CDN's affair.


_ARTIFACT_OF: Final[Mapping[str, str]] = {name: artifact for artifact, name in ARTIFACTS.items()}
_DAY: Final = 86_400.0


class FileUnavailable(Exception):
    """The file is not given out.

    Args:
        status: The HTTP status that says so.
    """

    def __init__(self, status: int) -> None:
        """Remember the HTTP status."""
        super().__init__(f"HTTP {status}")
        self.status = status


@attrs.frozen
class ArtifactRef:
    """What a path on the CDN stands for."""

    job: SandboxJob
    artifact: str


@attrs.frozen
class File:
    """One file as it is now."""

    content: bytes
    etag: str
    media_type: bytes
    modified: float


class ResultStore:
    """All results.

    Args:
        engine: Owner of the jobs.
        media: Makes the files.
        signer: Checks the links.
        days: How long a file is kept after its job ended, in the sandbox's days.
    """

    def __init__(self, engine: Engine, media: MediaBackend, signer: Signer, *, days: float) -> None:
        """Take the parts over."""
        self._engine = engine
        self._media = media
        self._signer = signer
        self._seconds = days * _DAY
        self._lock = threading.Lock()
        self._versions: Counter[tuple[str, str]] = Counter()

    def place(self, path: str) -> ArtifactRef | None:
        """Return what a path stands for, None when there is nothing."""
        parts = path.split("/")
        if len(parts) != 4 or parts[1] != "results" or parts[3] not in _ARTIFACT_OF:
            return None
        job = self._engine.job(parts[2])
        return None if job is None else ArtifactRef(job, _ARTIFACT_OF[parts[3]])

    def replace(self, place: ArtifactRef) -> None:
        """Put other bytes in the file's place."""
        with self._lock:
            self._versions[place.job.id, place.artifact] += 1

    async def open(self, place: ArtifactRef, token: str, now: float) -> File:
        """Return a file.

        Raises:
            Withheld: 403 for a wrong or forbidden link, 404 when there is no file, or no more.
        """
        job = place.job
        generation = self._signer.generation(job, place.artifact, token)
        if generation is None:
            raise FileUnavailable(403)
        if job.status != COMPLETED or job.ended is None or now >= job.ended + self._seconds:
            raise FileUnavailable(404)
        if generation in job.forbidden:
            self._engine.mutate(partial(_mark_stale, job, generation))
            raise FileUnavailable(403)
        try:
            content = await self._media.artifact(job, place.artifact)
        except ApiRejection as refused:  # the source is gone, or another one lies there now
            raise FileUnavailable(404) from refused
        content = modified(content, place.artifact, self._versions[job.id, place.artifact])
        kind = b"application/x-subrip" if place.artifact.endswith("_srt") else b"video/mp4"
        return File(content, f'"{hashlib.sha256(content).hexdigest()[:32]}"', kind, job.ended)


def _mark_stale(job: SandboxJob, generation: int) -> None:
    job.stale = job.stale or generation == job.generation


# The way to steer a sandbox that runs in another process: read its ledger, change its faults.
#
# Served on the CDN's origin, and only when the sandbox was made with `control=True`.


CONTROL: Final = "/_sandbox/"


async def control(world: SandboxContext, exchange: HttpExchange, body: bytes) -> None:
    """Answer one request of a test.

    GET ledger: all of it. POST faults: add the object, or the objects under "faults". DELETE faults:
    none from now on. POST advance: move a fake clock by "seconds".
    """
    path = str(exchange.scope["path"]).removeprefix(CONTROL)
    try:
        status, content = _done(world, f"{exchange.scope['method']} {path}", json_object(body) or {})
    except (TypeError, ValueError) as error:
        status, content = 400, {"error": str(error)}
    await exchange.answer(Answer(status, JSON, encode(content)))


def _done(world: SandboxContext, action: str, fields: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    match action:
        case "GET ledger":
            return 200, world.audit.as_dict()
        case "POST faults":
            world.faults.add(*[Fault.from_json(one) for one in fields.get("faults", [fields])])
            return 200, {"faults": len(world.faults)}
        case "DELETE faults":
            world.faults.clear()
            return 200, {"faults": 0}
        case "POST advance" if isinstance(world.clock, FakeClock):
            return 200, {"now": world.clock.advance(float(fields["seconds"]))}
        case _:
            return 404, {"error": "there is no such control"}


__all__ = ["Cdn"]
Transfer: TypeAlias = Callable[[HttpExchange, Fault, Answer], Awaitable[None]]


async def _truncated(exchange: HttpExchange, fault: Fault, answer: Answer) -> None:
    cut = answer.body[: int(len(answer.body) * fault.keep)]
    await exchange.answer(attrs.evolve(answer, body=cut))


async def _short(exchange: HttpExchange, fault: Fault, answer: Answer) -> None:
    await short(exchange, answer, fault.keep)


async def _reset_mid(exchange: HttpExchange, fault: Fault, answer: Answer) -> None:
    await short(exchange, answer, fault.keep, reset=True)


async def _wrong_length(exchange: HttpExchange, fault: Fault, answer: Answer) -> None:
    length = len(answer.body) + (fault.size or 100)
    await exchange.start(answer.status, (*answer.headers, (b"content-length", str(length).encode())))
    await exchange.part(answer.body)
    await exchange.hang_up()


async def _no_length(exchange: HttpExchange, _fault: Fault, answer: Answer) -> None:
    await exchange.start(answer.status, answer.headers)
    await exchange.part(answer.body)
    await exchange.end()


async def _drip(exchange: HttpExchange, fault: Fault, answer: Answer) -> None:
    size = fault.size or 16
    length = (b"content-length", str(len(answer.body)).encode())
    await exchange.start(answer.status, (*answer.headers, length))
    for begin in range(0, len(answer.body), size):
        if exchange.left:
            return
        await exchange.part(answer.body[begin : begin + size])
        await anyio.sleep(fault.seconds)
    await exchange.end()


async def _stall(exchange: HttpExchange, fault: Fault, answer: Answer) -> None:
    length = (b"content-length", str(len(answer.body)).encode())
    await exchange.start(answer.status, (*answer.headers, length))
    await exchange.part(answer.body[: int(len(answer.body) * fault.keep)])
    await exchange.gone()


async def _wrong_range(exchange: HttpExchange, _fault: Fault, answer: Answer) -> None:
    told = dict(answer.headers).get(b"content-range", b"")
    if answer.status == 206 and len(answer.body) > 1:
        first, rest = told.removeprefix(b"bytes ").split(b"-", 1)
        shifted = b"bytes %d-%b" % (int(first) + 1, rest)
        headers = _replaced(answer.headers, b"content-range", shifted)
        answer = Answer(206, headers, answer.body[1:])
    await exchange.answer(answer)


async def _weak_etag(exchange: HttpExchange, _fault: Fault, answer: Answer) -> None:
    weak = b"W/" + dict(answer.headers)[b"etag"]
    await exchange.answer(attrs.evolve(answer, headers=_replaced(answer.headers, b"etag", weak)))


async def _compressed(exchange: HttpExchange, _fault: Fault, answer: Answer) -> None:
    headers = (*answer.headers, (b"content-encoding", b"gzip"))
    await exchange.answer(Answer(answer.status, headers, gzip.compress(answer.body)))


def _replaced(headers: Headers, name: bytes, value: bytes) -> Headers:
    return tuple((one, value if one == name else before) for one, before in headers)


_TRANSFERS: Final[Mapping[FaultKind, Transfer]] = {
    FaultKind.TRUNCATED: _truncated,
    FaultKind.SHORT: _short,
    FaultKind.RESET_MID: _reset_mid,
    FaultKind.WRONG_LENGTH: _wrong_length,
    FaultKind.NO_LENGTH: _no_length,
    FaultKind.DRIP: _drip,
    FaultKind.STALL: _stall,
    FaultKind.WRONG_RANGE: _wrong_range,
    FaultKind.WEAK_ETAG: _weak_etag,
    FaultKind.COMPRESSED: _compressed,
}


@attrs.frozen
class _FileRequest:
    exchange: HttpExchange
    now: float
    place: ArtifactRef | None
    faults: tuple[Fault, ...]


class Cdn:
    """The results' origin.

    Args:
        world: The sandbox's parts.
        shelf: The files.
        watch: Looks for credentials.
    """

    def __init__(self, world: SandboxContext, shelf: ResultStore, watch: CredentialLeakDetector) -> None:
        """Take the parts over."""
        self._world = world
        self._shelf = shelf
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        now = self._world.engine.advance()
        exchange = HttpExchange(scope, receive, send, date=http_date(int(now)))
        body = b"" if scope["method"] in {"GET", "HEAD"} else await exchange.body()
        if body is None:
            return
        path = scope["path"]
        if self._world.settings.control and path.startswith(CONTROL):
            await control(self._world, exchange, body)
            return
        for where, what in self._watch.findings(scope, body):
            self._world.audit.note(LeakRecord(at=now, path=path, where=where, what=what))
        place = self._shelf.place(path)
        visit = _FileRequest(exchange, now, place, self._struck(path, place))
        await self._serve(visit)

    def _struck(self, path: str, place: ArtifactRef | None) -> tuple[Fault, ...]:
        if not path.startswith("/results/"):
            return ()
        if place is None:
            return self._world.faults.match(FaultTarget(on="cdn"))
        job = place.job
        return self._world.faults.match(
            FaultTarget(
                on="cdn", jobs=((job.ordinal, job.id),), languages=(job.spec.language,), status=job.status
            )
        )

    async def _serve(self, visit: _FileRequest) -> None:
        for fault in visit.faults:
            if fault.kind is FaultKind.DELAY:
                await anyio.sleep(fault.seconds)
            elif fault.kind is FaultKind.CHANGED_ETAG and visit.place is not None:
                self._shelf.replace(visit.place)
        transfer = next((one for one in visit.faults if one.kind in _TRANSFERS), None)
        spoiler = response_fault(
            tuple(one for one in visit.faults if one.kind not in _TRANSFERS), elsewhere="/elsewhere"
        )
        if transfer is None and spoiler is not None:
            self._note(visit, status=0, sent=0)
            await DISTORTIONS[spoiler.kind](visit.exchange, spoiler, None)
            return
        answer = await self._honest(visit)
        self._note(visit, status=answer.status, sent=len(answer.body))
        if transfer is None or answer.status not in (200, 206) or visit.place is None:
            await visit.exchange.answer(answer)
        else:
            await _TRANSFERS[transfer.kind](visit.exchange, transfer, answer)

    async def _honest(self, visit: _FileRequest) -> Answer:
        method = visit.exchange.scope["method"]
        if visit.place is None:
            elsewhere = visit.exchange.scope["path"] == "/elsewhere"
            return _page(200, "You were sent elsewhere") if elsewhere else _page(404, "Not Found")
        if method not in {"GET", "HEAD"}:
            return _page(405, "Method Not Allowed")
        query = parse_qs(visit.exchange.scope["query_string"].decode("latin-1"))
        try:
            file = await self._shelf.open(visit.place, query.get("token", [""])[0], visit.now)
        except FileUnavailable as withheld:
            return _page(withheld.status, "Forbidden" if withheld.status == 403 else "Not Found")
        whole = method != "GET" or any(fault.kind is FaultKind.NO_RANGES for fault in visit.faults)
        return _ranged(file, {} if whole else visit.exchange.headers)

    def _note(self, visit: _FileRequest, *, status: int, sent: int) -> None:
        scope, headers = visit.exchange.scope, visit.exchange.headers
        place = visit.place
        self._world.audit.note(
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
                faults=tuple(fault.kind.value for fault in visit.faults),
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
