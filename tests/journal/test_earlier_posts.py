"""POSTs of an entry before its last one: a callback may still name a job of theirs, which is paid."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from akool_async._journal import BatchJournal, Entry, Journal, open_journal, schema
from akool_async._journal.doubts import KeepNamedJob
from akool_async._journal.operations import RecordIntent
from akool_async._journal.table import JobTakenError
from akool_async._model.errors import IllegalTransitionError
from akool_async._model.fingerprint import fingerprint
from akool_async._model.states import State
from tests.journal.conftest import StillClock, step, video
from tests.journal.test_undone_posts import write_row

pytestmark = pytest.mark.anyio
Opened = Callable[[], Journal]
LATE = "a" * 24


def read(journal: Journal) -> Entry:
    entry = journal.get("talk", "ja")
    assert entry is not None
    return entry


async def send_in_doubt(journal: BatchJournal, clock: StillClock) -> Entry:
    """Send it, and leave it in doubt for an hour; return it as it is then."""
    await journal.intend(video(), token="first")
    await journal.record(step(State.IN_DOUBT))
    clock.move(hours=1)
    return read(journal)


async def pay_again(journal: Journal, clock: StillClock, *after: State) -> None:
    """Send it, leave it in doubt, send it once more, and bring that to a state."""
    await journal.intend(video(), token="first")
    await journal.record(step(State.IN_DOUBT, doubt_ids=("b" * 24,), candidate_ids=("b" * 24,)))
    clock.move(hours=1)
    await journal.intend(video(), token="second")
    for state in after:
        await journal.record(step(state))


@pytest.mark.parametrize(
    "after",
    [
        (),
        (State.IN_DOUBT,),
        (State.SUBMITTED,),
        (State.SUBMITTED, State.COMPLETED),
        (State.SUBMITTED, State.COMPLETED, State.DELIVERED),
    ],
)
async def test_a_late_job_of_an_earlier_post_is_kept_and_the_entry_stays_as_it_is(
    opened: Opened, clock: StillClock, after: tuple[State, ...]
) -> None:
    async with opened() as journal:
        await pay_again(journal, clock, *after)
        before = read(journal)
        for _ in range(2):
            await journal.keep_named_job("first", LATE)
        entry = read(journal)

        assert entry.doubt_ids == ("b" * 24, LATE)
        assert (entry.state, entry.token, entry.paid_submissions) == (before.state, "second", 2)
        assert (entry.job_id, entry.earlier_ids) == (before.job_id, entry.doubt_ids)
        (post,) = journal.earlier_posts("talk", "ja")
        assert (post.token, post.candidate_ids, post.callback_ids) == ("first", ("b" * 24,), (LATE,))


@pytest.mark.parametrize("after", [(State.FAILED,), (State.SUBMITTED, State.FAILED)])
async def test_an_entry_without_a_result_is_in_doubt_about_the_post_whose_job_is_named(
    opened: Opened, clock: StillClock, after: tuple[State, ...]
) -> None:
    async with opened() as journal:
        await pay_again(journal, clock, *after)
        assert read(journal).doubts_before == 1
        await journal.keep_named_job("first", LATE)
        entry = read(journal)

    assert (entry.state, entry.token, entry.job_id) == (State.IN_DOUBT, "first", "")
    assert entry.submitted_at is not None
    assert (clock.now() - entry.submitted_at).total_seconds() == 3600
    assert (entry.paid_submissions, entry.doubts_before) == (2, 0)
    assert (entry.doubt_ids, entry.candidate_ids) == (("b" * 24, LATE), ("b" * 24,))
    assert LATE in entry.reason


async def test_an_expired_job_of_unknown_cost_counts_once_when_its_entry_is_in_doubt_again(
    opened: Opened, clock: StillClock
) -> None:
    async with opened() as journal:
        await pay_again(journal, clock)
        await journal.record(step(State.SUBMITTED, credits_locked=4.0), step(State.EXPIRED))
        await journal.keep_named_job("first", LATE)
        entry, total = read(journal), sum(journal.credits())

    assert (entry.credits_before, entry.credits_locked, total) == (4.0, None, 4.0)
    assert (entry.doubts_before, entry.last_unpriced) == (0, True)


async def test_what_was_called_not_made_is_in_doubt_again_once_its_job_is_named(
    opened: Opened, clock: StillClock
) -> None:
    async with opened() as journal:
        before = await send_in_doubt(journal, clock)
        await journal.resolve("talk", "ja", not_made=True)
        await journal.keep_named_job("first", LATE)
        entry = read(journal)
        assert (entry.state, entry.token, entry.submitted_at) == (
            State.IN_DOUBT,
            "first",
            before.submitted_at,
        )
        assert (entry.paid_submissions, entry.doubts_before, entry.doubt_ids) == (1, 0, (LATE,))

        # Who says again that no job was made has seen the id.
        await journal.resolve("talk", "ja", not_made=True)
        await journal.keep_named_job("first", LATE)
        assert (read(journal).state, read(journal).paid_submissions) == (State.PLANNED, 0)
        await journal.intend(video(), token="second")
        await journal.record(step(State.FAILED))
        assert journal.find_named_post("talk", "ja") is None


async def test_what_was_said_before_a_job_was_named_is_refused(opened: Opened) -> None:
    async with opened() as journal:
        await journal.intend(video(), token="first")
        await journal.record(step(State.IN_DOUBT))
        seen = read(journal)
        await journal.resolve("talk", "ja", not_made=True, seen=seen)
        await journal.keep_named_job("first", LATE)
        with pytest.raises(IllegalTransitionError, match=f"Job {LATE} was named for talk"):
            await journal.resolve("talk", "ja", not_made=True, seen=seen)
        assert read(journal).state is State.IN_DOUBT
        await journal.resolve("talk", "ja", not_made=True, seen=read(journal))
        assert read(journal).state is State.PLANNED


async def test_an_entry_that_is_planned_again_is_in_doubt_about_the_post_before(
    opened: Opened, clock: StillClock
) -> None:
    async with opened() as journal:
        await pay_again(journal, clock, State.IN_DOUBT)
        await journal.resolve("talk", "ja", not_made=True)
        await journal.keep_named_job("first", LATE)
        entry = read(journal)

    assert (entry.state, entry.token) == (State.IN_DOUBT, "first")
    assert (entry.paid_submissions, entry.doubts_before) == (1, 0)


async def test_each_of_several_posts_is_found_by_its_token(opened: Opened, clock: StillClock) -> None:
    tokens = ("one", "two", "three", "four")
    async with opened() as journal:
        for token in tokens:
            clock.move(hours=1)
            await journal.intend(video(), token=token)
            await journal.record(step(State.IN_DOUBT))
        for number, token in enumerate(tokens):
            await journal.keep_named_job(token, f"{number}" * 24)

        assert [post.token for post in journal.earlier_posts()] == list(tokens[:3])
        assert read(journal).doubt_ids == tuple(f"{number}" * 24 for number in range(4))
        await journal.keep_named_job("unknown", LATE)
        assert LATE not in read(journal).doubt_ids


async def test_a_job_that_an_entry_has_or_had_is_no_news(opened: Opened, clock: StillClock) -> None:
    async with opened() as journal:
        await journal.intend(video("other"))
        await journal.record(step(State.SUBMITTED, "other"))
        await journal.intend(video(), token="first")
        await journal.record(step(State.SUBMITTED), step(State.FAILED))
        await journal.intend(video(), token="second")
        await journal.record(step(State.SUBMITTED, job_id="own"))
        for token in ("first", "second"):
            for job_id in ("job-other-ja", "job-talk-ja", "own"):
                await journal.keep_named_job(token, job_id)

        assert read(journal).doubt_ids == ()
        assert [entry.key for entry in map(journal.find_job, ("job-talk-ja", "own")) if entry] == ["talk"] * 2


async def test_a_job_beside_that_of_the_answer_is_asked_for_before_the_entry_is_paid_again(
    opened: Opened,
) -> None:
    async with opened() as journal:
        await journal.intend(video(), token="first")
        await journal.record(step(State.SUBMITTED))
        await journal.keep_named_job("first", LATE)
        assert (read(journal).state, read(journal).doubt_ids) == (State.SUBMITTED, (LATE,))
        await journal.record(step(State.FAILED))
        post = journal.find_named_post("talk", "ja")
        assert post is not None
        await journal.doubt_again(post)
        entry = read(journal)

        assert (entry.state, entry.token, entry.doubt_ids) == (State.IN_DOUBT, "first", (LATE,))
        with pytest.raises(IllegalTransitionError):
            await journal.doubt_again(post)
        await journal.resolve("talk", "ja", job_id=LATE)
        assert journal.find_named_post("talk", "ja") is None


async def test_ids_of_an_earlier_answer_are_asked_for_before_an_entry_without_a_result_is_paid_again(
    opened: Opened, clock: StillClock
) -> None:
    async with opened() as journal:
        await pay_again(journal, clock, State.SUBMITTED, State.FAILED)
        post = journal.find_named_post("talk", "ja")
        assert post is not None
        await journal.doubt_again(post)
        entry = read(journal)

    assert (entry.state, entry.token, entry.candidate_ids) == (State.IN_DOUBT, "first", ("b" * 24,))


async def test_a_doubt_that_paying_again_did_not_end_is_no_earlier_one(
    opened: Opened, clock: StillClock
) -> None:
    async with opened() as journal:
        before = await send_in_doubt(journal, clock)
        await journal.intend(video(), token="second")
        change = step(State.IN_DOUBT, token="first", submitted_at=before.submitted_at)
        await journal.record(change)

        assert journal.earlier_posts() == []
        assert read(journal).token == "first"


async def test_an_answer_that_names_the_job_that_its_entry_had_is_refused(opened: Opened) -> None:
    async with opened() as journal:
        await journal.intend(video())
        await journal.record(step(State.SUBMITTED), step(State.FAILED))
        await journal.intend(video())
        with pytest.raises(JobTakenError):
            await journal.record(step(State.SUBMITTED))
        await journal.record(step(State.IN_DOUBT, doubt_ids=("job-talk-ja",)))
        with pytest.raises(JobTakenError):
            await journal.resolve("talk", job_id="job-talk-ja")


async def test_an_entry_may_have_the_job_that_an_earlier_answer_of_it_named(
    opened: Opened, clock: StillClock
) -> None:
    async with opened() as journal:
        await pay_again(journal, clock)
        await journal.record(step(State.SUBMITTED, job_id="b" * 24))

        assert (read(journal).job_id, read(journal).doubt_ids) == ("b" * 24, ())


async def test_an_intent_that_is_taken_back_is_no_earlier_post_and_forgets_no_late_job(
    clock: StillClock,
) -> None:
    async with open_journal(":memory:") as journal:
        await journal.intend(video(), token="first")
        await journal.record(step(State.IN_DOUBT))
        table = journal._opened.store.table
        intent = RecordIntent((video(),), "second", clock.now())
        intent(table)
        assert [post.token for post in journal.earlier_posts()] == ["first"]
        KeepNamedJob("first", LATE, clock.now())(table)
        intent.undo(table)

        assert journal.earlier_posts() == []
        assert (read(journal).token, read(journal).doubt_ids) == ("first", (LATE,))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_run_that_is_killed_between_intent_and_ids_knows_the_tokens_before(path: Path) -> None:
    clock = StillClock()
    async with open_journal(path, now=clock.now) as journal:
        await pay_again(journal, clock)
        shutil.copytree(path.parent, path.parent / "killed")
    killed = path.parent / "killed" / path.name
    async with open_journal(killed) as journal:
        await journal.keep_named_job("first", LATE)
        entry = read(journal)

    assert (entry.state, entry.token, entry.doubt_ids) == (State.IN_DOUBT, "second", ("b" * 24, LATE))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_copy_has_the_earlier_posts_and_an_export_no_token(path: Path, tmp_path: Path) -> None:
    clock, copy = StillClock(), tmp_path / "copy.sqlite3"
    async with open_journal(path, now=clock.now) as journal:
        await pay_again(journal, clock, State.SUBMITTED)
        await journal.backup(copy)
        exported = [line async for line in journal.export()]
    async with open_journal(copy, accept_older=True) as journal:
        await journal.keep_named_job("first", LATE)
        assert read(journal).doubt_ids == ("b" * 24, LATE)
        assert "first" not in repr(journal.earlier_posts())

    assert "first" not in "".join(exported)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("read_only", [False, True])
async def test_an_older_journal_keeps_the_tokens_of_what_was_called_not_made(
    path: Path, monkeypatch: pytest.MonkeyPatch, read_only: bool
) -> None:
    with monkeypatch.context() as older:
        older.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:9])
        write_row(path, state="planned", token="first")
    if read_only:
        before = path.read_bytes()
        async with open_journal(path, read_only=True) as journal:
            assert [post.token for post in journal.earlier_posts()] == ["first"]
        assert path.read_bytes() == before
        return
    async with open_journal(path) as journal:
        await journal.keep_named_job("first", LATE)
        entry = read(journal)

    # When it was sent is not known, so that only a person gives it the job.
    assert (entry.state, entry.submitted_at, entry.paid_submissions) == (State.IN_DOUBT, None, 1)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_older_journal_with_other_entries_begins_without_earlier_posts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:9])
        write_row(path, state="in_doubt", token="first", paid=2, fingerprint=fingerprint(video(), "ja"))
    async with open_journal(path) as journal:
        assert journal.earlier_posts() == []
        await journal.intend(video(), token="second")
        assert [post.token for post in journal.earlier_posts()] == ["first"]
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)
