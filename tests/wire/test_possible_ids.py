"""What may be a job's id in the answer to a paid POST, though it is not under `_id`; and what is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from akool_async._model.errors import AkoolError, ProtocolError
from akool_async._model.redact import Secret
from akool_async._model.requests import TranslationRequest
from akool_async._wire import (
    create_payload,
    find_jobs,
    holds_id,
    may_name_job,
    read_envelope,
    read_submission,
)
from tests.wire.examples import FR, HI, REQUEST, THREE, accepted, answer, body, refused

UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
NAMES = (
    "id Id ID model_id modelId job_id jobId jobid jobIds task_id taskId video_id videoId video_model_id "
    "videoModelId result_id translationId user_job_id x-job-id"
).split()
PLACES: list[Any] = [
    *({name: HI} for name in NAMES),
    {"id": [HI]},
    {"id": {"$oid": HI}},
    {"job": {"id": HI}},
    {"error": {"job_id": HI}},
    {"result": HI},
    [HI],
    {"job_id": 7},
    {"id": 1234567},
    {"job_id": "8ddc4a27-d173-4cf5-aa37-13e340fed8f3"},
    {"msg": f"queued as {HI}"},
    {"message": f"job {HI}."},
    {"where": f"/api/status?video_model_id={HI}"},
    {"text": json.dumps({"jobId": HI})},
]
OTHERS: list[Any] = [
    *(
        {name: HI}
        for name in (
            "request_id requestId requestid RequestID X-Request-ID trace_id traceparent uid user_id userId "
            "team_id teamId account_id credentialId correlationId session_id voice_id orgId "
            "log_id ray_id token etag"
        ).split()
    ),
    {"user": {"id": HI}},
    {"error": {"id": HI}},
    {"error": {"id": "too_many_requests"}},
    {"id": 7},
    {"id": "url"},
    {"id": None, "job_id": "", "jobId": 0, "model_id": "null"},
    {"paid": HI[:12], "valid": "12345678", "uuid": "8ddc4a27-d173-4cf5-aa37-13e340fed8f3"},
    {"md5": HI, "file": f"{HI}{HI[:8]}"},
    {"trace": "Root=1-67891233-abcdef012345678912345678"},
    # As gateways refuse: Azure, Imperva, F5, and a web application firewall.
    {"statusCode": 429, "message": "Rate limit is exceeded.", "activityId": UUID},
    {"incidentId": "436000540041306475-182013472340219917", "hostName": "api", "clientId": "12345"},
    {"supportID": "16413058271234567890", "policyId": "a1b2c3d4", "rule_id": "981176", "quotaId": "q-12345"},
    {"msg": f'<p>Request ID: <code class="v">{HI}</code></p><a data-cfemail="{HI}">e-mail</a>'},
    {"msg": "task_id: invalid, video_model_id: required, model_id: must be a string"},
    {"msg": '<script>var x = {"invalid": "abc123def", "JSESSIONID": "A1B2C3D4E5"}</script>'},
    {"msg": f"user {HI} must wait (Request ID: {HI}, team_id={HI})"},
    {"msg": "Root=1-67891233-abcdef012345678912345678"},
]


@pytest.mark.parametrize("data", PLACES, ids=str)
def test_an_id_under_another_name_may_be_a_jobs(data: Any) -> None:
    whole = answer(data, 1005, "wait")

    assert holds_id(whole)
    assert may_name_job(body(whole))
    assert len(find_jobs(body(whole), REQUEST)) == 1


@pytest.mark.parametrize("data", OTHERS, ids=str)
@pytest.mark.parametrize("code", [1005, 1101, 1201, 1003])
def test_an_id_of_something_else_leaves_a_refusal_clear(code: int, data: Any) -> None:
    whole = answer(data, code, "no")

    assert not holds_id(whole)
    assert find_jobs(body(whole), REQUEST) == ()
    with pytest.raises(AkoolError) as caught:
        read_submission(read_envelope(body(whole)), REQUEST)
    assert not isinstance(caught.value, ProtocolError)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"<p>job {HI} queued</p>", [HI]),
        (f"Location: /api/status?video_model_id={HI}\n", [HI]),
        (f"Location: /jobs/{HI}\n", [HI]),
        ("job_id=abc-123&x", ["abc-123"]),
        (f'{{"code":1000,"data":{{"jobId":"{HI}","sta', [HI]),
        ('{"code":1000,"data":{"jobId":123456,"sta', ["123456"]),
        ('{"code":1000,"data":{"jobId":12345', []),
        ('{"code":1000,"data":{"jobId":"7a10c0', []),
        (f'{{"code":1000,"data":{{"requestId":"{HI}","sta', []),
        ("job_id=abc-12", []),
        (f'<div id="cf-section-1" data-ray="{HI[:16]}">Request ID: {HI}</div>', []),
        ('<script>{"rayId":"8a1b2c3d4e5f6789"}</script>', []),
        ("<html>too many requests, 429</html>", []),
    ],
)
def test_ids_are_found_in_text_that_is_no_json(text: str, found: list[str]) -> None:
    assert [job.id for job in find_jobs(text.encode(), REQUEST)] == found


def test_what_the_request_holds_is_the_id_of_no_job_that_it_makes() -> None:
    request = TranslationRequest(url=f"https://media.test/{HI}.mp4", targets="ja", voices_map={"ja": FR})
    words = f"can't fetch https://media.test/{HI}.mp4, or the sound {FR} is missing"
    whole = answer({"id": FR}, 1003, words)

    assert may_name_job(body(whole))
    assert not may_name_job(body(whole), create_payload(request))
    with pytest.raises(AkoolError, match="a parameter is wrong"):
        read_submission(read_envelope(body(whole)), request)


def test_a_success_without_the_documented_id_keeps_what_may_be_one() -> None:
    whole = answer({"job_id": HI, "video_status": 1})
    with pytest.raises(ProtocolError):
        read_submission(read_envelope(body(whole)), REQUEST)

    assert [job.id for job in find_jobs(whole, REQUEST)] == [HI]


def test_the_id_of_one_language_under_another_name_is_kept_beside_the_jobs_of_others() -> None:
    parts = [accepted(HI, "hi"), answer({"jobId": FR, "language": "fr"}, 1201), refused(1203, "ja")]
    submission = read_submission(read_envelope(body({"code": 1000, "all_results": parts})), THREE)

    assert [job.id for job in submission.accepted] == [HI]
    assert [one.target for one in submission.refused] == ["ja"]
    assert submission.missing == ("fr",)
    assert [job.id for job in submission.extra] == [FR]


def test_beside_a_job_no_other_id_of_its_object_counts() -> None:
    data = {"video_id": FR, "task_id": FR, "team_id": FR, "_id": HI}

    assert [job.id for job in find_jobs(body(answer(data, 1005)), REQUEST)] == [HI]
    assert [job.id for job in find_jobs(b"HTTP 502" + body(answer(data)), REQUEST)] == [HI]


@pytest.mark.parametrize("key", [HI, "canary-4f9c1b7e2a", "canary1234"])
def test_a_repeated_key_is_no_id(key: str) -> None:
    live = Secret(key)
    for data in ({"_id": key}, {"_id": f"{key}-1"}, {"jobId": key}, {"msg": f"bad key {key}"}, [key]):
        assert find_jobs(body(answer(data)), REQUEST) == ()
        assert find_jobs(f"<p>{json.dumps(data)}</p>".encode(), REQUEST) == ()
    del live


@pytest.mark.parametrize("before", [b"", "\ufeff".encode(), b"\n "])
@pytest.mark.parametrize("after", [b"", b"\nX-Edge-Location: fra\n"])
def test_a_mark_before_an_answer_or_headers_after_it_change_nothing(before: bytes, after: bytes) -> None:
    def found(whole: Any) -> list[str]:
        return [job.id for job in find_jobs(before + body(whole) + after, REQUEST)]

    assert found(answer({"user": {"id": "12345678"}, "uuid": UUID}, 1005)) == []
    assert found(answer({"task_ids": [HI, FR]}, 1005)) == [HI, FR]
    assert found({"data": {"_id": HI}, "other": {"id": FR}}) == [HI, FR]
    assert not may_name_job(before + b'{"errors": [{"id": "' + UUID.encode() + b'"}]}' + after)


def test_a_header_names_a_job_beside_that_of_the_body() -> None:
    both = body({"data": {"_id": HI}}) + f"\nLocation: /jobs/{FR}\n".encode()

    assert [job.id for job in find_jobs(both, REQUEST)] == [HI, FR]


def test_a_long_name_over_many_values_is_read_in_a_moment() -> None:
    # Read anew for each value, such a name would take longer than this test may.
    whole = {"code": 1005, "b_" * 200_000: ["x"] * 200_000, "id" * 200_000: [str(10**9)] * 200_000}

    assert not holds_id({**whole, "data": {"user_id": HI}}, {})
