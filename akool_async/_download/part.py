"""A file on its way: what came so far, and beside it what has to be known to go on, also in another process.

`<name>.part` holds the bytes, `<name>.part.about` whose they are and how many of them are surely on disk.
Blocks; called in threads.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any, Final

import attrs

from akool_async._download import disk
from akool_async._download.inspection import Digest

if sys.platform == "win32":

    def _lock(descriptor: int) -> None:
        """An open file can be neither renamed nor removed there."""

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_OPEN: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)

_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
"""What file systems say that know no locks; there two runs are told apart by nothing."""


@attrs.frozen(kw_only=True)
class About:
    """What is known of the bytes in a part, or of the file that it became.

    Attributes:
        owner: the job that the file belongs to.
        source: where it came from, without what signs it.
        etag: its strong ETag, or "".
        length: bytes of the whole file, None where the host did not say.
        synced: bytes that are on disk for good.
        sha256: of the whole file once it is whole, else "".
    """

    owner: str = ""
    source: str = ""
    etag: str = ""
    length: int | None = None
    synced: int = 0
    sha256: str = ""


def part_of(target: Path) -> Path:
    """Where the bytes of `target` are until it is whole."""
    return target.with_name(f"{target.name}.part")


def about_of(target: Path) -> Path:
    """Where it stands what they are."""
    return target.with_name(f"{target.name}.part.about")


def read_about(target: Path) -> About:
    """Give what is known of `target`; an empty one where nothing is."""
    told = disk.read_json(about_of(target))
    known: dict[str, Any] = {field.name: told.get(field.name, field.default) for field in attrs.fields(About)}
    about = About(**known)
    texts = (about.owner, about.source, about.etag, about.sha256)
    numbers = (about.synced, 0 if about.length is None else about.length)
    sound = all(isinstance(text, str) for text in texts) and all(
        type(number) is int and number >= 0 for number in numbers
    )
    return about if sound else About()


def owned(target: Path, owner: str) -> Digest | None:
    """Give what `target` was when it got its name, if it is of this owner."""
    about = read_about(target)
    if about.owner != owner or not about.sha256:
        return None
    return Digest(about.length or 0, about.sha256)


class Part:
    """The bytes of one file, open for more.

    Args:
        target: the name that it will get.
        owner: the job that it belongs to.
        source: where it comes from, without what signs it.

    Attributes:
        size: bytes that are here.
        about: what is known of them.
    """

    def __init__(self, target: Path, owner: str, source: str) -> None:
        self.target = target
        self.path = part_of(target)
        self.size = 0
        self.about = About(owner=owner, source=source)
        self._descriptor = -1

    def open(self) -> None:
        """Open what an earlier try left, as far as it can be gone on with, or begin anew.

        Raises:
            OSError: the folder can't be written.
            NameInUse: somebody else is at it.
        """
        before = read_about(self.target)
        self._descriptor = self._opened()
        usable = before.etag and (before.owner, before.source) == (self.about.owner, self.about.source)
        if usable:
            self.about = attrs.evolve(before, sha256="")
            self.size = min(before.synced, os.fstat(self._descriptor).st_size)
        os.ftruncate(self._descriptor, self.size)
        os.lseek(self._descriptor, self.size, os.SEEK_SET)

    def _opened(self) -> int:
        while True:
            descriptor = os.open(self.path, _OPEN, 0o666)
            try:
                self._take(descriptor)
                if self._is_alone(descriptor):
                    return descriptor
            except BaseException:  # whatever it is, a lock must not outlive it
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _take(self, descriptor: int) -> None:
        try:
            _lock(descriptor)
        except BlockingIOError as error:
            raise disk.NameInUse(f"{self.target} is being downloaded already.") from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise

    def _is_alone(self, descriptor: int) -> bool:
        """Whether the file still has this name and no other: one that has is whole and must stay so."""
        found = os.fstat(descriptor)
        try:
            named = self.path.lstat()
        except FileNotFoundError:
            return False
        if not os.path.samestat(found, named):
            return False
        if found.st_nlink == 1 and stat.S_ISREG(found.st_mode):
            return True
        self.path.unlink()
        return False

    def begin(self, etag: str, length: int | None) -> None:
        """Throw away what is here: the whole file comes, with this ETag and of this length."""
        self.size = 0
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._tell(etag=etag, length=length, synced=0, sha256="")

    def write(self, content: bytes | bytearray) -> None:
        """Add to the end."""
        view = memoryview(content)
        while view:
            count = os.write(self._descriptor, view)
            self.size += count
            view = view[count:]

    def sync(self) -> None:
        """Put what came on disk for good."""
        if self.size > self.about.synced:
            os.fsync(self._descriptor)
            self._tell(synced=self.size)

    def _tell(self, **told: Any) -> None:
        self.about = attrs.evolve(self.about, **told)
        path = about_of(self.target)
        draft = path.with_name(f"{path.name}.new")
        try:
            draft.write_text(json.dumps(attrs.asdict(self.about)), encoding="utf-8")
            draft.replace(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    def publish(self, found: Digest, *, replace: bool) -> None:
        """Give the whole file its name.

        Raises:
            FileExistsError: something stands there, and `replace` is False.
            OSError: it could not be made durable.
        """
        os.fsync(self._descriptor)
        self._tell(synced=found.size, length=found.size, sha256=found.sha256)
        if os.name == "nt":  # elsewhere the lock is held until the name is changed
            self.close()
        disk.publish(self.path, self.target, replace=replace)
        self.close()

    def close(self) -> None:
        """Close the file; twice is fine."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def leave(self) -> None:
        """Close the file; keep what came if it can be gone on with, else nothing."""
        if self._descriptor < 0:
            return
        try:
            if self.size and self.about.etag:
                self.sync()
        except OSError:  # full: what was put on disk for good before is gone on with
            return
        finally:
            self.close()
        if not self.size or not self.about.etag:
            self.discard()

    def discard(self) -> None:
        """Close the file, and keep nothing."""
        self.close()
        self.path.unlink(missing_ok=True)
        about_of(self.target).unlink(missing_ok=True)
