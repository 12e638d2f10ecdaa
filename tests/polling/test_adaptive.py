"""The learning schedule: within its bounds whatever it was taught, and never worse than asking every 5 s."""

from __future__ import annotations

import functools
import itertools
import json
import math
import pickle
import random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akool_async._model.errors import ConfigurationError
from akool_async._model.responses import Snapshot, Status
from akool_async._polling.adaptive import (
    JITTER,
    LONGEST,
    LONGEST_HINTED,
    REMAINING_EDGES,
    SHORTEST,
    LearnedSchedule,
    ProgressModel,
    progress_bucket,
)
from akool_async._polling.duration_model import DurationModel, bin_position, interpolate
from akool_async._polling.poll_state import (
    NEW,
    UNKNOWN,
    AdaptiveSchedule,
    PollContext,
    PollResult,
    PollState,
    append,
    iter_points,
    last_seen_running,
)
from akool_async._polling.schedules import BackoffSchedule, FixedSchedule
from akool_async.sandbox.settings import ShapeName
from tests.polling.simulate import poll_all

quick = settings(max_examples=50, deadline=None, database=None)
SHAPES = get_args(ShapeName)
odd = st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, -1.0, 0.0, 1e-300, 1e300])
trails = st.lists(st.tuples(st.floats(), st.none() | st.integers())).map(
    lambda told: functools.reduce(lambda trail, point: append(trail, *point), told, NEW)
)


def trail_of(*told: tuple[float, int | None]) -> bytes:
    trail = NEW
    for elapsed, progress in told:
        trail = append(trail, elapsed, progress)
    return trail


def job(
    schedule: LearnedSchedule, total: float, *, every: float = 5.0, status: Status = Status.COMPLETED
) -> None:
    """Teach a job that was polled at even intervals, with honest progress."""
    trail = NEW
    for number in itertools.count(1):
        elapsed = number * every
        if elapsed >= total:
            break
        schedule.learn(PollResult(elapsed=elapsed, status=Status.PROCESSING, history=trail))
        trail = append(trail, elapsed, int(100 * elapsed / total))
    schedule.learn(PollResult(elapsed=elapsed, status=status, history=trail))


def wait(schedule: LearnedSchedule, elapsed: float = 0.0, progress: int | None = None) -> float:
    return schedule.next_poll(PollContext(elapsed=elapsed, progress=progress), 0.5)


# Bounds.


@quick
@given(
    st.lists(
        st.builds(
            PollResult, elapsed=odd, status=st.sampled_from(Status), history=trails, hinted=st.booleans()
        )
    ),
    st.floats(1e-3, 1e6),
    st.builds(PollContext, polls=st.integers(), elapsed=odd, progress=st.none() | st.integers(), stalled=odd),
    st.floats(0, 1, exclude_max=True),
)
def test_nothing_that_is_taught_or_told_leads_out_of_the_bounds(
    taught: list[PollResult], lag: float, facts: PollContext, spread: float
) -> None:
    schedule = LearnedSchedule(lag)
    for seen in taught:
        schedule.learn(seen)

    found = schedule.next_poll(facts, spread)

    longest = LONGEST_HINTED if any(seen.hinted for seen in taught) else LONGEST
    assert SHORTEST * (1 - JITTER) <= found <= longest * (1 + JITTER)
    assert schedule.next_poll(facts, spread) == found


@pytest.mark.parametrize("taught", [0, 60])
def test_nonsense_is_survived(taught: int) -> None:
    schedule = LearnedSchedule()
    for number in range(taught):
        job(schedule, 50.0 + number)
    moments = (-math.inf, -1e9, -1.0, 0.0, 1e-9, 0.5, 50.0, 1e6, 1e300, math.inf, math.nan)
    percents = (None, -5, 0, 1, 99, 100, 101, 10**30, math.nan, math.inf)
    for elapsed, progress in itertools.product(moments, percents):
        facts = PollContext(elapsed=elapsed, progress=progress)  # type: ignore[arg-type]

        assert 0.45 <= schedule.next_poll(facts, 0.0) <= schedule.next_poll(facts, 0.999) <= 66.0


def test_a_job_at_100_percent_for_hours_is_asked_about_seldom() -> None:
    schedule = LearnedSchedule()
    for _ in range(30):
        job(schedule, 100.0)
    trail, asked = trail_of((100.0, 100)), []
    for minute in range(2, 600):
        schedule.learn(PollResult(elapsed=60.0 * minute, status=Status.PROCESSING, history=trail))
        trail = append(trail, 60.0 * minute, 100)
        asked.append(wait(schedule, 60.0 * minute, 100))

    assert asked[-1] > 30.0


def test_many_jobs_of_one_length_make_no_number_run_out() -> None:
    schedule = LearnedSchedule()
    for _ in range(3000):
        job(schedule, 100.0, every=25.0)

    waits = [
        wait(schedule, elapsed, progress) for elapsed in range(0, 5000, 7) for progress in (None, 50, 100)
    ]

    assert all(SHORTEST <= one <= LONGEST for one in waits)
    assert wait(schedule, 0.0) > 30.0


# What it is for.


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_never_worse_than_asking_every_five_seconds(shape: ShapeName) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    even = poll_all(FixedSchedule(interval=5.0), shape, seed)

    found = poll_all(LearnedSchedule(), shape, seed)

    assert found.polls <= even.polls
    assert found.lag <= even.lag * 1.2
    assert found.late <= even.late * 1.3


def test_honest_progress_saves_most_polls_and_sees_ends_sooner() -> None:
    even = poll_all(FixedSchedule(interval=5.0), "linear", 1)

    found = poll_all(LearnedSchedule(), "linear", 1)

    assert found.polls <= 0.35 * even.polls
    assert found.lag <= 0.5 * even.lag


@pytest.mark.parametrize("shape", ["stall", "none"])
def test_the_lag_that_is_wanted_is_what_comes_out_at_most(shape: ShapeName) -> None:
    found = {lag: poll_all(LearnedSchedule(lag), shape, 1) for lag in (1.25, 2.5, 5.0)}

    assert all(polled.lag <= 1.1 * lag for lag, polled in found.items())
    assert found[1.25].polls > found[2.5].polls > found[5.0].polls


@pytest.mark.parametrize("shape", SHAPES)
def test_failed_jobs_are_seen_in_time_too(shape: ShapeName) -> None:
    found = poll_all(LearnedSchedule(), shape, 1, failing=0.2)

    assert found.lag <= 2.5 * 1.1


@pytest.mark.parametrize(("first", "then"), [(600.0, 20.0), (20.0, 600.0)])
def test_jobs_of_another_kind_are_noticed(first: float, then: float) -> None:
    schedule = LearnedSchedule()
    poll_all(schedule, "stall", 1, median=first)
    poll_all(schedule, "stall", 2, jobs=500, median=then)
    even = poll_all(FixedSchedule(interval=5.0), "stall", 3, median=then)

    found = poll_all(schedule, "stall", 3, median=then)

    assert found.polls <= even.polls
    assert found.lag <= even.lag * 1.1


@pytest.mark.parametrize(
    ("first", "then"), [("liar", "linear"), ("front", "linear"), ("linear", "liar"), ("coarse", "none")]
)
def test_a_server_that_begins_to_report_otherwise_is_understood_again(
    first: ShapeName, then: ShapeName
) -> None:
    schedule = LearnedSchedule()
    poll_all(schedule, first, 1, jobs=500)
    change = poll_all(schedule, then, 2, jobs=100)
    even = poll_all(FixedSchedule(interval=5.0), then, 3)

    found = poll_all(schedule, then, 3)

    assert change.lag <= 2.5 * even.lag
    assert found.polls <= even.polls
    assert found.lag <= even.lag * 1.25


# What is learned from what.


def test_jobs_that_still_run_are_not_forgotten() -> None:
    """A tenth of the jobs has ended, the others run on: those that end first are not all that there are."""
    ended, all_of_them = DurationModel(), DurationModel()
    for law in (ended, all_of_them):
        for _ in range(10):
            law.observe_running(0.0, 58.0)
            law.observe_finished(58.0, 62.0)
    for _ in range(90):
        all_of_them.observe_running(0.0, 300.0)

    assert interpolate(ended.survivals, bin_position(300.0)) < 0.2
    assert interpolate(all_of_them.survivals, bin_position(300.0)) > 0.8


@pytest.mark.parametrize("total", [3.0, 60.0, 5000.0])
def test_jobs_are_thought_to_take_about_as_long_as_those_before(total: float) -> None:
    law = DurationModel()
    for _ in range(300):
        law.observe_running(0.0, total * 0.99)
        assert total * 0.99 <= law.observe_finished(total * 0.99, total * 1.01) <= total * 1.01

    assert interpolate(law.survivals, bin_position(total / 2)) > 0.9
    assert interpolate(law.survivals, bin_position(total * 2)) < 0.1


def test_what_is_long_ago_counts_less() -> None:
    law = DurationModel()
    for total, times in ((600.0, 3000), (20.0, 1500)):
        for _ in range(times):
            law.observe_running(0.0, total - 1)
            law.observe_finished(total - 1, total + 1)

    assert interpolate(law.survivals, bin_position(60.0)) < 0.25


def test_an_end_that_was_seen_late_is_shared_out() -> None:
    schedule, sharp = LearnedSchedule(), LearnedSchedule()
    for _ in range(50):
        schedule.learn(PollResult(elapsed=100.0, status=Status.COMPLETED, history=trail_of((40.0, None))))
        sharp.learn(PollResult(elapsed=100.0, status=Status.COMPLETED, history=trail_of((99.0, None))))

    assert wait(schedule, 60.0) < wait(sharp, 60.0)


def test_a_hint_tells_when_the_job_ended() -> None:
    hinted, found = LearnedSchedule(), LearnedSchedule()
    for _ in range(50):
        trail = trail_of((40.0, None))
        hinted.learn(PollResult(elapsed=100.0, status=Status.COMPLETED, history=trail, hinted=True))
        found.learn(PollResult(elapsed=100.0, status=Status.COMPLETED, history=trail))

    assert interpolate(hinted._durations.survivals, bin_position(75.0)) > 0.8
    assert interpolate(found._durations.survivals, bin_position(75.0)) < 0.7


def test_where_hints_tell_of_ends_polls_become_rare_and_come_back_when_hints_fail() -> None:
    schedule, waits = LearnedSchedule(), []
    for hinted in (False, True, False):
        for _ in range(200):
            schedule.learn(
                PollResult(
                    elapsed=100.0, status=Status.COMPLETED, history=trail_of((97.0, None)), hinted=hinted
                )
            )
        waits.append(wait(schedule, 95.0))

    assert waits[1] > 5 * waits[0]
    assert waits[2] == pytest.approx(waits[0], rel=0.5)


def test_a_resumed_job_that_had_ended_already_teaches_nothing() -> None:
    schedule = LearnedSchedule()
    before = [wait(schedule, age) for age in range(0, 9000, 50)]
    for _ in range(100):
        schedule.learn(PollResult(elapsed=8000.0, status=Status.COMPLETED, history=UNKNOWN))
        schedule.learn(PollResult(elapsed=8000.0, status=Status.PROCESSING, history=UNKNOWN))

    assert [wait(schedule, age) for age in range(0, 9000, 50)] == before


def test_a_failed_job_teaches_how_long_jobs_take_but_not_what_percentages_mean() -> None:
    failed, done = LearnedSchedule(), LearnedSchedule()
    for _ in range(50):
        job(failed, 100.0, status=Status.FAILED)
        job(done, 100.0)

    def worth(schedule: LearnedSchedule) -> list[float]:
        return schedule._percentages.likelihoods(progress_bucket(50) or 0)

    assert wait(failed, 20.0) == pytest.approx(wait(done, 20.0), rel=0.01)
    assert worth(failed) == worth(LearnedSchedule()) != worth(done)


def test_an_end_that_is_known_only_roughly_does_not_teach_what_percentages_mean() -> None:
    schedule = LearnedSchedule()
    for _ in range(50):
        schedule.learn(PollResult(elapsed=200.0, status=Status.COMPLETED, history=trail_of((40.0, 50))))

    assert schedule._percentages.likelihoods(10) == ProgressModel().likelihoods(10)


def test_no_report_becomes_impossible() -> None:
    table = ProgressModel()
    for _ in range(20_000):
        table.learn([(50.0, 99)], 100.0)

    half_time = next(n for n, ahead in enumerate(REMAINING_EDGES) if ahead > 1.0) - 1
    assert table.likelihoods(progress_bucket(99) or 0)[half_time] > 0.9
    assert table.likelihoods(progress_bucket(50) or 0)[half_time] > 1e-4


@pytest.mark.parametrize("elapsed", [-5.0, 39.0, math.nan, math.inf, 1e9])
def test_a_clock_that_goes_back_or_nowhere_teaches_nothing(elapsed: float) -> None:
    schedule = LearnedSchedule()
    before = wait(schedule, 30.0)
    for status in Status:
        schedule.learn(PollResult(elapsed=elapsed, status=status, history=trail_of((40.0, 10))))

    assert wait(schedule, 30.0) == before


# Chance, parameters, trails.


def test_the_same_lessons_give_the_same_waits() -> None:
    one, other = LearnedSchedule(), LearnedSchedule()

    assert poll_all(one, "stall", 5, jobs=60) == poll_all(other, "stall", 5, jobs=60)
    assert wait(one, 33.0, 40) == wait(other, 33.0, 40)


def test_jitter_is_narrow() -> None:
    facts = PollContext(elapsed=50.0, progress=40)
    waits = [LearnedSchedule().next_poll(facts, spread) for spread in (0.0, 0.5, 0.999999)]

    assert waits == pytest.approx([0.9 * waits[1], waits[1], 1.1 * waits[1]], rel=1e-5)


def test_what_was_learned_can_be_pickled() -> None:
    schedule = LearnedSchedule(lag=1.5)
    for _ in range(20):
        job(schedule, 80.0)

    again = pickle.loads(pickle.dumps(schedule))

    assert repr(again) == "LearnedSchedule(lag=1.5)"
    assert wait(again, 40.0, 50) == wait(schedule, 40.0, 50)


def test_only_the_learning_schedule_is_told_what_came_of_polls() -> None:
    assert isinstance(LearnedSchedule(), AdaptiveSchedule)
    assert not isinstance(BackoffSchedule(), AdaptiveSchedule)
    assert not isinstance(FixedSchedule(), AdaptiveSchedule)


def test_a_trail_keeps_the_last_point_and_stays_small() -> None:
    trail = NEW
    for number in range(1000):
        trail = append(trail, float(number), number % 120)

        assert last_seen_running(trail) == number
        assert len(trail) <= 5 * 24

    kept = list(iter_points(trail))
    assert kept == sorted(kept, key=lambda point: point[0])
    assert len(kept) >= 12
    assert all(percent == elapsed % 120 or percent == -1 for elapsed, percent in kept)


def test_nobody_knows_when_a_job_without_a_trail_was_at_work() -> None:
    assert last_seen_running(UNKNOWN) is None
    assert last_seen_running(NEW) == 0.0


def test_what_was_learned_survives_json() -> None:
    taught = LearnedSchedule(lag=1.5)
    for number in range(400):
        age = 30.0 + number % 17
        state = PollState.begin("job-0001", 0.0)
        for at, progress in ((age / 3, 30), (age / 2, 50)):
            snapshot = Snapshot(job_id="job-0001", status=Status.PROCESSING, progress=progress)
            before, state = state, state.after_snapshot(snapshot, at)
            if (seen := state.poll_result(before, at, hinted=False)) is not None:
                taught.learn(seen)
        done = Snapshot(job_id="job-0001", status=Status.COMPLETED, url="https://x.example/1")
        before, state = state, state.after_snapshot(done, age)
        seen = state.poll_result(before, age, hinted=number % 2 == 0)
        assert seen is not None
        taught.learn(seen)
    restored = LearnedSchedule.from_state(json.loads(json.dumps(taught.state())))

    contexts = [
        PollContext(elapsed=age, progress=progress) for age in (1.0, 20.0, 40.0) for progress in (None, 40)
    ]
    waits = [taught.next_poll(one, 0.5) for one in contexts]
    # The curve is fitted when a tenth more is known; a restored one is fitted at once.
    assert [restored.next_poll(one, 0.5) for one in contexts] == pytest.approx(waits, rel=0.05)
    assert [LearnedSchedule().next_poll(one, 0.5) for one in contexts] != pytest.approx(waits, rel=0.05)
    assert restored.state() == taught.state()


@pytest.mark.parametrize("broken", ["format", "lag", "durations", "percentages"])
def test_a_broken_state_is_refused(broken: str) -> None:
    state = LearnedSchedule().state()
    for value in (None, "x", [], {}, {"ended": [1.0]}, {"counts": [], "totals": []}, float("nan"), -1):
        with pytest.raises(ConfigurationError):
            LearnedSchedule.from_state({**state, broken: value})
