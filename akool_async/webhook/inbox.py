"""The inbox: one SQLite file into which receivers write callbacks and out of which a batch reads them."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import anyio
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync

from akool_async._model.errors import InboxError
from akool_async._model.responses import Callback, CallbackListener

# The inbox's file: callbacks in the order in which they came, each once. Knows no event loop.
#
# Several processes may write it and several may read it. It holds tokens, job ids, states and times,
# and nothing that a webhook is sealed with or that signs a URL.


APPLICATION_ID: Final = 0x616B696E
"""In the file's header: this SQLite file is one of ours ("akin")."""

VERSION: Final = 1
RETENTION: Final = timedelta(days=8)
"""Results die after 7 days, and nobody wants a callback for longer."""

MAX_ROWS: Final = 100_000
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
        InboxError: a log is there without its inbox.
    """
    log = path.with_name(f"{path.name}-wal")
    if _size(log) and not _size(path):  # in this order: another process may be making it
        raise InboxError(
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
        InboxError: it can't be opened, or is something else.
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
            raise InboxError(f"The file {self.path} is no inbox, or one of a newer version.")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        if version < VERSION:
            with self._transaction():
                if not self._holds_something():  # another process may have been faster
                    run(_SCHEMA)
                    run(f"PRAGMA application_id = {APPLICATION_ID}")
                    run(f"PRAGMA user_version = {VERSION}")
        self._prune()

    def _holds_something(self) -> bool:
        return bool(self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])

    @contextlib.contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            words = getattr(error, "strerror", None) or error
            raise InboxError(f"The inbox {self.path} could not be {doing}: {words}.") from error

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
            InboxError: they could not be written.
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
                self._prune()

    def _prune(self) -> None:
        """Delete what nobody wants any more."""
        self._written = 0
        oldest = (datetime.now(UTC) - RETENTION).isoformat(timespec="seconds")
        self._connection.execute(
            "DELETE FROM callback WHERE came_at < ? OR id <= (SELECT max(id) FROM callback) - ?",
            (oldest, MAX_ROWS),
        )

    def data_version(self) -> int:
        """Give a number that differs once another connection has written."""
        with self._mutex, self._told("read"):
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def last_id(self) -> int:
        """Give the number of the last callback, 0 where there is none."""
        with self._mutex, self._told("read"):
            return int(self._connection.execute("SELECT coalesce(max(id), 0) FROM callback").fetchone()[0])

    def since(self, number: int) -> list[tuple[int, Callback]]:
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


# An inbox as a batch sees it: a source of callbacks that a receiver in another process writes.


logger = logging.getLogger("akool_async")
POLL_INTERVAL: Final = 0.1
"""Seconds between two glances at the file; one costs some microseconds."""


def open_inbox(path: str | os.PathLike[str]) -> Inbox:
    """Give the inbox in the file `path`, to be used in `async with` and handed to `open_batch(webhook=...)`.

    A `WebhookReceiver(inbox=path)` in another process writes it. What came while no batch was running is
    found by the next one. The file is made with mode 0600 if it is not there.

    Args:
        path: the file, whose folder has to be there and on a disk of this machine.

    Raises:
        InboxError: on entering, it can't be opened, or is something else.
    """
    return Inbox(path)


class Inbox:
    """Callbacks out of a file; made by `open_inbox`, which describes it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._file: InboxFile | None = None
        self._listeners: list[CallbackListener] = []
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        return f"<Inbox {os.fspath(self._path)!r} {'closed' if self._file is None else 'open'}>"

    async def __aenter__(self) -> Self:
        """Open it and begin to watch it; see `open_inbox` for the errors."""
        if self._file is not None:
            raise RuntimeError("This inbox is open already.")
        async with AsyncExitStack() as stack:
            file = await run_sync(InboxFile, self._path)
            stack.callback(file.close)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            tasks.start_soon(self._watch, file, file.last_id(), name="inbox")
            stack.callback(tasks.cancel_scope.cancel)
            self._stack = stack.pop_all()
        self._file = file
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching it."""
        self._file = None
        await self._stack.aclose()

    def subscribe(self, listener: CallbackListener) -> Callable[[], None]:
        """Tell `listener` of each callback that comes from now on; give what ends that."""
        self._listeners.append(listener)

        def detach() -> None:
            self._listeners = [other for other in self._listeners if other is not listener]

        return detach

    def callbacks_for(self, token: str) -> tuple[Callback, ...]:
        """Give the callbacks that came with a token so far, those of earlier days too."""
        if self._file is None:
            return ()
        try:
            return self._file.find(token)
        except InboxError as error:
            logger.warning("%s", error)
            return ()

    async def _watch(self, file: InboxFile, last: int) -> None:
        """Read what comes; trouble with the file is told once, and waited out."""
        mark, trouble = -1, False
        while True:
            try:
                now = file.data_version()
                if now != mark:
                    last = await self._read(file, last)
                    mark, trouble = now, False
            except InboxError as error:
                if not trouble:
                    logger.warning("%s", error)
                trouble = True
            await anyio.sleep(POLL_INTERVAL)

    async def _read(self, file: InboxFile, last: int) -> int:
        """Hand on what came after `last`; give what is last now."""
        while page := file.since(last):
            for number, callback in page:
                last = number
                for listener in self._listeners:
                    listener.on_callback(callback)
            await checkpoint()
        return last
