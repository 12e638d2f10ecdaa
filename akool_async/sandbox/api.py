"""The vendor's API as an ASGI application: routes, credentials, faults, then the endpoints.

Nearly everything is answered with HTTP 200 and an envelope, as the vendor does. Each language of a paid
POST is judged by itself: one may be refused while others become jobs.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import attrs

from akool_async.sandbox.audit import CreateRecord
from akool_async.sandbox.auth import CredentialKind
from akool_async.sandbox.context import SandboxContext
from akool_async.sandbox.fault_effects import (
    json_answer,
    reshape,
    response_fault,
    send_spoiled,
    wait_and_date,
)
from akool_async.sandbox.fault_kinds import TRAITS, FaultKind, Remains
from akool_async.sandbox.faults import Fault, FaultTarget
from akool_async.sandbox.http import HttpExchange, Receive, Scope, Send, http_date
from akool_async.sandbox.jobs import FAILURE, ApiRejection, JobSpec, SandboxJob
from akool_async.sandbox.request_schema import (
    CreateParams,
    json_object,
    read_count,
    read_create,
    read_lipsync,
    split_languages,
)
from akool_async.sandbox.response_schema import (
    created_job,
    envelope,
    job_status,
    language_list,
    refusal,
    voice_entry,
)

TIME_SCALE: Final = b"x-sandbox-time-scale"
"""Header of answers at unknown paths: sandbox seconds in a real one, where they are not as long."""

_MAX_PAGE_SIZE: Final = 100
_MAX_COUNT: Final = 1_000_000


class VendorApi:
    """The vendor's API; `cdn` is the origin of the results, such as "http://127.0.0.1:8001"."""

    def __init__(self, context: SandboxContext, *, cdn: str) -> None:
        self._context = context
        self._cdn = cdn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        now = self._context.engine.advance()
        exchange = HttpExchange(scope, receive, send, date=http_date(int(now)))
        route = _ROUTES.get((scope["method"], scope["path"]))
        if route is None:
            answer = json_answer({"code": 404, "msg": "Not Found"}, status=404)
            scale = getattr(self._context.clock, "scale", 1.0)  # any callable may be a clock
            if scale != 1:  # so that a program which compares the clocks does not call its own wrong
                answer = attrs.evolve(answer, headers=(*answer.headers, (TIME_SCALE, f"{scale:g}".encode())))
            await exchange.answer(answer)
            return
        request = await self._read(route, exchange, now)
        if request is not None:
            await self._serve(request)

    async def _read(self, route: _Route, exchange: HttpExchange, now: float) -> Request | None:
        """Read and count a request; None when the client left before its end."""
        fields = None
        if route.method == "POST":
            body = await exchange.body()
            if body is None:
                return None
            fields = json_object(body)
        query = dict(parse_qsl(exchange.scope["query_string"].decode("latin-1")))
        request = Request(route, exchange, self._context, self._cdn, now, query, fields)
        audit = self._context.audit
        audit.note_request(route.name)
        if route.name == "status":
            audit.note_poll(query.get("video_model_id", ""), now)
        if route.paid:
            request.number = audit.next_create()
        if len(self._context.faults):
            if route.name == "status":
                request.seen = self._context.engine.peek(query.get("video_model_id", ""))
            target = FaultTarget.for_job(route.name, request.seen)
            if route.name == "create":
                target = attrs.evolve(target, languages=split_languages((fields or {}).get("language")))
            request.faults = self._context.faults.match(target)
            exchange.logged["fault"] = " ".join(fault.kind for fault in request.faults)
        return request

    async def _serve(self, request: Request) -> None:
        if request.faults_of(FaultKind.TOKEN_EXPIRED):
            self._context.authenticator.revoke()
        if request.faults:
            await wait_and_date(request.exchange, request.faults, request.now)
            request.now = self._context.engine.advance()
        spoiling = response_fault(request.faults, elsewhere=f"{self._cdn}/elsewhere")
        if spoiling is None:
            await request.exchange.answer(json_answer(await self._act(request)))
            return
        # A paid POST or a new token takes effect only if the fault says so: a test has to know whether
        # credits were spent. Reads change nothing, so their faults may always show the real answer.
        is_read = not request.route.paid and request.route.name != "token"
        shows = TRAITS[spoiling.kind].remains is not Remains.NOTHING
        if spoiling.acts or (is_read and shows):
            await send_spoiled(request.exchange, spoiling, await self._act(request))
        else:
            self._note_create(request)
            await send_spoiled(request.exchange, spoiling, None)

    async def _act(self, request: Request) -> dict[str, Any]:
        """Let the request take effect, record it and return the answer's envelope."""
        try:
            self._admit(request)
            answer = await request.route.endpoint(request)
        except ApiRejection as rejection:
            answer = refusal(rejection.code)
        request.code = request.exchange.logged["code"] = answer["code"]
        self._note_create(request)
        return answer

    def _admit(self, request: Request) -> None:
        authenticator = self._context.authenticator
        if not request.route.open:
            request.credential, code = authenticator.credential(request.exchange.headers, request.now)
            if code != 1000:
                raise ApiRejection(code, "the credential is missing or wrong")
        if not authenticator.admits(request.now):
            raise ApiRejection(1005, "requests come too often")

    def _note_create(self, request: Request) -> None:
        if not request.route.paid:
            return
        # The request was spoiled before it was judged; the audit has to know who sent it all the same.
        if request.code is None:
            headers = request.exchange.headers
            request.credential, _ = self._context.authenticator.credential(headers, request.now)
        self._context.audit.note(
            CreateRecord(
                number=request.number,
                at=request.now,
                endpoint=request.route.name,
                payload=request.fields,
                credential=request.credential,
                connection=request.exchange.connection.number,
                request_on_connection=request.exchange.connection.requests,
                acted=bool(request.job_ids),
                job_ids=tuple(request.job_ids),
                code=request.code,
                faults=tuple(fault.kind.value for fault in request.faults),
            )
        )


@attrs.define(eq=False)
class Request:
    """One request on its way through the API."""

    route: _Route
    exchange: HttpExchange
    context: SandboxContext
    cdn: str
    """The origin of the results."""
    now: float
    query: Mapping[str, str]
    fields: Mapping[str, Any] | None
    """The JSON object of the body, None when there is none."""
    faults: tuple[Fault, ...] = ()
    seen: SandboxJob | None = None
    """The polled job as it was when its faults were chosen."""
    number: int = 0
    credential: CredentialKind = "none"
    code: int | None = None
    job_ids: list[str] = attrs.field(factory=list)
    """The jobs that the request made."""

    def faults_of(self, kind: FaultKind) -> list[Fault]:
        """Return the faults of one kind that hit this request."""
        return [fault for fault in self.faults if fault.kind is kind]


async def create(request: Request) -> dict[str, Any]:
    """Accept a translation: one job per language."""
    context = request.context
    params = read_create(request.fields or {}, source_required=context.settings.legacy)
    source = params.spec.source_language
    if source != "DEFAULT" and context.language(source) is None:
        raise ApiRejection(1003, "source_language is unknown")
    if not any(context.language(language) for language in params.languages):
        raise ApiRejection(1003, "no language of the request is known")
    seconds = await context.media.examine(params.spec.url, params.spec.caption_url)
    results = [*_submit_all(request, params, seconds)]
    # What was accepted is paid, also where the answer leaves it out: a client has to find it otherwise.
    entries = [entry for entry, shown in results if shown]
    accepted = [entry for entry in entries if entry["code"] == 1000]
    # Unconfirmed: what the top level says when the last of several languages is refused.
    answer = dict(accepted[-1] if accepted else entries[-1] if entries else envelope(None))
    lists_all = not context.settings.legacy and not request.faults_of(FaultKind.NO_ALL_RESULTS)
    if len(results) > 1 and lists_all:
        answer["all_results"] = entries
    return answer


def _submit_all(
    request: Request, params: CreateParams, seconds: float
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Submit each language; yield its part of the answer and whether the answer shows it."""
    refused = {fault.language: fault.code for fault in request.faults_of(FaultKind.REFUSE_LANGUAGE)}
    omitted = {fault.language: fault.acts for fault in request.faults_of(FaultKind.OMIT_LANGUAGE)}
    for language in params.languages:
        if language in refused or None in refused:
            yield refusal(refused.get(language, refused.get(None, 1003))), True
        elif omitted.get(language, True):
            # An omitted language is a job that was paid for and never named: it exists, but is not shown.
            yield _submit(request, params, language, seconds), language not in omitted
    for fault in request.faults_of(FaultKind.EXTRA_LANGUAGE):
        spare = (
            one.code
            for one in request.context.languages
            if one.code not in params.languages and not one.needs_voice
        )
        yield _submit(request, params, fault.language or next(spare, "xx"), seconds, requested=False), True


def _submit(
    request: Request, params: CreateParams, language: str, seconds: float, *, requested: bool = True
) -> dict[str, Any]:
    context = request.context
    known = context.language(language)
    if requested and known is None:
        return refusal(1003)
    lacks_voice = known and known.needs_voice and language not in params.voices
    if requested and lacks_voice and context.settings.api_version == "current":
        # Unconfirmed: the code; the words are those that a third party has seen.
        return refusal(1003) | {"msg": "voice_id is required"}
    try:
        return _make_job(request, attrs.evolve(params.spec, language=language, seconds=seconds))
    except ApiRejection as rejection:
        return refusal(rejection.code)


def _make_job(request: Request, spec: JobSpec) -> dict[str, Any]:
    """Make a job and return its envelope."""
    settings = request.context.settings
    credits = settings.cost(spec.seconds, lipsync=spec.lipsync)  # noqa: A001 - the vendor's word
    spec = attrs.evolve(spec, credits=credits)
    faults = [fault for fault in request.faults if fault.language in (None, spec.language)]
    for fault in faults:
        if fault.kind is FaultKind.JOB_FAILS:
            spec = attrs.evolve(spec, failure=(fault.code, fault.value or FAILURE[1]))
        elif fault.kind is FaultKind.ODD_ID:
            spec = attrs.evolve(spec, short_id=fault.value == "number")
    job = request.context.engine.submit(spec)
    request.job_ids.append(job.id)
    data = created_job(job, settings)
    reshape(data, faults)
    return envelope(data)


async def lipsync(request: Request) -> dict[str, Any]:
    """Accept a lip-sync."""
    spec = read_lipsync(request.fields or {})
    seconds = await request.context.media.examine(spec.url, "")
    return _make_job(request, attrs.evolve(spec, seconds=seconds))


async def token(request: Request) -> dict[str, Any]:
    """Issue a token for the client's id and secret."""
    fields = request.fields or {}
    client_id, client_secret = fields.get("clientId"), fields.get("clientSecret")
    if not (isinstance(client_id, str) and isinstance(client_secret, str) and client_id and client_secret):
        raise ApiRejection(1003, "clientId or clientSecret is missing")
    if not request.context.authenticator.knows(client_id, client_secret):
        # Unconfirmed: which code the vendor answers to a wrong secret.
        raise ApiRejection(1101, "clientId or clientSecret is wrong")
    return {"code": 1000, "token": request.context.authenticator.issue(request.now)}


async def status(request: Request) -> dict[str, Any]:
    """Report the status of a job."""
    context = request.context
    job_id = request.query.get("video_model_id", "")
    if not job_id:
        raise ApiRejection(1003, "video_model_id is missing")
    job = context.engine.job(job_id)
    if job is None or request.faults_of(FaultKind.VANISH):
        raise ApiRejection(1008, "there is no such job")
    if request.faults_of(FaultKind.URL_FORBIDDEN):
        context.engine.mutate(job.forbid_urls)
    context.engine.mutate(job.renew_urls)
    # Without the copy from before the delay, a job that ends meanwhile would show what its fault rules out.
    seen = request.seen or copy.copy(job)
    seen.generation = job.generation
    data = job_status(seen, request.now, settings=context.settings, signer=context.signer, cdn=request.cdn)
    reshape(data, request.faults)
    return envelope(data)


async def languages(request: Request) -> dict[str, Any]:
    """List the languages."""
    return envelope(language_list(request.context.languages, request.context.settings))


async def voices(request: Request) -> dict[str, Any]:
    """List one page of the voices, of all languages or of one."""
    page = read_count(request.query.get("page"), "page", most=_MAX_COUNT, least=1, default=1)
    size = read_count(request.query.get("size"), "size", most=_MAX_COUNT, least=1, default=_MAX_PAGE_SIZE)
    size = min(size, _MAX_PAGE_SIZE)
    wanted = request.query.get("language_code", "")
    found = [voice for voice in request.context.voices if wanted in ("", voice.language_code)]
    shown = [voice_entry(voice) for voice in found[(page - 1) * size : page * size]]
    return envelope({"page": page, "size": size, "count": len(found), "result": shown})


async def credit(request: Request) -> dict[str, Any]:
    """Report what can be spent; credits locked for unfinished jobs are not counted."""
    # Unconfirmed: whether the vendor's balance still contains what is locked.
    return envelope({"credit": request.context.engine.credits.available})


@attrs.frozen
class _Route:
    name: str
    method: str
    path: str
    endpoint: Callable[[Request], Awaitable[dict[str, Any]]]
    paid: bool = False
    open: bool = False


_ROUTES: Final[Mapping[tuple[str, str], _Route]] = {
    (route.method, route.path): route
    for route in (
        _Route("token", "POST", "/api/open/v3/getToken", token, open=True),
        _Route("create", "POST", "/api/open/v3/content/video/createbytranslate", create, paid=True),
        _Route("lipsync", "POST", "/api/open/v3/content/video/lipsync", lipsync, paid=True),
        _Route("status", "GET", "/api/open/v3/content/video/infobymodelid", status),
        _Route("languages", "GET", "/api/open/v3/language/list", languages),
        _Route("voices", "GET", "/api/open/v4/voice/videoTranslation", voices),
        _Route("credit", "GET", "/api/open/v3/faceswap/quota/info", credit),
    )
}
