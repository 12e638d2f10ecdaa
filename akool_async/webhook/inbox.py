"""The inbox: one SQLite file that receivers write callbacks to and batches read them from.

Several processes may write it and several may read it. It holds tokens, job ids, states and times, and
nothing that a webhook is sealed with or that signs a URL.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import anyio
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync

from akool_async._background import BackgroundTasks, opening
from akool_async._journal.names import check_name
from akool_async._model.errors import InboxError, JournalError
from akool_async._model.responses import Callback, CallbackListener
from akool_async._model.validators import file_path
from akool_async.webhook.listeners import CallbackFeed

logger: Final[logging.Logger] = logging.getLogger("akool_async")
POLL_INTERVAL: Final = 0.1
"""Seconds between two looks at the file; one costs some microseconds."""

APPLICATION_ID: Final = 0x616B696E
"""In the file's header: this SQLite file is an inbox of this package ("akin")."""

VERSION: Final = 1
MAX_ROWS: Final = 100_000
"""Callbacks that are kept, the newest; those that no batch has read yet are fewer, some for each job."""

_LOCK_TIMEOUT: Final = 5.0
_NO_STATUS: Final = -1
_PAGE: Final = 100
_PRUNE_INTERVAL: Final = 1000
_COLUMNS: Final = "token, job_id, status, repeated"
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


def open_inbox(path: str | os.PathLike[str]) -> Inbox:
    """Return the inbox in a file, to be opened with `async with` and passed to `open_batch(callbacks=...)`.

    A `WebhookReceiver(inbox=path)` in another process writes it. Callbacks that arrived while no batch was
    running are found by the next one. The file is created with mode 0600 if it does not exist.

    Args:
        path: the file, whose folder has to exist and to be on a disk of this machine.

    Raises:
        ConfigurationError: it is not a path.
        InboxError: on entering, it can't be opened, or is not an inbox.
    """
    file_path.check("path", path)
    return Inbox(path)


class Inbox(CallbackFeed):
    """Callbacks from a file; created by `open_inbox`, which describes it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._file: InboxFile | None = None
        self._listeners: list[CallbackListener] = []
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        return f"<Inbox {os.fspath(self._path)!r} {'closed' if self._file is None else 'open'}>"

    @property
    def is_open(self) -> bool:
        """Whether callbacks in the file are passed on."""
        return self._file is not None

    async def __aenter__(self) -> Self:
        """Open it and begin to watch it; see `open_inbox` for the errors."""
        with opening("inbox", self, is_open=self._file is not None):
            async with AsyncExitStack() as stack:
                file = await run_sync(InboxFile, self._path)
                stack.callback(file.close)
                tasks = await stack.enter_async_context(BackgroundTasks())
                tasks.start_soon(self._watch, file, file.last_id(), name="inbox")
                self._stack = stack.pop_all()
            self._file = file
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching it."""
        self._file = None
        await self._stack.aclose()

    def callbacks_for(self, token: str) -> tuple[Callback, ...]:
        """Return the callbacks received with a token so far, also before this inbox was opened."""
        if self._file is None:
            return ()
        try:
            # Without its callbacks an entry stays in doubt, which costs nothing; a batch that ends here
            # might.
            return self._file.find(token)
        except InboxError as error:
            logger.warning("%s", error)
            return ()

    async def _watch(self, file: InboxFile, last: int) -> None:
        """Pass new callbacks on; log an error once and wait it out, because polls go out all the same."""
        seen_version, failing = -1, False
        while True:
            try:
                version = file.data_version()
                if version != seen_version:
                    # Page by page: a receiver that wrote 100,000 of them meanwhile must not keep the polls
                    # waiting.
                    while page := file.since(last):
                        for number, callback in page:
                            last = number
                            self._pass_on(callback)
                        await checkpoint()
                    seen_version, failing = version, False
            except InboxError as error:
                if not failing:
                    logger.warning("%s", error)
                failing = True
            await anyio.sleep(POLL_INTERVAL)


class InboxFile:
    """One inbox file, open; its methods may be called from any thread and raise InboxError."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the file, create it if needed, and delete what is too much."""
        self.path: Path = Path(path).absolute()  # a program may change its folder while it is open
        self._mutex = threading.Lock()
        self._written = 0
        with self._errors("opened"):
            self._found = _create(self.path)
            # Worker threads write while the event loop's thread reads; `_mutex` keeps them apart.
            self._connection = sqlite3.connect(
                self.path, timeout=_LOCK_TIMEOUT, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:  # an open connection would keep its locks
                self._connection.close()
                raise

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA schema_version").fetchone()  # opens the file, by its name: another may be in its place
        self._check_in_place()
        # Read before the application id: another process may be creating the schema at this moment.
        full = self._has_tables()
        (ours,), (version,) = run("PRAGMA application_id").fetchone(), run("PRAGMA user_version").fetchone()
        if ours not in (0, APPLICATION_ID) or version > VERSION or (full and not ours):
            raise InboxError(f"The file {self.path} is not an inbox, or was made by a newer version.")
        run("PRAGMA journal_mode = WAL")
        # FULL: a callback may be the only trace of a paid job, so it has to survive a power cut.
        run("PRAGMA synchronous = FULL")
        if version < VERSION:
            with self._connection:
                run("BEGIN IMMEDIATE")
                if not self._has_tables():  # another process may have been faster
                    run(_SCHEMA)
                    run(f"PRAGMA application_id = {APPLICATION_ID}")
                    run(f"PRAGMA user_version = {VERSION}")
        self._prune()

    def _check_in_place(self) -> None:
        """Raise an error if another file has its name, or none: what is written would be read by nobody."""
        now = _own_file(self.path)
        if now is None or not os.path.samestat(self._found, now):
            raise InboxError(
                f"The inbox {self.path} was {'deleted' if now is None else 'replaced'} while it was open.",
                advice="Put it back, or restart what writes and what reads it.",
            )

    def _has_tables(self) -> bool:
        return bool(self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])

    @contextmanager
    def _errors(self, action: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError, OSError) as error:
            words = getattr(error, "strerror", None) or error
            raise InboxError(f"The inbox {self.path} could not be {action}: {words}.") from error

    def write(self, callbacks: Iterable[Callback]) -> None:
        """Add callbacks in one durable transaction; those that are in the file already are skipped."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        rows = [
            # UNIQUE treats NULLs as different, so a callback without status is stored with a number.
            (one.token, one.job_id, _NO_STATUS if one.status is None else one.status, one.repeated, now)
            for one in callbacks
        ]
        statement = f"INSERT OR IGNORE INTO callback ({_COLUMNS}, came_at) VALUES (?, ?, ?, ?, ?)"  # noqa: S608
        with self._mutex, self._errors("written"):
            self._check_in_place()
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(statement, rows)
            self._written += len(rows)
            if self._written >= _PRUNE_INTERVAL:
                self._prune()

    def _prune(self) -> None:
        """Delete all but the newest callbacks."""
        self._written = 0
        # By number, not by age: a clock that is ahead once would delete the only trace of a paid job.
        self._connection.execute(
            "DELETE FROM callback WHERE id <= (SELECT max(id) FROM callback) - ?", (MAX_ROWS,)
        )

    def data_version(self) -> int:
        """Return a number that changes when another connection has written."""
        with self._mutex, self._errors("read"):
            self._check_in_place()
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def last_id(self) -> int:
        """Return the number of the last callback, 0 if the file is empty."""
        with self._mutex, self._errors("read"):
            return int(self._connection.execute("SELECT coalesce(max(id), 0) FROM callback").fetchone()[0])

    def since(self, number: int) -> list[tuple[int, Callback]]:
        """Return the next callbacks after number `number`, a page at most, with their numbers, in order."""
        return self._select("id > ? ORDER BY id LIMIT ?", number, _PAGE)

    def find(self, token: str) -> tuple[Callback, ...]:
        """Return the callbacks received with a token, in order."""
        return tuple(callback for _, callback in self._select("token = ? ORDER BY id", token))

    def _select(self, where: str, *values: str | int) -> list[tuple[int, Callback]]:
        statement = f"SELECT id, {_COLUMNS} FROM callback WHERE {where}"  # noqa: S608 - constants only
        with self._mutex, self._errors("read"):
            rows = self._connection.execute(statement, values).fetchall()
        found = []
        for number, token, job_id, code, repeated in rows:
            if not (isinstance(token, str) and isinstance(job_id, str) and isinstance(code, int)):
                raise InboxError(
                    f"The inbox {self.path} is damaged: no receiver wrote its callback {number} like this."
                )
            status = None if code == _NO_STATUS else code
            found.append(
                (number, Callback(job_id=job_id, token=token, status=status, repeated=bool(repeated)))
            )
        return found

    def close(self) -> None:
        """Close it, after a write that is under way. Closing twice is harmless."""
        with self._mutex:
            self._connection.close()


def _create(path: Path) -> os.stat_result:
    """Create an empty file that only its owner can read, unless there is one; return its status."""
    try:
        check_name(path)
    except JournalError as error:
        raise InboxError(error.message, impact=error.impact, advice=error.advice) from error
    log, *others = (path.with_name(f"{path.name}-{name}") for name in ("wal", "shm", "journal"))
    for other in others:  # SQLite follows links to them, and writes to what it finds
        _own_file(other)
    # SQLite deletes a log beside an empty file, and with it the callbacks that only the log holds. The log
    # is looked at first: another process may be creating both.
    log_found, found = _own_file(log), _own_file(path)
    if log_found and log_found.st_size and not (found and found.st_size):
        raise InboxError(
            f"The inbox {path} is missing or empty, but {log.name} is there and may hold its last callbacks.",
            advice="Put the inbox back beside it, or name another file.",
        )
    # An existing file is not opened: closing any descriptor of it would drop SQLite's locks in this process.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    found = _own_file(path)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return found


def _own_file(path: Path) -> os.stat_result | None:
    """Return the status of a file that nobody else can have laid as a trap; None if there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    ours = os.name == "nt" or found.st_uid in (os.geteuid(), path.parent.stat().st_uid)
    if not (stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and ours):
        raise InboxError(
            f"{path} is a link, a pipe or another user's file. It was not opened.",
            advice="Look who put it there and move it away, or name another inbox.",
        )
    return found
