"""A callback that comes after its entry was paid again, or called not made: its job is paid, and not lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from akool_async import (
    Completed,
    Failed,
    FixedSchedule,
    InDoubt,
    State,
    TranslationRequest,
    entry_key,
    open_batch,
    open_journal,
)
from akool_async._journal import BatchJournal, Entry, Journal
from akool_async._model.responses import Callback
from akool_async.sandbox import Fault
from tests.client.moments import still_clock, until
from tests.webhook.test_doubts import LOST, House, Teller, _in_doubt, _tokens, house, turning, video

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]
KEY = entry_key(video(1), "ja")


class Kept(Teller):
    """A source that has kept callbacks, and tells of them where it is asked."""

    def callbacks_for(self, token: str) -> tuple[Callback, ...]:
        return tuple(one for one in self.callbacks if one.token == token)

    def subscribe(self, listener: Any) -> Any:
        self.listeners.append(listener)
        return lambda: None


def read(journal: Journal) -> Entry:
    entry = journal.get(KEY, "ja")
    assert entry is not None
    return entry


async def pay_again(home: House, *, lost: bool, fails: bool = False) -> Callback:
    """Leave an entry in doubt, and pay for it once more; return the callback of the first POST."""
    await _in_doubt(home, video(1))
    (token,), (job,) = await _tokens(home), home.sandbox.audit.jobs
    home.sandbox.faults.add(Fault(on="webhook", kind="lose"))
    if lost:
        home.sandbox.faults.add(Fault(**LOST))
    if fails:
        home.sandbox.faults.add(Fault(on="create", kind="job_fails"))
    await home.run(video(1), on_in_doubt="resubmit", callbacks=Teller(), webhook_grace=0.0)
    home.sandbox.faults.clear()
    assert len(home.sandbox.audit.creates) == 2
    return Callback(job_id=job.id, token=token, status=3)


@pytest.mark.parametrize("source", [Kept, Teller])
async def test_a_late_job_joins_the_doubt_and_forbids_to_pay_a_third_time(source: type[Teller]) -> None:
    async with house() as home:
        late = await pay_again(home, lost=True)
        options = {"callbacks": source(late), "webhook_grace": 0.1}
        (outcome,) = await home.run(video(1), on_in_doubt="resubmit", **options)
        assert isinstance(outcome, InDoubt)
        (outcome,) = await home.run(video(1), on_in_doubt="resubmit", callbacks=Kept(), webhook_grace=0.0)

        assert len(home.sandbox.audit.creates) == 2
        assert home.sandbox.audit.polls(late.job_id)
        assert isinstance(outcome, InDoubt)
        assert outcome.doubt_ids == (late.job_id,)
        # A person accepts it; then the callback of the second POST names what is paid besides.
        await home.journal.resolve(KEY, "ja", job_id=late.job_id)
        second = Callback(job_id=home.sandbox.audit.jobs[1].id, token=read(home.journal).token)
        (outcome,) = await home.run(video(1), callbacks=Kept(late), webhook_grace=0.0)
        async with open_batch(home.client, [], journal=home.journal, callbacks=Teller(second)):
            await until(lambda: read(home.journal).doubt_ids)

    assert isinstance(outcome, Completed)
    assert outcome.job is not None
    assert outcome.job.id == late.job_id


async def test_a_late_job_beside_a_saved_result_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with house() as home:
        late = await pay_again(home, lost=False)
        own = read(home.journal).job_id
        await home.run(video(1), callbacks=Kept(late), webhook_grace=0.0)
        entry = read(home.journal)
        await home.run(video(1), callbacks=Kept(late), webhook_grace=0.0)

        assert len(home.sandbox.audit.creates) == 2
    assert (entry.state, entry.job_id, entry.doubt_ids) == (State.DELIVERED, own, (late.job_id,))
    said = [record.getMessage() for record in caplog.records if "both may be billed" in record.getMessage()]
    assert len(said) == 1
    assert late.job_id in said[0]
    assert own in said[0]
    assert late.token not in caplog.text


@pytest.mark.parametrize("source", [Kept, Teller])
async def test_what_was_called_not_made_gets_the_job_that_its_callback_names(
    source: type[Teller], tmp_path: Path
) -> None:
    async with house(journal=tmp_path / "j.sqlite3") as home:
        await _in_doubt(home, video(1))
        (token,), (job,) = await _tokens(home), home.sandbox.audit.jobs
        await home.journal.resolve(KEY, "ja", not_made=True)
        told = source(Callback(job_id=job.id, token=token, status=3))
        (outcome,) = await home.run(video(1), callbacks=told, webhook_grace=5.0)

        assert len(home.sandbox.audit.creates) == 1
    assert isinstance(outcome, Completed)
    assert outcome.job is not None
    assert outcome.job.id == job.id


@pytest.mark.parametrize("paid_again", [False, True])
async def test_a_job_that_is_named_while_its_entry_waits_to_be_sent_is_asked_for_instead(
    paid_again: bool,
) -> None:
    clock = still_clock()  # its place is not free before its job is named
    async with house(clock=clock) as home:
        await _in_doubt(home, video(1))
        (token,), (job,) = await _tokens(home), home.sandbox.audit.jobs
        if paid_again:
            home.sandbox.faults.add(Fault(on="webhook", kind="lose"))
            home.sandbox.faults.add(Fault(**LOST))
            await home.run(video(1), on_in_doubt="resubmit", callbacks=Teller(), webhook_grace=0.0)
            home.sandbox.faults.clear()
        await home.journal.resolve(KEY, "ja", not_made=True)
        before, teller = len(home.sandbox.audit.creates), Teller()
        async with open_batch(
            home.client,
            [video(2), video(1)],
            max_in_flight=1,
            journal=home.journal,
            callbacks=teller,
            webhook_grace=0.0,
        ) as batch:
            await until(lambda: batch.statistics().pulled >= 2 and len(home.sandbox.audit.creates) > before)
            teller.listeners[0].on_callback(Callback(job_id=job.id, token=token))
            await until(lambda: read(home.journal).state is State.SUBMITTED)
            async with turning(clock):
                outcomes = [outcome async for outcome in batch]

        assert len(home.sandbox.audit.creates) == before + 1
    assert [type(outcome) for outcome in outcomes] == [Completed, Completed]
    assert read_job(outcomes[1]) == job.id


def read_job(outcome: Any) -> str:
    return outcome.job.id


class Slow(BatchJournal):
    """A journal that keeps late jobs only when it is let."""

    def __init__(self) -> None:
        super().__init__(":memory:")
        self.asked, self.let = anyio.Event(), anyio.Event()

    async def keep_named_job(self, token: str, job_id: str) -> None:
        self.asked.set()
        await self.let.wait()
        await super().keep_named_job(token, job_id)


async def test_nothing_is_sent_while_a_late_job_is_being_written() -> None:
    async with house() as home, Slow() as journal:
        opened = House(home.sandbox, home.receiver, home.url, home.client, journal)
        await _in_doubt(opened, video(1))
        (token,), (job,) = await _tokens(opened), home.sandbox.audit.jobs
        await journal.resolve(KEY, "ja", not_made=True)
        teller = Teller(Callback(job_id=job.id, token=token))
        async with open_batch(
            home.client, [video(1)], journal=journal, callbacks=teller, webhook_grace=0.0
        ) as batch:
            await journal.asked.wait()
            await until(lambda: batch.in_progress())
            for _ in range(50):
                await anyio.sleep(0)
            assert len(home.sandbox.audit.creates) == 1
            journal.let.set()
            outcomes = [outcome async for outcome in batch]

        assert len(home.sandbox.audit.creates) == 1
    assert [type(outcome) for outcome in outcomes] == [Completed]


async def test_a_job_that_is_named_while_its_entry_is_to_be_paid_again_forbids_that() -> None:
    clock = still_clock()
    async with house(clock=clock) as home:
        late, teller = await pay_again(home, lost=True), Teller()
        async with open_batch(
            home.client,
            [video(2), video(1)],
            max_in_flight=1,
            journal=home.journal,
            callbacks=teller,
            on_in_doubt="resubmit",
            webhook_grace=0.0,
        ) as batch:
            await until(lambda: batch._state._doubted)
            teller.listeners[0].on_callback(late)
            async with turning(clock):
                outcomes = [outcome async for outcome in batch]

        assert len(home.sandbox.audit.creates) == 3
    assert {type(outcome) for outcome in outcomes} == {Completed, InDoubt}


@pytest.mark.parametrize("options", [{}, {"retry_failed": True}])
async def test_a_failed_entry_is_given_the_late_job_of_the_post_before(options: dict[str, Any]) -> None:
    async with house() as home:
        late = await pay_again(home, lost=False, fails=True)
        entry = read(home.journal)
        assert entry.state is State.FAILED
        (outcome,) = await home.run(video(1), callbacks=Kept(late), webhook_grace=0.0, **options)

        assert len(home.sandbox.audit.creates) == 2
        assert read(home.journal).job_id == late.job_id
    assert isinstance(outcome, Completed)


@pytest.mark.parametrize("source", [Kept, Teller])
async def test_a_callback_that_names_another_job_for_a_failed_entry_forbids_to_pay_again(
    source: type[Teller],
) -> None:
    async with house() as home:
        home.sandbox.faults.add(Fault(on="create", kind="job_fails"))
        home.sandbox.faults.add(Fault(on="webhook", kind="lose"))
        await home.run(video(1), callbacks=Teller(), webhook_grace=0.0)
        home.sandbox.faults.clear()
        failed = read(home.journal)
        assert failed.state is State.FAILED
        other = Callback(job_id="c" * 24, token=failed.token, status=3)
        (outcome,) = await home.run(video(1), callbacks=source(other), retry_failed=True, webhook_grace=0.0)

        assert len(home.sandbox.audit.creates) == 1
    assert isinstance(outcome, InDoubt)
    assert outcome.doubt_ids == ("c" * 24,)


async def test_a_doubt_that_a_callback_makes_in_a_run_counts_for_its_bound() -> None:
    first = entry_key(video(11), "ja")
    async with house(median_seconds=4000.0) as home:
        await _in_doubt(home, *map(video, (1, 2, 3)))
        jobs, tokens = home.sandbox.audit.jobs, await _tokens(home)
        await home.run(*map(video, (1, 2, 3)), webhook_grace=0.0)
        keys = [entry_key(video(number), "ja") for number in (1, 2, 3)]
        for key in keys:
            await home.journal.resolve(key, "ja", not_made=True)
        teller = Teller()

        def is_submitted(key: str) -> bool:
            entry = home.journal.get(key, "ja")
            return entry is not None and entry.state is State.SUBMITTED

        async def requests() -> AsyncIterator[TranslationRequest]:
            yield video(11)
            await until(lambda: is_submitted(first))
            for token, job in zip(tokens, jobs, strict=True):
                teller.listeners[0].on_callback(Callback(job_id=job.id, token=token, status=3))
            await until(lambda: all(map(is_submitted, keys)))
            for number in range(12, 18):
                yield video(number)

        async with open_batch(
            home.client,
            requests(),
            journal=home.journal,
            callbacks=teller,
            webhook_url=home.url,
            webhook_grace=0.0,
            max_credits=18,
            recover_pending=False,
        ) as batch:
            await until(lambda: batch.stopped)

        assert sum(job.credits for job in home.sandbox.audit.jobs) <= 18


async def test_a_late_job_beside_one_in_progress_is_asked_for_once_that_has_failed() -> None:
    async with house() as home:
        await _in_doubt(home, video(1))
        (token,), (job,) = await _tokens(home), home.sandbox.audit.jobs
        home.sandbox.faults.add(Fault(on="create", kind="job_fails"))
        teller = Teller()
        async with open_batch(
            home.client,
            [video(1)],
            journal=home.journal,
            callbacks=teller,
            on_in_doubt="resubmit",
            retry_transient=3,
            webhook_grace=0.0,
            schedule=FixedSchedule(interval=0.2),
        ) as batch:
            await until(lambda: read(home.journal).state is State.SUBMITTED)
            teller.listeners[0].on_callback(Callback(job_id=job.id, token=token))
            outcomes = [outcome async for outcome in batch]
        home.sandbox.faults.clear()
        assert [type(outcome) for outcome in outcomes] == [Failed]
        assert len(home.sandbox.audit.creates) == 2
        assert read(home.journal).doubt_ids == (job.id,)
        (outcome,) = await home.run(video(1), retry_failed=True, callbacks=Kept(), webhook_grace=0.0)

        assert len(home.sandbox.audit.creates) == 2
    assert isinstance(outcome, Completed)
    assert read_job(outcome) == job.id


async def test_a_callback_before_the_answer_that_names_another_job_is_kept() -> None:
    async with house() as home:
        teller = Teller()

        class Named(BatchJournal):
            async def record(self, *changes: Any) -> None:
                if any(change.state is State.SUBMITTED for change in changes):
                    entry = read(self)
                    for job_id in (changes[0].job_id, "a" * 24):
                        teller.listeners[0].on_callback(Callback(job_id=job_id, token=entry.token))
                await super().record(*changes)

        async with Named(":memory:") as journal:
            (outcome,) = await home.run(video(1), journal=journal, callbacks=teller)
            entry = read(journal)

    assert isinstance(outcome, Completed)
    assert (entry.state, entry.doubt_ids) == (State.DELIVERED, ("a" * 24,))


async def test_many_late_jobs_of_one_token_are_bounded() -> None:
    async with house() as home:
        late = await pay_again(home, lost=True)
        told = [Callback(job_id=f"{number:024x}", token=late.token) for number in range(1, 30)]
        await home.run(video(1), callbacks=Kept(*told, *told), webhook_grace=0.0)

        assert len(read(home.journal).doubt_ids) == 8


async def test_a_doubt_that_was_withdrawn_and_is_entered_again_knows_its_late_job(tmp_path: Path) -> None:
    async with house(journal=tmp_path / "j.sqlite3") as home:
        await _in_doubt(home, video(1))
        (token,), (job,) = await _tokens(home), home.sandbox.audit.jobs
        await home.journal.resolve(KEY, "ja", not_made=True)
        assert await home.journal.withdraw(KEY, "ja")
        await home.journal.enter(video(1))
        told = Kept(Callback(job_id=job.id, token=token))
        (outcome,) = await home.run(video(1), callbacks=told, webhook_grace=0.0)

        assert len(home.sandbox.audit.creates) == 1
    assert isinstance(outcome, Completed)


async def test_a_journal_that_can_not_keep_a_late_job_sends_nothing_more(tmp_path: Path) -> None:
    async with house(journal=tmp_path / "j.sqlite3") as home:
        await _in_doubt(home, video(1))
        (token,), (job,) = await _tokens(home), home.sandbox.audit.jobs
        await home.journal.resolve(KEY, "ja", not_made=True)
        other = open_journal(tmp_path / "j.sqlite3", read_only=True)
        async with other:
            assert other.earlier_posts(token=token)
        (tmp_path / "j.sqlite3-wal").rename(tmp_path / "gone")
        with pytest.raises(Exception, match="wal"):
            await home.run(video(1), callbacks=Kept(Callback(job_id=job.id, token=token)), webhook_grace=0.0)

        assert len(home.sandbox.audit.creates) == 1
