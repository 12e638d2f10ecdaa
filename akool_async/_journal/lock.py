"""One writer per journal, and what must be remembered of a journal outside of it.

The lock is a file beside the journal; it stays, for two runs could lock two different files if it were
deleted. It names who holds it, and remembers how far the journal had come: a journal that was deleted, or
replaced by an older copy, would pay again for all that it does not know.

No library does this for us: filelock and portalocker know neither who holds a lock nor whether the file that
they open is one, and both share their lock with a forked child.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import stat
import struct
import sys
import time
import weakref
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import attrs

from akool_async._journal.names import beside
from akool_async._model.errors import (
    JournalError,
    JournalLockedError,
    JournalOlderError,
    JournalReplacedError,
    JournalWriteError,
)
from akool_async._model.redact import sanitize

_KEPT_FREE: Final = 1 << 20
"""Bytes that have to be free before a paid call: the ids in its answer, and their log, need some of them."""

_FAR: Final = 1 << 30
"""Windows locks bytes, and locked bytes can't be read: one far behind the holder's name is taken."""

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

    # flock and not a record lock (fcntl): a record lock is lost as soon as anything in this process opens and
    # closes the file, such as a tool that copies the folder. flock is shared by a forked child instead, which
    # could free it or outlive us with it; so the child closes its copies at once, see `_after_fork`.
    def _lock_file(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock_file(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


_LONGEST: Final = 1000
_ATTEMPTS: Final = 5
_BETWEEN: Final = 0.005
"""Seconds between tries: `JournalLock.holder` takes the lock for a moment to see whether it is free."""

_LAST_BYTE: Final = (1 << 62) - 1
"""The byte of a journal that its writer locks, far from those that SQLite locks (at 1 GiB)."""

MOUNTS: Final = Path("/proc/self/mountinfo")
_UNTOUCHED: Final = "It was left as it is, and nothing was sent."


_KEPT: Final = attrs.filters.exclude("copied")
"""What of a watermark the lock remembers."""


@attrs.frozen
class Watermark:
    """How far a journal has come.

    Attributes:
        journal: the random name in its file, which copies share.
        intents: paid POSTs whose intent was committed, several of them maybe at once. This only grows.
        moved: where its entries are continued, or "".
        copied: when it was made by `backup`, in UTC; "" for a journal that a run has written.
    """

    journal: str
    intents: int
    moved: str = ""
    copied: str = ""


class JournalLock:
    """The right to write one journal.

    Args:
        journal: the journal's path; the lock is beside it, with ".lock" added to its name.

    Attributes:
        remembered: how far the journal had come when it was last written; None if that is not known.
        forked: whether this is the copy of a lock in a forked child, which must not write.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._path = beside(journal, ".lock")
        self._descriptor: int | None = None
        self._claim: int | None = None
        self._watched: dict[Path, tuple[int, int]] = {}
        self._holder: dict[str, Any] = {}
        self.forked = False
        self.remembered: Watermark | None = None

    def acquire(self, now: datetime) -> None:
        """Take the lock, or fail within 20 ms.

        Raises:
            JournalLockedError: another run holds it; names that run.
            JournalWriteError: the lock file can't be made or locked here, or is something else.
        """
        descriptor = self._open(os.O_CREAT)
        try:
            for attempt in range(_ATTEMPTS):
                try:
                    _lock_file(descriptor)
                    break
                except OSError as error:
                    if not isinstance(error, BlockingIOError | PermissionError) or attempt == _ATTEMPTS - 1:
                        raise self._refusal(descriptor, error) from error
                    time.sleep(_BETWEEN)
            # Checked once more: the file may have been deleted while another run held it.
            self.remembered = _watermark(self._check_ours(descriptor, content=True))
        except BaseException:  # also Ctrl-C: a descriptor left open would hold the lock for ever
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        _HOLDING.add(self)
        host, since = socket.gethostname(), now.isoformat(timespec="seconds")
        self._holder = {"pid": os.getpid(), "host": host, "since": since}
        try:
            self.remember(self.remembered)
        except OSError as error:
            self.release()
            raise JournalWriteError(
                f"The journal's lock {self._path} can't be written: {error.strerror}."
            ) from error

    def claim(self) -> None:
        """Lock the journal's own file, too, so that no other path leads to it; again does nothing.

        The lock beside it is found by the journal's path alone. A journal that was moved, or whose lock was
        deleted, while a run is writing it would get a second writer.

        Raises:
            JournalLockedError: a run is writing it under another path.
            JournalError: it has several names, or is mounted by itself.
        """
        if self._watched:
            return
        found = self._journal.stat()
        identity = (found.st_dev, found.st_ino)
        # SQLite looks for its log beside the name that it is given: under two names there are two logs, and
        # each writer overwrites what the other one has paid for.
        if found.st_nlink > 1:
            raise JournalError(
                f"The journal {self._journal} has {found.st_nlink} names (hard links).",
                impact=_UNTOUCHED,
                advice="Remove the other name, or make it a copy with `akool-async backup`.",
            )
        if _is_mounted(self._journal):
            raise JournalError(
                f"The journal {self._journal} is mounted as a single file, without its log.",
                impact=_UNTOUCHED,
                advice="Mount the folder that the journal is in.",
            )
        elsewhere = JournalLockedError(
            f"The journal {self._journal} is being written by a run that opened it under another path."
        )
        # Looked for first: to close a second descriptor of the file would drop the locks of SQLite.
        if any(identity in other._watched.values() for other in _HOLDING):
            raise elsewhere
        if sys.platform == "linux":
            descriptor = os.open(self._journal, os.O_RDWR | os.O_CLOEXEC)
            try:
                wanted = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, _LAST_BYTE, 1, 0)
                fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
            except BlockingIOError:
                os.close(descriptor)
                raise elsewhere from None
            except OSError:  # this file system has no such locks; the lock beside the journal is held
                os.close(descriptor)
            else:
                self._claim = descriptor
        self._watched[self._journal] = identity

    def watch(self, path: Path) -> None:
        """Check from now on that this file is not deleted or replaced."""
        found = path.stat()
        self._watched[path] = (found.st_dev, found.st_ino)

    def full_disk_error(self) -> JournalWriteError | None:
        """Return why nothing more may be paid: the answers could not be recorded; None if they can."""
        with contextlib.suppress(OSError):  # not every file system tells
            free = shutil.disk_usage(self._journal.parent).free
            if free < _KEPT_FREE:
                return JournalWriteError(f"The disk of {self._journal} is full, with {free:,} bytes left.")
        return None

    def check_in_place(self) -> None:
        """Refuse to write once the files are not those that were opened: nobody would find it there."""
        for path, identity in self._watched.items():
            try:
                found = path.stat()
            except OSError:
                found = None
            if found is None or (found.st_dev, found.st_ino) != identity:
                raise JournalReplacedError(
                    f"{path} was deleted, moved or replaced while the journal was open."
                )

    def older_error(self, found: Watermark | None) -> JournalOlderError | None:
        """Say that the journal is behind what is remembered of it, or is a copy; None if it is not.

        Args:
            found: how far the journal itself says that it has come; None where there is none.
        """
        known = self.remembered
        if known is not None and known.moved:
            # What others pay since then is not in it, so a run on it would pay for that again.
            return JournalOlderError(
                f"The entries of the journal {self._journal} were moved to {known.moved}.",
                advice="Continue them there. `--accept-older-journal` takes this journal up again; what was "
                "paid elsewhere since then is paid once more.",
            )
        if known is not None and known.intents and (why := self._behind(known, found)):
            return JournalOlderError(why)
        if found is not None and found.copied:
            return JournalOlderError(
                f"The journal {self._journal} is a copy that `backup` made on {sanitize(found.copied)} UTC, "
                "without what was paid after that.",
                advice="Put the newest journal in its place. If there is none, look at the account's usage "
                "since then on the vendor's site, and take out of the catalog what was paid. Then continue "
                "with accept_older=True (`--accept-older-journal`), once.",
            )
        return None

    def _behind(self, known: Watermark, found: Watermark | None) -> str:
        """Say what a journal lacks of what was last written, in which paid calls were recorded, or ""."""
        if found is None:
            return f"The journal {self._journal} is gone; {known.intents} paid calls were recorded in it."
        if found.journal != known.journal:
            return (
                f"The journal {self._journal} is not the one that was last written there, in which "
                f"{known.intents} paid calls were recorded."
            )
        if found.intents < known.intents:
            return (
                f"The journal {self._journal} is older than it was: the records of "
                f"{known.intents - found.intents} of {known.intents} paid calls are missing."
            )
        return ""

    def look(self) -> JournalLock:
        """Read what is remembered, without taking the lock."""
        with contextlib.suppress(JournalWriteError):  # nothing is remembered here
            descriptor = self._open()
            try:
                self.remembered = _watermark(_content(descriptor) or {})
            finally:
                os.close(descriptor)
        return self

    def count_intents(self, posts: int) -> None:
        """Remember that intents of so many POSTs were committed."""
        if self.remembered is not None:
            # Where even these few bytes can't be overwritten, an older journal may not be noticed later.
            with contextlib.suppress(OSError):
                self.remember(attrs.evolve(self.remembered, intents=self.remembered.intents + posts))

    def holder(self) -> JournalLockedError | None:
        """Say who else holds it, as the error that `acquire` would raise; None if it is free."""
        try:
            descriptor = self._open()
        except JournalWriteError:
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

    def remember(self, watermark: Watermark | None) -> None:
        """Write down how far the journal has come, once that is durable in the journal itself.

        It is not synced: after a power cut it may be older than the journal, which is no reason to stop.
        """
        self.remembered = watermark
        if self._descriptor is None:
            return
        content = json.dumps(
            {**self._holder, **({} if watermark is None else attrs.asdict(watermark, filter=_KEPT))}
        )
        # One write over the old content, padded: a reader meanwhile sees the old or the new.
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        written = os.write(self._descriptor, f"{content:<{_LONGEST // 2}}\n".encode())
        os.ftruncate(self._descriptor, written)

    def release(self) -> None:
        """Release the lock; again does nothing."""
        descriptor, claim = self._descriptor, self._claim
        self._watched.clear()
        _HOLDING.discard(self)
        if descriptor is None:
            return
        try:
            self._holder = {}
            with contextlib.suppress(OSError):  # then a dead process is named, whose lock is free
                self.remember(self.remembered)
            _unlock_file(descriptor)
        finally:
            self._descriptor = self._claim = None
            for each in filter(None, (descriptor, claim)):
                os.close(each)

    def _open(self, flags: int = 0) -> int:
        """Open the lock file, and only that: never what a link or a pipe of its name leads to."""
        for name in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"):
            flags |= getattr(os, name, 0)
        try:
            descriptor = os.open(self._path, os.O_RDWR | flags, 0o600)
        except OSError as error:
            raise JournalWriteError(
                f"The journal's lock {self._path} can't be opened: {error.strerror}.", impact=_UNTOUCHED
            ) from error
        try:
            self._check_ours(descriptor)
        except BaseException:  # also Ctrl-C: a descriptor left open would hold the lock for ever
            os.close(descriptor)
            raise
        return descriptor

    def _check_ours(self, descriptor: int, *, content: bool = False) -> dict[str, Any]:
        """Refuse what is not a lock file of ours; return what it says, once nobody else may write it."""
        found, reason, said = os.fstat(descriptor), "", _content(descriptor) if content else {}
        if not stat.S_ISREG(found.st_mode):
            reason = "is not a regular file"
        elif sys.platform != "win32" and found.st_uid != os.geteuid():
            reason = "belongs to another user"
        elif found.st_nlink != 1:
            reason = "has several names (hard links)" if found.st_nlink else "was deleted just now"
        elif said is None:
            reason = "is another file, not a lock"
        if reason or said is None:
            raise JournalWriteError(
                f"The journal's lock {self._path} {reason}.",
                impact=_UNTOUCHED,
                advice="Look at it; move it away if it is not needed, or give the journal another name.",
            )
        return said

    def _refusal(self, descriptor: int, error: OSError) -> JournalLockedError | JournalWriteError:
        if not isinstance(error, BlockingIOError | PermissionError):
            return JournalWriteError(f"The journal's lock {self._path} can't be locked: {error.strerror}.")
        holder = _content(descriptor) or {}
        pid = holder.get("pid") if isinstance(holder.get("pid"), int) else None
        host, since = sanitize(holder.get("host")), sanitize(holder.get("since"))
        who = f"by process {pid} on {host} since {since}" if pid else "by a run that has only just begun"
        return JournalLockedError(
            f"The journal {self._journal} is being written {who}.",
            pid=pid,
            host=host,
            since=since,
        )

    def _forked(self) -> None:
        """Let go of the parent's lock, without unlocking it."""
        for descriptor in filter(None, (self._descriptor, self._claim)):
            os.close(descriptor)
        self._descriptor = self._claim = None
        self._watched.clear()
        self.forked = True


def _content(descriptor: int) -> dict[str, Any] | None:
    """Return what a lock file says; None if it is something else. A power cut may leave zeros."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    content = os.read(descriptor, _LONGEST).strip(b"\0 \n")
    try:
        stored = json.loads(content) if content else {}
    except ValueError:
        return None
    return stored if isinstance(stored, dict) else None


def _watermark(content: dict[str, Any]) -> Watermark | None:
    match content:
        case {"journal": str(journal), "intents": int(intents)}:
            return Watermark(journal, intents, sanitize(content.get("moved", "")))
    return None


def _is_mounted(path: Path) -> bool:
    """Whether a file is a mount point by itself, as in `docker run -v jobs.sqlite3:/jobs.sqlite3`."""
    try:
        mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # not Linux
        return False
    point = str(path)
    for char in "\\ \t\n":
        point = point.replace(char, f"\\{ord(char):03o}")
    return any(line.split(" ")[4] == point for line in mounts.split("\n") if line)


_HOLDING: Final[weakref.WeakSet[JournalLock]] = weakref.WeakSet()


def _after_fork() -> None:
    for lock in list(_HOLDING):
        lock._forked()
    _HOLDING.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
