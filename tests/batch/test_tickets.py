"""Requests submitted one by one: durable when `submit` returns, awaited by ticket, resumed after a crash."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from akool_async import (
    AuthenticationError,
    BatchClosedError,
    Completed,
    ConfigurationError,
    Failed,
    InDoubt,
    InvalidRequestError,
    JournalWriteError,
    LipSyncRequest,
    NotSubmitted,
    RetryPolicy,
    State,
    StopCause,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async._clock import SystemClock
from akool_async.sandbox import Fault, Sandbox
from tests.batch.seam import Telling
from tests.client.conftest import KEY, Open, video
from tests.client.moments import still_clock


async def test_a_ticket_gives_the_outcome(house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, house() as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal, download_to=tmp_path / "out") as batch:
                tickets = [await batch.submit(video(number)) for number in range(5)]
                outcomes = [await ticket.outcome() for ticket in tickets]
                again = await batch.outcome(*tickets[0].names[0])

    assert all(isinstance(outcome, Completed) and outcome.saved.video.exists() for outcome in outcomes)
    assert [outcome.request.url for outcome in outcomes] == [video(number).url for number in range(5)]
    assert again.job.id == outcomes[0].job.id


async def test_what_was_submitted_is_in_the_journal_when_submit_returns(
    fast_house: Open, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(clock=still_clock()) as home:
        client = await home.client()
        async with open_batch(client, journal=journal, max_in_flight=1) as batch:
            for number in range(300):
                ticket = await batch.submit(video(number))
                entry = journal.get(*ticket.names[0])
                assert entry is not None
            assert batch.statistics().pulled <= 3
        async with open_batch(client, [], journal=journal) as other:
            assert [outcome async for outcome in other] == []

        assert journal.counts()[State.PLANNED] >= 297
        assert len(home.sandbox.audit.jobs) <= 2


async def test_the_next_run_works_on_what_is_left(house: Open, tmp_path: Path) -> None:
    names = []
    async with house() as home:
        client = await home.client()
        async with (
            open_journal(tmp_path / "j.sqlite3") as journal,
            open_batch(client, journal=journal, max_in_flight=1) as batch,
        ):
            for number in range(8):
                names += (await batch.submit(video(number))).names
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            with anyio.fail_after(55):
                async with open_batch(client, journal=journal) as batch:
                    outcomes = [await batch.outcome(*name) for name in names]

        assert len(home.sandbox.audit.jobs) == 8
        assert home.sandbox.audit.paid_twice() == ()
    assert all(isinstance(outcome, Completed) for outcome in outcomes)


async def test_what_is_left_waits_to_be_submitted_again_where_that_is_wanted(
    fast_house: Open, tmp_path: Path
) -> None:
    async with fast_house() as home:
        client = await home.client()
        async with (
            open_journal(tmp_path / "j.sqlite3") as journal,
            open_batch(client, journal=journal, max_in_flight=1) as batch,
        ):
            for number in range(6):
                await batch.submit(video(number))
        before = len(home.sandbox.audit.jobs)
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            with anyio.fail_after(55):
                async with open_batch(client, journal=journal, resume_planned=False) as batch:
                    await (await batch.submit(video(6))).outcome()
                    assert journal.counts()[State.PLANNED] == 6 - before
                    await (await batch.submit(video(5))).outcome()
                    assert journal.counts()[State.PLANNED] == 5 - before

        assert len(home.sandbox.audit.jobs) == before + 2


async def test_several_languages_and_lip_syncs(fast_house: Open, tmp_path: Path) -> None:
    lipsync = LipSyncRequest(video_url="https://example.com/v.mp4", audio_url="https://example.com/a.wav")
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal) as batch:
                ticket = await batch.submit(video(1, targets="ja,fr", key="talk"))
                other = await batch.submit(lipsync)
                with pytest.raises(InvalidRequestError, match="outcomes"):
                    await ticket.outcome()
                outcomes = await ticket.outcomes()
                assert isinstance(await other.outcome(), Completed)
                assert (await batch.outcome("talk", "fr")).target == "fr"

    assert [outcome.target for outcome in outcomes] == ["ja", "fr"]


async def test_the_same_request_is_paid_once(fast_house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal) as batch:
                outcomes = []
                for _ in range(3):
                    ticket = await batch.submit(video(1))
                    outcomes.append(await ticket.outcome())
                with pytest.raises(InvalidRequestError, match="other work"):
                    await batch.submit(video(2, key=ticket.names[0][0]))

        assert len(home.sandbox.audit.jobs) == 1
    assert len({outcome.job.id for outcome in outcomes}) == 1


async def test_a_signed_url_is_sent_by_this_run_alone(
    fast_house: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    signed = video(1, url="https://example.com/1.mp4?X-Amz-Signature=secret", key="one")
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        async with open_batch(client, journal=journal, max_credits=0.001) as batch:
            await batch.submit(video(0))
            await batch.submit(signed)
            with anyio.fail_after(55):
                while batch.stop_cause is not StopCause.BUDGET:
                    await anyio.sleep(0.005)
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal) as batch:
                unsent = await batch.outcome("one", "ja")
                assert isinstance(unsent, NotSubmitted)
                assert "one can't be sent" in caplog.text
                assert len(home.sandbox.audit.jobs) <= 2
                outcome = await (await batch.submit(signed)).outcome()

        assert any("X-Amz-Signature" in job.url for job in home.sandbox.audit.jobs)
    assert isinstance(outcome, Completed)


async def test_a_ticket_outlasts_a_stop_for_credits(fast_house: Open, tmp_path: Path) -> None:
    async with (
        open_journal(tmp_path / "j.sqlite3") as journal,
        fast_house(faults=[Fault(on="create", kind="code", code=1104, nth=2)]) as home,
    ):
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal, max_submits=1, max_in_flight=1) as batch:
                tickets = [await batch.submit(video(number)) for number in range(4)]
                await tickets[0].outcome()
                while batch.stop_cause is not StopCause.CREDITS:
                    await anyio.sleep(0.005)
                batch.resume_submitting()
                outcomes = [await ticket.outcome() for ticket in tickets]

    assert all(isinstance(outcome, Completed) for outcome in outcomes)


@pytest.mark.parametrize("refused", ["create", "status"])
async def test_a_service_goes_on_with_another_key(
    fast_house: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture, refused: str
) -> None:
    faults = [Fault(on=refused, kind="code", code=1101, limit=1)]
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(faults=faults) as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(
                client, journal=journal, download_to=tmp_path / "out", max_in_flight=2
            ) as batch:
                tickets = [await batch.submit(video(number)) for number in range(3)]
                while batch.stop_cause is not StopCause.CREDENTIALS:
                    await anyio.sleep(0.005)
                (warned,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
                assert warned.startswith("Submitted requests wait for batch.resume_submitting(): ")
                tickets.append(await batch.submit(video(3)))
                client.replace_credentials(api_key=KEY)
                batch.resume_submitting()
                outcomes = [await ticket.outcome() for ticket in tickets]
                assert batch.statistics().in_flight == 0
                batch.drain()
                async for _ in batch:  # ends, and raises nothing any more
                    pass

        assert len(home.sandbox.audit.jobs) == 4
        assert home.sandbox.audit.paid_twice() == ()
    assert all(isinstance(outcome, Completed) and outcome.saved.video.exists() for outcome in outcomes)


async def test_a_job_whose_polls_were_refused_has_its_slot_again(fast_house: Open, tmp_path: Path) -> None:
    faults = [Fault(on="status", kind="code", code=1101, limit=1)]
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(faults=faults) as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal, max_in_flight=1) as batch:
                tickets = [await batch.submit(video(number)) for number in range(3)]
                while batch.stop_cause is None:
                    await anyio.sleep(0.005)
                before = batch.statistics().in_flight
                batch.resume_submitting()
                after = batch.statistics().in_flight  # before anything else can be sent
                for ticket in tickets:
                    assert isinstance(await ticket.outcome(), Completed)

    assert after == before + 1


async def test_a_catalog_whose_key_is_refused_ends_and_raises_it(fast_house: Open) -> None:
    faults = [Fault(on="create", kind="code", code=1101)]
    async with fast_house(faults=faults) as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, [video(1), video(2)]) as batch:
                outcomes = []
                with pytest.raises(AuthenticationError):
                    async for outcome in batch:
                        outcomes.append(outcome)
                assert batch.stop_cause is StopCause.CREDENTIALS

    assert [type(outcome) for outcome in outcomes] == [NotSubmitted, NotSubmitted]


async def test_nobody_waits_for_ever(fast_house: Open, tmp_path: Path) -> None:
    errors = []
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(time_scale=1.0) as home:

        async def wait(ticket: Any) -> None:
            try:
                await ticket.outcome()
            except BatchClosedError as error:
                errors.append(error)

        client = await home.client()
        async with anyio.create_task_group() as tasks:
            with anyio.fail_after(55):
                async with open_batch(client, journal=journal, max_in_flight=1) as batch:
                    for number in range(3):
                        tasks.start_soon(wait, await batch.submit(video(number)))
                    await anyio.wait_all_tasks_blocked()
        with pytest.raises(BatchClosedError):
            await batch.submit(video(9))

    assert len(errors) == 3


async def test_draining_finishes_what_is_in_flight_and_ends_the_iteration(
    fast_house: Open, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(time_scale=1e-6) as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal, max_in_flight=2) as batch:
                for number in range(50):
                    await batch.submit(video(number))
                home.sandbox.clock.scale = 2000.0  # nothing has ended before all were submitted
                outcomes = []
                async for outcome in batch:
                    outcomes.append(outcome)
                    batch.drain("enough")

        jobs = len(home.sandbox.audit.jobs)
        assert 0 < jobs < 50
        assert journal.counts()[State.DELIVERED] == jobs
        assert journal.counts()[State.PLANNED] == 50 - jobs
    assert all(isinstance(outcome, Completed | NotSubmitted) for outcome in outcomes)


async def test_a_batch_that_nobody_iterates_over_does_not_stall(fast_house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal, max_in_flight=2) as batch:
                tickets = [await batch.submit(video(number)) for number in range(30)]
                await tickets[-1].outcome()

        assert journal.counts()[State.DELIVERED] == 30


async def test_failures_and_doubts_come_by_ticket(fast_house: Open, tmp_path: Path) -> None:
    async with (
        open_journal(tmp_path / "j.sqlite3") as journal,
        fast_house(faults=[Fault(on="create", kind="reset_after", nth=2)], failure_rate=1.0) as home,
    ):
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal, max_submits=1) as batch:
                tickets = [await batch.submit(video(number)) for number in range(2)]
                outcomes = {type(await ticket.outcome()) for ticket in tickets}

    assert outcomes == {Failed, InDoubt}


async def test_a_batch_without_a_journal_takes_no_requests(fast_house: Open, tmp_path: Path) -> None:
    async with fast_house() as home:
        client = await home.client()
        with pytest.raises(ConfigurationError, match="journal"):
            open_batch(client)
        async with open_batch(client, []) as batch:
            with pytest.raises(RuntimeError, match="opened with requests"):
                await batch.submit(video(1))
        async with (
            open_journal(tmp_path / "j.sqlite3") as journal,
            open_batch(client, journal=journal) as batch,
        ):
            with pytest.raises(InvalidRequestError, match="no entry"):
                await batch.outcome("nobody", "ja")


# What may not be paid twice, lost, or waited for in vain.


async def test_work_under_another_key_is_refused_before_it_is_entered(house: Open, tmp_path: Path) -> None:
    async with house() as home:
        client = await home.client()
        for _ in range(2):
            async with (
                open_journal(tmp_path / "j.sqlite3") as journal,
                open_batch(client, journal=journal) as batch,
            ):
                with anyio.fail_after(55):
                    await (await batch.submit(video(1, key="a"))).outcome()
                    with pytest.raises(InvalidRequestError, match="another key"):
                        await batch.submit(video(1, key="b"))
                    await (await batch.submit(video(2))).outcome()
                assert journal.get("b", "ja") is None

        assert len(home.sandbox.audit.jobs) == 2


async def test_what_was_refused_as_a_duplicate_is_refused_again(fast_house: Open) -> None:
    async with fast_house() as home:
        client = await home.client()
        requests = [video(1, key="a"), video(1, key="b"), video(1, key="b")]
        with anyio.fail_after(55):
            async with open_batch(client, requests) as batch:
                outcomes = [outcome async for outcome in batch]

        assert len(home.sandbox.audit.jobs) == 1
    assert sum(isinstance(outcome, NotSubmitted) for outcome in outcomes) == 2


async def test_a_url_with_another_query_is_refused_before_it_is_entered(
    fast_house: Open, tmp_path: Path
) -> None:
    url = "https://example.com/1.mp4"
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        async with open_batch(client, journal=journal) as batch:
            await batch.submit(video(1, url=f"{url}?h=1"))
            with pytest.raises(InvalidRequestError, match="one video signed twice"):
                await batch.submit(video(1, url=f"{url}?h=2"))
            await batch.submit(video(1, url=f"{url}?h=2", key="mine"))
            assert len([entry async for entry in journal.entries()]) == 2


async def test_of_two_orders_under_one_key_one_is_refused(house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, house() as home:
        client = await home.client()
        got: dict[int, str] = {}

        async def order(number: int) -> None:
            try:
                got[number] = (await (await batch.submit(video(number, key="k"))).outcome()).request.url
            except InvalidRequestError:
                got[number] = "refused"

        with anyio.fail_after(55):
            async with open_batch(client, journal=journal) as batch, anyio.create_task_group() as tasks:
                for number in (1, 2):
                    tasks.start_soon(order, number)

    assert sorted(got.values()) in ([video(1).url, "refused"], [video(2).url, "refused"])
    assert all(told in ("refused", video(number).url) for number, told in got.items())


async def test_a_signed_order_outlasts_a_stop_for_credits(fast_house: Open, tmp_path: Path) -> None:
    signed = video(1, url="https://example.com/1.mp4?X-Amz-Signature=abc", key="k")
    faults = [Fault(on="create", kind="code", code=1104, nth=1)]
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(faults=faults) as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal) as batch:
                ticket = await batch.submit(signed)
                while batch.stop_cause is None:
                    await anyio.sleep(0.005)
                batch.resume_submitting()
                assert isinstance(await ticket.outcome(), Completed)


async def test_an_order_that_was_not_submitted_is_not_sent_unless_it_is_given_again(
    fast_house: Open, tmp_path: Path
) -> None:
    impatient = RetryPolicy(initial_delay=0.01, max_delay=0.02, deadline=0.2, throttle_deadline=0.2)
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client(retry=impatient, host="http://127.0.0.1:9")
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal) as batch:
                ticket = await batch.submit(video(1))
                first = await ticket.outcome()
                again = await ticket.outcome()
                await (await batch.submit(video(2))).outcome()
                assert batch.statistics().pulled == 2
                await (await batch.submit(video(1))).outcome()
                assert batch.statistics().pulled == 3

    assert isinstance(first, NotSubmitted)
    assert again == first


async def test_a_failure_after_a_stop_for_credits_ends_the_batch(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = still_clock()
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(clock=clock) as home:
        client = await home.client()

        async def broken(*_: Any) -> None:
            raise JournalWriteError("The disk is gone.")

        with anyio.fail_after(55):
            async with open_batch(client, journal=journal, max_credits=4) as batch:
                ticket = await batch.submit(video(1))
                await batch.submit(video(2))
                while batch.stop_cause is not StopCause.BUDGET:
                    await anyio.sleep(0.005)
                monkeypatch.setattr(journal, "record", broken)
                clock.advance(3600.0)
                with pytest.raises(BatchClosedError):
                    await ticket.outcome()
                assert batch.stop_cause is StopCause.FAILURE
                with pytest.raises(RuntimeError, match="disk is gone"):
                    batch.resume_submitting()


async def test_a_doubt_that_made_no_job_is_sent_when_it_is_given_again(
    fast_house: Open, tmp_path: Path
) -> None:
    faults = [Fault(on="create", kind="reset_before", nth=1)]
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(faults=faults) as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal) as batch:
                doubt = await (await batch.submit(video(1, key="k"))).outcome()
                assert isinstance(doubt, InDoubt)
                await journal.resolve("k", "ja", not_made=True)
                assert isinstance(await (await batch.submit(video(1, key="k"))).outcome(), Completed)


@pytest.mark.parametrize("retry_failed", [False, True])
async def test_what_failed_is_paid_again_only_where_that_is_wanted(
    fast_house: Open, tmp_path: Path, *, retry_failed: bool
) -> None:
    async with fast_house(faults=[Fault(on="create", kind="job_fails", nth=1)]) as home:
        client = await home.client()
        for _ in range(2):
            async with (
                open_journal(tmp_path / "j.sqlite3") as journal,
                open_batch(client, journal=journal, retry_failed=retry_failed) as batch,
            ):
                with anyio.fail_after(55):
                    outcome = await (await batch.submit(video(1))).outcome()

        assert len(home.sandbox.audit.jobs) == 1 + retry_failed
    assert isinstance(outcome, Completed if retry_failed else Failed)


async def test_a_result_that_could_not_be_saved_is_fetched_when_it_is_given_again(
    fast_house: Open, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        home.sandbox.faults.add(gone := Fault(on="cdn", kind="http", status=404))
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal, download_to=tmp_path / "out") as batch:
                unsaved = await (await batch.submit(video(1))).outcome()
                home.sandbox.faults.remove(gone)
                saved = await (await batch.submit(video(1))).outcome()

        assert len(home.sandbox.audit.jobs) == 1
    assert isinstance(unsaved, Completed)
    assert unsaved.saved is None
    assert isinstance(saved, Completed)
    assert saved.saved is not None


async def test_a_retry_outlasts_a_stop_for_credits(fast_house: Open, tmp_path: Path) -> None:
    faults = [
        Fault(on="create", kind="job_fails", nth=1),
        Fault(on="create", kind="code", code=1104, nth=2),
    ]
    async with fast_house(faults=faults) as home:
        client = await home.client()
        for retry_failed in (False, True):
            async with (
                open_journal(tmp_path / "j.sqlite3") as journal,
                open_batch(client, journal=journal, retry_failed=retry_failed) as batch,
            ):
                with anyio.fail_after(55):
                    ticket = await batch.submit(video(1))
                    if retry_failed:
                        while batch.stop_cause is None:
                            await anyio.sleep(0.005)
                        batch.resume_submitting()
                    outcome = await ticket.outcome()

    assert isinstance(outcome, Completed)


async def test_many_signed_orders_are_all_sent(house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, house(max_jobs=100) as home:
        client = await home.client()
        outcomes = []

        async def order(number: int) -> None:
            url = f"https://example.com/{number}.mp4?sig=abc&se=1"
            outcomes.append(await (await batch.submit(video(number, url=url))).outcome())

        with anyio.fail_after(55):
            async with (
                open_batch(client, journal=journal, max_in_flight=20) as batch,
                anyio.create_task_group() as tasks,
            ):
                for number in range(60):
                    tasks.start_soon(order, number)

        assert len(home.sandbox.audit.jobs) == 60
        assert not batch._submitted._signed
    assert all(isinstance(outcome, Completed) for outcome in outcomes)


async def test_nothing_is_taken_after_draining(fast_house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(clock=still_clock()) as home:
        client = await home.client()
        async with open_batch(client, journal=journal) as batch:
            await batch.submit(video(1))
            while not home.sandbox.audit.jobs:
                await anyio.sleep(0.005)
            batch.drain("Enough.")
            with pytest.raises(BatchClosedError, match="Enough"):
                await batch.submit(video(2))

        assert journal.counts()[State.PLANNED] == 0


async def test_an_iteration_that_was_left_does_not_stall_the_batch(fast_house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal, max_in_flight=2) as batch:
                tickets = [await batch.submit(video(number)) for number in range(12)]
                await anext(batch)
                for ticket in tickets:
                    assert isinstance(await ticket.outcome(), Completed)
                assert not batch._submitted._open_ended


# Doubts that the caller resolves while the batch runs.


@pytest.mark.parametrize("stopped", [False, True], ids=["submitting", "stopped"])
async def test_a_job_that_the_caller_names_is_followed_at_once(
    fast_house: Open, tmp_path: Path, stopped: bool
) -> None:
    faults = [Fault(on="create", kind="reset_after", nth=1)]
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(faults=faults) as home:
        client = await home.client()
        with anyio.fail_after(55):
            options = {"download_to": tmp_path / "out", "max_doubts": 1 if stopped else 3}
            async with open_batch(client, journal=journal, **options) as batch:
                first = await (await batch.submit(video(1, key="k"))).outcome()
                assert (batch.stop_cause is StopCause.DOUBTS) is stopped
                job = home.sandbox.audit.jobs[0].id
                await journal.resolve("k", "ja", job_id=job, snapshot=await client.status(job))
                then = await batch.outcome("k", "ja")

        assert len(home.sandbox.audit.jobs) == 1
    assert isinstance(first, InDoubt)
    assert isinstance(then, Completed)
    assert then.saved.video.exists()


class LongWaits(SystemClock):
    """A clock whose long waits end when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.over = anyio.Event()

    async def sleep(self, seconds: float) -> None:
        await (self.over.wait() if seconds > 500 else super().sleep(seconds))


async def test_a_job_that_the_caller_names_is_followed_where_its_callback_is_awaited(
    fast_house: Open, tmp_path: Path
) -> None:
    faults, clock = [Fault(on="create", kind="reset_after", nth=1)], LongWaits()
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(faults=faults) as home:
        client = await home.client(clock=clock)
        with anyio.fail_after(55):
            async with open_batch(
                client,
                journal=journal,
                webhook_url="https://example.com/hook",
                callbacks=Telling(),
                webhook_grace=1000.0,
            ) as batch:
                ticket = await batch.submit(video(1, key="k"))
                while journal.counts()[State.IN_DOUBT] == 0:
                    await anyio.sleep(0.005)
                await journal.resolve("k", "ja", job_id=home.sandbox.audit.jobs[0].id)
                clock.over.set()
                assert isinstance(await ticket.outcome(), Completed)


async def test_what_the_caller_says_was_not_made_is_no_doubt_and_is_sent_when_it_is_given_again(
    fast_house: Open, tmp_path: Path
) -> None:
    faults = [Fault(on="create", kind="reset_after", nth=1)]
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(faults=faults) as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal) as batch:
                ticket = await batch.submit(video(1, key="k"))
                assert isinstance(await ticket.outcome(), InDoubt)
                await journal.resolve("k", "ja", not_made=True)
                told = await ticket.outcome()
                await (await batch.submit(video(2))).outcome()
                assert len(home.sandbox.audit.jobs) == 2
                assert isinstance(await (await batch.submit(video(1, key="k"))).outcome(), Completed)

    assert isinstance(told, NotSubmitted)
    assert "no job was made" in told.reason


# What is taken back before it is sent.


async def test_what_was_not_sent_can_be_cancelled(fast_house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(time_scale=1.0) as home:
        client = await home.client()
        outcomes = {}

        async def wait(number: int) -> None:
            outcomes[number] = await batch.outcome(f"k{number}", "ja")

        with anyio.fail_after(55):
            async with (
                open_batch(client, journal=journal, max_in_flight=1) as batch,
                anyio.create_task_group() as tasks,
            ):
                tickets = [await batch.submit(video(number, key=f"k{number}")) for number in range(6)]
                while not home.sandbox.audit.jobs:
                    await anyio.sleep(0.005)
                # k0 is at the vendor, k1 waits for the slot, the others are only in the journalon
                for number in (1, 5):
                    tasks.start_soon(wait, number)
                await anyio.wait_all_tasks_blocked()
                assert [await batch.cancel(f"k{n}", "ja") for n in (0, 1, 3, 5, 4)] == [False, *[True] * 4]
                with pytest.raises(InvalidRequestError, match="no entry"):
                    await batch.cancel("k3", "ja")
                with pytest.raises(InvalidRequestError, match="no entry"):
                    await batch.cancel("k2")
                while len(outcomes) < 2:
                    await anyio.sleep(0.005)
                # Asked later, a ticket has the same answer, though the journal no longer knows the entry.
                later = await tickets[4].outcome()
                assert isinstance(later, NotSubmitted)
                assert "cancelled" in later.reason
                await batch.submit(video(5, key="other"))  # it may be given again, under any key
                await batch.submit(video(3, key="k3"))
                await batch.submit(video(4, key="k4"))
                tasks.cancel_scope.cancel()
        assert all(isinstance(outcome, NotSubmitted) for outcome in outcomes.values())
        assert "cancelled" in outcomes[1].reason

        home.sandbox.engine.clock.scale = 5000.0
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal) as batch:
                for key in ("k0", "k2", "k3", "k4", "other"):
                    assert isinstance(await batch.outcome(key, "ja"), Completed)
        assert sorted(job.url[-5] for job in home.sandbox.audit.jobs) == ["0", "2", "3", "4", "5"]
        assert home.sandbox.audit.paid_twice() == ()


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancelled_cancel_takes_back_what_it_has_begun_to(
    fast_house: Open, tmp_path: Path, turns: int
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(time_scale=1.0) as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal, max_in_flight=1) as batch:
                tickets = [await batch.submit(video(number, key=f"k{number}")) for number in range(4)]
                while not home.sandbox.audit.jobs:
                    await anyio.sleep(0.005)
                for number in (1, 3):  # one waits for the slot, one is in the journal only
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(batch.cancel, f"k{number}", "ja")
                        for _ in range(turns + 1):
                            await anyio.lowlevel.checkpoint()
                        tasks.cancel_scope.cancel()
                    while journal.get(f"k{number}", "ja") is not None:
                        await anyio.sleep(0.005)
                    assert "cancelled" in (await tickets[number].outcome()).reason
                await batch.submit(video(3, key="other"))
                home.sandbox.engine.clock.scale = 5000.0
                for key in ("k0", "k2", "other"):
                    assert isinstance(await batch.outcome(key, "ja"), Completed)

        assert sorted(job.url[-5] for job in home.sandbox.audit.jobs) == ["0", "2", "3"]


async def test_of_two_that_cancel_at_once_one_has_taken_it_back(fast_house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(time_scale=1.0) as home:
        client, told = await home.client(), list[bool]()

        async def cancel() -> None:
            told.append(await batch.cancel("k1", "ja"))

        with anyio.fail_after(55):
            async with open_batch(client, journal=journal, max_in_flight=1) as batch:
                tickets = [await batch.submit(video(number, key=f"k{number}")) for number in range(3)]
                while not home.sandbox.audit.jobs:
                    await anyio.sleep(0.005)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(cancel)
                    tasks.start_soon(cancel)
                home.sandbox.engine.clock.scale = 5000.0
                await tickets[2].outcome()

        assert sorted(told) == [False, True]
        assert sorted(job.url[-5] for job in home.sandbox.audit.jobs) == ["0", "2"]


async def test_what_may_have_been_paid_can_not_be_cancelled(fast_house: Open, tmp_path: Path) -> None:
    faults = [Fault(on="create", kind="reset_after", nth=1), Fault(on="create", kind="job_fails", nth=2)]
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(faults=faults) as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal, max_submits=1) as batch:
                for number in range(3):
                    ticket = await batch.submit(video(number, key=f"k{number}"))
                    await ticket.outcome()
                assert [await batch.cancel(f"k{number}", "ja") for number in range(3)] == [False] * 3
                assert len([entry async for entry in journal.entries()]) == 3


async def test_an_entry_is_cancelled_or_sent_and_never_both(fast_house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(max_jobs=100) as home:
        client = await home.client()
        taken_back = set()

        async def order(number: int) -> None:
            await batch.submit(video(number, key=f"k{number}"))
            for _ in range(number % 25):
                await anyio.lowlevel.checkpoint()
            if await batch.cancel(f"k{number}", "ja"):
                taken_back.add(video(number).url)

        with anyio.fail_after(55):
            async with open_batch(client, journal=journal, max_in_flight=50) as batch:
                async with anyio.create_task_group() as tasks:
                    for number in range(100):
                        tasks.start_soon(order, number)
                kept = [entry async for entry in journal.entries()]
                for entry in kept:
                    await batch.outcome(entry.key, "ja")

        sent = {job.url for job in home.sandbox.audit.jobs}
        assert sent == {video(number).url for number in range(100)} - taken_back
        assert len(kept) == len(sent)


# A service that is killed between "202 Accepted" and its POST.

SERVICE = """
import json, os, sys, anyio
from akool_async import AkoolClient, FixedSchedule, TranslationRequest, open_batch, open_journal

def say(line):  # in one write, also where output is not buffered: a kill in the middle would join two lines
    print(line + "\\n", end="", flush=True)

async def serve(orders):
    async with (
        AkoolClient(schedule=FixedSchedule(interval=0.02)) as client,
        open_journal("jobs.sqlite3") as journal,
        open_batch(client, journal=journal, max_in_flight=3, max_submits=1 if orders else 3) as batch,
    ):
        for url in orders:
            await batch.submit(TranslationRequest(url=url, targets="ja"))
            say(f"202 {url}")
        if orders:
            await anyio.sleep_forever()
        for name in [(entry.key, entry.target) async for entry in journal.entries()]:
            outcome = await batch.outcome(*name)
            say(f"{type(outcome).__name__} {outcome.request.url}")

for line in sys.stdin:  # a process for each line, without the price of its imports
    child = os.fork()
    if child == 0:
        anyio.run(serve, json.loads(line))
        os._exit(0)
    say(f"pid {child}")
    os.waitpid(child, 0)
    say("dead")
"""
KILLS = int(os.environ.get("AKOOL_TEST_KILLS", "6"))


@pytest.mark.parametrize("kills", [KILLS, pytest.param(100, marks=pytest.mark.thorough)])
async def test_a_service_that_is_killed_loses_no_order(tmp_path: Path, kills: int) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance, accepted, unsent = random.Random(seed), set[str](), 0
    # The first POST of a round gets no answer, so that its kill meets orders that are accepted and not sent.
    hanging = [Fault(on="create", kind="hang", acted=acted, probability=0.5) for acted in (True, False)]
    hanging.append(Fault(on="create", kind="hang", acted=True))
    sandbox = Sandbox(api_key=KEY, media=False, time_scale=2000.0, max_jobs=1000, faults=hanging)
    environment = os.environ | {"AKOOL_API_KEY": KEY, "PYTHONPATH": str(Path(__file__).parents[2])}
    async with sandbox.serve() as server:
        environment["AKOOL_API_HOST"] = server.base_url
        with subprocess.Popen(
            [sys.executable, "-c", SERVICE],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:

            def serve(orders: list[str]) -> Iterator[str]:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(json.dumps(orders) + "\n")
                process.stdin.flush()
                while (line := process.stdout.readline().strip()) != "dead":
                    assert line, "the service's parent is gone"
                    yield line

            def kill(round_: int) -> set[str]:
                lines = serve([f"https://example.com/{round_}-{number}.mp4" for number in range(4)])
                told, most = list[str](), chance.randrange(2, 5)
                for line in lines:
                    told.append(line)
                    if sum(each.startswith("202 ") for each in told) == most:
                        time.sleep(chance.choice([0.0, 0.001, 0.01]))
                        pid = next(each.split()[1] for each in told if each.startswith("pid "))
                        os.kill(int(pid), signal.SIGKILL)
                        break
                return {each.split()[1] for each in [*told, *lines] if each.startswith("202 ")}

            for round_ in range(kills):
                orders = await anyio.to_thread.run_sync(kill, round_)
                unsent += bool(orders - {job.url for job in sandbox.audit.jobs})
                accepted |= orders
            sandbox.faults.clear()
            last = await anyio.to_thread.run_sync(lambda: list(serve([])))
            process.stdin.close()

    ended = {line.split()[1]: line.split()[0] for line in last if not line.startswith("pid ")}
    assert unsent == kills
    assert accepted <= ended.keys()
    assert set(ended.values()) <= {"Completed", "InDoubt"}
    assert sandbox.audit.paid_twice() == ()
    print(json.dumps({kind: list(ended.values()).count(kind) for kind in set(ended.values())}))


async def test_a_key_names_no_other_work_while_the_one_before_may_still_be_sent(tmp_path: Path) -> None:
    sandbox = Sandbox(media=False, clock=still_clock())
    async with open_journal(tmp_path / "jobs.sqlite3") as journal, sandbox.client() as client:
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal, max_in_flight=1) as batch:
                await batch.submit(TranslationRequest(url="https://example.com/0.mp4", targets="ja", key="0"))
                while not sandbox.audit.jobs:
                    await anyio.sleep(0.01)
                await batch.submit(TranslationRequest(url="https://example.com/1.mp4", targets="ja", key="a"))
                while batch.statistics().pulled < 2:
                    await anyio.sleep(0.01)
                assert await batch.cancel("a", "ja")
                with pytest.raises(InvalidRequestError, match="taken back"):
                    await batch.submit(
                        TranslationRequest(url="https://example.com/2.mp4", targets="ja", key="a")
                    )

        assert [job.url for job in sandbox.audit.jobs] == ["https://example.com/0.mp4"]
        assert journal.get("a", "ja") is None
