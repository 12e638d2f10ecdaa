"""Callbacks are relied on while they come, and no longer."""

from __future__ import annotations

import pytest

from akool_async import FixedSchedule, LearnedSchedule, PollContext
from akool_async._batch.callback_polling import (
    CALLBACK_INTERVAL,
    CALLBACKS_AFTER_LOSS,
    CALLBACKS_NEEDED,
    CallbackReliability,
    CallbackSchedule,
)
from akool_async._model.responses import Status
from akool_async._polling.poll_state import NEW, PollResult
from akool_async._polling.scheduler import GuardedSchedule

FACTS = PollContext(elapsed=10.0)


def reliable(now: float = 1000.0) -> CallbackReliability:
    reliability = CallbackReliability()
    for _ in range(CALLBACKS_NEEDED):
        reliability.record_callback()
    assert reliability.is_reliable(now)
    return reliability


def test_nothing_is_relied_on_before_some_callbacks_came() -> None:
    reliability = CallbackReliability()
    seen = []
    for second in range(5):
        seen.append(reliability.is_reliable(1000.0 + second))
        reliability.record_callback()

    assert seen == [False, False, False, True, True]


def test_one_lost_callback_brings_normal_polling_back() -> None:
    reliability = reliable()
    reliability.record_missed("a", 1000.0)
    reliability.record_callback()

    assert reliability.is_reliable(1005.0)
    assert not reliability.is_reliable(1005.1)


def test_a_callback_that_is_a_little_late_is_not_lost() -> None:
    reliability = reliable()
    for job in ("a", "b", "c"):
        reliability.record_missed(job, 1000.0)
        reliability.record_late(job)
        reliability.record_late(job)

    assert reliability.is_reliable(1010.0)


def test_polling_is_relaxed_again_when_callbacks_come_again() -> None:
    reliability = reliable()
    reliability.record_missed("a", 1000.0)
    assert not reliability.is_reliable(1010.0)
    seen = []
    for second in range(CALLBACKS_AFTER_LOSS):
        reliability.record_callback()
        seen.append(reliability.is_reliable(1011.0 + second))

    assert seen == [False] * (CALLBACKS_AFTER_LOSS - 1) + [True]


def test_a_silent_webhook_does_not_stop_polling() -> None:
    reliability = reliable()
    schedule = CallbackSchedule(
        GuardedSchedule(FixedSchedule(interval=5.0, jitter=0.0)),
        lambda: reliability.is_reliable(1010.0),
        expects_callbacks=True,
    )

    assert 0.9 * CALLBACK_INTERVAL <= schedule.next_poll(FACTS, 0.0) < 1.1 * CALLBACK_INTERVAL
    reliability.record_missed("a", 1000.0)
    assert schedule.next_poll(FACTS, 0.0) == 5.0


@pytest.mark.parametrize(
    ("expects_callbacks", "reported_done", "trusted", "rare"),
    [
        (True, False, True, True),
        (False, False, True, False),
        (True, True, True, False),
        (True, False, False, False),
    ],
)
def test_polls_are_rare_only_for_a_job_that_expects_a_callback(
    expects_callbacks: bool, reported_done: bool, trusted: bool, rare: bool
) -> None:
    schedule = CallbackSchedule(
        GuardedSchedule(FixedSchedule(interval=5.0)),
        lambda: trusted,
        expects_callbacks=expects_callbacks,
        reported_done=reported_done,
    )
    waits = [schedule.next_poll(FACTS, spread / 10) for spread in range(10)]

    assert all(wait >= 0.9 * CALLBACK_INTERVAL for wait in waits) is rare
    assert all(wait <= 1.1 * (CALLBACK_INTERVAL if rare else 5.0) for wait in waits)


def test_polls_never_come_sooner_than_the_wrapped_schedule_says() -> None:
    schedule = CallbackSchedule(
        GuardedSchedule(FixedSchedule(interval=600.0, jitter=0.0)), lambda: True, expects_callbacks=True
    )

    assert schedule.next_poll(FACTS, 0.5) == 600.0


def test_the_wrapped_schedule_still_learns() -> None:
    inner = LearnedSchedule()
    before = inner.next_poll(FACTS, 0.5)
    schedule = CallbackSchedule(GuardedSchedule(inner), lambda: False)
    for _ in range(50):
        schedule.learn(PollResult(elapsed=11.0, status=Status.COMPLETED, history=NEW, hinted=True))

    assert inner.next_poll(FACTS, 0.5) != before
    fixed = CallbackSchedule(GuardedSchedule(FixedSchedule()), lambda: False)
    fixed.learn(PollResult(elapsed=1.0, status=Status.COMPLETED))
