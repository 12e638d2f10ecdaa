"""Doubts and callbacks: a lost answer's job is found by its token, is confirmed, and is nobody else's."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from akool_async import (
    AkoolClient,
    Completed,
    ConfigurationError,
    FixedSchedule,
    InDoubt,
    Journal,
    Outcome,
    State,
    TranslationRequest,
    entry_key,
    open_batch,
    open_journal,
)
from akool_async._batch.in_doubt import _Candidate, _Doubt
from akool_async._clock import SystemClock
from akool_async._journal import BatchJournal
from akool_async._model.responses import Callback
from akool_async.sandbox import FakeClock, Fault, Sandbox
from akool_async.webhook import WebhookReceiver
from tests.client.conftest import QUICK, video
from tests.client.moments import still_clock, until

from .conftest import SECRET, TOKEN, receiver, served

LOST = {"on": "create", "kind": "reset_after"}


@attrs.frozen
class House:
    """A sandbox that calls back, a receiver that it reaches, a client and a journal."""

    sandbox: Sandbox
    receiver: WebhookReceiver
    url: str
    client: AkoolClient
    journal: Journal

    async def run(self, *requests: TranslationRequest, **options: Any) -> list[Outcome]:
        told = {"journal": self.journal, "callbacks": self.receiver, "webhook_url": self.url} | options
        with anyio.fail_after(200):
            async with open_batch(self.client, requests, **told) as batch:
                return [outcome async for outcome in batch]


@asynccontextmanager
async def house(
    *faults: dict[str, Any], journal: Path | str = ":memory:", **options: Any
) -> AsyncIterator[House]:
    usual = {"api_key": SECRET, "media": False, "time_scale": 200.0, "median_seconds": 20.0, "sigma": 0.1}
    sandbox = Sandbox(**usual | options)
    for fault in faults:
        sandbox.faults.add(Fault(**fault))
    async with (
        receiver(max_clock_skew=1e9) as door,  # the vendor has a time of its own
        sandbox.serve() as server,
        AkoolClient(
            api_key=SECRET, host=server.base_url, retry=QUICK, schedule=FixedSchedule(interval=0.05)
        ) as client,
        open_journal(journal) as opened,
    ):
        with served(door) as origin:
            yield House(sandbox, door, f"{origin}/akool", client, opened)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


async def test_the_job_of_a_lost_answer_is_brought_home_in_the_same_run(tmp_path: Path) -> None:
    async with house({**LOST, "nth": (1, 3)}) as home:
        outcomes = await home.run(*map(video, range(4)), max_submits=1, download_to=tmp_path)

        assert home.sandbox.audit.paid_twice() == ()
        assert len(home.sandbox.audit.jobs) == 4
        assert {outcome.job.id for outcome in outcomes} == {job.id for job in home.sandbox.audit.jobs}
        assert home.journal.counts()[State.DELIVERED] == 4
    assert all(isinstance(outcome, Completed) and outcome.saved for outcome in outcomes)


async def test_each_language_has_a_token_of_its_own_that_stays_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with house({**LOST, "nth": 2}) as home:
        outcomes = await home.run(video(targets="ja,fr,hi"))
        sent = [create.payload["webhookUrl"] for create in home.sandbox.audit.creates]
        tokens = {url.removeprefix(f"{home.url}/") for url in sent}
        exported = [line async for line in home.journal.export()]
        entries = [entry async for entry in home.journal.entries()]

    assert len(tokens) == 3
    assert all(len(bytes.fromhex(token)) == 16 for token in tokens)
    assert {entry.token for entry in entries} == tokens
    said = [record.getMessage() for record in caplog.records if record.name == "akool_async"]
    shown = str((said, outcomes, exported, entries))
    assert said
    assert not any(token in shown for token in tokens)
    assert all(outcome.request.webhook_url is None for outcome in outcomes)


async def test_a_request_with_a_url_of_its_own_keeps_it() -> None:
    async with house() as home:
        await home.run(video(targets="ja,fr", webhook_url=f"{home.url}/mine"))
        (create,) = home.sandbox.audit.creates

    assert create.payload["webhookUrl"] == f"{home.url}/mine"


async def test_a_callback_that_does_not_come_leaves_the_doubt() -> None:
    async with house(LOST, {"on": "webhook", "kind": "lose"}) as home:
        (outcome,) = await home.run(video(), webhook_grace=0.05)

        assert len(home.sandbox.audit.jobs) == 1
    assert isinstance(outcome, InDoubt)


@asynccontextmanager
async def turning(clock: FakeClock) -> AsyncIterator[None]:
    """Let the vendor's time pass meanwhile."""

    async def turn() -> None:
        while True:
            clock.advance(2)
            await anyio.sleep(0.01)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turn)
        yield
        tasks.cancel_scope.cancel()


async def test_a_late_callback_clears_the_doubt_for_the_next_run() -> None:
    clock = still_clock()
    late = {"on": "webhook", "kind": "delay", "seconds": 1.0}
    async with house({**LOST, "limit": 1}, late, clock=clock) as home:
        async with open_batch(
            home.client,
            [video(1)],
            journal=home.journal,
            callbacks=home.receiver,
            webhook_url=home.url,
            webhook_grace=0.0,
        ) as batch:
            outcomes = [outcome async for outcome in batch]
            async with turning(clock):
                await until(lambda: batch.statistics().doubts_resolved)
            assert home.journal.counts()[State.SUBMITTED] == 1
        async with turning(clock):
            again = await home.run(video(1))

        assert len(home.sandbox.audit.creates) == 1
    assert [type(outcome) for outcome in (*outcomes, *again)] == [InDoubt, Completed]


async def test_callbacks_that_come_twice_and_out_of_order_change_nothing() -> None:
    faults = [
        {**LOST, "probability": 0.5},
        {"on": "webhook", "kind": "duplicate"},
        {"on": "webhook", "kind": "reorder", "probability": 0.5},
        {"on": "webhook", "kind": "delay", "seconds": 20, "probability": 0.5},
    ]
    async with house(*faults, seed=5) as home:
        outcomes = await home.run(*map(video, range(12)), max_in_flight=6)

        assert home.sandbox.audit.paid_twice() == ()
        assert len(home.sandbox.audit.jobs) == 12
    assert len({outcome.job.id for outcome in outcomes if isinstance(outcome, Completed)}) == 12


async def test_a_callback_may_come_before_the_answer() -> None:
    # The job is over before its POST is answered, and the answer is then lost.
    async with house({**LOST, "nth": 1}, median_seconds=0.5) as home:
        seen: list[str] = []

        class Slow(BatchJournal):
            async def record(self, *changes: Any) -> None:
                for change in changes:
                    if change.state is State.IN_DOUBT:
                        seen.append(change.key)
                        await until(lambda: home.receiver.statistics().delivered >= 2)
                await super().record(*changes)

        async with Slow(":memory:") as journal:
            (outcome,) = await home.run(video(), journal=journal)

    assert seen
    assert isinstance(outcome, Completed)


async def test_a_job_said_to_be_over_before_its_answer_is_asked_about_at_once() -> None:
    async with house({"on": "create", "kind": "delay", "seconds": 0.0}, median_seconds=0.5) as home:

        class Slow(BatchJournal):
            async def record(self, *changes: Any) -> None:
                if any(change.state is State.SUBMITTED for change in changes):
                    await until(lambda: home.receiver.statistics().delivered >= 2)
                await super().record(*changes)

        async with Slow(":memory:") as journal:
            (outcome,) = await home.run(video(), journal=journal, schedule=FixedSchedule(interval=3600))

        assert len(home.sandbox.audit.polls(outcome.job.id)) == 1
    assert isinstance(outcome, Completed)


async def _in_doubt(home: House, *requests: TranslationRequest) -> None:
    """Leave requests in doubt, and nobody told of it."""
    home.sandbox.faults.add(Fault(on="webhook", kind="lose"))
    home.sandbox.faults.add(Fault(**LOST, limit=len(requests)))
    outcomes = await home.run(*requests, webhook_grace=0.0, max_submits=1)
    assert all(isinstance(outcome, InDoubt) for outcome in outcomes)
    home.sandbox.faults.clear()


async def _tokens(home: House) -> list[str]:
    return [entry.token async for entry in home.journal.entries(states=(State.IN_DOUBT,))]


class Teller:
    """A source that tells of some callbacks as soon as somebody listens."""

    def __init__(self, *callbacks: Callback) -> None:
        self.callbacks = callbacks
        self.listeners: list[Any] = []

    def subscribe(self, listener: Any) -> Any:
        self.listeners.append(listener)
        for callback in self.callbacks:
            listener.on_callback(callback)
        return lambda: None

    def callbacks_for(self, token: str) -> tuple[Callback, ...]:
        return ()


async def _run_telling(home: House, *callbacks: Callback, requests: Any, **options: Any) -> list[Outcome]:
    """Run once more, and tell the batch of callbacks as soon as it listens."""
    return await home.run(*requests, callbacks=Teller(*callbacks), **{"webhook_grace": 0.3} | options)


async def test_a_doubt_of_an_earlier_run_is_cleared_up() -> None:
    async with house() as home:
        await _in_doubt(home, video(1))
        (token,), (job,) = await _tokens(home), home.sandbox.audit.jobs
        (outcome,) = await _run_telling(home, Callback(job_id=job.id, token=token), requests=[video(1)])

        assert len(home.sandbox.audit.creates) == 1
    assert isinstance(outcome, Completed)
    assert outcome.job.id == job.id


@pytest.mark.parametrize("on_in_doubt", ["hold", "resubmit"])
async def test_a_doubt_that_is_cleared_up_while_other_jobs_have_all_places_is_none_any_more(
    on_in_doubt: str,
) -> None:
    clock = still_clock()  # the place is not free before the doubt is cleared up
    async with house(clock=clock) as home:
        await _in_doubt(home, video(1))
        (token,), (job,) = await _tokens(home), home.sandbox.audit.jobs
        teller = Teller()
        async with open_batch(
            home.client,
            [video(2), video(1)],
            max_in_flight=1,
            journal=home.journal,
            callbacks=teller,
            on_in_doubt=on_in_doubt,
        ) as batch:
            await until(lambda: batch.statistics().pulled >= 2)
            teller.listeners[0].on_callback(Callback(job_id=job.id, token=token))
            await until(lambda: batch.statistics().doubts_resolved)
            assert batch.statistics().completed == 0
            async with turning(clock):
                outcomes = [outcome async for outcome in batch]

        assert home.sandbox.audit.paid_twice() == ()
    assert [type(outcome) for outcome in outcomes] == [Completed, Completed]


async def test_a_doubt_that_is_cleared_up_before_it_is_paid_again_is_not_paid_again() -> None:
    def earlier() -> datetime:
        return datetime.now(UTC) - timedelta(hours=2)

    clock = still_clock()  # its place is not free before the doubt is cleared up
    async with house(clock=clock) as opened, open_journal(":memory:", now=earlier) as journal:
        home = attrs.evolve(opened, journal=journal)
        await _in_doubt(home, video(1))
        (token,), (job,) = await _tokens(home), home.sandbox.audit.jobs
        teller = Teller()
        async with open_batch(
            home.client,
            [video(2), video(1)],
            max_in_flight=1,
            journal=journal,
            callbacks=teller,
            on_in_doubt="resubmit",
        ) as batch:
            await until(lambda: batch._state._doubted)
            teller.listeners[0].on_callback(Callback(job_id=job.id, token=token))
            await until(lambda: batch.statistics().doubts_resolved)
            async with turning(clock):
                outcomes = [outcome async for outcome in batch]
            assert batch.statistics().resubmitted == 0

        assert len(home.sandbox.audit.jobs) == 2
    assert [type(outcome) for outcome in outcomes] == [Completed, Completed]
    assert outcomes[1].job.id == job.id


async def test_a_right_token_with_a_job_that_is_not_ours_clears_up_nothing() -> None:
    async with house() as home:
        await _in_doubt(home, video(1))
        (token,) = await _tokens(home)
        forged = [Callback(job_id=f"{number:024x}", token=token, status=3) for number in range(20)]
        (outcome,) = await _run_telling(home, *forged, requests=[video(1)])

        asked = {job_id: times for job_id, times in home.sandbox.audit.polled.items() if times}
        assert len(asked) == 8
    assert isinstance(outcome, InDoubt)


async def test_a_claim_that_was_refused_is_not_looked_into_again() -> None:
    async with house() as home:
        (done,) = await home.run(video(2))
        await _in_doubt(home, video(1))
        told = Callback(job_id=done.job.id, token=(await _tokens(home))[0])
        teller = Teller(told)
        async with open_batch(
            home.client, [video(1)], journal=home.journal, callbacks=teller, webhook_grace=0.0
        ) as batch:
            outcomes = [outcome async for outcome in batch]
            before = len(home.sandbox.audit.polls(done.job.id))
            for _ in range(20):
                teller.listeners[0].on_callback(told)
                await anyio.sleep(0.005)
            after = len(home.sandbox.audit.polls(done.job.id))

    assert isinstance(outcomes[0], InDoubt)
    assert after == before


async def test_a_right_token_with_the_job_of_another_entry_clears_up_nothing() -> None:
    async with house() as home:
        (done,) = await home.run(video(2))
        await _in_doubt(home, video(1))
        (token,) = await _tokens(home)
        (outcome,) = await _run_telling(home, Callback(job_id=done.job.id, token=token), requests=[video(1)])

        assert home.journal.find_job(done.job.id).key == done.key
    assert isinstance(outcome, InDoubt)


async def test_a_job_that_two_entries_claim_is_given_to_neither() -> None:
    async with house() as home:
        await _in_doubt(home, video(1), video(2))
        tokens, jobs = await _tokens(home), home.sandbox.audit.jobs
        told = [Callback(job_id=jobs[0].id, token=token) for token in tokens]
        outcomes = await _run_telling(home, *told, requests=[video(1), video(2)])

    assert all(isinstance(outcome, InDoubt) for outcome in outcomes)


async def test_a_job_made_before_the_entry_was_sent_is_not_its() -> None:
    async with house(time_scale=1.0) as home:
        await _in_doubt(home, video(1))
        (token,), (job,) = await _tokens(home), home.sandbox.audit.jobs
        sent = home.journal.find_token(token).submitted_at
        told = Callback(job_id=job.id, token=token)

        _move(home, sent + timedelta(minutes=3))
        (outcome,) = await _run_telling(home, told, requests=[video(1)])
        assert isinstance(outcome, InDoubt)

        _move(home, sent + timedelta(minutes=1))
        async with open_batch(home.client, [video(1)], journal=home.journal, callbacks=Teller(told)):
            await until(lambda: home.journal.find_token(token).job_id == job.id)


@pytest.mark.parametrize("ahead", [timedelta(minutes=10), timedelta(minutes=-10)])
async def test_a_clock_that_is_wrong_here_keeps_no_doubt(ahead: timedelta) -> None:
    async with house(time_scale=1.0) as home:
        await _in_doubt(home, video(1))
        (token,), (job,) = await _tokens(home), home.sandbox.audit.jobs
        _move(home, home.journal.find_token(token).submitted_at + ahead)
        home.client.session.clock = _Wrong(ahead)
        told = Callback(job_id=job.id, token=token)
        async with open_batch(home.client, [video(1)], journal=home.journal, callbacks=Teller(told)):
            await until(lambda: home.journal.find_token(token).job_id == job.id)


@pytest.mark.parametrize("days", [-9, 9])
@pytest.mark.parametrize("comes", ["at once", "after the claim"])
async def test_a_job_called_for_an_intent_of_a_wrong_clock_is_not_paid_again(
    days: int, comes: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def source() -> AsyncIterator[TranslationRequest]:
        if comes == "after the claim":
            await until(lambda: f"names job {job.id}" in caplog.text)
            await anyio.sleep(0.05)
        yield video(1)

    async with house() as home:
        await _in_doubt(home, video(1))
        (token,), (job,) = await _tokens(home), home.sandbox.audit.jobs
        _move(home, home.journal.find_token(token).submitted_at + timedelta(days=days))
        told = Teller(Callback(job_id=job.id, token=token))
        options = {"callbacks": told, "webhook_grace": 0.0, "on_in_doubt": "resubmit"}
        async with open_batch(home.client, source(), journal=home.journal, **options) as batch:
            outcomes = [outcome async for outcome in batch]

        assert len(home.sandbox.audit.creates) == 1
    assert [type(outcome) for outcome in outcomes] == [InDoubt]


class _Wrong(SystemClock):
    """A wall clock that is wrong."""

    def __init__(self, by: timedelta) -> None:
        super().__init__()
        self._by = by

    def now(self) -> datetime:
        return super().now() + self._by


def _move(home: House, sent: datetime) -> None:
    """Let the entry's intent have been at another time."""
    moment = sent.isoformat(timespec="microseconds")
    home.journal._opened.store._writing.execute("UPDATE entry SET submitted_at = ?", (moment,))


async def test_a_job_whose_own_post_is_still_under_way_is_left_to_it() -> None:
    async with house() as home:
        await _in_doubt(home, video(1))
        (token,) = await _tokens(home)

        teller = Teller()
        record = home.journal.record

        async def slow(*changes: Any) -> None:
            if any(change.state is State.SUBMITTED and change.job_id for change in changes):
                job = home.sandbox.audit.jobs[-1]
                teller.listeners[0].on_callback(Callback(job_id=job.id, token=token))
                await until(lambda: home.sandbox.audit.polls(job.id))
            await record(*changes)

        home.journal.record = slow
        outcomes = await home.run(video(1), video(2), callbacks=teller, webhook_grace=1.0)
        kinds = {outcome.request.url[-5]: type(outcome) for outcome in outcomes}

    assert kinds == {"1": InDoubt, "2": Completed}


async def test_paying_again_waits_for_the_callback_first() -> None:
    async with house() as home:
        await _in_doubt(home, video(1), video(2))
        tokens, jobs = await _tokens(home), home.sandbox.audit.jobs
        told = Callback(job_id=jobs[0].id, token=tokens[0])
        outcomes = await _run_telling(home, told, requests=[video(1), video(2)], on_in_doubt="resubmit")

        assert len(home.sandbox.audit.creates) == 3
    assert all(isinstance(outcome, Completed) for outcome in outcomes)


@pytest.mark.parametrize("code", [1005, 1104, 1202])
async def test_a_doubt_that_paying_again_did_not_end_is_cleared_up_by_its_own_callback(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def earlier() -> datetime:
        return datetime.now(UTC) - timedelta(hours=2)

    async with house() as opened, open_journal(":memory:", now=earlier) as journal:
        home = attrs.evolve(opened, journal=journal)
        await _in_doubt(home, video(1))
        (before,) = [entry async for entry in journal.entries()]
        (job,) = home.sandbox.audit.jobs
        home.sandbox.faults.add(Fault(on="create", kind="code", code=code, nth=1))
        async with open_batch(
            home.client, [video(1)], journal=journal, on_in_doubt="resubmit", webhook_url=home.url
        ) as batch:
            kind = type(home.client.session)
            submit = kind.submit_once

            async def submit_and_drain(*arguments: Any, **options: Any) -> Any:
                try:
                    return await submit(*arguments, **options)
                finally:
                    batch.drain()  # before the answer is acted on: it would be sent once more

            monkeypatch.setattr(kind, "submit_once", submit_and_drain)
            outcomes = [outcome async for outcome in batch]
            monkeypatch.undo()
            assert len(home.sandbox.audit.creates) == 2
        (entry,) = [entry async for entry in journal.entries()]
        assert (entry.state, entry.paid_submissions, entry.token) == (State.IN_DOUBT, 1, before.token)
        (outcome,) = await _run_telling(
            home, Callback(job_id=job.id, token=before.token), requests=[video(1)]
        )

        assert home.sandbox.audit.paid_twice() == ()
    assert [type(one) for one in (*outcomes, outcome)] == [InDoubt, Completed]


async def test_what_can_not_be_called_is_refused() -> None:
    async with house() as home:
        for options in (
            {"webhook_url": "ftp://x"},
            {"webhook_url": "https://me.example/my hook"},
        ):
            with pytest.raises(ConfigurationError):
                open_batch(home.client, [], **options)


async def test_without_a_journal_a_doubt_that_is_held_back_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        house(LOST, {"on": "webhook", "kind": "lose"}) as home,
        open_batch(home.client, [video(1)], callbacks=home.receiver, webhook_url=home.url) as batch,
    ):
        await until(lambda: batch._callbacks.waiting_keys)

    assert f"Entry {entry_key(video(1), 'ja')} is in doubt" in caplog.text


async def test_a_doubt_that_is_held_back_in_its_last_moment_waits_for_its_callback() -> None:
    doubt, clock, named = _Doubt("key", "ja", TOKEN), SystemClock(), list[_Candidate | None]()

    async def wait() -> None:
        named.append(await doubt.next_candidate(clock))

    with anyio.fail_after(200):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.lowlevel.checkpoint()  # its time is over, and it is about to notice that
            doubt.until = clock.monotonic() + 150
            await anyio.sleep(0.01)
            doubt.add(candidate := _Candidate("a" * 24, from_callback=True))

    assert named == [candidate]


async def test_unknown_tokens_cost_nothing() -> None:
    async with house() as home:
        told = [Callback(job_id=f"{number:024x}", token=TOKEN) for number in range(50)]
        await _run_telling(home, *told, requests=[video(1)])

        assert len(home.sandbox.audit.polled) == 1


async def test_a_batch_that_is_left_at_once_hears_nothing_more() -> None:
    async with house() as home:
        async with open_batch(home.client, [], journal=home.journal, callbacks=home.receiver):
            await until(lambda: home.receiver._listeners)

        assert home.receiver._listeners == []
