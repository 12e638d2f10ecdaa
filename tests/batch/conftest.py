"""Batches meet the sandbox on both event loops; the ways in which calls are sent are tested with calls."""

import pytest

from tests.client.conftest import TRIED, WAYS, Way, anyio_backend, fast_house, house

__all__ = ["anyio_backend", "fast_house", "house", "way"]


@pytest.fixture(params=[way for way in WAYS if str(way) in {"fast", "trio"} & set(TRIED)], ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    return request.param
