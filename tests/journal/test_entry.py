"""What is written comes back as it was, without the queries of URLs that are not public."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from akool_async._journal.entry import (
    DecodeError,
    EntryUpdate,
    dump_datetime,
    dump_float,
    dump_int,
    dump_request,
    dump_snapshot,
    dump_text,
    dump_texts,
    encode_request,
    load_datetime,
    load_request,
    load_snapshot,
    load_texts,
)
from akool_async._model.fingerprint import fingerprint, work_of
from akool_async._model.redact import Secret, redacted_url
from akool_async._model.requests import STYLES, CaptionType, LipSyncRequest, Request, TranslationRequest
from akool_async._model.responses import AudioSplits, Snapshot, Status
from akool_async._model.states import State

NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=8)
PRINTABLE = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20)
WORDS = st.text(min_size=1, max_size=10).filter(str.strip)
LANGUAGES = st.sampled_from(["ja", "fr", "zh-CN-shandong", "pt_BR", "de", "hi"])
HARMLESS = st.sampled_from(["v", "id", "q", "quality", "lang", "se", "st"])


@st.composite
def urls(draw: st.DrawFn) -> str:
    host = draw(st.sampled_from(["example.com", "EXAMPLE.com:8443", "127.0.0.1", "[::1]:80"]))
    path = draw(st.sampled_from(["", "/", "/a/b.mp4", "/%7Ea;x=1/b%20c.mp4", "/видео.mp4", "//twice"]))
    value = st.one_of(NAMES, st.sampled_from(["", "a+b", "%2F%ff", "a=b", "é"]))
    pairs = draw(st.lists(st.tuples(HARMLESS, st.one_of(st.none(), value)), max_size=4))
    query = "&".join(name if told is None else f"{name}={told}" for name, told in pairs)
    return f"{draw(st.sampled_from(['http', 'https', 'HTTPS']))}://{host}{path}{'?' if query else ''}{query}"


MAPS = st.dictionaries(WORDS, WORDS, max_size=3)


@st.composite
def translations(draw: st.DrawFn) -> TranslationRequest:
    targets = draw(st.lists(LANGUAGES, min_size=1, max_size=4, unique_by=str.lower))
    voices = draw(st.lists(st.sampled_from(targets), max_size=2))
    return TranslationRequest(
        url=draw(urls()),
        targets=targets,
        source_language=draw(st.sampled_from(["DEFAULT", "en"])),
        lipsync=draw(st.booleans()),
        webhook_url=draw(st.none() | st.just("https://hooks.test/in")),
        url_is_public=True,
        speaker_num=draw(st.integers(0, 10)),
        remove_bgm=draw(st.booleans()),
        caption_type=draw(st.sampled_from(CaptionType)),
        caption_url=draw(st.none() | urls()),
        voices_map={target: draw(st.text(max_size=5)) for target in voices},
        no_translate_words=draw(st.lists(WORDS, max_size=3)),
        style=draw(st.none() | st.sampled_from(sorted(STYLES))),
        fixed_words=draw(MAPS),
        pronounced_words=draw(MAPS),
        dynamic_duration=draw(st.booleans()),
        key=draw(st.none() | PRINTABLE),
    )


@st.composite
def lipsyncs(draw: st.DrawFn) -> LipSyncRequest:
    return LipSyncRequest(
        video_url=draw(urls()),
        audio_url=draw(urls()),
        webhook_url=draw(st.none() | st.just("https://hooks.test/in")),
        url_is_public=True,
        key=draw(st.none() | PRINTABLE),
    )


@given(translations() | lipsyncs())
def test_a_request_comes_back_as_it_was(request: Request) -> None:
    text = dump_request(request)

    assert load_request(text) == request
    assert text.isascii()
    assert not encode_request(request)[1]


def test_the_strategies_reach_every_field() -> None:
    """A field that is new has to be drawn above, and then to survive."""
    assert set(TranslationRequest.__slots__) - {"__weakref__"} == {
        *("url", "targets", "source_language", "lipsync", "webhook_url", "speaker_num", "remove_bgm"),
        *("caption_type", "caption_url", "voices_map", "no_translate_words", "style", "fixed_words"),
        *("pronounced_words", "dynamic_duration", "key", "url_is_public"),
    }
    assert set(LipSyncRequest.__slots__) - {"__weakref__"} == {
        *("video_url", "audio_url", "webhook_url", "key", "url_is_public")
    }


SIGNED = [
    ("https://b.s3.amazonaws.com/v.mp4?X-Amz-Signature=s3cret&v=1", "https://b.s3.amazonaws.com/v.mp4"),
    ("https://e.com/v.mp4?%58-Goog-Signature=s3cret", "https://e.com/v.mp4"),
    ("https://user:s3cret@E.com/v.mp4", "https://E.com/v.mp4"),
    ("https://a.blob.core.windows.net/v?sv=1&se=2&sig=s3cret", "https://a.blob.core.windows.net/v"),
    ("https://e.com/v?a=1&&nobody-knows-this-signer=s3cret&b=2", "https://e.com/v"),
    ("https://e.com/v?s3cret", "https://e.com/v"),
]


@pytest.mark.parametrize(("signed", "stored"), SIGNED)
def test_no_query_is_written_that_may_sign_a_url(signed: str, stored: str) -> None:
    request = TranslationRequest(url=signed, targets="ja", caption_url=signed, webhook_url=signed)
    text = dump_request(request)

    assert "s3cret" not in text
    assert redacted_url(signed) == stored
    assert encode_request(request)[1]
    assert work_of(fingerprint(load_request(text), "ja")) == work_of(fingerprint(request, "ja"))


def test_a_query_that_is_public_is_written_but_that_of_a_webhook() -> None:
    request = TranslationRequest(url="https://e.com/v?id=7", targets="ja", url_is_public=True)
    called = attrs.evolve(request, webhook_url="https://hooks.test/in?s3cret")

    assert load_request(dump_request(request)) == request
    assert not encode_request(request)[1]
    assert "s3cret" not in dump_request(called)
    assert encode_request(called)[1]


def test_a_fragment_is_left_out_but_nothing_is_missed() -> None:
    request = TranslationRequest(url="https://e.com/v.mp4#token=s3cret", targets="ja")

    assert redacted_url(request.url) == "https://e.com/v.mp4"
    assert not encode_request(request)[1]


MOMENTS = st.datetimes(
    min_value=datetime(1970, 1, 2),
    max_value=datetime(2200, 1, 1),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7))]),
)


@given(st.lists(MOMENTS, min_size=2))
def test_moments_come_back_and_sort_as_texts(moments: list[datetime]) -> None:
    texts = [dump_datetime(moment) or "" for moment in moments]

    assert [load_datetime(text) for text in texts] == moments
    assert sorted(texts) == [dump_datetime(moment) for moment in sorted(moments)]


@given(
    st.builds(
        Snapshot,
        job_id=PRINTABLE,
        status=st.sampled_from(Status),
        raw_status=NAMES,
        url=st.sampled_from(["", "https://cdn.example.com/r.mp4"]),
        progress=st.none() | st.integers(0, 100),
        created_at=st.none() | MOMENTS,
        video_id=st.text(max_size=5),
        credits_used=st.none() | st.floats(0, 1e6),
        error_code=st.none() | st.integers(),
        error_reason=NAMES,
        audio_splits=st.builds(AudioSplits, original_srt_url=st.sampled_from(["", "https://e.com/o.srt"])),
    )
)
def test_a_snapshot_comes_back_as_it_was(snapshot: Snapshot) -> None:
    assert load_snapshot(dump_snapshot(snapshot)) == snapshot


def test_a_snapshot_keeps_no_query_and_nothing_raw() -> None:
    signed = "https://u:s3cret@cdn.example.com/r.mp4?Signature=s3cret#s3cret"
    snapshot = Snapshot(
        job_id="job-1",
        url=signed,
        audio_splits=AudioSplits(original_srt_url=signed, no_caption_video_url=signed),
        error_reason=f"see {signed}",
        raw_status=f"'{signed}'",
        raw={"video": signed},
    )
    text = dump_snapshot(snapshot)

    assert "s3cret" not in text
    assert load_snapshot(text).url == "https://cdn.example.com/r.mp4"


def test_a_snapshot_keeps_no_key_that_the_vendor_put_into_a_url() -> None:
    key = Secret("canary-4f9c1b7e2a")
    url = f"https://cdn.example.com/{key.reveal()}/r.mp4"
    snapshot = Snapshot(job_id="job-1", url=url, audio_splits=AudioSplits(original_srt_url=url))

    assert key.reveal() not in dump_snapshot(snapshot)
    assert key.reveal() not in repr(snapshot)
    assert snapshot.url == url  # it is still downloaded


@given(st.lists(st.text(st.characters()), max_size=4))
def test_texts_come_back_whatever_they_hold(texts: list[str]) -> None:
    assert load_texts(dump_texts(tuple(texts))) == tuple(texts)


def test_a_step_takes_one_text_as_it_is() -> None:
    step = EntryUpdate(key="talk", state=State.IN_DOUBT, doubt_ids="66a0", files=Path("talk.mp4"))

    assert (step.doubt_ids, step.files) == (("66a0",), ("talk.mp4",))


def test_a_text_is_cut_at_queries_and_can_be_encoded() -> None:
    text = dump_text("a \ud800 b https://e.com/x?sig=s3cret, HTTP://u:p@e.com/y?token=s3cret")

    assert "s3cret" not in text
    assert "u:p" not in text
    assert text.encode()


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
def test_a_code_that_sqlite_can_not_hold_is_left_out(number: int) -> None:
    assert dump_int(number) is None
    assert dump_float(float("nan")) is None
    assert dump_float(1e308) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ALIKE = st.dictionaries(
    st.sampled_from(
        ["kind", "url", "targets", "status", "created_at", "job_id", "audio_splits", "caption_type"]
    ),
    JSON | st.sampled_from(["translation", "lipsync", "https://e.com", 1, 2]),
)


@given(st.text() | (JSON | ALIKE).map(json.dumps))
def test_whatever_stands_in_the_file_is_read_or_said_to_be_unreadable(text: str) -> None:
    for read in (load_request, load_snapshot, load_texts):
        with suppress(DecodeError):
            read(text)


def test_a_list_nested_too_deeply_is_unreadable() -> None:
    deep: Any = "[" * 100_000
    with pytest.raises(DecodeError):
        load_request(deep)
