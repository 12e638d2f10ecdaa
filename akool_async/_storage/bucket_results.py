"""Results under a prefix in a bucket.

A result is saved by the same checks as on disk, and looked after in the same way. It is
collected in a folder of this machine, where a broken download resumes and is verified, and sent into the
bucket from there: each file as a ".part" that no other run has, completed when its hash was seen to be right;
then copied to its name on the condition that nothing is there; the manifest last. So no name leads to a half.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mimetypes
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BufferedReader
from pathlib import Path
from shutil import rmtree
from typing import Final

import anyio
import attrs
from anyio.to_thread import run_sync

from akool_async._download import (
    DownloadRequest,
    FileAlreadyExistsError,
    FileState,
    SavedFile,
    SavedResult,
    parse_manifest,
    read_manifest,
)
from akool_async._download.downloader import Download
from akool_async._download.files import publish
from akool_async._download.manifest import compare_file, result_by_names
from akool_async._download.verify import Digest
from akool_async._model.errors import ConfigurationError, DownloadError, StorageError
from akool_async._model.locations import BucketPath
from akool_async._model.outcomes import MANIFEST, Saved
from akool_async._storage.buckets import PART, Bucket, BucketError, ObjectExistsError, ObjectMissingError
from akool_async._storage.local_names import check_name, check_writable
from akool_async._storage.settings import Storage, bucket_location
from akool_async._storage.spool import Spool

logger = logging.getLogger("akool_async")
_LONGEST_KEY: Final = 1024
"""Bytes of a key in UTF-8. Source: Amazon S3, "Naming Amazon S3 objects"; Google Cloud Storage has the same
limit, and Azure allows as many characters."""

_UPLOADS: Final = 4
"""Results that are sent into a bucket at once: each holds several parts of 8 MiB in memory."""

_ANY_JOB: Final = "0" * 24
"""As long as the id of a job, which names its folder in the spool. Unconfirmed: all that were seen are so."""

_LARGEST_MANIFEST: Final = 2**20
_SHARED_BEGINNING: Final = 120
"""Bytes that all names which an entry may get have in common; see `NameTemplate.names`."""


class BucketFolder:
    """A prefix in a bucket, as a folder for results.

    Raises:
        ConfigurationError: it names no bucket, or can't be opened.
    """

    def __init__(self, url: str, storage: Storage) -> None:
        place = bucket_location(url, "The folder for results")
        self._bucket = Bucket(place.scheme, place.bucket, storage)
        self._prefix = place.key
        self._url = f"{self._bucket.url}/{place.key}".rstrip("/")
        root = storage.spool_folder
        own = root / hashlib.sha256(self._url.encode()).hexdigest()[:16]
        self._spool = Spool(root, own, storage.spool_bytes)
        self._turns = anyio.Semaphore(_UPLOADS)

    def __str__(self) -> str:
        """Return its URL."""
        return self._url

    def check_name(self, name: str) -> None:
        """Raise `ConfigurationError` if the key would be too long, or the spool can't have such a file."""
        size = len(self._key(name).encode())
        if size > _LONGEST_KEY:
            raise ConfigurationError(
                f"{name} would have a key of {size:,} bytes in {self}, and {_LONGEST_KEY:,} are allowed.",
                advice="Use a shorter prefix, or fewer folders in file_names (--names).",
            )
        check_name(self._spool.folder / _ANY_JOB, name)

    def check_writable(self, name: str) -> None:
        """Raise `ConfigurationError` if nothing can wait on this machine on its way into the bucket."""
        check_writable(self._spool.folder / _ANY_JOB, name)

    def lookup(self, name: str) -> Callable[[str], bool]:
        """Return what says whether an object is there, from one look at the bucket."""
        folder, slash, last = name.rpartition("/")
        beginning = last.encode()[:_SHARED_BEGINNING].decode("utf-8", "ignore")
        with _saving(self):
            found = self._bucket.names(self._key(folder), beginning)
            return {f"{folder}{slash}{one}" for one in found}.__contains__

    def read_manifest(self, name: str) -> SavedResult | None:
        """Return what the manifest of a result says, None if it says nothing."""
        file = f"{name}{MANIFEST}"
        with _saving(self):
            try:
                content = b"".join(self._bucket.read(self._key(file)))
            except ObjectMissingError:
                return None
        try:
            stored = json.loads(content) if len(content) <= _LARGEST_MANIFEST else None
        except (ValueError, RecursionError):
            return None
        return parse_manifest(stored, BucketPath(f"{self._url}/{file}")) if isinstance(stored, dict) else None

    def find_result(self, files: Sequence[str], *, name: str, hashes: bool) -> SavedResult:
        """Return what became of files that a journal has as saved, here or elsewhere under this name."""
        depth = name.count("/") + 1
        names = ["/".join(file.split("/")[-depth:]) for file in files]
        manifest = next((name for name in names if name.endswith(MANIFEST)), "")
        known = self.read_manifest(manifest.removesuffix(MANIFEST)) if manifest else None
        if known is not None:
            return self._checked(known, hashes=hashes)
        paths = [BucketPath(f"{self._url}/{name}") for name in names]
        place = BucketPath(f"{self._url}/{manifest}") if manifest else None
        return result_by_names(paths, place, partial(self._check, hashes=False), hashes=hashes)

    def verify(self, *, hashes: bool) -> tuple[SavedResult, ...]:
        """Return every result that has a manifest here, each with the state of its files."""
        with _saving(self):
            every = self._bucket.names(self._prefix, "", nested=True)
            names = [name for name in every if name.endswith(MANIFEST)]
        found = [self.read_manifest(name.removesuffix(MANIFEST)) for name in sorted(names)]
        return tuple(self._checked(result, hashes=hashes) for result in found if result is not None)

    def copy_here(self, files: Sequence[str], folder: Path, *, name: str) -> list[Path]:
        """Copy a result's files to a folder of this machine; what is there already is left alone. Blocks.

        Args:
            files: as a journal has them.
            folder: where each gets the place that it has here.
            name: of the result, with its folders.

        Returns:
            What was copied.

        Raises:
            DownloadError: a file is not there, or is not what was saved; nothing has its name.
            StorageError: the folder can't be written.
        """
        copied: list[Path] = []
        for file in self.find_result(files, name=name, hashes=False).files:
            if file.path is None:
                continue
            target = folder.joinpath(*file.path.parts[-1 - name.count("/") :])
            if os.path.lexists(target):
                continue
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                self._fetch(file, target)
            except OSError as error:
                raise StorageError(
                    f"{target} can't be written: {error.strerror}.",
                    impact="The results in the bucket are not touched by this.",
                    advice="Correct the permissions or make space.",
                ) from error
            copied.append(target)
        return copied

    def _fetch(self, file: SavedFile, target: Path) -> None:
        assert file.path is not None  # noqa: S101 - asked before
        draft = target.with_name(f".{secrets.token_hex(8)}.part")
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            size, sha256 = 0, hashlib.sha256()
            try:
                with os.fdopen(descriptor, "wb", closefd=False) as content, _saving(self):
                    for chunk in self._bucket.read(self._object_key(file.path)):
                        content.write(chunk)
                        size += len(chunk)
                        sha256.update(chunk)
            except BaseException:  # of a read that was cut; else `publish` closes it
                os.close(descriptor)
                raise
            if file.digest not in (None, Digest(size, sha256.hexdigest())):
                os.close(descriptor)
                raise DownloadError(
                    f"{file.path} is not what was saved.", advice="`akool-async verify` shows what is wrong."
                )
            publish(descriptor, draft, target, replace=False)
        finally:
            draft.unlink(missing_ok=True)

    async def save(self, request: DownloadRequest, download: Download) -> Saved:
        """Download to the spool and send from there; what a killed run left in either is used.

        Raises:
            FileAlreadyExistsError: another object has one of the names; it was not changed.
            StorageError: the spool or the bucket can't be written.
            DownloadError: a file is incomplete, or could not be sent.
        """
        async with self._spool.reserve(request.job_id) as place:
            local = await download(attrs.evolve(request, stem=place / request.stem))
            async with self._turns:
                try:
                    result = await self._send_all(local, request.stem.parent)
                except (DownloadError, StorageError):
                    self._spool.refused()
                    raise
            await run_sync(partial(rmtree, place, ignore_errors=True))
        self._spool.sent(sum(file.digest.size for file in result.files if file.digest))
        saved = result.saved
        assert saved is not None  # noqa: S101 - the video was sent
        return saved

    async def _send_all(self, local: Saved, folder: Path) -> SavedResult:
        stopped = threading.Event()
        try:
            return await run_sync(partial(self._send, local, folder, stopped), abandon_on_cancel=True)
        except FileNotFoundError as error:
            # Two workers of one machine may save one result at once; the first to end clears the folder.
            raise DownloadError(
                f"{error.filename} was removed while it was sent: another program may save the same result."
            ) from None
        except OSError as error:
            raise _unreadable(error.filename or local.video, error) from None
        finally:
            stopped.set()

    # What blocks.

    def _key(self, name: str) -> str:
        return "/".join(part for part in (self._prefix, name) if part)

    def _object_key(self, path: Path) -> str:
        """Return the key of a file by its place here."""
        return self._key(str(path).removeprefix(f"{self._url}/"))

    def _send(self, local: Saved, folder: Path, stopped: threading.Event) -> SavedResult:
        assert local.manifest is not None  # noqa: S101 - a download writes one
        result = read_manifest(local.manifest)
        if result is None:
            raise DownloadError(f"The manifest {local.manifest} was changed while its files were sent.")
        sent = []
        with _saving(self):
            for file in result.files:  # the video first
                if file.path is not None:
                    place = BucketPath(f"{self._url}/{(folder / file.path.name).as_posix()}")
                    self._send_file(file, place, stopped)
                    file = attrs.evolve(file, path=place)
                sent.append(file)
            # Last: where it is, everything that it lists is there, so no later run pays for this again.
            name = (folder / local.manifest.name).as_posix()
            before = self.read_manifest(name.removesuffix(MANIFEST))
            ours = before is not None and before.job_id == result.job_id
            content = local.manifest.read_bytes()
            self._bucket.put_new(self._key(name), content, "application/json", replace=ours)
        return attrs.evolve(result, manifest=BucketPath(f"{self._url}/{name}"), files=tuple(sent))

    def _send_file(self, file: SavedFile, place: BucketPath, stopped: threading.Event) -> None:
        """Send one file, unless it is there already: the same bytes, by their hash."""
        assert file.path is not None  # noqa: S101 - asked before
        assert file.digest is not None  # noqa: S101 - its manifest says it
        key = self._object_key(place)
        there = self._bucket.head(key)
        if there is not None:
            # A run that was killed may have sent it. The name proves nothing, so the bytes are compared.
            if there.size == file.digest.size and self._digest(key) == file.digest:
                return
            raise FileAlreadyExistsError(f"{place} already exists.")
        media_type = mimetypes.guess_type(key)[0] or "application/octet-stream"
        with file.path.open("rb") as content:
            chunks = _verified(content, file, stopped)
            if file.digest.size <= PART:
                self._bucket.put_new(key, b"".join(chunks), media_type)
                return
            part = f"{key}.{secrets.token_urlsafe(6)}.part"  # another run may send a file of this name, too
            try:
                self._bucket.upload(part, chunks, media_type)
                # A store may lose a part and still complete: only a whole object may get a result's name.
                arrived = self._bucket.head(part)
                if arrived is None or arrived.size != file.digest.size:
                    raise DownloadError(f"{place} did not arrive whole; it was not saved.")
                # Another program may have taken the name: its object stays, and ours gets another name.
                self._bucket.copy_new(part, key)
            finally:
                try:
                    self._bucket.delete(part)
                except BucketError as error:  # of the part alone: what became of the file is known
                    logger.warning("A part of an upload may be left; delete it by hand. %s", error.message)

    def _digest(self, key: str) -> Digest:
        size, sha256 = 0, hashlib.sha256()
        for chunk in self._bucket.read(key):
            size += len(chunk)
            sha256.update(chunk)
        return Digest(size, sha256.hexdigest())

    def _checked(self, result: SavedResult, *, hashes: bool) -> SavedResult:
        return attrs.evolve(result, files=tuple(self._check(file, hashes=hashes) for file in result.files))

    def _check(self, file: SavedFile, *, hashes: bool) -> SavedFile:
        if file.path is None:
            return file
        key = self._object_key(file.path)
        with _saving(self):
            there = self._bucket.head(key)
            if there is None:
                return attrs.evolve(file, state=FileState.MISSING, reason="it was deleted or moved")
            return compare_file(file, there.size, partial(self._digest, key) if hashes else None)


@contextmanager
def _saving(folder: BucketFolder) -> Iterator[None]:
    """Turn the errors of a bucket into those of a folder."""
    try:
        yield
    except ObjectExistsError as error:
        raise FileAlreadyExistsError(error.message) from None
    except BucketError as error:
        # A StorageError stops further downloads: the bucket would refuse the next result, too.
        kind = StorageError if error.permanent else DownloadError
        raise kind(
            f"The folder {folder} can't be used. {error.message}",
            advice="Correct the bucket or its credentials, then run the same again: nothing is paid again.",
        ) from None


def _unreadable(path: object, error: OSError) -> DownloadError:
    return DownloadError(
        f"{path} can't be read, so it was not sent: {error.strerror}.",
        advice="See what is wrong with its disk, then run the same again: nothing is paid again.",
    )


def _verified(content: BufferedReader, file: SavedFile, stopped: threading.Event) -> Iterator[bytes]:
    """Yield a file, and raise at its end if it is not what was verified: then no object is made."""
    found = hashlib.sha256()
    try:
        while chunk := content.read(PART):
            if stopped.is_set():
                raise DownloadError("The upload was given up.")
            found.update(chunk)
            yield chunk
    except OSError as error:  # or the bucket would be blamed for it
        raise _unreadable(file.path, error) from None
    if file.digest is None or found.hexdigest() != file.digest.sha256:
        raise DownloadError(f"{file.path} was changed while it was sent; it was not saved.")
