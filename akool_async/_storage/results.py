"""Where results are saved: what a batch asks of a folder, and a folder of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import attrs
from anyio.to_thread import run_sync

from akool_async._download import DownloadRequest, SavedResult, local_path, read_manifest, verify_folder
from akool_async._download.downloader import Download
from akool_async._download.manifest import find_result
from akool_async._model.errors import DownloadError, StorageError
from akool_async._model.locations import BUCKET_SCHEMES
from akool_async._model.outcomes import ENDINGS, MANIFEST, Artifact, Saved
from akool_async._model.validators import file_path
from akool_async._storage.bucket_results import BucketFolder
from akool_async._storage.local_names import check_name, check_writable
from akool_async._storage.settings import Storage

_VIDEO: Final = ENDINGS[Artifact.VIDEO]


class DamagedManifestError(DownloadError):
    """A video is in the folder, and its manifest does not say which job made it."""

    advice = (
        "If it is another video, move both files away; if the work is to be paid again, use pay_again=True "
        "(--pay-again)."
    )


def result_folder(folder: str | os.PathLike[str], storage: Storage | None) -> ResultFolder:
    """Return a folder for results: of this machine, or in a bucket.

    Raises:
        ConfigurationError: it names neither, or the bucket can't be opened.
    """
    file_path.check("folder", folder)
    url = str(folder)
    if url.partition("://")[0].lower() in BUCKET_SCHEMES:
        return BucketFolder(url, storage or Storage())
    return LocalFolder(local_path(folder))


async def verify(
    folder: str | os.PathLike[str], *, hashes: bool = True, storage: Storage | None = None
) -> tuple[SavedResult, ...]:
    """Compare the results in a folder with their manifests; nothing is changed, and no journal is needed.

    Args:
        folder: where results were saved, a folder or a bucket with a prefix; folders below it are looked
            into.
        hashes: whether each file is read and its SHA-256 compared, too. Without it only existence and size
            are looked at, which is fast.
        storage: settings for the bucket; default is what the environment says.

    Returns:
        The results, in the order of their names, each with the state of its files.

    Raises:
        ConfigurationError: the folder can't be one.
        StorageError: the folder or a file can't be read.
    """
    place = result_folder(folder, storage)
    if isinstance(place, BucketFolder):
        try:
            return await run_sync(partial(place.verify, hashes=hashes))
        except DownloadError as error:
            raise StorageError(
                error.message,
                impact="Nothing was changed.",
                advice="Correct the bucket or its credentials.",
            ) from None
    return await verify_folder(folder, hashes=hashes)


class ResultFolder(Protocol):
    """Where results are saved; all but `save` blocks, and is called in threads."""

    def check_name(self, name: str) -> None:
        """Raise `ConfigurationError` where a file of this name, after its folders, can't be written."""

    def check_writable(self, name: str) -> None:
        """Raise `ConfigurationError` where no file at all can be written in the folders of this name."""

    def lookup(self, name: str) -> Callable[[str], bool]:
        """Return what says whether a file is there, for files whose names begin as `name` does."""

    def read_manifest(self, name: str) -> SavedResult | None:
        """Return what a manifest says, None if it says nothing; `DownloadError` if it can't be read."""

    def find_result(self, files: Sequence[str], *, name: str, hashes: bool) -> SavedResult:
        """Return what became of files that a journal has as saved under this name."""

    async def save(self, request: DownloadRequest, download: Download) -> Saved:
        """Save a result whose `stem` is its name in the folder, by `download`, and return its files."""


def find_saved_job(folder: ResultFolder, name: str, job_id: str, *, hashes: bool = False) -> Saved | None:
    """Return the files that a job's manifest of this name lists; None if there is none, or no video.

    Raises:
        DownloadError: the manifest can't be read, so that it says nothing.
    """
    found = folder.read_manifest(name)
    if found is None or found.job_id != job_id:
        return None
    paths = [str(file.path) for file in found.files if file.path is not None]
    return folder.find_result((*paths, str(found.manifest)), name=name, hashes=hashes).saved


def find_paid_result(
    folder: ResultFolder,
    names: Iterable[str],
    is_there: Callable[[str], bool],
    is_its: Callable[[SavedResult], bool],
    *,
    own: str = "",
) -> SavedResult | None:
    """Return what the manifest of an entry's result says, which another journal or ledger paid for.

    Args:
        folder: where results are saved.
        names: those that the entry may get.
        is_there: whether a file with the beginning of these names is in the folder, by `lookup`.
        is_its: whether a result is the entry's.
        own: the name that the entry has, if any; it may begin otherwise.

    Raises:
        DamagedManifestError: a video has such a name, and its manifest does not say whose it is.
        DownloadError: a manifest can't be read, so that it says nothing.
    """
    doubtful = ""
    for name in dict.fromkeys((own, *names)):
        # Also after a name without a manifest: another entry may have got that, and not be saved yet.
        if name and (name == own or is_there(f"{name}{MANIFEST}")):
            result = folder.read_manifest(name)
            if result is not None and is_its(result):
                return result
            if result is None and is_there(f"{name}{MANIFEST}") and is_there(f"{name}{_VIDEO}"):
                doubtful = doubtful or name
    # It may be the entry's own, paid before its journal was lost: only a person can say.
    if doubtful:
        raise DamagedManifestError(
            f"{doubtful}{_VIDEO} may be its result, paid already: {doubtful}{MANIFEST} beside it is damaged, "
            "empty, too large or no regular file, so it does not say which job made the video."
        )
    return None


@attrs.frozen
class LocalFolder:
    """A folder of this machine."""

    path: Path

    def __str__(self) -> str:
        """Return its path."""
        return str(self.path)

    def check_name(self, name: str) -> None:
        """Raise `ConfigurationError` if this system can't write such a name, or a file is in the way."""
        check_name(self.path, name)

    def check_writable(self, name: str) -> None:
        """Raise `ConfigurationError` if the folder is read-only."""
        check_writable(self.path, name)

    def lookup(self, name: str) -> Callable[[str], bool]:
        """Return what looks into the folder."""
        folder = os.fspath(self.path)
        # Not by `Path`, which takes longer than the look: a plan asks this a million times.
        return lambda file: os.path.lexists(os.path.join(folder, file))  # noqa: PTH118

    def read_manifest(self, name: str) -> SavedResult | None:
        """Return what the manifest of a result says, None if it says nothing.

        Raises:
            DownloadError: it can't be read, so that nobody knows what was paid for.
        """
        path = self.path / f"{name}{MANIFEST}"
        try:
            return read_manifest(path, any_owner=True)
        except OSError as error:
            raise DownloadError(
                f"{path} says whose result has this name, and can't be read: {error.strerror}.",
                advice="Make it readable for this user, or save the results in another folder.",
            ) from error

    def find_result(self, files: Sequence[str], *, name: str, hashes: bool) -> SavedResult:
        """Return what became of files that a journal has as saved under this name."""
        return find_result(files, self.path, name, hashes=hashes)

    async def save(self, request: DownloadRequest, download: Download) -> Saved:
        """Download into the folder."""
        return await download(attrs.evolve(request, stem=self.path / request.stem))
