"""The journal's file: looked at before it is touched, made with mode 0600, opened for writing or reading.

SQLite drops its locks when a process closes any descriptor of the same file, so nothing here opens a
journal that is there but SQLite itself.
"""

from __future__ import annotations

import glob
import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from akool_async._journal import schema
from akool_async._journal.entry import COLUMNS
from akool_async._journal.lock import Watermark
from akool_async._journal.names import beside, check_name, draft_pattern, unreadable_journal
from akool_async._journal.table import DATABASE_ERRORS
from akool_async._model.errors import (
    JournalCorruptedError,
    JournalError,
    JournalVersionError,
    JournalWriteError,
)

_MARKED: Final = 3
"""The first version with a watermark."""

_COPY: Final = "backup"
"""The table of a copy that `back_up` made, until it is written as a journal."""


BUSY: Final = 5.0
"""Seconds to wait for a program that holds the file for a moment, such as a shell of SQLite."""

_NOTHING: Final = "Nothing was opened and nothing was sent."
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_UNREADABLE: Final = _DAMAGED | {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_FORMAT}
"""While a file is only looked at, an error of the statement is an error of the file."""


def _connect(path: Path, query: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.as_uri()}?{query}", uri=True, timeout=BUSY, isolation_level=None, check_same_thread=False
    )


def in_memory(*, of: sqlite3.Connection | None = None) -> sqlite3.Connection:
    """Return a journal in memory, new or a copy of one as it is now."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        if of is not None:
            of.backup(connection)
        schema.migrate(connection)
        if of is None:  # its writer counts for itself, and nobody will open it again
            for statement in schema.DROP_TRIGGERS:
                connection.execute(statement)
    except BaseException:  # whatever it is, nobody else knows the connection
        connection.close()
        raise
    return connection


def map_sqlite_error(path: str | os.PathLike[str], error: Exception, doing: str) -> JournalError:
    """Return the error that a user can act upon."""
    if isinstance(error, UnicodeDecodeError):
        return JournalCorruptedError(f"The journal {path} is damaged: a text in it is not valid UTF-8.")
    undecoded = isinstance(error, sqlite3.OperationalError) and not hasattr(error, "sqlite_errorcode")
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return unreadable_journal(path, str(error), is_database=False)
    if undecoded or code in (_UNREADABLE if doing == "read" else _DAMAGED):
        return JournalCorruptedError(f"The journal {path} is damaged: {error}.")
    words = getattr(error, "strerror", None) or str(error)
    if doing == "read":
        return JournalError(
            f"The journal {path} could not be read: {words}.",
            advice="Check its permissions and its folder's.",
        )
    return JournalWriteError(f"The journal {path} could not be {doing}: {words}.")


def check_location(path: Path) -> bool:
    """Return whether the file exists, without opening it; refuse what can't be a journal."""
    try:
        found = path.stat()
    except FileNotFoundError:
        check_name(path)
        if not path.parent.is_dir():
            raise JournalWriteError(
                f"The folder {path.parent} for the journal is not there.",
                impact=_NOTHING,
                advice="Make the folder, or name another place.",
            ) from None
        # Opening it would make an empty journal, and SQLite would discard the log: all is paid again.
        if not _is_alone(path):
            raise JournalCorruptedError(
                f"The journal {path} is gone, but {path.name}-wal is there and may hold its last entries.",
                advice="Put the journal back beside it; delete it only if no paid job is in it.",
            ) from None
        return False
    except OSError as error:
        raise map_sqlite_error(path, error, "found") from error
    if not stat.S_ISREG(found.st_mode):
        raise JournalCorruptedError(f"{path} is not a file, so it can't be a journal.")
    # SQLite takes an empty file for a new database, and every entry that was in it would be paid again.
    if found.st_size == 0:
        check_name(path)
        raise JournalCorruptedError(
            f"The file {path} is empty. A journal is never empty: it was truncated or replaced.",
            advice="If no run has used it yet, delete it; else put a copy of the journal in its place.",
        )
    return True


def open_immutable(path: Path) -> sqlite3.Connection:
    """Look into a file without a trace where that is possible: where no log is waiting beside it."""
    # A plain read-only connection makes -wal and -shm beside it, also beside another program's database.
    return _connect(path, "mode=ro&immutable=1" if _is_alone(path) else "mode=ro")


def log_of(path: Path) -> Path:
    """Return the file that holds the last entries of a journal while it is open."""
    return beside(path, "-wal")


def _is_alone(path: Path) -> bool:
    """Whether all of the journal is in its file and nothing in a log."""
    log = log_of(path)
    return not log.exists() or not log.stat().st_size


def _check_marks(connection: sqlite3.Connection, path: Path) -> None:
    if schema.pragma(connection, "application_id") != schema.APPLICATION_ID:
        raise unreadable_journal(path, "", is_database=True)
    version, known = schema.pragma(connection, "user_version"), len(schema.MIGRATIONS)
    # A newer version may know states that this one would read as "not sent yet".
    if version > known:
        raise JournalVersionError(f"The journal {path} has version {version}; the newest known is {known}.")
    if version < 1:
        raise JournalCorruptedError(f"The journal {path} has no version: it was not made by this package.")


def _check_columns(connection: sqlite3.Connection, path: Path) -> None:
    there = {row[1] for row in connection.execute("PRAGMA table_info(entry)")}
    missing = sorted({"id", *COLUMNS} - there)
    if missing:
        raise JournalCorruptedError(f"The journal {path} lacks the columns {', '.join(missing)}.")


def check_is_journal(path: Path) -> Watermark | None:
    """Return how far a journal has come, None where there is none; refuse another file, without a trace."""
    return _inspect(path, whole=False) if check_location(path) else None


def watermark(connection: sqlite3.Connection) -> Watermark:
    """Return how far a journal has come; one of an earlier version has no name yet."""
    journal, intents, copied = "", 0, ""
    if schema.pragma(connection, "user_version") >= _MARKED:
        journal, intents = connection.execute("SELECT journal, intents FROM watermark").fetchone()
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (_COPY,)).fetchone() is not None:
        (copied,) = connection.execute(f"SELECT max(made_at) FROM {_COPY}").fetchone()  # noqa: S608 - ours
    return Watermark(journal, intents, copied=copied)


def _inspect(path: Path, *, whole: bool) -> Watermark:
    try:
        with closing(open_immutable(path)) as connection:
            _check_marks(connection, path)
            if whole:
                if _is_alone(path) and path.stat().st_size % schema.pragma(connection, "page_size"):
                    message = f"The journal {path} is truncated: its last page is incomplete."
                    raise JournalCorruptedError(message)
                (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if said != "ok":
                    raise JournalCorruptedError(f"The journal {path} is damaged: {said}.")
                if schema.pragma(connection, "user_version") == len(schema.MIGRATIONS):
                    _check_columns(connection, path)
            return watermark(connection)
    except (*DATABASE_ERRORS, OSError) as error:
        check_name(path)
        raise map_sqlite_error(path, error, "read") from error


@contextmanager
def _draft_of(path: Path) -> Iterator[sqlite3.Connection]:
    """Make a file under another name, and give it its name when it is whole."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    os.close(descriptor)
    draft = Path(name)
    try:
        with closing(_connect(draft, "mode=rw")) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            yield connection
        _publish(draft, path)
    finally:
        for left in (draft, *(beside(draft, suffix) for suffix in ("-journal", "-wal", "-shm"))):
            left.unlink(missing_ok=True)


def _publish(draft: Path, path: Path) -> None:
    draft.replace(path)
    if os.name != "nt":  # the new name has to survive a power cut, too; Windows sees to that itself
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def back_up(source: sqlite3.Connection, path: Path) -> None:
    """Copy a journal as it is now to a new file with mode 0600; runs continue writing it meanwhile."""
    path = path.parent.resolve() / path.name
    check_name(path)
    try:
        # The name is taken first, so that nothing is ever overwritten; killed here, it leaves an empty file.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise JournalError(
            f"{path} exists already.", impact="It was left as it is.", advice="Choose another name."
        ) from None
    except OSError as error:
        raise map_sqlite_error(path, error, "made") from error
    try:
        with _draft_of(path) as copy:
            source.backup(copy)
            if copy.execute("SELECT 1 FROM sqlite_master WHERE type = 'trigger'").fetchone() is None:
                for statement in schema.COUNT_ROWS:  # it was a journal in memory
                    copy.execute(statement)
            # It says so itself: where it is restored there may be no lock that remembers more.
            copy.execute(f"CREATE TABLE IF NOT EXISTS {_COPY} (made_at TEXT NOT NULL)")
            copy.execute(f"INSERT INTO {_COPY} VALUES (CURRENT_TIMESTAMP)")  # noqa: S608 - ours
    except BaseException as error:
        path.unlink()
        if isinstance(error, (*DATABASE_ERRORS, OSError)):
            raise map_sqlite_error(path, error, "written") from error
        raise


def enable_wal(connection: sqlite3.Connection, path: Path) -> None:
    # Without shared memory SQLite falls back silently, and readers then block the writer of intents.
    if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
        raise JournalWriteError(
            f"The journal {path} can't be kept on this file system: it offers no shared memory.",
            advice="Name a place on a disk of this machine.",
        )


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open a journal, or make one where there is none; one that can't be used is not touched.

    The caller holds the lock. All of the file is read, a million entries in 0.8 s: with a damaged index, what
    was paid would be paid again.
    """
    try:
        if check_location(path):
            _inspect(path, whole=True)
        else:
            for left in path.parent.glob(draft_pattern(glob.escape(path.name))):
                left.unlink()  # of a run that was killed here; the lock says that nobody is at it now
            with _draft_of(path) as draft:
                schema.migrate(draft)
                enable_wal(draft, path)
        connection = _connect(path, "mode=rw")
        try:
            enable_wal(connection, path)
            # FULL: in WAL mode NORMAL loses the last commits in a power cut, and with them paid ids.
            # fullfsync is for macOS, whose fsync leaves the data in the drive's cache.
            for pragma in ("synchronous = FULL", "fullfsync = 1", "checkpoint_fullfsync = 1"):
                connection.execute(f"PRAGMA {pragma}")
            schema.migrate(connection)
            _check_columns(connection, path)
            connection.execute(f"DROP TABLE IF EXISTS {_COPY}")  # from here on it is the journal itself
        except BaseException:  # whatever it is, an open file would keep its locks
            connection.close()
            raise
    except (*DATABASE_ERRORS, OSError) as error:
        raise map_sqlite_error(path, error, "opened for writing") from error
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a journal that another process may be writing."""
    if not check_location(path):
        raise JournalError(f"There is no journal {path}.", impact=_NOTHING, advice="Check the path.")
    _inspect(path, whole=False)
    try:
        try:
            return _checked(_connect(path, "mode=ro"), path)
        except sqlite3.OperationalError:
            # A folder that can't be written, and no run that has the file open: nothing can change.
            return _checked(open_immutable(path), path)
    except DATABASE_ERRORS as error:
        raise map_sqlite_error(path, error, "read") from error


def _checked(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """Return a connection to the journal as this version reads it: an older one as a copy in memory."""
    try:
        _check_marks(connection, path)
        if schema.pragma(connection, "user_version") < len(schema.MIGRATIONS):
            older, connection = connection, in_memory(of=connection)
            older.close()
        _check_columns(connection, path)
    except BaseException:  # whatever it is, an open file would keep its locks
        connection.close()
        raise
    return connection
