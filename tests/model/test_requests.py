"""What a caller may ask for: everything out of range is refused here, in short and clear words."""

from __future__ import annotations

import copy
import functools
import json
import pickle
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akool_async._model.errors import InvalidRequestError
from akool_async._model.requests import STYLES, CaptionType, LipSyncRequest, TranslationRequest
from akool_async._wire import create_payload

URL = "https://media.test/talk.mp4"
SIGNED = "https://user:canary-pw@media.test/talk.mp4?X-Amz-Signature=canary-sig#canary-part"
DIGITS = 10**5000
HUGE = pytest.param(DIGITS, id="huge")
LONE = "half\ud800"


@functools.cache
def knot() -> list[Any]:
    """A list too deep to be shown."""
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


def translation(**changed: Any) -> TranslationRequest:
    return TranslationRequest(**{"url": URL, "targets": "ja", **changed})


def lip_sync(**changed: Any) -> LipSyncRequest:
    return LipSyncRequest(**{"video_url": URL, "audio_url": "https://media.test/voice.wav", **changed})


def refusal(make: Callable[..., object], **changed: Any) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        make(**changed)
    text = str(caught.value)

    assert "Nothing was sent and nothing was spent." in text
    assert text.isprintable()
    assert len(text) < 1000
    return text


# URLs.

NO_URL = [
    "",
    "talk.mp4",
    "//media.test/talk.mp4",
    "ftp://media.test/talk.mp4",
    "file://host/talk.mp4",
    "s3://bucket",
    "s3://bucket/a.mp4?X-Amz-Signature=1",
    "https://",
    "https:///talk.mp4",
    "https://media.test:0/talk.mp4",
    "https://media.test:99999/talk.mp4",
    "https://media.test:port/talk.mp4",
    "https://[::1/talk.mp4",
    "https://media.test/a b.mp4",
    "https://media.test/a\nb.mp4",
    "https://media.test/a\x00b.mp4",
    "https://media.test/\u202eb.mp4",
    "https://media.test/\ud800.mp4",
    "https://media.test/" + "a" * 9000,
]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (translation, "url"),
        (translation, "webhook_url"),
        (translation, "caption_url"),
        (lip_sync, "video_url"),
        (lip_sync, "audio_url"),
        (lip_sync, "webhook_url"),
    ],
)
def test_what_is_no_http_url_is_refused(make: Callable[..., object], name: str) -> None:
    for value in NO_URL:
        text = refusal(make, **{name: value})

        assert text.startswith(f"{name} must be an absolute http:// or https:// URL, not ")


def test_a_blank_in_a_url_is_named() -> None:
    told = refusal(translation, url="https://media.test/my talk.mp4")

    assert "not 'https://media.test/my talk.mp4'. A blank within a URL is written as %20. Nothing" in told


@pytest.mark.parametrize("value", [7, b"https://media.test/talk.mp4", ["https://media.test"], object()])
def test_a_url_that_is_no_text_is_refused_by_its_type(value: object) -> None:
    assert refusal(translation, url=value).startswith(
        f"url must be an absolute http:// or https:// URL, not {type(value).__name__}."
    )


@pytest.mark.parametrize("name", ["url", "targets"])
def test_none_is_no_value_of_a_required_field(name: str) -> None:
    assert refusal(translation, **{name: None}).startswith(f"{name} must be a")


@pytest.mark.parametrize(
    "value",
    [
        "HTTP://media.test/talk.mp4",
        "https://user:pw@media.test:8443/talk.mp4?a=b#c",
        "https://[2001:db8::1]/talk.mp4",
        "https://例え.test/動画.mp4",
        "http://10.0.0.7/talk.mp4",
    ],
)
def test_any_http_url_is_taken(value: str) -> None:
    assert translation(url=value).url == value


def test_a_refused_url_is_shown_without_what_signs_it() -> None:
    text = refusal(translation, url=SIGNED.replace("https", "ftp"))

    assert "'ftp://media.test/talk.mp4?…'" in text
    assert "canary" not in text


# Targets and languages.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ja", ("ja",)),
        ("hi,fr", ("hi", "fr")),
        (" hi , fr ", ("hi", "fr")),
        (["hi", " fr"], ("hi", "fr")),
        (("hi", "fr"), ("hi", "fr")),
        ((code for code in ["hi", "fr"]), ("hi", "fr")),
        ({"hi": 1}.keys(), ("hi",)),
        ("zh-CN-shandong", ("zh-CN-shandong",)),
        ("zh_CN,en", ("zh_CN", "en")),
    ],
)
def test_targets_may_be_text_or_any_iterable(value: Any, expected: tuple[str, ...]) -> None:
    assert translation(targets=value).targets == expected


@pytest.mark.parametrize("value", ["", [], (), iter(())])
def test_a_request_without_a_target_is_refused(value: object) -> None:
    assert refusal(translation, targets=value).startswith("targets is empty")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("ja,", "''"),
        (",ja", "''"),
        ("j", "'j'"),
        ("日本語", "'日本語'"),
        ("ja;fr", "'ja;fr'"),
        ("ja fr", "'ja fr'"),
        ("ja\x1b[31m", "'ja\\x1b[31m'"),
        (["ja", "ja\nfr"], "'ja\\nfr'"),
        (["ja", 7], "7"),
        (["ja", None], "None"),
        (["ja", ["fr"]], "['fr']"),
        ([b"ja"], "b'ja'"),
        ("x" * 10_000, "'xxx"),
    ],
)
def test_what_is_no_language_code_is_refused(value: object, shown: str) -> None:
    text = refusal(translation, targets=value)

    assert text.startswith(f"targets must be a language code such as 'ja' or 'zh-CN-shandong', not {shown}")


@pytest.mark.parametrize("value", [7, 7.5, {"ja": 1}, b"ja", object()])
def test_targets_that_are_no_list_are_refused(value: object) -> None:
    assert refusal(translation, targets=value).startswith("targets must be a language code or several, not ")


@pytest.mark.parametrize("value", ["ja,ja", "ja,JA", "zh-CN,fr,zh_cn", "ja,fr,ja,fr"])
def test_a_language_named_twice_is_refused_because_it_would_be_paid_twice(value: str) -> None:
    text = refusal(translation, targets=value)

    assert "more than once; each job would be paid" in text
    assert value.split(",")[0].lower() in text


@pytest.mark.parametrize("value", ["DEFAULT", "default", "ja,Default"])
def test_the_word_for_detection_is_no_target(value: str) -> None:
    assert "can be a source language, not a target" in refusal(translation, targets=value)


@pytest.mark.parametrize("value", ["", "e", 7, None, "en fr", ["en"]])
def test_a_source_language_has_to_be_one_code(value: object) -> None:
    assert refusal(translation, source_language=value).startswith("source_language must be a language code")


@pytest.mark.parametrize("value", ["DEFAULT", "en", "zh-CN"])
def test_a_source_language_is_a_code_or_the_word_for_detection(value: str) -> None:
    assert translation(source_language=value).source_language == value


# Options.


@pytest.mark.parametrize("name", ["lipsync", "remove_bgm", "dynamic_duration"])
@pytest.mark.parametrize("value", [1, 0, "true", None, [], HUGE])
def test_a_switch_is_true_or_false(name: str, value: object) -> None:
    assert refusal(translation, **{name: value}).startswith(f"{name} must be True or False, not ")


@pytest.mark.parametrize("value", [-1, 11, True, 2.0, "2", None, HUGE, float("nan")])
def test_a_number_of_speakers_out_of_range_is_refused(value: object) -> None:
    text = refusal(translation, speaker_num=value)

    assert text.startswith("speaker_num must be a whole number from 0 (detect) to 10, not ")


@pytest.mark.parametrize("value", range(11))
def test_any_number_of_speakers_in_range_is_taken(value: int) -> None:
    assert translation(speaker_num=value).speaker_num == value


@pytest.mark.parametrize("value", [CaptionType.REPLACE, 3, "replace", "REPLACE", "Replace"])
def test_a_caption_type_goes_by_number_or_name(value: Any) -> None:
    assert translation(caption_type=value).caption_type is CaptionType.REPLACE


@pytest.mark.parametrize("value", [-1, 5, True, False, "all", "", "3", 3.0, None, [3], HUGE])
def test_another_caption_type_is_refused_with_those_that_there_are(value: object) -> None:
    text = refusal(translation, caption_type=value)

    assert text.startswith(
        "caption_type must be one of 0 (none), 1 (original), 2 (target), 3 (replace), 4 (translated), not "
    )


def test_the_description_of_a_request_names_each_style() -> None:
    assert {style for style in STYLES if style in TranslationRequest.__doc__} == STYLES


@pytest.mark.parametrize("value", sorted(STYLES))
def test_every_documented_style_is_taken(value: str) -> None:
    assert translation(style=value).style == value


@pytest.mark.parametrize("value", ["", "Calm", "shouting", 7, ["calm"], {"calm": 1}, b"calm"])
def test_another_style_is_refused_with_those_that_there_are(value: object) -> None:
    text = refusal(translation, style=value)

    assert text.startswith("style must be one of affectionate, angry, calm,")
    assert repr(value) in text


@pytest.mark.parametrize("make", [translation, lip_sync])
@pytest.mark.parametrize("value", ["", "x" * 201, "a\nb", "a\x1b[2J", "\u202e", LONE, 7, b"key", ["key"]])
def test_a_key_that_can_not_be_a_name_is_refused(make: Callable[..., object], value: object) -> None:
    assert refusal(make, key=value).startswith("key must be 1 to 200 printable characters, not ")


@pytest.mark.parametrize("value", ["x", "x" * 200, "episode 7 / 日本", " "])
def test_any_printable_key_is_taken(value: str) -> None:
    assert translation(key=value).key == value


# Words and voices.


@pytest.mark.parametrize("value", ["Kestrel", b"Kestrel", {"Kestrel": 1}, 7, None])
def test_words_that_are_no_list_are_refused(value: object) -> None:
    text = refusal(translation, no_translate_words=value)

    assert text.startswith("no_translate_words must be a list of words, not ")


@pytest.mark.parametrize("value", [[""], [" "], ["a", None], [7], [["a"]], [LONE], ["\t\n"]])
def test_a_word_that_is_none_is_refused_and_shown(value: list[Any]) -> None:
    text = refusal(translation, no_translate_words=value)

    assert text.startswith("no_translate_words must hold words only, none of them empty, not ")


def test_words_may_come_from_any_iterable() -> None:
    assert translation(no_translate_words=(w for w in ("a", "b"))).no_translate_words == ("a", "b")


@pytest.mark.parametrize("name", ["voices_map", "fixed_words", "pronounced_words"])
@pytest.mark.parametrize("value", [None, 7, "ja=x", [("ja", "x")], {"ja"}, HUGE])
def test_what_is_no_mapping_is_refused(name: str, value: object) -> None:
    assert refusal(translation, **{name: value}).startswith(f"{name} must map text to text, not be ")


@pytest.mark.parametrize("name", ["voices_map", "fixed_words", "pronounced_words"])
@pytest.mark.parametrize(
    "value",
    [
        {"": "x"},
        {" ": "x"},
        {7: "x"},
        {"ja": 7},
        {"ja": None},
        {"ja": ["x"]},
        {None: "x"},
        {LONE: "x"},
        {"ja": LONE},
    ],
)
def test_a_mapping_of_anything_but_text_is_refused(name: str, value: object) -> None:
    text = refusal(translation, **{name: value})

    assert text.startswith(f"{name} holds ")
    assert "both must be text" in text


@pytest.mark.parametrize("name", ["fixed_words", "pronounced_words"])
def test_an_empty_replacement_is_refused(name: str) -> None:
    assert refusal(translation, **{name: {"a": " "}}).startswith(f"{name} holds 'a': ' '")


def test_an_empty_voice_is_the_default_voice() -> None:
    assert translation(voices_map={"ja": ""}).voices_map == {"ja": ""}


@pytest.mark.parametrize("stranger", ["fr", "JA", "x\n\x1b[31my", "y" * 5000])
def test_a_voice_for_a_language_that_is_no_target_is_refused(stranger: str) -> None:
    text = refusal(translation, voices_map={"ja": "voice-1", stranger: "voice-2"})

    assert text.startswith("voices_map names ")
    assert "which is not among the targets" in text


@pytest.mark.parametrize(
    "name",
    "targets source_language caption_type speaker_num style key no_translate_words lipsync".split(),
)
@pytest.mark.parametrize(
    "make",
    [
        lambda: DIGITS,
        knot,
        lambda: {"k": [LONE, "\x1b[31m\n" * 10_000]},
        lambda: "\x1b[2J\n" * 10_000,
        lambda: object(),
    ],
    ids=["huge number", "too deep", "odd dict", "control characters", "object"],
)
def test_whatever_is_refused_is_said_on_one_short_printable_line(name: str, make: Callable[[], Any]) -> None:
    assert name in refusal(translation, **{name: make()})


texts = st.text(st.characters(), max_size=3)
odd_values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.lists(texts, max_size=2)
    | st.dictionaries(texts, texts, max_size=2)
)


@settings(max_examples=60, deadline=None, database=None)
@given(st.dictionaries(st.sampled_from(attrs.fields(TranslationRequest)).map(lambda f: f.name), odd_values))
def test_any_values_are_refused_clearly_or_can_be_sent(values: dict[str, Any]) -> None:
    try:
        request = translation(**values)
    except InvalidRequestError as error:
        told = str(error)
    else:
        told = json.dumps(create_payload(request), ensure_ascii=False)

    assert told.encode()
    assert "\n" not in told


# As values.

FULL = translation(
    targets="ja,fr",
    voices_map={"ja": "voice-1"},
    fixed_words={"desk": "Pult"},
    pronounced_words={"SQL": "sequel"},
    no_translate_words=["Kestrel"],
    caption_type=2,
    key="mine",
)


@pytest.mark.parametrize("request_", [FULL, lip_sync()])
def test_a_request_survives_pickling_and_copying(request_: Any) -> None:
    for again in (pickle.loads(pickle.dumps(request_)), copy.copy(request_), copy.deepcopy(request_)):
        assert again == request_
        assert hash(again) == hash(request_)
        assert type(again) is type(request_)


def test_the_maps_of_a_copy_are_as_fixed_as_the_original() -> None:
    again = pickle.loads(pickle.dumps(FULL))

    with pytest.raises(TypeError, match="does not change"):
        again.fixed_words["desk"] = "Tisch"


@pytest.mark.parametrize("request_", [FULL, lip_sync()])
def test_a_request_does_not_change(request_: Any) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        request_.key = "other"


@pytest.mark.parametrize(
    "change",
    [
        lambda words: words.__setitem__("a", 3),
        lambda words: words.__delitem__("desk"),
        lambda words: words.update(a="b"),
        lambda words: words.setdefault("a", "b"),
        lambda words: words.pop("desk"),
        lambda words: words.popitem(),
        lambda words: words.clear(),
        lambda words: words.__ior__({"a": "b"}),
    ],
)
def test_the_maps_of_a_request_do_not_change_past_the_checks(change: Callable[[Any], Any]) -> None:
    for words in (FULL.fixed_words, FULL.pronounced_words, FULL.voices_map):
        before = dict(words)

        with pytest.raises(TypeError, match="does not change"):
            change(words)

        assert words == before


def test_a_request_does_not_follow_what_it_was_made_of() -> None:
    words, voices, kept = {"desk": "Pult"}, {"ja": "voice-1"}, ["Kestrel"]
    request = translation(fixed_words=words, voices_map=voices, no_translate_words=kept)

    words["desk"], voices["fr"] = "Tisch", "voice-2"
    kept.append("Heron")

    assert (request.fixed_words, request.voices_map) == ({"desk": "Pult"}, {"ja": "voice-1"})
    assert request.no_translate_words == ("Kestrel",)


def test_a_changed_request_is_checked_again() -> None:
    assert attrs.evolve(FULL, targets="ja", key=None).fixed_words == {"desk": "Pult"}
    with pytest.raises(InvalidRequestError, match="not among the targets"):
        attrs.evolve(FULL, targets="fr")


def test_equal_requests_are_one_in_a_set() -> None:
    assert len({FULL, attrs.evolve(FULL), attrs.evolve(FULL, key="other")}) == 2


def test_options_are_named_and_never_taken_by_position() -> None:
    with pytest.raises(TypeError):
        TranslationRequest(URL, "ja")  # type: ignore[call-arg, misc]


def test_the_repr_hides_what_signs_a_url() -> None:
    everywhere = (
        translation(url=SIGNED, webhook_url=SIGNED, caption_url=SIGNED),
        lip_sync(video_url=SIGNED, audio_url=SIGNED, webhook_url=SIGNED),
    )

    for request in everywhere:
        assert "canary" not in repr(request)
        assert repr(request).count("'https://media.test/talk.mp4?…'") == 3


def test_the_repr_of_what_is_not_given_is_none() -> None:
    assert "webhook_url=None" in repr(translation())


def test_a_lip_sync_has_one_target_without_a_name() -> None:
    assert lip_sync().targets == ("",)
