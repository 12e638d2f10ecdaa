"""Answers that contradict themselves: a job in an error, odd ids, prices and times; jobs bound to fail."""

from __future__ import annotations

import json
import math
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from akool_async.sandbox import Fault

from .conftest import CREATE, CREDIT, LANGUAGES, LIPSYNC, STATUS, TOKEN, URL, Visitor, plain_client, visiting

BODY = {"url": URL, "source_language": "en", "language": "hi,fr"}
NO_JOB = "0" * 24


def ids(visitor: Visitor) -> list[str]:
    return [job.id for job in visitor.sandbox.audit.jobs]


@pytest.mark.parametrize("status", [None, 500, 502])
async def test_an_http_error_can_name_the_jobs_that_were_made(status: int | None) -> None:
    fault = Fault(on="create", kind="http_with_answer", status=status)
    async with visiting(faults=[fault]) as visitor:
        answer = await visitor.http.post(CREATE, json=BODY)

        assert answer.status_code == (status or 503)
        assert [entry["data"]["_id"] for entry in answer.json()["all_results"]] == ids(visitor)
        assert visitor.sandbox.audit.creates[0].acted


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("kind", ["http", "http_with_answer"])
async def test_a_status_that_has_no_body_comes_without_one(status: int, kind: str) -> None:
    async with visiting(faults=[Fault(on="create", kind=kind, status=status)]) as visitor:
        answer = await visitor.http.post(CREATE, json=BODY)

    assert (answer.status_code, answer.content) == (status, b"")


async def test_a_refusal_can_name_the_job_that_was_made() -> None:
    async with visiting(faults=[Fault(on="create", kind="code_with_answer", code=1201)]) as visitor:
        answer = await visitor.create()

        assert (answer["code"], answer["data"]["_id"]) == (1201, ids(visitor)[0])


async def test_too_often_with_an_id_in_an_odd_form() -> None:
    faults = [Fault(on="create", kind="code_with_answer"), Fault(on="create", kind="odd_id")]
    async with visiting(faults=faults) as visitor:
        answer = await visitor.create()

        assert (answer["code"], answer["data"]["_id"]) == (1005, {"$oid": ids(visitor)[0]})


@pytest.mark.parametrize(("value", "cut"), [(1, 1), (2, 2), (3, 3), (4, 3)])
async def test_an_answer_that_ends_after_an_id(value: int, cut: int) -> None:
    async with visiting() as visitor:
        visitor.sandbox.faults.add(Fault(on="create", kind="cut_after_id", value=value))
        answer = await visitor.http.post(CREATE, json=BODY)
        first, last = ids(visitor)

        assert [one for one in answer.text.split('"') if one in (first, last)] == [last, first, last][:cut]
        assert answer.text.endswith(f'"{[last, first, last][cut - 1]}"')
        assert answer.headers["content-length"] == str(len(answer.content))


@pytest.mark.parametrize("kind", ["http_with_answer", "code_with_answer", "cut_after_id"])
async def test_an_id_can_be_one_of_no_job(kind: str) -> None:
    async with visiting(faults=[Fault(on="create", kind=kind, acted=False)]) as visitor:
        answer = await visitor.http.post(CREATE, json=BODY)

        assert NO_JOB in answer.text
        assert ids(visitor) == []
        assert not visitor.sandbox.audit.creates[0].acted


async def test_an_id_can_be_a_short_number_that_is_known_afterwards() -> None:
    async with visiting(faults=[Fault(on="create", kind="odd_id", value="number")]) as visitor:
        answer = await visitor.create()
        visitor.clock.advance(100_000)
        status = await visitor.status(str(answer["data"]["_id"]))

        assert answer["data"]["_id"] == 1_000_001
        assert (status["code"], status["data"]["_id"], status["data"]["video_status"]) == (1000, "1000001", 3)
        assert ids(visitor) == ["1000001"]


@pytest.mark.parametrize("value", [None, "NaN", 0, -4, float("nan"), "4"])
@pytest.mark.parametrize("path", [CREATE, LIPSYNC])
async def test_an_odd_price_changes_nothing_but_the_answer(value: Any, path: str) -> None:
    faults = [Fault(on=on, kind="odd_price", value=value) for on in ("create", "lipsync", "status")]
    async with visiting(faults=faults) as visitor:
        body = {"url": URL, "language": "fr", "video_url": URL, "audio_url": "https://example.com/a.wav"}
        made = (await visitor.post(path, body))["data"]
        locked = visitor.sandbox.audit.credits.locked
        visitor.clock.advance(100_000)
        done = (await visitor.status(made["_id"]))["data"]

    for price in (made["deduction_lock_duration"], done["deduction_duration"]):
        assert price == value or (math.isnan(price) and math.isnan(value))
    assert locked > 0


async def test_a_price_can_be_missing() -> None:
    async with visiting(faults=[Fault(on="create", kind="odd_price", value="missing")]) as visitor:
        assert "deduction_lock_duration" not in (await visitor.create())["data"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("seconds", 1_760_000_000),
        ("float", 1_760_000_000_000.5),
        ("text", "1760000000000"),
        ("iso", "2025-10-09T08:53:20Z"),
        (None, None),
        (-1, -1),
    ],
)
async def test_an_odd_time_of_creation(value: Any, shown: object) -> None:
    faults = [Fault(on=on, kind="odd_time", value=value) for on in ("create", "status")]
    async with visiting(faults=faults) as visitor:
        made = (await visitor.create())["data"]
        seen = (await visitor.status(made["_id"]))["data"]

    assert [made["create_time"], seen["create_time"]] == [shown, shown]


async def test_a_time_of_creation_can_be_missing() -> None:
    async with visiting(faults=[Fault(on="status", kind="odd_time", value="missing")]) as visitor:
        made = (await visitor.create())["data"]

        assert "create_time" in made
        assert "create_time" not in (await visitor.status(made["_id"]))["data"]


@pytest.mark.parametrize("value", [[1], {"$date": "2026-01-01"}, True, 1.5])
async def test_a_time_of_creation_can_be_of_any_type(value: Any) -> None:
    async with visiting(faults=[Fault(on="create", kind="odd_time", value=value)]) as visitor:
        assert (await visitor.create())["data"]["create_time"] == value


async def test_the_same_fault_twice_is_as_once() -> None:
    faults = [
        Fault(on="create", kind=kind, **fields)
        for kind, fields in (
            ("odd_id", {}),
            ("odd_id", {"value": "number"}),
            ("odd_time", {"value": "text"}),
            ("odd_time", {"value": "missing"}),
            ("odd_price", {"value": "missing"}),
        )
        for _ in range(2)
    ]
    async with visiting(faults=faults) as visitor:
        answer = await visitor.http.post(CREATE, json=BODY)

    assert answer.status_code == 200
    assert answer.json()["code"] == 1000


async def test_an_odd_value_can_be_that_of_one_language() -> None:
    async with visiting() as visitor:
        visitor.sandbox.faults.add(Fault(on="create", kind="odd_price", language="fr"))
        results = (await visitor.create("hi,fr"))["all_results"]

    assert [entry["data"]["deduction_lock_duration"] for entry in results] == [4, None]


@pytest.mark.parametrize("days", [30, -30])
async def test_the_date_can_be_days_off(days: int) -> None:
    faults = [Fault(on=on, kind="wrong_date", value=days) for on in ("status", "cdn")]
    async with visiting(faults=faults) as visitor:
        url = (await visitor.finished())["video"]
        job_id = ids(visitor)[0]
        async with plain_client() as http:
            answers = [await visitor.http.get(STATUS, params={"video_model_id": job_id}), await http.get(url)]

        for answer in answers:
            date = parsedate_to_datetime(answer.headers["date"]).timestamp()
            assert date - visitor.clock() == pytest.approx(days * 86_400, abs=2)
        assert answers[0].json()["code"] == 1000
        assert answers[1].status_code == 200


async def test_the_date_can_be_missing() -> None:
    async with visiting(faults=[Fault(on="credit", kind="wrong_date", value=None)]) as visitor:
        assert "date" not in (await visitor.http.get(CREDIT)).headers


async def test_every_post_can_be_met_by_a_page_that_says_404() -> None:
    async with visiting(faults=[Fault(on="post", kind="http", status=404)]) as visitor:
        posts = [await visitor.http.post(path, json=BODY) for path in (CREATE, LIPSYNC, TOKEN)]
        get = await visitor.http.get(LANGUAGES)

    assert [(one.status_code, one.headers["content-type"]) for one in posts] == [
        (404, "text/html; charset=utf-8")
    ] * 3
    assert get.status_code == 200


async def test_a_gateway_can_fail_after_the_jobs_were_made() -> None:
    async with visiting(faults=[Fault(on="create", kind="http", status=502, acted=True)]) as visitor:
        answer = await visitor.http.post(CREATE, json=BODY)

        assert answer.status_code == 502
        assert answer.text.startswith("<!DOCTYPE html>")
        assert len(ids(visitor)) == 2
        assert not any(job_id in answer.text for job_id in ids(visitor))


async def test_a_job_can_fail_with_a_transient_code() -> None:
    async with visiting() as visitor:
        visitor.sandbox.faults.add(
            Fault(on="create", kind="job_fails", language="fr", value="Once more, please.", limit=1)
        )
        results = (await visitor.create("hi,fr"))["all_results"]
        again = (await visitor.create("fr"))["data"]["_id"]
        visitor.clock.advance(100_000)
        ended = [(await visitor.status(one))["data"] for one in (results[0]["data"]["_id"], again)]
        failed = (await visitor.status(results[1]["data"]["_id"]))["data"]

        assert [data["video_status"] for data in ended] == [3, 3]
        assert (failed["video_status"], failed["error_code"]) == (4, 1201)
        assert failed["error_reason"] == "Once more, please."
        assert visitor.sandbox.audit.credits.spent == 8


async def test_a_failing_lip_sync_has_a_code_of_its_choice() -> None:
    async with visiting(faults=[Fault(on="lipsync", kind="job_fails", code=1211)]) as visitor:
        fields = {"video_url": URL, "audio_url": "https://example.com/a.wav"}
        job_id = (await visitor.post(LIPSYNC, fields))["data"]["_id"]
        visitor.clock.advance(100_000)
        failed = (await visitor.status(job_id))["data"]

    assert (failed["video_status"], failed["error_code"]) == (4, 1211)
    assert failed["error_reason"]


@pytest.mark.parametrize(
    "fields",
    [
        {"on": "status", "kind": "job_fails"},
        {"on": "credit", "kind": "odd_price"},
        {"on": "create", "kind": "odd_id", "value": "hex"},
        {"on": "create", "kind": "odd_time", "value": "yesterday"},
        {"on": "create", "kind": "cut_after_id", "value": 0},
        {"on": "cdn", "kind": "cut_after_id"},
        {"on": "status", "kind": "wrong_date", "value": "tomorrow"},
        {"on": "post", "kind": "vanish"},
        {"on": "create", "kind": "odd_id", "value": []},
        {"on": "status", "kind": "wrong_date", "value": 1e9},
        {"on": "status", "kind": "wrong_date", "value": float("nan")},
        {"on": "create", "kind": "http", "status": 1000},
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Fault(**fields)


async def test_a_number_that_is_none_is_still_sent() -> None:
    async with visiting(faults=[Fault(on="create", kind="odd_price", value=float("nan"))]) as visitor:
        answer = await visitor.http.post(CREATE, json=BODY)

    assert '"deduction_lock_duration":NaN' in answer.text
    assert json.loads(answer.text)["code"] == 1000
