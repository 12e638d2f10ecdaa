"""What a paid POST answers, language by language, with no job id lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from akool_async._core.codes import SUCCESS
from akool_async._core.errors import AkoolError, ProtocolError, VendorError
from akool_async._core.failures import error_of
from akool_async._core.models import Job, Refusal, Submission
from akool_async._core.requests import LipSyncRequest, Request
from akool_async._core.wire.envelope import Envelope, with_ids
from akool_async._core.wire.fields import structure
from akool_async._core.wire.scalars import as_mapping, read_id, read_int, read_words


def read_submission(envelope: Envelope, request: Request) -> Submission:
    """Read the answer of a create POST, language by language.

    `all_results` is matched by language and never by position. Ids that belong to no language of
    the request are kept in `extra`.

    Raises:
        AkoolError: the vendor refused the whole request: no job was made.
        ProtocolError: the answer does not say what became of the request; `job_ids` holds the ids
            that stand somewhere in it all the same.
    """
    results = envelope.whole.get("all_results")
    parts = [_part(item) for item in results] if isinstance(results, list) else []
    jobs = _jobs((*parts, envelope), request)
    refusals = [part for part in parts if _refuses(part)]
    if not jobs:
        strays = tuple(dict.fromkeys(job_id for job_id, _ in with_ids(envelope.whole)))
        if strays:
            raise ProtocolError("The vendor names a job in an unknown place.", job_ids=strays)
        if not envelope.ok and len(refusals) == len(parts) and not leaves_out(envelope, len(request.targets)):
            raise error_of(envelope.code, envelope.message)
        if not parts:
            raise ProtocolError("The vendor says success but names no job.")
    return _sort(jobs, parts, envelope, request)


def leaves_out(envelope: Envelope, languages: int) -> bool:
    """Whether the answer lists results for single languages, and fewer than were asked for.

    Then the code of the whole says nothing about those that are left out: they may be at work.
    """
    results = envelope.whole.get("all_results")
    return isinstance(results, list) and 0 < len(results) < languages


def _part(item: object) -> Envelope:
    whole = as_mapping(item)
    inner = whole.get("data") or (whole if "_id" in whole else None)
    return Envelope(
        code=read_int(whole.get("code")), message=read_words(whole.get("msg")), data=inner, whole=whole
    )


def _refuses(part: Envelope) -> bool:
    """Whether a part says that no job was made; one that holds an id does not."""
    return part.code not in (None, SUCCESS) and not any(with_ids(part.whole))


def _jobs(parts: Iterable[Envelope], request: Request) -> dict[str, Job]:
    jobs: dict[str, Job] = {}
    for part in parts:
        for raw in part.data if isinstance(part.data, list) else [part.data]:
            job_id = read_id(as_mapping(raw).get("_id"))
            if job_id is not None and job_id not in jobs:
                jobs[job_id] = _job(job_id, raw, request, language=read_words(part.whole.get("language")))
    return jobs


def _job(job_id: str, raw: Mapping[str, Any], request: Request, language: str = "") -> Job:
    job = structure(raw, Job, _id=job_id)
    return attrs.evolve(job, target=_target(job.target or language, request))


def _folded(language: str) -> str:
    return language.lower().replace("_", "-")


def _target(answered: str, request: Request) -> str:
    if isinstance(request, LipSyncRequest):
        return ""
    for target in request.targets:
        if _folded(target) == _folded(answered):
            return target
    return answered


def _named(refusals: list[Envelope]) -> tuple[dict[str, AkoolError], list[AkoolError]]:
    """Sort refusals into those that name a language and those that don't."""
    named: dict[str, AkoolError] = {}
    nameless: list[AkoolError] = []
    for part in refusals:
        language = read_words(as_mapping(part.data).get("language")) or read_words(part.whole.get("language"))
        error = error_of(part.code, part.message)
        if language:
            named[_folded(language)] = error
        else:
            nameless.append(error)
    return named, nameless


def _sort(jobs: dict[str, Job], parts: list[Envelope], envelope: Envelope, request: Request) -> Submission:
    if len(jobs) == len(request.targets) == 1:
        jobs = {job_id: attrs.evolve(job, target=request.targets[0]) for job_id, job in jobs.items()}
    accepted: dict[str, Job] = {}
    for job in jobs.values():
        if job.target in request.targets:
            accepted.setdefault(job.target, job)
    left = [target for target in request.targets if target not in accepted]
    extra = [job for job in jobs.values() if accepted.get(job.target) is not job]
    refused = _refused(left, parts, alone=len(request.targets) == 1, strangers=bool(extra))
    missing = tuple(target for target in left if target not in {refusal.target for refusal in refused})
    if missing:
        extra += _strays(envelope, jobs, request)
    return Submission(
        accepted=tuple(accepted[target] for target in request.targets if target in accepted),
        refused=refused,
        missing=missing,
        extra=tuple(extra),
    )


def _strays(envelope: Envelope, jobs: Mapping[str, Job], request: Request) -> Iterable[Job]:
    """Ids in places where jobs are not expected: they may be of a language that is missing."""
    found = {job_id: raw for job_id, raw in with_ids(envelope.whole) if job_id not in jobs}
    return (_job(job_id, raw, request) for job_id, raw in found.items())


def _refused(left: list[str], parts: list[Envelope], *, alone: bool, strangers: bool) -> tuple[Refusal, ...]:
    """Match by name; refusals without a name only when they must be all that is left.

    Args:
        left: languages for which there is no job.
        parts: the answers for single languages.
        alone: whether the request has one language only, so that its name does not matter.
        strangers: whether there are jobs that could be of a language that is left.
    """
    refusals = [part for part in parts if _refuses(part)]
    named, nameless = _named(refusals)
    if alone and not strangers and refusals and len(refusals) == len(parts):
        named, nameless = {}, [_either([*named.values(), *nameless])]
    unnamed = [target for target in left if _folded(target) not in named]
    found = {target: named[_folded(target)] for target in left if _folded(target) in named}
    if nameless and not strangers and len(nameless) == len(unnamed):
        found.update(dict.fromkeys(unnamed, _either(nameless)))
    return tuple(Refusal(target=target, error=found[target]) for target in left if target in found)


def _either(errors: list[AkoolError]) -> AkoolError:
    if len({error.code for error in errors}) == 1:
        return errors[0]
    codes = ", ".join(str(error.code) for error in errors)
    return VendorError(
        f"The vendor refused several languages with the codes {codes}, without saying which got which.",
        money="No job was made for them and nothing was charged.",
        code=errors[0].code,
    )
