"""The bodies that clients send, read as leniently as a JSON API does and checked.

Numbers may come as strings, booleans as 0, 1, "true", "false"; nonsense is refused with 1003.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

from akool_async.sandbox.jobs import ApiRejection

_STYLES: Final = frozenset(
    "affectionate angry calm cheerful depressed disgruntled embarrassed empathetic excited fearful "
    "friendly unfriendly sad serious relaxed professional".split()
)

_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False, "": False}
_MOST_SPEAKERS: Final = 10
_CAPTION_TYPES: Final = 4


@attrs.frozen(kw_only=True)
class CreateParams:
    """A translation as requested, for one or several languages."""

    url: str
    languages: tuple[str, ...]
    source_language: str
    lipsync: bool
    webhook_url: str
    speaker_num: int
    caption_type: int
    caption_url: str
    voices: Mapping[str, str]
    options: str
    """What makes two requests for one video and language different, as canonical JSON."""


@attrs.frozen(kw_only=True)
class LipSyncParams:
    """A lip-sync as requested."""

    video_url: str
    audio_url: str
    webhook_url: str


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
    """Read the body of createbytranslate.

    Args:
        fields: The JSON object.
        source_required: Whether source_language may not be left out, as with older servers.

    Raises:
        ApiRejection: With 1003, for the first field that is missing or wrong.
    """
    languages = split_languages(fields.get("language"))
    if not languages:
        raise ApiRejection(1003, "language is missing or no text")
    source = _text(fields, "source_language")
    if source_required and not source:
        raise ApiRejection(1003, "source_language is missing")
    params = CreateParams(
        url=_url(fields, "url", required=True),
        languages=languages,
        source_language=source or "DEFAULT",
        lipsync=_flag(fields, "lipsync"),
        webhook_url=_url(fields, "webhookUrl", required=False),
        speaker_num=read_count(fields.get("speaker_num"), "speaker_num", most=_MOST_SPEAKERS),
        caption_type=read_count(fields.get("caption_type"), "caption_type", most=_CAPTION_TYPES),
        caption_url=_url(fields, "caption_url", required=False),
        voices=_voices(fields),
        options="",
    )
    return attrs.evolve(params, options=_canonical(params, fields))


def _canonical(params: CreateParams, fields: Mapping[str, Any]) -> str:
    voice_options = _mapping(fields, "studio_voice")
    options = {
        "source_language": params.source_language,
        "lipsync": params.lipsync,
        "speaker_num": params.speaker_num,
        "caption_type": params.caption_type,
        "caption_url": params.caption_url,
        "voices_map": params.voices,
        "remove_bgm": _flag(fields, "remove_bgm"),
        "dynamic_duration": _flag(fields, "dynamic_duration"),
        "no_translate_words": _word_list(voice_options, "no_translate_words"),
        "style": _style(voice_options),
        "fixed_words": _word_map(voice_options, "fixed_words"),
        "pronounced_words": _word_map(voice_options, "pronounced_words"),
    }
    return json.dumps(options, sort_keys=True, separators=(",", ":"))


def read_lipsync(fields: Mapping[str, Any]) -> LipSyncParams:
    """Read the body of the lip-sync endpoint.

    Raises:
        ApiRejection: With 1003, for the first field that is missing or wrong.
    """
    return LipSyncParams(
        video_url=_url(fields, "video_url", required=True),
        audio_url=_url(fields, "audio_url", required=True),
        webhook_url=_url(fields, "webhookUrl", required=False),
    )


def read_count(value: object, name: str, *, most: int, least: int = 0, default: int = 0) -> int:
    """Return a whole number given as number or text, `default` when there is none.

    Raises:
        ApiRejection: With 1003, when it is no number or out of range.
    """
    if value is None or value == "":
        return default
    try:
        number = _whole(value)
    except ValueError as error:
        raise ApiRejection(1003, f"{name} is not a whole number") from error
    if not least <= number <= most:
        raise ApiRejection(1003, f"{name} is not between {least} and {most}")
    return number


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("not a number")  # noqa: TRY004 - wrong content of a request, not a wrong call
    number = float(value)
    if not number.is_integer():
        raise ValueError("not whole")
    return int(number)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ApiRejection(1003, f"{name} is not text")
    return value.strip()


def _url(fields: Mapping[str, Any], name: str, *, required: bool) -> str:
    value = _text(fields, name)
    if not value:
        if required:
            raise ApiRejection(1003, f"{name} is missing")
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
    if value is None or isinstance(value, bool):
        return bool(value)
    known = _FLAGS.get(str(value).lower()) if isinstance(value, int | str) else None
    if known is None:
        raise ApiRejection(1003, f"{name} is neither true nor false")
    return known


def _mapping(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        raise ApiRejection(1003, f"{name} is not an object")
    return value


def _voices(fields: Mapping[str, Any]) -> dict[str, str]:
    voices: dict[str, str] = {}
    for language, entry in _mapping(fields, "voices_map").items():
        if not isinstance(entry, dict) or not isinstance(entry.get("voice_id", ""), str):
            raise ApiRejection(1003, "voices_map maps a language to an object with a voice_id")
        voices[language] = entry.get("voice_id", "")
    return voices


def _style(voice_options: Mapping[str, Any]) -> str:
    style = _text(voice_options, "style") or "professional"
    if style not in _STYLES:
        raise ApiRejection(1003, "studio_voice.style is unknown")
    return style


def _word_list(voice_options: Mapping[str, Any], name: str) -> list[str]:
    value = voice_options.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ApiRejection(1003, f"studio_voice.{name} is not a list of texts")
    return value


def _word_map(voice_options: Mapping[str, Any], name: str) -> dict[str, str]:
    value = _mapping(voice_options, name)
    if not all(isinstance(word, str) for word in value.values()):
        raise ApiRejection(1003, f"studio_voice.{name} does not map texts to texts")
    return dict(value)
