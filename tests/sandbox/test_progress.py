"""The shapes of progress: never back, never out of range, each with its own way of being useless."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akool_async.sandbox.settings import ShapeName, reported_progress, shown_while_queued

QUIRK = st.floats(0, 1)
TELLING = [name for name in get_args(ShapeName) if name != "none"]


@settings(deadline=None)
@given(shape=st.sampled_from(TELLING), quirk=QUIRK, one=st.floats(0, 1), other=st.floats(0, 1))
def test_progress_stays_in_range_and_never_goes_back(
    shape: ShapeName, quirk: float, one: float, other: float
) -> None:
    early, late = (
        reported_progress(shape, min(one, other), quirk),
        reported_progress(shape, max(one, other), quirk),
    )
    queued = shown_while_queued(shape)

    assert early is not None
    assert late is not None
    assert queued is not None
    assert 0 <= queued <= 100
    assert 0 <= early <= late < 100


@settings(deadline=None)
@given(quirk=QUIRK)
def test_a_stalling_job_counts_in_fives_and_sticks_at_95(quirk: float) -> None:
    seen = [reported_progress("stall", step / 200, quirk) for step in range(201)]

    assert all(value is not None and value % 5 == 0 for value in seen)
    assert seen[-1] == 95
    assert max(seen.count(value) for value in set(seen)) >= 0.12 * 200


@pytest.mark.parametrize("quirk", [0.0, 0.5, 1.0])
def test_each_shape_is_what_its_name_says(quirk: float) -> None:
    assert {reported_progress("coarse", step / 100, quirk) for step in range(101)} == {10, 40, 80}
    assert (reported_progress("front", 0.2, quirk) or 0) >= 45
    assert (reported_progress("liar", 0.55, quirk) or 0) >= 97
    assert reported_progress("linear", 0.5, quirk) == pytest.approx(50, abs=5)
    assert reported_progress("none", 0.5, quirk) is None
    assert shown_while_queued("none") is None
