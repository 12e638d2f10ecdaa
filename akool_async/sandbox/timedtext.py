"""Captions as MP4 carries them: one text track, 3GPP timed text, which FFmpeg calls mov_text.

Nothing here knows about pictures and sound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

import av
from av.container import OutputContainer
from av.packet import Packet
from av.subtitles.stream import SubtitleStream

from akool_async.sandbox.captions import Caption
from akool_async.sandbox.iso639 import iso_639_2

__all__ = ["add_text_track", "one_after_another", "text_packets"]

_MILLISECOND: Final = Fraction(1, 1000)

_LONGEST: Final = 0xFFFF
"""Bytes of a text: its length is written with two."""

# The encoder makes the track's style record of this, without which many players show nothing.
_STYLE: Final = b"""[Script Info]\r
ScriptType: v4.00+\r
PlayResX: 384\r
PlayResY: 288\r
\r
[V4+ Styles]\r
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, \
Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, \
MarginR, MarginV, Encoding\r
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1\r
\r
[Events]\r
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\r
"""


def add_text_track(out: OutputContainer, language: str) -> SubtitleStream:
    """Add an empty text track in a language (BCP 47) to a file that is about to be written."""
    track = out.add_stream("mov_text")
    track.time_base = _MILLISECOND
    track.codec_context.time_base = _MILLISECOND
    track.codec_context.subtitle_header = _STYLE
    track.metadata["language"] = iso_639_2(language)
    return track


def text_packets(captions: Iterable[Caption], track: SubtitleStream, seconds: float) -> Iterator[Packet[Any]]:
    """Give the packets of a text track; captions beyond the end of the film are cut off.

    FFmpeg's encoder is not asked: it wants ASS, while a packet is just the length of a text and the text.
    Its muxer fills the gaps in between with empty ones.
    """
    for start, end, text in one_after_another(captions, round(seconds * 1000)):
        yield _packet(track, start, end, text)


def one_after_another(captions: Iterable[Caption], limit: int) -> Iterator[tuple[int, int, str]]:
    """Give (start, end, text) in milliseconds up to a limit; where captions overlap, their texts are joined.

    A text track shows one text at a time, so each moment in which something changes begins a new one.
    """
    shown = [
        (round(caption.start * 1000), min(round(caption.end * 1000), limit), caption.text)
        for caption in captions
        if caption.text
    ]
    shown = sorted(each for each in shown if each[0] < each[1])
    moments = sorted({moment for start, end, _ in shown for moment in (start, end)})
    active: list[tuple[int, int, str]] = []
    coming = iter([*shown, (limit + 1, limit + 1, "")])
    upcoming = next(coming)
    for start, end in pairwise(moments):
        while upcoming[0] <= start:
            active.append(upcoming)
            upcoming = next(coming)
        active = [each for each in active if each[1] > start]
        if active:
            yield start, end, "\n".join(text for _, _, text in active)


def _packet(track: SubtitleStream, start: int, end: int, text: str) -> Packet[Any]:
    raw = text.encode("utf-8", "replace")
    if len(raw) > _LONGEST:
        raw = raw[:_LONGEST].decode("utf-8", "ignore").encode()
    packet: Packet[Any] = av.Packet(len(raw).to_bytes(2, "big") + raw)
    packet.stream, packet.time_base = track, _MILLISECOND
    packet.pts = packet.dts = start
    packet.duration = end - start
    return packet
