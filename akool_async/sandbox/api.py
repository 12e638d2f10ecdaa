"""The API's origin as an ASGI application: routes, gate, faults, then the endpoint.

Nearly everything is answered with HTTP 200 and an envelope, as the vendor does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import anyio
import attrs

from akool_async.sandbox import endpoints as lookups
from akool_async.sandbox import endpoints as orders
from akool_async.sandbox.audit import CreateRecord
from akool_async.sandbox.auth import CredentialKind
from akool_async.sandbox.context import SandboxContext
from akool_async.sandbox.endpoints import Reply, Request
from akool_async.sandbox.fault_effects import DISTORTIONS, JSON, encode, response_fault
from akool_async.sandbox.faults import Fault, FaultKind, FaultTarget
from akool_async.sandbox.http import Answer, HttpExchange, Receive, Scope, Send, http_date
from akool_async.sandbox.jobs import ApiRejection, SandboxJob
from akool_async.sandbox.request_schema import json_object, split_languages
from akool_async.sandbox.response_schema import refusal

__all__ = ["VendorApi"]


@attrs.frozen
class _Route:
    name: str
    method: str
    endpoint: Callable[[Request], Awaitable[Reply]]
    paid: bool = False
    open: bool = False


_ROUTES: Final[Mapping[str, _Route]] = {
    "/api/open/v3/getToken": _Route("token", "POST", lookups.token, open=True),
    "/api/open/v3/content/video/createbytranslate": _Route("create", "POST", orders.create, paid=True),
    "/api/open/v3/content/video/lipsync": _Route("lipsync", "POST", orders.lipsync, paid=True),
    "/api/open/v3/content/video/infobymodelid": _Route("status", "GET", lookups.status),
    "/api/open/v3/language/list": _Route("languages", "GET", lookups.languages),
    "/api/open/v4/voice/videoTranslation": _Route("voices", "GET", lookups.voices),
    "/api/open/v3/faceswap/quota/info": _Route("credit", "GET", lookups.credit),
}


@attrs.define
class _RequestState:
    """One request on its way through the API."""

    route: _Route
    exchange: HttpExchange
    now: float
    query: Mapping[str, str]
    fields: dict[str, Any] | None
    number: int = 0
    faults: tuple[Fault, ...] = ()
    credential: CredentialKind = "none"
    code: int | None = None
    job_ids: tuple[str, ...] = ()
    seen: SandboxJob | None = None
    """The job that is asked about, as it was when faults were chosen for the answer."""


class VendorApi:
    """The vendor's API.

    Args:
        world: The sandbox's parts.
        cdn: The origin on which results lie, such as "http://127.0.0.1:8001".
    """

    def __init__(self, world: SandboxContext, *, cdn: str) -> None:
        """Take the parts over."""
        self._world = world
        self._cdn = cdn

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        now = self._world.engine.advance()
        exchange = HttpExchange(scope, receive, send, date=http_date(int(now)))
        route = _ROUTES.get(scope["path"])
        if route is None or route.method != scope["method"]:
            await exchange.answer(Answer(404, JSON, encode({"code": 404, "msg": "Not Found", "data": None})))
            return
        visit = await self._arrive(route, exchange, now)
        if visit is not None:
            await self._serve(visit)

    async def _arrive(self, route: _Route, exchange: HttpExchange, now: float) -> _RequestState | None:
        """Take a request down; None when the client left before its end."""
        query = dict(parse_qsl(exchange.scope["query_string"].decode("latin-1")))
        fields = None
        if route.method == "POST":
            body = await exchange.body()
            if body is None:
                return None
            fields = json_object(body)
        visit = _RequestState(route, exchange, now, query, fields)
        self._world.audit.note_request(route.name)
        if route.name == "status":
            self._world.audit.note_poll(query.get("video_model_id", ""), now)
        if route.paid:
            visit.number = self._world.audit.next_create()
        if len(self._world.faults):
            visit.faults = self._world.faults.match(self._subject(visit))
        return visit

    def _subject(self, visit: _RequestState) -> FaultTarget:
        name = visit.route.name
        if name == "create":
            return FaultTarget(on=name, languages=split_languages((visit.fields or {}).get("language")))
        job = self._world.engine.peek(visit.query.get("video_model_id", "")) if name == "status" else None
        if job is None:
            return FaultTarget(on=name)
        visit.seen = job
        return FaultTarget(
            on=name, jobs=((job.ordinal, job.id),), languages=(job.spec.language,), status=job.status
        )

    async def _serve(self, visit: _RequestState) -> None:
        if not visit.faults:
            await visit.exchange.answer(Answer(200, JSON, encode(await self._act(visit))))
            return
        await self._prepare(visit)
        spoiler = response_fault(visit.faults, elsewhere=f"{self._cdn}/elsewhere")
        if spoiler is None:
            await visit.exchange.answer(Answer(200, JSON, encode(await self._act(visit))))
            return
        harmless = not visit.route.paid and visit.route.name != "token"
        acts = spoiler.acts or (
            harmless
            and spoiler.kind in {FaultKind.HUGE, FaultKind.WRONG_TYPE, FaultKind.TRUNCATED, FaultKind.SHORT}
        )
        envelope = await self._act(visit) if acts else None
        if not acts:
            self._note(visit)
        await DISTORTIONS[spoiler.kind](visit.exchange, spoiler, envelope)

    async def _prepare(self, visit: _RequestState) -> None:
        for fault in visit.faults:
            if fault.kind is FaultKind.DELAY:
                await anyio.sleep(fault.seconds)
            elif fault.kind is FaultKind.TOKEN_EXPIRED:
                self._world.tokens.revoke()
        visit.now = self._world.engine.advance()

    async def _act(self, visit: _RequestState) -> dict[str, Any]:
        """Let the request have its effect, write it down and return the answer's envelope."""
        try:
            self._admit(visit)
            call = Request(
                world=self._world,
                now=visit.now,
                query=visit.query,
                fields=visit.fields,
                faults=visit.faults,
                cdn=self._cdn,
                seen=visit.seen,
            )
            reply = await visit.route.endpoint(call)
        except ApiRejection as refused:
            reply = Reply(refusal(refused.code))
        visit.code, visit.job_ids = reply.envelope["code"], reply.job_ids
        self._note(visit)
        return reply.envelope

    def _admit(self, visit: _RequestState) -> None:
        world = self._world
        if not visit.route.open:
            visit.credential, code = world.authenticator.credential(visit.exchange.headers, visit.now)
            if code != 1000:
                raise ApiRejection(code, "the credential is missing or wrong")
        if not world.authenticator.admits(visit.now):
            raise ApiRejection(1005, "requests come too often")

    def _note(self, visit: _RequestState) -> None:
        if not visit.route.paid:
            return
        if visit.code is None:
            visit.credential, _ = self._world.authenticator.credential(visit.exchange.headers, visit.now)
        self._world.audit.note(
            CreateRecord(
                number=visit.number,
                at=visit.now,
                endpoint=visit.route.name,
                payload=visit.fields,
                credential=visit.credential,
                connection=visit.exchange.line.number,
                request_on_connection=visit.exchange.line.requests,
                acted=bool(visit.job_ids),
                job_ids=visit.job_ids,
                code=visit.code,
                faults=tuple(fault.kind.value for fault in visit.faults),
            )
        )
