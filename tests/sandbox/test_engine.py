"""The engine alone, under a fake clock: the cap, the queue, exact moments, and every credit accounted for."""

from __future__ import annotations

import time
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akool_async.sandbox.engine import Engine
from akool_async.sandbox.jobs import COMPLETED, FAILED, PROCESSING, QUEUEING, ApiRejection, JobSpec
from akool_async.sandbox.settings import FakeClock, SandboxSettings


def engine_of(**choices: Any) -> tuple[Engine, FakeClock]:
    clock = FakeClock(1000.0)
    return Engine(SandboxSettings(media=False, **choices), clock), clock


def order(price: float = 4.0) -> JobSpec:
    return JobSpec(url="https://x.example/a.mp4", language="fr", seconds=16.0, credits=price)


def test_only_as_many_jobs_as_allowed_are_at_work_at_once() -> None:
    engine, _ = engine_of(max_jobs=2)

    statuses = [engine.submit(order()).status for _ in range(5)]

    assert statuses == [PROCESSING, PROCESSING, QUEUEING, QUEUEING, QUEUEING]


def test_a_queued_job_starts_at_the_moment_another_ends_although_nobody_looked() -> None:
    engine, clock = engine_of(max_jobs=1, sigma=0.0, median_seconds=10.0)
    first, second, third = (engine.submit(order()) for _ in range(3))

    clock.advance(25)
    engine.advance()

    assert (first.started, first.ended) == (1000.0, 1010.0)
    assert (second.started, second.ended) == (1010.0, 1020.0)
    assert (third.started, third.ended, third.status) == (1020.0, None, PROCESSING)


def test_one_late_look_and_many_early_ones_see_the_same_history() -> None:
    seldom, clock_1 = engine_of(max_jobs=3)
    often, clock_2 = engine_of(max_jobs=3)
    for engine in (seldom, often):
        for _ in range(30):
            engine.submit(order())

    clock_1.advance(2000)
    for _ in range(2000):
        clock_2.advance(1)
        often.advance()

    assert [(job.started, job.ended) for job in seldom.jobs] == [
        (job.started, job.ended) for job in often.jobs
    ]


def test_credits_are_locked_then_deducted() -> None:
    engine, clock = engine_of(credits=10)
    engine.submit(order(4))
    locked = engine.credits
    clock.advance(100_000)
    spent = engine.credits

    assert (locked.available, locked.locked, locked.spent) == (6, 4, 0)
    assert (spent.available, spent.locked, spent.spent) == (6, 0, 4)


def test_a_failed_job_gives_its_credits_back() -> None:
    engine, clock = engine_of(credits=10, failure_rate=1.0)
    job = engine.submit(order(4))
    clock.advance(100_000)

    assert engine.credits.available == 10
    assert job.status == FAILED
    assert [movement.kind for movement in engine.movements] == ["locked", "released"]


@pytest.mark.parametrize(("balance", "code"), [(3.0, 1104), (0.0, 1006)])
def test_without_enough_credits_no_job_is_made(balance: float, code: int) -> None:
    engine, _ = engine_of(credits=balance)

    with pytest.raises(ApiRejection) as refused:
        engine.submit(order(4))

    assert refused.value.code == code
    assert engine.jobs == ()


@pytest.mark.parametrize("wait", [0, 100_000])
def test_a_second_lip_sync_of_a_video_and_language_is_refused_if_so_chosen(wait: float) -> None:
    engine, clock = engine_of(reject_duplicates=True)
    synced = attrs.evolve(order(), lipsync=True)
    engine.submit(synced)
    clock.advance(wait)
    for spec in (order(), order(), attrs.evolve(synced, language="ja")):
        engine.submit(spec)
    with pytest.raises(ApiRejection) as refused:
        engine.submit(synced)

    assert refused.value.code == 1202
    assert len(engine.jobs) == 4


def test_a_lip_sync_that_failed_may_be_made_again() -> None:
    engine, clock = engine_of(reject_duplicates=True, failure_rate=1.0)
    for _ in range(2):
        engine.submit(attrs.evolve(order(), lipsync=True))
        clock.advance(100_000)

    assert len(engine.jobs) == 2


def test_the_same_seed_gives_the_same_jobs_and_another_seed_others() -> None:
    one, two, other = (engine_of(seed=seed, failure_rate=0.3)[0] for seed in (7, 7, 8))
    for engine in (one, two, other):
        for _ in range(20):
            engine.submit(order())

    assert [(job.id, job.script) for job in one.jobs] == [(job.id, job.script) for job in two.jobs]
    assert {job.script for job in one.jobs}.isdisjoint({job.script for job in other.jobs})
    assert not {job.id for job in one.jobs} & {job.id for job in other.jobs}


def test_ids_look_like_object_ids_and_are_unique() -> None:
    engine, _ = engine_of()
    ids = [engine.submit(order()).id for _ in range(500)]

    assert len(set(ids)) == 500
    assert all(len(one) == 24 and set(one) <= set("0123456789abcdef") for one in ids)


def test_durations_have_the_median_and_the_spread_that_were_chosen() -> None:
    engine, _ = engine_of(max_jobs=2000, median_seconds=60.0, sigma=0.5)
    spans = sorted(engine.submit(order()).script.span for _ in range(2000))

    assert spans[1000] == pytest.approx(60, rel=0.08)
    assert spans[1682] / spans[1000] == pytest.approx(1.65, rel=0.12)


def test_about_as_many_jobs_fail_as_was_chosen() -> None:
    engine, clock = engine_of(failure_rate=0.25, max_jobs=2000)
    for _ in range(2000):
        engine.submit(order())
    clock.advance(1_000_000)

    failed = sum(job.status == FAILED for job in engine.jobs)
    assert failed == pytest.approx(500, abs=70)
    assert all(job.status == COMPLETED for job in engine.jobs if not job.script.fails)


def test_a_clock_that_goes_back_takes_nothing_back() -> None:
    now = [1000.0]
    engine = Engine(SandboxSettings(media=False, median_seconds=10, sigma=0), lambda: now[0])
    job = engine.submit(order())
    now[0] = 1020.0
    engine.advance()
    now[0] = 500.0

    assert engine.advance() == 1020.0
    assert job.status == COMPLETED


def test_thousands_of_jobs_take_a_second_or_so() -> None:
    engine, clock = engine_of(max_jobs=10)
    begin = time.process_time()
    for _ in range(5000):
        engine.submit(order())
        clock.advance(20)
    clock.advance(10_000_000)
    engine.advance()

    assert all(job.status == COMPLETED for job in engine.jobs)
    assert time.process_time() - begin < 40


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.floats(0.5, 40).map(lambda value: round(value, 1))),
        st.tuples(st.just("advance"), st.floats(0, 300)),
        st.tuples(st.just("pay"), st.integers(0, 50).map(float)),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(
    steps=STEPS, cap=st.integers(1, 4), failure_rate=st.sampled_from([0.0, 0.4, 1.0]), seed=st.integers(0, 9)
)
def test_no_credit_is_ever_lost_or_invented_and_the_cap_holds(
    steps: list[tuple[str, float]], cap: int, failure_rate: float, seed: int
) -> None:
    engine, clock = engine_of(credits=200, max_jobs=cap, failure_rate=failure_rate, seed=seed)
    for step, amount in steps:
        if step == "submit":
            submit(engine, amount)
        elif step == "advance":
            clock.advance(amount)
        else:
            engine.deposit(amount)
        check_books(engine, cap)


def submit(engine: Engine, price: float) -> None:
    if price <= engine.credits.available:
        engine.submit(order(price))
        return
    with pytest.raises(ApiRejection) as refused:
        engine.submit(order(price))
    assert refused.value.code in (1006, 1104)


def check_books(engine: Engine, cap: int) -> None:
    jobs, books = engine.jobs, engine.credits
    assert books.available + books.locked + books.spent == pytest.approx(books.paid_in)
    assert books.available >= 0
    assert books.locked == pytest.approx(sum(job.spec.credits for job in jobs if job.ended is None), abs=1e-9)
    assert books.spent == pytest.approx(sum(job.spec.credits for job in jobs if job.status == COMPLETED))
    working = sum(job.status == PROCESSING for job in jobs)
    assert working <= cap
    assert working == cap or not any(job.status == QUEUEING for job in jobs)
