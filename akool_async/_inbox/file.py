"""The inbox's file: callbacks in the order in which they came, each once. Knows no event loop.

Several processes may write it and several may read it. It holds tokens, job ids, states and times,
and nothing that a webhook is sealed with or that signs a URL.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from akool_async._core.callback import Callback
from akool_async._core.errors import InboxUnusable

APPLICATION_ID: Final = 0x616B696E
"""In the file's header: this SQLite file is one of ours ("akin")."""

VERSION: Final = 1

KEPT: Final = timedelta(days=8)
"""Results die after 7 days, and nobody wants a callback for longer."""

MOST: Final = 100_000
"""Callbacks that are kept, whatever comes; the oldest go first."""

_BUSY: Final = 5.0
_NO_STATUS: Final = -1
_PAGE: Final = 100
_TIDIED_EVERY: Final = 1000

_SCHEMA: Final = """
    CREATE TABLE callback (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        token TEXT NOT NULL,
        job_id TEXT NOT NULL,
        status INTEGER NOT NULL,
        repeated INTEGER NOT NULL,
        came_at TEXT NOT NULL,
        UNIQUE (token, job_id, status)
    )
"""

_ADD: Final = """
    INSERT OR IGNORE INTO callback (token, job_id, status, repeated, came_at) VALUES (?, ?, ?, ?, ?)
"""


def _make(path: Path) -> None:
    """Make an empty file that only its owner can read; one that is there stays as it is.

    SQLite drops its locks when a process closes any descriptor of the file, so one that is there is not
    opened here. It would delete a log beside an empty file, and with it what only the log holds.

    Raises:
        InboxUnusable: a log is there without its inbox.
    """
    log = path.with_name(f"{path.name}-wal")
    if _size(log) and not _size(path):  # in this order: another process may be making it
        raise InboxUnusable(
            f"The inbox {path} is gone or empty, but {log.name} is there and may hold its last callbacks.",
            advice="Put the inbox back beside it, or name another file.",
        )
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _callback(row: tuple[str, str, int, int]) -> Callback:
    token, job_id, status, repeated = row
    return Callback(
        job_id=job_id,
        token=token,
        status=None if status == _NO_STATUS else status,
        repeated=bool(repeated),
    )


class InboxFile:
    """One inbox, open; its methods may be called from any thread.

    Args:
        path: the file, on a disk of this machine; it is made if it is not there.

    Raises:
        InboxUnusable: it can't be opened, or is something else.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._mutex = threading.Lock()
        self._written = 0
        with self._told("opened"):
            _make(self.path)
            self._connection = sqlite3.connect(
                self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:  # whatever it is, an open file would keep its locks
                self._connection.close()
                raise

    def _prepare(self) -> None:
        run = self._connection.execute
        full = self._holds_something()  # before it is asked whose it is: another process may be making it
        (ours,), (version,) = run("PRAGMA application_id").fetchone(), run("PRAGMA user_version").fetchone()
        if ours not in (0, APPLICATION_ID) or version > VERSION or (full and not ours):
            raise InboxUnusable(f"The file {self.path} is no inbox, or one of a newer version.")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        if version < VERSION:
            with self._transaction():
                if not self._holds_something():  # another process may have been faster
                    run(_SCHEMA)
                    run(f"PRAGMA application_id = {APPLICATION_ID}")
                    run(f"PRAGMA user_version = {VERSION}")
        self._tidy()

    def _holds_something(self) -> bool:
        return bool(self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])

    @contextlib.contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            words = getattr(error, "strerror", None) or error
            raise InboxUnusable(f"The inbox {self.path} could not be {doing}: {words}.") from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def write(self, callbacks: Iterable[Callback]) -> None:
        """Add callbacks in one durable transaction; those that are there already are not added again.

        Raises:
            InboxUnusable: they could not be written.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        rows = [
            (one.token, one.job_id, _NO_STATUS if one.status is None else one.status, one.repeated, now)
            for one in callbacks
        ]
        with self._mutex, self._told("written"):
            with self._transaction():
                self._connection.executemany(_ADD, rows)
            self._written += len(rows)
            if self._written >= _TIDIED_EVERY:
                self._tidy()

    def _tidy(self) -> None:
        """Delete what nobody wants any more."""
        self._written = 0
        oldest = (datetime.now(UTC) - KEPT).isoformat(timespec="seconds")
        self._connection.execute(
            "DELETE FROM callback WHERE came_at < ? OR id <= (SELECT max(id) FROM callback) - ?",
            (oldest, MOST),
        )

    def mark(self) -> int:
        """Give a number that differs once another connection has written."""
        with self._mutex, self._told("read"):
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def last(self) -> int:
        """Give the number of the last callback, 0 where there is none."""
        with self._mutex, self._told("read"):
            return int(self._connection.execute("SELECT coalesce(max(id), 0) FROM callback").fetchone()[0])

    def after(self, number: int) -> list[tuple[int, Callback]]:
        """Give some of the callbacks that came after one, with their numbers, in order."""
        statement = (
            "SELECT id, token, job_id, status, repeated FROM callback WHERE id > ? ORDER BY id LIMIT ?"
        )
        with self._mutex, self._told("read"):
            rows = self._connection.execute(statement, (number, _PAGE)).fetchall()
        return [(row[0], _callback(row[1:])) for row in rows]

    def find(self, token: str) -> tuple[Callback, ...]:
        """Give the callbacks that came with a token, in order."""
        statement = "SELECT token, job_id, status, repeated FROM callback WHERE token = ? ORDER BY id"
        with self._mutex, self._told("read"):
            rows = self._connection.execute(statement, (token,)).fetchall()
        return tuple(map(_callback, rows))

    def close(self) -> None:
        """Close it; waits for a write under way. Twice is fine."""
        with self._mutex:
            self._connection.close()
