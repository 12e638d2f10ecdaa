"""The files of one result brought home under one name, and beside them one that says where they come from."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import attrs

from akool_async._core.artifacts import ENDINGS, SIDE_FILE, Artifact
from akool_async._core.errors import DownloadFailed
from akool_async._core.outcomes import Saved
from akool_async._download import disk, part
from akool_async._download.downloads import Downloads
from akool_async._download.fetch import Wanted
from akool_async._download.head import ContentRefused
from akool_async._download.inspection import Digest, Kind, digest
from akool_async._download.line import Line

logger = logging.getLogger("akool_async")

AWAY: Final = (403, 404, 410)
"""What a file host answers when a file is not there, or not for this URL."""


@attrs.frozen(kw_only=True)
class Parcel:
    """What is to be brought home.

    Attributes:
        owner: the job's id.
        urls: where its files are, the video first.
        stem: folder and name, without ending.
        about: what the side file says besides the files.
        overwrite: whether files that stand there are replaced.
        known: whether a result that is home already is taken as it is; else its name counts as taken.
        fresh: whether the URLs were just given: then a subtitle file that is not there is done without.
    """

    owner: str
    urls: Mapping[Artifact, str] = attrs.field(repr=False)
    stem: Path
    about: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    overwrite: bool = False
    known: bool = False
    fresh: bool = False

    def path(self, ending: str) -> Path:
        """Give the path of one file."""
        return self.stem.with_name(self.stem.name + ending)

    @property
    def targets(self) -> dict[Artifact, Path]:
        """Where its files go."""
        return {artifact: self.path(ENDINGS[artifact]) for artifact in self.urls}

    @property
    def side_file(self) -> Path:
        """Where it stands where they come from."""
        return self.path(SIDE_FILE)


class Delivery:
    """One result on its way home.

    Args:
        downloads: the room of the file hosts.
        parcel: what is to be brought home.
    """

    def __init__(self, downloads: Downloads, parcel: Parcel) -> None:
        self._downloads = downloads
        self._parcel = parcel
        self._home: dict[Artifact, Digest] = {}
        self._missing: dict[str, str] = {}

    async def run(self) -> Saved:
        """Bring home what is not there yet.

        A caller that is cancelled leaves whole files under their names, and parts that can be gone on with.

        Raises:
            NameTaken: something else stands under one of the names; nothing was fetched.
            DiskFailed: the folder can't be written.
            DownloadFailed: a file did not come whole; nothing of it stands under its name.
        """
        parcel = self._parcel
        await disk.on_disk(parcel.stem, partial(disk.make_folder, parcel.stem.parent))
        if not await disk.on_disk(parcel.stem, self._look):
            async with self._downloads.line() as line:
                for artifact in parcel.urls:
                    if artifact not in self._home:
                        await self._fetch(artifact, line)
            with anyio.CancelScope(shield=True):
                await disk.on_disk(parcel.side_file, self._finish)
        return self._saved()

    def _look(self) -> bool:
        """Find what is home already; give whether that is all.

        Raises:
            FileExistsError: something stands there that is not this job's.
        """
        parcel = self._parcel
        if parcel.overwrite:
            return False
        told = _files_told(parcel.side_file, parcel.owner)
        for artifact, target in parcel.targets.items():
            if not os.path.lexists(target):
                continue
            found = told.get(target.name) or part.owned(target, parcel.owner)
            if found is None or not _is(target, found):
                raise FileExistsError(str(target))
            self._home[artifact] = found
        if not os.path.lexists(parcel.side_file):
            return False
        if not parcel.known or not told:
            raise FileExistsError(str(parcel.side_file))
        return len(self._home) == len(parcel.urls)

    async def _fetch(self, artifact: Artifact, line: Line) -> None:
        parcel = self._parcel
        video = artifact in (Artifact.VIDEO, Artifact.CAPTIONLESS)
        wanted = Wanted(
            url=parcel.urls[artifact],
            target=parcel.targets[artifact],
            kind=Kind.VIDEO if video else Kind.SUBTITLES,
            owner=parcel.owner,
            replace=parcel.overwrite,
        )
        try:
            self._home[artifact] = await self._downloads.fetch(wanted, line)
        except DownloadFailed as error:
            gone = parcel.fresh and error.http_status in AWAY
            if artifact is Artifact.VIDEO or not (gone or isinstance(error, ContentRefused)):
                raise
            logger.warning("Job %s comes without its %s. %s", parcel.owner, artifact, error.what)
            self._missing[artifact] = error.what

    def _finish(self) -> None:
        """Write where the files come from, then forget what was known of their parts."""
        parcel = self._parcel
        files = [
            {"artifact": artifact, "name": parcel.targets[artifact].name, **attrs.asdict(found)}
            for artifact, found in self._home.items()
        ]
        told = {"job_id": parcel.owner, **parcel.about, "files": files, "missing": self._missing}
        replace = parcel.overwrite or bool(_files_told(parcel.side_file, parcel.owner))
        disk.write_json(parcel.side_file, told, replace=replace)
        for target in parcel.targets.values():
            part.about_of(target).unlink(missing_ok=True)

    def _saved(self) -> Saved:
        targets = self._parcel.targets
        paths = {str(artifact): targets[artifact] for artifact in self._home}
        return Saved(**paths, side_file=self._parcel.side_file, missing=self._missing)


def _files_told(side_file: Path, owner: str) -> dict[str, Digest]:
    """Give the files that a side file of this job names; none where it is another's."""
    told = disk.read_json(side_file)
    files = told.get("files")
    if told.get("job_id") != owner or not isinstance(files, list):
        return {}
    try:
        return {str(file["name"]): Digest(int(file["size"]), str(file["sha256"])) for file in files}
    except (TypeError, KeyError, ValueError):
        return {}


def _is(target: Path, found: Digest) -> bool:
    return not target.is_symlink() and target.is_file() and digest(target) == found
