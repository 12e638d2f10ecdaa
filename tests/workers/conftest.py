"""The bench of a ledger, for tests of workers."""

from tests.ledger.conftest import anyio_backend, bench, database, quick

__all__ = ["anyio_backend", "bench", "database", "quick"]
