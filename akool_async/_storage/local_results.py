"""Results in a folder of this machine."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final

import attrs

from akool_async._download import DownloadRequest, SavedResult, read_manifest
from akool_async._download.manifest import find_result
from akool_async._model.errors import ConfigurationError
from akool_async._model.outcomes import MANIFEST, Saved

Download = Callable[[DownloadRequest], Awaitable[Saved]]

_UNWRITABLE: Final = frozenset({errno.EILSEQ, errno.EINVAL})


@attrs.frozen
class LocalFolder:
    """A folder of this machine."""

    path: Path

    def __str__(self) -> str:
        """Return its path."""
        return str(self.path)

    def check_name(self, name: str) -> None:
        """Raise `ConfigurationError` if this system can't write such a name, or a file is in the way."""
        parts = name.split("/")
        # Each part by itself: behind a folder that is still to be made, the system looks at no name. Then all
        # together: it refuses a whole path that is too long before it looks at any part of it.
        for part in (*parts, name):
            try:
                os.lstat(self.path / part)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (UnicodeEncodeError, OSError) as error:
                if not isinstance(error, UnicodeEncodeError) and error.errno == errno.ENAMETOOLONG:
                    raise ConfigurationError(
                        f"The file name {part!a} can't be written in {self.path}: it has "
                        f"{len(os.fsencode(part)):,} bytes, with the folder "
                        f"{len(os.fsencode(self.path / part)):,}, which is too long there.",
                        advice="Use a shorter folder, or shorter file_names (--names).",
                    ) from error
                if isinstance(error, UnicodeEncodeError) or error.errno in _UNWRITABLE:
                    raise ConfigurationError(
                        f"The file name {part!a} can't be written in {self.path}, where names are in "
                        f"{sys.getfilesystemencoding()}.",
                        advice="Set LC_ALL=C.UTF-8, or name the files otherwise with file_names (--names).",
                    ) from error
        for folder in accumulate(parts[:-1], "{}/{}".format):
            place = self.path / folder
            if os.path.lexists(place) and not place.is_dir():
                raise ConfigurationError(
                    f"{place} is a file, and results are to be saved in a folder of that name.",
                    advice="Move it away, or name the files otherwise with file_names (--names).",
                )

    def lookup(self, name: str) -> Callable[[str], bool]:
        """Return what looks into the folder."""
        return lambda file: os.path.lexists(self.path / file)

    def read_manifest(self, name: str) -> SavedResult | None:
        """Return what the manifest of a result says, None if it says nothing."""
        return read_manifest(self.path / f"{name}{MANIFEST}", any_owner=True)

    def find_result(self, files: Sequence[str], *, name: str, hashes: bool) -> SavedResult:
        """Return what became of files that a journal has as saved under this name."""
        return find_result(files, self.path, name, hashes=hashes)

    async def save(self, request: DownloadRequest, download: Download) -> Saved:
        """Download into the folder."""
        return await download(attrs.evolve(request, stem=self.path / request.stem))
