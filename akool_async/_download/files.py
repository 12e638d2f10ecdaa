"""The folder that results are saved in: parts that a later run resumes, locks, names given in one step.

`<name>.part` holds the bytes received so far, `<name>.part.about` to which job they belong and how many of
them are surely on disk. All but `run_blocking` blocks, and is called through it.
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
from akool_async._model.errors import DownloadError, InvalidRequestError, StorageError

if sys.platform != "win32":
    import fcntl

T = TypeVar("T")
_UNSUPPORTED: Final = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
_NO_LINKS: Final = _UNSUPPORTED | {errno.EPERM, errno.EMLINK}
"""Errors of file systems without hard links."""

_NO_LOCKS: Final = _UNSUPPORTED | {errno.ENOLCK}
"""Errors of file systems without locks; two runs can't be kept apart there."""

_NO_FOLDER_SYNC: Final = frozenset({errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EROFS})
_ONE_FILE: Final = frozenset({errno.EFBIG, errno.ENAMETOOLONG, errno.EISDIR, errno.EILSEQ, errno.ELOOP})
"""Errors of one file, after which others may still be written."""

_OPEN: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class FileAlreadyExistsError(InvalidRequestError):
    """Another file has the name that a result should get."""

    impact = "The existing file was not changed."
    advice = "Move it away, or pass overwrite=True."


class FileBusyError(DownloadError):
    """Another download is writing a file of this name."""

    advice = "Wait until it has finished, or use another name."


async def run_blocking(target: Path, work: Callable[[], T]) -> T:
    """Run `work` in a thread; a caller that is cancelled waits until it is done.

    Raises:
        FileAlreadyExistsError: another file has the name.
        StorageError: the folder can't be written.
        DownloadError: this file can't be written.
    """
    try:
        return await run_sync(work)
    except FileExistsError as error:
        raise FileAlreadyExistsError(f"{target} is there already.") from error
    except OSError as error:
        words = error.strerror or type(error).__name__
        # A StorageError stops further downloads; an error of one file must not keep back the others.
        kind = DownloadError if error.errno in _ONE_FILE else StorageError
        raise kind(f"The result could not be written to {target}: {words}.") from error


class Part:
    """The bytes of one file received so far, open for more; its methods raise OSError."""

    def __init__(self, target: Path, owner: str, source: str) -> None:
        self.target = target
        self.path = _part_path(target)
        self.size = 0
        self.metadata = PartMetadata(owner=owner, source=source)
        self._descriptor = -1

    def open(self) -> None:
        """Open the part of an earlier attempt as far as it can be resumed, or an empty one."""
        before = read_metadata(self.target)
        self._descriptor = self._open_locked()
        mine = (before.owner, before.source) == (self.metadata.owner, self.metadata.source)
        if before.etag and mine:
            self.metadata = attrs.evolve(before, sha256="")
            # After a power cut the file may have holes behind the bytes that were synced.
            self.size = min(before.synced, os.fstat(self._descriptor).st_size)
        os.ftruncate(self._descriptor, self.size)
        os.lseek(self._descriptor, self.size, os.SEEK_SET)

    def _open_locked(self) -> int:
        while True:
            descriptor = os.open(self.path, _OPEN, 0o666)
            try:
                try:
                    if sys.platform != "win32":  # an open file can be neither renamed nor deleted there
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise FileBusyError(f"{self.target} is being downloaded already.") from error
                except OSError as error:
                    if error.errno not in _NO_LOCKS:
                        raise
                if self._is_current(descriptor):
                    return descriptor
            except BaseException:  # an open descriptor would keep its lock
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _is_current(self, descriptor: int) -> bool:
        """Return whether the open file is still the one of this name, and has no other name."""
        found = os.fstat(descriptor)
        try:
            named = self.path.lstat()
        except FileNotFoundError:
            return False  # another run renamed it before its lock was released
        if not os.path.samestat(found, named):
            return False
        if found.st_nlink == 1 and stat.S_ISREG(found.st_mode):
            return True
        # A run was killed between link and unlink: under its other name this is a whole result, so it
        # must not be written. Only the part's name is removed.
        self.path.unlink()
        return False

    def begin(self, etag: str, length: int | None) -> None:
        """Discard the bytes received so far and expect a whole file with this ETag and length."""
        self.size = 0
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._save_metadata(etag=etag, length=length, synced=0, sha256="")

    def write(self, content: bytes | bytearray) -> None:
        """Append bytes."""
        view = memoryview(content)
        while view:
            count = os.write(self._descriptor, view)
            self.size += count
            view = view[count:]

    def sync(self) -> None:
        """Make the bytes received so far survive a power cut."""
        if self.size > self.metadata.synced:
            os.fsync(self._descriptor)
            self._save_metadata(synced=self.size)

    def _save_metadata(self, **changes: Any) -> None:
        self.metadata = attrs.evolve(self.metadata, **changes)
        path = metadata_path(self.target)
        draft = path.with_name(f"{path.name}.new")
        try:
            draft.write_text(json.dumps(attrs.asdict(self.metadata)), encoding="utf-8")
            draft.replace(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    def publish(self, found: Digest, *, replace: bool) -> None:
        """Rename the complete file to its final name."""
        os.fsync(self._descriptor)
        # Written first: if the process ends right after the rename, the next run recognises the file as
        # this job's by its hash and does not download it again.
        self._save_metadata(synced=found.size, length=found.size, sha256=found.sha256)
        if os.name == "nt":  # an open file can't be renamed there; elsewhere the lock is kept until then
            self.close()
        publish(self.path, self.target, replace=replace)
        self.close()

    def close(self) -> None:
        """Close the file. Closing twice is harmless."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def suspend(self) -> None:
        """Close the file; keep it only if it can be resumed."""
        if self._descriptor < 0:
            return
        resumable = bool(self.size and self.metadata.etag)
        try:
            if resumable:
                self.sync()
        except OSError:  # the disk is full: the bytes synced before can still be resumed
            return
        finally:
            self.close()
        if not resumable:
            self.discard()

    def discard(self) -> None:
        """Close the file and delete it."""
        self.close()
        self.path.unlink(missing_ok=True)
        metadata_path(self.target).unlink(missing_ok=True)


@attrs.frozen(kw_only=True)
class PartMetadata:
    """What is known of a part, or of the file that it became.

    Attributes:
        owner: the id of the file's job.
        source: its URL without the query.
        etag: its strong ETag, or "".
        length: bytes of the whole file, None if the host did not say.
        synced: bytes that survive a power cut.
        sha256: hash of the complete file, "" before.
    """

    owner: str = ""
    source: str = ""
    etag: str = ""
    length: int | None = None
    synced: int = 0
    sha256: str = ""


def read_metadata(target: Path) -> PartMetadata:
    """Return the metadata of `target`'s part, empty if there is none or it is damaged."""
    stored = read_json(metadata_path(target))
    fields: dict[str, Any] = {
        field.name: stored.get(field.name, field.default) for field in attrs.fields(PartMetadata)
    }
    metadata = PartMetadata(**fields)
    texts = (metadata.owner, metadata.source, metadata.etag, metadata.sha256)
    numbers = (metadata.synced, 0 if metadata.length is None else metadata.length)
    valid = all(isinstance(text, str) for text in texts) and all(
        type(number) is int and number >= 0 for number in numbers
    )
    return metadata if valid else PartMetadata()


def digest_if_owned(target: Path, owner: str) -> Digest | None:
    """Return what `target` was when it was saved, if it belongs to this job."""
    metadata = read_metadata(target)
    if metadata.owner != owner or not metadata.sha256:
        return None
    return Digest(metadata.length or 0, metadata.sha256)


def _part_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def metadata_path(target: Path) -> Path:
    """Return where the metadata of `target`'s part is stored."""
    return target.with_name(f"{target.name}.part.about")


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error


def ensure_free_space(folder: Path, needed: int, reserve: int) -> None:
    """Raise OSError unless `needed` bytes fit on the disk and `reserve` bytes stay free."""
    free = shutil.disk_usage(folder).free
    if free < needed + reserve:
        raise OSError(errno.ENOSPC, f"no space left: {needed:,} bytes are needed, {free:,} are free")


def publish(draft: Path, target: Path, *, replace: bool) -> None:
    """Assign a synced file its final name, in one step that survives a power cut.

    Raises:
        FileExistsError: another file has it, and `replace` is False.
    """
    if replace:
        draft.replace(target)
    elif os.name == "nt":
        draft.rename(target)
    else:
        try:
            target.hardlink_to(draft)  # rename() would overwrite a file that another run has just saved
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, "it is there already", str(target)) from error
            draft.rename(target)
        else:
            draft.unlink()
    if os.name == "nt":  # makes names durable by itself
        return
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def write_json(target: Path, value: Mapping[str, Any], *, replace: bool) -> None:
    """Write a small file completely or not at all."""
    draft = _part_path(target)
    text = json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8", "replace")
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
    """Return the object in a small file, empty if the file does not exist or holds something else."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, IsADirectoryError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
