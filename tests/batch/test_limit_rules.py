"""The budget and the breaker by themselves, rule by rule: each row fails if the rule is bent a little."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest

from akool_async._batch.limits import CreditBudget, DoubtBreaker

ONE, OTHER, THIRD = (("a", "ja"), ("b", "ja"), ("c", "ja"))


async def can_submit(limit: CreditBudget) -> bool:
    """Tell whether a job may be made now, and make room again."""
    refusals: list[str] = []

    async def reserve() -> None:
        refusals.append(await limit.reserve(ONE))

    await without_waiting(reserve)
    if refusals != [""]:
        return False
    limit.release()
    return True


async def without_waiting(*works: Callable[[], Awaitable[object]]) -> None:
    """Do what can be done at once; what has to wait is cancelled."""
    async with anyio.create_task_group() as tasks:
        for work in works:
            tasks.start_soon(work)
        for _ in range(10):  # turns of the event loop
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("price", [0.25, 1.0, 4.0])
async def test_a_price_once_told_stands_for_a_lost_answer(price: float) -> None:
    spent = price
    budget = CreditBudget(3 * price, lambda: spent)
    budget.count_job(ONE, price)
    budget.count_unknown(OTHER)
    assert await can_submit(budget)

    budget.count_unknown(THIRD)
    assert not await can_submit(budget)


async def test_the_dearest_price_counts_whenever_it_was_told() -> None:
    for prices in ([1.0, 8.0], [8.0, 1.0]):
        budget = CreditBudget(20.0, lambda: 9.0)
        budget.count_job(ONE, prices[0])
        budget.count_job(OTHER, prices[1])
        assert await can_submit(budget)

        budget.count_unknown(THIRD)
        assert not await can_submit(budget)


async def test_lost_answers_of_one_entry_count_one_by_one() -> None:
    budget = CreditBudget(3.0, lambda: 1.0)
    budget.count_job(ONE, 1.0)
    budget.count_unknown(OTHER)
    assert await can_submit(budget)

    budget.count_unknown(OTHER)
    assert not await can_submit(budget)
    budget.settle(OTHER, None, charged=False)
    assert await can_submit(budget)


@pytest.mark.parametrize(("estimate", "fits"), [(6.0, True), (6.1, False)])
async def test_what_the_next_job_may_cost_has_to_fit(estimate: float, fits: bool) -> None:
    budget = CreditBudget(10.0, lambda: 4.0)
    budget.count_job(ONE, 25.0)  # the dearest known job says nothing where there is an estimate

    refusal = await budget.reserve(OTHER, estimate)

    assert (refusal == "") is fits
    assert fits or "max_credits (10) would be exceeded: 4 credits are spent or locked" in refusal


@pytest.mark.parametrize(("price", "estimate", "counted"), [(1.0, 6.0, 6.0), (4.0, 1.0, 4.0)])
async def test_a_job_of_unknown_cost_counts_as_the_dearest_or_as_its_estimate(
    price: float, estimate: float, counted: float
) -> None:
    budget = CreditBudget(20.0, lambda: price)
    budget.count_job(ONE, price)
    assert not await budget.reserve(OTHER, estimate)
    budget.count_unknown(OTHER)
    budget.release()

    left = 20.0 - price - counted
    assert not await budget.reserve(THIRD, left)
    budget.release()
    assert "exceeded" in await budget.reserve(THIRD, left + 0.1)


async def test_the_estimate_of_a_job_that_was_not_made_is_forgotten() -> None:
    budget = CreditBudget(20.0, lambda: 1.0)
    budget.count_job(ONE, 1.0)
    assert not await budget.reserve(OTHER, 15.0)
    budget.release()
    budget.settle(OTHER, None, charged=False)
    budget.count_unknown(OTHER)

    assert not await budget.reserve(THIRD, 18.0)


@pytest.mark.parametrize(("most", "fits"), [(7.9, False), (8.0, True)])
async def test_what_fits_exactly_is_submitted(most: float, fits: bool) -> None:
    budget = CreditBudget(most, lambda: 4.0)
    budget.count_job(ONE, 4.0)

    assert await can_submit(budget) is fits


async def under_way(breaker: DoubtBreaker, wanted: int) -> int:
    """Return how many of so many POSTs go out at once."""
    out: list[None] = []

    async def post() -> None:
        await breaker.acquire()
        out.append(None)

    await without_waiting(*[post] * wanted)
    for _ in out:
        breaker.release()
    return len(out)


async def test_a_breaker_that_is_reset_lets_posts_out_one_by_one_until_one_is_answered() -> None:
    stops: list[str] = []
    breaker = DoubtBreaker(2, lambda: stops.append("stopped"))
    breaker.count_answer()
    breaker.count_doubt([])
    breaker.count_doubt([])
    assert (await under_way(breaker, 2), stops) == (0, ["stopped"])

    breaker.disable()
    assert await under_way(breaker, 2) == 2
    breaker.reset()
    assert await under_way(breaker, 2) == 1
    breaker.count_doubt([])
    assert (await under_way(breaker, 2), stops) == (1, ["stopped"])
    breaker.count_answer()
    assert await under_way(breaker, 3) == 3


async def test_without_a_bound_nothing_waits() -> None:
    budget = CreditBudget(None, lambda: 1e9)

    assert [await budget.reserve(ONE) for _ in range(3)] == [""] * 3


async def test_with_a_bound_one_job_is_made_after_the_other() -> None:
    budget = CreditBudget(100.0, lambda: 0.0)
    assert await budget.reserve(ONE) == ""
    assert not await can_submit(budget)

    budget.release()
    assert await can_submit(budget)


@pytest.mark.parametrize("most", [0.5, 4.0])
async def test_the_first_job_may_cost_what_it_will(most: float) -> None:
    assert await can_submit(CreditBudget(most, lambda: 0.0))


async def test_a_bound_that_is_reached_lets_nothing_out_whatever_the_price() -> None:
    assert "4" in await CreditBudget(4.0, lambda: 4.0).reserve(ONE)


@pytest.mark.parametrize("price", [None, 0.0, -4.0])
async def test_a_job_without_a_price_stops_what_follows(price: float | None) -> None:
    budget = CreditBudget(77.0, lambda: 0.0)
    budget.count_job(ONE, price)
    refusal = await budget.reserve(ONE)

    assert "not known" in refusal
    assert "77" in refusal


@pytest.mark.parametrize(
    ("price", "goes_on"), [(0.5, True), (4.0, True), (0.0, False), (-4.0, False), (None, False)]
)
async def test_the_first_price_is_awaited(price: float | None, *, goes_on: bool) -> None:
    spent = 0.0
    budget = CreditBudget(2 * (price or 4.0), lambda: spent)  # room for it and for one more
    budget.count_job(ONE, None)
    budget.follow(ONE)
    assert not await can_submit(budget)

    spent = price or 0.0
    budget.settle(ONE, price)
    assert await can_submit(budget) is goes_on


async def test_once_a_price_is_known_nothing_is_awaited() -> None:
    budget = CreditBudget(20.0, lambda: 4.0)
    budget.count_job(ONE, 4.0)
    budget.count_unknown(OTHER)
    budget.follow(OTHER)

    assert await can_submit(budget)


async def test_who_has_a_price_is_not_followed() -> None:
    budget = CreditBudget(20.0, lambda: 0.0)
    budget.follow(ONE)

    assert await can_submit(budget)


@pytest.mark.parametrize("prices", [(0.5, 8.0), (8.0, 0.5)])
async def test_prices_told_at_the_end_count_as_well(prices: tuple[float, float]) -> None:
    for most, fits in ((16.5, True), (16.4, False)):
        budget = CreditBudget(most, lambda: 8.5)
        for name, price in zip((ONE, OTHER), prices, strict=True):
            budget.count_unknown(name)
            budget.settle(name, price)
        assert await can_submit(budget) is fits


@pytest.mark.parametrize(("cost", "charged"), [(1.0, True), (None, False)], ids=["known", "failed"])
@pytest.mark.parametrize("last", [1.0, None], ids=["priced", "unpriced"])
async def test_a_doubt_stays_counted_whatever_becomes_of_the_next_job(
    last: float | None, cost: float | None, *, charged: bool
) -> None:
    budget = CreditBudget(3.0, lambda: 1.0)
    budget.count_job(ONE, 1.0)
    budget.count_unknown(OTHER)
    budget.count_job(OTHER, last)  # sent once more
    for _ in range(2):  # known when the job has ended, and said again when its outcome goes out
        budget.settle(OTHER, cost, charged=charged)
    assert await can_submit(budget)

    budget.count_unknown(THIRD)
    assert not await can_submit(budget)


async def test_only_the_last_of_three_lost_answers_is_settled() -> None:
    budget = CreditBudget(4.0, lambda: 1.0)
    budget.count_job(ONE, 1.0)
    for _ in range(3):
        budget.count_unknown(OTHER)
    assert not await can_submit(budget)
    for _ in range(3):
        budget.settle(OTHER, None, charged=False)
    assert await can_submit(budget)

    budget.count_unknown(THIRD)
    assert not await can_submit(budget)


async def test_a_doubt_that_is_paid_for_once_more_keeps_its_estimate() -> None:
    budget = CreditBudget(20.0, lambda: 2.0)
    budget.count_job(ONE, 1.0)
    assert not await budget.reserve(OTHER, 8.0)
    budget.count_unknown(OTHER)
    budget.release()
    budget.count_job(OTHER, 1.0)
    budget.settle(OTHER, 1.0)

    assert not await budget.reserve(THIRD, 10.0)
    budget.release()
    assert "exceeded" in await budget.reserve(THIRD, 10.1)


async def test_the_end_of_a_job_of_known_price_is_not_awaited_for_the_doubt_before_it() -> None:
    budget = CreditBudget(20.0, lambda: 1.0)
    budget.count_unknown(ONE)
    budget.count_job(ONE, 1.0)
    budget.follow(ONE)

    assert await can_submit(budget)


async def test_a_lost_answer_that_made_no_job_is_not_awaited() -> None:
    budget = CreditBudget(20.0, lambda: 0.0)
    budget.count_unknown(ONE)
    budget.follow(ONE)
    budget.settle(ONE, None, charged=False)

    assert await can_submit(budget)


async def test_one_doubt_does_not_close_the_way() -> None:
    breaker = DoubtBreaker(2, lambda: None)
    breaker.count_doubt([])

    assert await under_way(breaker, 3) == 1


async def test_a_new_breaker_lets_the_first_post_out_alone() -> None:
    breaker = DoubtBreaker(2, lambda: None)

    assert await under_way(breaker, 3) == 1
    breaker.count_answer()
    assert await under_way(breaker, 3) == 3
    breaker.count_doubt([])
    assert await under_way(breaker, 3) == 1


async def test_a_breaker_waits_for_doubts_that_may_be_resolved() -> None:
    stops: list[str] = []
    breaker = DoubtBreaker(2, lambda: stops.append("stopped"))
    breaker.count_doubt([ONE])
    breaker.count_doubt([OTHER])
    assert (await under_way(breaker, 2), stops) == (0, [])

    breaker.settle(THIRD, resolved=True)
    assert (await under_way(breaker, 2), stops) == (0, [])
    breaker.settle(ONE, resolved=False)
    assert (await under_way(breaker, 2), stops) == (0, [])
    breaker.settle(OTHER, resolved=True)
    assert (await under_way(breaker, 2), stops) == (1, [])
    breaker.count_doubt([])
    assert (await under_way(breaker, 2), stops) == (0, ["stopped"])


async def test_a_post_that_waits_goes_out_when_the_way_is_free() -> None:
    breaker, out = DoubtBreaker(2, lambda: None), anyio.Event()

    async def post() -> None:
        await breaker.acquire()
        out.set()

    await breaker.acquire()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(post)
        await anyio.wait_all_tasks_blocked()
        assert not out.is_set()
        breaker.release()
        await anyio.wait_all_tasks_blocked()
        assert out.is_set()
