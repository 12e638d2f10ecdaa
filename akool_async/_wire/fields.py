"""What single values of an answer mean, however they are written. Nothing here raises."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias, TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from akool_async._model.redact import KNOWN_SECRETS, SHORTEST_SECRET, sanitize
from akool_async._model.responses import NO_AUDIO_SPLITS, AudioSplits, Job, Language, Snapshot, Status, Voice

JOB_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,128}")
_SURELY_AN_ID: Final = 16
_NO_ID: Final = frozenset("0 false nan nil none null true undefined".split())
_WRAPPED_ID: Final = re.compile(rf"""\s*(?:ObjectId\(\s*)?["']?({JOB_ID.pattern})["']?\s*\)?\s*""")
_LONGEST_NUMBER: Final = 40
_MOST_SECONDS: Final = 1e11
"""A larger number is in milliseconds: as seconds it would be after the year 5000."""

_DIGITS: Final = "0123456789"
_SMALL: Final = tuple(map(float, range(1000)))
"""Most credits and seconds; each is held once, however many jobs have it."""


def read_int(value: object) -> int | None:
    """Return a whole number that may come as text or with a fraction of zero, else None."""
    number = read_float(value)
    if number is None or number != int(number):
        return None
    return value if type(value) is int else int(number)


def read_float(value: object) -> float | None:
    """Return a finite number that may come as text, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    # float() takes "1_000" and thousands of digits, which no answer of this API means as a number.
    if isinstance(value, str) and (len(value) > _LONGEST_NUMBER or "_" in value):
        return None
    if type(value) is int and 0 <= value < len(_SMALL):
        return _SMALL[value]
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def read_text(value: object) -> str:
    """Return text that can be encoded; numbers become text, everything else ""."""
    if type(value) is str and value.isascii():
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    # str() of a number with thousands of digits takes long, and Python refuses it with a ValueError.
    if isinstance(value, int) and value.bit_length() > 1024:
        return ""
    return str(value).encode("utf-8", "replace").decode()


def read_bool(value: object) -> bool:
    """Return a truth value that may come as text or number; what is unclear is False."""
    if isinstance(value, str):
        return value.strip().lower() in {"true", "1", "yes"}
    return value is True or read_float(value) not in (None, 0.0)


def read_texts(value: object) -> tuple[str, ...]:
    """Return a list of texts, cleaned, that may come as one text; what is empty is left out."""
    items = value if isinstance(value, list) else [value]
    return tuple(text for text in map(read_clean_text, items) if text)


def read_moment(value: object) -> datetime | None:
    """Return the aware moment of a time in milliseconds, in seconds or in ISO 8601, else None.

    A moment before the year 2000 is not believed: it would make a result look expired.
    """
    number = read_float(value)
    with contextlib.suppress(ValueError, OverflowError, OSError):
        if number is not None:
            moment = datetime.fromtimestamp(number if number < _MOST_SECONDS else number / 1000, UTC)
        elif isinstance(value, str) and len(value) <= _LONGEST_NUMBER:
            moment = datetime.fromisoformat(value.strip())
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        else:
            return None
        # 0 and -1 are used for "not known".
        return moment if moment.year >= 2000 else None
    return None


def read_cost(value: object) -> float | None:
    """Return a number of credits above 0, else None: a job is never free, so its cost is unknown then."""
    number = read_float(value)
    return number if number is not None and number > 0 else None


def read_id(value: object) -> str | None:
    """Return a job id that a status call takes, else None.

    It may come as a number, as `ObjectId("...")`, or alone in a list or an object such as `{"$oid": "..."}`.
    """
    if type(value) is str and len(value) >= _SURELY_AN_ID and JOB_ID.fullmatch(value):
        # An answer that repeats the key must not have it stored and shown as a job's id.
        return None if any(one.search(value) for one in list(KNOWN_SECRETS.values())) else value
    if isinstance(value, list | dict) and len(value) == 1:
        (inner,) = value if isinstance(value, list) else value.values()
        return None if isinstance(inner, list | dict) else read_id(inner)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:  # larger ones are rounded
        value = int(value)
    # Unquoted ids of digits alone: as text they are what a status call takes.
    if type(value) is int:
        return read_text(value) if 0 < value < 10**128 else None
    found = _WRAPPED_ID.fullmatch(value) if isinstance(value, str) else None
    if found is None or found.group(1).lower() in _NO_ID:
        return None
    return None if any(one.search(found.group(1)) for one in list(KNOWN_SECRETS.values())) else found.group(1)


def read_status(value: object) -> Status:
    number = read_int(value)
    return Status(number) if number in (1, 2, 3, 4) else Status.UNKNOWN


def read_progress(value: object) -> int | None:
    number = read_float(value)
    return None if number is None else int(min(max(number, 0), 100))


def read_raw_status(value: object) -> str:
    if type(value) is int and 0 <= value < len(_DIGITS):
        return _DIGITS[value]
    return sanitize(json.dumps(value) if isinstance(value, dict | list) else repr(value))


def read_url(value: object) -> str:
    # Line breaks within a URL would split a request or a log line; some services wrap long signatures.
    text = "".join(filter(str.isprintable, read_text(value))).strip()
    return text if text.lower().startswith(("http://", "https://")) else ""


def read_clean_text(value: object) -> str:
    """Return text that may be shown; see `sanitize`."""
    text = read_text(value)
    # "OK", "ja", "": most texts of most answers can't hold a secret, and looking for one takes long.
    if len(text) < SHORTEST_SECRET and (not text or (text.isascii() and text.isalnum())):
        return text
    return sanitize(text)


_interned: Final = lru_cache(maxsize=512)(str)


def read_code(value: object) -> str:
    """Return the code of a language; there are few, so each is kept once."""
    return _interned(read_clean_text(value))


def read_milliseconds(value: object) -> float | None:
    number = read_float(value)
    return None if number is None else number / 1000


def as_mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


# One converter: each model's fields, where they come from and how they are read.

T = TypeVar("T")
_Reader: TypeAlias = Callable[[Any], Any]
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
    target=_from("language", read_code),
    source_language=_from("source_language", read_code),
    status=_from("video_status", read_status),
    created_at=_from("create_time", read_moment),
    video_id=_from("video_id", read_clean_text),
    task_id=_from("task_id", read_clean_text),
    seconds_locked=_from("video_lock_duration", read_float),
    credits_locked=_from("deduction_lock_duration", read_cost),
)


def read_splits(value: object) -> AudioSplits:
    splits = as_mapping(value)
    if not any(splits.values()):
        return NO_AUDIO_SPLITS
    return AudioSplits(
        original_srt_url=read_url(splits.get("original_srt_url")),
        translated_srt_url=read_url(splits.get("translated_srt_url")),
        no_caption_video_url=read_url(splits.get("no_caption_video_url")),
    )


_register(
    Snapshot,
    job_id=_from("_id", read_text),
    status=_from("video_status", read_status),
    raw_status=_from("video_status", read_raw_status),
    url=_from("video", read_url),
    progress=_from("progress", read_progress),
    created_at=_from("create_time", read_moment),
    video_id=_from("video_id", read_clean_text),
    credits_used=_from("deduction_duration", read_cost),
    error_code=_from("error_code", read_int),
    error_reason=_from("error_reason", read_clean_text),
    audio_splits=_from("audio_splits", read_splits),
)

_register(
    Language,
    code=_from("lang_code", read_clean_text),
    name=_from("lang_name", read_clean_text),
    icon_url=_from("url", read_url),
    needs_voice=_from("need_voice_id", read_bool),
)

_register(
    Voice,
    voice_id=_from("voice_id", read_clean_text),
    name=_from("name", read_clean_text),
    gender=_from("gender", read_clean_text),
    language=_from("language", read_clean_text),
    language_code=_from("language_code", read_clean_text),
    preview_url=_from("preview", read_url),
    thumbnail_url=_from("thumbnailUrl", read_url),
    flag_url=_from("flag_url", read_url),
    use_case=_from("useCase", read_clean_text),
    category=_from("category", read_clean_text),
    age=_from("age", read_texts),
    style=_from("style", read_texts),
    scenario=_from("scenario", read_texts),
    sample_seconds=_from("duration", read_milliseconds),
    created_at=_from("create_time", read_moment),
)


def structure(raw: Mapping[str, Any], model: type[T], **known: str) -> T:
    return _converter.structure({**raw, **known, _WHOLE: raw}, model)
