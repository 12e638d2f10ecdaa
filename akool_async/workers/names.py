"""The names of workers: each is a lock in the database, which ends with its holder's connection."""

from __future__ import annotations

import zlib

import sqlalchemy as sa

from akool_async._model.errors import ConfigurationError
from akool_async.ledger import Ledger


def _lock_number(account: str, name: str) -> int:
    return zlib.crc32(f"{account}/{name}".encode()) + 2**40


def lock_engine(ledger: Ledger, name: str) -> sa.Engine:
    """Return where a worker's name is locked, by a connection that shows the name."""
    return sa.create_engine(
        ledger.url, poolclass=sa.NullPool, connect_args={"application_name": f"akool/{name}"}
    )


def lock_name(engine: sa.Engine, account: str, name: str) -> sa.Connection:
    """Hold a worker's name as long as the connection lives.

    Raises:
        ConfigurationError: another worker holds it.
    """
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    number = _lock_number(account, name)
    if not connection.execute(sa.text("SELECT pg_try_advisory_lock(:n)"), {"n": number}).scalar_one():
        connection.close()
        raise ConfigurationError(
            f"A worker named {name} is running.", advice="Each worker needs a name of its own: use --name."
        )
    return connection
