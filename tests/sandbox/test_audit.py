"""The ledger against what was really sent: creates, jobs, polls, credits, doubles, export."""

from __future__ import annotations

import json

import pytest

from akool_async.sandbox import Fault, Sandbox

from .conftest import CREATE, LIPSYNC, STATUS, URL, visiting


async def test_every_create_is_written_down_with_its_fate() -> None:
    async with visiting() as visitor:
        await visitor.create("hi,fr", speaker_num=1)
        await visitor.create("tlh")
        await visitor.http.post(CREATE, content=b"nonsense")
        await visitor.http.post(CREATE, json={"url": URL, "language": "fr"}, headers={"x-api-key": "wrong"})
        visitor.sandbox.faults.add(Fault(on="create", kind="html"))
        await visitor.http.post(CREATE, json={"url": URL, "language": "fr"})
        creates = visitor.sandbox.audit.creates

    assert [one.number for one in creates] == [1, 2, 3, 4, 5]
    assert [one.acted for one in creates] == [True, False, False, False, False]
    assert [one.code for one in creates] == [1000, 1003, 1003, 1101, None]
    assert [one.credential for one in creates] == ["key", "key", "key", "wrong", "key"]
    assert [len(one.job_ids) for one in creates] == [2, 0, 0, 0, 0]
    assert [one.faults for one in creates] == [(), (), (), (), ("html",)]
    assert creates[0].payload == {"url": URL, "source_language": "en", "language": "hi,fr", "speaker_num": 1}
    assert creates[2].payload is None
    assert creates[0].at == visitor.clock()


async def test_a_token_is_told_from_a_key() -> None:
    async with visiting() as visitor:
        pair = {"clientId": "sandbox-client-id", "clientSecret": "sandbox-test-key"}
        token = (await visitor.post("/api/open/v3/getToken", pair))["token"]
        del visitor.http.headers["x-api-key"]
        for headers in ({"authorization": f"Bearer {token}"}, {}):
            await visitor.http.post(CREATE, json={"url": URL, "language": "fr"}, headers=headers)

        assert [one.credential for one in visitor.sandbox.audit.creates] == ["token", "none"]


async def test_jobs_are_shown_as_they_are_now() -> None:
    async with visiting(sigma=0, median_seconds=60) as visitor:
        job_id = (await visitor.create(lipsync=True))["data"]["_id"]
        ledger, begin = visitor.sandbox.audit, visitor.clock()
        working = ledger.job(job_id)
        visitor.clock.advance(90)
        done = ledger.job(job_id)

    assert (working.status, working.ended, working.created) == (2, None, begin)
    assert (done.status, done.started, done.ended) == (3, begin, begin + 60)
    assert (done.url, done.language, done.lipsync, done.credits, done.seconds) == (
        URL,
        "fr",
        True,
        20.0,
        16.0,
    )
    assert [(one.kind, one.amount) for one in ledger.movements] == [("locked", 20.0), ("deducted", 20.0)]
    with pytest.raises(KeyError):
        ledger.job("nothing")


async def test_polls_are_counted_per_job_the_spoiled_and_unknown_ones_too() -> None:
    async with visiting(faults=[Fault(on="status", kind="html", nth=2)]) as visitor:
        job_id = (await visitor.create())["data"]["_id"]
        begin = visitor.clock()
        for _ in range(3):
            await visitor.http.get(STATUS, params={"video_model_id": job_id})
            visitor.clock.advance(10)
        await visitor.status("nothing")
        ledger = visitor.sandbox.audit

    assert ledger.polls(job_id) == (begin, begin + 10, begin + 20)
    assert ledger.polls("never") == ()
    assert ledger.polled == {job_id: 3, "nothing": 1}
    assert ledger.requests == {"create": 1, "status": 4}


async def test_a_double_payment_is_found() -> None:
    async with visiting() as visitor:
        await visitor.create("hi,fr", webhookUrl="")
        await visitor.create("fr", webhookUrl="http://127.0.0.1:9/other")
        await visitor.create("fr", speaker_num=2)
        await visitor.create("ja")
        for _ in range(2):
            await visitor.post(LIPSYNC, {"video_url": URL, "audio_url": "https://example.com/a.wav"})
        twice = visitor.sandbox.audit.paid_twice()

    assert [[(job.kind, job.language) for job in group] for group in twice] == [
        [("translate", "fr")] * 2,
        [("lipsync", "")] * 2,
    ]


async def test_a_failed_job_need_not_count_as_paid() -> None:
    async with visiting(failure_rate=1) as visitor:
        for _ in range(2):
            await visitor.create()
        visitor.clock.advance(100_000)
        ledger = visitor.sandbox.audit

    assert len(ledger.paid_twice()) == 1
    assert ledger.paid_twice(count_failed=False) == ()


async def test_all_of_it_can_be_exported() -> None:
    async with visiting() as visitor:
        await visitor.finished()
        exported = json.loads(visitor.sandbox.audit.export())

    assert set(exported) == {
        "creates", "jobs", "polls", "requests", "tokens_issued", "served", "leaks", "webhooks", "movements",
        "credits", "paid_twice",
    }  # fmt: skip
    assert exported["jobs"][0]["status"] == 3
    assert exported["credits"]["spent"] == 4


def test_reading_the_ledger_needs_no_server() -> None:
    ledger = Sandbox(media=False).audit

    assert (ledger.creates, ledger.jobs, ledger.webhooks, ledger.served) == ((), (), (), ())
    assert ledger.credits.available == 100_000
