"""The name of an entry without one: the same for the same work, different for different work."""

from __future__ import annotations

import re
from typing import Any

import attrs
import pytest
import yarl
from hypothesis import given, settings
from hypothesis import strategies as st

from akool_async._model import fingerprint as fingerprints
from akool_async._model import requests
from akool_async._model.fingerprint import (
    _ALWAYS,
    _LATER,
    canonical_url,
    entry_key,
    fingerprint,
    replaced_input,
    work_of,
)
from akool_async._model.requests import PLAIN_URL, CaptionType, LipSyncRequest, TranslationRequest

URL = "https://media.test/talk.mp4"
VOICE = "https://media.test/voice.wav"


def of(target: str = "ja", **changed: Any) -> str:
    return fingerprint(TranslationRequest(**{"url": URL, "targets": "ja,fr", **changed}), target)


def of_lip_sync(**changed: Any) -> str:
    return fingerprint(LipSyncRequest(**{"video_url": URL, "audio_url": VOICE, **changed}), "")


SIGNATURES = {
    "S3, version 4": (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a%2F{n}&X-Amz-Date=2026010{n}T000000Z"
        "&X-Amz-Expires=360{n}&X-Amz-SignedHeaders=host&X-Amz-Security-Token=t{n}&X-Amz-Signature=s{n}"
    ),
    "S3, version 2": "AWSAccessKeyId=a{n}&Signature=s%2F{n}&Expires=176000000{n}",
    "GCS, version 4": "X-Goog-Algorithm=GOOG4&X-Goog-Credential=c{n}&X-Goog-Date=d{n}&X-Goog-Signature=s{n}",
    "GCS, version 2": "GoogleAccessId=g{n}&Expires={n}&Signature=s{n}",
    "Azure": (
        "sv=2024-0{n}-01&se=2026-01-0{n}&st=2026-01-0{n}&sr=b&sp=r&spr=https&sip=1.2.3.{n}&sig=s{n}"
        "&skoid=o{n}&sktid=t{n}&skt=k{n}&ske=e{n}&sks=b&skv=v{n}"
    ),
    "CloudFront": "Expires={n}&Policy=p{n}&Signature=s{n}&Key-Pair-Id=K{n}",
    "OSS": "OSSAccessKeyId=a{n}&Expires={n}&Signature=s{n}",
    "OSS, version 4": "x-oss-signature={n}&x-oss-date={n}",
    "COS": (
        "q-sign-algorithm=sha1&q-ak=a&q-sign-time={n};2&q-key-time={n};2&q-header-list=host&q-url-param-list="
        "&q-signature=s{n}&x-cos-security-token=t{n}"
    ),
    "lower case": "x-amz-signature={n}&x-amz-date={n}",
}


@pytest.mark.parametrize("signature", SIGNATURES.values(), ids=list(SIGNATURES))
def test_a_url_that_is_signed_anew_names_the_same_video(signature: str) -> None:
    signed = {of(url=f"{URL}?{signature.format(n=n)}") for n in range(1, 4)}
    beside = {of(url=f"{URL}?id=5&{signature.format(n=n)}&part=2") for n in range(1, 4)}

    assert signed == {of()}
    assert beside == {of(url=f"{URL}?id=5&part=2")}


@pytest.mark.parametrize("signature", SIGNATURES.values(), ids=list(SIGNATURES))
def test_what_signs_does_not_hide_which_video_it_is(signature: str) -> None:
    signed = [of(url=f"{URL}?{name}&{signature.format(n=1)}") for name in ("id=5", "id=6", "v=abc", "v=abd")]

    assert len(set(signed)) == 4


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("?id=5", "?id=6"),
        ("?v=abc", "?v=abd"),
        ("?v=abc", "?v=ABC"),
        ("?versionId=1", "?versionId=2"),
        ("?se=1&st=2", "?se=1&st=3"),
        ("?sp=1", "?sp=2"),
        ("?sr=b", "?sr=c"),
        ("?sv=1", ""),
        ("?id=", "?id=5"),
        ("?id=%ff", "?id=%fe"),
        ("?id=1&id=2", "?id=1"),
        ("?amz=1", "?amz=2"),
        ("?token=1", "?token=2"),
        ("?signature=1", "?signature=2"),
        ("?expires=1&policy=2", "?expires=2&policy=3"),
        ("?hdnts=1", "?hdnts=2"),
        ("?x-amz-date=1", "?x-amz-date=2"),
        ("?q-ak=1", "?q-ak=2"),
        ("?tokens=1", "?tokens=2"),
    ],
)
def test_what_tells_videos_apart_in_a_query_is_kept(one: str, other: str) -> None:
    assert of(url=URL + one) != of(url=URL + other)
    assert work_of(of(url=URL + one)) == work_of(of(url=URL + other))


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        (URL, URL),
        ("https://MEDIA.test/talk.mp4", URL),
        ("HTTPS://media.test/talk.mp4", URL),
        ("https://user:pw@media.test/talk.mp4", URL),
        (f"{URL}#t=10", URL),
        ("https://media.test", "https://media.test/"),
        ("https://media.test/Talk.mp4", "https://media.test/Talk.mp4"),
        ("https://media.test:8443/a", "https://media.test:8443/a"),
        ("https://media.test:443/talk.mp4", URL),
        ("http://media.test:80/a", "http://media.test/a"),
        ("https://media.test:80/a", "https://media.test:80/a"),
        ("https://[2001:db8::443]/a", "https://[2001:db8::443]/a"),
        ("https://[2001:db8::1]:443/a", "https://[2001:db8::1]/a"),
        ("https://media.test/%7Ea%2Db%2e%5F%41%7a%30", "https://media.test/~a-b._Az0"),
        ("https://media.test/a%2Fb%20c%2B%5B%60%7B%C3%A9", "https://media.test/a%2Fb%20c%2B%5B%60%7B%C3%A9"),
        ("https://media.test/a%2fvid%c3%a9o", "https://media.test/a%2Fvid%C3%A9o"),
        ("https://media.test/vidéo[1]+100%", "https://media.test/vid%C3%A9o%5B1%5D+100%"),
        ("https://media.test/a%20%281%29%2C%27b%27%40%3A", "https://media.test/a%20(1),'b'@:"),
        ("https://media.test:/talk.mp4", URL),
        ("https://media.test/%257Ea", "https://media.test/%257Ea"),
        ("https://media.test/~a?b=%7E", "https://media.test/~a?b=~"),
        ("https://bücher.test/a", "https://xn--bcher-kva.test/a"),
        ("https://BÜCHER.test.:8443/a", "https://xn--bcher-kva.test:8443/a"),
        ("https://a..ü/a", "https://a..ü/a"),
        ("https://media.test./talk.mp4", URL),
        ("https://media.test/a/../b/./../talk.mp4", URL),
        ("https://media.test/../../talk.mp4", URL),
        ("https://media.test/%2e%2E/.%2e/talk.mp4", URL),
        ("https://media.test/a/b/..", "https://media.test/a/"),
        ("https://media.test/a/.", "https://media.test/a/"),
        ("https://media.test/..", "https://media.test/"),
        ("https://media.test/a//../b", "https://media.test/a/b"),
        ("https://media.test/.well-known/...", "https://media.test/.well-known/..."),
        ("s3://bucket/a%7Eb/../c", "s3://bucket/a%7Eb/../c"),
        ("s3://bucket/a%7Eb", "s3://bucket/a%7Eb"),
        ("file:///a%7Eb", "file:///a%7Eb"),
        (f"{URL}?a=1&X-Amz-Signature=2&b=%2F+x", f"{URL}?a=1&b=%2F+x"),
        (f"{URL}?flag", f"{URL}?flag="),
    ],
)
def test_a_plain_url_keeps_what_names_the_video(url: str, plain: str) -> None:
    assert canonical_url(url) == plain


NEVER = re.compile("(?!)")


@settings(max_examples=300)
@given(url=st.from_regex(PLAIN_URL, fullmatch=True))
def test_a_url_that_is_not_looked_at_closer_is_what_a_closer_look_says(url: str) -> None:
    with pytest.MonkeyPatch.context() as slowly:
        slowly.setattr(fingerprints, "PLAIN_URL", NEVER)
        slowly.setattr(requests, "PLAIN_URL", NEVER)
        assert requests.is_http_url(url)
        assert canonical_url(url) == url
    assert requests.is_http_url(url)
    assert canonical_url(url) == url


@pytest.mark.parametrize(
    "other", ["http://media.test/talk.mp4", "https://media.test/talk2.mp4", "https://m.test/talk.mp4"]
)
def test_another_place_is_another_video(other: str) -> None:
    assert of(url=other) != of()


@pytest.mark.parametrize(
    "changed",
    [
        {"source_language": "en"},
        {"lipsync": True},
        {"speaker_num": 2},
        {"remove_bgm": True},
        {"caption_type": CaptionType.TARGET},
        {"caption_url": "https://media.test/talk.srt"},
        {"voices_map": {"ja": "voice-1"}},
        {"no_translate_words": ["Kestrel"]},
        {"style": "calm"},
        {"fixed_words": {"a": "b"}},
        {"pronounced_words": {"a": "b"}},
        {"dynamic_duration": True},
    ],
)
def test_another_option_is_other_work(changed: dict[str, Any]) -> None:
    assert of(**changed) != of()


def test_every_option_has_been_thought_of() -> None:
    """A new field of a request has to be put on one of two sides: does it change the result?"""
    assert set(attrs.fields_dict(TranslationRequest)) == {
        *("url", "targets", "source_language", "lipsync", "webhook_url", "speaker_num", "remove_bgm"),
        *("caption_type", "caption_url", "voices_map", "no_translate_words", "style", "fixed_words"),
        *("pronounced_words", "dynamic_duration", "key", "url_is_public"),
    }
    assert set(attrs.fields_dict(LipSyncRequest)) == {
        *("video_url", "audio_url", "webhook_url", "key", "url_is_public")
    }


def test_where_to_call_back_and_the_callers_key_do_not_matter() -> None:
    assert of(webhook_url="https://hooks.test/in?token=1", key="mine", url_is_public=True) == of()
    assert of_lip_sync(webhook_url="https://hooks.test/in", key="mine") == of_lip_sync()


def test_the_other_languages_of_the_request_do_not_matter() -> None:
    assert of("ja", targets="ja") == of("ja", targets=["fr", "ja", "hi"])


def test_each_language_is_work_of_its_own() -> None:
    assert of("ja") != of("fr")


def test_only_the_voice_of_the_language_itself_matters() -> None:
    assert of("ja", voices_map={"fr": "voice-1"}) == of("ja")
    assert of("fr", voices_map={"fr": "voice-1"}) != of("fr")
    assert of("ja", voices_map={"ja": ""}) == of("ja")


def test_the_order_of_a_map_does_not_matter() -> None:
    assert of(fixed_words={"a": "1", "b": "2"}) == of(fixed_words={"b": "2", "a": "1"})


def test_the_order_of_words_that_are_kept_does_not_matter() -> None:
    assert of(no_translate_words=("NASA", "Akool")) == of(no_translate_words=("Akool", "NASA", "Akool"))
    assert of(no_translate_words=("NASA",)) != of(no_translate_words=("NASA", "Akool"))


@given(path=st.lists(st.sampled_from(["", "a", "b", ".", "..", "..."])).map("/".join))
def test_dots_in_a_path_are_resolved_as_clients_do(path: str) -> None:
    url = f"https://media.test/{path}"

    assert canonical_url(url) == str(yarl.URL(url))


def test_a_caption_file_that_is_signed_anew_is_the_same() -> None:
    caption = "https://media.test/talk.srt"

    assert of(caption_url=f"{caption}?sig=1&se=2") == of(caption_url=f"{caption}?sig=3&se=4")
    assert of(caption_url=f"{caption}?id=1") != of(caption_url=f"{caption}?id=2")


def test_a_lip_sync_depends_on_both_files() -> None:
    found = {
        of_lip_sync(),
        of_lip_sync(video_url="https://media.test/other.mp4"),
        of_lip_sync(audio_url="https://media.test/other.wav"),
        of_lip_sync(video_url=VOICE, audio_url=URL),
    }

    assert len(found) == 4
    assert of_lip_sync(audio_url=f"{VOICE}?X-Amz-Signature=1") == of_lip_sync()


def test_a_fingerprint_is_short_and_stays_the_same_in_the_next_version() -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", of())
    assert of() == "0dedff9145e8f008493d055539df4a0b"
    assert of_lip_sync() == "6d105f7014842fb7c3985e253af543ac"


def test_an_option_that_is_added_later_counts_only_where_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    first = tuple(name for name in _ALWAYS[TranslationRequest] if name != "dynamic_duration")
    monkeypatch.setitem(_ALWAYS, TranslationRequest, first)
    fingerprint.cache_clear()
    before, given_before = of(), of(dynamic_duration=True)
    monkeypatch.setitem(_LATER, TranslationRequest, (("dynamic_duration", False),))
    fingerprint.cache_clear()
    after, given = of(), of(dynamic_duration=True)
    fingerprint.cache_clear()

    assert before == given_before == after
    assert given != after


def test_a_key_of_the_caller_goes_before_the_fingerprint() -> None:
    named = TranslationRequest(url=URL, targets="ja", key="mine")

    assert entry_key(named, "ja") == "mine"
    assert entry_key(attrs.evolve(named, key=None), "ja") == of(targets="ja")


@pytest.mark.parametrize("changed", [{"lipsync": True}, {"url": "https://media.test/other.mp4"}])
def test_other_work_differs_in_its_first_part(changed: dict[str, Any]) -> None:
    assert work_of(of(**changed)) != work_of(of())


HASH = "file:///talk.mp4?sha256=" + "1" * 64


@pytest.mark.parametrize(
    ("known", "url", "replaced"),
    [
        (HASH, HASH, False),
        (HASH, HASH.replace("1", "2"), True),
        (HASH, "/talk.mp4", False),
        ("/talk.mp4", HASH, False),
        ("s3://bucket/a.mp4?etag=1", "s3://bucket/a.mp4?etag=2", True),
        ("s3://bucket/a.mp4?etag=1", "s3://bucket/a.mp4?etag=1", False),
        ("https://media.test/a.mp4?sha256=1", "https://media.test/a.mp4?sha256=2", False),
    ],
)
def test_an_input_was_replaced_where_both_contents_are_known(known: str, url: str, replaced: bool) -> None:
    before, now = (TranslationRequest(url=one, targets="ja", key="talk") for one in (known, url))

    assert (replaced_input(before, now) is not None) == replaced
