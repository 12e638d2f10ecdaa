"""The endpoints that cost money: translate a video, sync lips to a sound.

Each language is judged by itself: one may be refused while others become jobs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from akool_async.sandbox.context import SandboxContext
from akool_async.sandbox.faults import Fault, FaultKind
from akool_async.sandbox.jobs import COMPLETED, FAILED, ApiRejection, JobSpec, SandboxJob
from akool_async.sandbox.request_schema import CreateParams, read_count, read_create, read_lipsync
from akool_async.sandbox.response_schema import (
    created_job,
    envelope,
    job_status,
    language_list,
    refusal,
    voice_entry,
)

# One API request as its endpoint sees it, and what the endpoint makes of it.
#
# Values only, between the ASGI side in `api` and the endpoints in `orders` and `lookups`.


@attrs.frozen(kw_only=True, eq=False)
class Request:
    """A request that passed the gate."""

    world: SandboxContext
    now: float
    query: Mapping[str, str]
    fields: Mapping[str, Any] | None
    """The JSON object of the body, None when there is none."""
    faults: tuple[Fault, ...]
    cdn: str
    """The origin of the results."""
    seen: SandboxJob | None = None
    """The job that is asked about, where faults were chosen by how far it was."""

    def struck_by(self, do: FaultKind) -> Iterable[Fault]:
        """Return the faults of one kind that strike this request."""
        return [fault for fault in self.faults if fault.kind is do]


@attrs.frozen
class Reply:
    """What an endpoint decided."""

    envelope: dict[str, Any]
    job_ids: tuple[str, ...] = ()
    """The jobs that were made."""


@attrs.frozen
class _Result:
    """How one language came out."""

    language: str
    job: SandboxJob | None
    code: int = 1000
    shown: bool = True


async def create(call: Request) -> Reply:
    """Take orders for a translation, one job per language."""
    world = call.world
    if call.fields is None:
        raise ApiRejection(1003, "the body is not a JSON object")
    brief = read_create(call.fields, source_required=world.settings.legacy)
    if brief.source_language != "DEFAULT" and world.language(brief.source_language) is None:
        raise ApiRejection(1003, "source_language is unknown")
    if not any(world.language(language) for language in brief.languages):
        raise ApiRejection(1003, "no language of the request is known")
    seconds = await world.media.examine(brief.url, brief.caption_url)
    results = [*_results(call, brief, seconds)]
    made = tuple(result.job.id for result in results if result.job)
    return Reply(_answer(call, results), made)


def _results(call: Request, brief: CreateParams, seconds: float) -> Iterator[_Result]:
    refused = {fault.language: fault.code for fault in call.struck_by(FaultKind.REFUSE_LANGUAGE)}
    omitted = {fault.language: fault.acts for fault in call.struck_by(FaultKind.OMIT_LANGUAGE)}
    for language in brief.languages:
        if language in refused or None in refused:
            yield _Result(language, None, refused.get(language, refused.get(None, 1003)))
        elif omitted.get(language, True):
            yield attrs.evolve(_ordered(call, brief, language, seconds), shown=language not in omitted)
    for fault in call.struck_by(FaultKind.EXTRA_LANGUAGE):
        spare = (
            one.code
            for one in call.world.languages
            if one.code not in brief.languages and not one.needs_voice
        )
        yield _ordered(call, brief, fault.language or next(spare, "xx"), seconds, asked_for=False)


def _ordered(
    call: Request, brief: CreateParams, language: str, seconds: float, *, asked_for: bool = True
) -> _Result:
    try:
        if asked_for:
            _check_language(call, brief, language)
        return _Result(language, call.world.engine.submit(_order(call, brief, language, seconds)))
    except ApiRejection as refused:
        return _Result(language, None, refused.code)


def _check_language(call: Request, brief: CreateParams, language: str) -> None:
    known = call.world.language(language)
    if known is None:
        raise ApiRejection(1003, f"language {language!r} is unknown")
    # Unconfirmed: what the vendor answers when a voice is needed and none is given.
    if known.needs_voice and not call.world.settings.legacy and language not in brief.voices:
        raise ApiRejection(1003, f"language {language!r} needs an entry in voices_map")


def _order(call: Request, brief: CreateParams, language: str, seconds: float) -> JobSpec:
    return JobSpec(
        url=brief.url,
        language=language,
        seconds=seconds,
        credits=call.world.settings.cost(seconds, lipsync=brief.lipsync),
        source_language=brief.source_language,
        lipsync=brief.lipsync,
        speaker_num=brief.speaker_num,
        caption_type=brief.caption_type,
        caption_url=brief.caption_url,
        webhook_url=brief.webhook_url,
        options=brief.options,
    )


def _answer(call: Request, results: list[_Result]) -> dict[str, Any]:
    settings = call.world.settings
    shown = [result for result in results if result.shown]
    entries = [
        envelope(created_job(result.job, settings)) if result.job else refusal(result.code)
        for result in shown
    ]
    accepted = [entry for entry in entries if entry["code"] == 1000]
    # Unconfirmed: what stands at the top when the last of several languages is refused.
    answer = dict(accepted[-1] if accepted else entries[-1] if entries else envelope(None))
    several = len(results) > 1 and not settings.legacy and not call.struck_by(FaultKind.NO_ALL_RESULTS)
    if several:
        answer["all_results"] = entries
    return answer


async def lipsync(call: Request) -> Reply:
    """Take the order for a lip-sync."""
    if call.fields is None:
        raise ApiRejection(1003, "the body is not a JSON object")
    brief = read_lipsync(call.fields)
    seconds = await call.world.media.examine(brief.video_url, "")
    settings = call.world.settings
    order = JobSpec(
        kind="lipsync",
        url=brief.video_url,
        audio_url=brief.audio_url,
        language="",
        lipsync=True,
        seconds=seconds,
        credits=settings.cost(seconds, lipsync=True),
        webhook_url=brief.webhook_url,
        options=brief.audio_url,
    )
    job = call.world.engine.submit(order)
    return Reply(envelope(created_job(job, settings)), (job.id,))


# The endpoints that only tell: status of a job, languages, voices, credit; and the one for tokens.
#
# Reading costs nothing and may be repeated at will.


_LARGEST_PAGE: Final = 100
_MOST: Final = 1_000_000


async def token(call: Request) -> Reply:
    """Grant a token for the client's id and secret."""
    fields = call.fields or {}
    client_id, client_secret = fields.get("clientId"), fields.get("clientSecret")
    if not (isinstance(client_id, str) and isinstance(client_secret, str) and client_id and client_secret):
        raise ApiRejection(1003, "clientId or clientSecret is missing")
    if not call.world.authenticator.knows(client_id, client_secret):
        # Unconfirmed: which code the vendor answers to a wrong secret.
        raise ApiRejection(1101, "clientId or clientSecret is wrong")
    return Reply({"code": 1000, "token": call.world.tokens.issue(call.now)})


async def status(call: Request) -> Reply:
    """Tell how far a job is."""
    job_id = call.query.get("video_model_id", "")
    if not job_id:
        raise ApiRejection(1003, "video_model_id is missing")
    job = call.world.engine.job(job_id)
    if job is None or call.struck_by(FaultKind.VANISH):
        raise ApiRejection(1008, "there is no such job")
    for _ in call.struck_by(FaultKind.URL_FORBIDDEN):
        call.world.engine.mutate(lambda: _forbid(job))
    call.world.engine.mutate(lambda: _renew(job))
    world = call.world
    seen = call.seen or copy.copy(job)
    seen.generation = job.generation
    data = job_status(seen, call.now, settings=world.settings, signer=world.signer, cdn=call.cdn)
    return Reply(envelope(_spoiled(call, seen, data)))


def _forbid(job: SandboxJob) -> None:
    if not job.stale:
        job.forbidden |= {job.generation}


def _renew(job: SandboxJob) -> None:
    if job.stale:
        job.generation += 1
        job.stale = False


def _spoiled(call: Request, job: SandboxJob, data: dict[str, Any]) -> dict[str, Any]:
    for fault in call.faults:
        match fault.kind:
            case FaultKind.UNKNOWN_STATUS:
                data["video_status"] = fault.value
            case FaultKind.DONE_WITHOUT_URL:
                data["video"] = ""
                data.pop("audio_splits", None)
            case FaultKind.STUCK if job.status not in (COMPLETED, FAILED) and "progress" in data:
                data["progress"] = fault.value
            case _:
                pass
    return data


async def languages(call: Request) -> Reply:
    """List the languages."""
    return Reply(envelope(language_list(call.world.languages, legacy=call.world.settings.legacy)))


async def voices(call: Request) -> Reply:
    """List one page of the voices, of all languages or of one."""
    page = read_count(call.query.get("page"), "page", most=_MOST, least=1, usual=1)
    size = read_count(call.query.get("size"), "size", most=_MOST, least=1, usual=_LARGEST_PAGE)
    size = min(size, _LARGEST_PAGE)
    wanted = call.query.get("language_code", "")
    found = [voice for voice in call.world.voices if wanted in ("", voice.language_code)]
    shown = found[(page - 1) * size : page * size]
    return Reply(
        envelope(
            {"page": page, "size": size, "count": len(found), "result": [voice_entry(one) for one in shown]}
        )
    )


async def credit(call: Request) -> Reply:
    """Tell what is left to spend; credits locked for jobs at work are not counted."""
    # Unconfirmed: whether the vendor's balance still contains what is locked.
    return Reply(envelope({"credit": call.world.engine.credits.available}))
