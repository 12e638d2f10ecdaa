"""The bodies that clients send, read as leniently as a JSON API does and checked.

Numbers may come as strings, booleans as 0, 1, "true", "false"; nonsense is refused with 1003.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import attrs

from akool_async.sandbox.jobs import ApiRejection, JobSpec

_T = TypeVar("_T")
_STYLES: Final = frozenset(
    "affectionate angry calm cheerful depressed disgruntled embarrassed empathetic excited fearful "
    "friendly unfriendly sad serious relaxed professional".split()
)
_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False, "": False}
# Source: the vendor's page for translations offers 0 to 10 speakers, and caption types up to 4.
_MOST_SPEAKERS: Final = 10
_CAPTION_TYPES: Final = 4


@attrs.frozen
class CreateParams:
    """A translation as requested, for one or several languages."""

    spec: JobSpec
    """What the jobs have in common: all but the language, the length and the price."""
    languages: tuple[str, ...]
    voices: Mapping[str, str]


def json_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a body, None when it is something else."""
    try:
        found = json.loads(body)
        if b"\\u" in body:  # a lone surrogate can't be encoded in an answer or in the audit
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def split_languages(value: object) -> tuple[str, ...]:
    """Return the codes in "hi, fr,ja", each once; nothing for what is not a string."""
    if not isinstance(value, str):
        return ()
    return tuple(dict.fromkeys(code for part in value.split(",") if (code := part.strip())))


def read_create(fields: Mapping[str, Any], *, source_required: bool) -> CreateParams:
    """Read the body of createbytranslate, in which older servers require source_language.

    Raises:
        ApiRejection: With 1003, for the first field that is missing or wrong.
    """
    languages = split_languages(fields.get("language"))
    if not languages:
        raise ApiRejection(1003, "language is missing or no text")
    # Source: older versions of the documentation require it, newer ones detect the language.
    source = _field(fields, "source_language", str, "").strip()
    if source_required and not source:
        raise ApiRejection(1003, "source_language is missing")
    voices = dict[str, str]()
    for language, entry in _field(fields, "voices_map", dict, {}).items():
        if not isinstance(entry, dict) or not isinstance(entry.get("voice_id", ""), str):
            raise ApiRejection(1003, "voices_map maps a language to an object with a voice_id")
        voices[language] = entry.get("voice_id", "")
    voice = _field(fields, "studio_voice", dict, {})
    style = _field(voice, "style", str, "").strip() or "professional"
    if style not in _STYLES:
        raise ApiRejection(1003, "studio_voice.style is unknown")
    words = _field(voice, "no_translate_words", list, [])
    fixed, pronounced = (_field(voice, name, dict, {}) for name in ("fixed_words", "pronounced_words"))
    if not all(isinstance(word, str) for word in (*words, *fixed.values(), *pronounced.values())):
        raise ApiRejection(1003, "a word of studio_voice is not text")
    spec = JobSpec(
        url=_url(fields, "url", required=True),
        source_language=source or "DEFAULT",
        lipsync=_flag(fields, "lipsync"),
        webhook_url=_url(fields, "webhookUrl"),
        speaker_num=read_count(fields.get("speaker_num"), "speaker_num", most=_MOST_SPEAKERS),
        caption_type=read_count(fields.get("caption_type"), "caption_type", most=_CAPTION_TYPES),
        caption_url=_url(fields, "caption_url"),
    )
    options = {
        "source_language": spec.source_language,
        "lipsync": spec.lipsync,
        "speaker_num": spec.speaker_num,
        "caption_type": spec.caption_type,
        "caption_url": spec.caption_url,
        "voices_map": voices,
        "remove_bgm": _flag(fields, "remove_bgm"),
        "dynamic_duration": _flag(fields, "dynamic_duration"),
        "no_translate_words": words,
        "style": style,
        "fixed_words": fixed,
        "pronounced_words": pronounced,
    }
    canonical = json.dumps(options, sort_keys=True, separators=(",", ":"))
    return CreateParams(attrs.evolve(spec, options=canonical), languages, voices)


def read_lipsync(fields: Mapping[str, Any]) -> JobSpec:
    """Read the body of the lip-sync endpoint.

    Raises:
        ApiRejection: With 1003, for the first field that is missing or wrong.
    """
    audio_url = _url(fields, "audio_url", required=True)
    return JobSpec(
        kind="lipsync",
        lipsync=True,
        url=_url(fields, "video_url", required=True),
        audio_url=audio_url,
        webhook_url=_url(fields, "webhookUrl"),
        options=audio_url,
    )


def read_count(value: object, name: str, *, most: int, least: int = 0, default: int = 0) -> int:
    """Return a whole number given as number or text, `default` when there is none.

    Raises:
        ApiRejection: With 1003, when it is no number or out of range.
    """
    if value is None or value == "":
        return default
    number = float("nan")
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            number = float(value)
    if not number.is_integer() or not least <= number <= most:
        raise ApiRejection(1003, f"{name} is not a whole number from {least} to {most}")
    return int(number)


def _field(fields: Mapping[str, Any], name: str, kind: type[_T], default: _T) -> _T:
    """Return a field of one type; null and "" count as left out."""
    value = fields.get(name)
    if value is None or value == "":
        return default
    if not isinstance(value, kind):
        raise ApiRejection(1003, f"{name} is not of the type {kind.__name__}")
    return value


def _url(fields: Mapping[str, Any], name: str, *, required: bool = False) -> str:
    value = _field(fields, name, str, "").strip()
    if not value and not required:
        return ""
    try:
        parts = urlsplit(value)
    except ValueError as error:
        raise ApiRejection(1003, f"{name} is not a URL") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ApiRejection(1003, f"{name} is not a http or https URL")
    return value


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    known = bool(value) if value is None or isinstance(value, bool) else _FLAGS.get(str(value).lower())
    if known is None:
        raise ApiRejection(1003, f"{name} is neither true nor false")
    return known
