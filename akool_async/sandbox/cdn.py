"""The CDN as an ASGI application: results by signed links, ranges, faults of transfer, remote control.

An origin of its own on purpose: no credential may ever be sent here, and the audit records each one that is.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs

import anyio
import attrs

from akool_async.sandbox.audit import LeakRecord, ServedRecord, credentials_in
from akool_async.sandbox.context import SandboxContext
from akool_async.sandbox.fault_effects import (
    html_page,
    json_answer,
    response_fault,
    send_short,
    send_spoiled,
    wait_and_date,
)
from akool_async.sandbox.fault_kinds import TRAITS, FaultKind
from akool_async.sandbox.faults import Fault, FaultTarget
from akool_async.sandbox.fixtures import modified
from akool_async.sandbox.http import (
    CONTROL,
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
from akool_async.sandbox.jobs import ARTIFACTS, COMPLETED, ApiRejection, SandboxJob
from akool_async.sandbox.request_schema import json_object
from akool_async.sandbox.settings import FakeClock

_ARTIFACT_OF: Final[Mapping[str, str]] = {name: artifact for artifact, name in ARTIFACTS.items()}
_DAY: Final = 86_400.0


class Cdn:
    """The results' origin."""

    def __init__(self, context: SandboxContext, results: ResultStore) -> None:
        self._context = context
        self._results = results

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        now = self._context.engine.advance()
        exchange = HttpExchange(scope, receive, send, date=http_date(int(now)))
        body = b"" if scope["method"] in {"GET", "HEAD"} else await exchange.body()
        if body is None:
            return
        path, context = scope["path"], self._context
        if context.settings.control and path.startswith(CONTROL):
            await self._control(exchange, body)
            return
        # Any request counts, also for a file that does not exist: it is the sending that leaks.
        for where, what in credentials_in(scope, body, context.settings, context.authenticator):
            context.audit.note(LeakRecord(at=now, path=path, where=where, what=what))
        file = self._results.find(path)
        faults: tuple[Fault, ...] = ()
        if path.startswith("/results/"):
            faults = context.faults.match(FaultTarget.for_job("cdn", file.job if file else None))
            exchange.logged["fault"] = " ".join(fault.kind for fault in faults)
        await self._serve(_FileRequest(exchange, now, file, faults))

    async def _serve(self, request: _FileRequest) -> None:
        await wait_and_date(request.exchange, request.faults, request.now)
        if request.file and any(fault.kind is FaultKind.CHANGED_ETAG for fault in request.faults):
            self._results.replace(request.file)
        transfer = next((one for one in request.faults if TRAITS[one.kind].transfer), None)
        others = tuple(one for one in request.faults if not TRAITS[one.kind].transfer)
        spoiling = response_fault(others, elsewhere="/elsewhere")
        # A fault of transfer needs a file that arrives, so it wins over one that replaces the answer.
        if transfer is None and spoiling is not None:
            self._note(request, status=0, sent=0)
            await send_spoiled(request.exchange, spoiling, None)
            return
        answer = await self._answer(request)
        self._note(request, status=answer.status, sent=len(answer.body))
        if transfer is None or answer.status not in (200, 206) or request.file is None:
            await request.exchange.answer(answer)
        else:
            await _transfer(request.exchange, transfer, answer)

    async def _answer(self, request: _FileRequest) -> Answer:
        """Return the answer as it is without faults of transfer."""
        scope = request.exchange.scope
        if request.file is None:
            elsewhere = scope["path"] == "/elsewhere"
            return html_page(200, "You were sent elsewhere") if elsewhere else html_page(404, "Not Found")
        if scope["method"] not in {"GET", "HEAD"}:
            return html_page(405, "Method Not Allowed")
        query = parse_qs(scope["query_string"].decode("latin-1"))
        try:
            file = await self._results.open(request.file, query.get("token", [""])[0], request.now)
        except FileUnavailable as error:
            return html_page(error.status, "Forbidden" if error.status == 403 else "Not Found")
        no_ranges = any(fault.kind is FaultKind.NO_RANGES for fault in request.faults)
        # HEAD has no ranges (RFC 9110, 14.2).
        return _ranged(file, {} if no_ranges or scope["method"] == "HEAD" else request.exchange.headers)

    def _note(self, request: _FileRequest, *, status: int, sent: int) -> None:
        scope, headers = request.exchange.scope, request.exchange.headers
        self._context.audit.note(
            ServedRecord(
                at=request.now,
                method=scope["method"],
                path=scope["path"],
                job_id=request.file.job.id if request.file else None,
                artifact=request.file.artifact if request.file else None,
                range=headers.get("range"),
                if_range=headers.get("if-range"),
                status=status,
                sent=0 if scope["method"] == "HEAD" else sent,
                faults=tuple(fault.kind.value for fault in request.faults),
            )
        )

    async def _control(self, exchange: HttpExchange, body: bytes) -> None:
        """Answer a request of a test that steers this sandbox from another process.

        GET audit: all of it. POST faults: add what `_read_faults` reads. DELETE faults: remove all. POST
        advance: move a `FakeClock` by "seconds".
        """
        action = f"{exchange.scope['method']} {exchange.scope['path'].removeprefix(CONTROL)}"
        context = self._context
        status, content = 200, dict[str, Any]()
        try:
            match action:
                case _ if "origin" in exchange.headers:
                    # No key is asked for here, so a web page that is open on this machine must not get in.
                    status, content = 403, {"error": "web pages can't control the sandbox"}
                case "GET audit":
                    content = context.audit.as_dict()
                case "POST faults":
                    context.faults.add(*_read_faults(body))
                    content = {"faults": len(context.faults)}
                case "DELETE faults":
                    context.faults.clear()
                    content = {"faults": 0}
                case "POST advance" if isinstance(context.clock, FakeClock):
                    seconds = (json_object(body) or {}).get("seconds")
                    content = {"now": context.clock.advance(float(seconds))}  # type: ignore[arg-type]
                case _:
                    status, content = 404, {"error": "there is no such control"}
        except (TypeError, ValueError) as error:
            status, content = 400, {"error": str(error.args[0])}  # attrs puts the whole field behind it
        await exchange.answer(json_answer(content, status=status))


def _read_faults(body: bytes) -> list[Fault]:
    """Read faults from JSON or from lines of text: objects, and texts as `--fault` takes them.

    Raises:
        ValueError, TypeError: one of them is no fault, or there is none.
    """
    try:
        given = json.loads(body)
        json.dumps(given, ensure_ascii=False).encode()  # half of a surrogate pair can't be in an answer
    except (ValueError, RecursionError):
        given = [line for line in body.decode(errors="replace").splitlines() if line.strip()]
    if isinstance(given, dict):
        given = given.get("faults", given)
    found = []
    for one in given if isinstance(given, list) else [given]:
        if isinstance(one, str):
            found.append(Fault.parse(one.strip()))
        elif isinstance(one, dict) and {"on", "kind"} <= one.keys() <= _FAULT_FIELDS:
            found.append(Fault(**one))
        else:
            raise ValueError(_FORM)
    if not found:
        raise ValueError(_FORM)
    return found


_FAULT_FIELDS: Final = frozenset(field.name for field in attrs.fields(Fault))
_FORM: Final = (
    'a fault is a text such as "create:code:code=1015:nth=2", or an object such as '
    '{"on": "create", "kind": "code", "code": 1015, "nth": 2}; several are a list of them, or lines of text. '
    "An object has on and kind, "
    f"and may have {', '.join(sorted(_FAULT_FIELDS - {'on', 'kind'}))}"
)


@attrs.frozen
class _FileRequest:
    exchange: HttpExchange
    now: float
    file: ArtifactRef | None
    faults: tuple[Fault, ...]


def _ranged(file: File, request: Mapping[str, str]) -> Answer:
    """Return the file, or the part of it that the request's headers ask for."""
    length, changed = len(file.content), http_date(int(file.modified))
    headers: Headers = (
        (b"content-type", file.media_type),
        (b"etag", file.etag.encode()),
        (b"last-modified", changed),
        (b"accept-ranges", b"bytes"),
    )
    wanted, condition = request.get("range"), request.get("if-range")
    try:
        span = span_of(wanted, condition, length=length, etag=file.etag, modified=changed.decode())
    except Unsatisfiable:
        return Answer(416, (*headers, (b"content-range", f"bytes */{length}".encode())), b"")
    if span is None:
        return Answer(200, headers, file.content)
    content_range = f"bytes {span.start}-{span.stop - 1}/{length}".encode()
    part = file.content[span.start : span.stop]
    return Answer(206, (*headers, (b"content-range", content_range)), part)


async def _transfer(exchange: HttpExchange, fault: Fault, answer: Answer) -> None:
    """Send a file as a fault of transfer changes it."""
    body, headers = answer.body, dict(answer.headers)
    match fault.kind:
        case FaultKind.SHORT | FaultKind.RESET_MID:
            await send_short(exchange, answer, fault.keep, reset=fault.kind is FaultKind.RESET_MID)
        case FaultKind.WRONG_LENGTH:
            await exchange.announce(answer, more=fault.size or 100)
            await exchange.part(body)
            await exchange.close()
        case FaultKind.NO_LENGTH:
            await exchange.start(answer.status, answer.headers)
            await exchange.part(body)
            await exchange.end()
        case FaultKind.DRIP:
            await exchange.announce(answer)
            size = fault.size or 16
            for begin in range(0, len(body), size):
                if exchange.connection.broken:
                    return
                await exchange.part(body[begin : begin + size])
                await anyio.sleep(fault.seconds)
            await exchange.end()
        case FaultKind.STALL:
            await exchange.announce(answer)
            await exchange.part(body[: int(len(body) * fault.keep)])
            await exchange.wait_closed()
        case _:
            if fault.kind is FaultKind.TRUNCATED:
                body = body[: int(len(body) * fault.keep)]
            elif fault.kind is FaultKind.WEAK_ETAG:
                headers[b"etag"] = b"W/" + headers[b"etag"]
            elif fault.kind is FaultKind.COMPRESSED:
                headers[b"content-encoding"], body = b"gzip", gzip.compress(body)
            elif fault.kind is FaultKind.WRONG_RANGE and answer.status == 206 and len(body) > 1:
                first, rest = headers[b"content-range"].removeprefix(b"bytes ").split(b"-", 1)
                headers[b"content-range"], body = b"bytes %d-%b" % (int(first) + 1, rest), body[1:]
            await exchange.answer(Answer(answer.status, tuple(headers.items()), body))


class ResultStore:
    """All results: which link opens which file, and for how long."""

    def __init__(self, context: SandboxContext) -> None:
        self._context = context
        self._lock = threading.Lock()
        self.versions: Counter[tuple[str, str]] = Counter()
        """How often the file of a job's id and artifact was replaced."""

    def find(self, path: str) -> ArtifactRef | None:
        """Return which file a path stands for, None if there is none."""
        parts = path.split("/")
        if len(parts) != 4 or parts[1] != "results" or parts[3] not in _ARTIFACT_OF:
            return None
        job = self._context.engine.job(parts[2])
        return None if job is None else ArtifactRef(job, _ARTIFACT_OF[parts[3]])

    def replace(self, file: ArtifactRef) -> None:
        """Replace the file by one with other bytes."""
        with self._lock:
            self.versions[file.job.id, file.artifact] += 1

    async def open(self, ref: ArtifactRef, token: str, now: float) -> File:
        """Return a file.

        Raises:
            FileUnavailable: 403 for a wrong or forbidden link, 404 if the file does not exist (any more).
        """
        job, context = ref.job, self._context
        generation = context.signer.generation(job, ref.artifact, token)
        if generation is None:
            raise FileUnavailable(403)
        kept = context.settings.result_days * _DAY
        if job.status != COMPLETED or job.ended is None or now >= job.ended + kept:
            raise FileUnavailable(404)
        if generation in job.forbidden:
            context.engine.mutate(lambda: job.note_forbidden(generation))
            raise FileUnavailable(403)
        try:
            content = await context.media.artifact(job, ref.artifact)
        except ApiRejection as rejection:  # the source was deleted or replaced since the job was made
            raise FileUnavailable(404) from rejection
        content = modified(content, ref.artifact, self.versions[job.id, ref.artifact])
        media_type = b"application/x-subrip" if ref.artifact.endswith("_srt") else b"video/mp4"
        return File(content, f'"{hashlib.sha256(content).hexdigest()[:32]}"', media_type, job.ended)


class FileUnavailable(Exception):
    """The file can't be downloaded, as the HTTP status says."""

    def __init__(self, status: int) -> None:
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
