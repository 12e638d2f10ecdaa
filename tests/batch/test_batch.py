"""A batch: bounded, streamed, resumable; what ends it early, and what it may never do."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from akool_async import (
    AkoolClient,
    AkoolError,
    AuthenticationError,
    BadRequestError,
    Batch,
    ClientClosedError,
    Completed,
    ConfigurationError,
    Failed,
    InDoubt,
    InvalidRequestError,
    LipSyncRequest,
    NotSubmitted,
    Outcome,
    Rejected,
    State,
    StopCause,
    TranslationRequest,
    entry_key,
    open_batch,
    open_journal,
)
from akool_async._http.exchange import ExchangeDeadlines
from akool_async.sandbox import Fault
from tests.client.conftest import KEY, QUICK, Open, video
from tests.client.moments import HurriedClock, address, closed_port, held_back, still_clock, until
from tests.recorder import Recorder


def videos(count: int, **options: Any) -> list[TranslationRequest]:
    return [video(number, **options) for number in range(count)]


async def run(client: AkoolClient, requests: Any, **options: Any) -> list[Outcome]:
    with anyio.fail_after(55):
        async with open_batch(client, requests, **options) as batch:
            return [outcome async for outcome in batch]


async def test_streams_every_outcome_of_a_catalog(house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, house() as home:
        client = await home.client()
        outcomes = await run(
            client,
            videos(12, targets="ja,fr"),
            max_in_flight=5,
            journal=journal,
            download_to=tmp_path / "out",
        )

        assert len(home.sandbox.audit.jobs) == 24
        assert home.sandbox.audit.paid_twice() == ()
        assert journal.counts()[State.DELIVERED] == 24
    assert len(outcomes) == 24
    assert all(isinstance(outcome, Completed) and outcome.saved.video.exists() for outcome in outcomes)
    assert len({outcome.saved.video for outcome in outcomes}) == 24


async def test_keeps_the_bound_of_jobs_in_flight(house: Open) -> None:
    most = 0
    async with house(max_jobs=100) as home:
        client = await home.client()
        async with open_batch(client, videos(20, targets="ja,fr,hi"), max_in_flight=4) as batch:
            async for _ in batch:
                most = max(most, batch.statistics().in_flight)

        assert len(home.sandbox.audit.jobs) == 60
        assert all(len(create.job_ids) <= 4 for create in home.sandbox.audit.creates)
        assert _most_at_once(home.sandbox.audit.jobs) <= 4
    assert most <= 4


def _most_at_once(jobs: Any) -> int:
    edges = sorted([(job.created, 1) for job in jobs] + [(job.ended, -1) for job in jobs])
    return max(itertools.accumulate(step for _, step in edges))


async def test_takes_async_sources_and_lip_syncs(house: Open) -> None:
    async def source() -> AsyncIterator[LipSyncRequest]:
        for number in range(3):
            await anyio.lowlevel.checkpoint()
            yield LipSyncRequest(
                video_url=f"https://example.com/{number}.mp4", audio_url="https://example.com/a.wav"
            )

    async with house() as home:
        outcomes = await run(await home.client(), source())

    assert [outcome.target for outcome in outcomes] == ["", "", ""]


async def run_until_closed(batch: Batch, outcomes: list[Outcome]) -> None:
    """Take the outcomes of a batch whose client somebody else closes."""
    with anyio.fail_after(55):
        async with batch:
            with pytest.raises(ClientClosedError):
                async for outcome in batch:
                    outcomes.append(outcome)


async def test_a_batch_whose_client_is_closed_ends_and_says_so(house: Open, tmp_path: Path) -> None:
    outcomes: list[Outcome] = []
    async with open_journal(tmp_path / "j.sqlite3") as journal:
        async with anyio.create_task_group() as tasks, house(clock=still_clock()) as home:
            batch = open_batch(await home.client(), videos(6), max_in_flight=2, journal=journal)
            tasks.start_soon(run_until_closed, batch, outcomes)
            await until(lambda: len(home.sandbox.audit.polled) == 2)

        assert journal.counts()[State.SUBMITTED] == 2
    assert [type(outcome) for outcome in outcomes] == [NotSubmitted] * 4


async def test_a_batch_whose_client_is_closed_during_its_post_keeps_the_job(
    house: Open, tmp_path: Path
) -> None:
    outcomes: list[Outcome] = []

    async def answer_once_closing(deadlines: ExchangeDeadlines, answer: Callable[[], None]) -> None:
        await until(lambda: deadlines._closed)
        answer()

    async with open_journal(tmp_path / "j.sqlite3") as journal:
        with contextlib.ExitStack() as holding:
            async with anyio.create_task_group() as tasks, house(clock=still_clock()) as home:
                answer = holding.enter_context(held_back(home.sandbox, "create"))
                client = await home.client()
                batch = open_batch(client, videos(3), max_submits=1, journal=journal)
                tasks.start_soon(run_until_closed, batch, outcomes)
                await until(lambda: home.sandbox.audit.requests)
                tasks.start_soon(answer_once_closing, client.session.opened.api._deadlines, answer)

        assert journal.counts()[State.SUBMITTED] == 1
    assert [type(outcome) for outcome in outcomes] == [NotSubmitted] * 2


async def test_pulls_lazily_from_an_endless_source_and_stops_early(house: Open) -> None:
    pulled = itertools.count()

    def source() -> Iterator[TranslationRequest]:
        while True:
            yield video(next(pulled))

    async with house(max_jobs=50) as home:
        client = await home.client()
        async with open_batch(client, source(), max_in_flight=5) as batch:
            taken = 0
            async for _ in batch:
                taken += 1
                if taken == 20:
                    break

        assert len(home.sandbox.audit.jobs) <= 20 + 2 * 5 + 1
    assert next(pulled) <= 20 + 2 * 5 + 10


async def test_a_slow_consumer_stops_new_submissions(house: Open) -> None:
    async with house() as home:
        client = await home.client()
        async with open_batch(client, videos(100), max_in_flight=3, backlog=6) as batch:
            with anyio.fail_after(55):
                while len(home.sandbox.audit.jobs) < 6:
                    await anyio.sleep(0.01)
            await anyio.sleep(0.3)

            assert len(home.sandbox.audit.jobs) == 6
            assert batch.statistics().pulled == 6


async def test_a_second_run_pays_for_nothing_and_tells_the_same(house: Open, tmp_path: Path) -> None:
    async with house() as home:
        client = await home.client()
        for resumed in (False, True):
            async with open_journal(tmp_path / "j.sqlite3") as journal:
                outcomes = await run(client, videos(5), journal=journal, download_to=tmp_path)
            assert [outcome.resumed for outcome in outcomes] == [resumed] * 5
            assert all(
                isinstance(outcome, Completed) and outcome.saved.video.exists() for outcome in outcomes
            )

        assert len(home.sandbox.audit.creates) == 5


async def test_what_a_stopped_run_left_is_brought_home_by_the_next(house: Open, tmp_path: Path) -> None:
    async with house(time_scale=1e-6) as home:
        client = await home.client()
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            async with open_batch(client, videos(8), max_in_flight=4, journal=journal) as batch:
                await until(lambda: journal.counts()[State.SUBMITTED] >= 2)
            assert batch.statistics().completed == 0
        home.sandbox.clock.scale = 2000.0
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            outcomes = await run(client, videos(8), journal=journal, download_to=tmp_path / "out")

        assert len(outcomes) == 8
        assert len(home.sandbox.audit.jobs) == 8
        assert home.sandbox.audit.paid_twice() == ()
    assert all(isinstance(outcome, Completed) for outcome in outcomes)


async def test_a_lost_answer_is_in_doubt_and_stays_so_until_told(house: Open, tmp_path: Path) -> None:
    async with house(faults=[Fault(on="create", kind="reset_after", nth=2)]) as home:
        client = await home.client()
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            first = await run(client, videos(4), journal=journal, max_submits=1)
            again = await run(client, videos(4), journal=journal)
            doubts = [outcome for outcome in first if isinstance(outcome, InDoubt)]
            assert len(doubts) == 1
            assert doubts[0].submitted_at is not None  # when to look for it in the account's usage
            assert [outcome.key for outcome in again if isinstance(outcome, InDoubt)] == [doubts[0].key]
            assert len(home.sandbox.audit.creates) == 4

            await run(client, videos(4), journal=journal, on_in_doubt="resubmit")
            assert len(home.sandbox.audit.creates) == 5
            entry = journal.get(doubts[0].key, "ja")

    assert entry.state is State.DELIVERED
    assert entry.paid_submissions == 2


@pytest.mark.parametrize(
    "fault", [{"kind": "code", "code": 1104}, {"kind": "code", "code": 1005}, {"kind": "redirect"}], ids=str
)
async def test_a_doubt_stays_one_where_paying_again_made_no_job(
    fast_house: Open, tmp_path: Path, fault: dict[str, Any]
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        home.sandbox.faults.add(Fault(on="create", kind="reset_after"))
        client = await home.client(retry=attrs.evolve(QUICK, throttle_initial_delay=0.05))
        (first,) = await run(client, videos(1), journal=journal)
        home.sandbox.faults.clear()
        home.sandbox.faults.add(Fault(on="create", **fault))
        outcomes = []
        async with open_batch(client, videos(1), journal=journal, on_in_doubt="resubmit") as batch:
            with anyio.fail_after(55), contextlib.suppress(AkoolError):
                while len(home.sandbox.audit.creates) < 2:
                    await anyio.sleep(0.005)
                batch.drain("enough")
                async for outcome in batch:
                    outcomes.append(outcome)
        assert batch.statistics().resubmitted == 1

        (second,) = outcomes
        assert journal.counts()[State.IN_DOUBT] == 1
        assert len(home.sandbox.audit.jobs) == 1
    assert isinstance(second, InDoubt)
    assert second.reason == first.reason


@pytest.mark.parametrize("code", [1202, 1203, 4711])
async def test_a_doubt_stays_one_where_paying_again_is_refused(
    fast_house: Open, tmp_path: Path, code: int
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        home.sandbox.faults.add(Fault(on="create", kind="reset_after"))
        client = await home.client()
        await run(client, videos(1), journal=journal)
        home.sandbox.faults.clear()
        home.sandbox.faults.add(Fault(on="create", kind="code", code=code))
        (again,) = await run(client, videos(1), journal=journal, on_in_doubt="resubmit")
        (held,) = await run(client, videos(1), journal=journal, retry_failed=True)

        (entry,) = [entry async for entry in journal.entries()]
        assert len(home.sandbox.audit.creates) == 2
    assert (entry.state, entry.paid_submissions) == (State.IN_DOUBT, 1)
    assert isinstance(again, InDoubt)
    assert isinstance(held, InDoubt)
    assert "refused" in again.reason
    assert "nothing was charged" not in again.reason
    assert held.reason == again.reason == entry.reason


async def test_ids_that_one_post_left_in_doubt_outlive_the_next(house: Open, tmp_path: Path) -> None:
    torn = Fault(on="create", kind="truncated", keep=0.9, nth=1)
    both = [video(1, targets=("ja", "fr"))]
    unknown = Fault(on="status", kind="vanish")
    async with house(faults=[torn, unknown, Fault(on="create", kind="reset_after", nth=(2, 3))]) as home:
        client = await home.client(clock=HurriedClock())
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            await run(client, both, journal=journal)
            first = [entry.doubt_ids async for entry in journal.entries()]
            await run(client, both, journal=journal, on_in_doubt="resubmit")
            second = [entry.doubt_ids async for entry in journal.entries()]
            counts = journal.counts()

        # The ids were asked for one by one, so each language is sent by itself.
        assert len(home.sandbox.audit.creates) == 3
    assert all(first)
    assert second == first
    assert counts[State.IN_DOUBT] == 2


async def test_the_job_of_a_torn_answer_may_not_be_known_yet(house: Open) -> None:
    torn = Fault(on="create", kind="truncated", keep=0.9, nth=1)
    async with house(faults=[torn, Fault(on="status", kind="vanish", nth=(1, 2))]) as home:
        (outcome,) = await run(await home.client(), videos(1))

        assert len(home.sandbox.audit.creates) == 1
    assert isinstance(outcome, Completed)


async def test_a_doubt_that_is_resolved_with_an_id_is_brought_home(house: Open, tmp_path: Path) -> None:
    async with house(faults=[Fault(on="create", kind="reset_after", nth=1)]) as home:
        client = await home.client()
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            (doubt,) = await run(client, videos(1), journal=journal)
            await journal.resolve(doubt.key, job_id=home.sandbox.audit.jobs[0].id)
            (done,) = await run(client, videos(1), journal=journal)

        assert len(home.sandbox.audit.creates) == 1
    assert isinstance(done, Completed)


async def test_without_a_journal_what_is_paid_and_not_taken_is_named(
    house: Open, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(faults=[Fault(on="create", kind="reset_after", nth=2)]) as home:
        client = await home.client()
        with caplog.at_level("WARNING", "akool_async"), anyio.fail_after(55):
            async with open_batch(client, videos(3), max_submits=1) as batch:
                while batch.statistics().completed + batch.statistics().in_doubt < 3:
                    await anyio.sleep(0.005)

        lost = home.sandbox.audit.creates[1].payload["url"]
        first, _, last = home.sandbox.audit.jobs
    assert {first.id, last.id} <= set(caplog.text.split())
    (doubted,) = [entry_key(one, "ja") for one in videos(3) if one.url == lost]
    assert f"Entry {doubted} is in doubt" in caplog.text


async def test_refused_failed_and_good_entries_do_not_disturb_each_other(house: Open) -> None:
    faults = [Fault(on="create", kind="refuse_language", language="fr", code=1203)]
    async with house(failure_rate=0.3, faults=faults) as home:
        outcomes = await run(await home.client(), videos(20, targets="ja,fr"), max_in_flight=6)

    kinds = {type(outcome) for outcome in outcomes}
    assert len(outcomes) == 40
    assert kinds == {Completed, Failed, Rejected}
    assert all(isinstance(outcome, Rejected) == (outcome.target == "fr") for outcome in outcomes)


async def test_failed_entries_are_paid_again_only_when_asked(house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, house() as home:
        client = await home.client()
        home.sandbox.faults.add(Fault(on="create", kind="code", code=1203, nth=1))
        first = await run(client, videos(1), journal=journal)
        again = await run(client, videos(1), journal=journal)
        retried = await run(client, videos(1), journal=journal, retry_failed=True)

    assert [type(outcome) for outcome in (*first, *again, *retried)] == [Rejected, Rejected, Completed]
    assert again[0].resumed


async def test_duplicates_are_found_before_they_are_paid(house: Open) -> None:
    async with house() as home:
        outcomes = await run(await home.client(), [*videos(3), *videos(3)])

        assert len(home.sandbox.audit.jobs) == 3
    refused = [outcome for outcome in outcomes if isinstance(outcome, NotSubmitted)]
    assert len(refused) == 3
    assert "twice" in refused[0].reason


async def test_the_same_work_under_two_keys_is_paid_once(fast_house: Open) -> None:
    wanted = [
        video(1, targets="ja,fr", key="a"),
        video(1, targets="fr,hi", key="b"),
        video(1),
        TranslationRequest(url="https://example.com/get?token=1", targets="ja", key="c"),
        TranslationRequest(url="https://example.com/get?token=2", targets="ja", key="d"),
    ]
    async with fast_house() as home:
        outcomes = await run(await home.client(), wanted)

        made = sorted((job.url, job.language) for job in home.sandbox.audit.jobs)
    refused = [outcome for outcome in outcomes if isinstance(outcome, NotSubmitted)]
    assert len(made) == len(set(made)) == 5
    assert [(outcome.request.key, outcome.target) for outcome in refused] == [("b", "fr"), (None, "ja")]
    assert all("another key" in outcome.reason for outcome in refused)


async def test_a_key_that_names_other_work_is_not_submitted(house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, house() as home:
        client = await home.client()
        await run(client, [video(1, key="mine")], journal=journal)
        (outcome,) = await run(client, [video(2, key="mine")], journal=journal)

        assert len(home.sandbox.audit.jobs) == 1
    assert isinstance(outcome, NotSubmitted)
    assert "other work" in outcome.reason


async def test_out_of_credits_stops_submissions_and_brings_home_what_runs(house: Open) -> None:
    async with house(credits=10.0, video_seconds=16.0) as home:
        outcomes = await run(await home.client(), videos(8), max_in_flight=2)

    assert len(outcomes) == 8
    assert sum(isinstance(outcome, Completed) for outcome in outcomes) == 2
    assert sum(isinstance(outcome, NotSubmitted) for outcome in outcomes) == 6


async def test_max_credits_is_kept_at_worst(house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, house(video_seconds=16.0) as home:
        client = await home.client()
        outcomes = await run(client, videos(10), max_credits=14.0, journal=journal)
        assert sum(isinstance(outcome, Completed) for outcome in outcomes) == 3
        assert journal.credits()[1] <= 14.0

        await run(client, videos(10), max_credits=14.0, journal=journal)
        assert len(home.sandbox.audit.jobs) == 3


async def test_who_waits_for_a_first_cost_is_told_when_the_batch_stops(house: Open) -> None:
    async with house(faults=[Fault(on="create", kind="code", code=1104)]) as home:
        outcomes = await run(await home.client(), videos(4), max_credits=14.0)

    assert [type(outcome) for outcome in outcomes] == [NotSubmitted] * 4


@pytest.mark.parametrize("code", [1200, 1101])
async def test_a_closed_account_stops_the_batch_and_is_raised_at_the_end(house: Open, code: int) -> None:
    async with house(faults=[Fault(on="create", kind="code", code=code, nth=range(4, 100))]) as home:
        client = await home.client()
        outcomes: list[Outcome] = []
        async with open_batch(client, videos(9), max_in_flight=3, max_submits=1) as batch:
            with pytest.raises(Exception, match=str(code)) as caught:
                async for outcome in batch:
                    outcomes.append(outcome)

    assert len(outcomes) == 9
    assert sum(isinstance(outcome, Completed) for outcome in outcomes) == 3
    assert caught.value.code == code


@pytest.mark.parametrize("code", [1015, 9999])
async def test_trouble_with_the_token_refuses_no_entry(fast_house: Open, code: int) -> None:
    pair = {"client_id": "someone", "client_secret": KEY}
    async with fast_house(faults=[Fault(on="token", kind="code", code=code, limit=6)], **pair) as home:
        outcomes = await run(await home.client(**pair), videos(3))

    assert [type(outcome) for outcome in outcomes] == [Completed] * 3


@pytest.mark.parametrize("code", [1015, 9999])
async def test_trouble_with_the_token_inside_a_post_refuses_no_entry(fast_house: Open, code: int) -> None:
    pair = {"client_id": "someone", "client_secret": KEY}
    faults = [
        Fault(on="create", kind="token_expired", nth=1),
        Fault(on="token", kind="code", code=code, nth=range(2, 8)),
    ]
    async with fast_house(faults=faults, **pair) as home:
        outcomes = await run(await home.client(**pair), videos(3), max_submits=1)

        assert home.sandbox.audit.paid_twice() == ()
    assert [type(outcome) for outcome in outcomes] == [Completed] * 3


async def test_a_token_that_can_not_be_renewed_inside_a_post_refuses_no_entry(
    fast_house: Open, tmp_path: Path
) -> None:
    pair = {"client_id": "someone", "client_secret": KEY}
    faults = [
        Fault(on="create", kind="token_expired", nth=1),
        Fault(on="token", kind="code", code=1003, nth=range(2, 9)),
    ]
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(faults=faults, **pair) as home:
        client = await home.client(**pair)
        outcomes: list[Outcome] = []
        async with open_batch(client, videos(3), max_submits=1, journal=journal) as batch:
            with pytest.raises(BadRequestError):
                async for outcome in batch:
                    outcomes.append(outcome)

        assert journal.counts()[State.FAILED] == 0
    assert [type(outcome) for outcome in outcomes] == [NotSubmitted] * 3


async def test_a_token_that_is_refused_for_good_is_raised_and_refuses_no_entry(fast_house: Open) -> None:
    pair = {"client_id": "someone", "client_secret": KEY}
    async with fast_house(faults=[Fault(on="token", kind="code", code=1003)], **pair) as home:
        client = await home.client(**pair)
        outcomes: list[Outcome] = []
        async with open_batch(client, videos(3)) as batch:
            with pytest.raises(BadRequestError):
                async for outcome in batch:
                    outcomes.append(outcome)

    assert [type(outcome) for outcome in outcomes] == [NotSubmitted] * 3


@pytest.mark.thorough
async def test_throttling_costs_time_and_no_entry(house: Open) -> None:
    async with house(faults=[Fault(on="create", kind="code", code=1005, nth=(2, 3, 5))]) as home:
        outcomes = await run(await home.client(), videos(6), max_in_flight=3)

        assert len(home.sandbox.audit.jobs) == 6
    assert all(isinstance(outcome, Completed) for outcome in outcomes)


async def test_a_source_that_fails_is_raised_after_what_runs_is_home(house: Open) -> None:
    def source() -> Iterator[TranslationRequest]:
        yield from videos(3)
        raise OSError("the catalog is gone")

    async with house() as home:
        outcomes: list[Outcome] = []
        async with open_batch(await home.client(), source()) as batch:
            with pytest.raises(OSError, match="catalog is gone"):
                async for outcome in batch:
                    outcomes.append(outcome)

    assert len(outcomes) == 3


async def test_a_consumer_that_fails_gets_its_own_error_bare(house: Open) -> None:
    async with house() as home:
        client = await home.client()
        with pytest.raises(KeyError, match="mine"):
            async with open_batch(client, videos(5)) as batch:
                async for _ in batch:
                    raise KeyError("mine")
        assert await client.credit() > 0


@pytest.mark.parametrize(
    ("settings", "options", "cause"),
    [
        ({"credits": 10}, {}, StopCause.CREDITS),
        ({}, {"max_credits": 10.0}, StopCause.BUDGET),
        ({}, {}, None),
    ],
)
async def test_what_made_a_batch_stop_is_told(
    fast_house: Open, settings: dict[str, Any], options: dict[str, Any], cause: StopCause | None
) -> None:
    async with fast_house(**settings) as home:
        client = await home.client()
        async with open_batch(client, videos(6), **options) as batch:
            outcomes = [outcome async for outcome in batch]

        assert batch.stop_cause is cause
        assert bool(batch.stopped) is (cause is not None)
    unsent = [outcome for outcome in outcomes if isinstance(outcome, NotSubmitted)]
    assert bool(unsent) is (cause is not None)
    assert all(outcome.stopped for outcome in unsent)


async def test_draining_brings_home_what_is_in_flight(house: Open) -> None:
    async with house() as home:
        async with open_batch(await home.client(), videos(50), max_in_flight=3) as batch:
            outcomes = []
            async for outcome in batch:
                outcomes.append(outcome)
                batch.drain("enough")

        assert batch.stop_cause is StopCause.REQUESTED

        jobs = len(home.sandbox.audit.jobs)
    assert jobs == sum(isinstance(outcome, Completed) for outcome in outcomes)
    assert jobs < 10
    assert len(outcomes) <= 7


async def test_draining_does_not_wait_for_a_source_that_has_nothing_to_give(fast_house: Open) -> None:
    async def source() -> AsyncIterator[TranslationRequest]:
        yield video(1)
        await anyio.sleep_forever()

    async with fast_house() as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, source()) as batch:
                outcomes = []
                async for outcome in batch:
                    outcomes.append(outcome)
                    batch.drain("enough")

        assert batch.stop_cause is StopCause.REQUESTED

    assert [type(outcome) for outcome in outcomes] == [Completed]


async def test_draining_while_there_is_no_room_does_not_ask_the_source_again(fast_house: Open) -> None:
    async def source() -> AsyncIterator[TranslationRequest]:
        yield video(1)
        await anyio.sleep_forever()

    async with fast_house() as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, source(), max_in_flight=1, backlog=1) as batch:
                while not home.sandbox.audit.jobs:
                    await anyio.sleep(0.005)
                batch.drain("enough")
                outcomes = [outcome async for outcome in batch]

    assert [type(outcome) for outcome in outcomes] == [Completed]


@pytest.mark.parametrize("unsent_by", ["rate limit", "refused connection"])
async def test_draining_ends_the_wait_of_a_post_that_is_not_sent(unsent_by: str, fast_house: Open) -> None:
    seen = Recorder()
    far = 100_000.0  # seconds, which nobody lets pass
    waiting = attrs.evolve(
        QUICK,
        initial_delay=far,
        throttle_initial_delay=far,
        max_delay=far,
        deadline=10 * far,
        throttle_deadline=10 * far,
        jitter=lambda wait: wait,
    )

    fault = Fault(on="create", kind="code", code=1005)
    async with fast_house(faults=[fault]) as home:
        with closed_port() as nobody:
            host = home.server.base_url if unsent_by == "rate limit" else address(nobody)
            client = await home.client(retry=waiting, host=host, observers=[seen])
            with anyio.fail_after(60):
                async with open_batch(client, videos(3), max_submits=1) as batch:
                    await until(lambda: seen.named("post_ended"))
                    batch.drain("enough")
                    outcomes = [outcome async for outcome in batch]

        assert home.sandbox.audit.jobs == ()
    assert {(type(outcome), outcome.reason) for outcome in outcomes} == {(NotSubmitted, "enough")}


async def test_what_a_source_gives_after_draining_comes_out_as_not_submitted(fast_house: Open) -> None:
    async with fast_house() as home:
        client = await home.client()

        async def source() -> AsyncIterator[TranslationRequest]:
            yield video(1)
            batch.drain("enough")
            await anyio.lowlevel.checkpoint_if_cancelled()
            yield video(2)

        with anyio.fail_after(55):
            async with open_batch(client, source(), max_in_flight=1) as batch:
                outcomes = [outcome async for outcome in batch]

        assert len(home.sandbox.audit.jobs) <= 1
    assert {type(outcome) for outcome in outcomes} <= {Completed, NotSubmitted}


async def test_draining_between_two_posts_of_one_request_ends_all_its_languages(fast_house: Open) -> None:
    async with fast_house() as home:
        request = video(1, targets="ja,fr,hi,de,it,es")
        async with open_batch(await home.client(), [request], max_in_flight=2) as batch:
            outcomes = []
            async for outcome in batch:
                outcomes.append(outcome)
                batch.drain("enough")

        assert batch.stop_cause is StopCause.REQUESTED

        made = len(home.sandbox.audit.jobs)
    assert sorted(outcome.target for outcome in outcomes) == sorted(request.targets)
    assert sum(isinstance(outcome, Completed) for outcome in outcomes) == made < 6


async def test_results_that_can_not_be_saved_are_kept_for_the_next_run(house: Open, tmp_path: Path) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, house(clock=still_clock()) as home:
        client = await home.client()
        async with open_batch(client, videos(3), journal=journal, download_to=tmp_path / "out") as batch:
            await until(lambda: journal.counts()[State.SUBMITTED] == 3)
            (tmp_path / "out").write_text("no folder")
            home.sandbox.clock.advance(10_000)
            outcomes = [outcome async for outcome in batch]
        assert journal.counts()[State.COMPLETED] == 3
        (tmp_path / "out").unlink()
        again = await run(client, videos(3), journal=journal, download_to=tmp_path / "out")

        assert len(home.sandbox.audit.jobs) == 3
    assert all(outcome.saved is None and "written" in outcome.reason for outcome in outcomes)
    assert all(outcome.saved.video.exists() for outcome in again)


async def test_bad_credentials_while_waiting_are_raised_and_the_journal_keeps_the_jobs(
    house: Open, tmp_path: Path
) -> None:
    async with house(time_scale=1e-6) as home:
        client = await home.client()
        async with open_journal(tmp_path / "j.sqlite3") as journal:
            with pytest.raises(AuthenticationError):
                async with open_batch(client, videos(2), journal=journal) as batch:
                    await until(lambda: journal.counts()[State.SUBMITTED] == 2)
                    home.sandbox.faults.add(Fault(on="status", kind="code", code=1101))
                    assert [outcome async for outcome in batch] == []
            assert journal.counts()[State.SUBMITTED] == 2
            home.sandbox.faults.clear()
            home.sandbox.clock.scale = 2000.0
            outcomes = await run(client, videos(2), journal=journal)

        assert len(home.sandbox.audit.jobs) == 2
    assert all(isinstance(outcome, Completed) for outcome in outcomes)


@pytest.mark.parametrize(
    "options",
    [
        {"max_in_flight": 0},
        {"backlog": 3},
        {"on_in_doubt": "x"},
    ],
)
async def test_bad_options_are_refused_before_anything_is_sent(
    fast_house: Open, options: dict[str, Any]
) -> None:
    async with fast_house() as home:
        with pytest.raises(ConfigurationError):
            open_batch(await home.client(), videos(2), **options)


async def test_what_is_no_request_is_raised(fast_house: Open) -> None:
    async with fast_house() as home:
        client = await home.client()
        with pytest.raises(InvalidRequestError, match="takes requests"):
            await run(client, ["https://example.com/a.mp4"])
        with pytest.raises(ConfigurationError, match="iterable"):
            open_batch(client, 5)


async def test_statistics_tell_where_a_batch_is(fast_house: Open) -> None:
    async with fast_house() as home, open_batch(await home.client(), videos(4)) as batch:
        before = batch.statistics()
        outcomes = [outcome async for outcome in batch]
        after = batch.statistics()

    assert before.seconds_left is None
    assert (after.pulled, after.completed, after.in_flight, after.waiting) == (4, len(outcomes), 0, 0)
    assert after.credits_used == sum(outcome.credits for outcome in outcomes)
    assert after.seconds_left == 0


async def test_a_language_that_a_refusal_leaves_out_is_in_doubt(fast_house: Open) -> None:
    """One was made and left out of the answer, the other refused: the code of the whole is a refusal."""
    faults = [
        Fault(on="create", kind="omit_language", language="fr"),
        Fault(on="create", kind="refuse_language", language="ja", code=1104),
    ]
    async with fast_house(faults=faults) as home:
        outcomes = await run(await home.client(), [video(1, targets="fr,ja")])

        assert [job.language for job in home.sandbox.audit.jobs] == ["fr"]
    assert {outcome.target: type(outcome) for outcome in outcomes}["fr"] is InDoubt
    assert not any(isinstance(outcome, Completed) for outcome in outcomes)
