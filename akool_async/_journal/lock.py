"""One writer per journal: a lock on a file beside it, which the system frees when the process ends.

No library does this for us: filelock and portalocker know neither who holds a lock, so that a second run
could not name the first, nor whether the file that they open to lock is a database of that name, which
must not be overwritten. The lock file stays: if it were deleted, two runs could lock two different files.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from akool_async._model.errors import JournalLockedError, JournalWriteError
from akool_async._model.redact import sanitize

if sys.platform == "win32":
    import msvcrt

    def _lock_file(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock_file(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock_file(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock_file(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


_FAR: Final = 1 << 30
"""Windows locks bytes, and locked bytes can't be read: one far behind the holder's name is taken."""

_LONGEST: Final = 1000
_DATABASE: Final = b"SQLite format 3\0"
_LOOKS: Final = 4
_BETWEEN: Final = 0.005
"""Seconds between tries: `JournalLock.holder` takes the lock for a moment to see whether it is free."""


class JournalLock:
    """The right to write one journal.

    Args:
        journal: the journal's path; the lock is beside it, with ".lock" added to its name.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._path = journal.with_name(f"{journal.name}.lock")
        self._descriptor: int | None = None

    def acquire(self, now: datetime) -> None:
        """Take the lock, or fail within 20 ms.

        Raises:
            JournalLockedError: another run holds it; names that run.
            JournalWriteError: the lock file can't be made or locked here, or is something else.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        except OSError as error:
            raise JournalWriteError(
                f"The journal's lock {self._path} can't be made: {error.strerror}."
            ) from error
        if (
            os.read(descriptor, len(_DATABASE)) == _DATABASE
        ):  # a journal or an inbox of that name: the holder would overwrite it
            os.close(descriptor)
            raise JournalWriteError(
                f"The journal's lock {self._path} is a database, not a lock.",
                impact="It was left as it is, and nothing was sent.",
                advice="Choose another name for the journal.",
            )
        try:
            _take_soon(descriptor)
        except OSError as error:
            try:
                raise self._refusal(descriptor, error) from error
            finally:
                os.close(descriptor)
        self._descriptor = descriptor
        self._write_holder(descriptor, now)

    def holder(self) -> JournalLockedError | None:
        """Say who else holds it, as the error that `acquire` would raise; None if it is free."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        except OSError:
            return None  # nobody could lock it here, or nobody ever did
        try:
            _lock_file(descriptor)
        except OSError as error:
            refusal = self._refusal(descriptor, error)
            return refusal if isinstance(refusal, JournalLockedError) else None
        else:
            _unlock_file(descriptor)
            return None
        finally:
            os.close(descriptor)

    def _write_holder(self, descriptor: int, now: datetime) -> None:
        """Say who holds it. Where not even this can be written, the journal could not be either."""
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": now.isoformat(timespec="seconds"),
        }
        try:
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, json.dumps(holder).encode())
        except OSError as error:
            self.release()
            raise JournalWriteError(
                f"The journal's lock {self._path} can't be written: {error.strerror}."
            ) from error

    def _refusal(self, descriptor: int, error: OSError) -> JournalLockedError | JournalWriteError:
        if not isinstance(error, BlockingIOError | PermissionError):
            return JournalWriteError(f"The journal's lock {self._path} can't be locked: {error.strerror}.")
        holder = _holder(descriptor)
        pid = holder.get("pid") if isinstance(holder.get("pid"), int) else None
        host, since = sanitize(holder.get("host")), sanitize(holder.get("since"))
        who = f"by process {pid} on {host} since {since}" if pid else "by a run that has only just begun"
        return JournalLockedError(
            f"The journal {self._journal} is being written {who}.",
            pid=pid,
            host=host,
            since=since,
        )

    def release(self) -> None:
        """Release the lock; again does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            os.ftruncate(descriptor, 0)
            _unlock_file(descriptor)
        finally:
            os.close(descriptor)


def _take_soon(descriptor: int) -> None:
    for _ in range(_LOOKS):
        try:
            return _lock_file(descriptor)
        except (BlockingIOError, PermissionError):
            time.sleep(_BETWEEN)
    return _lock_file(descriptor)


def _holder(descriptor: int) -> dict[str, Any]:
    """Read who holds it; other content says nothing."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        stored = json.loads(os.read(descriptor, _LONGEST))
    except ValueError:
        return {}
    return stored if isinstance(stored, dict) else {}
