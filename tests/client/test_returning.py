"""Thousands of jobs of an earlier run come back at once: their first polls are spread out, oldest first."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import datetime

import anyio
import pytest
import trio
import trio.testing

from akool_async._model.responses import Snapshot, Status
from akool_async._observer import Observers
from akool_async._polling.poll_state import PollContext, PollResult
from akool_async._polling.scheduler import MIN_HINTED_INTERVAL, RESUME_SPACING, PolledJob, PollScheduler
from akool_async._polling.schedules import FixedSchedule
from tests.batch.simulation import EPOCH, VirtualClock

SELDOM = FixedSchedule(interval=100_000.0)


def in_virtual_time(test: Callable[[], Awaitable[None]]) -> None:
    trio.run(test, clock=trio.testing.MockClock(autojump_threshold=0))


class Asked:
    """A vendor that notes when it is asked about which job."""

    def __init__(self, tasks: anyio.abc.TaskGroup, status: Status = Status.PROCESSING) -> None:
        self.polls: list[tuple[float, str]] = []
        self.status = status
        self.created_at: datetime | None = EPOCH
        self.url = "https://files.test/ja.mp4"
        clock = VirtualClock(1)
        self.waiting = PollScheduler(
            self._poll, clock=clock, tasks=tasks, pollers=16, vendor_now=clock.now, observers=Observers()
        )

    async def _poll(self, job_id: str) -> Snapshot:
        self.polls.append((anyio.current_time(), job_id))
        await anyio.sleep(0)
        return Snapshot(job_id=job_id, status=self.status, url=self.url, created_at=self.created_at)

    def add(self, job_id: str, age: float | None, schedule: object = SELDOM) -> PolledJob:
        return self.waiting.watch(job_id, schedule, lambda _: None, age=age)  # type: ignore[arg-type]


def test_jobs_of_an_earlier_run_are_asked_about_one_after_the_other_and_the_oldest_first() -> None:
    async def test() -> None:
        seed = random.SystemRandom().randrange(2**32)
        print("seed", seed)
        dice = random.Random(seed)
        ages = {f"job-{number}": dice.uniform(10, 500_000) for number in range(3000)}
        async with anyio.create_task_group() as tasks:
            asked = Asked(tasks)
            began = anyio.current_time()
            for job_id, age in ages.items():
                asked.add(job_id, age)
            await anyio.sleep(3000 * RESUME_SPACING + 1)
            tasks.cancel_scope.cancel()

        assert [job_id for _, job_id in asked.polls] == sorted(ages, key=lambda job_id: -ages[job_id])
        for number, (moment, _) in enumerate(asked.polls):
            assert moment - began == pytest.approx(number * RESUME_SPACING, abs=RESUME_SPACING)

    in_virtual_time(test)


def test_one_that_comes_back_alone_is_asked_about_at_once() -> None:
    async def test() -> None:
        async with anyio.create_task_group() as tasks:
            asked = Asked(tasks)
            await anyio.sleep(50)
            asked.add("old", 300.0)
            asked.add("unknown", None)
            asked.add("new", 0.0)
            await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()

        assert {job_id for _, job_id in asked.polls} == {"old", "unknown"}

    in_virtual_time(test)


def test_hints_and_leaving_do_not_upset_the_order() -> None:
    async def test() -> None:
        async with anyio.create_task_group() as tasks:
            asked = Asked(tasks)
            watches = [asked.add(f"job-{number}", 1000.0 - number) for number in range(200)]
            asked.waiting.hint("job-150")
            for number in range(50, 60):
                asked.waiting.unwatch(watches[number], watches[number].listeners[0])
            await anyio.sleep(200 * RESUME_SPACING + MIN_HINTED_INTERVAL)
            tasks.cancel_scope.cancel()

        order = [int(job_id[4:]) for _, job_id in asked.polls]
        assert sorted(order) == [*range(50), *range(60, 200)]
        assert order.index(150) <= 2
        assert [number for number in order if number != 150] == sorted(set(order) - {150})

    in_virtual_time(test)


class Pupil:
    """A learning schedule that keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[PollResult] = []

    def next_poll(self, context: PollContext, rand: float) -> float:
        return 10.0

    def learn(self, seen: PollResult) -> None:
        self.seen.append(seen)


@pytest.mark.parametrize(
    ("age", "ages", "first"),
    [(0.0, [10.0, 20.0, 30.0], 0.0), (500.0, [500.0, 510.0, 520.0], None), (None, [70.0, 80.0, 90.0], None)],
)
def test_a_learning_schedule_is_told_of_every_poll_until_the_end_and_of_no_age_that_is_not_known(
    age: float | None, ages: list[float], first: float | None
) -> None:
    async def test() -> None:
        pupil = Pupil()
        async with anyio.create_task_group() as tasks:
            asked = Asked(tasks)
            await anyio.sleep_until(70.0)  # 70 s after the job was made, by the vendor's clock
            asked.add("job", age, pupil)
            await anyio.sleep_until(ages[1] - ages[0] + (80.0 if age == 0 else 70.0) + 1)
            asked.status = Status.COMPLETED
            await anyio.sleep(100)
            tasks.cancel_scope.cancel()

        assert [seen.elapsed for seen in pupil.seen] == pytest.approx(ages)
        assert [seen.status.terminal for seen in pupil.seen] == [False, False, True]
        assert [seen.since for seen in pupil.seen] == pytest.approx([first, *ages[:-1]])

    in_virtual_time(test)


def test_an_end_without_a_url_is_told_once() -> None:
    async def test() -> None:
        pupil = Pupil()
        async with anyio.create_task_group() as tasks:
            asked = Asked(tasks, Status.COMPLETED)
            asked.url = ""
            asked.add("job", 0.0, pupil)
            await anyio.sleep(200)
            tasks.cancel_scope.cancel()

        assert len(asked.polls) > 3
        assert [seen.status for seen in pupil.seen] == [Status.COMPLETED]

    in_virtual_time(test)


def test_an_age_that_nobody_tells_teaches_nothing() -> None:
    async def test() -> None:
        pupil = Pupil()
        async with anyio.create_task_group() as tasks:
            asked = Asked(tasks)
            asked.created_at = None
            asked.add("job", None, pupil)
            await anyio.sleep(35)
            tasks.cancel_scope.cancel()

        assert len(pupil.seen) == 4
        assert {seen.since for seen in pupil.seen} == {None}

    in_virtual_time(test)


def test_a_learning_schedule_is_told_that_a_hint_made_the_poll() -> None:
    async def test() -> None:
        pupil = Pupil()
        async with anyio.create_task_group() as tasks:
            asked = Asked(tasks)
            asked.add("job", 0.0, pupil)
            await anyio.sleep(13)
            asked.waiting.hint("job")
            await anyio.sleep(10)
            tasks.cancel_scope.cancel()

        assert [seen.hinted for seen in pupil.seen] == [False, True, False][: len(pupil.seen)]
        assert len(pupil.seen) == 2

    in_virtual_time(test)
