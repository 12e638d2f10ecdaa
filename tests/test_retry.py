"""How fast paid POSTs may follow each other: freely until somebody complains, then by turns."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from akool_async._retry import FREE, SLOWEST, STEP, AimdRateLimiter


def test_as_long_as_nobody_complains_nobody_waits() -> None:
    pace = AimdRateLimiter()

    assert [pace.reserve(0.0) for _ in range(100)] == [0.0] * 100


def test_a_complaint_halves_the_rate_that_was_tried() -> None:
    pace = AimdRateLimiter()
    for now in range(100):
        pace.reserve(now / 4)

    pace.rate_limited()

    assert pace.rate is not None
    assert 1.9 < pace.rate < 2.1


def test_after_a_complaint_turns_are_evenly_apart() -> None:
    pace = AimdRateLimiter(rate=2.0)

    assert [pace.reserve(10.0) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]
    assert pace.reserve(100.0) == 0.0


def test_complaints_never_bring_the_rate_to_a_stop() -> None:
    pace = AimdRateLimiter(rate=1.0)
    for _ in range(100):
        pace.rate_limited()

    assert pace.rate == SLOWEST


def test_complaints_about_one_burst_halve_the_rate_once() -> None:
    pace = AimdRateLimiter(rate=8.0)
    for sent in (1.0, 1.1, 1.2):
        pace.rate_limited(sent=sent, now=sent + 0.5)

    assert pace.rate == 4.0
    pace.rate_limited(sent=2.0, now=2.5)
    assert pace.rate == 2.0


def test_each_success_raises_the_rate_a_little() -> None:
    pace = AimdRateLimiter(rate=1.0)

    pace.succeeded()

    assert pace.rate == 1.0 + STEP


def test_a_success_without_a_limit_sets_none() -> None:
    pace = AimdRateLimiter()

    pace.succeeded()

    assert pace.rate is None


def test_a_high_rate_is_no_limit_any_more() -> None:
    pace = AimdRateLimiter(rate=FREE)

    pace.succeeded()

    assert pace.rate is None
    assert [pace.reserve(0.0) for _ in range(3)] == [0.0, 0.0, 0.0]


@settings(max_examples=60, deadline=None, database=None)
@given(
    st.lists(st.sampled_from(["turn", "rate_limited", "succeeded", "later"]), max_size=60), st.floats(0, 1e6)
)
def test_no_order_of_events_makes_an_endless_or_negative_wait(events: list[str], now: float) -> None:
    pace, turns = AimdRateLimiter(), 0
    for event in events:
        if event == "turn":
            wait = pace.reserve(now)
            turns += 1
            assert 0 <= wait <= turns / SLOWEST
        elif event == "later":
            now += 7.0
        else:
            getattr(pace, event)()
        assert pace.rate is None or (SLOWEST <= pace.rate <= FREE and math.isfinite(pace.rate))
