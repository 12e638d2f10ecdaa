"""What several machines spend together, and how many jobs they have at once, by the vendor's own ledger."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from akool_async import AkoolClient, InDoubt, TranslationRequest
from akool_async.ledger import Ledger, Made, NotSent, Submitted, open_ledger
from tests.ledger.conftest import QUICK
from tests.vendor.faults import Fault
from tests.vendor.server import Vendor

KEY = "canary-4f9c1b7e2a"
MOST, CHEAP, DEAR = 40.0, 1.0, 10.0
THOROUGH = pytest.mark.thorough
FLEETS = [
    (1, 1),
    pytest.param(1, 8, marks=THOROUGH),
    pytest.param(1, 30, marks=THOROUGH),
    pytest.param(4, 1, marks=THOROUGH),
    (4, 8),
    pytest.param(4, 30, marks=THOROUGH),
]


class PricedVendor(Vendor):
    """The first job is cheap, all others are dear: no price says what the next job costs."""

    prices = itertools.repeat(DEAR)

    def make_job(self, number: int, url: str, language: str) -> Any:
        with self._turn:
            self.cost = next(self.prices)
        return super().make_job(number, url, language)


@pytest.fixture
def vendor(tmp_path: Path) -> Any:
    with PricedVendor(tmp_path, key=KEY, seconds=3600.0) as vendor:
        vendor.prices = itertools.chain([CHEAP], itertools.repeat(DEAR))
        yield vendor


@attrs.frozen
class Machine:
    ledger: Ledger
    client: AkoolClient


@asynccontextmanager
async def machines(database: str, vendor: Vendor, number: int, **limits: Any) -> AsyncIterator[list[Machine]]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        yield [
            Machine(
                await enter(open_ledger(database, **limits)),
                await enter(AkoolClient(api_key=KEY, host=vendor.url, retry=QUICK)),
            )
            for _ in range(number)
        ]


async def submit_all(
    fleet: list[Machine], in_flight: int, *, videos: int, until: Callable[[Submitted], bool]
) -> list[Submitted]:
    """Let each machine submit so many at once, each again until it is told something final."""
    numbers, found = iter(range(videos)), list[Submitted]()

    async def work(machine: Machine) -> None:
        for number in numbers:
            request = TranslationRequest(url=f"https://e.com/{number}.mp4", targets="ja", key=f"v{number}")
            while not until(one := await machine.ledger.submit_once(machine.client, request)):
                await anyio.sleep(0.02)
            found.append(one)

    async with anyio.create_task_group() as tasks:
        for machine, _ in itertools.product(fleet, range(in_flight)):
            tasks.start_soon(work, machine)
    return found


def is_final(one: Submitted) -> bool:
    """Whether it is not only another job's price that is waited for."""
    return not isinstance(one, NotSent) or "max_credits" in one.reason


@pytest.mark.parametrize(("number", "in_flight"), FLEETS)
async def test_a_budget_is_exceeded_by_one_job_of_unknown_price_at_most(
    database: str, vendor: Vendor, number: int, in_flight: int
) -> None:
    async with machines(database, vendor, number, max_credits=MOST) as fleet:
        await submit_all(fleet, in_flight, videos=40, until=is_final)

    spent = sum(job.cost for job in vendor.jobs.values())
    assert MOST - DEAR < spent <= MOST + DEAR


@pytest.mark.parametrize(("number", "in_flight"), FLEETS)
async def test_lost_answers_are_counted_as_the_dearest_job(
    database: str, vendor: Vendor, number: int, in_flight: int
) -> None:
    vendor.prices = itertools.repeat(DEAR)  # type: ignore[attr-defined]
    vendor.faults.append(Fault(skip=1, times=None, cut=0, end="rst"))
    async with machines(database, vendor, number, max_credits=MOST) as fleet:
        found = await submit_all(fleet, in_flight, videos=20, until=is_final)

    assert sum(job.cost for job in vendor.jobs.values()) == MOST
    assert sum(isinstance(one, InDoubt) for one in found) == 3


@pytest.mark.parametrize(("number", "in_flight"), FLEETS)
async def test_the_account_never_has_more_jobs_than_its_cap(
    database: str, vendor: Vendor, number: int, in_flight: int
) -> None:
    async with machines(database, vendor, number, max_in_flight=5) as fleet:
        found = await submit_all(fleet, in_flight, videos=40, until=lambda _: True)

    assert len(vendor.jobs) == 5
    assert sum(isinstance(one, Made) for one in found) == 5
