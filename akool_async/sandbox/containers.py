"""Video files as bytes, opened without trusting them.

Here live the refusal of a video, the one way in which foreign bytes reach PyAV, and the choice of their
streams. What is allowed of a video stands in `inspection`, what is made of it in `rendering`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from akool_async.sandbox.refusal import Refused

__all__ = ["BROKEN", "MediaRefused", "decoded", "ends_stream", "opened", "picture", "sound", "tick"]

BROKEN: Final = (av.FFmpegError, ValueError)
"""What PyAV raises about bytes that are not what they seem."""

# Playlists are left out: they would make FFmpeg open files and addresses of their choice.
_FORMATS: Final = "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv"
_MOST_PIXELS: Final = 2**26
_ISO_FIRST_BOXES: Final = frozenset((b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"))
_EBML: Final = b"\x1a\x45\xdf\xa3"
_EBML_SEGMENT: Final = b"\x18\x53\x80\x67"


class MediaRefused(Refused):
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
        MediaRefused: 1208, the bytes are no whole video file.
    """
    if not data or _cut_short(data):
        raise MediaRefused(1208, "the file is empty" if not data else "the file ends too early")
    try:
        with av.open(io.BytesIO(data), "r", container_options={"format_whitelist": _FORMATS}) as container:
            yield container
    except BROKEN as broken:
        raise MediaRefused(1208, f"the file can't be read: {type(broken).__name__}") from broken


def picture(container: InputContainer) -> VideoStream:
    """Give the stream that is the film, ready to be decoded; a cover image is none."""
    for stream in container.streams.video:
        if Disposition.attached_pic not in stream.disposition and codec_name(stream):
            if not 0 < stream.width * stream.height <= _MOST_PIXELS:
                raise MediaRefused(1208, f"a picture of {stream.width}x{stream.height} pixels")
            stream.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
            return stream
    raise MediaRefused(1208, "there is no video stream")


def sound(container: InputContainer) -> AudioStream | None:
    """Give the first sound track, if there is one that can be decoded."""
    return next((stream for stream in container.streams.audio if codec_name(stream)), None)
