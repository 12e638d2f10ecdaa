"""What is really spent, by the vendor's own ledger, when it does not say what a job costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.vendor.conftest import violations
from tests.vendor.faults import Fault
from tests.vendor.program import Customer, video
from tests.vendor.server import Vendor

MOST = 20.0
COST = 4.0
ENTRIES = [video(number) for number in range(30)]
MISSING = object()


@pytest.fixture(autouse=True)
def short_jobs(vendor: Vendor) -> None:
    vendor.seconds = 0.0


def priced(price: object, *, also_at_the_end: bool) -> Callable[[Vendor], None]:
    def arrange(vendor: Vendor) -> None:
        def edit(kind: str, job: dict[str, Any]) -> None:
            for name in ("deduction_lock_duration", "deduction_duration"):
                if name in job and (kind == "create" or also_at_the_end):
                    job[name] = price
                    if price is MISSING:
                        del job[name]

        vendor.edit = edit

    return arrange


def lose_answers(times: int | None) -> Callable[[Vendor], None]:
    return lambda vendor: vendor.faults.append(Fault(times=times, cut=0, end="rst"))


PRICES = {"missing": MISSING, "null": None, "NaN": "NaN", "zero": 0, "negative": -4}
WITHOUT_PRICE = {
    **{f"{name} price": priced(price, also_at_the_end=True) for name, price in PRICES.items()},
    **{f"{name} price until the end": priced(price, also_at_the_end=False) for name, price in PRICES.items()},
    "first five answers lost": lose_answers(5),
    "every answer lost": lose_answers(None),
}


@pytest.mark.parametrize("in_flight", [1, pytest.param(8, marks=pytest.mark.thorough), 30])
@pytest.mark.parametrize("case", WITHOUT_PRICE)
def test_what_is_spent_exceeds_the_bound_by_one_job_of_unknown_price_at_most(
    customer: Customer, case: str, in_flight: int
) -> None:
    WITHOUT_PRICE[case](customer.vendor)
    customer.batch(*ENTRIES, max_credits=MOST, max_in_flight=in_flight, max_doubts=100)

    assert violations(customer, max_credits=MOST, unpriced=COST) == []


@pytest.mark.parametrize("in_flight", [1, 30])
@pytest.mark.parametrize("price", [4, "4", "4.0"])
def test_a_price_that_is_told_is_spent_up_to_the_bound(
    customer: Customer, price: object, in_flight: int
) -> None:
    priced(price, also_at_the_end=True)(customer.vendor)
    told = customer.batch(*ENTRIES, max_credits=MOST, max_in_flight=in_flight)

    assert [one.outcome for one in told].count("saved") == MOST / COST
    assert violations(customer, max_credits=MOST) == []


@pytest.mark.parametrize("in_flight", [1, 8])
def test_jobs_that_fail_are_spent_within_the_bound(customer: Customer, in_flight: int) -> None:
    """Whether a job that failed is charged is not documented. This vendor does not."""
    customer.vendor.fails = lambda url, language: int(url.rpartition("/")[2].removesuffix(".mp4")) % 2 == 0
    customer.batch(*ENTRIES, max_credits=MOST, max_in_flight=in_flight)

    assert violations(customer, max_credits=MOST) == []


def test_the_bound_holds_over_runs_that_lose_their_answers(customer: Customer) -> None:
    for _ in range(3):
        customer.vendor.faults[:] = [Fault(skip=1, times=2, cut=0, end="rst")]
        customer.batch(*ENTRIES, max_credits=MOST, max_in_flight=8)

    assert violations(customer, max_credits=MOST, unpriced=COST) == []
