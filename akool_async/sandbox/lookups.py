"""The endpoints that only tell: status of a job, languages, voices, credit; and the one for tokens.

Reading costs nothing and may be repeated at will.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from akool_async.sandbox.call import Call, Reply
from akool_async.sandbox.faults import Do
from akool_async.sandbox.jobs import COMPLETED, FAILED, Job
from akool_async.sandbox.params import read_count
from akool_async.sandbox.refusal import Refused
from akool_async.sandbox.shapes import envelope, job_status, language_list, voice_entry

__all__ = ["credit", "languages", "status", "token", "voices"]

_LARGEST_PAGE: Final = 100
_MOST: Final = 1_000_000


async def token(call: Call) -> Reply:
    """Grant a token for the client's id and secret."""
    fields = call.fields or {}
    client_id, client_secret = fields.get("clientId"), fields.get("clientSecret")
    if not (isinstance(client_id, str) and isinstance(client_secret, str) and client_id and client_secret):
        raise Refused(1003, "clientId or clientSecret is missing")
    if not call.world.gate.knows(client_id, client_secret):
        # Unconfirmed: which code the vendor answers to a wrong secret.
        raise Refused(1101, "clientId or clientSecret is wrong")
    return Reply({"code": 1000, "token": call.world.tokens.grant(call.now)})


async def status(call: Call) -> Reply:
    """Tell how far a job is."""
    job_id = call.query.get("video_model_id", "")
    if not job_id:
        raise Refused(1003, "video_model_id is missing")
    job = call.world.engine.job(job_id)
    if job is None or call.struck_by(Do.VANISH):
        raise Refused(1008, "there is no such job")
    for _ in call.struck_by(Do.URL_FORBIDDEN):
        call.world.engine.edit(lambda: _forbid(job))
    call.world.engine.edit(lambda: _renew(job))
    world = call.world
    seen = call.seen or copy.copy(job)
    seen.generation = job.generation
    data = job_status(seen, call.now, settings=world.settings, signer=world.signer, cdn=call.cdn)
    return Reply(envelope(_spoiled(call, seen, data)))


def _forbid(job: Job) -> None:
    if not job.stale:
        job.forbidden |= {job.generation}


def _renew(job: Job) -> None:
    if job.stale:
        job.generation += 1
        job.stale = False


def _spoiled(call: Call, job: Job, data: dict[str, Any]) -> dict[str, Any]:
    for fault in call.faults:
        match fault.do:
            case Do.UNKNOWN_STATUS:
                data["video_status"] = fault.value
            case Do.DONE_WITHOUT_URL:
                data["video"] = ""
                data.pop("audio_splits", None)
            case Do.STUCK if job.status not in (COMPLETED, FAILED) and "progress" in data:
                data["progress"] = fault.value
            case _:
                pass
    return data


async def languages(call: Call) -> Reply:
    """List the languages."""
    return Reply(envelope(language_list(call.world.languages, legacy=call.world.settings.legacy)))


async def voices(call: Call) -> Reply:
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


async def credit(call: Call) -> Reply:
    """Tell what is left to spend; credits locked for jobs at work are not counted."""
    # Unconfirmed: whether the vendor's balance still contains what is locked.
    return Reply(envelope({"credit": call.world.engine.credits.available}))
