"""What came, looked at before it gets its name: is it what was asked for, is all of it there."""

from __future__ import annotations

import enum
import hashlib
from pathlib import Path
from typing import BinaryIO, Final

import attrs

from akool_async._download import boxes, subtitles
from akool_async._download.verdict import Verdict

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


def judge(path: Path, kind: Kind, *, measured: bool) -> Verdict:
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
            return Verdict.PAGE
        if not beginning.strip():
            return Verdict.BROKEN
        if kind is Kind.SUBTITLES:
            return subtitles.judge(beginning + file.read())
        if boxes.is_mp4(beginning):
            verdict = boxes.walk(file, path.stat().st_size)
            return Verdict.WHOLE if verdict is Verdict.OPEN and measured else verdict
        return Verdict.WHOLE if measured else Verdict.BROKEN


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
