"""Download one file: request it, resume it over new connections, verify it, then give it its name."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import anyio
import attrs
import httpx

from akool_async._clock import Clock
from akool_async._download import files, verify
from akool_async._download.network import KIB, DownloadLimits, FileHostSession, abort
from akool_async._download.ranges import Body, InvalidContentError, RetryableResponse, read_range
from akool_async._download.verify import Digest, FileVerdict, Kind
from akool_async._model.errors import DownloadError, exception_chain
from akool_async._model.redact import strip_query
from akool_async._retry import RetryPolicy

_BLOCK: Final = 256 * KIB
"""Bytes that are collected before a thread writes them."""

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
        self._part = files.Part(spec.target, spec.owner, strip_query(spec.url))
        self._measured = False
        self._at_end = False
        self._ignores_ranges = False
        self._size_checked = -1
        self._restarts = 0

    async def run(self) -> Digest:
        """Download the file. A caller that is cancelled leaves a part that can be resumed.

        Raises:
            FileAlreadyExistsError: another file has its name.
            StorageError: the folder can't be written.
            DownloadError: it could not be downloaded completely; no file was saved under its name.
        """
        try:
            await self._run(self._part.open)
            await self._download()
            found = await self._run(partial(verify.digest, self._part.path))
            with anyio.CancelScope(shield=True):
                await self._run(partial(self._part.publish, found, replace=self._spec.replace))
        except BaseException as error:
            given_up = isinstance(error, files.FileAlreadyExistsError)
            with anyio.CancelScope(shield=True):
                await self._run(self._part.discard if given_up else self._part.suspend)
            raise
        return found

    async def _run(self, work: Callable[[], T]) -> T:
        return await files.run_blocking(self._spec.target, work)

    async def _download(self) -> None:
        """Return when the file is complete."""
        fruitless = 0
        for _ in range(self._limits.max_attempts):
            before = self._part.size
            try:
                await self._receive()
                if await self._is_complete():
                    return
                continue
            except RetryableResponse as error:
                failed = error
            self._size_checked = -1
            if failed.start_over:
                await self._run(partial(self._part.begin, "", None))
            # An attempt that brought bytes is no failure, but for a host that always starts over.
            fruitless = 0 if self._part.size > before else fruitless + 1
            failures = max(fruitless, self._restarts - 1)
            delay = self._retry.delay(failures, 0.0, failed.retry_after if failures else None)
            if delay is None and failures:
                kind = InvalidContentError if failed.wrong else DownloadError
                message = f"{self._spec.target.name} could not be downloaded: {failed.reason}."
                raise kind(message, http_status=failed.http_status) from failed
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
        headers = {"range": f"bytes={received}-", "if-range": etag} if received else {}
        try:
            async with self._session.get(self._spec.url, headers) as response:
                body = read_range(
                    response.status_code, response.headers, received=received, etag=etag, length=length
                )
                self._at_end = body is None
                if body is None:
                    self._measured = True
                else:
                    await self._receive_body(response, body)
        except (httpx.HTTPError, httpx.StreamError) as error:
            if any(isinstance(one, ssl.SSLCertVerificationError) for one in exception_chain(error)):
                raise DownloadError("The file host's TLS certificate was not accepted.") from error
            raise RetryableResponse(f"the connection broke ({type(error).__name__})") from error

    async def _receive_body(self, response: httpx.Response, body: Body) -> None:
        part, length = self._part, body.length
        # Size and space are checked before a byte is written or a part is discarded.
        if length is not None and length > self._max_bytes:
            raise self._too_large()
        rest = max((length or 0) - part.size, 0)
        folder, reserve = self._spec.target.parent, self._limits.min_free_bytes
        await self._run(partial(files.ensure_free_space, folder, rest, reserve))
        if body.restarts:
            self._restarts += 1
            self._ignores_ranges = part.size > 0 and part.metadata.etag == body.etag != ""
            await self._run(partial(part.begin, body.etag, length))
        chunks, pending = response.aiter_raw(), bytearray()
        try:
            await self._read(chunks, pending, self._max_bytes if body.end is None else body.end)
        except BaseException:  # a cancelled caller must leave no open connection either
            with anyio.CancelScope(shield=True):
                await abort(response, chunks)
            raise
        finally:  # bytes that arrived are kept, whatever ended the body
            with anyio.CancelScope(shield=True):
                await self._run(partial(self._write, pending))
        if part.size < (length or body.end or 0):
            raise RetryableResponse("only a part of the file arrived")
        self._measured = length is not None

    def _too_large(self) -> DownloadError:
        return DownloadError(f"The file is larger than {self._max_bytes:,} bytes; it was not downloaded.")

    async def _read(self, chunks: AsyncIterator[bytes], pending: bytearray, until: int) -> None:
        """Add chunks to the part; those that are not written yet stay in `pending`."""
        limits = self._limits
        counted, deadline = 0, anyio.current_time() + limits.slow_window
        while True:
            chunk: bytes | None = None
            with anyio.CancelScope(deadline=deadline) as scope:
                chunk = await anext(chunks, None)
            if scope.cancelled_caught:
                raise RetryableResponse(
                    f"less than {limits.min_bytes:,} bytes arrived in {limits.slow_window:g} s"
                )
            if chunk is None:
                return
            counted += len(chunk)
            if counted >= limits.min_bytes:
                counted, deadline = 0, anyio.current_time() + limits.slow_window
            end = self._part.size + len(pending) + len(chunk)
            if end > self._max_bytes:
                raise self._too_large()
            if end > until:
                raise RetryableResponse("the file host sent more than it had announced", start_over=True)
            pending += chunk
            if len(pending) >= _BLOCK:
                block = bytes(pending)
                pending.clear()
                await self._run(partial(self._write, block))

    def _write(self, block: bytes | bytearray) -> None:
        self._part.write(block)
        if self._part.size - self._part.metadata.synced >= self._limits.sync_every:
            self._part.sync()

    async def _is_complete(self) -> bool:
        """Return whether the part is the complete file; if not, the byte after it has to be requested.

        Raises:
            RetryableResponse: it is not what it should be, or its end is missing.
        """
        kind, etag = self._spec.kind, self._part.metadata.etag
        verdict = await self._run(partial(verify.verify, self._part.path, kind, measured=self._measured))
        if verdict in (FileVerdict.ERROR_PAGE, FileVerdict.INVALID):
            reason = f"the content that the file host sent is not the {kind.value}"
            raise RetryableResponse(reason, start_over=True, wrong=verdict is FileVerdict.INVALID)
        if verdict is FileVerdict.TRUNCATED:
            reason = f"the end of the {kind.value} is missing in what the file host sent"
            raise RetryableResponse(reason, start_over=self._at_end or not etag)
        # A connection that broke can look like an end. The host is asked for the byte after it, unless it
        # can't answer that (no ETag, no ranges) or the same size has been found twice.
        same_size, self._size_checked = self._part.size == self._size_checked, self._part.size
        certain = verdict is FileVerdict.COMPLETE or self._at_end
        return certain or self._ignores_ranges or same_size or not etag
