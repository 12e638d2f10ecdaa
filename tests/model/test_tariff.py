"""What a job will cost: an inference at first, then what earlier jobs did cost."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from akool_async import LipSyncRequest, TranslationRequest
from akool_async._model.tariff import JobKind, PriceModel, inferred_price

PLAIN, LIPS = JobKind.TRANSLATION, JobKind.LIPSYNC_TRANSLATION


@pytest.mark.parametrize(
    ("kind", "seconds", "cost"), [(PLAIN, 16.44, 4.0), (LIPS, 11.7, 20.0), (LIPS, 7.91, 10.0)]
)
def test_the_tariff_fits_every_known_sample(kind: JobKind, seconds: float, cost: float) -> None:
    assert inferred_price(kind, seconds) == cost
    price = PriceModel().price(kind, seconds)
    assert price is not None
    assert (price.credits, price.most, price.jobs) == (cost, cost, 0)


def test_the_kind_is_read_from_the_request() -> None:
    url = "https://cdn.vendor.io/v.mp4"

    assert JobKind.for_request(TranslationRequest(url=url, targets="ja")) is PLAIN
    assert JobKind.for_request(TranslationRequest(url=url, targets="ja", lipsync=True)) is LIPS
    assert JobKind.for_request(LipSyncRequest(video_url=url, audio_url=url)) is JobKind.LIPSYNC


@pytest.mark.parametrize("seconds", [None, 0.0, -1.0, math.nan])
def test_without_a_length_there_is_no_price(seconds: float | None) -> None:
    model = PriceModel()
    model.observe(PLAIN, seconds, 4.0)
    model.observe(PLAIN, 10.0, None)
    model.observe(PLAIN, 10.0, 0.0)

    assert model.price(PLAIN, seconds) is None
    assert model.rates == ()


@pytest.mark.parametrize(
    ("unit", "true_price"),
    [
        ("started 10 s", lambda seconds: 3.0 * math.ceil(seconds / 10)),
        ("second", lambda seconds: 0.37 * seconds),
        ("started second", lambda seconds: 0.5 * math.ceil(seconds)),
        ("started minute", lambda seconds: 9.0 * math.ceil(seconds / 60)),
        ("job", lambda _: 12.0),
    ],
)
def test_ten_jobs_say_what_the_price_is_for(unit: str, true_price: Callable[[float], float]) -> None:
    chance = random.Random(unit)
    model = PriceModel()
    for _ in range(10):
        seconds = chance.uniform(1, 240)
        model.observe(PLAIN, seconds, true_price(seconds))

    rate = model.rate(PLAIN)

    assert rate is not None
    assert (rate.unit, rate.jobs) == (unit, 10)
    for seconds in (3.0, 17.2, 59.0, 200.0):
        price = model.price(PLAIN, seconds)
        assert price is not None
        assert price.credits == pytest.approx(true_price(seconds))
        assert price.jobs == 10


def test_one_job_of_another_kind_scales_the_tariff() -> None:
    model = PriceModel()
    model.observe(PLAIN, 15.0, 8.0)  # twice what is inferred

    price = model.price(LIPS, 15.0)

    assert price is not None
    assert price.credits == 40.0


def test_prices_that_differ_show_their_spread_and_the_dearest_is_reserved() -> None:
    model = PriceModel()
    for cost in (4.0, 4.0, 5.0, 4.0, 6.0):
        model.observe(PLAIN, 15.0, cost)
    rate, price = model.rate(PLAIN), model.price(PLAIN, 15.0)

    assert rate is not None
    assert price is not None
    assert (rate.least, rate.each, rate.most) == (2.0, 2.0, 3.0)
    assert rate.per_second == pytest.approx(23 / 75)
    assert (price.credits, price.most) == (4.0, 6.0)


def test_what_is_learned_from_a_kind_is_used_for_it_alone() -> None:
    model = PriceModel()
    model.observe(PLAIN, 15.0, 4.0)
    model.observe(LIPS, 15.0, 100.0)

    plain, lips = model.price(PLAIN, 15.0), model.price(LIPS, 15.0)

    assert plain is not None
    assert lips is not None
    assert (plain.credits, lips.credits) == (4.0, 100.0)
