"""Every endpoint over a real socket, in both API versions: the documented shapes and refusals."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from akool_async._model.codes import CODES
from akool_async.sandbox import SandboxLanguage

from .conftest import CREATE, CREDIT, LANGUAGES, LIPSYNC, STATUS, URL, VOICES, visiting

CREATED = {
    "_id": str, "create_time": int, "uid": int, "team_id": str, "target_video": str, "language": str,
    "source_language": str, "video_id": str, "video_status": int, "video_lock_duration": float,
    "deduction_lock_duration": int, "video": str, "credentialId": str, "task_id": str,
    "target_video_md5": str, "lipsync": bool, "lipSyncType": int, "speaker_num": int, "webhookUrl": str,
}  # fmt: skip
CREATED_LIPSYNC = {
    "create_time": int, "uid": int, "type": int, "from": int, "target_video": str, "faceswap_quality": int,
    "video_id": str, "video_status": int, "video_lock_duration": float, "deduction_lock_duration": int,
    "external_video": str, "video": str, "storage_loc": int, "input_audio": str, "webhookUrl": str,
    "task_id": str, "lipsync": bool, "_id": str, "__v": int,
}  # fmt: skip
PROCESSING = {
    "_id": str, "create_time": int, "uid": int, "team_id": str, "video_id": str, "video_status": int,
    "video": str, "progress": int,
}  # fmt: skip
COMPLETED = {**PROCESSING, "deduction_duration": int, "audio_splits": dict}
FAILED = {**PROCESSING, "error_code": int, "error_reason": str}
LEGACY = {
    "faceswap_quality": int, "storage_loc": int, "_id": str, "create_time": int, "uid": int, "type": int,
    "from": int, "video_id": str, "video_lock_duration": float, "deduction_lock_duration": int,
    "video_status": int, "external_video": str, "video": str,
}  # fmt: skip
VOICE = {
    "_id": str, "voice_id": str, "gender": str, "language": str, "name": str, "preview": str,
    "thumbnailUrl": str, "create_time": int, "flag_url": str, "useCase": str, "category": str, "age": list,
    "style": list, "duration": int, "scenario": list, "language_code": str,
}  # fmt: skip


def check_shape(found: dict[str, Any], shape: dict[str, type]) -> None:
    assert {name: type(value) for name, value in found.items()} == shape


def check_refused(answer: dict[str, Any], code: int) -> None:
    assert answer == {"code": code, "msg": CODES[code].meaning}


async def test_one_language_gives_one_job() -> None:
    async with visiting() as visitor:
        answer = await visitor.create("fr", speaker_num=2)

    assert (answer["code"], answer["msg"]) == (1000, "OK")
    assert "all_results" not in answer
    check_shape(answer["data"], CREATED)
    assert answer["data"]["video_status"] == 1
    assert answer["data"]["create_time"] == int(visitor.clock() * 1000)
    assert (answer["data"]["video_lock_duration"], answer["data"]["deduction_lock_duration"]) == (16.0, 4)


async def test_several_languages_give_a_job_each_and_the_last_one_on_top() -> None:
    async with visiting() as visitor:
        answer = await visitor.create("hi, fr,ja")

    results = answer["all_results"]
    assert [entry["data"]["language"] for entry in results] == ["hi", "fr", "ja"]
    assert answer["data"] == results[-1]["data"]
    assert len({entry["data"]["_id"] for entry in results}) == 3
    for entry in results:
        assert (entry["code"], entry["msg"]) == (1000, "OK")
        check_shape(entry["data"], CREATED)


async def test_one_language_can_be_refused_while_the_others_are_taken() -> None:
    async with visiting() as visitor:
        answer = await visitor.create("hi,tlh,af-ZA,ja")

        assert [entry["code"] for entry in answer["all_results"]] == [1000, 1003, 1003, 1000]
        check_refused(answer["all_results"][1], 1003)
        assert answer["all_results"][2]["msg"] == "voice_id is required"
        assert answer["data"]["language"] == "ja"
        assert len(visitor.sandbox.audit.jobs) == 2


async def test_a_language_that_needs_a_voice_is_taken_with_one() -> None:
    async with visiting() as visitor:
        answer = await visitor.create("af-ZA", voices_map={"af-ZA": {"voice_id": ""}})

    assert answer["code"] == 1000


async def test_credits_may_suffice_for_some_languages_only() -> None:
    async with visiting(credits=10) as visitor:
        answer = await visitor.create("hi,fr,ja")
        left = await visitor.get(CREDIT)

    assert [entry["code"] for entry in answer["all_results"]] == [1000, 1000, 1104]
    assert answer["data"]["language"] == "fr"
    assert left["data"] == {"credit": 2.0}


@pytest.mark.parametrize(("balance", "code"), [(0, 1006), (3, 1104)])
async def test_without_credits_a_job_is_refused(balance: float, code: int) -> None:
    async with visiting(credits=balance) as visitor:
        check_refused(await visitor.create(), code)


@pytest.mark.parametrize(
    "fields",
    [
        {"language": ""},
        {"language": "tlh"},
        {"url": ""},
        {"url": 5},
        {"source_language": "tlh"},
        {"speaker_num": "x"},
    ],
)
async def test_bad_parameters_are_refused(fields: dict[str, Any]) -> None:
    async with visiting() as visitor:
        check_refused(await visitor.post(CREATE, {"url": URL, "language": "fr", **fields}), 1003)
        assert visitor.sandbox.audit.jobs == ()


@pytest.mark.parametrize("path", [CREATE, LIPSYNC])
@pytest.mark.parametrize("body", [b"", b"[1]", b"nonsense"])
async def test_a_body_that_is_no_object_is_refused(path: str, body: bytes) -> None:
    async with visiting() as visitor:
        check_refused((await visitor.http.post(path, content=body)).json(), 1003)


async def test_duplicates_are_taken_unless_chosen_otherwise() -> None:
    async with visiting() as visitor:
        assert [(await visitor.create())["code"] for _ in range(2)] == [1000, 1000]
    async with visiting(reject_duplicates=True) as visitor:
        assert [(await visitor.create(lipsync=True))["code"] for _ in range(2)] == [1000, 1202]
        assert [(await visitor.create())["code"] for _ in range(2)] == [1000, 1000]


async def test_lipsync_gives_one_job() -> None:
    async with visiting() as visitor:
        answer = await visitor.post(LIPSYNC, {"video_url": URL, "audio_url": "https://example.com/a.wav"})
        visitor.clock.advance(100_000)
        status = await visitor.status(answer["data"]["_id"])

    check_shape(answer["data"], CREATED_LIPSYNC)
    assert (answer["data"]["type"], answer["data"]["input_audio"]) == (9, "https://example.com/a.wav")
    assert status["data"]["video_status"] == 3
    assert status["data"]["video"]


async def test_a_job_goes_from_queueing_over_processing_to_completed() -> None:
    async with visiting(max_jobs=1, sigma=0.0, median_seconds=100) as visitor:
        first, second = [(await visitor.create())["data"]["_id"] for _ in range(2)]
        visitor.clock.advance(50)
        working, waiting = [(await visitor.status(one))["data"] for one in (first, second)]
        visitor.clock.advance(60)
        done = (await visitor.status(first))["data"]

    check_shape(waiting, PROCESSING)
    check_shape(working, PROCESSING)
    check_shape(done, COMPLETED)
    assert [one["video_status"] for one in (waiting, working, done)] == [1, 2, 3]
    assert waiting["progress"] <= working["progress"] < done["progress"] == 100
    assert (working["video"], done["deduction_duration"]) == ("", 4)
    assert set(done["audio_splits"]) == {"original_srt_url", "translated_srt_url", "no_caption_video_url"}
    assert done["video"].startswith(visitor.server.cdn_url)


async def test_a_failed_job_says_why() -> None:
    async with visiting(failure_rate=1.0) as visitor:
        data = await visitor.finished()

    check_shape(data, FAILED)
    assert (data["video_status"], data["error_code"], data["video"]) == (4, 501312, "")
    assert data["progress"] < 100


async def test_without_progress_there_is_no_such_field() -> None:
    async with visiting(progress="none") as visitor:
        job_id = (await visitor.create())["data"]["_id"]

        assert "progress" not in (await visitor.status(job_id))["data"]


async def test_an_unknown_or_missing_id_is_refused() -> None:
    async with visiting() as visitor:
        check_refused(await visitor.status("0" * 24), 1008)
        check_refused(await visitor.get(STATUS), 1003)


async def test_languages_are_listed() -> None:
    async with visiting() as visitor:
        languages = (await visitor.get(LANGUAGES))["data"]["lang_list"]

    assert len(languages) >= 30
    codes = [entry["lang_code"] for entry in languages]
    assert len(set(codes)) == len(codes)
    assert [entry["lang_code"] for entry in languages if entry.get("need_voice_id")] == [
        "af-ZA",
        "zh-CN-shandong",
    ]
    assert set(languages[0]) == {"lang_code", "lang_name", "url"}


async def test_voices_come_in_pages() -> None:
    async with visiting() as visitor:
        first = (await visitor.get(VOICES))["data"]
        pages = [(await visitor.get(VOICES, page=number, size=60))["data"] for number in range(1, 8)]

    assert (first["page"], first["size"], len(first["result"])) == (1, 100, 100)
    assert first["count"] >= 250
    for voice in first["result"]:
        check_shape(voice, VOICE)
    ids = [voice["voice_id"] for page in pages for voice in page["result"]]
    assert len(ids) == len(set(ids)) == first["count"]
    assert pages[-1]["result"] == []


async def test_voices_of_one_language() -> None:
    async with visiting() as visitor:
        found = (await visitor.get(VOICES, language_code="ja", size="5", page="2"))["data"]
        none = (await visitor.get(VOICES, language_code="tlh"))["data"]

    assert {voice["language_code"] for voice in found["result"]} == {"ja"}
    assert (found["page"], found["size"], len(found["result"])) == (2, 5, 3)
    assert (none["count"], none["result"]) == (0, [])


@pytest.mark.parametrize("params", [{"page": "0"}, {"page": "x"}, {"size": "-1"}])
async def test_nonsense_pages_are_refused(params: dict[str, str]) -> None:
    async with visiting() as visitor:
        check_refused(await visitor.get(VOICES, **params), 1003)


async def test_the_tables_can_be_chosen() -> None:
    async with visiting(languages=[SandboxLanguage("tlh", "Klingon")], voices=[]) as visitor:
        assert len((await visitor.get(LANGUAGES))["data"]["lang_list"]) == 1
        assert (await visitor.get(VOICES))["data"]["count"] == 0
        assert (await visitor.create("tlh", source_language="DEFAULT"))["code"] == 1000


async def test_the_balance_goes_down_when_a_job_is_made() -> None:
    async with visiting(credits=50) as visitor:
        balances = [(await visitor.get(CREDIT))["data"]["credit"]]
        await visitor.create(lipsync=True)
        balances.append((await visitor.get(CREDIT))["data"]["credit"])

    assert balances == [50, 30]


async def test_requests_above_the_rate_are_told_to_slow_down() -> None:
    async with visiting(rate=2) as visitor:
        codes = [(await visitor.get(CREDIT))["code"] for _ in range(3)]
        visitor.clock.advance(0.5)
        codes += [(await visitor.get(CREDIT))["code"] for _ in range(2)]

    assert codes == [1000, 1000, 1005, 1000, 1005]


async def test_a_create_above_the_rate_makes_no_job() -> None:
    async with visiting(rate=1) as visitor:
        await visitor.get(CREDIT)
        check_refused(await visitor.create(), 1005)
        assert visitor.sandbox.audit.jobs == ()


async def test_older_servers_answer_in_their_own_shapes() -> None:
    async with visiting(api_version="legacy") as visitor:
        created = await visitor.create("hi,fr")
        job_id = created["data"]["_id"]
        working = (await visitor.status(job_id))["data"]
        visitor.clock.advance(100_000)
        done = (await visitor.status(job_id))["data"]
        languages = (await visitor.get(LANGUAGES))["data"]["lang_list"]

    assert set(created) == {"code", "msg", "data"}
    assert created["data"]["language"] == "fr"
    assert {"type", "from", "faceswap_quality", "storage_loc", "external_video", "__v"} <= set(
        created["data"]
    )
    check_shape(working, LEGACY)
    assert set(done) == set(LEGACY) | {"deduction_duration", "lipsync_video_url"}
    assert done["video"]
    assert all(set(entry) == {"lang_code", "lang_name", "url"} for entry in languages)


async def test_older_servers_want_the_source_language() -> None:
    async with visiting(api_version="legacy") as visitor:
        check_refused(await visitor.post(CREATE, {"url": URL, "language": "fr"}), 1003)


async def test_other_paths_and_methods_are_not_found() -> None:
    async with visiting() as visitor:
        assert (await visitor.http.get("/api/open/v3/elsewhere")).status_code == 404
        assert (await visitor.http.get(CREATE)).status_code == 404
        assert (await visitor.http.post(STATUS)).status_code == 404


async def test_the_date_is_the_sandboxs() -> None:
    async with visiting() as visitor:
        visitor.clock.advance(12_345)
        answer = await visitor.http.get(CREDIT)

    assert parsedate_to_datetime(answer.headers["date"]).timestamp() == int(visitor.clock())
    assert len(answer.headers.get_list("date")) == 1
