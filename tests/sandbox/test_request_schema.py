"""Bodies of requests: what a lenient JSON API takes, and the nonsense that it refuses with 1003."""

from __future__ import annotations

from typing import Any

import pytest

from akool_async.sandbox.jobs import ApiRejection
from akool_async.sandbox.request_schema import json_object, read_create, read_lipsync, split_languages

WHOLE = {
    "url": "https://example.com/talk.mp4",
    "source_language": "DEFAULT",
    "language": "hi,fr",
    "lipsync": True,
    "webhookUrl": "https://example.com/hook",
    "speaker_num": 2,
    "remove_bgm": True,
    "caption_type": 3,
    "caption_url": "https://example.com/talk.srt",
    "voices_map": {"hi": {"voice_id": "6889"}, "fr": {"voice_id": ""}},
    "studio_voice": {
        "no_translate_words": ["Akool"],
        "style": "calm",
        "fixed_words": {"hello": "salut"},
        "pronounced_words": {"ai": "ay eye"},
    },
    "dynamic_duration": True,
}


def refused(fields: dict[str, Any], *, source_required: bool = False) -> int:
    with pytest.raises(ApiRejection) as caught:
        read_create(fields, source_required=source_required)
    return caught.value.code


def test_a_whole_body_is_read() -> None:
    params = read_create(WHOLE, source_required=True)

    assert params.languages == ("hi", "fr")
    assert (params.spec.lipsync, params.spec.speaker_num, params.spec.caption_type) == (True, 2, 3)
    assert params.voices == {"hi": "6889", "fr": ""}
    assert params.spec.webhook_url == "https://example.com/hook"


def test_url_and_language_are_enough() -> None:
    spec = read_create({"url": "http://example.com/a.mp4", "language": "ja"}, source_required=False).spec

    assert (spec.source_language, spec.lipsync, spec.speaker_num) == ("DEFAULT", False, 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("speaker_num", "3"),
        ("speaker_num", 3.0),
        ("speaker_num", ""),
        ("caption_type", None),
        ("lipsync", "true"),
        ("lipsync", 0),
        ("lipsync", None),
        ("caption_url", ""),
        ("voices_map", None),
        ("studio_voice", {}),
        ("something_new", [1]),
        ("merge_interval", 1),
    ],
)
def test_sloppy_values_are_taken(field: str, value: object) -> None:
    assert read_create({**WHOLE, field: value}, source_required=False).spec.url == WHOLE["url"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", None),
        ("url", ""),
        ("url", 5),
        ("url", "talk.mp4"),
        ("url", "ftp://example.com/talk.mp4"),
        ("url", "https://"),
        ("url", "http://[oops"),
        ("language", None),
        ("language", " , "),
        ("language", ["fr"]),
        ("source_language", 1),
        ("speaker_num", 11),
        ("speaker_num", -1),
        ("speaker_num", "two"),
        ("speaker_num", 1.5),
        ("speaker_num", True),
        ("speaker_num", [1]),
        ("speaker_num", "nan"),
        ("caption_type", 5),
        ("lipsync", "yes please"),
        ("lipsync", 2),
        ("lipsync", []),
        ("remove_bgm", {}),
        ("dynamic_duration", "perhaps"),
        ("caption_url", "talk.srt"),
        ("webhookUrl", "here"),
        ("voices_map", []),
        ("voices_map", {"fr": "6889"}),
        ("voices_map", {"fr": {"voice_id": 5}}),
        ("studio_voice", "calm"),
        ("studio_voice", {"style": "bored"}),
        ("studio_voice", {"no_translate_words": "Akool"}),
        ("studio_voice", {"fixed_words": ["a"]}),
        ("studio_voice", {"pronounced_words": {"a": 1}}),
    ],
)
def test_nonsense_is_refused(field: str, value: object) -> None:
    assert refused({**WHOLE, field: value}) == 1003


def test_older_servers_want_the_source_language() -> None:
    fields = {key: value for key, value in WHOLE.items() if key != "source_language"}

    assert refused(fields, source_required=True) == 1003


def test_options_tell_orders_apart_but_webhook_and_language_do_not() -> None:
    usual = read_create(WHOLE, source_required=False).spec.options
    same = read_create({**WHOLE, "webhookUrl": "", "language": "ja", "lipsync": "1"}, source_required=False)
    other = read_create({**WHOLE, "speaker_num": 3}, source_required=False)

    assert same.spec.options == usual
    assert other.spec.options != usual


@pytest.mark.parametrize(
    ("value", "codes"), [("fr", ("fr",)), (" hi, fr,,hi ", ("hi", "fr")), ("", ()), (None, ()), (["fr"], ())]
)
def test_languages_are_split(value: object, codes: tuple[str, ...]) -> None:
    assert split_languages(value) == codes


@pytest.mark.parametrize("body", [b'{"url": "\\ud800"}', b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_none(body: bytes) -> None:
    assert json_object(body) is None


@pytest.mark.parametrize("missing", ["video_url", "audio_url"])
def test_a_lipsync_needs_both_urls(missing: str) -> None:
    fields = {"video_url": "https://example.com/a.mp4", "audio_url": "https://example.com/a.wav"}
    read_lipsync(fields)
    with pytest.raises(ApiRejection):
        read_lipsync({key: value for key, value in fields.items() if key != missing})
