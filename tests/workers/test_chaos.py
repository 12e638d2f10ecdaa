"""Workers that are killed at random: nothing is paid twice, no paid job is lost, the cap holds."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from akool_async._model.errors import ConfigurationError
from akool_async.sandbox import Fault
from akool_async.workers.dbos import WorkerSettings
from tests.ledger.conftest import SHORT_JOBS
from tests.workers.chaos import CAP, PRICE, Found, chaos, fleet, look, wait_until_over


def check(found: Found, videos: int) -> None:
    assert found.paid_twice == []
    assert found.lost == []
    assert found.most_in_flight <= 8
    assert len(found.entries) == videos
    assert set(found.states) <= {"delivered", "in_doubt"}


@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_a_killed_worker_resumes_under_its_name() -> None:
    seed = int(os.environ.get("AKOOL_TEST_SEED") or random.randrange(2**32))
    found = chaos(strikes=2, videos=6, names=("a", "b"), restarts=0, seed=seed, recorded=4)

    check(found, 6)
    assert found.states["delivered"] >= 4


STRIKES = int(os.environ.get("AKOOL_TEST_STRIKES", "8"))
"""So many in each form; a hundred over 60 videos are run by hand."""
FORMS: dict[str, dict[str, Any]] = {
    "with callbacks": {"callbacks": True},
    "within a budget": {"budget": STRIKES * PRICE * 0.8},
    "at the vendor on plain sockets": {"plain": True},
}


@pytest.mark.thorough
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("form", FORMS)
def test_strikes_and_two_restarts_of_the_database(form: str) -> None:
    seed = int(os.environ.get("AKOOL_TEST_SEED") or random.randrange(2**32))
    videos, more = STRIKES, FORMS[form]
    names = ("a", "b", "c", "d") if STRIKES > 20 else ("a", "b")
    found = chaos(strikes=STRIKES, videos=videos, names=names, restarts=2, seed=seed, **more)

    assert found.paid_twice == []
    assert found.lost == []
    assert found.most_in_flight <= CAP
    assert len(found.entries) == videos
    assert set(found.states) <= {"delivered", "in_doubt", "planned"}
    budget = more.get("budget")
    assert ("planned" in found.states) is (budget is not None)
    assert budget is None or found.spent <= budget


@pytest.mark.thorough
@pytest.mark.timeout(900)
@pytest.mark.parametrize("program", ["akool_async", "tests.workers.reckless"])
def test_without_the_commit_of_the_right_to_send_a_kill_pays_twice(program: str) -> None:
    """The judge sees it: the twin of the real worker, killed in the same moment."""
    with fleet(1, cap=8, **SHORT_JOBS) as (workers, sandbox):
        sandbox.faults.add(Fault(on="create", kind="hang", acted=True, limit=1))
        workers.program, workers.options = program, ("--until-done",)
        workers.start("one")
        wait_for_jobs(sandbox, 1)
        workers.kill("one")
        workers.start("one")
        workers.running["one"].wait(300)
        found = look(workers, sandbox)

    reckless = program != "akool_async"
    assert found.paid_twice == (["https://media.example/0.mp4"] if reckless else [])
    assert found.states == ({"delivered": 1} if reckless else {"in_doubt": 1})


@pytest.mark.thorough
@pytest.mark.timeout(900)
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


def test_a_webhook_url_that_no_post_can_carry_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="webhook_url must be"):
        WorkerSettings(name="one", into=Path("out"), webhook_url="https://me.example/my hook")


def wait_for_jobs(sandbox: object, number: int = 3) -> None:
    deadline = time.monotonic() + 300
    while len(sandbox.audit.jobs) < number:  # type: ignore[attr-defined]
        assert time.monotonic() < deadline
        time.sleep(0.05)
