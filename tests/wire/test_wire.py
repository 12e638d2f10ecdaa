"""Answers and payloads: every documented shape, present and past, and what is odd about real ones."""

from __future__ import annotations

import json
import pickle
import time
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from akool_async._model.credentials import ClientCredentials
from akool_async._model.errors import ProtocolError
from akool_async._model.requests import CaptionType, LipSyncRequest, Request, TranslationRequest
from akool_async._model.responses import AudioSplits, Language, Snapshot, Status, Voice
from akool_async._wire import (
    create_path,
    create_payload,
    find_job_ids,
    find_jobs,
    may_name_job,
    read_credit,
    read_envelope,
    read_languages,
    read_snapshot,
    read_submission,
    read_token,
    read_voices,
    token_payload,
)
from akool_async._wire.fields import (
    read_bool,
    read_float,
    read_id,
    read_int,
    read_moment,
    read_text,
    read_texts,
)
from tests.wire.examples import (
    CREATED_MS,
    FR,
    HI,
    JA,
    LIP_SYNC,
    OTHER,
    REQUEST,
    THREE,
    accepted,
    answer,
    body,
    completed,
    envelope,
    failed,
    language,
    made,
    status,
    status_long_ago,
    voice,
    voices,
)

MADE_AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)


def seen(data: Any, job_id: str = JA) -> Snapshot:
    return read_snapshot(envelope(data), job_id)


# Single values.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, 7),
        ("7", 7),
        (" 7 ", 7),
        (7.0, 7),
        ("7.0", 7),
        (-3, -3),
        (2**53 + 1, 2**53 + 1),
        (7.5, None),
        ("7.5", None),
        ("", None),
        ("seven", None),
        ("1_000", None),
        ("9" * 41, None),
        (10**400, None),
        (float("nan"), None),
        (float("inf"), None),
        ("nan", None),
        ("1e999", None),
        (True, None),
        (None, None),
        ([7], None),
        ({"n": 7}, None),
    ],
)
def test_a_whole_number_may_come_as_text(value: object, expected: int | None) -> None:
    assert read_int(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.5, 0.5), ("0.5", 0.5), ("-1e3", -1000.0), (4, 4.0), (False, None), ("", None), ([], None)],
)
def test_a_number_may_come_as_text(value: object, expected: float | None) -> None:
    assert read_float(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("ja", "ja"),
        (12, "12"),
        (1.5, "1.5"),
        (None, ""),
        (True, ""),
        (["ja"], ""),
        ({}, ""),
        ("a\ud800b", "a?b"),
        (10**400, ""),
        (10**200, str(10**200)),
    ],
)
def test_text_may_come_as_a_number_and_can_always_be_encoded(value: object, expected: str) -> None:
    assert read_text(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (1, True),
        ("true", True),
        (" True ", True),
        ("1", True),
        ("yes", True),
        (False, False),
        (0, False),
        ("0", False),
        ("false", False),
        ("", False),
        (None, False),
        ([1], False),
        (float("nan"), False),
    ],
)
def test_a_truth_value_may_come_as_text_or_number(value: object, expected: bool) -> None:
    assert read_bool(value) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", "b"], ("a", "b")),
        ("a", ("a",)),
        (["a", None, "", 3, ["b"]], ("a", "3")),
        (None, ()),
        ([], ()),
        (["a\x1b[31m\n", "\u202e"], ("a[31m",)),
    ],
)
def test_a_list_of_texts_may_come_as_one_text(value: object, expected: tuple[str, ...]) -> None:
    assert read_texts(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        *(CREATED_MS, str(CREATED_MS), float(CREATED_MS), CREATED_MS / 1000, str(CREATED_MS / 1000)),
        *("2026-01-02T03:04:05.678Z", "2026-01-02 03:04:05.678", "2026-01-02T05:04:05.678+02:00"),
    ],
)
def test_a_moment_is_read_from_milliseconds_seconds_or_text_and_is_aware(value: object) -> None:
    moment = read_moment(value)

    assert moment == MADE_AT
    assert moment.tzinfo is UTC


@pytest.mark.parametrize("value", [None, "", "NaN", "nan", 0, "0", 0.0, -4, "-4", True, [], {}, "Infinity"])
def test_a_job_without_a_cost_above_0_is_of_unknown_cost(value: object) -> None:
    job = read_submission(envelope(made(JA, "ja", deduction_lock_duration=value)), REQUEST).accepted[0]
    snapshot = seen(completed(deduction_duration=value))

    assert job.credits_locked is None
    assert snapshot.credits_used is None


def test_a_job_whose_answer_leaves_out_the_cost_is_of_unknown_cost() -> None:
    (job,) = read_submission(envelope({"_id": JA, "video_status": 1}), REQUEST).accepted

    assert job.credits_locked is None
    assert seen(status()).credits_used is None


@pytest.mark.parametrize(
    "value",
    [None, "", 0, -5, 7.5, 946684799, "yesterday", "1999-12-31", 1e18, 1e300, float("nan"), True, [1]],
)
def test_a_moment_that_makes_no_sense_is_no_moment(value: object) -> None:
    assert read_moment(value) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (JA, JA),
        (12345678, "12345678"),
        ("a" * 8, "a" * 8),
        ("a" * 128, "a" * 128),
        ("a", "a"),
        (7, "7"),
        (7.0, "7"),
        (" 7a10c0ffee\n", "7a10c0ffee"),
        ({"$oid": JA}, JA),
        ({"$oid": 12}, "12"),
        (f'ObjectId("{JA}")', JA),
        ([JA], JA),
        ("a" * 129, None),
        (10**128, None),
        (1e30, None),
        (7.5, None),
        (0, None),
        (-7, None),
        ("7a10c0ff/../../etc", None),
        ("null", None),
        ("undefined", None),
        ("", None),
        (None, None),
        (True, None),
        ({}, None),
        ({"value": JA}, JA),
        ({"name": "none"}, None),
        ({"$oid": {"$oid": JA}}, None),
        ([JA, HI], None),
    ],
)
def test_an_id_is_taken_only_if_a_status_call_takes_it(value: object, expected: str | None) -> None:
    assert read_id(value) == expected


# Envelopes.


def test_an_envelope_keeps_what_it_came_with() -> None:
    whole = answer({"x": 1}, msg="OK\n", token="t", fresh=[1])

    found = read_envelope(body(whole))

    assert (found.code, found.message, found.data, found.raw) == (1000, "OK", {"x": 1}, whole)
    assert found.ok


@pytest.mark.parametrize("code", ["1000", 1000.0, " 1000 "])
def test_success_may_be_written_in_other_ways(code: object) -> None:
    assert envelope(code=code).ok


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_an_envelope_may_come_in_any_encoding_of_json(encoding: str) -> None:
    assert read_envelope(json.dumps(answer()).encode(encoding)).ok


def test_a_message_that_is_no_text_is_no_message() -> None:
    assert envelope(msg={"en": "no"}).message == ""
    assert envelope(msg=None).message == ""
    assert envelope(msg=404).message == "404"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "an empty body"),
        (b" \r\n ", "an empty body"),
        (b"<html>502</html>", "not JSON"),
        (b'{"code":1000,"data":{"x":1', "not JSON"),
        (b"\xff\xfe\xfa", "not JSON"),
        (b"9" * 5000, "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not an object"),
        (b"null", "not an object"),
        (b'"1000"', "not an object"),
        (b"{}", "without a code"),
        (b'{"code":null}', "without a code"),
        (b'{"code":""}', "without a code"),
        (b'{"code":true}', "without a code"),
        (b'{"code":[1000]}', "without a code"),
        (b'{"code":NaN}', "without a code"),
        (b'{"code":1000,"data":' + b"[" * 65 + b"]" * 65 + b"}", "nested too deeply"),
    ],
)
def test_what_is_no_envelope_is_a_protocol_error_that_says_why(content: bytes, says: str) -> None:
    with pytest.raises(ProtocolError, match=says) as caught:
        read_envelope(content)

    assert len(str(caught.value)) < 300


def test_nesting_that_is_still_read_can_be_shown_and_pickled() -> None:
    deep: Any = 1
    for _ in range(60):
        deep = {"a": [deep]} if isinstance(deep, int) else [deep]

    snapshot = seen(status(video_status=deep))

    assert pickle.loads(pickle.dumps(snapshot)) == snapshot
    assert snapshot.status is Status.UNKNOWN
    assert json.dumps(snapshot.raw)


def test_ids_are_found_in_a_body_that_is_torn() -> None:
    whole = body(answer({"_id": HI}, all_results=[answer({"_id": FR}), answer({"_id": JA})]))
    torn = whole[: whole.index(JA.encode()) + 10]

    with pytest.raises(ProtocolError) as caught:
        read_envelope(torn)

    assert caught.value.job_ids == (HI, FR)
    assert find_job_ids(torn) == (HI, FR)


@pytest.mark.parametrize(
    "content",
    [
        b'{"code":1015,"data":{"_id" :\n"7a10c0ffee00000000000001"}}',
        b'{"data":{"_id":"7a10\\u00630ffee00000000000001"}}',
        b'[{"_id":"7a10c0ffee00000000000001"}, {"_id":"7a10c0ffee00000000000001"}]',
        '{"data":{"_id":"7a10c0ffee00000000000001"}}'.encode("utf-16"),
        b'<html>{"_id":"7a10c0ffee00000000000001"}</html>',
        b'\xff\x00"_id":"7a10c0ffee00000000000001"',
    ],
)
def test_ids_are_found_however_they_are_written(content: bytes) -> None:
    assert find_job_ids(content) == (HI,)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b'{"data":{"_id":123456789}}', "123456789"),
        (b'{"data":{"_id":12, "language', "12"),
        (b'{"data":{"_id":{"$oid":"7a10c0ffee00000000000001"}', HI),
        (b'{"data":{"_id":{"value":"7a10c0ffee00000000000001"', HI),
        (b'{"data":{"_id":["7a10c0ffee00000000000001"', HI),
        (b'{"data":{"_id":"7a10c0ffee00000000000001"', HI),
        (b'{"message":"{\\"data\\":{\\"_id\\":\\"7a10c0ffee00000000000001\\"', HI),
        (b"<p>{&quot;_id&quot;: &quot;7a10c0ffee00000000000001&quot;", HI),
    ],
)
def test_ids_in_other_forms_are_found_in_whole_and_torn_bodies(content: bytes, found: str) -> None:
    assert find_job_ids(content) == (found,)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"_id":"a/b"}',
        b'{"_id":null}',
        b'{"_id":"7a10c0ffee000',
        b'{"_id":12345',
        b'{"_id":{}}',
        b"\x00",
    ],
)
def test_no_id_is_made_up(content: bytes) -> None:
    assert find_job_ids(content) == ()


@pytest.mark.parametrize("closed", ["}", ""])
@pytest.mark.parametrize(
    "value", ['"a/b"', '{"$oid":"x', '{"low":1,"high":2}', "[1,2]", '"', "7", "true", '"7a10', ""]
)
@pytest.mark.parametrize("name", ["_id", "video_id", "task_id"])
def test_whatever_could_be_an_id_is_noticed(name: str, value: str, closed: str) -> None:
    assert may_name_job(f'{{"code":1005,"data":{{"{name}": {value}{closed}'.encode())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>too many requests</html>",
        b'{"code":1005,"msg":"too often","request_id":"7a10c0ffee00000000000001"}',
        b'{"error":{"id":"too_many_requests"}}',
        *(b'{"data":{"_id":%s}}' % value for value in (b"null", b'""', b"{}", b"[]", b"0", b"false", b"{ }")),
    ],
)
def test_an_answer_without_an_id_names_no_job(content: bytes) -> None:
    assert not may_name_job(content)


WHOLE = body(answer(made(JA, "ja"), all_results=[accepted(HI, "hi"), accepted(FR, "fr"), accepted(JA, "ja")]))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (WHOLE, {HI: "hi", FR: "fr", JA: "ja"}),
        (b"HTTP 502 " + WHOLE + b"<hr>", {HI: "hi", FR: "fr", JA: "ja"}),
        (WHOLE[: WHOLE.index(b'"language": "fr"') + 14], {JA: "ja", HI: "hi", FR: ""}),
        (b'["' + HI.encode() + b'", {"_id": "' + FR.encode() + b'", "language": "FR"', {FR: "fr"}),
        (b'{"data":{"job":{"_id":{"$oid":"' + FR.encode() + b'"},"language":"fr"}}}', {FR: "fr"}),
    ],
)
def test_jobs_of_an_unusable_answer_keep_their_languages(content: bytes, found: dict[str, str]) -> None:
    jobs = find_jobs(content, THREE)

    assert {job.id: job.target for job in jobs} == found


def test_no_id_of_a_long_answer_is_left_out() -> None:
    ids = tuple(f"{number:024x}" for number in range(1, 5001))
    content = json.dumps({"jobs": [{"_id": one} for one in ids]}).encode()

    assert find_job_ids(content) == find_job_ids(content[:-1]) == ids
    assert tuple(job.id for job in find_jobs(content, THREE)) == ids


def test_the_only_job_of_a_torn_answer_is_of_the_only_language() -> None:
    (job,) = find_jobs(b'{"code":1000,"data":{"_id":"7a10c0ffee00000000000001","video_st', REQUEST)

    assert (job.id, job.target) == (HI, "ja")


def test_every_cut_of_an_answer_gives_each_id_at_most_its_own_language() -> None:
    own = {HI: "hi", FR: "fr", JA: "ja"}
    for cut in range(len(WHOLE)):
        jobs = find_jobs(WHOLE[:cut], THREE)

        assert {job.id for job in jobs} == {job_id for job_id in own if f'"{job_id}"'.encode() in WHOLE[:cut]}
        assert all(job.target in ("", own[job.id]) for job in jobs)


@pytest.mark.parametrize(
    "torn",
    [
        body([{"_id": f"job-{number}", "words": [1, "x", {}] * 10} for number in range(10_000)])[:-2],
        b'{"_id":' + b"," * 10**6,
        b'{"_id":' + b'{"a":' * 10**5,
        b'{"_id":"' + b'\\"' * 10**6,
        b"\\" * 10**6 + b'"_id"',
        (b'"_id"' + b" " * 50) * 10**4,
    ],
    ids=["jobs", "commas", "open", "quotes", "backslashes", "spaces"],
)
def test_a_long_torn_answer_is_read_in_a_moment(torn: bytes) -> None:
    began = time.process_time()
    jobs = find_jobs(b'{"all_results":' + torn, THREE)

    assert may_name_job(torn) or not jobs
    assert time.process_time() - began < 40


# Tokens.


@pytest.mark.parametrize(
    "whole",
    [answer(token="abc.def.ghi"), answer({"token": "abc.def.ghi"}), answer(token=" abc.def.ghi ")],
)
def test_a_token_stands_at_the_top_or_in_data(whole: dict[str, Any]) -> None:
    assert read_token(read_envelope(body(whole))).reveal() == "abc.def.ghi"


@pytest.mark.parametrize("token", [None, "", "  ", 5, ["t"], "a\r\nx-evil: 1", "clé", "a\x00b"])
def test_a_token_that_can_not_be_a_header_is_refused_and_not_shown(token: object) -> None:
    with pytest.raises(ProtocolError) as caught:
        read_token(read_envelope(body(answer({"token": token}, token=token))))

    assert "evil" not in str(caught.value)


def test_the_payload_of_get_token_is_the_documented_one() -> None:
    pair = ClientCredentials("id-1", "canary-secret")

    assert token_payload(pair) == {"clientId": "id-1", "clientSecret": "canary-secret"}


# Snapshots.


def test_a_job_at_work_is_read() -> None:
    expected = Snapshot(
        job_id=JA,
        status=Status.PROCESSING,
        raw_status="2",
        progress=40,
        created_at=MADE_AT,
        video_id="video-ja",
    )

    assert seen(status()) == expected


def test_a_completed_job_is_read_with_its_urls_and_credits() -> None:
    snapshot = seen(completed())

    assert (snapshot.status, snapshot.progress, snapshot.credits_used) == (Status.COMPLETED, 100, 3.0)
    assert snapshot.url == "https://files.test/ja.mp4?sig=canary"
    assert snapshot.audio_splits == AudioSplits(
        original_srt_url="https://files.test/en.srt",
        translated_srt_url="https://files.test/ja.srt",
        no_caption_video_url="https://files.test/plain.mp4",
    )


def test_a_failed_job_is_read_with_its_reason() -> None:
    snapshot = seen(failed())

    assert (snapshot.status, snapshot.error_code) == (Status.FAILED, 501999)
    assert snapshot.error_reason == "It did not work out."


def test_a_job_of_an_older_server_is_read() -> None:
    data = status_long_ago()

    snapshot = seen(data)

    assert (snapshot.status, snapshot.progress, snapshot.url) == (Status.PROCESSING, None, "")
    assert snapshot.audio_splits == AudioSplits()
    assert snapshot.raw == data


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (1, Status.QUEUEING),
        ("3", Status.COMPLETED),
        (" 3 ", Status.COMPLETED),
        (3.0, Status.COMPLETED),
        ("4", Status.FAILED),
        (0, Status.UNKNOWN),
        (5, Status.UNKNOWN),
        (-1, Status.UNKNOWN),
        (2.5, Status.UNKNOWN),
        (None, Status.UNKNOWN),
        ("", Status.UNKNOWN),
        ("completed", Status.UNKNOWN),
        (True, Status.UNKNOWN),
        ([3], Status.UNKNOWN),
        ({"status": 3}, Status.UNKNOWN),
    ],
)
def test_a_status_is_coped_with_and_kept_as_it_came(raw: object, expected: Status) -> None:
    snapshot = seen(status(video_status=raw))

    assert snapshot.status is expected
    assert snapshot.raw_status == (json.dumps(raw) if isinstance(raw, list | dict) else repr(raw))


def test_a_raw_status_is_short_and_printable() -> None:
    snapshot = seen(status(video_status="\x1b[31m" + "x" * 10_000))

    assert len(snapshot.raw_status) <= 300
    assert snapshot.raw_status.isprintable()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (0, 0),
        ("55", 55),
        (55.9, 55),
        (150, 100),
        (-4, 0),
        (1e300, 100),
        (None, None),
        ("", None),
        ("half", None),
    ],
)
def test_progress_is_a_percentage_or_nothing(raw: object, expected: int | None) -> None:
    assert seen(status(progress=raw)).progress == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("https://files.test/a.mp4", "https://files.test/a.mp4"),
        ("HTTPS://files.test/a.mp4", "HTTPS://files.test/a.mp4"),
        ("  https://files.test/a.mp4\n", "https://files.test/a.mp4"),
        ("https://files.test/a\x1b\u202e.mp4", "https://files.test/a.mp4"),
        ("https://files.test/my film.mp4", "https://files.test/my film.mp4"),
        ("", ""),
        (None, ""),
        (7, ""),
        ("ftp://files.test/a.mp4", ""),
        ("file:///etc/passwd", ""),
        ("javascript:alert(1)", ""),
        ("/a.mp4", ""),
        (["https://files.test/a.mp4"], ""),
    ],
)
def test_a_result_url_is_http_and_printable_or_nothing(raw: object, expected: str) -> None:
    assert seen(completed(video=raw)).url == expected


@pytest.mark.parametrize(
    "splits", [None, "", [], "https://files.test/en.srt", {}, {"original_srt_url": None}]
)
def test_side_files_may_be_missing_in_any_way(splits: object) -> None:
    assert seen(completed(audio_splits=splits)).audio_splits == AudioSplits()


@pytest.mark.parametrize("odd", [None, "", [], {}, "?"])
def test_a_field_without_a_meaning_is_a_field_that_is_missing(odd: object) -> None:
    names = ("create_time", "progress", "deduction_duration", "error_code", "audio_splits", "video")

    snapshot = seen(failed(**dict.fromkeys(names, odd)))

    assert snapshot.status is Status.FAILED
    assert (snapshot.created_at, snapshot.progress, snapshot.credits_used) == (None, None, None)
    assert (snapshot.error_code, snapshot.url) == (None, "")


def test_numbers_may_come_as_text_in_a_snapshot() -> None:
    data = failed(
        create_time=str(CREATED_MS), error_code="501999", progress="15", deduction_duration="1.5", video_id=77
    )

    snapshot = seen(data)

    assert (snapshot.created_at, snapshot.error_code, snapshot.progress) == (MADE_AT, 501999, 15)
    assert (snapshot.credits_used, snapshot.video_id) == (1.5, "77")


def test_new_fields_stay_reachable_and_the_raw_answer_is_as_it_came() -> None:
    strange = {"": "no name", "raw": 1, "job_id": "x", "status": 4}
    data = {**completed(brand_new={"deep": [1, None]}), **strange}

    snapshot = seen(data)

    assert snapshot.raw == data
    assert list(snapshot.raw) == list(data)
    assert (snapshot.job_id, snapshot.status) == (JA, Status.COMPLETED)


@pytest.mark.parametrize("said", [None, ""])
def test_an_answer_that_names_no_job_is_about_the_one_that_was_asked_for(said: object) -> None:
    snapshot = seen(status(_id=said))

    assert snapshot.job_id == JA
    assert snapshot.raw["_id"] == said


def test_an_answer_about_another_job_is_not_believed() -> None:
    with pytest.raises(ProtocolError, match=f"for job {OTHER} instead of job {JA}") as caught:
        seen(completed(OTHER))

    assert caught.value.job_ids == (OTHER,)


def test_an_answer_about_a_strange_job_is_shown_on_one_short_line() -> None:
    with pytest.raises(ProtocolError) as caught:
        seen(completed("x\x1b[2J\n" * 1000))

    assert caught.value.job_ids == ()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_data_may_be_a_list_of_one() -> None:
    assert seen([completed()]) == seen(completed())


@pytest.mark.parametrize("data", [None, {}, [], "", 0, "done", [completed(), completed()], [[]], [None]])
def test_an_answer_without_data_is_a_protocol_error(data: object) -> None:
    with pytest.raises(ProtocolError, match="without any data"):
        seen(data)


def test_a_vendors_words_are_cleaned() -> None:
    snapshot = seen(failed(error_reason="no\x1b[31m good\u202e\nreally" + "!" * 1000))

    assert snapshot.error_reason.startswith("no[31m good really!!")
    assert len(snapshot.error_reason) == 300


def test_a_snapshot_hides_what_signs_its_url() -> None:
    shown = repr(seen(completed()))

    assert "canary" not in shown
    assert "https://files.test/ja.mp4?…" in shown


# Languages.


def test_languages_are_read() -> None:
    new = language("zh-CN-shandong", brand_new=1)
    found = read_languages(envelope({"lang_list": [language(), new]}))

    assert found[0] == Language(
        code="ja", name="Japanese", icon_url="https://files.test/flag.png", needs_voice=True
    )
    assert [one.code for one in found] == ["ja", "zh-CN-shandong"]
    assert found[1].raw == new


def test_languages_may_come_as_a_bare_list() -> None:
    assert [one.code for one in read_languages(envelope([language("fr")]))] == ["fr"]


def test_an_older_server_does_not_say_that_a_voice_is_needed() -> None:
    item = {"lang_code": "en", "lang_name": "English", "url": "https://files.test/en.png"}

    assert read_languages(envelope([item]))[0].needs_voice is False


def test_entries_without_a_code_are_left_out() -> None:
    items = [None, "ja", {}, language(""), language("\x00"), [language()], language("hi", lang_name=None)]

    assert read_languages(envelope(items)) == (
        Language(code="hi", icon_url="https://files.test/flag.png", needs_voice=True),
    )


@pytest.mark.parametrize("data", [None, {}, "", {"lang_list": None}, {"lang_list": {"ja": 1}}, {"list": []}])
def test_an_answer_without_a_list_of_languages_is_a_protocol_error(data: object) -> None:
    with pytest.raises(ProtocolError, match="lang_list"):
        read_languages(envelope(data))


# Voices.


def test_a_page_of_voices_is_read() -> None:
    page = read_voices(envelope(voices(voice(), count=250)))

    assert (page.count, page.entries) == (250, 1)
    assert page.voices == (
        Voice(
            voice_id="voice-0001",
            name="Quiet Storyteller",
            gender="Female",
            language="Japanese",
            language_code="ja",
            preview_url="https://files.test/sample.mp3",
            thumbnail_url="https://files.test/face.jpg",
            flag_url="https://files.test/flag.png",
            use_case="Stories",
            category="stories",
            age=("Young",),
            style=("calm", "warm"),
            scenario=("podcast",),
            sample_seconds=9.5,
            created_at=MADE_AT,
        ),
    )
    assert page.voices[0].raw == voice()


def test_a_page_counts_what_the_server_sent_and_not_what_could_be_read() -> None:
    page = read_voices(envelope(voices(voice(), voice(""), None, voice("v2"), count="4")))

    assert [one.voice_id for one in page.voices] == ["voice-0001", "v2"]
    assert (page.count, page.entries) == (4, 4)


def test_voices_may_come_as_a_bare_list_without_a_count() -> None:
    page = read_voices(envelope([voice()]))

    assert (len(page.voices), page.count, page.entries) == (1, None, 1)


def test_an_empty_page_is_a_page() -> None:
    assert read_voices(envelope(voices())).voices == ()


def test_a_voice_of_odd_types_is_read() -> None:
    odd = {"voice_id": 42, "age": "Old", "style": None, "duration": "9500", "name": 7, "preview": 5}

    found = read_voices(envelope([odd])).voices[0]

    assert found == Voice(voice_id="42", age=("Old",), sample_seconds=9.5, name="7")


@pytest.mark.parametrize("data", [None, {}, {"result": None}, {"result": "none"}])
def test_an_answer_without_a_list_of_voices_is_a_protocol_error(data: object) -> None:
    with pytest.raises(ProtocolError, match="result"):
        read_voices(envelope(data))


# Credit.


@pytest.mark.parametrize(("raw", "expected"), [(12, 12.0), ("12.5", 12.5), (0, 0.0), (-3.5, -3.5)])
def test_the_balance_is_read(raw: object, expected: float) -> None:
    assert read_credit(envelope({"credit": raw})) == expected


@pytest.mark.parametrize("data", [None, {}, [], {"credit": None}, {"credit": ""}, {"credit": "much"}, 5])
def test_an_answer_without_a_balance_is_a_protocol_error(data: object) -> None:
    with pytest.raises(ProtocolError, match="balance"):
        read_credit(envelope(data))


# What is sent.

EVERYTHING = TranslationRequest(
    url="https://media.test/whole.mp4",
    targets="hi,fr",
    source_language="en",
    lipsync=True,
    webhook_url="https://hooks.test/in",
    speaker_num=3,
    remove_bgm=True,
    caption_type=CaptionType.REPLACE,
    caption_url="https://media.test/talk.srt",
    voices_map={"hi": "voice-0001", "fr": ""},
    no_translate_words=["Kestrel"],
    style="calm",
    fixed_words={"desk": "Pult"},
    pronounced_words={"SQL": "sequel"},
    dynamic_duration=True,
    key="mine",
)
LIP_SYNC_EVERYTHING = LipSyncRequest(
    video_url="https://media.test/other.mp4",
    audio_url="https://media.test/other.wav",
    webhook_url="https://hooks.test/in",
    key="mine",
)


def test_a_plain_translation_sends_the_required_fields_and_nothing_else() -> None:
    assert create_payload(REQUEST) == {
        "url": "https://media.test/talk.mp4",
        "source_language": "DEFAULT",
        "language": "ja",
        "lipsync": False,
    }


def test_every_option_of_a_translation_has_the_documented_name() -> None:
    assert create_payload(EVERYTHING) == {
        "url": "https://media.test/whole.mp4",
        "source_language": "en",
        "language": "hi,fr",
        "lipsync": True,
        "webhookUrl": "https://hooks.test/in",
        "speaker_num": 3,
        "remove_bgm": True,
        "caption_type": 3,
        "caption_url": "https://media.test/talk.srt",
        "voices_map": {"hi": {"voice_id": "voice-0001"}, "fr": {"voice_id": ""}},
        "studio_voice": {
            "no_translate_words": ["Kestrel"],
            "style": "calm",
            "fixed_words": {"desk": "Pult"},
            "pronounced_words": {"SQL": "sequel"},
        },
        "dynamic_duration": True,
    }


@pytest.mark.parametrize(
    ("everything", "field"),
    [
        (everything, field)
        for everything in (EVERYTHING, LIP_SYNC_EVERYTHING)
        for field in attrs.fields_dict(type(everything))
        if field not in ("key", "url_is_public")
    ],
)
def test_no_field_of_a_request_is_forgotten(everything: Request, field: str) -> None:
    """A field that is new has to be given above, and then to be sent."""
    other = getattr(LIP_SYNC if isinstance(everything, LipSyncRequest) else REQUEST, field)
    if field == "targets":  # a voice of another language would be refused
        everything = attrs.evolve(everything, voices_map={})
    changed: dict[str, Any] = {field: other}

    assert getattr(everything, field) != other
    assert create_payload(attrs.evolve(everything, **changed)) != create_payload(everything)


def test_a_lip_sync_sends_the_documented_fields() -> None:
    plain = {"video_url": "https://media.test/face.mp4", "audio_url": "https://media.test/voice.wav"}

    assert create_payload(LIP_SYNC) == plain
    assert create_payload(LIP_SYNC_EVERYTHING) == {
        "video_url": "https://media.test/other.mp4",
        "audio_url": "https://media.test/other.wav",
        "webhookUrl": "https://hooks.test/in",
    }


@pytest.mark.parametrize("request_", [REQUEST, EVERYTHING, LIP_SYNC])
def test_dead_fields_and_the_callers_key_are_never_sent(
    request_: TranslationRequest | LipSyncRequest,
) -> None:
    sent = json.dumps(create_payload(request_))

    assert not any(name in sent for name in ("merge_interval", "face_enhance", "mine", '"key"'))


def test_a_payload_is_json_of_plain_types() -> None:
    payload = create_payload(EVERYTHING)

    assert json.loads(json.dumps(payload)) == payload
    assert type(payload["caption_type"]) is int


def test_changing_a_payload_does_not_change_the_request() -> None:
    payload = create_payload(EVERYTHING)
    payload["studio_voice"]["fixed_words"]["desk"] = "Tisch"
    payload["studio_voice"]["no_translate_words"].append("x")

    assert EVERYTHING.fixed_words == {"desk": "Pult"}
    assert EVERYTHING.no_translate_words == ("Kestrel",)


def test_each_kind_of_request_has_its_own_path() -> None:
    assert create_path(REQUEST) == "/api/open/v3/content/video/createbytranslate"
    assert create_path(LIP_SYNC) == "/api/open/v3/content/video/lipsync"
