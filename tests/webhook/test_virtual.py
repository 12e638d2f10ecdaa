"""Callbacks in virtual time: random walks that break no rule, and polls that are as seldom as can be.

AKOOL_TEST_SEEDS says how many walks, from a random one on unless AKOOL_TEST_SEED names the first.
"""

from __future__ import annotations

import os
import random

import pytest

from .virtual import measure, simulate

SEEDS = min(int(os.environ.get("AKOOL_TEST_SEEDS", "25")), 200)


@pytest.mark.timeout(600)
def test_random_walks_break_no_rule(caplog: pytest.LogCaptureFixture) -> None:
    first = int(os.environ.get("AKOOL_TEST_SEED", random.randrange(10**6)))
    print(f"seeds from {first}: set AKOOL_TEST_SEED to repeat")
    cleared = 0
    for seed in range(first, first + SEEDS):
        caplog.clear()
        print(f"seed {seed}")
        cleared += simulate(seed)

    assert cleared


def test_with_a_healthy_receiver_a_job_costs_little_more_than_one_poll_and_ends_are_seen_at_once() -> None:
    seen = measure(60)

    assert seen.polls <= 1.5
    assert seen.lag <= 0.2


def test_without_callbacks_jobs_are_asked_about_as_usual() -> None:
    seen = measure(30, loses=1.0)

    assert seen.polls > 3
    assert seen.lag <= 5.0


def test_when_callbacks_stop_jobs_are_asked_about_as_usual_again() -> None:
    seen = measure(60, stops_after=300.0)
    late = [lag for lag in seen.lags if lag > 30]

    assert len(late) <= 10  # those at work when it stopped, as many as there are places
    assert max(seen.lags) <= 130  # they were planned for much later


def test_a_job_said_to_be_over_that_is_not_is_asked_about_as_usual() -> None:
    seen = measure(20, forges=1.0)

    assert max(seen.lags) <= 60
