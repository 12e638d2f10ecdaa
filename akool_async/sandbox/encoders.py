"""Which of FFmpeg's encoders makes an encoding, in order of preference, and how it is set to be quick.

A table and the search in it: builds of PyAV differ in what they contain.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

import attrs
import av

__all__ = ["Encoder", "encoder"]


@attrs.frozen
class Encoder:
    """One of FFmpeg's encoders.

    Attributes:
        name: what FFmpeg calls it.
        options: set for speed and silence.
    """

    name: str
    options: dict[str, str] = attrs.field(factory=dict)


_MPEG4: Final = Encoder("mpeg4")

_ENCODERS: Final = MappingProxyType(
    {
        "aac": (Encoder("aac"), Encoder("libfdk_aac")),
        "av1": (
            Encoder("libsvtav1", {"preset": "12"}),
            Encoder("libaom-av1", {"cpu-used": "8", "usage": "realtime"}),
        ),
        "h264": (Encoder("libx264", {"preset": "veryfast"}), Encoder("libopenh264"), _MPEG4),
        "hevc": (Encoder("libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}), _MPEG4),
        "mjpeg": (Encoder("mjpeg"),),
        "mp3": (Encoder("libmp3lame"), Encoder("aac")),
        "mpeg4": (_MPEG4,),
        "opus": (Encoder("libopus"), Encoder("opus", {"strict": "experimental"})),
        "vp8": (Encoder("libvpx", {"deadline": "realtime", "cpu-used": "8"}),),
        "vp9": (Encoder("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),),
    }
)


def encoder(codec: str) -> Encoder:
    """Find the first encoder for an encoding that this build of PyAV has.

    Raises:
        ValueError: the encoding is not in the table, or the build has no encoder for it.
    """
    for candidate in _ENCODERS.get(codec, ()):
        if candidate.name in av.codecs_available:
            return candidate
    raise ValueError(f"there is no encoder for {codec!r}, only for {', '.join(_ENCODERS)}")
