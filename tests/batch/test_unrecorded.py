"""Ids of paid jobs that the journal can't take: logged, told, tried again, and never "not charged"."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import anyio
import pytest

from akool_async import (
    AkoolError,
    Completed,
    InDoubt,
    Journal,
    JournalReplacedError,
    JournalWriteError,
    NotSubmitted,
    Outcome,
    Request,
    State,
    Submission,
    SubmissionInDoubt,
    WrongHostError,
    open_batch,
    open_journal,
)
from akool_async._batch import post as answers
from akool_async._client import ClientSession
from akool_async._journal import EntryUpdate, database
from akool_async.cli.exit_codes import ExitCode
from tests.client.conftest import Open, video

Broken = Callable[[], JournalWriteError]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(answers, "RECORD_WITHIN", 0.05)


@contextmanager
def full_after_the_post(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, *, times: int = 10**6, error: Broken | None = None
) -> Iterator[list[str]]:
    """Let every record of a job's id fail, so many times; give the ids."""
    record, refused = journal.record, list[str]()

    async def full(*changes: EntryUpdate) -> None:
        ids = [change.job_id for change in changes if change.state is State.SUBMITTED and change.job_id]
        if ids and len(refused) < times:
            refused.extend(ids)
            raise error() if error else JournalWriteError("The journal could not be written: disk full.")
        await record(*changes)

    with monkeypatch.context() as patch:
        patch.setattr(journal, "record", full)
        yield refused


async def test_ids_are_tried_again_and_the_job_is_saved_as_if_nothing_had_been(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        with full_after_the_post(journal, monkeypatch, times=2) as refused, anyio.fail_after(55):
            async with open_batch(client, [video(1), video(2)], journal=journal) as batch:
                outcomes = [outcome async for outcome in batch]

        assert [type(outcome) for outcome in outcomes] == [Completed, Completed]
        assert len(refused) == 2
        assert journal.counts()[State.DELIVERED] == 2
        assert len(home.sandbox.audit.jobs) == 2
    warned = [line.getMessage() for line in caplog.records if line.levelno == logging.WARNING]
    assert all(any(job_id in line for line in warned) for job_id in refused)


async def test_ids_that_can_not_be_written_are_told_as_in_doubt_and_nothing_more_is_submitted(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes: list[Outcome] = []
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        requests = [video(number) for number in range(6)]
        lost = pytest.raises(JournalWriteError, match="disk full")
        with full_after_the_post(journal, monkeypatch), anyio.fail_after(55), lost:
            async with open_batch(client, requests, journal=journal, max_in_flight=2) as batch:
                async for outcome in batch:
                    outcomes.append(outcome)
                    assert outcome.key not in {one.key for one in batch.in_progress()}

        made = {job.id for job in home.sandbox.audit.jobs}
        assert journal.counts()[State.SUBMITTING] == len(made)
    doubts = [outcome for outcome in outcomes if isinstance(outcome, InDoubt)]
    assert {job_id for outcome in doubts for job_id in outcome.doubt_ids} == made
    assert len(doubts) == len(made) <= 2
    assert all("is paid" in outcome.reason for outcome in doubts)
    assert sum(isinstance(outcome, NotSubmitted) for outcome in outcomes) == 6 - len(made)
    warned = "".join(line.getMessage() for line in caplog.records if line.levelno == logging.WARNING)
    assert all(job_id in warned for job_id in made)


@pytest.mark.parametrize("released", [True, False])
async def test_a_program_that_holds_the_file_when_ids_are_to_be_written_costs_no_id(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, released: bool
) -> None:
    monkeypatch.setattr(database, "BUSY", 0.01)
    path, submit_once = tmp_path / "j.sqlite3", ClientSession.submit_once
    outcomes: list[Outcome] = []
    async with open_journal(path) as journal, fast_house() as home:
        client = await home.client()
        shell = sqlite3.connect(path, isolation_level=None)
        async with anyio.create_task_group() as tasks:

            async def release() -> None:
                await anyio.sleep(0.03)
                shell.execute("ROLLBACK")

            async def answered(session: ClientSession, request: Request) -> Submission:
                submission = await submit_once(session, request)
                shell.execute("BEGIN IMMEDIATE")
                if released:
                    tasks.start_soon(release)
                return submission

            monkeypatch.setattr(ClientSession, "submit_once", answered)
            failed = nullcontext() if released else pytest.raises(JournalWriteError, match="locked")
            with anyio.fail_after(55), failed:
                async with open_batch(client, [video(1)], journal=journal) as batch:
                    outcomes.extend(
                        [outcome async for outcome in batch] if released else [await anext(batch)]
                    )
                    await anext(batch, None)
        shell.close()

        (job,) = home.sandbox.audit.jobs
        (outcome,) = outcomes
        assert outcome.job is not None
        assert outcome.job.id == job.id
        assert isinstance(outcome, Completed if released else InDoubt)
        assert journal.counts()[State.DELIVERED if released else State.SUBMITTING] == 1


async def test_the_last_try_is_when_the_batch_is_left(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "FIRST_WAIT", 30.0)
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        with full_after_the_post(journal, monkeypatch, times=1) as refused, anyio.fail_after(55):
            async with open_batch(client, [video(1)], journal=journal):
                while not refused:
                    await anyio.sleep(0.001)

        assert journal.counts()[State.SUBMITTED] == 1
        (job,) = home.sandbox.audit.jobs
        assert journal.find_job(job.id) is not None


async def test_a_journal_that_was_deleted_ends_the_batch_at_once_with_the_ids(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "RECORD_WITHIN", 10**6)
    path = tmp_path / "j.sqlite3"
    outcomes: list[Outcome] = []
    async with open_journal(path) as journal, fast_house() as home:
        client = await home.client()

        def deleted() -> JournalWriteError:
            path.unlink(missing_ok=True)
            return JournalReplacedError(f"{path} was deleted.")

        lost = pytest.raises(JournalReplacedError)
        with full_after_the_post(journal, monkeypatch, times=1, error=deleted), anyio.fail_after(55), lost:
            async with open_batch(client, [video(1)], journal=journal) as batch:
                async for outcome in batch:
                    outcomes.append(outcome)

        (job,) = home.sandbox.audit.jobs
    (doubt,) = outcomes
    assert isinstance(doubt, InDoubt)
    assert doubt.doubt_ids == (job.id,)


async def test_every_paid_id_is_told_when_the_journal_is_deleted_under_a_batch(
    fast_house: Open, tmp_path: Path
) -> None:
    path, told, unsent = tmp_path / "j.sqlite3", set[str](), 0
    async with open_journal(path) as journal, fast_house() as home:
        client = await home.client()
        requests = [video(number) for number in range(8)]
        with anyio.fail_after(55), pytest.raises(JournalReplacedError):
            async with open_batch(client, requests, journal=journal, max_in_flight=3) as batch:
                async for outcome in batch:
                    path.unlink(missing_ok=True)
                    unsent += isinstance(outcome, NotSubmitted)
                    told |= {outcome.job.id} if outcome.job else set()

        assert told == {job.id for job in home.sandbox.audit.jobs}
        assert unsent == 8 - len(told)


@pytest.mark.parametrize(
    "failure",
    [JournalWriteError("full"), WrongHostError("not it"), SubmissionInDoubt("lost", targets=("ja",))],
)
def test_the_command_line_says_in_doubt_and_not_failed(failure: AkoolError) -> None:
    from akool_async.cli.run_summary import OutcomeCounts, RunSummary

    counts = OutcomeCounts(expected=2)
    counts.counts["in doubt"] = 1
    summary = RunSummary(counts=counts, output=None, failure=failure)  # type: ignore[arg-type]

    assert summary.code is ExitCode.IN_DOUBT
