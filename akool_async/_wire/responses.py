"""The outer part of every answer: a code, the vendor's words, and what is inside."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import attrs

from akool_async._model.codes import SUCCESS, error_for
from akool_async._model.errors import AkoolError, ProtocolError, VendorError
from akool_async._model.redact import Secret, sanitize
from akool_async._model.requests import LipSyncRequest, Request, fold_language
from akool_async._model.responses import Job, Language, Refusal, Snapshot, Submission, Voice, VoicePage
from akool_async._wire.fields import (
    as_mapping,
    read_clean_text,
    read_float,
    read_id,
    read_int,
    read_text,
    structure,
)
from akool_async._wire.ids import (
    DEEPEST,
    find_job_ids,
    find_possible_ids,
    holds_id,
    inside,
    iter_job_objects,
    parse_torn,
    possible_ids,
    text_of,
)
from akool_async._wire.requests import create_payload


@attrs.frozen(kw_only=True)
class Envelope:
    """The outer part of every answer.

    Attributes:
        code: the business code; None when there was none that could be read.
        message: the vendor's words, cleaned.
    """

    code: int | None
    message: str = ""
    data: Any = attrs.field(default=None, repr=False)
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    @property
    def ok(self) -> bool:
        """Whether the vendor says success."""
        return self.code == SUCCESS


def read_envelope(body: bytes) -> Envelope:
    """Read the body of an answer.

    Raises:
        ProtocolError: it is no JSON object with a code; `job_ids` holds what ids can still be read.
    """
    try:
        whole = json.loads(body)
    except (ValueError, RecursionError) as error:
        what = "an empty body" if not body.strip() else "something that is not JSON"
        raise _unreadable(what, body) from error
    if not isinstance(whole, dict):
        raise _unreadable("JSON that is not an object", body)
    # Counted first: to walk through every answer would cost more than parsing it.
    if body.count(b"{") + body.count(b"[") > DEEPEST:
        layer: list[Any] = [whole]
        for _ in range(DEEPEST):
            layer = [inner for item in layer for inner in inside(item) if isinstance(inner, dict | list)]
        if layer:
            raise _unreadable("JSON that is nested too deeply", body)
    # Other servers answer in JSON, too: without the vendor's code nothing is believed.
    code = read_int(whole.get("code"))
    if code is None:
        raise _unreadable("an object without a code", body)
    return Envelope(code=code, message=read_clean_text(whole.get("msg")), data=whole.get("data"), raw=whole)


def _unreadable(what: str, body: bytes) -> ProtocolError:
    return ProtocolError(f"The vendor answered with {what}.", job_ids=find_job_ids(body))


def find_jobs(answer: bytes | Mapping[str, Any], request: Request) -> tuple[Job, ...]:
    """Return every job that can still be read in an answer that is unusable as a whole.

    Args:
        answer: a body, whole or torn, or an object that was read from one.
        request: what was asked for.

    Returns:
        The jobs, each id once. `target` is a language of the request where the answer tells it.
    """
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    whole = as_mapping(parse_torn(text_of(body)))
    top = Envelope(code=None, data=whole.get("data"), raw=whole)
    jobs = _jobs((*_parts(whole), top), request)
    for job_id, raw in iter_job_objects(whole):
        if job_id not in jobs:
            jobs[job_id] = _job(job_id, raw, request)
    for job_id in find_job_ids(body):
        jobs.setdefault(job_id, Job(id=job_id))
    for job_id in find_possible_ids(body, create_payload(request)):
        jobs.setdefault(job_id, Job(id=job_id))
    return tuple(_named_by_the_only_target(jobs, request).values())


def read_token(envelope: Envelope) -> Secret:
    """Return the bearer token of a getToken answer; it is at the top level."""
    # Documented at the top; elsewhere the vendor puts everything into `data`.
    for place in (envelope.raw, as_mapping(envelope.data)):
        token = place.get("token")
        if isinstance(token, str) and token.strip() and token.isascii() and token.isprintable():
            return Secret(token.strip())
    raise ProtocolError("The vendor answered getToken without a usable token.")


T = TypeVar("T")


def read_snapshot(envelope: Envelope, job_id: str) -> Snapshot:
    """Read an answer of infobymodelid about `job_id`.

    Raises:
        ProtocolError: it holds no data, or data about another job.
    """
    data = envelope.data
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    if not isinstance(data, dict) or not data:
        raise ProtocolError(f"The vendor answered about job {job_id} without any data.")
    answered = read_text(data.get("_id"))
    # A cache that ignores the query gives every job the first one's answer, and its result URL.
    if answered and answered != job_id:
        raise ProtocolError(
            f"The vendor answered for job {sanitize(answered)} instead of job {job_id}.",
            job_ids=tuple(filter(None, [read_id(answered)])),
        )
    return structure(data, Snapshot, _id=job_id)


def read_job(snapshot: Snapshot) -> Job:
    """Return the job that a status call found, as far as its answer tells."""
    return structure(snapshot.raw, Job, _id=snapshot.job_id)


def _list_of(envelope: Envelope, name: str) -> list[Any]:
    data = envelope.data
    items = data if isinstance(data, list) else as_mapping(data).get(name)
    if not isinstance(items, list):
        raise ProtocolError(f"The vendor answered without a list {name!r}.")
    return items


def _models(items: list[Any], model: type[T], needed: str) -> Iterator[T]:
    for item in items:
        if isinstance(item, dict) and read_clean_text(item.get(needed)):
            yield structure(item, model)


def read_languages(envelope: Envelope) -> tuple[Language, ...]:
    """Read the list of languages; one version of the API sends it bare."""
    return tuple(_models(_list_of(envelope, "lang_list"), Language, "lang_code"))


def read_voices(envelope: Envelope) -> VoicePage:
    """Read one page of voices."""
    items = _list_of(envelope, "result")
    voices = tuple(_models(items, Voice, "voice_id"))
    count = read_int(as_mapping(envelope.data).get("count"))
    return VoicePage(voices=voices, count=count, entries=len(items))


def read_credit(envelope: Envelope) -> float:
    """Read the balance, in credits."""
    credit = read_float(as_mapping(envelope.data).get("credit"))
    if credit is None:
        raise ProtocolError("The vendor answered without a balance.")
    return credit


def read_submission(envelope: Envelope, request: Request) -> Submission:
    """Read the answer of a create POST, language by language.

    `all_results` is matched by language and never by position. Ids that belong to no language of
    the request are kept in `extra`.

    Raises:
        AkoolError: the vendor refused the whole request: no job was made.
        ProtocolError: the answer does not say what became of the request; `job_ids` holds the ids
            that are somewhere in it all the same.
    """
    parts = _parts(envelope.raw)
    jobs = _jobs((*parts, envelope), request)
    refusals = [part for part in parts if _refuses(part, request)]
    if not jobs:
        strays = tuple(dict.fromkeys(job_id for job_id, _ in iter_job_objects(envelope.raw)))
        if strays:
            raise ProtocolError("The vendor names a job in an unknown place.", job_ids=strays)
        # A refusal makes no job. With an id in it, it may be something else, and a repeat may pay twice.
        if not envelope.ok and holds_id(envelope.raw, create_payload(request)):
            raise ProtocolError("The vendor refused the call, but the answer holds an id, perhaps a job's.")
        if (
            not envelope.ok
            and len(refusals) == len(parts)
            and not omits_targets(envelope, len(request.targets))
        ):
            raise error_for(envelope.code, envelope.message, creating=True)
        if not parts:
            raise ProtocolError("The vendor says success but names no job.")
    return _match_jobs_to_targets(jobs, parts, envelope, request)


def omits_targets(envelope: Envelope, languages: int) -> bool:
    """Whether the answer lists results for single languages, and fewer than were asked for.

    Then the code of the whole says nothing about those that are left out: they may be in progress.
    """
    results = envelope.raw.get("all_results")
    return isinstance(results, list) and 0 < len(results) < languages


def _parts(whole: Mapping[str, Any]) -> list[Envelope]:
    """Return the answers for single languages."""
    parts = []
    results = whole.get("all_results")
    for item in map(as_mapping, results if isinstance(results, list) else []):
        inner = item.get("data") or (item if "_id" in item else None)
        message = read_clean_text(item.get("msg"))
        parts.append(Envelope(code=read_int(item.get("code")), message=message, data=inner, raw=item))
    return parts


def _refuses(part: Envelope, request: Request) -> bool:
    """Whether a part says that no job was made; one that holds an id does not."""
    return part.code not in (None, SUCCESS) and not holds_id(part.raw, create_payload(request))


def _jobs(parts: Iterable[Envelope], request: Request) -> dict[str, Job]:
    jobs: dict[str, Job] = {}
    for part in parts:
        for raw in part.data if isinstance(part.data, list) else [part.data]:
            job_id = read_id(as_mapping(raw).get("_id"))
            if job_id is not None and job_id not in jobs:
                jobs[job_id] = _job(job_id, raw, request, language=read_clean_text(part.raw.get("language")))
    return jobs


def _job(job_id: str, raw: Mapping[str, Any], request: Request, language: str = "") -> Job:
    job = structure(raw, Job, _id=job_id)
    answered = job.target or language
    if isinstance(request, LipSyncRequest):
        answered = ""
    elif answered not in request.targets:  # the vendor may spell it in another way
        same = (target for target in request.targets if fold_language(target) == fold_language(answered))
        answered = next(same, answered)
    return attrs.evolve(job, target=answered)


def _named_by_the_only_target(jobs: dict[str, Job], request: Request) -> dict[str, Job]:
    """Return the jobs; the only one for the only language is its own, whatever the answer calls it."""
    # The vendor may answer "ja-JP" for "ja": with one job and one language there is nothing to mix up.
    if len(jobs) == len(request.targets) == 1:
        return {job_id: attrs.evolve(job, target=request.targets[0]) for job_id, job in jobs.items()}
    return jobs


def _match_jobs_to_targets(
    jobs: dict[str, Job], parts: list[Envelope], envelope: Envelope, request: Request
) -> Submission:
    jobs = _named_by_the_only_target(jobs, request)
    accepted: dict[str, Job] = {}
    for job in jobs.values():
        if job.target in request.targets:
            # The first one; a second job of a language is in `extra`, since it may be billed as well.
            accepted.setdefault(job.target, job)
    left = [target for target in request.targets if target not in accepted]
    extra = [job for job in jobs.values() if accepted.get(job.target) is not job]
    refused = _refused(left, parts, request, strangers=bool(extra))
    missing = tuple(target for target in left if target not in {refusal.target for refusal in refused})
    if missing:  # an id in a place where no job is expected may be of a language that is missing
        found = {job_id: raw for job_id, raw in iter_job_objects(envelope.raw) if job_id not in jobs}
        extra += (_job(job_id, raw, request) for job_id, raw in found.items())
        known = {*jobs, *found}
        possible = possible_ids(envelope.raw, create_payload(request))
        extra += (Job(id=job_id) for job_id in possible if job_id not in known)
    return Submission(
        accepted=tuple(accepted[target] for target in request.targets if target in accepted),
        refused=refused,
        missing=missing,
        extra=tuple(extra),
    )


def _refused(
    left: list[str], parts: list[Envelope], request: Request, *, strangers: bool
) -> tuple[Refusal, ...]:
    """Match by name; refusals without a name only when they must be all that is left.

    `strangers` says that there are jobs that could be of a language that is `left`.
    """
    refusals = [part for part in parts if _refuses(part, request)]
    # A refusal of the wrong language would call a paid job refused. So one without a name counts for none
    # while it could be another's.
    named: dict[str, AkoolError] = {}
    nameless: list[AkoolError] = []
    for part in refusals:
        error = error_for(part.code, part.message, creating=True)
        beside = read_clean_text(part.raw.get("language"))
        language = read_clean_text(as_mapping(part.data).get("language")) or beside
        if language:
            named[fold_language(language)] = error
        else:
            nameless.append(error)
    # The name of the only language does not matter.
    if len(request.targets) == 1 and not strangers and refusals and len(refusals) == len(parts):
        named, nameless = {}, [_combined_error([*named.values(), *nameless])]
    unnamed = [target for target in left if fold_language(target) not in named]
    found = {target: named[fold_language(target)] for target in left if fold_language(target) in named}
    # Only if they must be all that is left: a job called refused would be paid for again.
    if nameless and not strangers and len(nameless) == len(unnamed):
        found.update(dict.fromkeys(unnamed, _combined_error(nameless)))
    return tuple(Refusal(target=target, error=found[target]) for target in left if target in found)


def _combined_error(errors: list[AkoolError]) -> AkoolError:
    if len({error.code for error in errors}) == 1:
        return errors[0]
    codes = ", ".join(str(error.code) for error in errors)
    return VendorError(
        f"The vendor refused several languages with the codes {codes}, without saying which got which.",
        impact="No job was made for them and nothing was charged.",
        code=errors[0].code,
    )
