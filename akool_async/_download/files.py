"""The folder that results are saved in: parts that a later run resumes, locks, names given in one step.

`<name>.part` holds the bytes received so far, `<name>.part.about` to which job they belong and how many of
them are surely on disk. All of it blocks: `run_blocking` of `fetch` runs it in a thread.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

import attrs

from akool_async._download.verify import Digest, digest
from akool_async._model.errors import ConfigurationError, DownloadError, InvalidRequestError
from akool_async._model.redact import strip_query

if sys.platform != "win32":
    import fcntl

_UNSUPPORTED: Final = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})
_NO_LINKS: Final = _UNSUPPORTED | {errno.EPERM, errno.EMLINK}
"""Errors of file systems without hard links."""

_NO_LOCKS: Final = _UNSUPPORTED | {errno.ENOLCK}
"""Errors of file systems without locks; two runs can't be kept apart there."""

_NO_FOLDER_SYNC: Final = frozenset({errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EROFS})

# Neither follows a link that another user laid, nor waits at a pipe.
_SAFE: Final = sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_TRIES: Final = 100
_LARGEST_JSON: Final = 2**20
"""Bytes of a manifest or of a part's metadata that are read; real ones have a few thousand."""


class FileAlreadyExistsError(InvalidRequestError):
    """Another file has the name that a result should get."""

    impact = (
        "The existing file was not changed. The job is done and paid; its result stays at the vendor for 7 "
        "days after it was made."
    )
    advice = "Choose another name, move the file away, or pass overwrite=True."


class FileBusyError(DownloadError):
    """Another download is writing a file of this name."""

    advice = "Do the same again once that one has finished: its files are kept. Or use another name."


class ForeignFileError(FileBusyError):
    """What has the name of a part or a manifest is a link, a pipe or another user's: it was not touched."""

    advice = "Look who put it there and move it away, or use another folder."


class Part:
    """The bytes of one file received so far, open for more; its methods raise OSError.

    Args:
        target: the final name of the file.
        owner: the id of its job.
        url: where it comes from; its query is not kept.
    """

    def __init__(self, target: Path, owner: str, url: str) -> None:
        self.target = target
        self.path = part_path(target)
        self.size = 0
        self.metadata = PartMetadata()
        self._owner, self._url = owner, url
        self._descriptor = -1
        self._sha256, self._hashed, self._changed = hashlib.sha256(), 0, 0

    def open(self) -> None:
        """Open the part of an earlier attempt as far as it can be resumed, or an empty one."""
        before = read_metadata(self.target)
        self.metadata = PartMetadata(owner=self._owner, source=strip_query(self._url))
        self._descriptor = self._open_locked()
        mine = (before.owner, before.source) == (self.metadata.owner, self.metadata.source)
        if before.etag and mine:
            self.metadata = attrs.evolve(before, sha256="", unverified="")
            # After a power cut the file may have holes behind the bytes that were synced.
            self.size = min(before.synced, os.fstat(self._descriptor).st_size)
        os.ftruncate(self._descriptor, self.size)

    def _open_locked(self) -> int:
        for _ in range(_TRIES):
            try:
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFE, 0o666)
            except FileExistsError:
                try:
                    descriptor = open_regular(self.path, os.O_RDWR, links=2)
                except FileNotFoundError:
                    continue  # another run renamed it meanwhile
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
        raise ForeignFileError(f"{self.path} was replaced again and again.")

    def _is_current(self, descriptor: int) -> bool:
        """Return whether the open file is still the one of this name, and has no other name."""
        try:
            found, named = os.fstat(descriptor), self.path.lstat()
        except FileNotFoundError:
            return False  # another run renamed it before its lock was released
        if not os.path.samestat(found, named):
            return False
        if found.st_nlink == 1:
            return True
        # A run was killed between link and unlink: under its other name this is a whole result, so it
        # must not be written. Only the part's name is removed. Any other link may be another user's trap.
        if not (os.path.lexists(self.target) and os.path.samestat(found, self.target.lstat())):
            raise ForeignFileError(f"{self.path} is a link to another file; that was not changed.")
        self.path.unlink()
        return False

    @property
    def content(self) -> BufferedReader:
        """The open file, for reading: what has the part's name by now may be another file."""
        return os.fdopen(self._descriptor, "rb", closefd=False)

    def begin(self, etag: str, length: int | None) -> None:
        """Discard the bytes received so far and expect a whole file with this ETag and length."""
        self.size = 0
        self._sha256, self._hashed = hashlib.sha256(), 0
        os.ftruncate(self._descriptor, 0)
        self._save_metadata(etag=etag, length=length, synced=0, sha256="")

    def write(self, content: bytes | memoryview) -> None:
        """Append bytes, and hash them while they are at hand."""
        view, follows = memoryview(content), self._hashed == self.size
        # What another program wrote since the last time would stay unseen behind the new time of change.
        if self._hashed and os.fstat(self._descriptor).st_mtime_ns != self._changed:
            follows, self._hashed = False, -1
        os.lseek(self._descriptor, self.size, os.SEEK_SET)
        while view:
            count = os.write(self._descriptor, view)
            self.size += count
            view = view[count:]
        if follows:
            self._sha256.update(content)
            self._hashed, self._changed = self.size, os.fstat(self._descriptor).st_mtime_ns

    def digest(self) -> Digest:
        """Return size and hash of the file; it is read only if it holds more than was hashed here."""
        found = os.fstat(self._descriptor)
        # Another program may have written to the file: what is published is the hash of what is there.
        if (self._hashed, self._changed) == (found.st_size, found.st_mtime_ns):
            return Digest(self._hashed, self._sha256.hexdigest())
        return digest(self.content)

    def sync(self) -> None:
        """Make the bytes received so far survive a power cut."""
        if self.size > self.metadata.synced:
            os.fsync(self._descriptor)
            self._save_metadata(synced=self.size)

    def _save_metadata(self, **changes: Any) -> None:
        self.metadata = attrs.evolve(self.metadata, **changes)
        path = metadata_path(self.target)
        if os.path.lexists(path):
            os.close(open_regular(path))  # a link, or another user's file, must not be replaced
        draft = path.with_name(f"{path.name}.new")
        os.close(_write_draft(draft, json.dumps(attrs.asdict(self.metadata)).encode(), durable=False))
        draft.replace(path)

    def publish(self, target: Path, found: Digest, unverified: str, *, replace: bool) -> None:
        """Rename the complete file to its final name."""
        os.fsync(self._descriptor)
        # Written first: if the process ends right after the rename, the next run recognises the file as
        # this job's by its hash and does not download it again.
        self._save_metadata(synced=found.size, length=found.size, sha256=found.sha256, unverified=unverified)
        descriptor, self._descriptor = self._descriptor, -1
        publish(descriptor, self.path, target, replace=replace)

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
        unverified: why the complete file could not be verified, or "".
    """

    owner: str = ""
    source: str = ""
    etag: str = ""
    length: int | None = None
    synced: int = 0
    sha256: str = ""
    unverified: str = ""


def read_metadata(target: Path) -> PartMetadata:
    """Return the metadata of `target`'s part, empty if there is none or it is damaged.

    Raises:
        ForeignFileError: it is a link, a pipe or another user's.
    """
    stored = read_json(metadata_path(target), links=1)
    fields: dict[str, Any] = {
        field.name: stored.get(field.name, field.default) for field in attrs.fields(PartMetadata)
    }
    metadata = PartMetadata(**fields)
    texts = (metadata.owner, metadata.source, metadata.etag, metadata.sha256, metadata.unverified)
    numbers = (metadata.synced, 0 if metadata.length is None else metadata.length)
    valid = all(isinstance(text, str) for text in texts) and all(
        type(number) is int and number >= 0 for number in numbers
    )
    return metadata if valid else PartMetadata()


def part_path(target: Path) -> Path:
    """Return where the bytes of `target` are collected."""
    return target.with_name(f"{target.name}.part")


def metadata_path(target: Path) -> Path:
    """Return where the metadata of `target`'s part is stored."""
    return target.with_name(f"{target.name}.part.about")


def local_path(path: str | os.PathLike[str]) -> Path:
    """Expand "~", which a shell leaves as it is in --out=~/x, and refuse what names no file of this machine.

    Raises:
        ConfigurationError: it is a URL, or "~" can't be expanded.
    """
    scheme = _SCHEME.match(os.fspath(path))
    # As a path it would be a local folder called "s3:", into which results would be saved unseen.
    if scheme is not None:
        raise ConfigurationError(
            f"{scheme[1]}:// names no file or folder of this machine, and only those can be used here.",
            advice="Name a local folder, and copy the results from there when the run has ended.",
        )
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigurationError(
            f"{path} can't be expanded: there is no home folder of that name."
        ) from error


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
        kept = f", of which {reserve:,} are kept free" if reserve else ""
        raise OSError(errno.ENOSPC, f"no space left: {needed:,} bytes are needed, {free:,} are free{kept}")


def open_regular(path: Path, flags: int = os.O_RDONLY, *, links: int = 1, any_owner: bool = False) -> int:
    """Open an existing regular file without following a link or waiting at a pipe.

    Args:
        path: the file.
        flags: how it is opened.
        links: names that it may have at most, 0 for any number; more may be a trap that another user laid.
        any_owner: whether it may be another user's; if not, the owner of the folder may own it too, as on
            network drives where all files have one owner.

    Raises:
        FileNotFoundError: there is none.
        ForeignFileError: it is something else.
    """
    try:
        descriptor = os.open(path, flags | _SAFE)
    except FileNotFoundError:
        raise
    except OSError as error:
        if not _is_trusted(path, path.lstat(), links, any_owner=any_owner):
            raise ForeignFileError(f"{path} is a link, a pipe or another user's file.") from error
        raise
    if not _is_trusted(path, os.fstat(descriptor), links, any_owner=any_owner):
        os.close(descriptor)
        raise ForeignFileError(f"{path} is a link, a pipe or another user's file.")
    return descriptor


def _is_trusted(path: Path, found: os.stat_result, links: int, *, any_owner: bool) -> bool:
    if not stat.S_ISREG(found.st_mode) or 0 < links < found.st_nlink:
        return False
    if any_owner or os.name == "nt" or found.st_uid == os.geteuid():
        return True
    return found.st_uid == path.parent.stat().st_uid


def publish(descriptor: int, draft: Path, target: Path, *, replace: bool) -> None:
    """Rename an open, synced file in one step that survives a power cut, and close it.

    Raises:
        FileExistsError: another file has it, and `replace` is False.
        ForeignFileError: another program replaced the draft meanwhile.
    """
    if os.name == "nt":  # an open file can't be renamed there; names are durable by themselves
        os.close(descriptor)
        (draft.replace if replace else draft.rename)(target)
        return
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        if replace or not _link(descriptor, draft, target, folder):
            draft.replace(target)
        if not os.path.samestat(os.fstat(descriptor), target.lstat()):
            target.unlink()
            raise ForeignFileError(f"{draft} was replaced by another program while {target} was saved.")
        try:
            os.fsync(folder)
        except OSError as error:
            if error.errno not in _NO_FOLDER_SYNC:
                raise
    finally:
        os.close(folder)
        os.close(descriptor)


def _link(descriptor: int, draft: Path, target: Path, folder: int) -> bool:
    """Link the open file to its final name; False where the file system has no links and nothing is there.

    rename() would overwrite a file that another run has just saved.
    """
    try:
        # By the descriptor, not by the draft's name: that may be another file by now.
        os.link(f"/proc/self/fd/{descriptor}", target.name, dst_dir_fd=folder, follow_symlinks=True)
    except FileExistsError:
        raise
    except OSError:  # only Linux has it, and some containers hide it
        if not (os.path.lexists(draft) and os.path.samestat(os.fstat(descriptor), draft.lstat())):
            raise ForeignFileError(f"{draft} was replaced or removed by another program.") from None
        try:
            target.hardlink_to(draft)
        except OSError as error:
            if os.path.lexists(target):
                raise FileExistsError(str(target)) from error
            if error.errno not in _NO_LINKS:
                raise
            return False
    draft.unlink(missing_ok=True)
    return True


def _write_draft(draft: Path, content: bytes, *, durable: bool) -> int:
    """Write a new file and return its descriptor; a draft that a crash left is replaced, nothing else is."""
    if os.path.lexists(draft):
        os.close(open_regular(draft, links=2 if durable else 1))  # two: a run was killed before `unlink`
        draft.unlink()
    descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFE, 0o666)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        if durable:
            os.fsync(descriptor)
    except OSError:
        os.close(descriptor)
        draft.unlink(missing_ok=True)
        raise
    return descriptor


def write_json(target: Path, value: Mapping[str, Any], *, replace: bool) -> None:
    """Write a small file completely or not at all."""
    draft = part_path(target)
    text = json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8", "replace")
    descriptor = _write_draft(draft, text + b"\n", durable=True)
    try:
        publish(descriptor, draft, target, replace=replace)
    except (OSError, DownloadError):
        draft.unlink(missing_ok=True)
        raise


def read_json(path: Path, *, links: int = 0, any_owner: bool = False) -> dict[str, Any]:
    """Return the object in a small file, empty if the file does not exist or holds something else.

    Raises:
        ForeignFileError: it is a link, a pipe or another user's.
    """
    try:
        with os.fdopen(open_regular(path, links=links, any_owner=any_owner), "rb") as file:
            value = json.loads(file.read(_LARGEST_JSON))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
