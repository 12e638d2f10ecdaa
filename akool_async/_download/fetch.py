"""One file brought home: asked for, gone on with where it broke, looked at, and only then given its name."""

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
from akool_async._download import files as disk
from akool_async._download import verify
from akool_async._download.files import Part
from akool_async._download.network import KIB, DownloadLimits, FileHostSession, abort
from akool_async._download.ranges import (
    Complete,
    Continue,
    Head,
    InvalidContentError,
    Restart,
    RetryableResponse,
    read_head,
)
from akool_async._download.verify import Digest, FileVerdict, Kind
from akool_async._model.errors import DownloadError, exception_chain
from akool_async._model.redact import strip_query
from akool_async._retry import RetryPolicy

# When a line is too slow to wait for.


@attrs.define
class MinimumThroughput:
    """Counts what a line brings: every `least` bytes have `window` seconds.

    Args:
        least: bytes.
        window: seconds.
        began: when the count began, on a clock that never jumps.
    """

    least: int
    window: float
    began: float
    taken: int = 0

    @property
    def deadline(self) -> float:
        """When patience ends, unless enough comes before."""
        return self.began + self.window

    def record(self, count: int, now: float) -> None:
        """Say that so many bytes came."""
        self.taken += count
        if self.taken >= self.least:
            self.taken, self.began = 0, now


_BLOCK: Final = 256 * KIB
"""Bytes that are gathered before a thread writes them."""

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class FileSpec:
    """One file to be brought home.

    Attributes:
        url: where it is; may be signed.
        target: the name that it gets.
        kind: what it should be.
        owner: the job that it belongs to.
        replace: whether what stands under its name is replaced.
    """

    url: str = attrs.field(repr=False)
    target: Path
    kind: Kind
    owner: str
    replace: bool = False


class Fetch:
    """One file on its way.

    Args:
        wanted: the file.
        line: the way there.
        clock: time and chance.
        retry: how often a try that brought nothing is repeated; one that did is gone on with.
        limits: bounds.
    """

    def __init__(
        self,
        wanted: FileSpec,
        line: FileHostSession,
        clock: Clock,
        retry: RetryPolicy,
        limits: DownloadLimits,
    ) -> None:
        self._wanted = wanted
        self._line = line
        self._clock = clock
        self._retry = retry
        self._limits = limits
        self._part = Part(wanted.target, wanted.owner, strip_query(wanted.url))
        self._measured = False
        self._at_end = False
        self._rangeless = False
        self._looked_whole = -1
        self._begun = 0

    async def run(self) -> Digest:
        """Bring it home. A caller that is cancelled leaves a part that can be gone on with.

        Raises:
            NameTaken: something else stands under its name.
            DownloadError: it did not come whole; nothing of it stands under its name.
        """
        try:
            await self._disk(self._part.open)
            await self._download()
            found = await self._disk(partial(verify.digest, self._part.path))
            with anyio.CancelScope(shield=True):
                await self._disk(partial(self._part.publish, found, replace=self._wanted.replace))
        except BaseException as error:
            given_up = isinstance(error, disk.FileAlreadyExistsError)
            with anyio.CancelScope(shield=True):
                await self._disk(self._part.discard if given_up else self._part.suspend)
            raise
        return found

    async def _disk(self, work: Callable[[], T]) -> T:
        return await disk.run_blocking(self._wanted.target, work)

    async def _download(self) -> None:
        """Return when all of it is here."""
        fruitless = 0
        for _ in range(self._limits.max_attempts):
            before = self._part.size
            try:
                await self._try()
                if await self._is_whole():
                    return
            except RetryableResponse as error:
                failed = error
            else:
                continue
            self._looked_whole = -1
            if failed.start_over:
                await self._disk(partial(self._part.begin, "", None))
            fruitless = 0 if self._part.size > before else fruitless + 1
            await self._wait(max(fruitless, self._begun - 1), failed)
        raise DownloadError(f"The result did not come whole over {self._limits.max_attempts} connections.")

    async def _wait(self, failures: int, failed: RetryableResponse) -> None:
        wait = self._retry.delay(failures, 0.0, failed.retry_after) if failures else self._pause()
        if wait is None:
            kind = InvalidContentError if failed.wrong else DownloadError
            what = f"{self._wanted.target.name} could not be downloaded: {failed.reason}."
            raise kind(what, http_status=failed.http_status) from failed
        await self._clock.sleep(wait)

    def _pause(self) -> float:
        """Seconds before a line that brought something is taken up again."""
        return self._retry.delay(0, 0.0) or 0.0

    # One connection.

    async def _try(self) -> None:
        """Ask for what is missing, and take in what comes.

        Raises:
            Unusable: not all of what is missing came.
        """
        have, etag = self._part.size, self._part.about.etag
        if have and not etag:
            have = 0
        asked = {"range": f"bytes={have}-", "if-range": etag} if have else {}
        try:
            async with self._line.get(self._wanted.url, asked) as response:
                head = read_head(
                    response.status_code,
                    response.headers,
                    have=have,
                    etag=etag,
                    length=self._awaited,
                )
                await self._take_in(response, head)
        except (httpx.HTTPError, httpx.StreamError) as error:
            if any(isinstance(one, ssl.SSLCertVerificationError) for one in exception_chain(error)):
                raise DownloadError("The file host's TLS certificate was not accepted.") from error
            raise RetryableResponse(f"the connection broke ({type(error).__name__})") from error

    @property
    def _awaited(self) -> int | None:
        """Bytes of the whole file, unless so many are here: then whoever told that was wrong."""
        length = self._part.about.length
        return length if length is not None and length > self._part.size else None

    async def _take_in(self, response: httpx.Response, head: Head) -> None:
        match head:
            case Complete():
                self._at_end = self._measured = True
                return
            case Restart(length=length, etag=etag):
                await self._check_size(length)
                self._begun += 1
                before = self._part.about.etag
                self._rangeless = self._part.size > 0 and before != "" and before == etag
                await self._disk(partial(self._part.begin, etag, length))
                until, exact = length, length
            case Continue(until=until, length=exact):
                await self._check_size(exact)
        self._at_end = False
        await self._read(response, self._most if until is None else until)
        if self._part.size < (exact or until or 0):
            raise RetryableResponse("only a part of the file came")
        self._measured = exact is not None

    @property
    def _most(self) -> int:
        return (
            self._limits.max_video_bytes if self._wanted.kind is Kind.VIDEO else self._limits.max_text_bytes
        )

    async def _check_size(self, length: int | None) -> None:
        """Look whether a file of this length may come and has room.

        Raises:
            DownloadError: it is larger than any result.
            StorageError: it has no room.
        """
        if length is not None and length > self._most:
            raise self._too_large()
        rest = max((length or 0) - self._part.size, 0)
        await self._disk(
            partial(disk.ensure_free_space, self._wanted.target.parent, rest, self._limits.min_free_bytes)
        )

    def _too_large(self) -> DownloadError:
        return DownloadError(f"The file is larger than {self._most:,} bytes; it was not taken in.")

    async def _read(self, response: httpx.Response, until: int) -> None:
        """Add the body to the part, up to `until`; whatever ends it, what came is kept."""
        dog = MinimumThroughput(self._limits.min_bytes, self._limits.slow_window, anyio.current_time())
        chunks = response.aiter_raw()
        held = bytearray()
        try:
            while (chunk := await _next(chunks, dog)) is not None:
                self._check_end(self._part.size + len(held) + len(chunk), until)
                held += chunk
                if len(held) >= _BLOCK:
                    block, held = held, bytearray()
                    await self._disk(partial(self._put, block))
        except BaseException:  # a cancelled caller leaves no connection open either
            with anyio.CancelScope(shield=True):
                await abort(response, chunks)
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await self._disk(partial(self._put, held))

    def _check_end(self, end: int, until: int) -> None:
        if end > self._most:
            raise self._too_large()
        if end > until:
            raise RetryableResponse("more came than the file host had announced", start_over=True)

    def _put(self, block: bytearray) -> None:
        self._part.write(block)
        if self._part.size - self._part.about.synced >= self._limits.sync_every:
            self._part.sync()

    # What came.

    async def _is_whole(self) -> bool:
        """Whether what came is the whole file; False asks for the byte after it.

        Raises:
            Unusable: it is not.
        """
        kind, etag = self._wanted.kind, self._part.about.etag
        verdict = await self._disk(partial(verify.verify, self._part.path, kind, measured=self._measured))
        if verdict in (FileVerdict.ERROR_PAGE, FileVerdict.INVALID):
            wrong = verdict is FileVerdict.INVALID
            raise RetryableResponse(
                f"what the file host sent is not the {kind.value}", start_over=True, wrong=wrong
            )
        if verdict is FileVerdict.TRUNCATED:
            over = self._at_end or not etag
            raise RetryableResponse(
                f"what the file host sent lacks the end of the {kind.value}", start_over=over
            )
        twice, self._looked_whole = self._part.size == self._looked_whole, self._part.size
        return verdict is FileVerdict.COMPLETE or self._at_end or self._rangeless or twice or not etag


async def _next(chunks: AsyncIterator[bytes], dog: MinimumThroughput) -> bytes | None:
    """Give the next piece of a body, None at its end.

    Raises:
        Unusable: the line is too slow.
    """
    chunk: bytes | None = None
    with anyio.CancelScope(deadline=dog.deadline) as patience:
        chunk = await anext(chunks, None)
    if patience.cancelled_caught:
        raise RetryableResponse(f"less than {dog.least:,} bytes came in {dog.window:g} s")
    if chunk is not None:
        dog.record(len(chunk), anyio.current_time())
    return chunk
