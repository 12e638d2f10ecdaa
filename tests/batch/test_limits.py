"""What holds a paid POST back: `max_credits` where prices are unknown, and doubts in a row."""

from __future__ import annotations

import errno
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from akool_async import (
    AkoolClient,
    Completed,
    InDoubt,
    NotSubmitted,
    Outcome,
    State,
    Status,
    StopCause,
    TranslationRequest,
    entry_key,
    open_batch,
    open_journal,
)
from akool_async._batch.limits import CreditBudget, DoubtBreaker
from akool_async._journal import EntryUpdate
from akool_async._storage import local_names as local
from akool_async.sandbox import Fault
from tests.client.conftest import Open, video
from tests.client.moments import until

COST = 4.0
"""Credits of a 16 s video in the sandbox, for one language."""


async def run(client: AkoolClient, count: int, **options: Any) -> tuple[list[Outcome], StopCause | None, str]:
    with anyio.fail_after(55):
        async with open_batch(client, [video(number) for number in range(count)], **options) as batch:
            outcomes = [outcome async for outcome in batch]
    return outcomes, batch.stop_cause, batch.stopped


# The budget by itself: jobs of random prices, some of which the vendor does not tell.


@pytest.mark.parametrize("seed", range(60))
async def test_what_is_spent_exceeds_the_bound_by_one_job_at_most(seed: int) -> None:
    """Seeds are the test's parameters."""
    chance = random.Random(seed)
    most = chance.uniform(5, 60)
    alike = seed % 2 == 0
    prices = [4.0 if alike else chance.choice([1.0, 4.0, 25.0]) for _ in range(40)]
    # Unknown prices count as the dearest known one, which is true of them where all are alike.
    told = [not alike or chance.random() > chance.choice([0.0, 0.3, 1.0]) for _ in prices]
    told_at_the_end = [chance.random() > 0.5 for _ in prices]
    # However wrong: too low, too high or missing.
    estimates = [chance.choice([None, 0.5, price, 3 * price]) for price in prices]
    journal: dict[int, float] = {}
    made: list[int] = []
    budget = CreditBudget(most, lambda: sum(journal.values()))

    async def entry(number: int) -> None:
        name = (str(number), "ja")
        await anyio.sleep(chance.random() / 1000)
        if await budget.reserve(name, estimates[number]):
            return
        await anyio.sleep(chance.random() / 1000)
        made.append(number)
        if told[number]:
            journal[number] = prices[number]
        budget.count_job(name, journal.get(number))
        budget.follow(name)
        budget.release()
        await anyio.sleep(chance.random() / 1000)
        if told_at_the_end[number]:
            journal[number] = prices[number]
        budget.settle(name, journal.get(number))

    async with anyio.create_task_group() as tasks:
        for number in range(len(prices)):
            tasks.start_soon(entry, number)

    dearest = max((prices[number] for number in made), default=0.0)
    assert sum(prices[number] for number in made) <= most + dearest


@pytest.mark.parametrize("price", [None, 0.0])
async def test_nothing_follows_a_job_whose_cost_never_becomes_known(price: float | None) -> None:
    budget = CreditBudget(20.0, lambda: 0.0)
    assert not await budget.reserve(("a", "ja"))
    budget.count_job(("a", "ja"), price)
    budget.release()

    assert "not known" in await budget.reserve(("a", "ja"))


async def test_the_next_job_waits_for_the_first_cost() -> None:
    spent = 0.0
    budget = CreditBudget(20.0, lambda: spent)
    assert not await budget.reserve(("a", "ja"))
    budget.count_job(("a", "ja"), None)
    budget.follow(("a", "ja"))
    budget.release()
    refusals: list[str] = []

    async def next_one() -> None:
        refusals.append(await budget.reserve(("a", "ja")))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(next_one)
        await anyio.wait_all_tasks_blocked()
        assert not refusals
        spent = COST
        budget.settle(("a", "ja"), COST)
    assert refusals == [""]


async def test_a_failed_job_of_unknown_cost_leaves_room() -> None:
    budget = CreditBudget(20.0, lambda: 0.0)
    assert not await budget.reserve(("a", "ja"))
    budget.count_job(("a", "ja"), None)
    budget.release()
    budget.settle(("a", "ja"), None, charged=False)

    assert not await budget.reserve(("a", "ja"))


async def test_a_doubt_paid_once_more_counts_twice() -> None:
    budget = CreditBudget(10.0, lambda: 4.0)
    budget.settle(("b", "ja"), 4.0)
    budget.count_unknown(("a", "ja"))
    budget.count_unknown(("a", "ja"))

    assert "exceeded" in await budget.reserve(("a", "ja"))


# The budget in a batch.


@pytest.mark.parametrize("in_flight", [1, 8, 30])
@pytest.mark.parametrize("lost", [range(1, 2), range(1, 6), range(2, 4), range(1, 1000)], ids=str)
async def test_lost_answers_count(fast_house: Open, tmp_path: Path, in_flight: int, lost: range) -> None:
    faults = [Fault(on="create", kind="reset_after", nth=lost)]
    async with (
        open_journal(tmp_path / "j.sqlite3") as journal,
        fast_house(faults=faults, video_seconds=16.0, max_jobs=100) as home,
    ):
        client = await home.client()
        for _ in range(3):
            outcomes, cause, _ = await run(
                client, 30, max_credits=20.0, journal=journal, max_in_flight=in_flight, max_doubts=100
            )

            assert cause is (StopCause.COST_UNKNOWN if lost.start == 1 else StopCause.BUDGET)
            assert sum(job.credits for job in home.sandbox.audit.jobs) <= 20.0 + COST
            assert len(outcomes) == 30


async def test_a_row_given_twice_does_not_free_what_a_doubt_may_cost(
    fast_house: Open, tmp_path: Path
) -> None:
    faults = [Fault(on="create", kind="reset_after", nth=2)]
    async with (
        open_journal(tmp_path / "j.sqlite3") as journal,
        fast_house(faults=faults, video_seconds=16.0) as home,
    ):

        async def rows() -> AsyncIterator[TranslationRequest]:
            yield video(0)
            yield video(1)
            await until(lambda: journal.counts()[State.IN_DOUBT])
            yield video(1)
            yield video(2)

        async with open_batch(await home.client(), rows(), journal=journal, max_credits=2.5 * COST) as batch:
            outcomes = [outcome async for outcome in batch]

        assert len(home.sandbox.audit.jobs) == 2
    assert Counter(map(type, outcomes)) == {Completed: 1, InDoubt: 1, NotSubmitted: 2}


async def test_each_run_that_is_started_in_an_outage_pays_for_one_doubt(
    fast_house: Open, tmp_path: Path
) -> None:
    """As by cron: the gateway makes jobs and loses their answers, until it is well again."""
    made = []
    async with fast_house(max_jobs=100) as home:
        client = await home.client()
        for outage in (True, True, True, False, True):
            home.sandbox.faults.clear()
            if outage:
                home.sandbox.faults.add(Fault(on="create", kind="reset_after", nth=range(1, 100)))
            async with open_journal(tmp_path / "j.sqlite3") as journal:
                _, cause, _ = await run(client, 20 if outage else 9, journal=journal, max_doubts=3)
            made.append(len(home.sandbox.audit.jobs))
            assert cause is (StopCause.DOUBTS if outage else None)

    assert made[:3] == [3, 4, 5]
    assert made[4] == made[3] + 3  # the answers in between began the count anew


@pytest.mark.parametrize("ends", ["completes", "fails"])
@pytest.mark.parametrize("at_once", [False, True])
async def test_doubts_that_were_paid_once_more_stay_counted(
    fast_house: Open, tmp_path: Path, ends: str, *, at_once: bool
) -> None:
    """Three POSTs make jobs whose ids are lost; what is sent for them once more completes or fails."""
    most = 9 * COST
    faults = [Fault(on="create", kind="reset_after", nth=range(2, 5))]
    if ends == "fails":
        faults.append(Fault(on="create", kind="job_fails", nth=range(5, 8)))
    async with fast_house(faults=faults, video_seconds=16.0, max_jobs=100) as home:
        client = await home.client()

        async def run_on(count: int, **options: Any) -> None:
            async with open_journal(tmp_path / "j.sqlite3") as journal:
                await run(client, count, journal=journal, max_submits=1, **options)

        await run_on(4, max_doubts=10)
        await run_on(20 if at_once else 4, on_in_doubt="resubmit", max_credits=most)
        for _ in range(2):
            await run_on(20, max_credits=most)

        charged = [job for job in home.sandbox.audit.jobs if job.status != Status.FAILED]
        assert sum(job.credits for job in charged) == most


async def test_a_doubt_before_a_job_that_expired_stays_counted(fast_house: Open, tmp_path: Path) -> None:
    faults = [Fault(on="create", kind="reset_after", nth=2)]
    async with (
        open_journal(tmp_path / "j.sqlite3") as journal,
        fast_house(faults=faults, video_seconds=16.0) as home,
    ):
        client = await home.client()
        await run(client, 2, journal=journal, max_submits=1)
        name = {"key": entry_key(video(1), "ja"), "target": "ja"}
        for number in range(2):  # and its job, too, is made once more
            await journal.intend(video(1))
            job_id = f"66160f989dfc997ac289000{number}"
            await journal.record(
                EntryUpdate(**name, state=State.SUBMITTED, job_id=job_id, credits_locked=COST)
            )
            await journal.record(EntryUpdate(**name, state=State.EXPIRED if not number else State.COMPLETED))
        await journal.record(EntryUpdate(**name, state=State.DELIVERED))

        # Known are the first row's job and two of the second's; the doubt counts as one more.
        outcomes, cause, _ = await run(client, 4, journal=journal, max_credits=5 * COST)

    assert cause is StopCause.BUDGET
    assert Counter(map(type, outcomes)) == {Completed: 3, NotSubmitted: 1}


async def test_an_expired_job_of_unknown_price_stays_counted_where_it_is_not_made_again(
    fast_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lstat = os.lstat

    def refuse(path: os.PathLike[str]) -> os.stat_result:
        if "unwritable" in os.fspath(path):
            raise OSError(errno.ENAMETOOLONG, "File name too long")
        return lstat(path)

    monkeypatch.setattr(local, "os", SimpleNamespace(**vars(os) | {"lstat": refuse}))
    requests = [video(0), video(1, key="unwritable"), video(2), video(3)]
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(video_seconds=16.0) as home:
        client = await home.client()
        await run(client, 1, journal=journal)
        await journal.intend(requests[1])
        made = {"job_id": "66160f989dfc997ac2890001"}
        for state, known in ((State.SUBMITTED, made), (State.EXPIRED, {})):
            await journal.record(EntryUpdate(key="unwritable", target="ja", state=state, **known))
        options: dict[str, Any] = {
            "retry_failed": True,
            "download_to": tmp_path / "out",
            "file_names": "{key}",
        }
        async with open_batch(client, requests, journal=journal, max_credits=3 * COST, **options) as batch:
            outcomes = [outcome async for outcome in batch]

        assert len(home.sandbox.audit.jobs) == 2
    assert batch.stop_cause is StopCause.BUDGET
    assert sum(isinstance(outcome, NotSubmitted) for outcome in outcomes) == 2


async def test_a_doubt_that_made_no_job_is_not_counted_any_more(fast_house: Open, tmp_path: Path) -> None:
    faults = [Fault(on="create", kind="reset_before", nth=2)]
    async with (
        open_journal(tmp_path / "j.sqlite3") as journal,
        fast_house(faults=faults, video_seconds=16.0) as home,
    ):
        client = await home.client()
        with anyio.fail_after(55):
            async with open_batch(client, journal=journal, max_credits=3 * COST) as batch:
                await (await batch.submit(video(0))).outcome()
                assert isinstance(await (await batch.submit(video(1, key="k"))).outcome(), InDoubt)
                await journal.resolve("k", "ja", not_made=True)
                for request in (video(1, key="k"), video(2)):
                    assert isinstance(await (await batch.submit(request)).outcome(), Completed)

        assert sum(job.credits for job in home.sandbox.audit.jobs) == 3 * COST


@pytest.mark.parametrize("download", [False, True])
async def test_what_fits_is_submitted(fast_house: Open, tmp_path: Path, *, download: bool) -> None:
    async with fast_house(video_seconds=16.0) as home:
        outcomes, cause, reason = await run(
            await home.client(), 12, max_credits=6 * COST, download_to=tmp_path if download else None
        )

    assert sum(isinstance(outcome, Completed) for outcome in outcomes) == 6
    assert sum(isinstance(outcome, NotSubmitted) for outcome in outcomes) == 6
    assert cause is StopCause.BUDGET
    assert "max_credits (24)" in reason


async def test_languages_of_one_video_are_paid_one_by_one(fast_house: Open) -> None:
    async with fast_house(video_seconds=16.0) as home:
        client = await home.client()
        async with open_batch(client, [video(1, targets="ja,fr,hi,de,es")], max_credits=2 * COST) as batch:
            outcomes = [outcome async for outcome in batch]

        assert len(home.sandbox.audit.jobs) == 2
    assert len(outcomes) == 5


# The breaker.


@pytest.mark.parametrize("kind", ["reset_after", "http", "html", "empty"])
async def test_an_outage_of_the_gateway_costs_three_doubts(
    fast_house: Open, tmp_path: Path, kind: str
) -> None:
    details: dict[str, Any] = {"status": 503} if kind == "http" else {}
    faults = [Fault(on="create", kind=kind, acted=True, **details)]
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(faults=faults) as home:
        outcomes, cause, reason = await run(await home.client(), 50, journal=journal, max_in_flight=30)

        assert len(home.sandbox.audit.creates) == 3
        assert journal.counts()[State.IN_DOUBT] == 3
    assert cause is StopCause.DOUBTS
    assert "3 paid calls in a row" in reason
    assert sum(isinstance(outcome, InDoubt) for outcome in outcomes) == 3
    assert sum(isinstance(outcome, NotSubmitted) for outcome in outcomes) == 47


async def test_an_outage_in_the_middle_costs_no_more_than_what_is_under_way(fast_house: Open) -> None:
    faults = [Fault(on="create", kind="reset_after", nth=range(20, 1000))]
    async with fast_house(faults=faults, max_jobs=100) as home:
        outcomes: list[Outcome] = []

        async def source() -> AsyncIterator[TranslationRequest]:
            for number in range(19):
                yield video(number)
            # Every answer is in: one that came late, between two doubts, would let more of them out.
            await until(lambda: len(outcomes) == 19)
            for number in range(19, 80):
                yield video(number)

        async with open_batch(await home.client(), source(), max_in_flight=40, max_submits=6) as batch:
            async for outcome in batch:
                outcomes.append(outcome)

    assert batch.stop_cause is StopCause.DOUBTS
    assert sum(isinstance(outcome, Completed) for outcome in outcomes) == 19
    assert 3 <= sum(isinstance(outcome, InDoubt) for outcome in outcomes) <= 6


async def test_doubts_that_are_not_in_a_row_stop_nothing(fast_house: Open) -> None:
    faults = [Fault(on="create", kind="reset_after", nth=tuple(range(1, 40, 3)))]
    async with fast_house(faults=faults) as home:
        outcomes, cause, _ = await run(await home.client(), 30, max_submits=1, max_in_flight=1)

    assert cause is None
    assert sum(isinstance(outcome, InDoubt) for outcome in outcomes) == 10


async def test_a_batch_that_stopped_can_be_told_to_submit_again(fast_house: Open) -> None:
    source_send, source = anyio.create_memory_object_stream[Any](10)
    faults = [Fault(on="create", kind="reset_after", nth=range(1, 4))]
    async with fast_house(faults=faults) as home:
        client = await home.client()
        with anyio.fail_after(55):
            async with source, source_send, open_batch(client, source) as batch:
                for number in range(5):
                    await source_send.send(video(number))
                first = [await anext(batch) for _ in range(5)]
                assert batch.stop_cause is StopCause.DOUBTS
                batch.resume_submitting()
                assert not batch.stopped
                for outcome in first:
                    if isinstance(outcome, NotSubmitted):
                        await source_send.send(outcome.request)
                source_send.close()
                second = [outcome async for outcome in batch]

    assert [type(outcome) for outcome in first].count(InDoubt) == 3
    assert [type(outcome) for outcome in second] == [Completed, Completed]


async def test_a_batch_that_was_drained_can_not_be_told_to_submit_again(fast_house: Open) -> None:
    async with fast_house() as home, open_batch(await home.client(), [video(1)]) as batch:
        batch.drain("enough")
        with pytest.raises(RuntimeError, match="enough"):
            batch.resume_submitting()


async def _in_background(act: Callable[[], Any], then: Callable[[], Any]) -> list[Any]:
    """Return what `act` gives, which waits until `then` was called."""
    results: list[Any] = []

    async def wait() -> None:
        results.append(await act())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert not results
        then()
    return results


async def test_a_resolved_doubt_lets_one_probe_through() -> None:
    stops: list[str] = []
    breaker = DoubtBreaker(2, lambda: stops.append("stopped"))
    for name in (("a", "ja"), ("b", "ja")):
        await breaker.acquire()
        breaker.count_doubt([name])
        breaker.release()
    assert not stops

    await _in_background(breaker.acquire, lambda: breaker.settle(("a", "ja"), resolved=True))
    breaker.count_doubt([])  # the probe
    breaker.release()
    assert not stops  # the other doubt may still be resolved
    breaker.settle(("b", "ja"), resolved=False)
    assert stops == ["stopped"]


async def test_posts_go_out_one_by_one_until_one_was_answered() -> None:
    breaker = DoubtBreaker(3, lambda: None)
    await breaker.acquire()
    await _in_background(breaker.acquire, breaker.release)
    breaker.count_answer()
    with anyio.fail_after(55):
        await breaker.acquire()
        await breaker.acquire()


# What nobody asked for.


async def test_jobs_that_nobody_asked_for_count_against_the_bound(fast_house: Open, tmp_path: Path) -> None:
    """The second run has only what the journal says."""
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        home.sandbox.faults.add(Fault(on="create", kind="extra_language"))
        client = await home.client()
        for _ in range(2):
            _, cause, _ = await run(client, 9, journal=journal, max_credits=5 * COST)
            made = len(home.sandbox.audit.jobs)

            assert cause is StopCause.BUDGET
            assert made <= 5 + 1  # one POST more than fits, which makes two
        assert [entry.credits_before async for entry in journal.entries()] == [COST] * 3
