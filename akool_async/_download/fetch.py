"""Download one file: request it, resume it over new connections, verify it, then give it its name."""

from __future__ import annotations

import errno
import re
import ssl
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

import anyio
import attrs
import httpx
from anyio.to_thread import run_sync

from akool_async._clock import Clock
from akool_async._download import files, verify
from akool_async._download.network import MIB, DownloadLimits, FileHostSession, abort
from akool_async._download.verify import Digest, FileVerdict, Kind
from akool_async._environment import describe_cause
from akool_async._model.errors import DownloadError, StorageError
from akool_async._model.redact import exception_chain, strip_query
from akool_async._retry import RetryPolicy

_BLOCK: Final = MIB
"""Bytes that are collected before a thread writes and hashes them."""

_MOST_WRITES: Final = 32
"""Chunks of one block that are written one by one."""

_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
_UNSATISFIED: Final = re.compile(r"bytes \*/(\d{1,19})", re.ASCII)
_STRONG_ETAG: Final = re.compile(r'"[\x21\x23-\x7e]+"')
_RETRYABLE: Final = frozenset({408, 425, 429})
_COMPRESSIONS: Final = frozenset({"gzip", "x-gzip", "compress", "x-compress", "deflate", "br", "zstd", "exi"})
"""Encodings that change the bytes; hosts name others, such as aws-chunked or utf-8, that do not."""

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
        raise files.FileAlreadyExistsError(f"{target} is there already.") from error
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
        self._part = files.Part(spec.target, spec.owner, strip_query(spec.url))
        self._pending: list[bytes] = []
        self._waiting = 0
        self._measured = False
        self._at_end = False
        self._ignores_ranges = False
        self._previous: Digest | None = None
        self._restarts = 0

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
            host, cause = urlsplit(self._spec.url).hostname, describe_cause(error)
            if any(isinstance(one, ssl.SSLCertVerificationError) for one in exception_chain(error)):
                words = f"The certificate of the file host {host} was not accepted: {cause}."
                raise DownloadError(words) from error
            raise RetryableResponse(f"the connection to {host} broke ({cause})") from error

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
        """Add chunks to the part; those that are not written yet stay in `_pending`."""
        limits, clock = self._limits, anyio.current_time
        counted, deadline, size, ended = 0, clock() + limits.slow_window, self._part.size, False
        while not ended:
            # One scope for a block, and few changes of its deadline: timers cost more than the chunks.
            with anyio.CancelScope(deadline=deadline) as scope:
                while self._waiting < _BLOCK:
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
                    self._pending.append(chunk)
                    self._waiting += len(chunk)
            if scope.cancelled_caught:
                raise RetryableResponse(
                    f"less than {limits.min_bytes:,} bytes arrived in {limits.slow_window:g} s"
                )
            if not ended:
                await self._write_pending()

    async def _write_pending(self) -> None:
        blocks, self._pending, self._waiting = self._pending, [], 0
        # Large chunks are written as they came: joining them would cost as much as sending them did.
        if len(blocks) > _MOST_WRITES:
            blocks = [b"".join(blocks)]
        await self._run(partial(self._write, blocks))

    def _write(self, blocks: list[bytes]) -> None:
        for block in blocks:
            self._part.write(block)
        if self._part.size - self._part.metadata.synced >= self._limits.sync_every:
            self._part.sync()

    async def _is_complete(self) -> bool:
        """Return whether the part is the complete file; if not, it has to be requested once more.

        Raises:
            RetryableResponse: it is not what it should be, or its end is missing.
        """
        kind, part, etag = self._spec.kind, self._part, self._part.metadata.etag
        arrived = self._measured or self._at_end
        verdict = await self._run(lambda: verify.verify(part.content, kind, measured=arrived))
        if verdict is FileVerdict.INVALID:
            what = await self._run(lambda: verify.describe_content(part.content))
            reason = f"the file host sent {what}, which is not the {kind.value}"
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


# What a response means for a partly downloaded file: the rules of HTTP ranges, without I/O.


@attrs.define
class RetryableResponse(Exception):
    """This response can't be used; another attempt may bring a better one.

    Attributes:
        reason: in words.
        start_over: whether the bytes received so far are of no use any more.
        arrived: whether all bytes that the host announced are here, and their content is the reason.
        playable: whether they begin as a video does.
        http_status: of the response.
        retry_after: seconds that the host asked for.
    """

    reason: str
    start_over: bool = False
    arrived: bool = False
    playable: bool = False
    http_status: int | None = None
    retry_after: float | None = None


@attrs.frozen(kw_only=True)
class Body:
    """What the headers of a usable response announce; None where the host does not say.

    Attributes:
        restarts: whether the body is the whole file, from its first byte; else it continues the part.
        end: where the body ends in the file.
        length: bytes of the whole file.
        etag: the file's strong ETag, or "".
    """

    restarts: bool
    end: int | None
    length: int | None
    etag: str


def read_range(
    status: int, headers: Mapping[str, str], *, received: int, etag: str, length: int | None
) -> Body | None:
    """Return what the body of a response is, None if the file has no byte after those received before.

    Args:
        status: of the response.
        headers: of the response, with names in lower case.
        received: bytes received before; the range that was requested begins there.
        etag: their strong ETag, or "".
        length: bytes of the whole file, as far as known.

    Raises:
        RetryableResponse: another attempt may help.
        DownloadError: no attempt will.
    """
    if status == 416 and received:
        unsatisfied = _UNSATISFIED.fullmatch(headers.get("content-range", "").strip())
        if unsatisfied is None or int(unsatisfied[1]) != received:
            raise RetryableResponse("the file is shorter than what was received before", start_over=True)
        return None
    if status >= 500 or status in _RETRYABLE:
        wait = headers.get("retry-after", "").strip()
        seconds = float(wait[:6]) if wait.isascii() and wait.isdigit() else None
        raise RetryableResponse(
            f"the file host answered HTTP {status}", http_status=status, retry_after=seconds
        )
    if status not in (200, 206):
        raise DownloadError(f"The file host answered HTTP {status}.", http_status=status)
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if status == 200:
        # Hosts are often wrong about types, so the content decides; but a page must not replace a good part.
        if received and media_type == "text/html" and _strong_etag(headers) != etag:
            raise RetryableResponse("the file host sent a page instead of the file")
        size = _content_length(headers)
        return Body(restarts=True, end=size, length=size, etag=_strong_etag(headers))
    if media_type.startswith("multipart/"):
        raise RetryableResponse("the file host sent several ranges in one answer", start_over=True)
    return _read_partial(headers, received=received, etag=etag, length=length)


def _read_partial(headers: Mapping[str, str], *, received: int, etag: str, length: int | None) -> Body:
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    if found is None:
        raise RetryableResponse("the file host sent a range that was not requested", start_over=True)
    first, last = int(found[1]), int(found[2])
    total = None if found[3] == "*" else int(found[3])
    whole = first == 0 and (not received or last + 1 == total)  # unasked, and as good as HTTP 200
    if not (whole or first == received) or last < first or (total is not None and last >= total):
        raise RetryableResponse("the file host sent another range than the one requested", start_over=True)
    if _content_length(headers) not in (None, last - first + 1):
        raise RetryableResponse("the file host contradicts itself about the range's length", start_over=True)
    if whole:
        return Body(restarts=True, end=last + 1, length=total, etag=_strong_etag(headers))
    # Bytes of two versions of a file must never end up in one: it would look complete and be damaged.
    if _strong_etag(headers) != etag or (None not in (total, length) and total != length):
        raise RetryableResponse("the file changed at its host", start_over=True)
    if not _COMPRESSIONS.isdisjoint(re.split(r"[\s,]+", headers.get("content-encoding", "").lower())):
        raise RetryableResponse("the file host compressed the range although it was asked not to")
    return Body(restarts=False, end=last + 1, length=length if total is None else total, etag=etag)


def _strong_etag(headers: Mapping[str, str]) -> str:
    """Return the ETag if it promises the same bytes, else ""; a weak one (W/) does not."""
    etag = headers.get("etag", "").strip()
    return etag if _STRONG_ETAG.fullmatch(etag) else ""


def _content_length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
