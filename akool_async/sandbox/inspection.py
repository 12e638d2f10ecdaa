"""What a video is, and whether the vendor would take it.

The answers come from counting what is really in the file: what its header claims about length and frame
rate is often missing and sometimes wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

import attrs
from attrs import validators
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from akool_async.sandbox.containers import (
    InvalidMediaError,
    codec_name,
    decoded,
    ends_stream,
    opened,
    picture,
    sound,
    tick,
)

__all__ = ["MediaFacts", "MediaLimits", "inspect"]

_CODECS: Final = frozenset({"av1", "h264", "hevc", "mpeg4", "vp9"})

_SECONDS_OF_GRACE: Final = 0.1
"""The last packet of sound reaches a little beyond the film."""

_RATE_OF_GRACE: Final = 1.01
"""Containers that count in milliseconds can't express 30 frames a second exactly."""


def _names(codecs: Iterable[str]) -> frozenset[str]:
    return frozenset(codecs)


@attrs.frozen(kw_only=True)
class MediaLimits:
    """What videos are taken; the defaults are the vendor's documented ones.

    Args:
        max_seconds: longest video, in seconds, above 0. Source: business code 1204.
        max_bytes: largest file, in bytes, 1 or more. Source: business code 1207.
        max_fps: most frames a second on average, above 0. Source: business code 1210, another version of
            which says 60.
        codecs: video encodings taken, by FFmpeg's names. Unconfirmed: the vendor only recommends H.264.
    """

    max_seconds: float = attrs.field(default=60.0, validator=validators.gt(0))
    max_bytes: int = attrs.field(default=300 * 2**20, validator=validators.ge(1))
    max_fps: float = attrs.field(default=30.0, validator=validators.gt(0))
    codecs: frozenset[str] = attrs.field(default=_CODECS, converter=_names)


@attrs.frozen(kw_only=True)
class MediaFacts:
    """What was found in a video.

    Attributes:
        seconds: from the start to the end of the longer of picture and sound.
        fps: frames a second on average, also where the rate varies; 0 if there is one frame and no rate.
        width: in pixels.
        height: in pixels.
        video_codec: FFmpeg's name of the picture's encoding.
        audio_codec: FFmpeg's name of the sound's encoding.
    """

    seconds: float
    fps: float
    width: int
    height: int
    video_codec: str
    audio_codec: str


def inspect(data: bytes, limits: MediaLimits) -> MediaFacts:
    """Look through a whole file (mp4, mov, mkv, webm, avi, ts, mpg, flv) and measure it against the limits.

    Raises:
        InvalidMediaError: the first of these that is true: 1207 too large, 1208 can't be parsed (no video, no
            frame that decodes, cut short), 1209 encoding not taken, 1203 no audio, 1204 too long,
            1210 too many frames a second.
    """
    if len(data) > limits.max_bytes:
        raise InvalidMediaError(1207, f"{len(data)} bytes, {limits.max_bytes} are allowed")
    with opened(data) as container:
        film, track = picture(container), sound(container)
        encoding = codec_name(film)
        if encoding not in limits.codecs:
            raise InvalidMediaError(1209, f"encoded as {encoding}")
        shown, heard = _counted(container, film, track)
        if track is None or not heard.packets:
            raise InvalidMediaError(1203, "there is no sound")
        facts = MediaFacts(
            seconds=_length(shown, heard),
            fps=shown.rate or float(film.average_rate or 0),
            width=film.width,
            height=film.height,
            video_codec=encoding,
            audio_codec=codec_name(track),
        )
    _measure(facts, limits)
    return facts


def _measure(facts: MediaFacts, limits: MediaLimits) -> None:
    if facts.seconds > limits.max_seconds + _SECONDS_OF_GRACE:
        raise InvalidMediaError(1204, f"{facts.seconds:.2f} s long, {limits.max_seconds} s are allowed")
    if facts.fps > limits.max_fps * _RATE_OF_GRACE:
        raise InvalidMediaError(1210, f"{facts.fps:.2f} frames a second, {limits.max_fps} are allowed")


@attrs.define
class _Span:
    """What was seen of one stream: how many packets, and from when to when."""

    packets: int = 0
    first: float = math.inf
    last: float = -math.inf
    end: float = -math.inf

    def add(self, packet: Packet[Any]) -> None:
        self.packets += 1
        moment, step = packet.dts if packet.pts is None else packet.pts, tick(packet)
        if moment is None or not step:
            return
        self.first = min(self.first, moment * step)
        if moment * step >= self.last:  # durations of earlier ones follow the order of decoding
            self.last, self.end = moment * step, (moment + max(packet.duration or 0, 0)) * step

    @property
    def rate(self) -> float:
        """Packets a second, 0 if there are too few to tell."""
        return (self.packets - 1) / (self.last - self.first) if self.last > self.first else 0.0


def _counted(container: InputContainer, film: VideoStream, track: AudioStream | None) -> tuple[_Span, _Span]:
    """Walk over all packets and decode pictures until there is one."""
    shown, heard, seen = _Span(), _Span(), False
    for packet in container.demux([film] if track is None else [film, track]):
        is_film = packet.stream.index == film.index
        seen = seen or (is_film and bool(decoded(packet)))
        if not ends_stream(packet):
            (shown if is_film else heard).add(packet)
    if not seen or not shown.packets:
        raise InvalidMediaError(1208, "there is no frame that can be decoded")
    return shown, heard


def _length(shown: _Span, heard: _Span) -> float:
    """Seconds from the first moment to the last; sound may start before 0, which is not played."""
    if math.isinf(min(shown.first, heard.first)):
        raise InvalidMediaError(1208, "the packets carry no times")
    end = max(shown.end, heard.end)
    if shown.end == shown.last and shown.rate:  # the last picture does not say how long it is shown
        end = max(end, shown.last + 1 / shown.rate)
    return end - min(max(shown.first, 0.0), max(heard.first, 0.0))
