"""Subtitles for people: read, laid out beside the original, checked and compared.

Needs `akool-async[captions]`: pysubs2 reads SRT, ASS and WebVTT, openpyxl reads and writes tables of Excel.
"""

from akool_async._environment import needs_extra

with needs_extra("captions", "Subtitles"):
    from akool_async.captions.check import (
        GUIDES,
        CaptionFault,
        CaptionLimits,
        FaultType,
        Terms,
        check_cues,
        limits_for,
    )
    from akool_async.captions.cues import (
        CaptionFileError,
        Cue,
        CuePair,
        pair_cues,
        parse_cues,
        read_cues,
        to_srt,
        to_vtt,
    )
    from akool_async.captions.tables import Layout, lay_out, read_translation
    from akool_async.captions.versions import first_version, version_key

__all__ = [
    "GUIDES",
    "CaptionFault",
    "CaptionFileError",
    "CaptionLimits",
    "Cue",
    "CuePair",
    "FaultType",
    "Layout",
    "Terms",
    "check_cues",
    "first_version",
    "lay_out",
    "limits_for",
    "pair_cues",
    "parse_cues",
    "read_cues",
    "read_translation",
    "to_srt",
    "to_vtt",
    "version_key",
]
