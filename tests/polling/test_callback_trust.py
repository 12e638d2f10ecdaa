"""Callbacks are relied on while they come, and no longer."""

from __future__ import annotations

import pytest

from akool_async import FixedSchedule, LearnedSchedule, PollContext
from akool_async._model.responses import Status
from akool_async._polling.callback_trust import CALLBACK_INTERVAL, CallbackReliability, CallbackSchedule
from akool_async._polling.schedules import NEW, PollResult

FACTS = PollContext(elapsed=10.0)


def relied_on(now: float = 1000.0) -> CallbackReliability:
    evidence = CallbackReliability()
    for second in range(20):
        evidence.record_callback(now - 20 + second)
    assert evidence.is_reliable(now)
    return evidence


def test_nothing_is_relied_on_before_some_callbacks_came() -> None:
    evidence = CallbackReliability()
    seen = []
    for second in range(5):
        seen.append(evidence.is_reliable(1000.0 + second))
        evidence.record_callback(1000.0 + second)

    assert seen == [False, False, False, True, True]


def test_a_lost_callback_ends_it() -> None:
    evidence = relied_on()
    evidence.record_missed("a", 1000.0)
    evidence.record_callback(1004.0)

    assert evidence.is_reliable(1005.0)
    assert not evidence.is_reliable(1005.1)


def test_a_callback_that_is_a_little_late_is_not_lost() -> None:
    evidence = relied_on()
    for job in ("a", "b", "c"):
        evidence.record_missed(job, 1000.0)
        evidence.record_late(job, 1001.0)
        evidence.record_late(job, 1002.0)

    assert evidence.is_reliable(1010.0)


def test_it_is_regained_when_they_come_again() -> None:
    evidence = relied_on()
    evidence.record_missed("a", 1000.0)
    assert not evidence.is_reliable(1010.0)
    seen = []
    for second in range(20):
        evidence.record_callback(1011.0 + second)
        seen.append(evidence.is_reliable(1011.0 + second))

    assert seen == [False] * 19 + [True]


@pytest.mark.parametrize(("gap", "patience"), [(1.0, 33.0), (60.0, 210.0)])
def test_silence_ends_it_once_it_is_longer_than_usual(gap: float, patience: float) -> None:
    evidence = CallbackReliability()
    for number in range(50):
        evidence.record_callback(1000.0 + gap * number)
    last = 1000.0 + gap * 49

    assert evidence.is_reliable(last + patience)
    assert not evidence.is_reliable(last + patience + 0.1)


def test_silence_without_jobs_means_nothing() -> None:
    evidence = relied_on()
    for minute in range(60):
        evidence.record_idle(1000.0 + 60 * minute)
        assert evidence.is_reliable(1000.0 + 60 * minute + 20)


@pytest.mark.parametrize(
    ("called", "over", "trusted", "seldom"),
    [
        (True, False, True, True),
        (False, False, True, False),
        (True, True, True, False),
        (True, False, False, False),
    ],
)
def test_a_net_is_seldom_only_for_a_job_that_is_called_back_about(
    called: bool, over: bool, trusted: bool, seldom: bool
) -> None:
    net = CallbackSchedule(FixedSchedule(interval=5.0), lambda: trusted, called=called, reported_done=over)
    waits = [net.next_poll(FACTS, spread / 10) for spread in range(10)]

    assert all(wait >= 0.9 * CALLBACK_INTERVAL for wait in waits) is seldom
    assert all(wait <= 1.1 * (CALLBACK_INTERVAL if seldom else 5.0) for wait in waits)


def test_a_net_is_never_more_eager_than_what_it_wraps() -> None:
    net = CallbackSchedule(FixedSchedule(interval=600.0, jitter=0.0), lambda: True, called=True)

    assert net.next_poll(FACTS, 0.5) == 600.0


def test_what_it_wraps_goes_on_learning() -> None:
    inner = LearnedSchedule()
    before = inner.next_poll(FACTS, 0.5)
    net = CallbackSchedule(inner, lambda: False)
    for _ in range(50):
        net.learn(PollResult(elapsed=11.0, status=Status.COMPLETED, history=NEW, hinted=True))

    assert inner.next_poll(FACTS, 0.5) != before
    CallbackSchedule(FixedSchedule(), lambda: False).learn(PollResult(elapsed=1.0, status=Status.COMPLETED))
