"""Models to the vendor's JSON, and the vendor's JSON, however odd, to models.

The only door for raw dictionaries, and the only place besides `codes` that knows field names.
Reading never fails with anything but `ProtocolError`, and never loses a job id that can be read.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from akool_async._core.codes import SUCCESS
from akool_async._core.credentials import ClientPair
from akool_async._core.errors import AkoolError, ProtocolError, VendorError
from akool_async._core.failures import error_of
from akool_async._core.models import (
    AudioSplits,
    Job,
    Language,
    Refusal,
    Snapshot,
    Status,
    Submission,
    Voice,
    VoicePage,
)
from akool_async._core.requests import CaptionType, LipSyncRequest, Request, TranslationRequest
from akool_async._core.text import clean

T = TypeVar("T")

TOKEN_PATH: Final = "/api/open/v3/getToken"  # noqa: S105 - a path
TRANSLATE_PATH: Final = "/api/open/v3/content/video/createbytranslate"
LIPSYNC_PATH: Final = "/api/open/v3/content/video/lipsync"
STATUS_PATH: Final = "/api/open/v3/content/video/infobymodelid"
LANGUAGES_PATH: Final = "/api/open/v3/language/list"
VOICES_PATH: Final = "/api/open/v4/voice/videoTranslation"
CREDIT_PATH: Final = "/api/open/v3/faceswap/quota/info"

_ID: Final = re.compile(r"[0-9A-Za-z_-]{8,128}")
_ID_IN_TEXT: Final = re.compile(rb'"_id"\s*:\s*"([0-9A-Za-z_-]{8,128})"')
_MOST_IDS: Final = 1000
_LONGEST_NUMBER: Final = 40
_DEEPEST: Final = 64
"""Levels of nesting that are read; far more than the vendor sends, far less than Python can't walk."""


# What single values mean, however they are written.


def read_int(value: object) -> int | None:
    """Give a whole number that may come as text or with a fraction of zero, else None."""
    number = read_float(value)
    if number is None or number != int(number):
        return None
    return value if type(value) is int else int(number)


def read_float(value: object) -> float | None:
    """Give a finite number that may come as text, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and (len(value) > _LONGEST_NUMBER or "_" in value):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def read_text(value: object) -> str:
    """Give text that can be encoded; numbers become text, everything else ""."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    if isinstance(value, int) and value.bit_length() > 1024:
        return ""
    return str(value).encode("utf-8", "replace").decode()


def read_bool(value: object) -> bool:
    """Give a truth value that may come as text or number; what is unclear is False."""
    if isinstance(value, str):
        return value.strip().lower() in {"true", "1", "yes"}
    return value is True or read_float(value) not in (None, 0.0)


def read_texts(value: object) -> tuple[str, ...]:
    """Give a list of texts, cleaned, that may come as one text; what is empty is left out."""
    items = value if isinstance(value, list) else [value]
    return tuple(text for text in map(_shown, items) if text)


def read_moment(value: object) -> datetime | None:
    """Give the aware moment of a number of milliseconds since the epoch, else None."""
    number = read_float(value)
    if number is None or number <= 0:
        return None
    try:
        return datetime.fromtimestamp(number / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def read_id(value: object) -> str | None:
    """Give a well-formed job id, else None."""
    text = read_text(value)
    return text if _ID.fullmatch(text) else None


def _read_status(value: object) -> Status:
    number = read_int(value)
    return Status(number) if number in (1, 2, 3, 4) else Status.UNKNOWN


def _read_progress(value: object) -> int | None:
    number = read_float(value)
    return None if number is None else int(min(max(number, 0), 100))


def _read_raw_status(value: object) -> str:
    return clean(json.dumps(value) if isinstance(value, dict | list) else repr(value))


def _read_url(value: object) -> str:
    text = "".join(filter(str.isprintable, read_text(value))).strip()
    return text if text.lower().startswith(("http://", "https://")) else ""


def _shown(value: object) -> str:
    return clean(read_text(value))


def _milliseconds(value: object) -> float | None:
    number = read_float(value)
    return None if number is None else number / 1000


# One converter: each model's fields, where they come from and how they are read.

_Reader = Callable[[Any], Any]
_WHOLE: Final = ""
"""The key under which a raw object holds itself while it is read; no field has an empty name."""


def _from(name: str, reader: _Reader) -> Any:
    return override(rename=name, struct_hook=lambda value, _: reader(value))


_converter: Final = cattrs.Converter(detailed_validation=False)


def _register(model: type[attrs.AttrsInstance], **fields: Any) -> None:
    fields["raw"] = _from(_WHOLE, dict)
    for name in attrs.fields_dict(model):
        fields.setdefault(name, override(omit=True))
    _converter.register_structure_hook(model, make_dict_structure_fn(model, _converter, **fields))


_register(
    Job,
    id=_from("_id", read_text),
    target=_from("language", _shown),
    source_language=_from("source_language", _shown),
    status=_from("video_status", _read_status),
    created_at=_from("create_time", read_moment),
    video_id=_from("video_id", _shown),
    task_id=_from("task_id", _shown),
    seconds_locked=_from("video_lock_duration", read_float),
    credits_locked=_from("deduction_lock_duration", read_float),
)


def _read_splits(value: object) -> AudioSplits:
    splits = _mapping(value)
    return AudioSplits(
        original_srt_url=_read_url(splits.get("original_srt_url")),
        translated_srt_url=_read_url(splits.get("translated_srt_url")),
        no_caption_video_url=_read_url(splits.get("no_caption_video_url")),
    )


_register(
    Snapshot,
    job_id=_from("_id", read_text),
    status=_from("video_status", _read_status),
    url=_from("video", _read_url),
    progress=_from("progress", _read_progress),
    created_at=_from("create_time", read_moment),
    video_id=_from("video_id", _shown),
    credits_used=_from("deduction_duration", read_float),
    error_code=_from("error_code", read_int),
    error_reason=_from("error_reason", _shown),
    audio_splits=_from("audio_splits", _read_splits),
)
_register(
    Language,
    code=_from("lang_code", _shown),
    name=_from("lang_name", _shown),
    icon_url=_from("url", _read_url),
    needs_voice=_from("need_voice_id", read_bool),
)
_register(
    Voice,
    voice_id=_from("voice_id", _shown),
    name=_from("name", _shown),
    gender=_from("gender", _shown),
    language=_from("language", _shown),
    language_code=_from("language_code", _shown),
    preview_url=_from("preview", _read_url),
    thumbnail_url=_from("thumbnailUrl", _read_url),
    flag_url=_from("flag_url", _read_url),
    use_case=_from("useCase", _shown),
    category=_from("category", _shown),
    age=_from("age", read_texts),
    style=_from("style", read_texts),
    scenario=_from("scenario", read_texts),
    sample_seconds=_from("duration", _milliseconds),
    created_at=_from("create_time", read_moment),
)


def _structure(raw: Mapping[str, Any], model: type[T], **known: str) -> T:
    return _converter.structure({**raw, **known, _WHOLE: raw}, model)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


# Envelopes.


@attrs.frozen(kw_only=True)
class Envelope:
    """The outer part of every answer.

    Attributes:
        code: the business code; None when there was none that could be read.
        message: the vendor's words, cleaned.
        data: the inner part, as it came.
        whole: the object as it came.
    """

    code: int | None
    message: str = ""
    data: Any = attrs.field(default=None, repr=False)
    whole: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

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
    if _deeper_than(_DEEPEST, whole):
        raise _unreadable("JSON that is nested too deeply", body)
    code = read_int(whole.get("code"))
    if code is None:
        raise _unreadable("an object without a code", body)
    return Envelope(code=code, message=_shown(whole.get("msg")), data=whole.get("data"), whole=whole)


def _unreadable(what: str, body: bytes) -> ProtocolError:
    return ProtocolError(f"The vendor answered with {what}.", job_ids=ids_in(body))


def _deeper_than(levels: int, value: object) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [inner for item in layer for inner in _inside(item) if isinstance(inner, dict | list)]
        if not layer:
            return False
    return True


def _inside(item: object) -> Iterable[Any]:
    return item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()


def _with_ids(value: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give the outermost objects that have a well-formed id, in their order."""
    stack = [value]
    while stack:
        item = stack.pop()
        job_id = read_id(_mapping(item).get("_id"))
        if job_id is None:
            stack.extend(reversed([*_inside(item)]))
        else:
            yield job_id, _mapping(item)


def ids_in(body: bytes) -> tuple[str, ...]:
    """Give the well-formed job ids that can be read in a body, whole or torn, each once."""
    found = [match.group(1).decode() for match in _ID_IN_TEXT.finditer(body)]
    with contextlib.suppress(ValueError, RecursionError):  # what is whole may hold numbers, escapes or UTF-16
        found += (job_id for job_id, _ in _with_ids(json.loads(body)))
    return tuple(dict.fromkeys(found))[:_MOST_IDS]


def read_token(envelope: Envelope) -> str:
    """Give the bearer token of a getToken answer; it stands at the top level.

    Raises:
        ProtocolError: there is none.
    """
    for place in (envelope.whole, _mapping(envelope.data)):
        token = place.get("token")
        if isinstance(token, str) and token.strip() and token.isascii() and token.isprintable():
            return token.strip()
    raise ProtocolError("The vendor answered getToken without a usable token.")


# Status, lists, credit.


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
    if answered and answered != job_id:
        raise ProtocolError(
            f"The vendor answered about job {clean(answered)} when asked about job {job_id}.",
            job_ids=tuple(filter(None, [read_id(answered)])),
        )
    snapshot = _structure(data, Snapshot, _id=job_id)
    raw_status = _read_raw_status(data.get("video_status"))
    return attrs.evolve(snapshot, raw_status=raw_status)


def _list_of(envelope: Envelope, name: str) -> list[Any]:
    data = envelope.data
    items = data if isinstance(data, list) else _mapping(data).get(name)
    if not isinstance(items, list):
        raise ProtocolError(f"The vendor answered without a list {name!r}.")
    return items


def _models(items: list[Any], model: type[T], needed: str) -> Iterator[T]:
    for item in items:
        if isinstance(item, dict) and _shown(item.get(needed)):
            yield _structure(item, model)


def read_languages(envelope: Envelope) -> tuple[Language, ...]:
    """Read the list of languages; one version of the API sends it bare.

    Raises:
        ProtocolError: there is no list.
    """
    return tuple(_models(_list_of(envelope, "lang_list"), Language, "lang_code"))


def read_voices(envelope: Envelope) -> VoicePage:
    """Read one page of voices.

    Raises:
        ProtocolError: there is no list.
    """
    items = _list_of(envelope, "result")
    voices = tuple(_models(items, Voice, "voice_id"))
    count = read_int(_mapping(envelope.data).get("count"))
    return VoicePage(voices=voices, count=count, entries=len(items))


def read_credit(envelope: Envelope) -> float:
    """Read the balance, in credits.

    Raises:
        ProtocolError: there is none.
    """
    credit = read_float(_mapping(envelope.data).get("credit"))
    if credit is None:
        raise ProtocolError("The vendor answered without a balance.")
    return credit


# Submissions.


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
        strays = tuple(dict.fromkeys(job_id for job_id, _ in _with_ids(envelope.whole)))
        if strays:
            raise ProtocolError("The vendor names a job in an unknown place.", job_ids=strays)
        if not envelope.ok and len(refusals) == len(parts):
            raise error_of(envelope.code, envelope.message)
        if not parts:
            raise ProtocolError("The vendor says success but names no job.")
    return _sort(jobs, parts, envelope, request)


def _part(item: object) -> Envelope:
    whole = _mapping(item)
    inner = whole.get("data") or (whole if "_id" in whole else None)
    return Envelope(
        code=read_int(whole.get("code")), message=_shown(whole.get("msg")), data=inner, whole=whole
    )


def _refuses(part: Envelope) -> bool:
    """Whether a part says that no job was made; one that holds an id does not."""
    return part.code not in (None, SUCCESS) and not any(_with_ids(part.whole))


def _jobs(parts: Iterable[Envelope], request: Request) -> dict[str, Job]:
    jobs: dict[str, Job] = {}
    for part in parts:
        for raw in part.data if isinstance(part.data, list) else [part.data]:
            job_id = read_id(_mapping(raw).get("_id"))
            if job_id is not None and job_id not in jobs:
                jobs[job_id] = _job(job_id, raw, request, language=_shown(part.whole.get("language")))
    return jobs


def _job(job_id: str, raw: Mapping[str, Any], request: Request, language: str = "") -> Job:
    job = _structure(raw, Job, _id=job_id)
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
        language = _shown(_mapping(part.data).get("language")) or _shown(part.whole.get("language"))
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
    found = {job_id: raw for job_id, raw in _with_ids(envelope.whole) if job_id not in jobs}
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


# What is sent.


def create_path(request: Request) -> str:
    """Give the path of the paid POST for `request`."""
    return TRANSLATE_PATH if isinstance(request, TranslationRequest) else LIPSYNC_PATH


def create_payload(request: Request) -> dict[str, Any]:
    """Give the JSON of the paid POST: required fields, and options that differ from the default."""
    if isinstance(request, LipSyncRequest):
        told: dict[str, Any] = {"video_url": request.video_url, "audio_url": request.audio_url}
        return told if request.webhook_url is None else {**told, "webhookUrl": request.webhook_url}
    optional = {
        "webhookUrl": request.webhook_url,
        "speaker_num": request.speaker_num or None,
        "remove_bgm": request.remove_bgm or None,
        "caption_type": None if request.caption_type is CaptionType.NONE else int(request.caption_type),
        "caption_url": request.caption_url,
        "voices_map": {code: {"voice_id": voice} for code, voice in request.voices_map.items()} or None,
        "studio_voice": _studio_voice(request) or None,
        "dynamic_duration": request.dynamic_duration or None,
    }
    return {
        "url": request.url,
        "source_language": request.source_language,
        "language": ",".join(request.targets),
        "lipsync": request.lipsync,
        **{name: value for name, value in optional.items() if value is not None},
    }


def _studio_voice(request: TranslationRequest) -> dict[str, Any]:
    told = {
        "no_translate_words": list(request.no_translate_words),
        "style": request.style,
        "fixed_words": dict(request.fixed_words),
        "pronounced_words": dict(request.pronounced_words),
    }
    return {name: value for name, value in told.items() if value}


def token_payload(pair: ClientPair) -> dict[str, str]:
    """Give the JSON of getToken. It holds the secret: it goes to the API host only."""
    return {"clientId": pair.client_id, "clientSecret": pair.client_secret}
