"""Waits: within their bounds whatever the facts and the dice say, and refused where they can't be kept."""

from __future__ import annotations

import itertools
import math
import pickle
import random
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akool_async._model.errors import ConfigurationError
from akool_async._polling.poll_state import PollContext
from akool_async._polling.schedules import BackoffSchedule, FixedSchedule
from akool_async._retry import MOST_RETRY_AFTER, RetryBudget, RetryPolicy

quick = settings(max_examples=50, deadline=None, database=None)
positive = st.floats(1e-3, 1e6)
spreads = st.floats(0, 1, exclude_max=True)
SURE = RetryPolicy(jitter=lambda wait: wait)
"""The policy without chance: it always takes the longest wait."""


@pytest.fixture
def dice() -> random.Random:
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    return random.Random(seed)


def policy(dice: random.Random, **changed: Any) -> RetryPolicy:
    return RetryPolicy(**{"jitter": lambda wait: dice.uniform(0, wait), **changed})


# Retries.


def test_waits_double_up_to_the_longest() -> None:
    patient = attrs.evolve(SURE, attempts=20, max_delay=30.0)

    assert [patient.delay(n, 0.0) for n in range(1, 9)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_every_wait_is_between_nothing_and_its_step(dice: random.Random) -> None:
    for _ in range(2000):
        attempt = dice.randrange(1, 30)
        wait = policy(dice, attempts=50).delay(attempt, 0.0)

        assert wait is not None
        assert 0 <= wait <= min(0.5 * 2 ** (attempt - 1), 30.0)


def test_the_jitter_of_the_package_is_full() -> None:
    waits = [RetryPolicy(attempts=9).delay(5, 0.0) or 0.0 for _ in range(400)]

    assert all(0 <= wait <= 8.0 for wait in waits)
    assert min(waits) < 1.0 < 7.0 < max(waits)  # missed once in 1e23 runs


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_there_are_no_more_attempts_than_allowed(attempts: int) -> None:
    told = [attrs.evolve(SURE, attempts=attempts).delay(n, 0.0) is not None for n in range(1, 10)]

    assert told == [n < attempts for n in range(1, 10)]


def test_a_wait_that_ends_after_the_deadline_is_not_begun() -> None:
    assert SURE.delay(1, 119.5) == 0.5
    assert SURE.delay(1, 119.6) is None
    assert SURE.delay(1, 1e9) is None


@pytest.mark.parametrize(
    ("asked", "wait"),
    [
        (None, 0.5),
        (0.0, 0.5),
        (-5.0, 0.5),
        (7.0, 7.0),
        (299.0, 299.0),
        (300.0, 300.0),
        (301.0, 300.0),
        (1e9, 300.0),
    ],
)
def test_the_server_may_ask_for_longer_waits_but_not_for_ever(asked: float | None, wait: float) -> None:
    patient = attrs.evolve(SURE, deadline=1000.0)

    assert patient.delay(1, 0.0, asked) == wait
    assert patient.throttle_delay(1, 0.0, asked) == max(wait, 1.0)


@pytest.mark.parametrize("asked", [math.nan, math.inf, -math.inf])
def test_nonsense_from_the_server_is_no_endless_wait(asked: float) -> None:
    patient = attrs.evolve(SURE, deadline=1000.0)

    for wait in (patient.delay(1, 0.0, asked), patient.throttle_delay(1, 0.0, asked)):
        assert wait is not None
        assert 0 <= wait <= MOST_RETRY_AFTER


def test_what_the_server_asks_for_is_within_the_deadline_too() -> None:
    assert SURE.delay(1, 0.0, 200.0) is None


@pytest.mark.parametrize("odd", [math.nan, -5.0, math.inf])
def test_a_strange_jitter_makes_no_strange_wait(odd: float) -> None:
    wait = RetryPolicy(jitter=lambda _: odd).delay(1, 0.0)

    assert wait is None or wait >= 0


def test_a_throttled_call_waits_at_least_half_of_its_step(dice: random.Random) -> None:
    for _ in range(2000):
        times = dice.randrange(1, 40)
        wait = policy(dice).throttle_delay(times, 0.0)
        step = min(2.0 ** (times - 1), 30.0)

        assert wait is not None
        assert step / 2 <= wait <= step


def test_a_throttled_call_goes_on_until_its_own_deadline_and_counts_no_attempts() -> None:
    assert SURE.throttle_delay(1000, 870.0) == 30.0
    assert SURE.throttle_delay(1000, 871.0) is None
    assert SURE.throttle_delay(1, 899.5) is None


@quick
@given(
    st.builds(
        RetryPolicy,
        attempts=st.integers(1, 10**9),
        initial_delay=positive,
        multiplier=st.floats(1, 1e300),
        max_delay=positive,
        deadline=positive,
        throttle_initial_delay=positive,
        throttle_deadline=positive,
    ),
    st.integers(-5, 10**12),
    st.floats(0, 1e7),
    st.none() | st.floats(),
)
def test_any_policy_gives_a_wait_within_its_deadline_or_none(
    retry: RetryPolicy, attempt: int, elapsed: float, asked: float | None
) -> None:
    for wait, deadline in (
        (retry.delay(attempt, elapsed, asked), retry.deadline),
        (retry.throttle_delay(attempt, elapsed, asked), retry.throttle_deadline),
    ):
        assert wait is None or 0 <= wait <= max(retry.max_delay, MOST_RETRY_AFTER)
        assert wait is None or elapsed + wait <= deadline


@pytest.mark.parametrize(
    ("initial_delay", "multiplier", "max_delay"),
    [(1e-300, 1e200, 1e300), (1e-9, 1e308, 1e308), (1.0, 1e10, 1e308)],
)
def test_steps_too_large_for_a_number_are_the_longest(
    initial_delay: float, multiplier: float, max_delay: float
) -> None:
    steep = attrs.evolve(
        SURE,
        initial_delay=initial_delay,
        multiplier=multiplier,
        max_delay=max_delay,
        deadline=1.7e308,
        attempts=99,
    )

    assert steep.delay(90, 0.0) == max_delay


# The budget.


def test_a_budget_is_used_up_by_retries_and_filled_again_by_successes() -> None:
    budget = RetryBudget(capacity=3.0, refill_amount=0.5)

    assert [budget.try_spend() for _ in range(5)] == [True, True, True, False, False]
    budget.refill()
    assert not budget.try_spend()
    budget.refill()
    assert budget.try_spend()
    assert not budget.try_spend()


def test_a_budget_never_holds_more_than_its_capacity() -> None:
    budget = RetryBudget(capacity=2.0, refill_amount=5.0)

    budget.refill()

    assert budget.tokens == 2.0


def test_a_refused_retry_costs_nothing() -> None:
    budget = RetryBudget(capacity=1.0)
    for _ in range(100):
        budget.try_spend()

    assert budget.tokens == 0.0


def test_an_outage_is_not_multiplied(dice: random.Random) -> None:
    """With half of all calls failing, retries settle at the share that successes give back."""
    budget = RetryBudget()
    retries = sum(budget.try_spend() if dice.random() < 0.5 else bool(budget.refill()) for _ in range(10_000))

    assert retries <= 50 + 0.2 * 10_000 * 0.55


# Polls.


def test_polls_come_less_often_the_longer_a_job_runs() -> None:
    waits = [BackoffSchedule().next_poll(PollContext(polls=n), 0.5) for n in range(8)]

    assert waits == [2.0, 3.0, 4.5, 6.75, 10.0, 10.0, 10.0, 10.0]


@pytest.mark.parametrize(
    ("progress", "elapsed", "wait"),
    [
        (50, 20.0, 16.0),  # 20 s left, of which 0.8
        (10, 60.0, 20.0),  # minutes left: the longest
        (99, 100.0, 2.0),  # about to end: the first
        (90, 90.0, 8.0),
    ],
)
def test_progress_tells_when_to_ask_next(progress: int, elapsed: float, wait: float) -> None:
    facts = PollContext(polls=50, elapsed=elapsed, progress=progress)

    assert BackoffSchedule().next_poll(facts, 0.5) == pytest.approx(wait)


@pytest.mark.parametrize("progress", [None, 0, 100, -1, 101])
def test_progress_that_tells_nothing_is_not_used(progress: int | None) -> None:
    facts = PollContext(polls=0, elapsed=20.0, progress=progress)

    assert BackoffSchedule().next_poll(facts, 0.5) == 2.0


def test_progress_that_stands_still_is_not_believed() -> None:
    moving = PollContext(polls=0, elapsed=100.0, progress=50, stalled=25.0)
    standing = attrs.evolve(moving, stalled=25.1)

    assert BackoffSchedule().next_poll(moving, 0.5) == 20.0
    assert BackoffSchedule().next_poll(standing, 0.5) == 2.0


@quick
@given(positive, positive, st.floats(1, 1e300), st.floats(0.01, 1), st.floats(0, 0.99), spreads, st.data())
def test_no_facts_lead_out_of_the_bounds(
    one: float,
    other: float,
    factor: float,
    eagerness: float,
    jitter: float,
    spread: float,
    data: st.DataObject,
) -> None:
    first, longest = sorted((one, other))
    schedule = BackoffSchedule(
        initial_delay=first, max_delay=longest, multiplier=factor, eagerness=eagerness, jitter=jitter
    )
    facts = PollContext(
        polls=data.draw(st.integers()),
        elapsed=data.draw(st.floats()),
        progress=data.draw(st.none() | st.integers()),
        stalled=data.draw(st.floats()),
    )

    wait = schedule.next_poll(facts, spread)

    assert first * (1 - jitter) * (1 - 1e-9) <= wait <= longest * (1 + jitter) * (1 + 1e-9)


def test_nonsense_is_survived() -> None:
    moments = (-math.inf, -1e9, -1.0, 0.0, 1e-9, 1e300, math.inf, math.nan)
    percents = (None, -5, 0, 1, 99, 100, 10**30)
    for elapsed, stalled, progress, polls in itertools.product(moments, moments, percents, (-1, 0, 10**30)):
        facts = PollContext(polls=polls, elapsed=elapsed, progress=progress, stalled=stalled)

        assert (
            1.8
            <= BackoffSchedule().next_poll(facts, 0.0)
            <= BackoffSchedule().next_poll(facts, 0.999)
            <= 22.0
        )


@pytest.mark.parametrize(("initial_delay", "max_delay"), [(15.0, 20.0), (20.0, 20.0), (0.1, 0.15)])
def test_no_wait_is_outside_the_two_delays_however_near_they_are(
    initial_delay: float, max_delay: float
) -> None:
    schedule = BackoffSchedule(initial_delay=initial_delay, max_delay=max_delay, jitter=0.0)

    waits = [schedule.next_poll(PollContext(polls=n), 0.5) for n in range(10)]

    assert all(initial_delay <= wait <= max_delay for wait in waits)


@pytest.mark.parametrize("schedule", [BackoffSchedule(), FixedSchedule(interval=2.0)])
def test_jitter_is_narrow_and_in_the_middle_for_one_half(schedule: BackoffSchedule | FixedSchedule) -> None:
    waits = [schedule.next_poll(PollContext(), spread) for spread in (0.0, 0.25, 0.5, 0.75, 0.999999)]

    assert waits == pytest.approx([1.8, 1.9, 2.0, 2.1, 2.2], rel=1e-5)


def test_without_jitter_chance_does_not_matter() -> None:
    assert len({BackoffSchedule(jitter=0.0).next_poll(PollContext(), n / 10) for n in range(10)}) == 1


@quick
@given(positive, st.floats(0, 0.99), spreads)
def test_a_fixed_schedule_stays_within_its_jitter(interval: float, jitter: float, spread: float) -> None:
    wait = FixedSchedule(interval=interval, jitter=jitter).next_poll(PollContext(polls=10**9), spread)

    assert interval * (1 - jitter) <= wait <= interval * (1 + jitter)


# Parameters.


def test_an_initial_delay_above_the_max_delay_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match="max_delay must not be shorter than initial_delay, which is 30 s, not 20"
    ):
        BackoffSchedule(initial_delay=30)


def test_whole_numbers_will_do() -> None:
    assert RetryPolicy(initial_delay=1, multiplier=1, max_delay=1).delay(1, 0) is not None
    assert (
        BackoffSchedule(initial_delay=1, multiplier=1, max_delay=1, eagerness=1, jitter=0).next_poll(
            PollContext(), 0.5
        )
        == 1
    )


@pytest.mark.parametrize(
    "value", [RetryPolicy(), BackoffSchedule(), FixedSchedule(), PollContext(), RetryBudget()]
)
def test_schedules_and_policies_can_be_pickled(value: object) -> None:
    assert pickle.loads(pickle.dumps(value)) == value


@pytest.mark.parametrize("value", [RetryPolicy(), BackoffSchedule(), FixedSchedule(), PollContext()])
def test_schedules_and_policies_do_not_change(value: Any) -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, attrs.fields(type(value))[0].name, 1)


def test_a_job_of_ten_minutes_costs_few_polls() -> None:
    """What the schedule is for: the server is asked seldom, and the end is seen soon."""
    schedule, total, now, polls = BackoffSchedule(), 600.0, 0.0, 0
    for polls in itertools.count(1):
        progress = int(100 * now / total)
        now += schedule.next_poll(PollContext(polls=polls - 1, elapsed=now, progress=progress), 0.5)
        if now >= total:
            break

    assert polls < 45
    assert now - total < 20.0
