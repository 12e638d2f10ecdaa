"""Failures that may pass: submitted again when the caller asked for it, a bounded number of times."""

from __future__ import annotations

import logging
import re
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from akool_async import (
    AkoolClient,
    Completed,
    ConfigurationError,
    Expired,
    Failed,
    FixedSchedule,
    InDoubt,
    InvalidRequestError,
    Outcome,
    Rejected,
    Snapshot,
    State,
    Status,
    TranslationRequest,
    entry_key,
    open_batch,
    open_journal,
)
from akool_async._journal import EntryUpdate
from akool_async.sandbox import Fault
from tests.client.conftest import KEY, Open, video


async def run(client: AkoolClient, count: int = 1, **options: Any) -> list[Outcome]:
    with anyio.fail_after(55):
        async with open_batch(client, [video(number) for number in range(count)], **options) as batch:
            return [outcome async for outcome in batch]


@pytest.mark.parametrize("code", [1015, 1201, 1205, 1211])
@pytest.mark.parametrize("retries", [0, 1, 2, 3])
async def test_a_busy_vendor_is_asked_again_so_often(fast_house: Open, code: int, retries: int) -> None:
    faults = [Fault(on="create", kind="code", code=code, nth=(1, 2))]
    async with fast_house(faults=faults) as home:
        (outcome,) = await run(await home.client(), retry_transient=retries)

        assert len(home.sandbox.audit.creates) == min(retries, 2) + 1
    assert isinstance(outcome, Completed if retries >= 2 else Rejected)


async def test_a_refusal_that_stays_is_not_sent_again(fast_house: Open) -> None:
    async with fast_house(faults=[Fault(on="create", kind="code", code=1203)]) as home:
        (outcome,) = await run(await home.client(), retry_transient=5)

        assert len(home.sandbox.audit.creates) == 1
    assert isinstance(outcome, Rejected)


@pytest.mark.parametrize("retries", [0, 1, 2])
async def test_a_failed_job_is_made_again_so_often(fast_house: Open, tmp_path: Path, retries: int) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(failure_rate=1.0) as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(
                client, [video(1)], journal=journal, retry_transient=retries, max_in_flight=1
            ) as batch:
                (outcome,) = [outcome async for outcome in batch]

        assert batch.statistics().retried == retries
        assert batch.statistics().failed == 1
        assert len(home.sandbox.audit.jobs) == retries + 1
        assert journal.counts()[State.FAILED] == 1
    assert isinstance(outcome, Failed)


@pytest.mark.parametrize("late", [False, True], ids=["asked for at once", "asked for once it had failed"])
@pytest.mark.parametrize("retries", [0, 1, 2])
async def test_a_failed_job_of_an_earlier_run_is_made_again_so_often(
    fast_house: Open, tmp_path: Path, retries: int, late: bool
) -> None:
    """It is followed before the source comes to it, and may have failed by then."""
    async with fast_house(failure_rate=1.0) as home:
        client = await home.client(schedule=FixedSchedule(interval=0.02))
        (job,) = (await client.submit(video(1))).accepted
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            await journal.intend(video(1))
            key, now = entry_key(video(1), "ja"), datetime.now(UTC)
            await journal.record(
                EntryUpdate(key=key, target="ja", state=State.SUBMITTED, job_id=job.id, submitted_at=now)
            )

            async def source() -> AsyncIterator[TranslationRequest]:
                while late and not journal.counts()[State.FAILED]:
                    await anyio.sleep(0.01)
                yield video(1)

            options: dict[str, Any] = {"download_to": tmp_path / "out", "retry_transient": retries}
            with anyio.fail_after(55):
                async with open_batch(client, source(), journal=journal, **options) as batch:
                    (outcome,) = [outcome async for outcome in batch]
            assert journal.counts()[State.FAILED] == 1
            assert batch.statistics().retried == len(batch.replaced) == retries
        assert len(home.sandbox.audit.jobs) == retries + 1
    assert isinstance(outcome, Failed)
    assert outcome.request == video(1)


async def test_a_failed_job_is_made_again_within_the_bound_of_credits(fast_house: Open) -> None:
    async with fast_house(failure_rate=1.0, video_seconds=16.0) as home:
        outcomes = await run(await home.client(), 3, retry_transient=50, max_credits=12.0, max_in_flight=2)

        charged = [job for job in home.sandbox.audit.jobs if job.status != Status.FAILED]
        assert sum(job.credits for job in charged) <= 12.0 + 4.0
    assert {type(outcome) for outcome in outcomes} == {Failed}


@pytest.mark.parametrize("retries", [-1, 1.5, True])
async def test_a_number_of_retries_that_is_none_is_refused(fast_house: Open, retries: Any) -> None:
    async with fast_house() as home:
        with pytest.raises(InvalidRequestError, match="retry_transient"):
            open_batch(await home.client(), [], retry_transient=retries)


async def test_a_duplicate_is_evidence_that_the_first_job_was_made(fast_house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal:
        async with fast_house(faults=[Fault(on="create", kind="reset_after")]) as home:
            await run(await home.client(), journal=journal)
        async with fast_house(faults=[Fault(on="create", kind="code", code=1202)]) as home:
            (outcome,) = await run(await home.client(), journal=journal, on_in_doubt="resubmit")

        assert journal.counts()[State.IN_DOUBT] == 1
        entry = journal.get(outcome.key, "ja")
    assert isinstance(outcome, InDoubt)
    assert entry is not None
    assert "the POST before made a job" in entry.reason


# No time that the vendor names makes a result expire early.


@pytest.mark.parametrize("days", [0, 7, 9])
async def test_a_result_expires_by_our_own_clock_too(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    long_ago = datetime(1970, 1, 21, tzinfo=UTC)  # what a time in seconds is, read as milliseconds
    monkeypatch.setattr(Snapshot, "expires_at", property(lambda _: long_ago))
    request, now = video(0), datetime.now(UTC)
    key = entry_key(request, "ja")
    async with open_journal(tmp_path / "j.sqlite3") as journal:
        async with fast_house(faults=[Fault(on="cdn", kind="http", status=404)]) as home:
            client = await home.client()
            (job,) = (await client.submit(request)).accepted
            await journal.intend(request)
            made = EntryUpdate(
                key=key,
                target="ja",
                state=State.SUBMITTED,
                job_id=job.id,
                created_at=long_ago,
                submitted_at=now - timedelta(days=days),
            )
            await journal.record(made)
            (outcome,) = await run(client, journal=journal, download_to=tmp_path / "out")

        assert isinstance(outcome, Expired) is (days == 9)
        assert journal.counts()[State.EXPIRED] == (days == 9)


# What the log says.


async def test_each_paid_job_is_in_the_log(
    fast_house: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "akool_async")
    async with fast_house() as home:
        await run(await home.client(), 3, download_to=tmp_path)
        ids = {job.id for job in home.sandbox.audit.jobs}

    lines = [record.getMessage() for record in caplog.records]
    for start in ("Submitted", "Job"):
        assert {
            re.findall(r"[Jj]ob ([0-9a-f]{24})", line)[0] for line in lines if line.startswith(start)
        } == ids
    assert sum(line.startswith("The result of") for line in lines) == 3


@pytest.mark.parametrize(
    "signals",
    [
        [signal.SIGINT, signal.SIGKILL],
        [signal.SIGSTOP],
        [0],
        [-1],
        [1000],
        [True],
        "SIGINT",
        [None],
        [2.0],
        2,
    ],
    ids=str,
)
async def test_what_is_no_signal_to_be_handled_is_refused_before_anything_is_sent(
    fast_house: Open, signals: Any
) -> None:
    before = signal.getsignal(signal.SIGINT)
    async with fast_house() as home:
        client = await home.client()
        with pytest.raises(ConfigurationError, match="drain_signals"):
            open_batch(client, [video(1)], drain_signals=signals)

        assert not home.sandbox.audit.creates
    assert signal.getsignal(signal.SIGINT) is before


async def test_a_signal_by_its_number_is_received(fast_house: Open) -> None:
    async with fast_house() as home:
        client = await home.client()
        async with open_batch(client, [], drain_signals=[int(signal.SIGUSR1)]) as batch:
            signal.raise_signal(signal.SIGUSR1)
            with anyio.fail_after(30):
                while not batch.stopped:
                    await anyio.sleep(0.001)


async def test_signals_outside_the_main_thread_are_refused_before_anything_is_sent(fast_house: Open) -> None:
    async with fast_house() as home:

        async def elsewhere() -> None:
            async with (
                AkoolClient(api_key=KEY, host=home.server.base_url) as client,
                open_batch(client, [video(1)], drain_signals=[signal.SIGTERM]),
            ):
                raise AssertionError("it was opened")

        with pytest.raises(ConfigurationError, match="main thread"):
            await anyio.to_thread.run_sync(anyio.run, elsewhere)

        assert not home.sandbox.audit.creates
