"""Answers that are whole JSON and still not as ordered: languages missing, states unknown, links dead."""

from __future__ import annotations

import pytest

from akool_async.sandbox import Fault

from .conftest import visiting


async def test_a_refused_language() -> None:
    async with visiting() as visitor:
        visitor.sandbox.faults.add(Fault(on="create", kind="refuse_language", language="fr", code=1201))
        answer = await visitor.create("hi,fr,ja")
        alone = await visitor.create("fr")
        spared = await visitor.create("hi")

    assert [entry["code"] for entry in answer["all_results"]] == [1000, 1201, 1000]
    assert (alone["code"], "data" in alone) == (1201, False)
    assert spared["code"] == 1000


@pytest.mark.parametrize(("acted", "made"), [(None, ["hi", "fr", "ja"]), (False, ["hi", "ja"])])
async def test_an_omitted_language(acted: bool | None, made: list[str]) -> None:
    async with visiting() as visitor:
        visitor.sandbox.faults.add(Fault(on="create", kind="omit_language", language="fr", acted=acted))
        answer = await visitor.create("hi,fr,ja")

        assert [entry["data"]["language"] for entry in answer["all_results"]] == ["hi", "ja"]
        assert [job.language for job in visitor.sandbox.audit.jobs] == made
        assert len(visitor.sandbox.audit.creates[0].job_ids) == len(made)


async def test_the_only_language_omitted() -> None:
    async with visiting() as visitor:
        visitor.sandbox.faults.add(Fault(on="create", kind="omit_language", language="fr"))
        answer = await visitor.create("fr")

        assert (answer["code"], answer["data"]) == (1000, None)
        assert len(visitor.sandbox.audit.jobs) == 1


@pytest.mark.parametrize(("language", "extra"), [(None, "en"), ("ko", "ko")])
async def test_an_extra_language(language: str | None, extra: str) -> None:
    async with visiting() as visitor:
        visitor.sandbox.faults.add(Fault(on="create", kind="extra_language", language=language))
        answer = await visitor.create("hi,fr")

        assert [entry["data"]["language"] for entry in answer["all_results"]] == ["hi", "fr", extra]
        assert len(visitor.sandbox.audit.jobs) == 3


async def test_no_list_of_results() -> None:
    async with visiting() as visitor:
        visitor.sandbox.faults.add(Fault(on="create", kind="no_all_results"))
        answer = await visitor.create("hi,fr")

        assert set(answer) == {"code", "msg", "data"}
        assert answer["data"]["language"] == "fr"
        assert len(visitor.sandbox.audit.jobs) == 2


@pytest.mark.parametrize("value", [7, None, "done"])
async def test_an_unknown_status(value: object) -> None:
    async with visiting(faults=[Fault(on="status", kind="unknown_status", value=value)]) as visitor:
        job_id = (await visitor.create())["data"]["_id"]

        assert (await visitor.status(job_id))["data"]["video_status"] == value


async def test_a_status_as_text() -> None:
    async with visiting(faults=[Fault(on="status", kind="unknown_status", value="3")]) as visitor:
        job_id = (await visitor.create())["data"]["_id"]
        before = (await visitor.status(job_id))["data"]["video_status"]
        visitor.clock.advance(100_000)

        assert before == 2
        assert (await visitor.status(job_id))["data"]["video_status"] == "3"


async def test_completed_without_a_url() -> None:
    async with visiting(faults=[Fault(on="status", kind="done_without_url", nth=(1, 2))]) as visitor:
        first = await visitor.finished()
        second, third = [(await visitor.status(first["_id"]))["data"] for _ in range(2)]

    assert (first["video_status"], first["video"], "audio_splits" in first) == (3, "", False)
    assert second["video"] == ""
    assert third["video"]


async def test_progress_that_never_moves() -> None:
    async with visiting(
        faults=[Fault(on="status", kind="stuck", value=12)], sigma=0, progress="linear"
    ) as visitor:
        job_id = (await visitor.create())["data"]["_id"]
        seen = []
        for _ in range(4):
            visitor.clock.advance(35)
            seen.append((await visitor.status(job_id))["data"]["progress"])

    assert seen == [12, 12, 12, 100]


async def test_a_job_that_vanishes() -> None:
    async with visiting(faults=[Fault(on="status", kind="vanish", job=2, nth=2)]) as visitor:
        ids = [(await visitor.create())["data"]["_id"] for _ in range(2)]
        codes = [[(await visitor.status(one))["code"] for _ in range(3)] for one in ids]

    assert codes == [[1000, 1000, 1000], [1000, 1008, 1000]]


async def test_a_forbidden_url_is_healed_by_a_fresh_status() -> None:
    async with visiting(faults=[Fault(on="status", kind="url_forbidden")]) as visitor:
        job = await visitor.finished()
        same = (await visitor.status(job["_id"]))["data"]
        statuses = [(await visitor.http.get(job["video"])).status_code for _ in range(2)]
        splits = (await visitor.http.get(job["audio_splits"]["original_srt_url"])).status_code
        fresh = (await visitor.status(job["_id"]))["data"]
        healed = (await visitor.http.get(fresh["video"])).status_code
        old = (await visitor.http.get(job["video"])).status_code

    assert same["video"] == job["video"]
    assert (statuses, splits) == ([403, 403], 403)
    assert fresh["video"] != job["video"]
    assert (healed, old) == (200, 403)
