"""Few POSTs at a time, and one question while the account has no room, however many entries wait."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from akool_async._model.responses import Job
from akool_async.ledger import LedgerError, Made, NotSent
from akool_async.testing import VirtualClock
from akool_async.workers.admission import POSTS, Admission, Ended

pytestmark = pytest.mark.anyio
MADE = Made(job=Job(id="0" * 24))
FULL = NotSent(reason="2 jobs are at the vendor, as many as the account may have.")


class Account:
    """Has room for so many jobs, and counts who asks."""

    def __init__(self, clock: VirtualClock, room: int, answer: NotSent = FULL) -> None:
        self.clock, self.room, self.answer = clock, room, answer
        self.admission = Admission(clock)
        self.asked: list[float] = []
        self.most_at_once = self._now = 0
        self.made = 0

    async def post(self) -> Ended | NotSent:
        self.asked.append(self.clock.monotonic())
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        await self.clock.sleep(0.01)
        self._now -= 1
        if not self.room:
            return self.answer
        self.room -= 1
        self.made += 1
        return MADE

    def free(self) -> None:
        self.room += 1
        self.admission.free()


async def with_waiting(
    entries: int, account: Account, during: Callable[[], Coroutine[Any, Any, object]]
) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(entries):
            tasks.start_soon(account.admission.submit, account.post)
        await during()
        tasks.cancel_scope.cancel()


async def test_no_more_posts_at_once_than_connections() -> None:
    account = Account(VirtualClock(), room=200)

    await with_waiting(200, account, lambda: account.clock.sleep(10.0))

    assert account.made == len(account.asked) == 200
    assert account.most_at_once == POSTS


async def test_a_thousand_entries_that_wait_for_the_cap_ask_as_one() -> None:
    account = Account(VirtualClock(), room=2)

    await with_waiting(1_000, account, lambda: account.clock.sleep(600.0))

    assert account.made == 2
    # Every second each, 1,000 would have asked 600,000 times.
    assert len(account.asked) < POSTS + 600
    late = [moment for moment in account.asked if moment > account.asked[0] + 60]
    assert 600 / 15 < len(late) < 600 / 2


async def test_room_of_a_job_that_ended_here_is_taken_at_once() -> None:
    account = Account(VirtualClock(), room=2)

    async def during() -> None:
        await account.clock.sleep(600.0)
        for _ in range(20):
            now = account.clock.monotonic()
            account.free()
            await account.clock.sleep(1.1)
            assert any(now <= moment <= now + 1.05 for moment in account.asked)
            assert account.room == 0

    await with_waiting(100, account, during)

    assert account.made == 22


async def test_room_made_elsewhere_is_found_soon() -> None:
    account = Account(VirtualClock(), room=2)

    async def during() -> None:
        await account.clock.sleep(600.0)
        account.room += 30  # nobody here is told
        await account.clock.sleep(12.0)

    await with_waiting(100, account, during)

    assert account.made == 32


async def test_a_pause_that_the_vendor_asked_for_is_kept_though_jobs_end() -> None:
    account = Account(VirtualClock(), room=0, answer=NotSent(reason="Too often.", retry_after=60.0))

    async def during() -> None:
        for _ in range(590):
            await account.clock.sleep(0.1)
            account.admission.free()

    await with_waiting(100, account, during)

    assert max(account.asked) - min(account.asked) < 1.0
    assert len(account.asked) == POSTS


async def test_what_stops_all_posts_is_asked_about_twice_a_minute() -> None:
    account = Account(VirtualClock(), room=0, answer=NotSent(reason="Wrong key.", stops=True))

    await with_waiting(100, account, lambda: account.clock.sleep(600.0))

    assert len(account.asked) <= POSTS + 20


async def test_a_database_that_fails_is_asked_by_one_and_each_failure_is_raised() -> None:
    account, raised = Account(VirtualClock(), room=0), []
    begun = account.clock.monotonic()

    async def fail() -> Ended | NotSent:
        account.asked.append(account.clock.monotonic())
        await account.clock.sleep(0.01)
        raise LedgerError("The ledger's database failed.")

    async def submit() -> None:
        try:
            await account.admission.submit(fail)
        except LedgerError as error:
            raised.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(POSTS + 10):
            tasks.start_soon(submit)

    assert len(raised) == len(account.asked) == POSTS + 10
    assert account.clock.monotonic() - begun >= 10.0
