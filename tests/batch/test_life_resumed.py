"""The life of an entry that is stopped, cancelled or left between two steps, or resumed by another run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import attrs
import pytest
from anyio.lowlevel import checkpoint

from akool_async import (
    AkoolClient,
    AkoolError,
    Completed,
    Expired,
    Failed,
    InDoubt,
    Job,
    JournalError,
    NotSubmitted,
    Outcome,
    Snapshot,
    Status,
    Submission,
    TranslationRequest,
    open_batch,
)
from akool_async._batch.batch import Batch
from akool_async._batch.entry import BatchEntry, outcome_from_journal
from akool_async._batch.state import CANCELLED
from akool_async._journal import BatchJournal, Entry, EntryUpdate
from akool_async._model import errors
from akool_async._model.responses import RESULT_LIFETIME
from akool_async._model.states import State
from akool_async._polling.poll_state import PollVerdict
from tests.batch.seam import JOB_TAKES, POST_TAKES, START, Seam, ended, made, opened, run, video

NAME: dict[str, Any] = {"key": "v1", "target": "ja"}
GONE = ended("job-ja", PollVerdict.NOT_FOUND)
REFUSED = errors.BadRequestError("Wrong.", code=1003)
NO_CREDITS = errors.OutOfCredits("No credits.", code=1104)


# What stops, is cancelled or is left between two steps.


async def test_what_waits_for_its_turn_when_the_batch_stops_is_not_sent() -> None:
    seam = Seam([made("ja")], turn=anyio.Event())
    async with opened(seam, video()) as (batch, _):
        async with anyio.create_task_group() as tasks:

            async def stop() -> None:
                await seam.waiting.wait()
                batch.drain()
                assert seam.turn is not None
                seam.turn.set()

            tasks.start_soon(stop)
            (outcome,) = [outcome async for outcome in batch]
        reason = batch.stopped

    assert isinstance(outcome, NotSubmitted)
    assert outcome.reason == reason != ""
    assert seam.posts == []


async def test_what_is_cancelled_while_it_waits_for_its_turn_is_not_sent() -> None:
    seam = Seam([made("fr")], turn=anyio.Event())
    journal = BatchJournal(":memory:", now=seam.clock.now)
    async with journal, open_batch(cast(AkoolClient, seam), journal=journal) as batch:
        await batch.submit(video(targets="ja,fr"))
        await seam.waiting.wait()
        assert await batch.cancel("v1", "ja")
        assert seam.turn is not None
        seam.turn.set()
        other = await batch.outcome("v1", "fr")
        batch.drain()
        outcomes = [outcome async for outcome in batch]

    assert isinstance(other, Completed)
    assert {(outcome.target, type(outcome), outcome.reason) for outcome in outcomes} == {
        ("ja", NotSubmitted, CANCELLED),
        ("fr", Completed, ""),
    }
    assert [post.targets for post in seam.posts] == [("fr",)]


async def test_a_post_under_way_is_recorded_when_its_batch_is_left() -> None:
    seam = Seam([made("ja")], answer=anyio.Event())
    journal = BatchJournal(":memory:", now=seam.clock.now)
    recorded: list[Entry | None] = []

    async def answer() -> None:
        await anyio.wait_all_tasks_blocked()
        assert seam.answer is not None
        seam.answer.set()

    async with journal, anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            async with open_batch(cast(AkoolClient, seam), [video()], journal=journal):
                await seam.under_way.wait()
                tasks.start_soon(answer)
                scope.cancel()
                await anyio.sleep_forever()
        async with open_batch(cast(AkoolClient, Seam()), [], journal=journal):
            recorded.append(journal.get("v1", "ja"))

    assert recorded[0] is not None
    assert (recorded[0].state, recorded[0].job_id) == (State.SUBMITTED, "job-ja")


# Entries that an earlier run left.


async def in_doubt(journal: BatchJournal, **facts: Any) -> None:
    await journal.intend(video(), token="a-token")
    change = EntryUpdate(**NAME, state=State.IN_DOUBT, reason="Lost.", code=4711, **facts)
    await journal.record(change)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (REFUSED, "Sent once more, it was refused: Wrong. Whether the POST before made a job is not known."),
        (
            errors.DuplicateJobError("Twice.", code=1202),
            "Sent once more, it was refused: Twice. So the POST before made a job, which is billed; its id "
            "is not known.",
        ),
        (NO_CREDITS, "Lost."),
    ],
)
async def test_a_doubt_that_paying_again_did_not_end_stays_one(error: AkoolError, words: str) -> None:
    seam = Seam([error])
    journal = BatchJournal(":memory:", now=seam.clock.now)
    async with journal:
        await in_doubt(journal)
        seam.clock.advance(1000.0)
        async with opened(seam, video(), journal=journal, on_in_doubt="resubmit") as (batch, _):
            (outcome,) = [outcome async for outcome in batch]
            entry = journal.get("v1", "ja")
            resubmitted = batch.statistics().resubmitted

    assert isinstance(outcome, InDoubt)
    assert (outcome.reason, outcome.job, outcome.submitted_at) == (words, None, START)
    assert entry is not None
    assert (entry.state, entry.reason, entry.submitted_at) == (State.IN_DOUBT, words, START)
    assert len(seam.posts) == 1
    assert resubmitted == 1


@attrs.define(eq=False)
class OrderedElsewhere(Seam):
    """A vendor at which the same work is about to be paid under another key, from a moment on."""

    pay: Callable[[], object] = lambda: None

    async def status(self, job_id: str) -> Snapshot:
        self.pay()
        self.pay = lambda: None
        return await super().status(job_id)


def pay_elsewhere(batch: Batch) -> None:
    """Let an entry of the same work wait to be sent, under another key."""
    assert batch._resumer.claim_work(BatchEntry(request=attrs.evolve(video(), key="other"), target="ja"))


@asynccontextmanager
async def service(seam: Seam, **options: Any) -> AsyncIterator[tuple[Batch, BatchJournal]]:
    """Open a batch that takes requests one by one."""
    journal = BatchJournal(":memory:", now=seam.clock.now)
    async with journal, open_batch(cast(AkoolClient, seam), journal=journal, **options) as batch:
        yield batch, journal


@pytest.mark.parametrize("other", [State.FAILED, State.PLANNED])
async def test_a_work_that_waits_to_be_paid_again_is_not_paid_under_another_key(other: State) -> None:
    seam = Seam([made("ja")], turn=anyio.Event())
    assert seam.turn is not None
    async with service(seam, retry_failed=True, resume_planned=False) as (batch, journal):
        for key, state in (("first", State.FAILED), ("second", other)):
            one = attrs.evolve(video(), key=key)
            await journal.record(EntryUpdate(key=key, target="ja", state=State.PLANNED, request=one))
            if state is State.FAILED:
                await journal.intend(one)
                await journal.record(EntryUpdate(key=key, target="ja", state=State.FAILED))
        first = await batch.submit(attrs.evolve(video(), key="first"))
        await seam.waiting.wait()
        second = await batch.submit(attrs.evolve(video(), key="second"))
        while batch.statistics().pulled < 2:
            await checkpoint()
        await anyio.wait_all_tasks_blocked()
        seam.turn.set()
        outcomes = await first.outcome(), await second.outcome()

    assert [post.key for post in seam.posts] == ["first"]
    assert isinstance(outcomes[0], Completed)
    assert not isinstance(outcomes[1], Completed)


async def test_a_work_that_was_withdrawn_while_it_waits_is_paid_under_another_key() -> None:
    seam = Seam([made("ja")], turn=anyio.Event())
    assert seam.turn is not None
    async with service(seam) as (batch, _):
        await batch.submit(attrs.evolve(video(), key="first"))
        await seam.waiting.wait()
        assert await batch.cancel("first", "ja")
        second = await batch.submit(attrs.evolve(video(), key="second"))
        while batch.statistics().pulled < 2:
            await checkpoint()
        await anyio.wait_all_tasks_blocked()
        seam.turn.set()
        outcome = await second.outcome()

    assert isinstance(outcome, Completed)
    assert [post.key for post in seam.posts] == ["second"]


async def submit_twice(first: str, second: str, *known: str) -> list[str]:
    """Submit an order again while it waits for its turn; return the URLs that are sent.

    Args:
        first: its URL.
        second: its URL when it is submitted again.
        known: URLs for which jobs were made before, under other keys.
    """
    seam = Seam([made("ja")], turn=anyio.Event())
    assert seam.turn is not None
    async with service(seam) as (batch, journal):
        for number, url in enumerate(known):
            one = attrs.evolve(video(), url=url, key=f"known-{number}")
            await journal.intend(one)
            submitted = EntryUpdate(key=f"known-{number}", target="ja", state=State.SUBMITTED, job_id="known")
            await journal.record(submitted)
        await batch.submit(attrs.evolve(video(), url=first))
        await seam.waiting.wait()
        ticket = await batch.submit(attrs.evolve(video(), url=second))
        seam.turn.set()
        await ticket.outcome()
    return [str(getattr(post, "url", "")) for post in seam.posts]


TALK = "https://example.com/1.mp4"


@pytest.mark.parametrize("query", ["X-Amz-Signature", "token"])
async def test_a_url_that_is_signed_anew_while_it_waits_is_sent_so(query: str) -> None:
    assert await submit_twice(f"{TALK}?{query}=old", f"{TALK}?{query}=new") == [f"{TALK}?{query}=new"]


async def test_a_url_that_has_become_that_of_another_key_is_not_sent() -> None:
    assert await submit_twice(f"{TALK}?id=1", f"{TALK}?id=2", f"{TALK}?id=2") == [f"{TALK}?id=1"]


async def test_a_doubt_is_not_paid_over_while_its_work_is_paid_under_another_key() -> None:
    seam = OrderedElsewhere([made("ja")])
    journal = BatchJournal(":memory:", now=seam.clock.now)
    async with journal:
        await in_doubt(journal, candidate_ids=("lost-job",))
        seam.clock.advance(1000.0)
        async with opened(seam, video(), journal=journal, on_in_doubt="resubmit") as (batch, _):
            seam.pay = partial(pay_elsewhere, batch)
            (outcome,) = [outcome async for outcome in batch]

    assert isinstance(outcome, InDoubt)
    assert seam.posts == []


async def test_a_failed_job_is_not_made_again_while_its_work_is_paid_under_another_key() -> None:
    seam = Seam([made("ja")], {"job-ja": ended("job-ja", PollVerdict.FAILED)})
    async with opened(seam, video(), retry_transient=1) as (batch, _):
        seam.on_watch = partial(pay_elsewhere, batch)
        (outcome,) = [outcome async for outcome in batch]

    assert isinstance(outcome, Failed)
    assert len(seam.posts) == 1


SEEN = Snapshot(job_id="job-ja", status=Status.COMPLETED, created_at=START, credits_used=3.0)
DAY = timedelta(days=1)
LIFE = RESULT_LIFETIME
NOT_THERE = errors.JobNotFoundError("No such job.", code=1008)


async def earlier(journal: BatchJournal, snapshot: Snapshot | None, created: bool) -> None:
    """Enter a result that an earlier run saw and did not save."""
    await journal.intend(video(), names={("v1", "ja"): ("1.ja",)})
    await journal.record(
        EntryUpdate(
            **NAME,
            state=State.SUBMITTED,
            job_id="job-ja",
            credits_locked=4.0,
            created_at=START if created else None,
        )
    )
    await journal.record(EntryUpdate(**NAME, state=State.COMPLETED, snapshot=snapshot, ended_at=START))


MOMENT, NONE = timedelta(seconds=1), timedelta()


@pytest.mark.parametrize(
    ("snapshot", "created", "age", "ahead", "expired"),
    [
        (SEEN, True, LIFE + DAY, NONE, True),
        (SEEN, True, LIFE + DAY - MOMENT, NONE, False),
        (SEEN, True, LIFE + DAY - MOMENT, 30 * DAY, False),
        (SEEN, True, LIFE + DAY, -DAY, True),
        (SEEN, True, LIFE + DAY, -DAY - MOMENT, False),
        (None, True, LIFE + DAY, NONE, True),
        (None, False, LIFE + DAY, NONE, False),
        (attrs.evolve(SEEN, created_at=None), True, LIFE + DAY, NONE, True),
        (attrs.evolve(SEEN, created_at=None), False, LIFE + DAY, NONE, False),
    ],
)
@pytest.mark.parametrize("how", ["the job is gone", "the file is gone", "the file is broken"])
async def test_a_result_expires_by_both_clocks_and_only_if_it_is_gone(
    tmp_path: Path,
    snapshot: Snapshot | None,
    created: bool,
    age: timedelta,
    ahead: timedelta,
    expired: bool,
    how: str,
) -> None:
    errors_of = {
        "the file is gone": errors.DownloadError("Gone.", http_status=404),
        "the file is broken": errors.DownloadError("Broken.", http_status=200),
    }
    end = GONE if how == "the job is gone" else ended("job-ja")
    seam = Seam([], {"job-ja": end}, downloads={"job-ja": errors_of[how]} if how in errors_of else {})
    journal = BatchJournal(":memory:", now=seam.clock.now)
    async with journal:
        await earlier(journal, snapshot, created)
        seam.server_ahead = ahead
        seam.clock.advance(age.total_seconds() - JOB_TAKES)
        async with opened(seam, video(), journal=journal, download_to=tmp_path) as (batch, _):
            (outcome,) = [outcome async for outcome in batch]
            entry = journal.get("v1", "ja")

    assert entry is not None
    now = START + age
    # Of a job that it still has, the vendor says when it was made.
    if (expired or (how == "the file is gone" and not created)) and how != "the file is broken":
        assert isinstance(outcome, Expired)
        assert outcome.reason == "The result expired at the vendor before it was saved."
        assert (outcome.ended_at, outcome.submitted_at) == (now, START)
        assert (entry.state, entry.reason, entry.ended_at) == (State.EXPIRED, outcome.reason, now)
    else:
        assert isinstance(outcome, Completed)
        assert (outcome.saved, outcome.ended_at, outcome.snapshot.job_id) == (None, now, "job-ja")
        assert (
            "no longer knows job job-ja" if how == "the job is gone" else errors_of[how].message
        ) in outcome.reason
        assert entry.state is State.COMPLETED


@pytest.mark.parametrize("known", [True, False])
async def test_a_job_that_was_sent_by_a_clock_far_behind_does_not_expire_while_it_runs(known: bool) -> None:
    """Its vendor names no moment of its creation, and the clock here is set right after the POST."""
    behind = timedelta(days=30)
    answer = Submission(accepted=(Job(id="job-ja", target="ja"),))
    seam = Seam([answer], {"job-ja": GONE}, server_ahead=behind, knows_server_time=known, endless=True)
    async with BatchJournal(":memory:", now=seam.clock.now) as journal:
        async with opened(seam, video(), journal=journal):
            with anyio.fail_after(30):
                while not journal.counts()[State.SUBMITTED]:
                    await anyio.sleep(0)
        made_at = journal.get("v1", "ja").created_at
        seam.clock.advance(behind.total_seconds())
        seam.server_ahead, seam.endless = timedelta(), False
        (outcome,) = await run(seam, video(), journal=journal)
        entry = journal.get("v1", "ja")

    # Without the vendor's time nothing but the clock of this machine is known.
    assert made_at == (START + behind + timedelta(seconds=POST_TAKES) if known else None)
    assert entry.state is (State.SUBMITTED if known else State.EXPIRED)
    assert isinstance(outcome, Failed if known else Expired)
    assert len(seam.posts) == 1


@pytest.mark.parametrize("recovered", [True, False])
async def test_a_failure_is_not_paid_for_again_while_an_earlier_post_may_have_made_a_job(
    tmp_path: Path, recovered: bool
) -> None:
    seam = Seam([made("ja")], {"job-ja": ended("job-ja", PollVerdict.FAILED, error_code=1015)})

    async def source() -> AsyncIterator[TranslationRequest]:
        while recovered and not journal.counts()[State.FAILED]:
            await anyio.sleep(0.005)
        yield video()

    async with BatchJournal(":memory:", now=seam.clock.now) as journal:
        names = {"key": "v1", "target": "ja"}
        await journal.intend(video())
        ids = {"doubt_ids": ("other",), "candidate_ids": ("other",)}
        await journal.record(EntryUpdate(state=State.IN_DOUBT, **names, **ids))
        await journal.intend(video())
        await journal.record(EntryUpdate(state=State.SUBMITTED, job_id="job-ja", **names))
        client = cast(AkoolClient, seam)
        options = {"retry_transient": 2, "recover_pending": recovered, "download_to": tmp_path}
        async with open_batch(client, source(), journal=journal, **options) as batch:
            (outcome,) = [outcome async for outcome in batch]

    assert isinstance(outcome, Failed)
    assert seam.posts == []


# What can't be written.


async def test_without_its_intent_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    error = errors.JournalWriteError("Full.")
    seam = Seam([made("ja")])
    outcomes: list[Outcome] = []
    with pytest.raises(JournalError):
        async with opened(seam, video()) as (batch, journal):

            async def intend(*_: object, **__: object) -> None:
                raise error

            monkeypatch.setattr(journal, "intend", intend)
            async for outcome in batch:
                outcomes.append(outcome)

    assert seam.posts == []
    assert [type(outcome) for outcome in outcomes] == [NotSubmitted]
    assert outcomes[0].reason == "Full."


async def test_an_answer_that_can_not_be_written_at_first_is_followed_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seam = Seam([made("ja")])
    async with opened(seam, video()) as (batch, journal):
        record, tries = journal.record, [errors.JournalWriteError("Held."), errors.JournalWriteError("Held.")]

        async def fail_at_first(*changes: EntryUpdate) -> None:
            if tries:
                raise tries.pop()
            await record(*changes)

        monkeypatch.setattr(journal, "record", fail_at_first)
        (outcome,) = [outcome async for outcome in batch]

    assert isinstance(outcome, Completed)
    assert len(seam.posts) == 1


@pytest.mark.parametrize("state", [State.COMPLETED, State.DELIVERED])
def test_a_result_that_was_recorded_without_its_answer_expires_all_the_same(state: State) -> None:
    entry = Entry(
        **NAME,
        fingerprint="f",
        state=state,
        request=video(),
        job_id="job-ja",
        created_at=START,
        updated_at=START,
    )
    outcome = outcome_from_journal(entry, entry.request)

    assert isinstance(outcome, Completed)
    assert outcome.snapshot.expires_at == START + RESULT_LIFETIME
