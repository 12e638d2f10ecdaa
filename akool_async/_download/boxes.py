"""Whether an MP4 file is whole, told by its boxes: they have to fill it exactly, and hold index and media.

Pure: reads a file that is handed in. Source: ISO/IEC 14496-12, 4.2.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Final

from akool_async._download.verdict import Verdict

_FIRST: Final = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"})
_INDEX: Final = frozenset({b"moov", b"moof"})
_MEDIA: Final = b"mdat"
_HEAD: Final = 8


def is_mp4(beginning: bytes) -> bool:
    """Whether a file that begins so is made of boxes."""
    return beginning[4:8] in _FIRST


def walk(file: BinaryIO, size: int) -> Verdict:
    """Judge a file made of boxes.

    Args:
        file: open for reading, at any place.
        size: its bytes.
    """
    at, indexed, filled = 0, False, False
    while at < size:
        found = _box(file, at)
        if found is None:
            return Verdict.SHORT
        length, kind = found
        if not length or not kind.isascii():
            return Verdict.BROKEN
        indexed, filled = indexed or kind in _INDEX, filled or kind == _MEDIA
        if length < 0:  # it goes on to the end of the file, wherever that is
            return Verdict.OPEN if indexed and filled else Verdict.SHORT
        at += length
    return Verdict.WHOLE if at == size and indexed and filled else Verdict.SHORT


def _box(file: BinaryIO, at: int) -> tuple[int, bytes] | None:
    """Give length and kind of the box that begins at `at`.

    A length of 0 means that there is no box, one below 0 that it has no end. None: its head is cut.
    """
    file.seek(at)
    head = file.read(_HEAD)
    if len(head) < _HEAD:
        return None
    length, kind = struct.unpack(">I4s", head)
    if length == 1:
        wide = file.read(8)
        if len(wide) < 8:
            return None
        (length,) = struct.unpack(">Q", wide)
        return (length if length >= 2 * _HEAD else 0), kind
    if length == 0:
        return -1, kind
    return (length if length >= _HEAD else 0), kind
