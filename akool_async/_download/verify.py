"""Check whether a downloaded file is what it should be and complete, by its content alone.

An MP4 file is complete if its boxes fill it exactly and include an index and media data
(Source: ISO/IEC 14496-12, 4.2). An SRT file never says where it ends.
"""

from __future__ import annotations

import enum
import hashlib
import re
import struct
from pathlib import Path
from typing import BinaryIO, Final

import attrs

_BEGINNING: Final = 512
_FIRST_BOXES: Final = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"})
_INDEX_BOXES: Final = frozenset({b"moov", b"moof"})
_BOX_HEADER: Final = 8
_TIMES: Final = re.compile(
    r"\s*(\d{1,3}:)?\d{1,2}:\d{2}[,.]\d{1,3}\s*-->\s*(\d{1,3}:)?\d{1,2}:\d{2}[,.]\d{1,3}(\s.*)?", re.ASCII
)
_LONGEST_UTF8_CHARACTER: Final = 4


class Kind(enum.Enum):
    """What a file should be."""

    VIDEO = "video"
    SUBTITLES = "subtitles"


class FileVerdict(enum.Enum):
    """Whether a file is complete."""

    COMPLETE = "complete"
    UNKNOWN_END = "may be complete; its content does not say where it ends"
    TRUNCATED = "its end is missing"
    ERROR_PAGE = "a page or an error document, as hosts send in place of a file"
    INVALID = "something else"


@attrs.frozen
class Digest:
    """Size and hash of a file.

    Attributes:
        size: bytes.
        sha256: hexadecimal.
    """

    size: int
    sha256: str


def digest(path: Path) -> Digest:
    """Return size and hash of a file."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Digest(file.tell(), sha256)


def verify(path: Path, kind: Kind, *, measured: bool) -> FileVerdict:
    """Judge a file; `measured` says that it has the length that its host announced."""
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING)
        # No video or subtitle file begins as HTML, XML or JSON do. Saved under the result's name, an error
        # page would count as delivered and the paid result would expire.
        if beginning.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"<", b"{"):
            return FileVerdict.ERROR_PAGE
        if not beginning.strip():
            return FileVerdict.INVALID
        if kind is Kind.SUBTITLES:
            return check_srt(beginning + file.read())
        if beginning[4:8] in _FIRST_BOXES:
            verdict = check_mp4(file, path.stat().st_size)
            return FileVerdict.COMPLETE if verdict is FileVerdict.UNKNOWN_END and measured else verdict
        return FileVerdict.COMPLETE if measured else FileVerdict.INVALID


def check_mp4(file: BinaryIO, size: int) -> FileVerdict:
    """Judge a file made of boxes."""
    position, has_index, has_media = 0, False, False
    while position < size:
        box = _read_box(file, position)
        if box is None:
            return FileVerdict.TRUNCATED
        length, kind = box
        if not length or not kind.isascii():
            return FileVerdict.INVALID
        has_index, has_media = has_index or kind in _INDEX_BOXES, has_media or kind == b"mdat"
        if length < 0:  # it reaches to the end of the file, wherever that is
            return FileVerdict.UNKNOWN_END if has_index and has_media else FileVerdict.TRUNCATED
        position += length
    complete = position == size and has_index and has_media
    return FileVerdict.COMPLETE if complete else FileVerdict.TRUNCATED


def _read_box(file: BinaryIO, position: int) -> tuple[int, bytes] | None:
    """Return length and kind of a box: 0 if it is invalid, -1 if it has no end; None if its header is cut."""
    file.seek(position)
    header = file.read(_BOX_HEADER)
    if len(header) < _BOX_HEADER:
        return None
    length, kind = struct.unpack(">I4s", header)
    shortest = _BOX_HEADER
    if length == 0:
        return -1, kind
    if length == 1:  # the real length follows, in 64 bits
        large = file.read(8)
        if len(large) < 8:
            return None
        (length,) = struct.unpack(">Q", large)
        shortest = 2 * _BOX_HEADER
    return (length if length >= shortest else 0), kind


def check_srt(content: bytes) -> FileVerdict:
    """Judge a subtitle file. The text between the time lines is not looked at."""
    text = _decode(content)
    if text is None:
        return FileVerdict.INVALID
    lines = text.splitlines()
    if lines[0].lstrip().startswith("<") or not any(map(_TIMES.fullmatch, lines)):
        return FileVerdict.INVALID
    cut = "-->" in lines[-1] and not _TIMES.fullmatch(lines[-1])
    return FileVerdict.TRUNCATED if cut else FileVerdict.UNKNOWN_END


def _decode(content: bytes) -> str | None:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # A file that was cut may end within a character.
        if error.start >= len(content) - _LONGEST_UTF8_CHARACTER:
            return content[: error.start].decode("utf-8-sig")
        return None if b"\x00" in content else content.decode("latin-1")
