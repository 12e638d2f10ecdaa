"""Few POSTs at a time, and one question while the account has no room, however many entries wait."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import attrs
import pytest

from akool_async._model.outcomes import InDoubt
from akool_async._model.responses import Job
from akool_async.ledger import LedgerError, LostAnswer, Made, NotSent
from akool_async.testing import VirtualClock
from akool_async.workers.admission import MOST_LOST, POSTS, Admission, Ended
from tests.ledger.conftest import video

MADE = Made(job=Job(id="0" * 24))
LOST = LostAnswer(key="video-1", request=video(), target="ja", reason="The gateway failed.")
FULL = NotSent(reason="2 jobs are at the vendor, as many as the account may have.")


class Account:
    """Has room for so many jobs, and counts who asks."""

    def __init__(self, clock: VirtualClock, room: int, answer: Ended | NotSent = FULL) -> None:
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

    assert len(account.asked) == 1  # the first one is alone


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


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("stops", [False, True])
async def test_lost_answers_end_all_posts_but_one_now_and_then(
    stops: bool, caplog: pytest.LogCaptureFixture
) -> None:
    account = Account(VirtualClock(), room=0, answer=attrs.evolve(LOST, stops=stops))
    most = 1 if stops else MOST_LOST

    async def during() -> None:
        await account.clock.sleep(290.0)
        assert len(account.asked) == most
        await account.clock.sleep(4 * 3600.0)
        account.room = 200
        await account.clock.sleep(3700.0)

    await with_waiting(200, account, during)

    lost = len(account.asked) - account.made
    assert most < lost <= most + 8  # half a day of it costs no more than a dozen
    assert account.made == 200 - lost
    assert len(warnings(caplog)) == 1
    assert "may have made a job that is billed" in warnings(caplog)[0]


async def test_answers_that_are_lost_together_while_many_posts_are_under_way_are_one_outage() -> None:
    account = Account(VirtualClock(), room=1, answer=LOST)

    await with_waiting(200, account, lambda: account.clock.sleep(290.0))

    assert len(account.asked) <= 1 + POSTS


@pytest.mark.parametrize("doubts", [0, 1, 2, 50])
async def test_a_worker_that_is_started_in_an_outage_loses_one_answer(doubts: int) -> None:
    account = Account(VirtualClock(), room=0, answer=LOST)
    account.admission.begin_after(doubts)

    await with_waiting(200, account, lambda: account.clock.sleep(290.0))

    assert len(account.asked) == max(MOST_LOST - doubts, 1)


async def test_an_answer_ends_what_a_worker_knew_of_an_outage() -> None:
    account = Account(VirtualClock(), room=200)
    account.admission.begin_after(50)

    await with_waiting(200, account, lambda: account.clock.sleep(10.0))

    assert account.made == 200
    assert account.most_at_once == POSTS


async def test_a_lost_answer_now_and_then_holds_nothing_back() -> None:
    account = Account(VirtualClock(), room=0)
    answers = itertools.cycle([LOST, MADE, LOST, LOST, MADE])

    async def post() -> Ended | NotSent:
        account.asked.append(account.clock.monotonic())
        await account.clock.sleep(0.01)
        return next(answers)

    for _ in range(50):
        await account.admission.submit(post)

    assert account.clock.monotonic() < 10.0


async def test_doubts_of_earlier_calls_are_no_sign_of_an_outage() -> None:
    old = InDoubt(key="video-1", request=video(), target="ja", reason="lost yesterday")
    account = Account(VirtualClock(), room=0, answer=old)

    await with_waiting(200, account, lambda: account.clock.sleep(10.0))

    assert len(account.asked) == 200


async def test_why_nothing_is_submitted_is_said_once_until_it_has_changed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    account = Account(VirtualClock(), room=0, answer=NotSent(reason="Wrong key.", stops=True))

    async def during() -> None:
        await account.clock.sleep(600.0)
        account.room = 20
        await account.clock.sleep(600.0)

    await with_waiting(100, account, during)

    assert [("Wrong key." in one) for one in warnings(caplog)] == [True, True]
    assert account.made == 20


async def test_an_account_that_has_no_room_is_nothing_to_warn_of(caplog: pytest.LogCaptureFixture) -> None:
    await with_waiting(100, account := Account(VirtualClock(), room=0), lambda: account.clock.sleep(600.0))

    assert warnings(caplog) == []
