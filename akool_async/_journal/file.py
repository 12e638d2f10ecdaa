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
from pathlib import Path
from typing import Final

from akool_async._core.errors import JournalBroken, JournalError, JournalTooNew, JournalUnwritable
from akool_async._journal import schema
from akool_async._journal.reader import COLUMNS

BUSY: Final = 5.0
"""Seconds to wait for a program that holds the file for a moment, such as a shell of SQLite."""

_NOTHING: Final = "Nothing was opened and nothing was sent."
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_UNREADABLE: Final = _DAMAGED | {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_FORMAT}
"""While a file is only looked at, an error of the statement is an error of the file."""


def _connect(path: Path, query: str, *, busy: float = BUSY) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.as_uri()}?{query}",
        uri=True,
        timeout=busy,
        isolation_level=None,
        check_same_thread=False,
    )


def in_memory() -> sqlite3.Connection:
    """Give a journal that nobody keeps."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    schema.migrate(connection)
    return connection


def translated(path: str | os.PathLike[str], error: Exception, doing: str) -> JournalError:
    """Give the error that a user can act upon."""
    undecoded = isinstance(error, sqlite3.OperationalError) and not hasattr(error, "sqlite_errorcode")
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if undecoded or code in (_UNREADABLE if doing == "read" else _DAMAGED):
        return JournalBroken(f"The journal {path} is damaged or is none: {error}.")
    words = getattr(error, "strerror", None) or str(error)
    if doing == "read":
        return JournalError(
            f"The journal {path} could not be read: {words}.",
            advice="Check its permissions and its folder's.",
        )
    return JournalUnwritable(f"The journal {path} could not be {doing}: {words}.")


# Before anything is touched.


def check_place(path: Path) -> bool:
    """Whether a file stands there; nothing is opened.

    Raises:
        JournalUnwritable: its folder is not there.
        JournalBroken: what stands there can't be a journal.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        _check_folder(path)
        return False
    except OSError as error:
        raise translated(path, error, "found") from error
    if not stat.S_ISREG(found.st_mode):
        raise JournalBroken(f"{path} is not a file, so it can't be a journal.")
    if found.st_size == 0:
        raise JournalBroken(
            f"The file {path} is empty. A journal never is: it was cut, or something else made it.",
            advice="If no run has used it yet, delete it; else put a copy of the journal in its place.",
        )
    return True


def _check_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise JournalUnwritable(
            f"The folder {path.parent} for the journal is not there.",
            money=_NOTHING,
            advice="Make the folder, or name another place.",
        )
    if not _is_alone(path):
        log = _beside(path, "-wal")
        raise JournalBroken(
            f"The journal {path} is gone, but {log.name} is still there and may hold its last entries.",
            advice="Put the journal back beside it; delete it only if no paid job is in it.",
        )


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}{suffix}")


def _untouched(path: Path) -> sqlite3.Connection:
    """Look into a file without a trace where that is possible: where no log is waiting beside it."""
    return _connect(path, "mode=ro&immutable=1" if _is_alone(path) else "mode=ro")


def _is_alone(path: Path) -> bool:
    """Whether all of the journal is in its file and nothing in a log."""
    log = _beside(path, "-wal")
    return not log.exists() or not log.stat().st_size


def _check_marks(connection: sqlite3.Connection, path: Path) -> None:
    if schema.application(connection) != schema.APPLICATION_ID:
        raise JournalBroken(f"{path} is a file of SQLite, but not a journal.")
    version, known = schema.version(connection), len(schema.MIGRATIONS)
    if version > known:
        raise JournalTooNew(f"The journal {path} has version {version}; this package knows up to {known}.")
    if version < 1:
        raise JournalBroken(f"The journal {path} has no version: it was not made by this package.")


def _check_whole(connection: sqlite3.Connection, path: Path) -> None:
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    if _is_alone(path) and path.stat().st_size % page:
        raise JournalBroken(f"The journal {path} was cut: its last page is not whole.")
    (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        raise JournalBroken(f"The journal {path} is damaged: {said}.")


def _check_columns(connection: sqlite3.Connection, path: Path) -> None:
    there = {row[1] for row in connection.execute("PRAGMA table_info(entry)")}
    missing = sorted({"id", *COLUMNS} - there)
    if missing:
        raise JournalBroken(f"The journal {path} lacks the columns {', '.join(missing)}.")


def check_kind(path: Path) -> None:
    """Look at the marks of what stands there, if anything does, and leave no trace.

    Raises:
        JournalError: it can't be a journal, or not one of this version.
    """
    if check_place(path):
        _inspect(path, whole=False)


def _inspect(path: Path, *, whole: bool) -> None:
    try:
        connection = _untouched(path)
        try:
            _check_marks(connection, path)
            if whole:
                _check_whole(connection, path)
                if schema.version(connection) == len(schema.MIGRATIONS):
                    _check_columns(connection, path)
        finally:
            connection.close()
    except (sqlite3.Error, OSError) as error:
        raise translated(path, error, "read") from error
    except UnicodeDecodeError as error:
        raise JournalBroken(f"The journal {path} is damaged: it holds text that is none.") from error


# Making and opening.


def _make(path: Path) -> None:
    """Make an empty journal under another name and give it its name when it is whole."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.new*"):
        left.unlink()  # of a run that was killed here; the lock says that nobody is at it now
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    os.close(descriptor)
    draft = Path(name)
    try:
        connection = _connect(draft, "mode=rw")
        try:
            connection.execute("PRAGMA synchronous = FULL")
            schema.migrate(connection)
            _use_log(connection, path)
        finally:
            connection.close()
        draft.rename(path)
        _sync_folder(path.parent)
    finally:
        for left in (draft, *(_beside(draft, suffix) for suffix in ("-journal", "-wal", "-shm"))):
            left.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a new name survive a power cut; Windows does so by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _use_log(connection: sqlite3.Connection, path: Path) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise JournalUnwritable(
            f"The journal {path} can't be kept on this file system: it offers no shared memory.",
            advice="Name a place on a disk of this machine.",
        )


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    _use_log(connection, path)
    for pragma in ("synchronous = FULL", "fullfsync = 1", "checkpoint_fullfsync = 1"):
        connection.execute(f"PRAGMA {pragma}")
    schema.migrate(connection)
    _check_columns(connection, path)


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open a journal, or make one where there is none. The caller holds the lock.

    Raises:
        JournalBroken: what is there is no journal, or is damaged; it was not touched.
        JournalTooNew: a newer version wrote it; it was not touched.
        JournalUnwritable: the file or its folder can't be written.
    """
    try:
        if check_place(path):
            _inspect(path, whole=True)
        else:
            _make(path)
        connection = _connect(path, "mode=rw")
        try:
            _prepare(connection, path)
        except BaseException:  # whatever it is, an open file would keep its locks
            connection.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise translated(path, error, "opened for writing") from error
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a journal that somebody else may be writing.

    Raises:
        JournalError: there is none, it is no journal, or it can't be read.
    """
    if not check_place(path):
        raise JournalError(f"There is no journal {path}.", money=_NOTHING, advice="Check the path.")
    _inspect(path, whole=False)
    try:
        try:
            return _checked(_connect(path, "mode=ro"), path)
        except sqlite3.OperationalError:
            # A folder that can't be written, and no run that has the file open: nothing can change.
            return _checked(_untouched(path), path)
    except sqlite3.Error as error:
        raise translated(path, error, "read") from error


def _checked(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    try:
        _check_marks(connection, path)
        current = _of_this_version(connection)
        _check_columns(current, path)
    except BaseException:  # whatever it is, an open file would keep its locks
        connection.close()
        raise
    return current


def _of_this_version(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Give the journal as this version reads it: an older one as a copy in memory, as it is now."""
    if schema.version(connection) == len(schema.MIGRATIONS):
        return connection
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        connection.backup(copy)
        schema.migrate(copy)
    except BaseException:  # whatever it is, nobody else knows the copy
        copy.close()
        raise
    connection.close()
    return copy
