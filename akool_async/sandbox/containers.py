"""Video files as bytes, opened without trusting them.

Here live the refusal of a video, the one way in which foreign bytes reach PyAV, and what is read there.
What is allowed of a video stands in `inspection`, what is made of it in `rendering`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from akool_async.sandbox.jobs import ApiRejection

__all__ = [
    "BROKEN",
    "InvalidMediaError",
    "codec_name",
    "decoded",
    "ends_stream",
    "opened",
    "picture",
    "sound",
    "tick",
]

BROKEN: Final = (FFmpegError, ValueError)
"""What PyAV raises about bytes that are not what they seem."""

# Playlists are left out: they would make FFmpeg open files and addresses of their choice.
_FORMATS: Final = "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv"

_MOST_PIXELS: Final = 2**26

_ISO_FIRST_BOXES: Final = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")

_EBML: Final = b"\x1a\x45\xdf\xa3"

_EBML_SEGMENT: Final = b"\x18\x53\x80\x67"


class InvalidMediaError(ApiRejection):
    """A video is not one that the vendor would take.

    Attributes:
        code: 1203 no audio, 1204 too long, 1207 too large, 1208 can't be parsed, 1209 encoding not taken,
            1210 too many frames a second.
        reason: why, in a few words for people.
    """


@contextmanager
def opened(data: bytes) -> Iterator[InputContainer]:
    """Open a video for reading; whatever is broken about it, now or inside the block, is a refusal.

    Raises:
        InvalidMediaError: 1208, the bytes are no whole video file.
    """
    if not data or _cut_short(data):
        raise InvalidMediaError(1208, "the file ends too early" if data else "the file is empty")
    try:
        with av.open(io.BytesIO(data), "r", container_options={"format_whitelist": _FORMATS}) as container:
            yield container
    except BROKEN as broken:
        raise InvalidMediaError(1208, f"the file can't be read: {type(broken).__name__}") from broken


def picture(container: InputContainer) -> VideoStream:
    """Give the stream that is the film, ready to be decoded; a cover image is none.

    Raises:
        InvalidMediaError: 1208, there is none or its size is absurd; 1209, nobody knows its encoding.
    """
    films = (each for each in container.streams.video if Disposition.attached_pic not in each.disposition)
    film = next(films, None)
    if film is None:
        raise InvalidMediaError(1208, "there is no video stream")
    if not codec_name(film):
        raise InvalidMediaError(1209, "the video's encoding is unknown")
    if not 0 < film.width * film.height <= _MOST_PIXELS:
        raise InvalidMediaError(1208, f"a picture of {film.width}x{film.height} pixels")
    film.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
    return film


def sound(container: InputContainer) -> AudioStream | None:
    """Give the first sound track, if there is one whose encoding is known."""
    return next((each for each in container.streams.audio if codec_name(each)), None)


def codec_name(stream: Stream) -> str:
    """Give FFmpeg's name of an encoding ("h264", "av1"), whichever decoder reads it, or "" if none does."""
    context: Any = stream.codec_context
    return "" if context is None else str(context.codec.canonical_name)


def tick(packet: Packet[Any]) -> float:
    """Give the seconds that one step of a packet's times takes; 0 if its stream has no clock."""
    base = packet.time_base
    return float(base) if base else 0.0


def ends_stream(packet: Packet[Any]) -> bool:
    """Whether this is the empty packet that asks a decoder for what it still holds."""
    return not packet.size and packet.pts is None and packet.dts is None


def decoded(packet: Packet[Any]) -> Sequence[VideoFrame | AudioFrame]:
    """Decode; a packet that can't be gives no frames, as a player would skip it."""
    try:
        frames: Sequence[VideoFrame | AudioFrame] = packet.decode()
    except FFmpegError:
        return ()
    return frames


def _cut_short(data: bytes) -> bool:
    """Whether the file says of itself that it goes on after its last byte."""
    if data[4:8] in _ISO_FIRST_BOXES:
        return _iso_end(data) > len(data)
    if data.startswith(_EBML):
        return _ebml_end(data) > len(data)
    if data.startswith(b"RIFF"):
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    return False


def _iso_end(data: bytes) -> int:
    """Where the last box of an MP4 or MOV ends."""
    at = 0
    while at < len(data):
        size, header = int.from_bytes(data[at : at + 4], "big"), 8
        if size == 1:
            size, header = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if size == 0:  # up to the end of the file, however far that is
            return len(data)
        at += max(size, header)
    return at


def _ebml_end(data: bytes) -> int:
    """Where the one segment of a Matroska or WebM file ends; one that was streamed does not say."""
    at, size = _ebml_size(data, len(_EBML))
    at += size or 0
    if data[at : at + 4] != _EBML_SEGMENT:
        return 0
    at, size = _ebml_size(data, at + len(_EBML_SEGMENT))
    return 0 if size is None else at + size


def _ebml_size(data: bytes, at: int) -> tuple[int, int | None]:
    """Read a size of 1 to 8 bytes; give where its content starts, and None for "unknown"."""
    first = data[at] if at < len(data) else 0
    length = 9 - first.bit_length()
    mask = (1 << 7 * length) - 1
    size = int.from_bytes(data[at : at + length], "big") & mask
    return at + length, None if length == 9 or size == mask else size
