"""Short real videos made from nothing: a pattern that moves and a voice-like tone.

For tests, demos and benchmarks. The same arguments give the same film; another seed gives another one.
"""

from __future__ import annotations

import io
import math
import random
from array import array
from collections.abc import Iterator
from fractions import Fraction
from itertools import accumulate, repeat
from typing import Final, NamedTuple, cast

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from akool_async.sandbox.encoders import encoder

__all__ = ["sample_video"]


class _Container(NamedTuple):
    format: str
    audio: str


_CONTAINERS: Final = {
    "mp4": _Container("mp4", "aac"),
    "mov": _Container("mov", "aac"),
    "mkv": _Container("matroska", "aac"),
    "webm": _Container("webm", "opus"),
    "avi": _Container("avi", "mp3"),
    "ts": _Container("mpegts", "aac"),
}

_RATE: Final = 24_000
"""Samples of sound a second: AAC, Opus and MP3 all have it."""

_WAVE: Final = 256

_LOUD: Final = 9_000

_VOICE: Final = (1.0, 0.6, 0.35, 0.2)
"""How loud the overtones are, which makes a tone sound like a voice."""


def sample_video(
    seconds: float = 3.0,
    *,
    fps: int = 24,
    width: int = 320,
    height: int = 180,
    audio: bool = True,
    seed: int = 0,
    codec: str = "h264",
    container: str = "mp4",
) -> bytes:
    """Make a short video.

    Args:
        seconds: length, above 0; there is at least one frame.
        fps: frames a second, 1 to 240.
        width: pixels, even, 16 to 4096.
        height: pixels, even, 16 to 4096.
        audio: whether it has sound.
        seed: changes the pattern, the colours and the melody.
        codec: h264, hevc, vp9, vp8, av1, mpeg4 or mjpeg. Where this build of PyAV lacks an encoder for H.264
            or HEVC, MPEG-4 stands in.
        container: mp4, mov, mkv, webm, avi or ts.

    Raises:
        ValueError: an argument is out of range, or this build of PyAV can't encode it.
    """
    _check(seconds, fps, width, height, container)
    target = _CONTAINERS[container]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=target.format, container_options={"fflags": "+bitexact"}) as out:
        film = _film(out, codec, fps, width, height)
        track = _track(out, target.audio) if audio else None
        frames = math.ceil(round(seconds * fps, 6)) or 1
        voice = _voice(round(seconds * _RATE), seed)
        for number, frame in enumerate(_pictures(frames, width, height, seed)):
            frame.pts, frame.time_base = number, Fraction(1, fps)
            out.mux(film.encode(frame))
            if track is not None:
                _speak(out, track, voice, number * _RATE // fps, (number + 1) * _RATE // fps)
        for stream in (film, track):
            out.mux(stream.encode(None) if stream is not None else [])
    return buffer.getvalue()


def _check(seconds: float, fps: int, width: int, height: int, container: str) -> None:
    if not 0 < seconds < math.inf or not 1 <= fps <= 240:
        raise ValueError(f"no video lasts {seconds} s at {fps} frames a second")
    if any(side % 2 or not 16 <= side <= 4096 for side in (width, height)):
        raise ValueError(f"sides must be even and 16 to 4096 pixels, not {width}x{height}")
    if container not in _CONTAINERS:
        raise ValueError(f"the container must be one of {', '.join(_CONTAINERS)}, not {container!r}")


def _film(out: OutputContainer, codec: str, fps: int, width: int, height: int) -> VideoStream:
    chosen = encoder(codec)
    options = dict(chosen.options)
    stream = cast(VideoStream, out.add_stream(chosen.name, fps, options, width=width, height=height))
    stream.pix_fmt = "yuvj420p" if chosen.name == "mjpeg" else "yuv420p"
    stream.codec_context.thread_count = 1  # so that the same film comes out on every machine
    return stream


def _track(out: OutputContainer, codec: str) -> AudioStream:
    chosen = encoder(codec)
    return cast(AudioStream, out.add_stream(chosen.name, _RATE, dict(chosen.options), layout="mono"))


def _pictures(frames: int, width: int, height: int, seed: int) -> Iterator[VideoFrame]:
    """Draw slanted stripes that wander, over a colour that changes."""
    draw = random.Random(seed)  # noqa: S311 - a pattern, not a secret
    slant, speed, stripe = draw.randint(1, 5), draw.choice((-5, -3, 3, 5)), draw.randint(12, 40)
    hues = draw.randint(64, 192), draw.randint(64, 192)
    wave = bytes(round(128 + 90 * math.sin(2 * math.pi * x / stripe)) for x in range(stripe))
    line = wave * ((width + 64) // stripe + 3)
    for number in range(frames):
        frame = VideoFrame(width, height, "yuv420p")
        luma, *colours = frame.planes
        starts = ((number * speed + y // 2 * slant) % stripe for y in range(height))
        luma.update(b"".join(line[start : start + luma.line_size] for start in starts))
        for hue, plane in zip(hues, colours, strict=True):
            plane.update(bytes([(hue + number) % 256]) * plane.buffer_size)
        yield frame


def _voice(samples: int, seed: int) -> array[int]:
    """Hum syllables of different heights with pauses between them, 16 bits a sample."""
    draw = random.Random(seed)  # noqa: S311 - a melody, not a secret
    whole = sum(_VOICE)
    wave = [
        sum(loud * math.sin(2 * math.pi * x * (nth + 1) / _WAVE) for nth, loud in enumerate(_VOICE)) / whole
        for x in range(_WAVE)
    ]
    sound = array("h")
    while len(sound) < samples:
        length, step = draw.randint(_RATE // 7, _RATE // 3), draw.uniform(100, 230) * _WAVE / _RATE
        fade = (_LOUD * math.sin(math.pi * nth / length) for nth in range(length))
        phases = accumulate(repeat(step, length))
        sound.extend(int(loud * wave[int(phase) % _WAVE]) for loud, phase in zip(fade, phases, strict=True))
        sound.extend(repeat(0, draw.randint(0, _RATE // 12)))
    return sound[:samples]


def _speak(out: OutputContainer, track: AudioStream, voice: array[int], start: int, end: int) -> None:
    piece = voice[start:end]
    if not piece:
        return
    frame = AudioFrame("s16", "mono", len(piece))
    frame.sample_rate, frame.pts, frame.time_base = _RATE, start, Fraction(1, _RATE)
    frame.planes[0].update(piece.tobytes())
    out.mux(track.encode(frame))
