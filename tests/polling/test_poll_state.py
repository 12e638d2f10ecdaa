"""What a series of polls says about a job: when it has ended, and when it is asked about again."""

from __future__ import annotations

import math
import pickle
import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akool_async._model.errors import (
    AkoolError,
    ConnectionLostError,
    JobNotFoundError,
    ProtocolError,
    ServerError,
)
from akool_async._model.responses import AudioSplits, Snapshot, Status
from akool_async._polling.poll_state import (
    NOT_FOUND_GRACE,
    NOT_FOUND_SPAN,
    STALLED_AFTER,
    STALLED_POLL,
    URL_GRACE,
    PollState,
    PollVerdict,
)
from akool_async._polling.schedules import BackoffSchedule, FixedSchedule

URL = "https://files.test/ja.mp4"
OTHER_URL = "https://files.test/ja-2.mp4"
EVEN = FixedSchedule(interval=10.0, jitter=0.0)
GONE = JobNotFoundError("No such job.", code=1008)
LOST = ConnectionLostError("The connection broke.")
MADE = datetime(2026, 1, 2, tzinfo=UTC)


def seen(status: Status = Status.PROCESSING, **changed: Any) -> Snapshot:
    return Snapshot(**{"job_id": "job-0001", "status": status, "raw_status": str(int(status)), **changed})


def begun(now: float = 0.0, *, age: float = 0.0) -> PollState:
    return PollState.begin("job-0001", now, age=age)


def after(*steps: Snapshot | AkoolError, every: float = 10.0, start: PollState | None = None) -> PollState:
    """Take in one answer or error after the other, `every` seconds apart."""
    found, now = start or begun(), 0.0
    for step in steps:
        now += every
        found = (
            found.after_error(step, now) if isinstance(step, AkoolError) else found.after_snapshot(step, now)
        )
    return found


DONE = seen(Status.COMPLETED, url=URL, progress=100)
BARE = seen(Status.COMPLETED, progress=100)
BROKEN = seen(Status.FAILED, error_code=501999)


# Ends.


@pytest.mark.parametrize(
    ("last", "verdict"),
    [
        (seen(Status.QUEUEING), PollVerdict.WAITING),
        (seen(Status.PROCESSING, progress=100), PollVerdict.WAITING),
        (seen(Status.PROCESSING, url=URL), PollVerdict.WAITING),
        (seen(Status.UNKNOWN, raw_status="'paused'"), PollVerdict.WAITING),
        (DONE, PollVerdict.COMPLETED),
        (seen(Status.COMPLETED, url=URL, progress=40), PollVerdict.COMPLETED),
        (BARE, PollVerdict.WAITING),
        (BROKEN, PollVerdict.FAILED),
        (seen(Status.FAILED, url=URL), PollVerdict.FAILED),
    ],
)
def test_a_status_decides_whether_a_job_has_ended(last: Snapshot, verdict: PollVerdict) -> None:
    found = after(last)

    assert found.verdict is verdict
    assert found.is_terminal is (verdict is not PollVerdict.WAITING)


@pytest.mark.parametrize("end", [DONE, BROKEN])
@pytest.mark.parametrize(
    "later", [DONE, BROKEN, BARE, seen(), seen(Status.QUEUEING), seen(Status.UNKNOWN), GONE, LOST]
)
def test_a_job_that_has_ended_stays_as_it_ended(end: Snapshot, later: Snapshot | AkoolError) -> None:
    found = after(seen(), end)

    assert after(later, start=found) is found


@pytest.mark.parametrize("unknown", [Status.UNKNOWN])
def test_an_unknown_status_keeps_waiting_for_as_long_as_it_takes(unknown: Status) -> None:
    found = after(*[seen(unknown, raw_status="'paused'")] * 500, every=60.0)

    assert found.verdict is PollVerdict.WAITING
    assert after(DONE, start=found).verdict is PollVerdict.COMPLETED


# Never back.


@pytest.mark.parametrize("back", [Status.QUEUEING, Status.UNKNOWN])
def test_a_status_that_goes_back_is_not_believed(back: Status) -> None:
    found = after(seen(Status.PROCESSING, progress=30), seen(back, progress=30))

    assert found.snapshot is not None
    assert found.snapshot.status is Status.PROCESSING
    assert found.snapshot.raw_status == str(int(back))


@pytest.mark.parametrize("back", [0, 10, None])
def test_progress_that_goes_back_is_not_believed(back: int | None) -> None:
    found = after(seen(progress=30), seen(progress=back))

    assert found.snapshot is not None
    assert found.snapshot.progress == 30


@pytest.mark.parametrize("later", [BROKEN, seen(), seen(Status.QUEUEING), seen(Status.UNKNOWN)])
def test_completion_without_a_url_is_not_taken_back(later: Snapshot) -> None:
    found = after(BARE, later)

    assert found.snapshot is not None
    assert found.snapshot.status is Status.COMPLETED
    assert found.verdict is PollVerdict.WAITING
    assert found.no_url_since == 10.0


def test_a_url_that_comes_later_completes_the_job_whatever_the_status_says_then() -> None:
    found = after(BARE, seen(Status.PROCESSING, url=URL))

    assert found.verdict is PollVerdict.COMPLETED
    assert found.snapshot is not None
    assert found.snapshot.url == URL


def test_a_url_that_was_seen_is_not_lost() -> None:
    found = after(seen(url=URL), BARE)

    assert found.verdict is PollVerdict.COMPLETED
    assert found.snapshot is not None
    assert found.snapshot.url == URL


def test_a_fresh_url_goes_before_the_one_before() -> None:
    found = after(seen(url=URL), seen(Status.COMPLETED, url=OTHER_URL))

    assert found.snapshot is not None
    assert found.snapshot.url == OTHER_URL


def test_what_an_answer_leaves_out_is_not_forgotten() -> None:
    splits = AudioSplits(original_srt_url="https://files.test/en.srt")

    kept = after(seen(created_at=MADE, audio_splits=splits), DONE).snapshot

    assert kept is not None
    assert (kept.created_at, kept.audio_splits) == (MADE, splits)


def test_what_an_answer_says_anew_is_taken() -> None:
    old, new = (AudioSplits(original_srt_url=f"https://files.test/{n}.srt") for n in (1, 2))

    kept = after(
        seen(audio_splits=old, raw={"n": 1}), seen(audio_splits=new, raw={"n": 2}, credits_used=3.0)
    ).snapshot

    assert kept is not None
    assert (kept.audio_splits, kept.raw, kept.credits_used) == (new, {"n": 2}, 3.0)


# Missed polls.


@pytest.mark.parametrize(
    "error", [LOST, ProtocolError("Not JSON."), ServerError("HTTP 502."), AkoolError("?")]
)
def test_a_poll_that_fails_is_a_poll_missed_and_never_a_job_failed(error: AkoolError) -> None:
    before = after(seen(progress=30))

    found = after(*[error] * 1000, every=60.0, start=before)

    assert found.verdict is PollVerdict.WAITING
    assert (found.missed, found.polls) == (1000, 1)
    assert found.snapshot is before.snapshot
    assert after(DONE, start=found).verdict is PollVerdict.COMPLETED


def test_an_answer_ends_a_row_of_missed_polls() -> None:
    found = after(LOST, LOST, seen())

    assert (found.missed, found.polls) == (0, 1)


def test_missed_polls_stretch_the_wait_but_not_without_end() -> None:
    found, waits = begun(), []
    for _ in range(7):
        waits.append(found.next_poll(EVEN, 0.0, 0.5))
        found = found.after_error(LOST, 0.0)

    assert waits == [10.0, 20.0, 30.0, 40.0, 50.0, 50.0, 50.0]


# Completed without a URL.


def test_a_completed_job_without_a_url_is_asked_on_for_fifteen_minutes() -> None:
    found = begun().after_snapshot(BARE, 100.0)
    almost = found.after_snapshot(BARE, 100.0 + 15 * 60 - 0.1)
    over = almost.after_snapshot(BARE, 100.0 + 15 * 60)

    assert (found.verdict, almost.verdict, over.verdict) == (
        PollVerdict.WAITING,
        PollVerdict.WAITING,
        PollVerdict.NO_RESULT,
    )
    assert over.after_snapshot(DONE, 2000.0) is over


def test_a_url_within_the_fifteen_minutes_is_a_result() -> None:
    assert begun().after_snapshot(BARE, 0.0).after_snapshot(DONE, 899.0).verdict is PollVerdict.COMPLETED


def test_a_url_in_the_very_answer_that_comes_too_late_is_a_result_too() -> None:
    assert begun().after_snapshot(BARE, 0.0).after_snapshot(DONE, 5000.0).verdict is PollVerdict.COMPLETED


def test_missed_polls_alone_do_not_end_the_wait_for_a_url() -> None:
    found = begun().after_snapshot(BARE, 0.0).after_error(LOST, 5000.0)

    assert found.verdict is PollVerdict.WAITING


@pytest.mark.parametrize(("interval", "wait"), [(0.5, 15.0), (30.0, 30.0), (3600.0, 60.0)])
def test_while_a_url_is_missing_polls_come_steadily(interval: float, wait: float) -> None:
    found = begun().after_snapshot(BARE, 0.0).after_error(LOST, 1.0)

    assert found.next_poll(FixedSchedule(interval=interval, jitter=0.0), 1.0, 0.5) == wait


# Gone.


def test_a_young_job_may_not_be_known_yet() -> None:
    found = begun()
    for now in range(0, 60, 2):
        found = found.after_error(GONE, float(now))

    assert (found.verdict, found.not_found_polls) == (PollVerdict.WAITING, 0)
    assert found.after_error(GONE, 59.99).not_found_polls == 0
    assert found.after_error(GONE, 60.0).not_found_polls == 1


def test_the_age_of_a_job_counts_and_not_how_long_it_is_waited_for() -> None:
    assert begun(1000.0, age=60.0).after_error(GONE, 1000.0).not_found_polls == 1
    assert begun(1000.0, age=-5.0).after_error(GONE, 1000.0).not_found_polls == 0


def test_a_job_is_gone_after_three_polls_over_ten_minutes_and_not_before() -> None:
    start = begun(age=100.0)

    two = start.after_error(GONE, 0.0).after_error(GONE, 600.0)
    quick = start
    for now in range(600):
        quick = quick.after_error(GONE, float(now))

    assert two.verdict is PollVerdict.WAITING
    assert two.after_error(GONE, 600.0).verdict is PollVerdict.NOT_FOUND
    assert quick.verdict is PollVerdict.WAITING
    assert quick.after_error(GONE, 600.0).verdict is PollVerdict.NOT_FOUND


def test_no_trouble_with_the_token_says_that_a_job_is_gone() -> None:
    error = JobNotFoundError("No such content.", code=1008)
    error.during_auth = True
    seen = begun(age=100.0)
    for now in (0.0, 400.0, 800.0):
        seen = seen.after_error(error, now)

    assert seen.verdict is PollVerdict.WAITING
    assert seen.missed == 3


def test_an_answer_in_between_says_that_the_job_is_there() -> None:
    found = begun(age=100.0).after_error(GONE, 0.0).after_error(GONE, 300.0).after_snapshot(seen(), 400.0)

    assert (found.not_found_polls, found.not_found_since) == (0, None)
    assert found.after_error(GONE, 700.0).after_error(GONE, 1000.0).verdict is PollVerdict.WAITING


def test_another_error_in_between_neither_counts_nor_clears() -> None:
    found = begun(age=100.0).after_error(GONE, 0.0).after_error(LOST, 300.0).after_error(LOST, 600.0)

    assert (found.verdict, found.not_found_polls, found.missed) == (PollVerdict.WAITING, 1, 3)
    assert found.after_error(GONE, 610.0).after_error(GONE, 620.0).verdict is PollVerdict.NOT_FOUND


def test_a_gone_job_that_was_seen_completed_without_a_url_is_gone_too() -> None:
    found = begun(age=100.0).after_snapshot(BARE, 0.0)
    for now in (10.0, 320.0, 630.0):
        found = found.after_error(GONE, now)

    assert found.verdict is PollVerdict.NOT_FOUND


@pytest.mark.parametrize(
    "schedule", [EVEN, FixedSchedule(interval=0.01), BackoffSchedule(), FixedSchedule(interval=200.0)]
)
def test_the_end_of_a_gone_job_takes_three_polls_and_little_more_than_ten_minutes(schedule: Any) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    for _ in range(300):
        first = now = dice.uniform(0, 700)  # where moments are rounded: sums of them fall short
        found, polls = begun(now, age=dice.uniform(60, 1e5)), 0
        while not found.is_terminal:
            found, polls = found.after_error(GONE, now), polls + 1
            assert polls <= 3
            last, now = now, now + found.next_poll(schedule, now, dice.random())

        assert found.verdict is PollVerdict.NOT_FOUND
        assert polls == 3
        assert NOT_FOUND_SPAN <= last - first < NOT_FOUND_SPAN + 10


def test_a_slow_schedule_is_not_made_faster_for_a_gone_job() -> None:
    found = begun(age=100.0).after_error(GONE, 0.0)

    assert found.next_poll(FixedSchedule(interval=1000.0, jitter=0.0), 0.0, 0.5) == 1000.0


def test_a_young_job_that_is_not_known_is_asked_about_soon() -> None:
    found = begun().after_error(GONE, 1.0)

    assert found.next_poll(BackoffSchedule(jitter=0.0), 1.0, 0.5) <= 10.0


# Stalled.


def test_a_job_that_does_not_move_is_stalled_and_still_waited_for() -> None:
    found = after(seen(progress=30))

    assert not found.stalled(10.0 + STALLED_AFTER - 0.1)
    assert found.stalled(10.0 + STALLED_AFTER)
    assert found.verdict is PollVerdict.WAITING


def test_a_job_that_was_never_answered_about_is_stalled_too() -> None:
    assert begun(50.0).stalled(50.0 + STALLED_AFTER)


@pytest.mark.parametrize("again", [seen(progress=30), seen(progress=20), seen(Status.QUEUEING, progress=30)])
def test_the_same_answer_again_is_no_movement(again: Snapshot) -> None:
    found = after(seen(progress=30), again, every=STALLED_AFTER)

    assert found.changed == STALLED_AFTER
    assert found.stalled(2 * STALLED_AFTER)


@pytest.mark.parametrize("next_", [seen(progress=31), seen(Status.COMPLETED, progress=30)])
def test_more_progress_or_another_status_is_movement(next_: Snapshot) -> None:
    assert after(seen(progress=30), next_, every=100.0).changed == 200.0


@pytest.mark.parametrize("end", [DONE, BROKEN])
def test_a_job_that_has_ended_is_not_stalled(end: Snapshot) -> None:
    assert not after(end).stalled(1e9)


@pytest.mark.parametrize(("interval", "wait"), [(1.0, STALLED_POLL), (600.0, 600.0)])
def test_a_stalled_job_is_polled_slowly(interval: float, wait: float) -> None:
    found = after(seen(progress=30))

    assert found.next_poll(FixedSchedule(interval=interval, jitter=0.0), 1e5, 0.5) == wait


# What a schedule is given.


def test_the_context_of_a_poll_counts_from_creation() -> None:
    context = begun(100.0, age=50.0).after_snapshot(seen(progress=30), 110.0).context(130.0)

    assert (context.polls, context.elapsed, context.progress, context.stalled) == (1, 80.0, 30, 20.0)


def test_before_the_first_answer_nothing_is_known_about_progress() -> None:
    assert begun().context(5.0).progress is None


def test_an_observation_can_be_pickled_and_does_not_change() -> None:
    found = after(seen(), LOST)

    again = pickle.loads(pickle.dumps(found))

    assert (again.snapshot, again.missed, again.verdict) == (found.snapshot, 1, PollVerdict.WAITING)
    with pytest.raises(AttributeError):
        found.polls = 7  # type: ignore[misc]


# Any series of polls.

answers = st.builds(
    seen,
    st.sampled_from(Status),
    url=st.sampled_from(["", URL]),
    progress=st.none() | st.integers(0, 100),
)
errors = st.sampled_from([GONE, LOST])


@settings(max_examples=50, deadline=None, database=None)
@given(
    st.floats(0, 1e5),
    st.lists(st.tuples(answers | errors, st.sampled_from([0.0, 1.0, 20.0, 300.0, 5000.0])), max_size=25),
)
def test_no_series_of_polls_goes_back_or_loses_what_was_seen(
    age: float, steps: list[tuple[Snapshot | AkoolError, float]]
) -> None:
    found, now, urls, ends = begun(age=age), 0.0, False, 0
    for step, gap in steps:
        now += gap
        before = found
        found = (
            before.after_error(step, now)
            if isinstance(step, AkoolError)
            else before.after_snapshot(step, now)
        )
        wait = found.next_poll(BackoffSchedule(), now, 0.5)
        urls |= isinstance(step, Snapshot) and bool(step.url) and not before.is_terminal
        ends += found.is_terminal and not before.is_terminal

        assert math.isfinite(wait)
        assert 1.8 <= wait <= 310
        assert found.changed <= now
        if before.is_terminal:
            assert found is before
        if before.snapshot is not None:
            assert found.snapshot is not None
            assert found.snapshot.status >= before.snapshot.status
            assert (found.snapshot.progress or 0) >= (before.snapshot.progress or 0)
        if found.verdict is PollVerdict.NO_RESULT:
            assert not urls
        if found.verdict is PollVerdict.COMPLETED:
            assert urls

    assert ends <= 1


def test_the_limits_are_the_documented_ones() -> None:
    assert (NOT_FOUND_GRACE, NOT_FOUND_SPAN, URL_GRACE) == (60.0, 600.0, 900.0)


def test_a_job_that_vanishes_is_named_although_little_was_kept_of_its_answers() -> None:
    seen = PollState.begin("j1", 0.0).after_snapshot(Snapshot(job_id="j1", progress=10), 5.0, slim=True)
    for number in range(3):
        seen = seen.after_error(JobNotFoundError("gone"), 100.0 + 400.0 * number)

    assert seen.verdict is PollVerdict.NOT_FOUND
    assert seen.snapshot is not None
    assert (seen.snapshot.job_id, seen.snapshot.progress) == ("j1", 10)
