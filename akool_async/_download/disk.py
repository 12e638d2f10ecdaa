"""The folder that results go to: room, durable names, and what is said when it can't be written.

All but `on_disk` blocks, and is called through it.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from anyio.to_thread import run_sync

from akool_async._core.errors import AkoolError, DiskFailed, DownloadFailed, InvalidRequest

T = TypeVar("T")

_NO_LINKS: Final = frozenset(
    {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.EINVAL}
)
"""What file systems say that know no second name for a file."""

_THIS_FILE: Final = frozenset({errno.EFBIG, errno.ENAMETOOLONG, errno.EISDIR, errno.EILSEQ, errno.ELOOP})
"""Trouble with one file, after which the next may still be written."""


class NameTaken(InvalidRequest):
    """Something else stands under the name that a file should get."""

    money = "It was left as it is."
    advice = "Move it away, or pass overwrite=True."


class NameInUse(DownloadFailed):
    """Somebody else is just writing a file of this name."""

    advice = "Wait for it, or use another name."


async def on_disk(target: Path, work: Callable[[], T]) -> T:
    """Do what blocks in a thread; a caller that is cancelled waits until it is done.

    Raises:
        NameTaken: something stands under the name.
        DiskFailed: the folder can't be written.
        DownloadFailed: this file can't be written.
    """
    try:
        return await run_sync(work)
    except OSError as error:
        raise trouble(target, error) from error


def trouble(target: Path, error: OSError) -> AkoolError:
    """Give the error that a user can act upon."""
    if isinstance(error, FileExistsError):
        return NameTaken(f"{target} is there already.")
    words = error.strerror or type(error).__name__
    kind = DownloadFailed if error.errno in _THIS_FILE else DiskFailed
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


def check_room(folder: Path, wanted: int, spare: int) -> None:
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
