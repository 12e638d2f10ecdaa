"""Whether this machine can write a name in a folder, asked before anything is paid."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Final

from akool_async._download import DownloadLimits
from akool_async._model.errors import ConfigurationError

_KEPT_FREE: Final = DownloadLimits().min_free_bytes
_UNWRITABLE: Final = frozenset({errno.EILSEQ, errno.EINVAL})


def check_name(folder: Path, name: str) -> None:
    """Raise `ConfigurationError` if this system can't write such a name, or a file is in the way."""
    parts = name.split("/")
    # Each part by itself: behind a folder that is still to be made, the system looks at no name. Then all
    # together: it refuses a whole path that is too long before it looks at any part of it.
    for part in (*parts, name):
        try:
            os.lstat(folder / part)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (UnicodeEncodeError, OSError) as error:
            if not isinstance(error, UnicodeEncodeError) and error.errno == errno.ENAMETOOLONG:
                raise ConfigurationError(
                    f"The file name {part!a} can't be written in {folder}: it has "
                    f"{len(os.fsencode(part)):,} bytes, with the folder "
                    f"{len(os.fsencode(folder / part)):,}, which is too long there.",
                    advice="Use a shorter folder, or shorter file_names (--names).",
                ) from error
            if isinstance(error, UnicodeEncodeError) or error.errno in _UNWRITABLE:
                raise ConfigurationError(
                    f"The file name {part!a} can't be written in {folder}, where names are in "
                    f"{sys.getfilesystemencoding()}.",
                    advice="Set LC_ALL=C.UTF-8, or name the files otherwise with file_names (--names).",
                ) from error
    for parent in accumulate(parts[:-1], "{}/{}".format):
        place = folder / parent
        if os.path.lexists(place) and not place.is_dir():
            raise ConfigurationError(
                f"{place} is a file, and results are to be saved in a folder of that name.",
                advice="Move it away, or name the files otherwise with file_names (--names).",
            )


def check_writable(folder: Path, name: str) -> None:
    """Raise `ConfigurationError` if a file of this name can't be made in a folder, which may be missing."""
    place = (folder / name).parent
    reason = unwritable_reason(place)
    if reason is not None:
        raise ConfigurationError(
            f"Nothing can be saved in {place}: {reason}.",
            advice="Correct that, or save the results in another folder.",
        )


def unwritable_reason(folder: Path) -> str | None:
    """Return why no file can be made in a folder, which may be missing; None if nothing speaks against it."""
    # By functions that take what can't be looked at for missing, where methods of `Path` may raise.
    there = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
    if not os.path.isdir(there):  # noqa: PTH112
        return f"{there} is not a folder"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{there} is read-only"
    with suppress(OSError):  # not every file system tells
        free = shutil.disk_usage(there).free
        if free < _KEPT_FREE:  # what would be paid now could not be saved
            return f"its disk is full, with {free:,} bytes left"
    return None
