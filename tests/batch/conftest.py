"""Batches meet the same sandbox, in the same ways, as single calls do."""

from tests.client.conftest import anyio_backend, fast_house, house, way

__all__ = ["anyio_backend", "fast_house", "house", "way"]
