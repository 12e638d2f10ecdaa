"""Look into a video, on this machine or over HTTP, and report what is in it.

FFmpeg reads from a file object of ours and from nothing else: playlists, which name other files, are not
among the formats that it may recognize, and whatever it wants to open besides is refused. A remote video
is read in a few ranges, so that a film of 300 MB costs some hundred kilobytes.

Needs PyAV, from the extra `akool-async[media]`.
"""

from __future__ import annotations

import enum
import io
import math
import re
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

import anyio
import attrs
import av
import httpx
from anyio import from_thread, to_thread
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from akool_async._model.errors import CallerError

__all__ = [
    "READ_LIMIT",
    "MediaError",
    "MediaFacts",
    "MediaProblem",
    "find_video",
    "inspect_file",
    "inspect_url",
    "open_video",
]

READ_LIMIT: Final = 8 * 2**20
"""How many bytes of a remote video are read at most. The index of an hour of video takes about 2 MiB."""

_FIRST_BLOCK: Final = 128 * 2**10
_LARGEST_BLOCK: Final = 2 * 2**20
_BUFFER: Final = 64 * 2**10
_HEAD: Final = 4096
_FIRST_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
_BOXES: Final = 8
"""Boxes of an MP4 file that are looked at: there are few, but for a file in fragments."""

_TRIES: Final = 100
"""Packets of video without a picture before a file is given up."""

# No hls, dash or concat: such a file is a list of other files, with which a stranger could make this
# machine open its own files or addresses of its network.
_FORMATS: Final = "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv"
_OPTIONS: Final = {"format_whitelist": _FORMATS, "protocol_whitelist": "none", "probesize": str(2**20)}
_MOST_PIXELS: Final = 2**26
_RANGE: Final = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})", re.ASCII)
_OTHER_FILES: Final = {
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"<?xml": "an XML document",
    b"%pdf": "a PDF document",
    b"#extm3u": "a playlist",
    b"ffconcat": "a playlist",
    b"{": "a JSON document",
}


class MediaProblem(enum.Enum):
    """Why a video could not be inspected."""

    UNREACHABLE = "unreachable"
    """The server could not be reached, refused, or broke HTTP's rules."""
    EMPTY = "empty"
    """The file has no bytes."""
    NOT_VIDEO = "not a video"
    """A web page, a document, a playlist, sound alone, or a damaged file."""
    TRUNCATED = "truncated"
    """The file ends before its own index says that it does."""
    READ_LIMIT = "read limit"
    """The answer takes more bytes than may be read."""


class MediaError(CallerError):
    """A video could not be inspected.

    Args:
        message: what is wrong, as a sentence without the URL, which may be signed.
        problem: the same for programs.
    """

    impact = "Nothing was sent to the vendor and nothing was spent."
    advice = "Check that the URL leads to the video file itself, and that the whole file was uploaded."

    def __init__(self, message: str, *, problem: MediaProblem = MediaProblem.NOT_VIDEO) -> None:
        super().__init__(message)
        self.problem = problem


@attrs.frozen(kw_only=True)
class MediaFacts:
    """What is in a video, as its container says.

    Attributes:
        container: FFmpeg's name of the file format; "mp4" also stands for MOV and M4V.
        bytes: size of the file.
        seconds: length; None where the file does not say and is too large to be measured.
        width: in pixels, 0 where the encoding is unknown.
        height: the same.
        fps: frames a second on average; None where there is no rate, as with a single picture.
        video_codec: FFmpeg's name of the encoding, such as "h264", or "unknown".
        audio_codec: the same for the first audio track; None if there is none.
        has_subtitles: whether there is a subtitle track.
    """

    container: str
    bytes: int
    seconds: float | None
    width: int
    height: int
    fps: float | None
    video_codec: str
    audio_codec: str | None
    has_subtitles: bool

    @property
    def has_audio(self) -> bool:
        """Whether there is an audio track."""
        return self.audio_codec is not None


def inspect_file(source: Path | bytes) -> MediaFacts:
    """Inspect a video on this machine. This blocks: call it in a worker thread.

    Args:
        source: path of the file, or its content.

    Raises:
        MediaError: it is not a whole video file.
        OSError: the file can't be read.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        return _inspect(file, size)


async def inspect_url(
    url: str,
    *,
    http: httpx.AsyncClient,
    read_limit: int = READ_LIMIT,
    timeout: float = 60.0,  # noqa: ASYNC109 - its end is told in a MediaError, as every other failure is
) -> MediaFacts:
    """Inspect a video on a server by reading a few ranges of it, with GET alone.

    Presigned URLs are made for one method and answer HEAD with 403. Where a server does not know ranges,
    the body is read from its start, within the same limit. PyAV works in a thread; a caller that is
    cancelled waits until FFmpeg has noticed.

    Args:
        url: address of the video, http or https.
        http: the client that asks. It decides which hosts may be reached, also after a redirect: give it
            a transport that refuses private addresses where the URL is a stranger's. It should carry
            no credentials.
        read_limit: bytes of the file that are read at most, 1 or more.
        timeout: seconds for the whole inspection.

    Raises:
        MediaError: it can't be fetched, or is not a whole video file.
    """
    file = _RemoteFile(url, http, read_limit)
    try:
        with anyio.fail_after(timeout):
            await file.fetch(0)
            return await to_thread.run_sync(_inspect, file, file.size)
    except TimeoutError:
        _unreachable(f"The server did not send what was needed within {timeout:g} seconds.")


def _inspect(file: BinaryIO | _RemoteFile, size: int) -> MediaFacts:
    """Read the index, then decode a picture: an index alone does not prove that there is a film."""
    if not size:
        raise MediaError("The file is empty.", problem=MediaProblem.EMPTY)
    head = file.read(_HEAD)
    needed = _declared_size(file, head)
    if needed > size:
        raise MediaError(
            f"The file is cut short: it has {size} bytes of {needed}.", problem=MediaProblem.TRUNCATED
        )
    file.seek(0)
    facts = None
    failed: BaseException | None
    try:
        with open_video(file) as container:
            facts = _read_index(container, size)
            played = _play(container, facts)
    except (FFmpegError, ValueError, MediaError) as error:
        failed = _broken_off(file) or (error if isinstance(error, MediaError) else _explained(head))
    else:
        failed = _broken_off(file)  # which FFmpeg took for the end of the file
        if failed is None:
            return played
    if facts is not None and isinstance(failed, MediaError) and failed.problem is MediaProblem.READ_LIMIT:
        return facts
    raise failed


def _broken_off(file: BinaryIO | _RemoteFile) -> BaseException | None:
    return file.error if isinstance(file, _RemoteFile) else None


def open_video(file: BinaryIO | _RemoteFile) -> InputContainer:
    """Open a stranger's video for reading: real video formats only, and no other file than this one.

    Args:
        file: has `read`, `seek` and `tell`.

    Raises:
        FFmpegError: it is not a video.
    """
    return av.open(
        file,
        "r",
        container_options=_OPTIONS,
        metadata_errors="ignore",
        buffer_size=_BUFFER,
        io_open=_refuse_to_open,
    )


def _refuse_to_open(*_: object) -> NoReturn:
    raise ValueError("a video has no business with other files")


def _read_index(container: InputContainer, size: int) -> MediaFacts:
    film = find_video(container)
    codec = _codec_name(film)
    width, height = (0, 0) if codec == "unknown" else (film.width, film.height)
    if codec != "unknown" and not 0 < width * height <= _MOST_PIXELS:
        raise MediaError(f"A picture of {width}x{height} pixels is not a video's.")
    names = container.format.name.split(",")
    audio = container.streams.audio
    return MediaFacts(
        container="mp4" if "mp4" in names else names[0],
        bytes=size,
        seconds=container.duration / av.time_base if container.duration else None,
        width=width,
        height=height,
        fps=float(film.average_rate) if film.average_rate else None,
        video_codec=codec,
        audio_codec=_codec_name(audio[0]) if audio else None,
        has_subtitles=bool(container.streams.subtitles),
    )


def find_video(container: InputContainer) -> VideoStream:
    """Return the stream that is the film, which the cover image of a song is not.

    Raises:
        MediaError: there is none.
    """
    for stream in container.streams.video:
        if Disposition.attached_pic not in stream.disposition:
            return stream
    other = "audio" if container.streams.audio else "other data"
    raise MediaError(f"There is no video in the file, only {other}.")


def _codec_name(stream: Stream) -> str:
    """Return the encoding's name, whichever decoder reads it: "av1" also where "libdav1d" does."""
    context: Any = stream.codec_context
    return "unknown" if context is None else str(context.codec.canonical_name)


def _play(container: InputContainer, facts: MediaFacts) -> MediaFacts:
    """Decode one picture, and measure the length by walking to the end where the index does not tell it."""
    film = find_video(container)
    seen, tries = facts.video_codec == "unknown", 0
    start, end = math.inf, -math.inf
    if not seen:
        film.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
    for packet in container.demux(film, *container.streams.audio[:1]):
        if packet.stream.index == film.index and not seen:
            seen, tries = _decodes(packet), tries + 1
            if tries > _TRIES:
                break
        if seen and facts.seconds is not None:
            return facts
        moment = packet.dts if packet.pts is None else packet.pts
        if moment is not None and packet.time_base:
            start = min(start, float(moment * packet.time_base))
            end = max(end, float((moment + (packet.duration or 0)) * packet.time_base))
    if not seen:
        raise MediaError("No picture of the video can be decoded.")
    return attrs.evolve(facts, seconds=end - start if end > start else None)


def _decodes(packet: Packet[Any]) -> bool:
    try:
        return bool(packet.decode())
    except FFmpegError:  # a player skips such a packet too
        return False


def _declared_size(file: BinaryIO | _RemoteFile, head: bytes) -> int:
    """Return how large an MP4, Matroska or WebM file says that it is, 0 where it does not say."""
    segment = head.find(b"\x18\x53\x80\x67") + 4
    if head.startswith(b"\x1a\x45\xdf\xa3") and 4 <= segment < len(head) - 8:
        length = 9 - head[segment].bit_length()  # the first set bit tells how many bytes the size has
        unknown = (1 << 7 * length) - 1
        size = int.from_bytes(head[segment : segment + length], "big") & unknown
        return 0 if size == unknown else segment + length + size
    end = 0
    for _ in range(_BOXES if head[4:8] in _FIRST_BOXES else 0):
        file.seek(end)
        box = file.read(16)
        size = int.from_bytes(box[:4], "big")
        if len(box) < 8 or size == 0:  # a box of size 0 reaches to the end of the file
            break
        end += max(8, int.from_bytes(box[8:], "big") if size == 1 else size)
    return end


def _explained(head: bytes) -> MediaError:
    """Say what a file that FFmpeg does not recognize looks like."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    kind = next((name for start, name in _OTHER_FILES.items() if text.startswith(start)), "")
    if kind:
        return MediaError(f"This is {kind}, not a video.")
    if head[4:8] in _FIRST_BOXES:
        return MediaError("The file is cut short or damaged.", problem=MediaProblem.TRUNCATED)
    return MediaError("The file is not a video that can be read.")


def _unreachable(message: str) -> NoReturn:
    raise MediaError(message, problem=MediaProblem.UNREACHABLE)


class _RemoteFile:
    """A file on a server, read through a worker thread; what has been read is kept.

    Attributes:
        size: of the file in bytes, known after the first `fetch`.
        error: what broke off the reading. FFmpeg passes no exception on that is not its own.
    """

    def __init__(self, url: str, http: httpx.AsyncClient, limit: int) -> None:
        self._url: str | httpx.URL = url
        self._http = http
        self._limit = self._left = limit
        self._blocks: list[tuple[int, bytes]] = []
        self._position = 0
        self._next_size = _FIRST_BLOCK
        self.size = -1
        self.error: BaseException | None = None

    def read(self, size: int = -1, /) -> bytes:
        """Return some bytes from the current position on, none at the end or after an error."""
        if self.error is not None or self._position >= self.size:
            return b""
        try:
            rest = self._kept() or from_thread.run(self.fetch, self._position)
        except BaseException as error:  # noqa: BLE001 - a cancellation too has to wait until FFmpeg returns
            self.error = error
            return b""
        piece = bytes(rest[: size if size >= 0 else None])
        self._position += len(piece)
        return piece

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to another position."""
        origins = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}
        self._position = origins[whence] + offset
        return self._position

    def tell(self) -> int:
        """Return the current position."""
        return self._position

    def _kept(self) -> memoryview:
        for start, block in self._blocks:
            if start <= self._position < start + len(block):
                return memoryview(block)[self._position - start :]
        return memoryview(b"")

    async def fetch(self, start: int) -> memoryview:
        """Read a block that starts at a position; blocks that follow each other become larger."""
        last = self._blocks[-1] if self._blocks else (-1, b"")
        in_order = last[0] + len(last[1]) == start
        self._next_size = min(self._next_size * 2, _LARGEST_BLOCK) if in_order else _FIRST_BLOCK
        wanted = min(self._next_size, self._left)
        if wanted < 1:
            self._too_much("what has to be known is not in them")
        headers = {"range": f"bytes={start}-{start + wanted - 1}", "accept-encoding": "identity"}
        request = self._http.stream("GET", self._url, headers=headers, follow_redirects=True)
        try:
            async with request as response:
                block = await self._body(response, start, wanted)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            _unreachable(f"The video could not be fetched ({type(error).__name__}).")
        self._blocks.append((start, block))
        return memoryview(block)

    async def _body(self, response: httpx.Response, start: int, wanted: int) -> bytes:
        """Check an answer and read what was asked for, or all of it where the server ignores ranges."""
        self._url = response.url  # redirected once is enough
        if response.headers.get("content-encoding", "identity") != "identity":
            _unreachable("The server compresses the video, so that its parts can't be read.")
        if response.status_code == 416 and self.size < 0:
            return self._learn_size(b"", 0)
        if response.status_code == 200 and self.size < 0:
            # The server does not know ranges: only what is small can be inspected.
            length = response.headers.get("content-length", "")
            too_large = length.isdecimal() and int(length) > self._limit
            body = b"" if too_large else await self._read(response, self._limit + 1)
            if too_large or len(body) > self._limit:
                self._too_much("the server does not support ranges, and the file is larger")
            return self._learn_size(body, len(body))
        found = _RANGE.fullmatch(response.headers.get("content-range", ""))
        if response.status_code != 206 or found is None or int(found[1]) != start:
            _unreachable(f"The server answered HTTP {response.status_code} instead of a part of the video.")
        size = int(found[2])
        body = await self._read(response, wanted)
        if len(body) < min(wanted, size - start):  # else a hostile server could make this take millions
            _unreachable("The server sent less of the video than was asked for.")
        return self._learn_size(body, size)

    def _learn_size(self, body: bytes, size: int) -> bytes:
        if self.size not in (-1, size):
            _unreachable("The video changed while it was read.")
        self.size = size
        return body

    async def _read(self, response: httpx.Response, wanted: int) -> bytes:
        """Read no more than was asked for, however much the server sends."""
        body = bytearray()
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > wanted:
                break
        self._left -= min(len(body), wanted)
        return bytes(body[:wanted])

    def _too_much(self, why: str) -> NoReturn:
        raise MediaError(
            f"The video can't be inspected by reading {self._limit} bytes of it: {why}.",
            problem=MediaProblem.READ_LIMIT,
        )
