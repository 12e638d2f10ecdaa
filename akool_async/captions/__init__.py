"""Subtitles for people: read, laid out beside the original, checked and compared.

Needs `akool-async[captions]`: pysubs2 reads SRT, ASS and WebVTT, openpyxl tables of Excel.
"""

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

__all__ = [
    "CaptionFileError",
    "Cue",
    "CuePair",
    "pair_cues",
    "parse_cues",
    "read_cues",
    "to_srt",
    "to_vtt",
]
