"""Check whether a downloaded file is what it should be and complete, by its content alone.

An MP4 file is complete if its boxes fill it exactly and include an index and media data
(Source: ISO/IEC 14496-12, 4.2). A subtitle file never says where it ends. No check reads a file whole.
"""

from __future__ import annotations

import enum
import hashlib
import io
import re
import struct
from io import BufferedReader
from typing import Final

import attrs

from akool_async._model.responses import GZIP_MAGIC

HEAD: Final = 64 * 1024
"""Bytes of a file that decide what it is."""

_TAIL: Final = 4 * 1024
"""Bytes in which the last line of subtitles is looked for."""

_MAX_BOXES: Final = 250_000
"""Boxes of one video; a day in fragments of one second has some 180,000. A host could send millions."""

_MAX_EMPTY_BOXES: Final = 1_000
"""Boxes without content, of which 64 MiB would hold 8 million."""

_FIRST_BOXES: Final = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"})
_INDEX_BOXES: Final = frozenset({b"moov", b"moof"})
_TOP_BOXES: Final = _FIRST_BOXES | {
    *(b"moof", b"mfra", b"sidx", b"ssix", b"udta", b"meta", b"uuid", b"pdin", b"emsg", b"prft", b"junk")
}
"""Boxes at the top level of a file; what looks like another one at its end is not a box."""

_MAGIC: Final = {
    0: (
        b"\x1a\x45\xdf\xa3",
        b"FLV\x01",
        b"OggS\x00",
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        b"\x00\x00\x01\xba",
    ),
    8: (b"AVI ",),
}
"""How Matroska and WebM, FLV, Ogg, ASF, MPEG-PS and AVI files begin, by position."""

_TIME: Final = r"(\d{1,3}:)?\d{1,2}:\d{2}[,.]\d{1,3}"
_TIMES: Final = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(\s.*)?", re.ASCII)
_BEGUN_TIMES: Final = re.compile(rf"\s*{_TIME}\s*-->", re.ASCII)
_PART_OF_TIMES: Final = re.compile(r"[\d:.,\s]*-{0,2}", re.ASCII)


class Kind(enum.Enum):
    """What a file should be."""

    VIDEO = "video"
    SUBTITLES = "subtitles"


class FileVerdict(enum.Enum):
    """Whether a file is complete."""

    COMPLETE = "complete"
    UNKNOWN_END = "may be complete; its content does not say where it ends"
    DAMAGED = "its end is missing, or its structure is broken"
    INVALID = "something else"


@attrs.frozen
class Digest:
    """The size of a file in bytes, and its hash."""

    size: int
    sha256: str


def digest(file: BufferedReader) -> Digest:
    """Return size and hash of a file."""
    file.seek(0)
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Digest(file.tell(), sha256)


def verify(file: BufferedReader, kind: Kind, *, measured: bool) -> FileVerdict:
    """Judge a file; `measured` says that it has the length that its host announced."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(HEAD)
    if kind is Kind.SUBTITLES:
        return check_subtitles(file, size, head)
    # Only what begins as a video does is believed, whatever its length: an error page that is saved under
    # the result's name would count as delivered, and the paid result would expire.
    if head[4:8] in _FIRST_BOXES:
        verdict = check_mp4(file, size)
    elif _is_other_container(head):
        verdict = FileVerdict.UNKNOWN_END
    else:
        return FileVerdict.INVALID
    return FileVerdict.COMPLETE if measured and verdict is FileVerdict.UNKNOWN_END else verdict


def _is_other_container(head: bytes) -> bool:
    if any(head[position:].startswith(magic) for position, magic in _MAGIC.items()):
        return head[8:12] != b"AVI " or head.startswith(b"RIFF")
    # MPEG-TS has a sync byte at every 188th position, behind a timestamp of 4 bytes on some discs.
    streams = ((0, 188, 376), (4, 196, 388))
    return not head[:512].isascii() and any(
        all(head[position : position + 1] == b"G" for position in positions) for positions in streams
    )


def check_mp4(file: BufferedReader, size: int) -> FileVerdict:
    """Judge a file made of boxes. Bytes behind the last box are accepted where index and media are there."""
    position, empty, kinds = 0, 0, set[bytes]()
    for _ in range(_MAX_BOXES):
        playable = b"mdat" in kinds and not kinds.isdisjoint(_INDEX_BOXES)
        if position == size:
            if not playable:
                return FileVerdict.DAMAGED
            # Any number of fragments may follow, so only a file with one index says where it ends.
            return FileVerdict.UNKNOWN_END if b"moof" in kinds else FileVerdict.COMPLETE
        file.seek(position)
        header = file.read(16)
        length, kind = struct.unpack(">I4s", header[:8]) if len(header) >= 8 else (0, b"")
        smallest = 8
        if length == 1:  # the real length follows, in 64 bits
            length, smallest = int.from_bytes(header[8:], "big"), 16
        if length == 0 and kind in _TOP_BOXES:  # it reaches to the end of the file, wherever that is
            open_end = playable or (kind == b"mdat" and not kinds.isdisjoint(_INDEX_BOXES))
            return FileVerdict.UNKNOWN_END if open_end else FileVerdict.DAMAGED
        fits = smallest <= length <= size - position and kind.isascii()
        if not fits:
            if kind in _TOP_BOXES and length >= smallest:
                # The letters of a text make a length of hundreds of megabytes: "Are free" is no box.
                text = position == 0 and header[0] >= ord("\t")
                return FileVerdict.INVALID if text else FileVerdict.DAMAGED
            # In a file of fragments it may be the header of the next one that is cut.
            whole = playable and b"moof" not in kinds
            return FileVerdict.UNKNOWN_END if whole else FileVerdict.DAMAGED
        empty += length == smallest
        if empty > _MAX_EMPTY_BOXES:
            break
        kinds.add(kind)
        position += length
    return FileVerdict.INVALID


def check_subtitles(file: BufferedReader, size: int, head: bytes) -> FileVerdict:
    """Judge a subtitle file by its beginning and its last line."""
    if not subtitle_ending(head):
        return FileVerdict.INVALID
    file.seek(max(size - _TAIL, 0) & ~1)  # not within a character of UTF-16
    lines = file.read(_TAIL + 1).decode(text_encoding(head), "replace").splitlines()
    number, last = ["", *lines][-2:]
    if _TIMES.fullmatch(last):
        return FileVerdict.UNKNOWN_END
    # A number after an empty line begins a cue, whose times are in the next line.
    begun = number.strip().isdecimal() and (len(lines) < 3 or not lines[-3].strip())
    bare = last.strip().isdecimal() and not number.strip()
    cut = bare or _BEGUN_TIMES.match(last) or (begun and _PART_OF_TIMES.fullmatch(last))
    return FileVerdict.DAMAGED if cut else FileVerdict.UNKNOWN_END


def subtitle_ending(head: bytes) -> str:
    """Return the ending of a subtitle file that begins so: .srt, .ass or .vtt; "" for other files."""
    text = head.decode(text_encoding(head), "replace").lstrip("\ufeff \t\r\n")
    if text.startswith("WEBVTT"):
        return ".vtt"
    if text[:13].lower() == "[script info]":
        return ".ass"
    if text[:1] in ("<", "{"):  # pages and error documents may contain times, too
        return ""
    return ".srt" if any(map(_TIMES.fullmatch, text.splitlines())) else ""


def describe_content(file: BufferedReader) -> str:
    """Return in words what a file is that was refused."""
    file.seek(0)
    head = file.read(512)
    text = head.decode(text_encoding(head), "replace").strip("\ufeff \t\r\n")
    if not text:
        return "an empty file"
    if head.startswith(GZIP_MAGIC):
        return "a gzip-compressed file"
    if not text.replace("\r", "").replace("\n", "").replace("\t", "").isprintable():
        return "a file of an unknown format"
    return {"<": "a page", "{": "an error document"}.get(text[0], "a text")


def text_encoding(head: bytes) -> str:
    """Return in which encoding a text is, by its byte order mark or the zeros in it."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16-le" if head[0] == 0xFF else "utf-16-be"
    if b"\x00" in head[:64]:
        return "utf-16-be" if head.startswith(b"\x00") else "utf-16-le"
    return "utf-8"
