"""Proof that a video plays: opened, first picture and sound decoded, captions read.

For checks of finished results; whether a video may come in is decided in `inspection`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
from av.packet import Packet
from av.subtitles.subtitle import AssSubtitle

from akool_async.sandbox.captions import Caption, without_overrides
from akool_async.sandbox.containers import InvalidMediaError, codec_name, decoded, ends_stream, opened, tick

__all__ = ["Tracks", "probe"]


@attrs.frozen(kw_only=True)
class Tracks:
    """What a player finds in a video.

    Attributes:
        video: how many video streams; of each a picture was decoded.
        audio: how many sound tracks; of each something was decoded.
        subtitles: how many subtitle tracks.
        seconds: where the last picture, sound or caption ends.
        audio_languages: ISO 639-2 code of each sound track, "und" where it says nothing.
        languages: ISO 639-2 code of each subtitle track, "und" where it says nothing.
        captions: the texts of the first subtitle track.
    """

    video: int
    audio: int
    subtitles: int
    seconds: float
    audio_languages: tuple[str, ...]
    languages: tuple[str, ...]
    captions: tuple[Caption, ...]


def probe(data: bytes) -> Tracks:
    """Play the beginning of every track of a video and read its captions.

    Raises:
        InvalidMediaError: 1208, it is not a whole file or one of its tracks can't be played.
    """
    with opened(data) as container:
        streams = container.streams
        silent = {each.index for each in (*streams.video, *streams.audio)}
        shown = streams.subtitles[0].index if streams.subtitles else -1
        captions, end = [], 0.0
        for packet in container.demux():
            if packet.stream.index in silent and decoded(packet):
                silent.discard(packet.stream.index)
            if ends_stream(packet):
                continue
            caption = _span(packet)
            end = max(end, caption.end)
            if packet.stream.index == shown:
                captions.append(attrs.evolve(caption, text=_text(packet)))
        if silent or not streams.video:
            raise InvalidMediaError(1208, f"{len(silent)} tracks of it can't be played")
        return Tracks(
            video=len(streams.video),
            audio=len(streams.audio),
            subtitles=len(streams.subtitles),
            seconds=end,
            audio_languages=_languages(streams.audio),
            languages=_languages(streams.subtitles),
            captions=tuple(caption for caption in captions if caption.text),
        )


def _languages(streams: Iterable[Any]) -> tuple[str, ...]:
    return tuple(stream.language or "und" for stream in streams)


def _span(packet: Packet[Any]) -> Caption:
    moment, step = packet.dts if packet.pts is None else packet.pts, tick(packet)
    start = max(moment or 0, 0)
    return Caption(round(start * step, 6), round((start + max(packet.duration or 0, 0)) * step, 6), "")


def _text(packet: Packet[Any]) -> str:
    """Read the text of a caption: MP4 puts its length in front, others leave it to the decoder."""
    if codec_name(packet.stream) == "mov_text":
        raw = bytes(packet)
        return raw[2 : 2 + int.from_bytes(raw[:2], "big")].decode("utf-8")
    events = (rect.ass.decode("utf-8") for rect in packet.decode() if isinstance(rect, AssSubtitle))
    return "\n".join(without_overrides(event.split(",", 8)[-1]) for event in events)
