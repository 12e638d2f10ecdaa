"""Whether an MP4 file is whole, told by its boxes: they have to fill it exactly, and hold index and media.

Pure: reads a file that is handed in. Source: ISO/IEC 14496-12, 4.2.
"""

from __future__ import annotations

import enum
import hashlib
import re
import struct
from pathlib import Path
from typing import BinaryIO, Final

import attrs

# What a file that came can be, judged by its content.


class FileVerdict(enum.Enum):
    """Whether a file is whole."""

    COMPLETE = "it is all there"
    UNKNOWN_END = "it may be all there; its content does not say where it ends"
    TRUNCATED = "its end is missing"
    ERROR_PAGE = "it is a page, such as hosts show instead of a file"
    INVALID = "it is not what it should be"


_FIRST: Final = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"})
_INDEX: Final = frozenset({b"moov", b"moof"})
_MEDIA: Final = b"mdat"
_HEAD: Final = 8


def is_mp4(beginning: bytes) -> bool:
    """Whether a file that begins so is made of boxes."""
    return beginning[4:8] in _FIRST


def check_mp4(file: BinaryIO, size: int) -> FileVerdict:
    """Judge a file made of boxes.

    Args:
        file: open for reading, at any place.
        size: its bytes.
    """
    at, indexed, filled = 0, False, False
    while at < size:
        found = _box(file, at)
        if found is None:
            return FileVerdict.TRUNCATED
        length, kind = found
        if not length or not kind.isascii():
            return FileVerdict.INVALID
        indexed, filled = indexed or kind in _INDEX, filled or kind == _MEDIA
        if length < 0:  # it goes on to the end of the file, wherever that is
            return FileVerdict.UNKNOWN_END if indexed and filled else FileVerdict.TRUNCATED
        at += length
    return FileVerdict.COMPLETE if at == size and indexed and filled else FileVerdict.TRUNCATED


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


# Whether a subtitle file is one, and whether its end is there: a small strict look at SRT.
#
# What stands between the lines that tell times is the speakers' affair.


_TIMES: Final = re.compile(
    r"\s*(\d{1,3}:)?\d{1,2}:\d{2}[,.]\d{1,3}\s*-->\s*(\d{1,3}:)?\d{1,2}:\d{2}[,.]\d{1,3}(\s.*)?", re.ASCII
)

_LONGEST_LETTER: Final = 4


def check_srt(content: bytes) -> FileVerdict:
    """Judge a subtitle file; where it ends it never says, for it may end after any line."""
    text = _text(content)
    if text is None:
        return FileVerdict.INVALID
    lines = text.splitlines()
    timed = [number for number, line in enumerate(lines) if _TIMES.fullmatch(line)]
    if not timed or lines[0].lstrip().startswith("<"):
        return FileVerdict.INVALID
    last = lines[-1]
    return FileVerdict.TRUNCATED if "-->" in last and not _TIMES.fullmatch(last) else FileVerdict.UNKNOWN_END


def _text(content: bytes) -> str | None:
    """Give the text; a last letter of which bytes are missing is left out."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start >= len(content) - _LONGEST_LETTER:
            return content[: error.start].decode("utf-8-sig")
        return None if b"\x00" in content else content.decode("latin-1")


# What came, looked at before it gets its name: is it what was asked for, is all of it there.


_BEGINNING: Final = 512
_BLOCK: Final = 1024 * 1024


class Kind(enum.Enum):
    """What a file should be."""

    VIDEO = "video"
    SUBTITLES = "subtitles"


@attrs.frozen
class Digest:
    """What a file is, in short.

    Attributes:
        size: bytes.
        sha256: hexadecimal.
    """

    size: int
    sha256: str


def verify(path: Path, kind: Kind, *, measured: bool) -> FileVerdict:
    """Judge a file.

    Args:
        path: the file.
        kind: what it should be.
        measured: whether its host told its length, and so many bytes came.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING)
        if _is_page(beginning):
            return FileVerdict.ERROR_PAGE
        if not beginning.strip():
            return FileVerdict.INVALID
        if kind is Kind.SUBTITLES:
            return check_srt(beginning + file.read())
        if is_mp4(beginning):
            verdict = check_mp4(file, path.stat().st_size)
            return FileVerdict.COMPLETE if verdict is FileVerdict.UNKNOWN_END and measured else verdict
        return FileVerdict.COMPLETE if measured else FileVerdict.INVALID


def _is_page(beginning: bytes) -> bool:
    """Whether it begins as a page or an error in XML or JSON does; no video or subtitle file does."""
    text = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    return text[:1] in (b"<", b"{")


def digest(path: Path) -> Digest:
    """Give size and hash of a file.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        return _digest(file)


def _digest(file: BinaryIO) -> Digest:
    size, sha256 = 0, hashlib.sha256()
    while block := file.read(_BLOCK):
        size += len(block)
        sha256.update(block)
    return Digest(size, sha256.hexdigest())
