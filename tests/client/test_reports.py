"""What observers and the log learn of jobs that the client itself submits, awaits and downloads."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import anyio
import pytest

from akool_async import (
    AkoolError,
    Event,
    JobFailed,
    Observer,
    SavedEvent,
    SubmissionInDoubt,
    TranslationRequest,
    WaitTimeout,
    open_batch,
)
from akool_async.sandbox import Fault, Sandbox
from akool_async.testing import VirtualClock
from tests.client.conftest import House, Open, video
from tests.client.moments import held_back, still_clock, until
from tests.recorder import Recorder

LIVE = ("post_started", "post_ended", "submitted", "in_doubt", "terminal", "outcome")


async def _leave_during_post(
    home: House, request: TranslationRequest, seen: Recorder, *faults: Fault
) -> None:
    """Submit, and be cancelled once the vendor was asked; return when its answer was reported."""
    client = await home.client(observers=[seen])
    for fault in faults:
        home.sandbox.faults.add(fault)
    with held_back(home.sandbox, "create"):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.submit, request)
            await until(lambda: home.sandbox.audit.requests.get("create"))
            tasks.cancel_scope.cancel()
        assert seen.story(*LIVE, "call") == ["post_started", "post_ended"]
    await until(lambda: seen.named("submitted") or seen.named("in_doubt"))


@pytest.mark.parametrize(
    ("request_of", "name"),
    [
        (video(key="order-4711", targets="ja,fr"), "order-4711 (ja, fr)"),
        (video(url="https://example.com/a.mp4?X-Amz-Signature=canary"), "https://example.com/a.mp4?… (ja)"),
    ],
    ids=["key", "url"],
)
async def test_the_answer_to_a_cancelled_callers_post_is_reported_by_name(
    house: Open, caplog: pytest.LogCaptureFixture, request_of: TranslationRequest, name: str
) -> None:
    seen = Recorder()
    async with house() as home:
        await _leave_during_post(home, request_of, seen)
        jobs = {job.language: job.id for job in home.sandbox.audit.jobs}

    (warning,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert f"for {name}," in warning
    assert all(f"{job} ({language})" in warning for language, job in jobs.items())
    assert "canary" not in caplog.text
    assert {event.target: event.job_id for event in seen.named("submitted")} == jobs
    (ended,) = seen.named("post_ended")
    assert (ended.error, ended.job_ids) == ("given up", ())
    (call,) = seen.named("call")
    assert (call.http_status, call.result) == (200, "HTTP 200, code 1000")


async def test_the_doubt_of_a_cancelled_callers_post_is_reported_by_name(
    house: Open, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Recorder()
    async with house() as home:
        lost = Fault(on="create", kind="reset_after")
        await _leave_during_post(home, video(key="order-4711", targets="ja,fr"), seen, lost)

    (warning,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert "for order-4711 (ja, fr)," in warning
    assert SubmissionInDoubt.impact in warning
    assert [(event.key, event.target) for event in seen.named("in_doubt")] == [
        ("order-4711", "ja"),
        ("order-4711", "fr"),
    ]


async def test_a_language_that_the_answer_omits_is_reported_as_in_doubt(
    house: Open, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Recorder()
    async with house() as home:
        omitted = Fault(on="create", kind="omit_language", language="fr")
        await _leave_during_post(home, video(key="order-4711", targets="ja,fr"), seen, omitted)

    assert "in doubt, not mentioned in the answer: fr" in caplog.text.lower()
    assert [event.target for event in seen.named("submitted")] == ["ja"]
    assert [event.target for event in seen.named("in_doubt")] == ["fr"]


async def test_a_post_that_the_event_loop_ends_after_its_caller_is_reported_as_in_doubt(
    fast_house: Open, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Recorder()
    async with fast_house() as home:
        client = await home.client(observers=[seen])
        with held_back(home.sandbox, "create"):
            caller = asyncio.create_task(client.submit(video(key="order-4711")))
            await until(lambda: home.sandbox.audit.requests)
            caller.cancel()
            await asyncio.wait([caller])
            for task in asyncio.all_tasks():
                if "ShieldedCall" in task.get_name():
                    task.cancel()
            await until(lambda: seen.named("in_doubt"))

    assert "for order-4711 (ja)," in caplog.text
    assert SubmissionInDoubt.impact in caplog.text


async def test_an_observer_that_ends_the_program_hides_no_id(
    fast_house: Open, caplog: pytest.LogCaptureFixture
) -> None:
    class Ending(Observer):
        def on_event(self, event: Event) -> None:
            if event.name == "call":
                raise SystemExit(3)

    caplog.set_level(logging.INFO, "akool_async")
    async with fast_house() as home:
        client = await home.client(observers=[Ending()])
        with pytest.raises(SystemExit):
            await client.submit(video())
        (job,) = home.sandbox.audit.jobs
    assert f"job {job.id}" in caplog.text


async def test_a_translation_is_reported_like_an_entry_of_a_batch(tmp_path: Path) -> None:
    seen, clock = Recorder(), VirtualClock()
    sandbox = Sandbox(media=False, clock=clock.sandbox_time)
    async with sandbox.client(clock=clock, observers=[seen]) as client:
        done = await client.translate(video(key="talk"))
        saved = await client.download(done, into=tmp_path)

    steps = ("download_started", "download_ended", "saved")
    assert seen.story(*LIVE, *steps) == [
        "post_started",
        "submitted",
        "post_ended",
        "terminal",
        "outcome",
        *steps,
    ]
    assert [event.entries for event in seen.named("post_started")] == [(("talk", "ja"),)]
    assert [event.job_ids for event in seen.named("post_ended")] == [(done.job.id,)]
    for name in ("submitted", "terminal", "outcome", *steps):
        (event,) = seen.named(name)
        assert (event.key, event.target, event.job_id) == ("talk", "ja", done.job.id), name
    (outcome,) = seen.named("outcome")
    assert (outcome.outcome, outcome.credits) == ("Completed", done.credits)
    assert seen.named("terminal")[0].credits_used == done.credits
    assert seen.named("saved")[0].video == str(saved.video)


@pytest.mark.parametrize(
    ("fault", "story", "outcome"),
    [
        (Fault(on="create", kind="reset_after"), ["in_doubt", "post_ended", "outcome"], "InDoubt"),
        (Fault(on="create", kind="code", code=1003), ["post_ended", "outcome"], "Rejected"),
        (Fault(on="create", kind="code", code=1104), ["post_ended", "outcome"], "NotSubmitted"),
        (
            Fault(on="create", kind="job_fails"),
            ["submitted", "post_ended", "terminal", "outcome"],
            "Failed",
        ),
    ],
    ids=["doubt", "refusal", "no credits", "failed job"],
)
async def test_a_translation_that_fails_is_reported(fault: Fault, story: list[str], outcome: str) -> None:
    seen, clock = Recorder(), VirtualClock()
    sandbox = Sandbox(media=False, clock=clock.sandbox_time, faults=[fault])
    async with sandbox.client(clock=clock, observers=[seen]) as client:
        with pytest.raises((AkoolError, JobFailed)) as caught:
            await client.translate(video())

    assert seen.story(*LIVE) == ["post_started", *story]
    (ended,) = seen.named("outcome")
    assert ended.outcome == outcome
    assert ended.reason in str(caught.value)


async def test_an_impatient_submission_is_reported_too() -> None:
    seen, clock = Recorder(), VirtualClock()
    sandbox = Sandbox(media=False, clock=clock.sandbox_time)
    async with sandbox.client(clock=clock, observers=[seen]) as client:
        await client.submit(video(), patient=False)

    assert seen.story(*LIVE) == ["post_started", "submitted", "post_ended"]


async def test_the_end_of_a_job_is_reported_once_to_all_that_wait_for_it() -> None:
    seen, clock = Recorder(), VirtualClock()
    sandbox = Sandbox(media=False, clock=clock.sandbox_time)
    async with sandbox.client(clock=clock, observers=[seen]) as client:
        (job,) = (await client.submit(video())).accepted

        async def watch() -> None:
            assert [snapshot async for snapshot in client.watch(job.id)]

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.wait, job.id)
            tasks.start_soon(client.wait, job.id)
            tasks.start_soon(watch)

    (ended,) = seen.named("terminal")
    assert (ended.key, ended.target, ended.job_id, ended.completed) == ("", "", job.id, True)
    assert str(ended) == f"Job {job.id} is completed."


async def test_a_wait_for_a_job_of_a_batch_reports_nothing_twice() -> None:
    seen, clock = Recorder(), VirtualClock()
    sandbox = Sandbox(media=False, clock=clock.sandbox_time)
    async with (
        sandbox.client(clock=clock, observers=[seen]) as client,
        open_batch(client, [video(key="talk")]) as batch,
        anyio.create_task_group() as tasks,
    ):
        while not seen.named("followed"):
            await clock.sleep(1)
        tasks.start_soon(client.wait, seen.named("followed")[0].job_id)
        assert [outcome.key async for outcome in batch] == ["talk"]

    for name in ("submitted", "terminal", "outcome"):
        assert [event.key for event in seen.named(name)] == ["talk"]


async def test_a_wait_that_is_given_up_reports_no_end() -> None:
    seen, clock = Recorder(), VirtualClock()
    sandbox = Sandbox(media=False, clock=clock.sandbox_time, median_seconds=7200, sigma=0)
    async with sandbox.client(clock=clock, observers=[seen]) as client:
        with pytest.raises(WaitTimeout):
            await client.translate(video(), give_up_after=60)

    assert seen.story(*LIVE) == ["post_started", "submitted", "post_ended"]


async def test_a_cancelled_wait_names_what_it_waited_for(
    house: Open, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Recorder()
    async with house(clock=still_clock()) as home:
        client = await home.client(observers=[seen])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.translate, video(key="order-4711"))
            await until(lambda: seen.named("post_ended"))
            tasks.cancel_scope.cancel()

    (job,) = home.sandbox.audit.jobs
    assert f"job {job.id} of order-4711 (ja)" in caplog.text


@pytest.mark.parametrize(
    ("key", "target", "named"),
    [("talk", "ja", "talk (ja)"), ("talk", "", "talk"), ("", "", "job 65f0")],
    ids=["a translation", "a lip-sync", "a job alone"],
)
def test_a_line_names_only_what_is_known(key: str, target: str, named: str) -> None:
    event = SavedEvent(key=key, target=target, job_id="65f0", video="out/talk.mp4")

    assert str(event) == f"The result of {named} is saved in out/talk.mp4."
