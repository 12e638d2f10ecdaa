"""One converter: each model's fields, where they come from and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from akool_async._core.models import NO_SPLITS, AudioSplits, Job, Language, Snapshot, Voice
from akool_async._core.wire.scalars import (
    as_mapping,
    read_bool,
    read_code,
    read_float,
    read_int,
    read_milliseconds,
    read_moment,
    read_progress,
    read_raw_status,
    read_status,
    read_text,
    read_texts,
    read_url,
    read_words,
)

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
    video_id=_from("video_id", read_words),
    task_id=_from("task_id", read_words),
    seconds_locked=_from("video_lock_duration", read_float),
    credits_locked=_from("deduction_lock_duration", read_float),
)


def read_splits(value: object) -> AudioSplits:
    splits = as_mapping(value)
    if not any(splits.values()):
        return NO_SPLITS
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
    video_id=_from("video_id", read_words),
    credits_used=_from("deduction_duration", read_float),
    error_code=_from("error_code", read_int),
    error_reason=_from("error_reason", read_words),
    audio_splits=_from("audio_splits", read_splits),
)
_register(
    Language,
    code=_from("lang_code", read_words),
    name=_from("lang_name", read_words),
    icon_url=_from("url", read_url),
    needs_voice=_from("need_voice_id", read_bool),
)
_register(
    Voice,
    voice_id=_from("voice_id", read_words),
    name=_from("name", read_words),
    gender=_from("gender", read_words),
    language=_from("language", read_words),
    language_code=_from("language_code", read_words),
    preview_url=_from("preview", read_url),
    thumbnail_url=_from("thumbnailUrl", read_url),
    flag_url=_from("flag_url", read_url),
    use_case=_from("useCase", read_words),
    category=_from("category", read_words),
    age=_from("age", read_texts),
    style=_from("style", read_texts),
    scenario=_from("scenario", read_texts),
    sample_seconds=_from("duration", read_milliseconds),
    created_at=_from("create_time", read_moment),
)


def structure(raw: Mapping[str, Any], model: type[T], **known: str) -> T:
    return _converter.structure({**raw, **known, _WHOLE: raw}, model)
