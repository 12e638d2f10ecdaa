"""A file on its way: what came so far, and beside it what has to be known to go on, also in another process.

`<name>.part` holds the bytes, `<name>.part.about` whose they are and how many of them are surely on disk.
Blocks; called in threads.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
from anyio.to_thread import run_sync

from akool_async._download.verify import Digest
from akool_async._model.errors import AkoolError, DownloadError, InvalidRequestError, StorageError

# The folder that results go to: room, durable names, and what is said when it can't be written.
#
# All but `on_disk` blocks, and is called through it.


T = TypeVar("T")
_NO_LINKS: Final = frozenset(
    {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.EINVAL}
)
"""What file systems say that know no second name for a file."""

_THIS_FILE: Final = frozenset({errno.EFBIG, errno.ENAMETOOLONG, errno.EISDIR, errno.EILSEQ, errno.ELOOP})
"""Trouble with one file, after which the next may still be written."""


class FileAlreadyExistsError(InvalidRequestError):
    """Something else stands under the name that a file should get."""

    impact = "It was left as it is."
    advice = "Move it away, or pass overwrite=True."


class FileBusyError(DownloadError):
    """Somebody else is just writing a file of this name."""

    advice = "Wait for it, or use another name."


async def run_blocking(target: Path, work: Callable[[], T]) -> T:
    """Do what blocks in a thread; a caller that is cancelled waits until it is done.

    Raises:
        NameTaken: something stands under the name.
        StorageError: the folder can't be written.
        DownloadError: this file can't be written.
    """
    try:
        return await run_sync(work)
    except OSError as error:
        raise map_os_error(target, error) from error


def map_os_error(target: Path, error: OSError) -> AkoolError:
    """Give the error that a user can act upon."""
    if isinstance(error, FileExistsError):
        return FileAlreadyExistsError(f"{target} is there already.")
    words = error.strerror or type(error).__name__
    kind = DownloadError if error.errno in _THIS_FILE else StorageError
    return kind(f"The result could not be written to {target}: {words}.")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        OSError: it can't be made, or a file stands in its place.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error


def ensure_free_space(folder: Path, wanted: int, spare: int) -> None:
    """Look whether so many bytes fit.

    Raises:
        OSError: they don't.
    """
    free = shutil.disk_usage(folder).free
    if free < wanted + spare:
        told = f"no space left: {wanted:,} bytes are wanted, {free:,} are free"
        raise OSError(errno.ENOSPC, told)


def sync_folder(folder: Path) -> None:
    """Make names survive a power cut, where that can be asked for; Windows does so by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EROFS):
            raise
    finally:
        os.close(descriptor)


def publish(draft: Path, target: Path, *, replace: bool) -> None:
    """Give a file, already on disk for good, its name in one step.

    Raises:
        FileExistsError: something stands there, and `replace` is False.
    """
    if replace:
        draft.replace(target)
    else:
        _rename_to_free(draft, target)
    sync_folder(target.parent)


def _rename_to_free(draft: Path, target: Path) -> None:
    if os.name == "nt":
        draft.rename(target)
        return
    try:
        target.hardlink_to(draft)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "it is there already", str(target)) from error
        draft.rename(target)
    else:
        draft.unlink()


def write_json(target: Path, told: Mapping[str, Any], *, replace: bool) -> None:
    """Write a small file whole or not at all."""
    draft = target.with_name(f"{target.name}.part")
    text = json.dumps(told, indent=2, ensure_ascii=False).encode("utf-8", "replace")
    draft.unlink(missing_ok=True)
    try:
        with draft.open("xb") as file:
            file.write(text + b"\n")
            file.flush()
            os.fsync(file.fileno())
        publish(draft, target, replace=replace)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """Give what a small file tells; nothing where it is not there or is not ours."""
    try:
        told = json.loads(path.read_bytes())
    except (FileNotFoundError, IsADirectoryError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


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
class PartMetadata:
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


def part_path(target: Path) -> Path:
    """Where the bytes of `target` are until it is whole."""
    return target.with_name(f"{target.name}.part")


def metadata_path(target: Path) -> Path:
    """Where it stands what they are."""
    return target.with_name(f"{target.name}.part.about")


def read_metadata(target: Path) -> PartMetadata:
    """Give what is known of `target`; an empty one where nothing is."""
    told = read_json(metadata_path(target))
    known: dict[str, Any] = {
        field.name: told.get(field.name, field.default) for field in attrs.fields(PartMetadata)
    }
    about = PartMetadata(**known)
    texts = (about.owner, about.source, about.etag, about.sha256)
    numbers = (about.synced, 0 if about.length is None else about.length)
    sound = all(isinstance(text, str) for text in texts) and all(
        type(number) is int and number >= 0 for number in numbers
    )
    return about if sound else PartMetadata()


def digest_if_owned(target: Path, owner: str) -> Digest | None:
    """Give what `target` was when it got its name, if it is of this owner."""
    about = read_metadata(target)
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
        self.path = part_path(target)
        self.size = 0
        self.about = PartMetadata(owner=owner, source=source)
        self._descriptor = -1

    def open(self) -> None:
        """Open what an earlier try left, as far as it can be gone on with, or begin anew.

        Raises:
            OSError: the folder can't be written.
            NameInUse: somebody else is at it.
        """
        before = read_metadata(self.target)
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
            raise FileBusyError(f"{self.target} is being downloaded already.") from error
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
        path = metadata_path(self.target)
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
        publish(self.path, self.target, replace=replace)
        self.close()

    def close(self) -> None:
        """Close the file; twice is fine."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def suspend(self) -> None:
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
        metadata_path(self.target).unlink(missing_ok=True)
