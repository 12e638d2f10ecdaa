"""Makes the "translated" video: an MP4 of the same picture and sound, with the captions as a text track.

What fits into MP4 is copied as it is, the rest is encoded anew. Whether a video is taken at all is
decided in `inspection`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any, Final, Protocol, cast

import attrs
import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from akool_async.sandbox.captions import Caption
from akool_async.sandbox.containers import (
    BROKEN,
    InvalidMediaError,
    codec_name,
    decoded,
    ends_stream,
    opened,
    picture,
    sound,
)
from akool_async.sandbox.encoders import encoder
from akool_async.sandbox.iso639 import iso_639_2
from akool_async.sandbox.playback import probe
from akool_async.sandbox.timedtext import add_text_track, text_packets

__all__ = ["Rendered", "render"]

_COPIED: Final = frozenset(
    {"aac", "ac3", "alac", "av1", "eac3", "h264", "hevc", "mp3", "mpeg4", "opus", "vp9"}
)
"""Encodings that players expect inside of MP4."""

_CLOCK: Final = Fraction(1, 90_000)

_SAMPLE_RATES: Final = frozenset({8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000})


@attrs.frozen(kw_only=True)
class Rendered:
    """The two files that a job results in.

    Attributes:
        video: with captions, if they were asked for.
        no_caption_video: the same without; the same bytes where there are no captions.
    """

    video: bytes = attrs.field(repr=False)
    no_caption_video: bytes = attrs.field(repr=False)


def render(data: bytes, captions: Sequence[Caption], *, language: str, caption_type: int) -> Rendered:
    """Make the results of one job: MP4 files that begin with their index, so that they play while they load.

    The sound stays as it was; its track is marked with the target language, as that of a real result would
    be, and so is the text track.

    Args:
        data: a video that `inspect` has taken.
        captions: what is shown; what lies beyond the end of the film is cut off.
        language: target language, BCP 47; MP4 files carry its ISO 639-2 code, "und" if there is none.
        caption_type: 0 for no captions, 1 to 4 for a text track.

    Raises:
        InvalidMediaError: 1208, the video can neither be copied nor encoded anew.
    """
    plain = _film(data, language)
    if caption_type < 1 or not any(caption.text for caption in captions):
        return Rendered(video=plain, no_caption_video=plain)
    return Rendered(video=_captioned(plain, captions, language), no_caption_video=plain)


def _film(data: bytes, language: str) -> bytes:
    """Copy the streams if that gives a file that plays, else encode them anew."""
    try:
        copy = _converted(data, language, _COPIED)
        probe(copy)
    except InvalidMediaError:
        copy = _converted(data, language, frozenset())
        probe(copy)
    return copy


def _converted(data: bytes, language: str, copied: frozenset[str]) -> bytes:
    def fill(out: OutputContainer) -> None:
        with opened(data) as source:
            film, track = picture(source), sound(source)
            lanes = {film.index: _lane(out, film, copied)}
            if track is not None:
                lanes[track.index] = _lane(out, track, copied)
                lanes[track.index].stream.metadata["language"] = iso_639_2(language)
            for packet in source.demux(*(source.streams[index] for index in lanes)):
                out.mux(list(lanes[packet.stream.index].take(packet)))

    return _written(fill)


def _captioned(plain: bytes, captions: Iterable[Caption], language: str) -> bytes:
    seconds = probe(plain).seconds

    def fill(out: OutputContainer) -> None:
        with opened(plain) as source:
            lanes = {each.index: _Copied(out, each) for each in source.streams}
            for each in source.streams:
                lanes[each.index].stream.metadata["language"] = each.language or "und"
            track = add_text_track(out, language)
            out.start_encoding()
            out.mux(list(text_packets(captions, track, seconds)))
            for packet in source.demux():
                out.mux(list(lanes[packet.stream.index].take(packet)))

    return _written(fill)


def _written(fill: Callable[[OutputContainer], None]) -> bytes:
    """Write an MP4 file in memory; its index is moved to the front at the end."""
    buffer = io.BytesIO()
    try:
        with av.open(
            buffer,
            "w",
            format="mp4",
            container_options={"movflags": "+faststart"},
            io_open=lambda *_: _SecondReader(buffer),
        ) as out:
            fill(out)
    except BROKEN as broken:
        raise InvalidMediaError(1208, f"no MP4 file can be made of it: {type(broken).__name__}") from broken
    return buffer.getvalue()


class _SecondReader(io.RawIOBase):
    """Reads a buffer from a place of its own, while FFmpeg writes to it at another to move the index."""

    def __init__(self, buffer: io.BytesIO) -> None:
        self._buffer = buffer
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        with self._buffer.getbuffer() as content:
            piece = bytes(content[self._at : self._at + size if size >= 0 else None])
        self._at += len(piece)
        return piece

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with self._buffer.getbuffer() as content:
            origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(content)}[whence]
        self._at = origin + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


class _Lane(Protocol):
    """The way of one stream into the new file."""

    stream: Any

    def take(self, packet: Packet[Any]) -> Iterator[Packet[Any]]: ...


def _lane(out: OutputContainer, source: VideoStream | AudioStream, copied: frozenset[str]) -> _Lane:
    if codec_name(source) in copied:
        return _Copied(out, source)
    return _Pictures(out, source) if isinstance(source, VideoStream) else _Sound(out, source)


class _Copied:
    """Moves packets over as they are."""

    def __init__(self, out: OutputContainer, source: Stream) -> None:
        # opaque: take over the decoder's settings, there may be no encoder of its name
        self.stream = out.add_stream_from_template(source, opaque=True)
        self._undated: list[Packet[Any]] = []

    def take(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        """Pass a packet on; Matroska leaves out when the first ones are decoded, which MP4 has to know."""
        if ends_stream(packet):
            return
        if packet.dts is None:
            self._undated.append(packet)
            return
        for back, waiting in enumerate(reversed(self._undated), start=1):
            waiting.dts = packet.dts - back * (packet.duration or 1)
        for ready in (*self._undated, packet):
            ready.stream = self.stream
            yield ready
        self._undated.clear()


class _Pictures:
    """Encodes pictures as H.264, keeping when each is shown."""

    def __init__(self, out: OutputContainer, source: VideoStream) -> None:
        chosen = encoder("h264")
        rate = Fraction(float(source.average_rate or 25)).limit_denominator(1001)
        self.stream = cast(VideoStream, out.add_stream(chosen.name, rate, dict(chosen.options)))
        self.stream.width, self.stream.height = max(source.width & ~1, 2), max(source.height & ~1, 2)
        self.stream.pix_fmt = "yuv420p"
        self.stream.codec_context.time_base = _CLOCK
        self._last = -1

    def take(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        for frame in decoded(packet):
            if isinstance(frame, VideoFrame) and self._comes_next(frame):
                yield from self.stream.encode(frame)
        if ends_stream(packet):
            yield from self.stream.encode(None)

    def _comes_next(self, frame: VideoFrame) -> bool:
        """Put a picture on our clock; one without a time, or from the past, is left out."""
        if frame.pts is None or not frame.time_base:
            return False
        now = round(float(frame.pts * frame.time_base / _CLOCK))
        frame.pts, frame.time_base = now, _CLOCK
        frame.pict_type = PictureType.NONE  # else every picture of an all-key-frame source would be one again
        later, self._last = now > self._last, max(now, self._last)
        return later


class _Sound:
    """Encodes sound as AAC, in one or two channels."""

    def __init__(self, out: OutputContainer, source: AudioStream) -> None:
        chosen = encoder("aac")
        rate = source.rate if source.rate in _SAMPLE_RATES else 48_000
        layout = "mono" if source.channels == 1 else "stereo"
        self.stream = cast(
            AudioStream, out.add_stream(chosen.name, rate, dict(chosen.options), layout=layout)
        )

    def take(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        for frame in decoded(packet):
            if isinstance(frame, AudioFrame):
                yield from self.stream.encode(frame)
        if ends_stream(packet):
            yield from self.stream.encode(None)
