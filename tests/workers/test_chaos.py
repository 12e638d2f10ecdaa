"""Workers that are killed at random: nothing is paid twice, no paid job is lost, the cap holds."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from akool_async._model.errors import ConfigurationError
from akool_async.workers.dbos import WorkerSettings
from tests.workers.chaos import Found, chaos, fleet, wait_until_over


def check(found: Found, videos: int) -> None:
    assert found.paid_twice == []
    assert found.lost == []
    assert found.most_in_flight <= 8
    assert len(found.entries) == videos
    assert set(found.states) <= {"delivered", "in_doubt"}


@pytest.mark.timeout(180)
def test_a_killed_worker_resumes_under_its_name() -> None:
    seed = int(os.environ.get("AKOOL_TEST_SEED") or random.randrange(2**32))
    found = chaos(kills=2, videos=6, names=("a", "b"), restarts=0, seed=seed)

    check(found, 6)
    assert found.states["delivered"] >= 4


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_a_hundred_kills_and_two_restarts_of_the_database() -> None:
    seed = int(os.environ.get("AKOOL_TEST_SEED") or random.randrange(2**32))
    check(chaos(kills=100, videos=60, names=("a", "b", "c", "d"), restarts=2, seed=seed), 60)


@pytest.mark.thorough
@pytest.mark.timeout(180)
def test_the_work_of_a_worker_that_never_returns_is_adopted() -> None:
    with fleet(6, cap=8, time_scale=20.0) as (workers, sandbox):
        workers.start("gone")
        wait_for_jobs(sandbox)
        workers.kill("gone")
        workers.options = ("--adopt",)
        workers.start("heir")
        found = wait_until_over(workers, sandbox)
        codes = workers.stop()

    check(found, 6)
    assert codes == {"heir": 0}


@pytest.mark.parametrize("name", ["", "../x", "a/b", "x" * 51, "two words", "naïve"])
def test_a_name_that_could_become_another_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="can't be named"):
        WorkerSettings(name=name, into=Path("out"))


def wait_for_jobs(sandbox: object) -> None:
    import time

    deadline = time.monotonic() + 60
    while len(sandbox.audit.jobs) < 3:  # type: ignore[attr-defined]
        assert time.monotonic() < deadline
        time.sleep(0.05)
