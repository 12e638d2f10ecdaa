"""What time it is at the vendor, told by the Date of its answers and not by a clock that may be wrong."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta

import attrs
import pytest

from akool_async import AkoolClient
from akool_async._clock import ServerClock
from tests.client.conftest import KEY, QUICK, Open
from tests.client.raw import RawVendor, http

DATE = "Tue, 02 Jun 2026 10:00:00 GMT"
TOLD = datetime(2026, 6, 2, 10, tzinfo=UTC)


@attrs.define
class Wrong:
    """A clock that is wrong."""

    wall: datetime = datetime(2020, 1, 1, tzinfo=UTC)
    seconds: float = 5.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds


def test_before_an_answer_our_own_clock_is_believed() -> None:
    assert ServerClock(Wrong()).now() == datetime(2020, 1, 1, tzinfo=UTC)


def test_an_answer_sets_it_and_a_jump_does_not_move_it() -> None:
    clock = Wrong()
    time = ServerClock(clock)
    time.update(DATE)
    clock.wall += timedelta(days=400)
    clock.seconds += 90

    assert time.now() == TOLD + timedelta(seconds=90)


@pytest.mark.parametrize(
    "date", ["", "soon", "Tue, 99 Jun 2026 10:00:00 GMT", "Tue, 02 Jun 999999 10:00:00 GMT"]
)
def test_what_is_no_date_says_nothing(date: str) -> None:
    time = ServerClock(Wrong())
    time.update(DATE)
    time.update(date)

    assert time.now() == TOLD


def test_a_date_without_a_zone_is_utc() -> None:
    time = ServerClock(Wrong())
    time.update("Tue, 02 Jun 2026 10:00:00 -0000")

    assert time.now() == TOLD


async def test_the_client_hears_it(house: Open) -> None:
    async with house(time_scale=1e9) as home:
        client = await home.client()
        await client.credit()

        assert client.session.server_now() > datetime.now(UTC) + timedelta(hours=1)


def test_one_more_answer_of_the_same_second_says_nothing_new() -> None:
    clock = Wrong()
    time = ServerClock(clock)
    time.update(DATE)
    clock.seconds += 0.9
    time.update(DATE)

    assert time.now() == TOLD + timedelta(seconds=0.9)


def test_a_client_that_is_closed_believes_its_own_clock_and_plans_no_polls() -> None:
    client = AkoolClient(api_key="k" * 20)
    client.session.reschedule()

    assert abs(client.session.server_now() - datetime.now(UTC)) < timedelta(hours=1)


async def test_a_date_to_retry_after_is_read_by_the_clock_of_the_same_answer() -> None:
    now = "Sat, 05 Jan 2080 10:00:00 GMT"
    busy = http(b"busy", 503, date=now, retry_after=now)
    done = http({"code": 1000, "data": {"credit": 7}})

    class Busy(RawVendor):
        def answer(self, connection: socket.socket) -> None:
            connection.recv(65536)
            self.polls.append("")
            connection.sendall(busy if len(self.polls) == 1 else done)

    with Busy(lambda _: b"").serve() as vendor:
        async with AkoolClient(api_key=KEY, host=vendor.url, retry=QUICK) as client:
            assert await client.credit() == 7.0
