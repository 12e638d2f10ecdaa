"""Look into a video, an audio file or subtitles, on this machine or over HTTP, and report what is in it.

FFmpeg reads from one file object and may open nothing else. A remote video is read in a few ranges, so that
a film of 300 MB costs some hundred kilobytes. Needs PyAV, from the extra `akool-async[media]`.
"""

from __future__ import annotations

import io
import math
import os
import re
import stat
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

import anyio
import attrs
import httpx
from anyio import from_thread, to_thread

from akool_async._download.verify import HEAD
from akool_async._environment import describe_cause, needs_extra
from akool_async._library_logs import SENDING
from akool_async._media.content import find_other_file, inspect_subtitles
from akool_async._model.media import READ_LIMIT, MediaError, MediaFacts, MediaKind, MediaProblem
from akool_async._model.redact import detach, drop_frames, sanitize

with needs_extra("media", "Inspections of videos"):
    import av
    from av.container import InputContainer
    from av.error import FFmpegError
    from av.stream import Disposition, Stream
    from av.video.stream import VideoStream

_FIRST_BLOCK: Final = 128 * 2**10
_LARGEST_BLOCK: Final = 2 * 2**20
_LENIENT_METADATA: Final[dict[str, Any]] = (
    {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}
)
"""A title that is not UTF-8 is no reason to refuse a video. PyAV 19 has no such option."""

_BUFFER: Final = 64 * 2**10
_HEAD: Final = 4096
_READ: Final = os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_NONBLOCK", "O_BINARY"))
_FIRST_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
_MAX_BOXES: Final = 8
"""Boxes of an MP4 file that are looked at; only a fragmented file has more."""

_MAX_PACKETS: Final = 100
"""Packets of video without a picture before the file counts as damaged."""

# No hls, dash or concat: such a file lists other files, with which a stranger could make this machine open
# its own files or addresses of its network.
_VIDEO_FORMATS: Final = "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv"
_FORMATS: Final = {
    MediaKind.VIDEO: _VIDEO_FORMATS,
    MediaKind.AUDIO: f"{_VIDEO_FORMATS},mp3,wav,w64,aac,flac,ogg,aiff,caf,amr,asf,ac3,eac3,au,wv",
}
_OPTIONS: Final = {"protocol_whitelist": "none", "probesize": str(2**20)}
_MAX_PIXELS: Final = 2**26
_RANGE: Final = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})", re.ASCII)
_REFUSALS: Final = frozenset({401, 403, 404, 410})
"""HTTP statuses that another reader of the same URL would be answered with, too."""


def inspect_file(source: Path | bytes, kind: MediaKind = MediaKind.VIDEO) -> MediaFacts:
    """Inspect a file on this machine, given its path or content. This blocks: call it in a worker thread.

    Raises:
        MediaError: it is not a complete file of that kind, or not a file at all.
        OSError: the file can't be read.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else _opened(source) as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        return _inspect(file, size, kind)


def _opened(path: Path) -> BinaryIO:
    """Open a file; a pipe of a video's name would be waited for without end."""
    descriptor = os.open(path, _READ)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise MediaError(f"{sanitize(path)} is a folder or a device, not a file.")
    return os.fdopen(descriptor, "rb")


@attrs.frozen(kw_only=True)
class Inspection:
    """What a look into a remote video has found.

    Attributes:
        facts: what is in it; None if it has not changed since it had the ETag that was known.
        etag: names this version of it; "" if the server names none.
        requests: GETs that were sent, without redirects.
        bytes_read: bytes of it that were received.
    """

    facts: MediaFacts | None
    etag: str
    requests: int
    bytes_read: int


async def inspect_url(
    url: str,
    *,
    http: httpx.AsyncClient,
    read_limit: int = READ_LIMIT,
    timeout: float = 60.0,  # noqa: ASYNC109 - it ends in a MediaError, as every other failure does
    known_etag: str = "",
    kind: MediaKind = MediaKind.VIDEO,
) -> Inspection:
    """Inspect a video or an audio file on a server by reading a few ranges of it, with GET alone.

    If the server does not support ranges, the body is read from its start, within the same limit. A caller
    that is cancelled waits until FFmpeg has noticed.

    Args:
        url: address of the file, http or https.
        http: the client for the requests. It decides which hosts may be reached, also after a redirect: use
            a transport that refuses private addresses if the URL is a stranger's, and no credentials.
        read_limit: bytes of the file that are read at most, 1 or more.
        timeout: seconds for the whole inspection.
        known_etag: the ETag with which it was inspected before; one GET then tells whether it has changed.
        kind: what the file is to be. The facts of other files than videos have no picture: a size of 0x0, no
            encoding.

    Raises:
        MediaError: it can't be fetched, or is not a complete file of that kind.
    """
    file = _RemoteFile(url, http, read_limit, known_etag, kind)
    outside = SENDING.set(True)
    try:
        with anyio.fail_after(timeout):
            await file.fetch(0)
            facts = None if file.unchanged else await to_thread.run_sync(_inspect, file, file.size, kind)
    except TimeoutError:
        late = f"The server did not send enough of the {kind} within {timeout:g} seconds."
        raise file.counted(MediaError(late, problem=MediaProblem.UNREACHABLE)) from None
    except MediaError as error:
        # What it was caused by, and the frames below, hold requests, which a redirect may have signed.
        raise file.counted(detach(error)) from None
    except anyio.get_cancelled_exc_class() as error:  # as with a caller's time-out
        raise drop_frames(error)  # noqa: B904 - the same error
    finally:
        SENDING.reset(outside)
    return Inspection(facts=facts, etag=file.etag, requests=file.requests, bytes_read=file.bytes_read)


def _inspect(file: BinaryIO | _RemoteFile, size: int, kind: MediaKind) -> MediaFacts:
    """Read the index, then decode a picture or sound: an index alone does not prove that there is any."""
    if not size:
        raise MediaError("The file is empty.", problem=MediaProblem.EMPTY)
    if kind is MediaKind.SUBTITLES:
        return inspect_subtitles(file.read(HEAD), size)
    head = file.read(_HEAD)
    declared = _declared_size(file, head)
    if declared > size:
        raise MediaError(
            f"The file is cut short: it has {size} bytes of {declared}.", problem=MediaProblem.TRUNCATED
        )
    file.seek(0)
    facts, failed = None, None
    try:
        with open_media(file, kind) as container:
            facts = _read_index(container, size, kind)
            if kind is MediaKind.VIDEO:
                complete = _decode(container, facts)
            else:
                complete = facts
                _decode_sound(container)
    except MediaError as error:
        failed = error
    except (FFmpegError, ValueError):
        failed = _unrecognized(head, kind)
    # FFmpeg takes a failed read for the end of the file, so the reason comes first, also after a success.
    reason: BaseException | None = getattr(file, "error", None) or failed
    if reason is None:
        return complete
    if facts is not None and isinstance(reason, MediaError) and reason.problem is MediaProblem.READ_LIMIT:
        return facts
    raise reason


def open_media(file: BinaryIO | _RemoteFile, kind: MediaKind = MediaKind.VIDEO) -> InputContainer:
    """Open a stranger's file for reading: formats of its kind only, and no other file than this one."""

    def refuse(*_: object) -> NoReturn:
        raise ValueError("a media file must not refer to other files")

    options = {**_OPTIONS, "format_whitelist": _FORMATS[kind]}
    container: InputContainer = av.open(
        file, "r", container_options=options, buffer_size=_BUFFER, io_open=refuse, **_LENIENT_METADATA
    )
    return container


def _read_index(container: InputContainer, size: int, kind: MediaKind) -> MediaFacts:
    video = find_video(container) if kind is MediaKind.VIDEO else None
    codec = "" if video is None else _codec_name(video)
    width, height = (0, 0) if video is None or codec == "unknown" else (video.width, video.height)
    if codec not in ("", "unknown") and not 0 < width * height <= _MAX_PIXELS:
        raise MediaError(f"A picture size of {width}x{height} pixels is not possible in a video.")
    names = container.format.name.split(",")
    audio = container.streams.audio
    return MediaFacts(
        container="mp4" if "mp4" in names else names[0],
        bytes=size,
        seconds=container.duration / av.time_base if container.duration else None,
        width=width,
        height=height,
        fps=float(video.average_rate) if video is not None and video.average_rate else None,
        video_codec=codec,
        audio_codec=_codec_name(audio[0]) if audio else None,
        has_subtitles=bool(container.streams.subtitles),
    )


def find_video(container: InputContainer) -> VideoStream:
    """Return the video stream, or raise MediaError; the cover image of a song is not one."""
    for stream in container.streams.video:
        if Disposition.attached_pic not in stream.disposition:
            return stream
    found = "audio" if container.streams.audio else "other data"
    raise MediaError(f"There is no video in the file, only {found}.")


def _codec_name(stream: Stream) -> str:
    """Return the name of the encoding and not of its decoder, as "av1" for "libdav1d"."""
    context: Any = stream.codec_context
    return "unknown" if context is None else str(context.codec.canonical_name)


def _decode(container: InputContainer, facts: MediaFacts) -> MediaFacts:
    """Decode one picture, and read to the end to measure the length if the index does not contain it."""
    video = find_video(container)
    decoded, packets = facts.video_codec == "unknown", 0
    start, end = math.inf, -math.inf
    if not decoded:
        # A few bytes can describe a picture of gigabytes.
        video.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}
    for packet in container.demux(video, *container.streams.audio[:1]):
        if packet.stream.index == video.index and not decoded:
            packets += 1
            with suppress(FFmpegError):  # a player skips such a packet too
                decoded = bool(packet.decode())
            if packets > _MAX_PACKETS:
                break
        if decoded and facts.seconds is not None:
            return facts
        moment = packet.dts if packet.pts is None else packet.pts
        if moment is not None and packet.time_base:
            start = min(start, float(moment * packet.time_base))
            end = max(end, float((moment + (packet.duration or 0)) * packet.time_base))
    if not decoded:
        raise MediaError("No picture of the video can be decoded.")
    return attrs.evolve(facts, seconds=end - start if end > start else None)


def _decode_sound(container: InputContainer) -> None:
    """Decode some sound of the first audio track, or raise MediaError."""
    if not container.streams.audio:
        raise MediaError("There is no audio track in the file.")
    audio = container.streams.audio[0]
    if _codec_name(audio) == "unknown":
        return
    for packet in islice(container.demux(audio), _MAX_PACKETS):
        with suppress(FFmpegError):  # a player skips such a packet too
            if packet.decode():
                return
    raise MediaError("No sound of the file can be decoded.")


def _declared_size(file: BinaryIO | _RemoteFile, head: bytes) -> int:
    """Return the size that an MP4, Matroska or WebM file declares, 0 if it does not."""
    segment = head.find(b"\x18\x53\x80\x67") + 4
    if head.startswith(b"\x1a\x45\xdf\xa3") and 4 <= segment < len(head) - 8:
        length = 9 - head[segment].bit_length()  # the first set bit encodes how many bytes the size has
        unknown = (1 << 7 * length) - 1
        size = int.from_bytes(head[segment : segment + length], "big") & unknown
        return 0 if size == unknown else segment + length + size
    end = 0
    for _ in range(_MAX_BOXES if head[4:8] in _FIRST_BOXES else 0):
        file.seek(end)
        box = file.read(16)
        size = int.from_bytes(box[:4], "big")
        if len(box) < 8 or size == 0:  # a box of size 0 reaches to the end of the file
            break
        end += max(8, int.from_bytes(box[8:], "big") if size == 1 else size)
    return end


def _unrecognized(head: bytes, wanted: MediaKind) -> MediaError:
    """Return an error that names what a file looks like that FFmpeg does not recognize."""
    other = find_other_file(head, wanted)
    if other is not None:
        return other
    if head[4:8] in _FIRST_BOXES:
        return MediaError("The file is cut short or damaged.", problem=MediaProblem.TRUNCATED)
    return MediaError(f"The file is not {wanted.one} in a supported format.")


def _unreachable(message: str) -> NoReturn:
    raise MediaError(message, problem=MediaProblem.UNREACHABLE)


class _RemoteFile:
    """A file on a server, read from a worker thread; blocks that were read are kept."""

    def __init__(
        self, url: str, http: httpx.AsyncClient, limit: int, known_etag: str, kind: MediaKind
    ) -> None:
        self._kind = kind
        self._url: str | httpx.URL = url
        self._http = http
        self._limit = self._budget = limit
        self._blocks: list[tuple[int, bytes]] = []
        self._position = 0
        self._next_size = _FIRST_BLOCK
        self._known_etag = known_etag
        self.etag = ""
        self.unchanged = False
        self.requests = 0
        self.bytes_read = 0
        self.size = -1  # known after the first fetch
        self.error: BaseException | None = None  # kept here: FFmpeg passes no exception on but its own

    def counted(self, error: MediaError) -> MediaError:
        """Return the error with what it took to come to it."""
        error.requests, error.bytes_read = self.requests, self.bytes_read
        return error

    def read(self, size: int = -1, /) -> bytes:
        if self.error is not None or self._position >= self.size:
            return b""
        rest = memoryview(b"")
        for start, block in self._blocks:
            if start <= self._position < start + len(block):
                rest = memoryview(block)[self._position - start :]
        try:
            rest = rest or from_thread.run(self.fetch, self._position)
        except BaseException as error:  # noqa: BLE001 - a cancellation too has to wait until FFmpeg returns
            self.error = error
            return b""
        data = bytes(rest[: size if size >= 0 else None])
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}
        self._position = origins[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position

    async def fetch(self, start: int) -> memoryview:
        """Read a block that starts at a position; blocks that follow each other become larger."""
        last = self._blocks[-1] if self._blocks else (-1, b"")
        in_order = last[0] + len(last[1]) == start
        self._next_size = min(self._next_size * 2, _LARGEST_BLOCK) if in_order else _FIRST_BLOCK
        wanted = min(self._next_size, self._budget)
        if wanted < 1:
            raise self._limit_error("they do not contain its index")
        # Never HEAD: presigned URLs are made for one method and answer any other with 403.
        headers = {"range": f"bytes={start}-{start + wanted - 1}", "accept-encoding": "identity"}
        if self._known_etag and self.size < 0:
            headers["if-none-match"] = self._known_etag
        request = self._http.stream("GET", self._url, headers=headers, follow_redirects=True)
        self.requests += 1
        try:
            async with request as response:
                if self.size < 0:
                    self.etag = response.headers.get("etag", "")
                    # A server that knows no conditions sends the part again; it need not be read.
                    same = response.status_code in (200, 206) and self.etag == self._known_etag
                    self.unchanged = bool(self._known_etag) and (same or response.status_code == 304)
                if self.unchanged:
                    self.etag = self._known_etag
                    return memoryview(b"")
                block, size = await self._receive(response, start, wanted)
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            _unreachable(
                f"The {self._kind} could not be fetched because of the network: {describe_cause(error)}."
            )
        # httpx lets out what `idna` and codecs raise, too, about a host's name: a server redirects to any.
        except (httpx.InvalidURL, ValueError):
            _unreachable(f"The URL of the {self._kind}, or one that its server redirects to, is not valid.")
        if self.size not in (-1, size):
            _unreachable(f"The {self._kind} changed while it was read.")
        self.size = size
        self._blocks.append((start, block))
        return memoryview(block)

    async def _receive(self, response: httpx.Response, start: int, wanted: int) -> tuple[bytes, int]:
        """Return the requested bytes and the size of the file; all of it if the server ignores ranges."""
        self._url = response.url  # the next range goes there without a redirect
        if response.status_code in _REFUSALS:
            raise MediaError(
                f"The server answered HTTP {response.status_code}: the URL has expired, is not public or "
                "leads to nothing.",
                problem=MediaProblem.REFUSED,
                advice="Open it in a private browser window: the vendor gets the same answer.",
            )
        if response.headers.get("content-encoding", "identity") != "identity":
            _unreachable(f"The server compresses the {self._kind}, so that its parts can't be read.")
        if response.status_code == 416 and self.size < 0:
            return b"", 0
        if response.status_code == 200 and self.size < 0:
            length = response.headers.get("content-length", "")
            too_large = length.isdecimal() and int(length) > self._limit
            body = b"" if too_large else await self._read_body(response, self._limit + 1)
            if too_large or len(body) > self._limit:
                raise self._limit_error("the server does not support ranges, and the file is larger")
            return body, len(body)
        found = _RANGE.fullmatch(response.headers.get("content-range", ""))
        if response.status_code != 206 or found is None or int(found[1]) != start:
            _unreachable(f"The server answered HTTP {response.status_code} instead of a part of the file.")
        size = int(found[2])
        body = await self._read_body(response, wanted)
        if len(body) < min(wanted, size - start):  # else a hostile server could cause millions of requests
            _unreachable(f"The server sent less of the {self._kind} than was requested.")
        return body, size

    async def _read_body(self, response: httpx.Response, limit: int) -> bytes:
        """Read `limit` bytes at most, however much the server sends."""
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            self.bytes_read += len(chunk)
            if len(body) > limit:
                break
        self._budget -= min(len(body), limit)
        return bytes(body[:limit])

    def _limit_error(self, reason: str) -> MediaError:
        message = f"The {self._kind} can't be inspected by reading {self._limit} bytes of it: {reason}."
        return MediaError(message, problem=MediaProblem.READ_LIMIT)
