"""Answers to a paid POST that can't be used: each id is kept, by language, before it is confirmed."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import threading
from typing import Any

import anyio
import pytest

from akool_async import (
    AkoolClient,
    AkoolError,
    BadRequestError,
    DoubtEvent,
    JobNotFoundError,
    Snapshot,
    SubmissionInDoubt,
    SubmittedEvent,
    UnexpectedRedirectError,
    VendorError,
)
from akool_async._model.errors import WrongHostError
from tests.client.conftest import KEY, QUICK, Way, stray, video
from tests.client.moments import end_time_of_calls, until
from tests.client.raw import KNOWN, RawVendor, gzip_with_bad_checksum, http
from tests.recorder import Recorder

ONE, TWO, THREE = KNOWN + "0001", KNOWN + "0002", KNOWN + "0003"
SUCCESS = {"code": 1000, "msg": "OK", "data": {"_id": ONE, "video_status": 1}}
BOTH = {
    "code": 1000,
    "data": {"_id": TWO, "language": "fr"},
    "all_results": [
        {"code": 1000, "data": {"_id": ONE, "language": "ja"}},
        {"code": 1000, "data": {"_id": TWO, "language": "fr"}},
    ],
}
WHOLE = json.dumps(SUCCESS).encode()

UNUSABLE = {
    "5xx with a whole success": http(SUCCESS, 503),
    "cut after the id": http(b'{"code":1000,"msg":"OK","data":{"_id":"' + ONE.encode() + b'","video_st'),
    "cut on the wire": http(WHOLE[:-3], length=len(WHOLE)),
    "bad gzip checksum": gzip_with_bad_checksum(SUCCESS),
    "gzip that is cut": http(
        gzip_with_bad_checksum(SUCCESS).partition(b"\r\n\r\n")[2][:-12], content_encoding="gzip"
    ),
    "rate limited with an id": http({**SUCCESS, "code": 1005}),
    "429 with an id": http(SUCCESS, 429),
    "401 with an id": http(SUCCESS, 401),
    "an id as an object": http({"code": 1005, "data": {"_id": {"$oid": ONE}}}),
    "redirect with an id": http(SUCCESS, 302, location="/elsewhere"),
    "quoted in a page": http(b"<p>upstream: {&quot;_id&quot;:&quot;" + ONE.encode() + b"&quot;</p>", 502),
    "404 with an id": http({"detail": SUCCESS}, 404),
    "data as text": http({"code": 1000, "data": json.dumps(SUCCESS["data"])}),
    "no code": http({"data": {"_id": ONE}}),
    "cut on the wire and packed": http(
        gzip_with_bad_checksum(SUCCESS).partition(b"\r\n\r\n")[2][:-12], length=4000, content_encoding="gzip"
    ),
    "packed only by its header": http(SUCCESS, content_encoding="gzip"),
    "too large": http({**SUCCESS, "more": "x" * (5 * 2**20)}),
}


@pytest.mark.parametrize("what", UNUSABLE)
async def test_the_id_is_told_unconfirmed_first_and_then_confirmed(way: Way, what: str) -> None:
    with RawVendor(lambda _: UNUSABLE[what]).serve() as vendor:
        async with stray(way, vendor.url) as client:
            with pytest.raises(SubmissionInDoubt) as caught:
                await client.session.submit_once(video())
            assert vendor.polls == []

            submission = await client.session.confirm_submission(caught.value)

    assert caught.value.job_ids == (ONE,)
    assert caught.value.job_ids_by_target == {"ja": ONE}
    assert [(job.id, job.target) for job in submission.accepted] == [(ONE, "ja")]
    assert submission.accepted[0].credits_locked == 4.0
    assert len(vendor.posts) == 1


@pytest.mark.parametrize("coding", ["gzip", "gzip, gzip"])
async def test_a_compression_that_is_broken_is_told_in_good_english(coding: str) -> None:
    with RawVendor(lambda _: http(b"\x1f\x8b garbage" * 9, content_encoding=coding)).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url) as client:
            with pytest.raises(
                SubmissionInDoubt, match="The vendor sent an answer whose compression is broken"
            ):
                await client.session.submit_once(video())


@pytest.mark.parametrize(
    "answer",
    [
        http(BOTH, 502),
        http(json.dumps(BOTH).encode()[:-3]),
        gzip_with_bad_checksum(BOTH),
        http({**BOTH, "code": 1005}),
    ],
)
async def test_ids_of_several_languages_keep_their_languages(answer: bytes) -> None:
    with RawVendor(lambda _: answer).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url) as client:
            submission = await client.submit(video(targets="ja,fr,hi"))

    assert {job.target: job.id for job in submission.accepted} == {"ja": ONE, "fr": TWO}
    assert submission.missing == ("hi",)
    assert submission.extra == ()
    assert len(vendor.posts) == 1
    assert sorted(vendor.polls) == [ONE, TWO]


async def test_the_id_of_an_answer_that_stalls_half_way_is_kept(way: Way) -> None:
    sent, released = threading.Event(), threading.Event()

    class Stalling(RawVendor):
        def answer(self, connection: socket.socket) -> None:
            super().answer(connection)
            sent.set()
            released.wait(40)

    async def end_once_sent(client: AkoolClient) -> None:
        await until(sent.is_set)
        await anyio.sleep(0.05)
        for _ in range(50):  # turns of the event loop, in which what has arrived is read
            await anyio.lowlevel.checkpoint()
        end_time_of_calls(client)

    with Stalling(lambda _: http(WHOLE[:-3], length=len(WHOLE))).serve() as vendor:
        async with stray(way, vendor.url) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(end_once_sent, client)
            with pytest.raises(SubmissionInDoubt, match="within") as caught:
                await client.session.submit_once(video())
            released.set()

    assert caught.value.job_ids == (ONE,)


async def test_of_two_ids_for_one_language_the_first_is_its_job_and_the_other_is_kept() -> None:
    jobs = [{"code": 1000, "data": {"_id": job_id, "language": "ja"}} for job_id in (ONE, TWO)]
    with RawVendor(lambda _: http({"code": 1000, "all_results": jobs}, 502)).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url) as client:
            submission = await client.submit(video(targets="ja,fr"))

    assert [(job.id, job.target) for job in submission.accepted] == [(ONE, "ja")]
    assert [job.id for job in submission.extra] == [TWO]
    assert submission.missing == ("fr",)


async def test_an_id_that_can_not_be_confirmed_is_kept_as_extra() -> None:
    with RawVendor(lambda _: http(BOTH, 500), known=lambda job_id: job_id == ONE).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url, retry=QUICK) as client:
            submission = await client.submit(video(targets="ja,fr"))

    assert [job.id for job in submission.accepted] == [ONE]
    assert submission.missing == ("fr",)
    assert [(job.id, job.target) for job in submission.extra] == [(TWO, "fr")]


async def test_only_a_job_that_the_vendor_knows_is_reported_as_submitted() -> None:
    seen = Recorder()
    answer = http({**BOTH, "other": {"_id": THREE}}, 500)
    with RawVendor(lambda _: answer, known=lambda job_id: job_id != TWO).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url, retry=QUICK, observers=[seen]) as client:
            submission = await client.submit(video(targets="ja,fr"))

    assert {job.id for job in submission.extra} == {TWO, THREE}
    assert {event.job_id for event in seen.events if isinstance(event, SubmittedEvent)} == {ONE, THREE}
    (doubt,) = [event for event in seen.events if isinstance(event, DoubtEvent)]
    assert doubt.target == "fr"
    assert TWO in doubt.doubt_ids


async def test_without_a_confirmed_id_the_doubt_remains_with_all_its_ids() -> None:
    with RawVendor(lambda _: http(BOTH, 500), known=lambda _: False).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url, retry=QUICK) as client:
            with pytest.raises(SubmissionInDoubt) as caught:
                await client.submit(video(targets="ja,fr"))
            answers = await client.session.confirm(caught.value.job_ids)

    assert caught.value.job_ids_by_target == {"ja": ONE, "fr": TWO}
    assert {type(answer) for answer in answers.values()} == {JobNotFoundError}


async def test_a_job_that_the_vendor_does_not_know_yet_is_confirmed_a_little_later() -> None:
    answers = iter([False, False, True])
    with RawVendor(lambda _: http(SUCCESS, 500), known=lambda _: next(answers)).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url, retry=QUICK) as client:
            submission = await client.submit(video())

    assert submission.job_ids == (ONE,)
    assert vendor.polls == [ONE] * 3


async def test_confirming_tells_what_exists_from_what_does_not() -> None:
    with RawVendor(lambda _: b"", known=lambda job_id: job_id == ONE).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url, retry=QUICK) as client:
            answers = await client.session.confirm([ONE, TWO, ONE, "7"])

    assert {job_id: type(answer) for job_id, answer in answers.items()} == {
        ONE: Snapshot,
        TWO: JobNotFoundError,
        "7": JobNotFoundError,
    }


async def test_jobs_that_were_made_are_in_the_log(caplog: Any) -> None:
    with RawVendor(lambda _: http(BOTH)).serve() as vendor, caplog.at_level(logging.INFO, "akool_async"):
        async with AkoolClient(api_key=KEY, host=vendor.url) as client:
            await client.submit(video(targets="ja,fr"))

    assert f"(ja): job {ONE}." in caplog.text
    assert f"(fr): job {TWO}." in caplog.text


async def test_readable_ids_are_in_the_log_before_they_are_confirmed(caplog: Any) -> None:
    with (
        RawVendor(lambda _: http(BOTH, 500)).serve() as vendor,
        caplog.at_level(logging.WARNING, "akool_async"),
    ):
        async with AkoolClient(api_key=KEY, host=vendor.url) as client:
            with pytest.raises(SubmissionInDoubt):
                await client.session.submit_once(video(targets="ja,fr"))

    assert ONE in caplog.text
    assert TWO in caplog.text


@pytest.mark.parametrize("status", [200, 429])
@pytest.mark.parametrize("data", ['{"_id": {"low": 1, "high": 2}}', '{"_id": "a/b"}', '{"video_id": "v1"}'])
async def test_too_often_with_anything_like_an_id_is_in_doubt_and_not_sent_again(
    status: int, data: str
) -> None:
    body = f'{{"code": 1005, "msg": "too often", "data": {data}}}'.encode()
    with RawVendor(lambda _: http(body, status)).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url) as client:
            with pytest.raises(SubmissionInDoubt):
                await client.submit(video())

    assert len(vendor.posts) == 1


@pytest.mark.parametrize(
    "answer", [http({"code": 1005, "msg": "too often", "request_id": ONE}), http(b"{}", 429)]
)
async def test_too_often_without_one_is_sent_again(answer: bytes) -> None:
    with RawVendor(lambda number: answer if number < 3 else http(SUCCESS)).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url, retry=QUICK) as client:
            submission = await client.submit(video())

    assert submission.job_ids == (ONE,)
    assert len(vendor.posts) == 3


@pytest.mark.parametrize("job_id", [1234567, 7, "42", {"$oid": ONE}])
async def test_an_odd_id_is_usable_everywhere(job_id: Any) -> None:
    answer = http({"code": 1000, "data": {"_id": job_id, "video_status": 1}})
    with RawVendor(lambda _: answer, known=lambda _: True).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url) as client:
            (job,) = (await client.submit(video())).accepted
            snapshot = await client.status(job.id)

    assert job.id == snapshot.job_id == (ONE if isinstance(job_id, dict) else str(job_id))


@pytest.mark.parametrize("status", [400, 404, 405, 410, 413, 415, 422])
@pytest.mark.parametrize("body", [b"<html>not here</html>", b"", b'{"detail":"Not Found"}', b'{"code":404}'])
async def test_a_server_that_does_not_know_the_api_is_named_as_the_wrong_host(
    status: int, body: bytes
) -> None:
    with RawVendor(lambda _: http(body, status)).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url) as client:
            with pytest.raises(SubmissionInDoubt) as caught:
                await client.submit(video())

    assert caught.value.wrong_host
    assert caught.value.http_status == status
    assert vendor.url in str(caught.value)
    assert "AKOOL_API_HOST" in caught.value.advice
    assert len(vendor.posts) == 1


async def test_a_free_call_to_the_wrong_host_fails_at_once_and_says_so() -> None:
    class Elsewhere(RawVendor):
        def answer(self, connection: Any) -> None:
            connection.recv(65536)
            self.polls.append("")
            connection.sendall(http(b"<html>not here</html>", 404))

    with Elsewhere(lambda _: b"").serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url, retry=QUICK) as client:
            with pytest.raises(WrongHostError, match=vendor.url):
                await client.credit()

    assert len(vendor.polls) == 1


@pytest.mark.parametrize("code", [1008, 1014])
async def test_content_that_does_not_exist_is_about_the_video_or_the_voice(code: int) -> None:
    with RawVendor(lambda _: http({"code": code, "msg": "not exist"})).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url) as client:
            with pytest.raises(BadRequestError) as caught:
                await client.submit(video())

    assert caught.value.code == code
    assert "video" in caught.value.advice
    assert "voice" in caught.value.advice
    assert "id and that the credentials" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        http({"code": 1005, "data": {"modelId": ONE}}),
        http({"code": 1201, "msg": f"queued as {ONE}"}),
        http({"code": 1000, "data": {"job_id": ONE}}),
        http(f"<p>job {ONE} queued</p>".encode(), 429),
    ],
)
async def test_an_id_under_another_name_is_asked_for_before_it_is_believed(answer: bytes) -> None:
    with RawVendor(lambda _: answer).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url) as client:
            with pytest.raises(SubmissionInDoubt) as caught:
                await client.session.submit_once(video())
            submission = await client.session.confirm_submission(caught.value)

    assert caught.value.job_ids == (ONE,)
    assert submission.job_ids == (ONE,)
    assert (vendor.polls, len(vendor.posts)) == ([ONE], 1)


STATUS = f"/api/open/v3/content/video/infobymodelid?video_model_id={ONE}"


@pytest.mark.parametrize(
    "answer",
    [
        http(b"", 302, location=STATUS),
        http(b"", 303, location=f"/jobs/{ONE}"),
        http({"code": 1005}, 307, content_location=STATUS),
        http(b"", 304, x_job=ONE),
        http(b"", 202, location=STATUS),
        http(b"wait", 429, location=STATUS),
        http(gzip.compress(json.dumps(SUCCESS).encode())),
        http(gzip.compress(json.dumps({"code": 1005, "data": {"jobId": ONE}}).encode())),
    ],
    ids=["302", "303", "307", "304", "202", "429", "unannounced gzip", "unannounced gzip of a refusal"],
)
async def test_an_id_beside_the_body_or_in_one_that_is_packed_unannounced_is_kept(answer: bytes) -> None:
    with RawVendor(lambda _: answer).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url) as client:
            try:
                submission = await client.session.submit_once(video())
            except SubmissionInDoubt as doubt:
                submission = await client.session.confirm_submission(doubt)

    assert submission.job_ids == (ONE,)
    assert len(vendor.posts) == 1


@pytest.mark.parametrize("status", [303, 304])
async def test_a_redirect_that_refuses_nothing_is_a_doubt(status: int) -> None:
    with RawVendor(lambda _: http(b"", status, location="/elsewhere")).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url) as client:
            with pytest.raises(SubmissionInDoubt, match=f"HTTP {status}"):
                await client.submit(video())

    assert len(vendor.posts) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"location": "https://elsewhere.example/createbytranslate?lang=en"},
        {"location": "/", "x_request_id": ONE, "etag": ONE, "x_amzn_trace_id": "Root=1-67891233-" + ONE},
    ],
)
async def test_a_redirect_that_names_no_job_costs_nothing(headers: dict[str, str]) -> None:
    with RawVendor(lambda _: http(b"", 302, **headers)).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url) as client:
            with pytest.raises(UnexpectedRedirectError, match="Nothing was charged"):
                await client.submit(video())


@pytest.mark.parametrize("code", [1003, 1015, 1202, 7777])
async def test_a_refusal_with_ids_that_are_no_jobs_is_a_refusal(code: int) -> None:
    answer = http({"code": code, "msg": "no", "request_id": ONE, "data": {"video_id": "v1", "_id": None}})
    with RawVendor(lambda _: answer).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url) as client:
            with pytest.raises(AkoolError) as caught:
                await client.submit(video())

    assert not isinstance(caught.value, SubmissionInDoubt)
    assert caught.value.code == code


async def test_an_unknown_code_is_the_vendors_error_unless_an_id_comes_with_it() -> None:
    answers = [
        http({"code": 7777, "msg": "odd"}),
        http({"code": 7777, "data": {"_id": {"low": 1, "high": 2}}}),
    ]
    with RawVendor(lambda number: answers[number - 1]).serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url) as client:
            with pytest.raises(VendorError) as refused:
                await client.submit(video())
            with pytest.raises(SubmissionInDoubt):
                await client.submit(video())

    assert refused.value.code == 7777
