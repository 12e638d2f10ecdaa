"""Inputs that the vendor can't fetch: named by their content, uploaded once, signed, deleted.

Identity is path and content. A signature exists between the bucket and the paid POST only: it is in no
request that is kept, so neither the journal nor a log, an event or an outcome can hold it.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import mimetypes
import os
import re
import stat
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import quote

import anyio
import attrs
from anyio.to_thread import run_sync

from akool_async._journal import Entry
from akool_async._journal.operations import display_name
from akool_async._model.errors import ConfigurationError, InputError, JournalError
from akool_async._model.locations import Location, no_public_url, with_content
from akool_async._model.outcomes import Outcome
from akool_async._model.requests import Request, private_inputs, with_inputs
from akool_async._model.states import State
from akool_async._storage.buckets import PART, Bucket, BucketError
from akool_async._storage.settings import Storage, bucket_location

logger = logging.getLogger("akool_async")
_LAST_DELETES: Final = 30.0
"""Seconds in which a batch that is left deletes the files that it shared."""

_HASH: Final = 64
"""Digits of a hash in a key."""

_SUFFIX: Final = re.compile(r"\.[A-Za-z0-9]{1,5}")
_READ: Final = os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_NONBLOCK", "O_BINARY"))
"""A pipe of a video's name must not stop the batch."""

_NOT_FOUND: Final = frozenset({errno.ENOENT, errno.ENOTDIR})

FindUnfinished: TypeAlias = Callable[[str], Entry | None]
"""Finds an entry, of any run, that may have a job for the content with this hash which has not ended."""


class SharedInputs:
    """The private inputs of one batch.

    Args:
        storage: None refuses every private input.

    Attributes:
        shares: whether files are uploaded, which have to be deleted afterwards.

    Raises:
        ConfigurationError: the bucket that files are shared from can't be opened.
    """

    def __init__(self, storage: Storage | None) -> None:
        self._storage = storage
        self._share = (
            bucket_location(storage.share, "share") if storage is not None and storage.share else None
        )
        self.shares: Final = self._share is not None
        self._buckets: dict[tuple[str, str], Bucket] = {}
        if storage is not None and self._share is not None:
            share = self._share
            self._buckets[share.scheme, share.bucket] = Bucket(share.scheme, share.bucket, storage)
        self._hashes: dict[tuple[str, int, int, int], str] = {}
        self._locks: defaultdict[str, anyio.Lock] = defaultdict(anyio.Lock)
        self._users: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
        self._keys_of: dict[tuple[str, str], tuple[str, ...]] = {}
        self._unused: set[str] = set()
        self._sent: set[str] = set()
        self._kept: set[str] = set()
        self._released = anyio.Event()

    async def identify(self, request: Request) -> Request:
        """Return the request with the content of its private inputs, which is a part of what it is.

        Raises:
            InputError: an input can't be read, or can't be shared.
        """
        changed = {}
        for name, url in private_inputs(request).items():
            place = Location.parse(url)
            self._require_storage(place)
            if not place.content:
                changed[name] = with_content(url, await run_sync(self._content, place))
        return with_inputs(request, changed)

    async def find_replaced(self, request: Request, known: Request) -> dict[str, str]:
        """Return the inputs that have other content than an entry of the journal, by their fields.

        For a request that `identify` refuses, because a file is gone, or nothing is there to share it from.
        What can't be read has the content that the entry had.
        """
        replaced, before = dict[str, str](), private_inputs(known)
        for name, url in private_inputs(request).items():
            place = Location.parse(url)
            if self._storage is not None or place.scheme == "file":
                with suppress(InputError):
                    content = place.content or await run_sync(self._content, place)
                    if content != Location.parse(before.get(name, "")).content:
                        replaced[name] = with_content(url, content)
        return replaced

    async def upload(self, request: Request, names: list[tuple[str, str]]) -> None:
        """Upload the files that are not in the bucket yet, and look whether objects are the same.

        Args:
            request: with the content of its inputs.
            names: the entries that need them, until `release`.

        Raises:
            InputError: one could not be uploaded, or is not what it was any more.
        """
        for url in private_inputs(request).values():
            place = Location.parse(url)
            storage = self._require_storage(place)
            if place.scheme != "file":
                await run_sync(self._check_object, place)
                continue
            key = self._shared_key(place)
            async with self._locks[key]:  # several languages, or rows, of one video
                # Before the upload: another entry that ends meanwhile must not delete what this one needs.
                self._unused.discard(key)
                if not storage.keep:
                    self._users[key].update(names)
                    for name in names:
                        self._keys_of[name] = (*self._keys_of.get(name, ()), key)
                await self._upload(place, key)

    async def sign(self, request: Request, names: list[tuple[str, str]]) -> Mapping[str, str]:
        """Return signed URLs of the private inputs, by the names of their fields, for the POST that is next.

        The entries may have waited for hours since `upload`, so it is looked once more whether all is there.

        Raises:
            InputError: one is not what it was, or can't be uploaded again, or the credentials can't sign.
        """
        signed = {}
        for name, url in private_inputs(request).items():
            place = Location.parse(url)
            self._require_storage(place)
            if place.scheme == "file":
                key = self._shared_key(place)
                # Another run, say, that had shared it, too, may have deleted it.
                if not await run_sync(self._is_shared, place, key):
                    logger.info("%s was deleted; it is uploaded again.", self._object(key))
                    await self.upload(request, names)
            else:
                key = place.key
                await run_sync(self._check_object, place)
            signed[name] = await self.sign_object(attrs.evolve(self._shared(place), key=key))
        return signed

    async def sign_object(self, place: Location) -> str:
        """Return a signed URL of an object."""
        storage = self._require_storage(place)
        with _asking():
            return await run_sync(self._bucket(place).sign, place.key, storage.expires)

    def release(self, request: Request, name: tuple[str, str], outcome: Outcome) -> None:
        """An entry has ended, or is in doubt: what was uploaded for it is deleted unless others need it.

        Whether they do is found out just before, by what the journal says then, also of earlier runs.
        """
        keys = self._keys_of.pop(name, ())
        if self._share is None or self._storage is None or self._storage.keep:
            return
        if outcome.job is not None and not outcome.resumed:  # also of a job that an earlier run uploaded for
            places = map(Location.parse, private_inputs(request).values())
            keys += tuple(self._shared_key(place) for place in places if place.sha256)
        for key in dict.fromkeys(keys):
            self._users[key].discard(name)
            if not self._users[key]:
                del self._users[key]
                # Without a job and without an upload there is nothing of ours in the bucket.
                if key in self._sent or outcome.job is not None:
                    self._unused.add(key)
                    self._released.set()

    async def delete_until_cancelled(self, find_unfinished: FindUnfinished) -> None:
        """Delete what no entry needs any more, as soon as that is so."""
        while True:
            await self._released.wait()
            self._released = anyio.Event()
            await self._delete_unused(find_unfinished)

    async def close(self, find_unfinished: FindUnfinished) -> None:
        """Delete what no entry needs any more, within a time that a caller may be made to wait."""
        with anyio.move_on_after(_LAST_DELETES, shield=True):
            await self._delete_unused(find_unfinished)
        for key in sorted(self._kept):
            entry = self._find_user(find_unfinished, key)
            # Any other is deleted without a person, by the run that sees its job end.
            if isinstance(entry, Entry) and entry.state is State.IN_DOUBT:
                logger.warning(
                    "The shared file %s stays, because %s is in doubt, and its job may still need the file. "
                    "Resolve the doubt: the run that ends the entry then deletes it, if it shares files. If "
                    "no job was made and the entry is not sent again, delete it in the bucket.",
                    self._object(key),
                    display_name(entry.key, entry.target),
                )

    async def _delete_unused(self, find_unfinished: FindUnfinished) -> None:
        """Delete what no entry needs any more; what can't be deleted is named in the log."""
        share = self._share
        while self._unused and share is not None:
            key = next(iter(self._unused))
            async with self._locks[key]:
                try:
                    if key not in self._unused or key in self._users:
                        pass  # it is needed again
                    elif self._find_user(find_unfinished, key) is None:
                        await run_sync(self._bucket(share).delete, key)
                        self._kept.discard(key)
                    else:
                        self._kept.add(key)
                except BucketError as error:
                    if key in self._sent:
                        logger.warning("A file that was shared is still there. %s", error.message)
                    else:  # an earlier run may have uploaded it
                        logger.warning("A file that an earlier run shared may be there. %s", error.message)
                # Only now: what is cancelled meanwhile is still to be deleted when the batch is closed.
                self._unused.discard(key)

    def _find_user(self, find_unfinished: FindUnfinished, key: str) -> Entry | JournalError | None:
        """Return an entry that may still need a shared file, None without one, or why that is not known."""
        try:
            return find_unfinished(key.rpartition("/")[2][:_HASH])
        except JournalError as error:
            logger.warning(
                "The shared file %s stays, because whether a job needs it is not known. %s",
                self._object(key),
                error.message,
            )
            return error

    def _object(self, key: str) -> str:
        assert self._share is not None  # noqa: S101 - nothing is shared without it
        return f"{self._share.scheme}://{self._share.bucket}/{key}"

    def _require_storage(self, place: Location) -> Storage:
        if self._storage is None:
            raise no_public_url(place)
        self._shared(place)
        return self._storage

    def _shared(self, place: Location) -> Location:
        if place.scheme != "file":
            return place
        if self._share is None:
            raise InputError(f"{place} is a file of this machine, and the vendor fetches public URLs only.")
        return self._share

    def _shared_key(self, place: Location) -> str:
        """Return the key of a file in the bucket: its hash, which says what is there, and its ending."""
        suffix = Path(place.key).suffix
        name = place.sha256 + (suffix.lower() if _SUFFIX.fullmatch(suffix) else "")
        prefix = self._shared(place).key
        return f"{prefix}/{name}" if prefix else name

    def _bucket(self, place: Location) -> Bucket:
        assert self._storage is not None  # noqa: S101 - `_require_storage` was called
        name = (place.scheme, place.bucket)
        if name not in self._buckets:
            with _asking():
                self._buckets[name] = Bucket(*name, self._storage)
        return self._buckets[name]

    # What blocks.

    def _content(self, place: Location) -> str:
        if place.scheme != "file":
            return f"etag={quote(self._etag(place), safe='')}"
        with _opened(place) as file, _reading(place):
            found = os.fstat(file.fileno())
            known = (place.key, found.st_size, found.st_mtime_ns, found.st_ino)
            if known not in self._hashes:
                self._hashes[known] = hashlib.file_digest(file, "sha256").hexdigest()
            return f"sha256={self._hashes[known]}"

    def _etag(self, place: Location) -> str:
        with _asking():
            found = self._bucket(place).head(place.key)
        if found is None:
            raise InputError(f"{place} does not exist.", advice="Correct the name.")
        if not found.size:
            raise InputError(f"{place} is empty.", advice="Upload the file again.")
        return found.etag

    def _check_object(self, place: Location) -> None:
        if place.etag != self._etag(place):
            raise InputError(
                f"{place} was changed since this entry was made.",
                advice="Run the same again, and its new content is another entry.",
            )

    def _is_shared(self, place: Location, key: str) -> bool:
        with _asking():
            return self._bucket(self._shared(place)).head(key) is not None

    async def _upload(self, place: Location, key: str) -> None:
        stopped = threading.Event()
        try:
            # A caller that is cancelled does not wait: the thread ends at the next part, the upload with it.
            await run_sync(partial(self._put, place, key, stopped), abandon_on_cancel=True)
        finally:
            stopped.set()

    def _put(self, place: Location, key: str, stopped: threading.Event) -> None:
        bucket = self._bucket(self._shared(place))
        with _opened(place) as file:
            with _reading(place):
                size = os.fstat(file.fileno()).st_size
            try:
                there = bucket.head(key)
                # Its name is its hash, and it appears only when it is whole: it is not sent again.
                self._sent.add(key)
                if there is None:
                    media_type = mimetypes.guess_type(key)[0] or "application/octet-stream"
                    bucket.upload(key, _checked(file, place, stopped), media_type)
                    there = bucket.head(key)
            except BucketError as error:
                if error.permanent:  # refused as a whole, so that nothing of it is there to be deleted
                    self._sent.discard(key)
                raise InputError(error.message, advice=error.advice) from None
            if there is None or there.size != size:
                raise InputError(
                    f"{place} was to be shared as {bucket.url}/{key}, but what is there has "
                    f"{0 if there is None else there.size:,} bytes instead of {size:,}.",
                    advice="Look whose it is and delete it, or share from another prefix.",
                )


def _opened(place: Location) -> BufferedReader:
    """Open a file to be shared."""
    with _reading(place):
        descriptor = os.open(place.key, _READ)
        try:
            found = os.fstat(descriptor)
        except OSError:
            os.close(descriptor)
            raise
    if not stat.S_ISREG(found.st_mode) or not found.st_size:
        os.close(descriptor)
        what = "is empty" if stat.S_ISREG(found.st_mode) else "is a folder or a device, not a file"
        raise InputError(f"{place} {what}.", advice="Name a video, an audio file or a file of captions.")
    return os.fdopen(descriptor, "rb")


@contextmanager
def _asking() -> Iterator[None]:
    """Tell an error of a bucket as one of this input, which ends no other entry."""
    try:
        yield
    except (BucketError, ConfigurationError) as error:
        raise InputError(error.message, advice=error.advice) from None


@contextmanager
def _reading(place: Location) -> Iterator[None]:
    """Tell an error of the system as one of this file, which ends no other entry."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError) as error:
        missing = isinstance(error, OSError) and error.errno in _NOT_FOUND
        why = "does not exist" if missing else f"can't be read: {getattr(error, 'strerror', error)}"
        advice = "Correct the path, the permissions or the disk that it is on."
        raise InputError(f"{place} {why}.", advice=advice) from None


def _checked(file: BufferedReader, place: Location, stopped: threading.Event) -> Iterator[bytes]:
    """Yield a file in parts, and raise at its end if it is not what the entry is named by.

    The object is made after the last part: what raises here makes none.
    """
    found = hashlib.sha256()
    with _reading(place):
        while part := file.read(PART):
            if stopped.is_set():
                raise InputError(f"The upload of {place} was given up.")
            found.update(part)
            yield part
    if found.hexdigest() != place.sha256:
        raise InputError(
            f"{place} was changed while it was uploaded, or since this entry was made.",
            advice="Run the same again, and its new content is another entry.",
        )


NO_INPUTS: Final = SharedInputs(None)
"""Refuses every private input: of batches without a storage, which keep nothing in it."""
