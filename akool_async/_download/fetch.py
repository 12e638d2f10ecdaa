"""Download one file: request it, resume it over new connections, verify it, then give it its name."""

from __future__ import annotations

import errno
import gzip
import io
import mmap
import ssl
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

import anyio
import attrs
import httpx
from anyio.to_thread import run_sync

from akool_async._clock import Clock
from akool_async._download import files, verify
from akool_async._download.network import KIB, MIB, DownloadLimits, FileHostSession, abort
from akool_async._download.ranges import Body, RetryableResponse, read_range
from akool_async._download.verify import Digest, FileVerdict, Kind
from akool_async._environment import describe_cause
from akool_async._model.errors import DownloadError, StorageError
from akool_async._model.redact import exception_chain
from akool_async._model.responses import GZIP_MAGIC
from akool_async._retry import RetryPolicy

_BLOCK: Final = 1536 * KIB
"""Bytes that are collected before a thread writes and hashes them: each turn of a thread costs."""

_MAX_EXPANSION: Final = 20
_SMALL: Final = 64 * MIB
"""A file may be so many times as large as its compressed bytes, or so large; more is a bomb, and no video."""

_ONE_FILE: Final = frozenset({errno.EFBIG, errno.ENAMETOOLONG, errno.EISDIR, errno.EILSEQ, errno.ELOOP})
"""Errors of one file, after which others may still be written."""

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class FileSpec:
    """One file to download.

    Attributes:
        url: where it is; may be signed.
        target: the path that it gets.
        kind: what it should be.
        owner: the id of its job.
        replace: whether an existing file of this name is replaced.
    """

    url: str = attrs.field(repr=False)
    target: Path
    kind: Kind
    owner: str
    replace: bool = False


@attrs.frozen(kw_only=True)
class FetchedFile:
    """One file that was downloaded.

    Attributes:
        path: its final name; subtitles have the ending of their format.
        digest: its size and hash.
        unverified: why its content could not be verified, or "".
    """

    path: Path
    digest: Digest
    unverified: str = ""


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
        path = error.filename2 or error.filename or target
        raise files.FileAlreadyExistsError(f"{path} already exists.") from error
    except UnicodeEncodeError as error:
        encoding = sys.getfilesystemencoding()
        raise DownloadError(
            f"The name {target.name!a} can't be written in the file names of this system ({encoding})."
        ) from error
    except OSError as error:
        words = error.strerror or type(error).__name__
        # A StorageError stops further downloads; an error of one file must not keep back the others.
        kind = DownloadError if error.errno in _ONE_FILE else StorageError
        raise kind(f"The result could not be written to {target}: {words}.") from error


class Fetch:
    """The download of one file. `retry` counts attempts that brought no bytes; one that did is resumed."""

    def __init__(
        self,
        spec: FileSpec,
        session: FileHostSession,
        clock: Clock,
        retry: RetryPolicy,
        limits: DownloadLimits,
    ) -> None:
        self._spec = spec
        self._session = session
        self._clock = clock
        self._retry = retry
        self._limits = limits
        self._max_bytes = limits.max_video_bytes if spec.kind is Kind.VIDEO else limits.max_text_bytes
        self._part = files.Part(spec.target, spec.owner, spec.url)
        # Chunks are copied here, so that the next one gets the memory of the last, still in the cache.
        self._block = memoryview(mmap.mmap(-1, _BLOCK))
        self._filled = 0
        self._last = b""
        self._measured = False
        self._at_end = False
        self._ignores_ranges = False
        self._previous: Digest | None = None
        self._restarts = 0
        self._compression = ""

    async def run(self) -> FetchedFile:
        """Download the file. A caller that is cancelled leaves a part that can be resumed.

        Raises:
            FileAlreadyExistsError: another file has its name.
            StorageError: the folder can't be written.
            DownloadError: it could not be downloaded completely; no file was saved under its name.
        """
        try:
            await self._run(self._part.open)
            unverified = await self._download()
            with anyio.CancelScope(shield=True):
                found = await self._run(partial(self._publish, unverified))
        except BaseException as error:
            given_up = isinstance(error, files.FileAlreadyExistsError)
            with anyio.CancelScope(shield=True):
                await self._run(self._part.discard if given_up else self._part.suspend)
            raise
        return found

    async def _run(self, work: Callable[[], T]) -> T:
        return await run_blocking(self._spec.target, work)

    def _publish(self, unverified: str) -> FetchedFile:
        spec, content = self._spec, self._part.content
        target = spec.target
        if spec.kind is Kind.SUBTITLES:
            content.seek(0)
            target = target.with_suffix(verify.subtitle_ending(content.read(verify.HEAD)))
        found = self._part.digest()
        self._part.publish(target, found, unverified, replace=spec.replace)
        return FetchedFile(path=target, digest=found, unverified=unverified)

    async def _download(self) -> str:
        """Return when the file is here: "" if it is complete, else why it could not be verified."""
        fruitless = 0
        refused: Counter[Digest] = Counter()
        for _ in range(self._limits.max_attempts):
            before = self._part.size
            try:
                await self._receive()
                if await self._is_complete():
                    return ""
                continue
            except RetryableResponse as error:
                failed = error
            # An attempt that brought bytes is no failure, but for a host that always starts over.
            fruitless = 0 if self._part.size > before and not failed.start_over else fruitless + 1
            failures = max(fruitless, self._restarts - 1)
            delay = self._retry.delay(failures, 0.0, failed.retry_after if failures else None)
            given_up = delay is None and failures > 0
            subtitles = self._spec.kind is Kind.SUBTITLES
            if failed.arrived and failed.start_over and (failed.playable or subtitles):
                found = await self._run(self._part.digest)
                refused[found] += 1
                # The same bytes came so often that more attempts would only bring them again.
                given_up = given_up or refused[found] >= (2 if subtitles else 3)
            # The last resort: a strict check must not let a paid result expire of which every byte arrived.
            if given_up and failed.arrived and failed.playable:
                return (
                    f"all {self._part.size:,} bytes that the file host announced arrived, but {failed.reason}"
                )
            if failed.start_over:
                await self._run(partial(self._part.begin, "", None))
            if given_up:
                message = f"{self._spec.target.name} could not be downloaded: {failed.reason}."
                raise DownloadError(message, http_status=failed.http_status) from failed
            await self._clock.sleep(delay or 0.0)
        raise DownloadError(f"The result was not complete after {self._limits.max_attempts} connections.")

    async def _receive(self) -> None:
        """Request the missing bytes over one connection, and add them to the part.

        Raises:
            RetryableResponse: some of them are still missing.
        """
        received, etag, length = self._part.size, self._part.metadata.etag, self._part.metadata.length
        if not etag:  # without a strong ETag nothing proves that the rest belongs to the same file
            received = 0
        if length is not None and length <= self._part.size:
            length = None  # so the length announced before was wrong
        packed = received > 0 and await self._run(lambda: _is_gzip(self._part.content))
        headers = {"range": f"bytes={received}-", "if-range": etag} if received else {}
        try:
            async with self._session.get(self._spec.url, headers) as response:
                body = read_range(
                    response.status_code,
                    response.headers,
                    received=received,
                    etag=etag,
                    length=length,
                    packed=packed,
                )
                self._at_end = body is None
                if body is None:
                    self._measured = True
                else:
                    await self._receive_body(response, body)
        except (httpx.HTTPError, httpx.StreamError) as error:
            host, cause = urlsplit(self._spec.url).hostname, describe_cause(error)
            if any(isinstance(one, ssl.SSLCertVerificationError) for one in exception_chain(error)):
                words = f"The certificate of the file host {host} was not accepted: {cause}."
                raise DownloadError(words) from error
            raise RetryableResponse(f"the connection to {host} broke ({cause})") from error

    async def _receive_body(self, response: httpx.Response, body: Body) -> None:
        part, length = self._part, body.length
        self._compression = body.compression
        # Size and space are checked before a byte is written or a part is discarded.
        if length is not None and length > self._max_bytes:
            raise self._too_large()
        rest = max((length or 0) - part.size, 0)
        folder, reserve = self._spec.target.parent, self._limits.min_free_bytes
        await self._run(partial(files.ensure_free_space, folder, rest, reserve))
        if body.restarts:
            self._restarts += 1
            self._ignores_ranges = self._ignores_ranges or (part.size > 0 and part.metadata.etag != "")
            await self._run(partial(part.begin, body.etag, length))
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - for the type checker
        chunks = aiter(response.stream)
        try:
            await self._read(chunks, self._max_bytes if body.end is None else body.end)
        except BaseException:  # a cancelled caller must leave no open connection either
            with anyio.CancelScope(shield=True):
                await abort(response, chunks)
            raise
        finally:  # bytes that arrived are kept, whatever ended the body
            with anyio.CancelScope(shield=True):
                await self._write_pending()
        if part.size < (length or body.end or 0):
            raise RetryableResponse("only a part of the file arrived")
        self._measured = length is not None

    def _too_large(self) -> DownloadError:
        return DownloadError(f"The file is larger than {self._max_bytes:,} bytes; it was not downloaded.")

    async def _read(self, chunks: AsyncIterator[bytes], until: int) -> None:
        """Add chunks to the part; what is not written yet is in `_block`, and what didn't fit in `_last`."""
        limits, clock = self._limits, anyio.current_time
        counted, deadline, size, ended = 0, clock() + limits.slow_window, self._part.size, False
        while not ended:
            # One scope for a block, and few changes of its deadline: timers cost more than the chunks.
            with anyio.CancelScope(deadline=deadline) as scope:
                while not self._last:
                    chunk = await anext(chunks, None)
                    if chunk is None:
                        ended = True
                        break
                    counted += len(chunk)
                    if counted >= limits.min_bytes and clock() > deadline - limits.slow_window * 15 / 16:
                        counted, deadline = 0, clock() + limits.slow_window
                        scope.deadline = deadline
                    size += len(chunk)
                    if size > self._max_bytes:
                        raise self._too_large()
                    if size > until:
                        more = "the file host sent more than it had announced"
                        raise RetryableResponse(more, start_over=True)
                    end = self._filled + len(chunk)
                    if end > _BLOCK:
                        self._last = chunk
                    else:
                        self._block[self._filled : end] = chunk
                        self._filled = end
            if scope.cancelled_caught:
                raise RetryableResponse(
                    f"less than {limits.min_bytes:,} bytes arrived in {limits.slow_window:g} s"
                )
            if not ended:
                await self._write_pending()

    async def _write_pending(self) -> None:
        if self._filled or self._last:
            await self._run(self._write)

    def _write(self) -> None:
        # Taken first: what a full disk took half of must not be written once more.
        blocks = (self._block[: self._filled], self._last)
        self._filled, self._last = 0, b""
        for block in blocks:
            self._part.write(block)
        if self._part.size - self._part.metadata.synced >= self._limits.sync_every:
            self._part.sync()

    async def _is_complete(self) -> bool:
        """Return whether the part is the complete file; if not, it has to be requested once more.

        Raises:
            RetryableResponse: it is not what it should be, or its end is missing.
        """
        verdict = await self._judge()
        kind, part, etag = self._spec.kind, self._part, self._part.metadata.etag
        arrived = self._measured or self._at_end
        if verdict is FileVerdict.INVALID:
            what = await self._run(lambda: verify.describe_content(part.content))
            reason = f"the file host sent {what}, which is not the {kind.value}"
            if self._compression:
                reason += f"; it says that this is compressed ({self._compression}), though asked not to"
            raise RetryableResponse(reason, start_over=True, arrived=arrived)
        if verdict is FileVerdict.DAMAGED:
            raise RetryableResponse(
                f"the end of the {kind.value} is missing in what the file host sent, or it is damaged",
                start_over=self._at_end or not etag,
                arrived=arrived,
                playable=kind is Kind.VIDEO,
            )
        if verdict is FileVerdict.COMPLETE or self._at_end:
            return True
        # A connection that broke can look like an end, and a length may be wrong. The host is asked for the
        # byte after it; one that can't answer that (no ETag, no ranges) has to send the same file twice.
        found = await self._run(self._part.digest)
        before, self._previous = self._previous, found
        if etag and not self._ignores_ranges:
            return False
        if before not in (None, found):
            raise RetryableResponse(f"the file host does not say where the {kind.value} ends")
        return found == before

    async def _judge(self) -> FileVerdict:
        """Judge the content; what the host compressed with gzip, although asked not to, is decompressed."""
        kind, part = self._spec.kind, self._part
        arrived = self._measured or self._at_end
        verdict = await self._run(lambda: verify.verify(part.content, kind, measured=arrived))
        if verdict is not FileVerdict.INVALID or not await self._run(
            partial(_decompress, part, self._max_bytes, self._limits.min_free_bytes)
        ):
            return verdict
        # Its checksum says that it is whole.
        self._measured, self._compression = True, ""
        return await self._run(lambda: verify.verify(part.content, kind, measured=True))


# What a host compressed with gzip, although it was asked not to.


def _is_gzip(content: BufferedReader) -> bool:
    """Whether a file begins as gzip does, which no video and no subtitles do."""
    content.seek(0)
    return content.read(len(GZIP_MAGIC)) == GZIP_MAGIC


def _decompress(part: files.Part, limit: int, reserve: int) -> bool:
    """Replace compressed bytes by the file that is in them; False, and nothing is changed, if there is none.

    Raises:
        OSError: there is no room for it.
    """
    content = part.content
    if not _is_gzip(content):
        return False
    compressed = content.seek(0, io.SEEK_END)
    most = min(limit, max(compressed * _MAX_EXPANSION, _SMALL))
    folder = part.target.parent
    with tempfile.TemporaryFile(dir=folder) as plain:
        content.seek(0)
        try:
            with gzip.open(content) as stream:
                while block := stream.read(MIB):
                    if plain.tell() + len(block) > most:
                        return False
                    files.ensure_free_space(folder, len(block), reserve)
                    plain.write(block)
        except (gzip.BadGzipFile, EOFError, zlib.error):  # something else, or not all of it
            return False
        files.ensure_free_space(folder, plain.tell() - compressed, reserve)
        part.begin("", None)
        plain.seek(0)
        while block := plain.read(MIB):
            part.write(block)
    return True
