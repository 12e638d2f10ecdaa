"""The endpoints that cost money: translate a video, sync lips to a sound.

Each language is judged by itself: one may be refused while others become jobs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from akool_async.sandbox.call import Call, Reply
from akool_async.sandbox.faults import Do
from akool_async.sandbox.jobs import Job, Order
from akool_async.sandbox.params import Brief, read_create, read_lipsync
from akool_async.sandbox.refusal import Refused
from akool_async.sandbox.shapes import created_job, envelope, refusal

__all__ = ["create", "lipsync"]


@attrs.frozen
class _Result:
    """How one language came out."""

    language: str
    job: Job | None
    code: int = 1000
    shown: bool = True


async def create(call: Call) -> Reply:
    """Take orders for a translation, one job per language."""
    world = call.world
    if call.fields is None:
        raise Refused(1003, "the body is not a JSON object")
    brief = read_create(call.fields, source_required=world.settings.legacy)
    if brief.source_language != "DEFAULT" and world.language(brief.source_language) is None:
        raise Refused(1003, "source_language is unknown")
    if not any(world.language(language) for language in brief.languages):
        raise Refused(1003, "no language of the request is known")
    seconds = await world.examine(brief.url, brief.caption_url)
    results = [*_results(call, brief, seconds)]
    made = tuple(result.job.id for result in results if result.job)
    return Reply(_answer(call, results), made)


def _results(call: Call, brief: Brief, seconds: float) -> Iterator[_Result]:
    refused = {fault.language: fault.code for fault in call.struck_by(Do.REFUSE_LANGUAGE)}
    omitted = {fault.language: fault.acts for fault in call.struck_by(Do.OMIT_LANGUAGE)}
    for language in brief.languages:
        if language in refused or None in refused:
            yield _Result(language, None, refused.get(language, refused.get(None, 1003)))
        elif omitted.get(language, True):
            yield attrs.evolve(_ordered(call, brief, language, seconds), shown=language not in omitted)
    for fault in call.struck_by(Do.EXTRA_LANGUAGE):
        spare = (
            one.code
            for one in call.world.languages
            if one.code not in brief.languages and not one.needs_voice
        )
        yield _ordered(call, brief, fault.language or next(spare, "xx"), seconds, asked_for=False)


def _ordered(call: Call, brief: Brief, language: str, seconds: float, *, asked_for: bool = True) -> _Result:
    try:
        if asked_for:
            _check_language(call, brief, language)
        return _Result(language, call.world.engine.submit(_order(call, brief, language, seconds)))
    except Refused as refused:
        return _Result(language, None, refused.code)


def _check_language(call: Call, brief: Brief, language: str) -> None:
    known = call.world.language(language)
    if known is None:
        raise Refused(1003, f"language {language!r} is unknown")
    # Unconfirmed: what the vendor answers when a voice is needed and none is given.
    if known.needs_voice and not call.world.settings.legacy and language not in brief.voices:
        raise Refused(1003, f"language {language!r} needs an entry in voices_map")


def _order(call: Call, brief: Brief, language: str, seconds: float) -> Order:
    return Order(
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


def _answer(call: Call, results: list[_Result]) -> dict[str, Any]:
    settings = call.world.settings
    shown = [result for result in results if result.shown]
    entries = [
        envelope(created_job(result.job, settings)) if result.job else refusal(result.code)
        for result in shown
    ]
    accepted = [entry for entry in entries if entry["code"] == 1000]
    # Unconfirmed: what stands at the top when the last of several languages is refused.
    answer = dict(accepted[-1] if accepted else entries[-1] if entries else envelope(None))
    several = len(results) > 1 and not settings.legacy and not call.struck_by(Do.NO_ALL_RESULTS)
    if several:
        answer["all_results"] = entries
    return answer


async def lipsync(call: Call) -> Reply:
    """Take the order for a lip-sync."""
    if call.fields is None:
        raise Refused(1003, "the body is not a JSON object")
    brief = read_lipsync(call.fields)
    seconds = await call.world.examine(brief.video_url, "")
    settings = call.world.settings
    order = Order(
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
