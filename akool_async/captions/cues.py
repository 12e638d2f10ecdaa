"""Subtitle files as lists of cues: read whatever the vendor or an editor wrote, write SRT and WebVTT."""

from __future__ import annotations

import os
import re
from bisect import insort
from collections.abc import Iterable, Sequence
from html import escape, unescape
from pathlib import Path
from typing import Final

import attrs
from pysubs2 import SSAFile
from pysubs2.exceptions import Pysubs2Error
from pysubs2.time import ms_to_times

from akool_async._download.files import ForeignFileError, open_regular
from akool_async._download.verify import HEAD, subtitle_ending, text_encoding
from akool_async._model.errors import InvalidRequestError

LARGEST: Final = 8 * 2**20
"""Bytes of a subtitle file; a talk of ten hours has about one."""

_SAME_START: Final = 250
"""Milliseconds by which two cues for one sentence may begin apart."""

_MOST_COMPARED: Final = 50
"""Cues shown at once, or beginning during another, that are compared: a host may send nothing else."""

_TAGS: Final = re.compile(r"\{\\[^}]*\}")
_BLANK_LINES: Final = re.compile(r"\n\s*\n+")


class CaptionFileError(InvalidRequestError):
    """A subtitle file can't be read."""

    advice = "Save it as SRT, ASS or WebVTT, in UTF-8."


@attrs.frozen
class Cue:
    """One subtitle.

    Attributes:
        start: milliseconds from the beginning of the video.
        end: the same.
        text: without markup, its lines separated by newlines.
    """

    start: int
    end: int
    text: str

    @property
    def seconds(self) -> float:
        """How long it is shown."""
        return (self.end - self.start) / 1000


@attrs.frozen
class CuePair:
    """What is said and its translation; None where one of both has no cue at that time."""

    original: Cue | None
    translated: Cue | None

    @property
    def start(self) -> int:
        """When it begins, in milliseconds."""
        return min(cue.start for cue in (self.original, self.translated) if cue is not None)


def read_cues(path: str | os.PathLike[str]) -> tuple[Cue, ...]:
    """Read a subtitle file: SRT, ASS or WebVTT by its content, in UTF-8 or UTF-16.

    Returns:
        The cues in the order of the file, the empty ones included.

    Raises:
        CaptionFileError: it is missing, no file, too large or no subtitles.
    """
    path = Path(path)
    try:
        # Opening a pipe that has taken the file's name would wait for a writer.
        with os.fdopen(open_regular(path, links=0, any_owner=True), "rb") as file:
            data = file.read(LARGEST + 1)
    except ForeignFileError as error:
        raise CaptionFileError(f"{path} can't be read: {error.message}") from error
    except OSError as error:
        raise CaptionFileError(f"{path} can't be read: {error.strerror}.", advice="") from error
    if len(data) > LARGEST:
        raise CaptionFileError(f"{path} has more than {LARGEST >> 20} MiB, which no subtitles have.")
    try:
        return parse_cues(data)
    except CaptionFileError as error:
        raise CaptionFileError(f"{path}: {error.message}") from error


def parse_cues(data: bytes) -> tuple[Cue, ...]:
    """Return the cues of a subtitle file's content.

    Raises:
        CaptionFileError: it is no SRT, ASS or WebVTT, or not in UTF-8 or UTF-16.
    """
    head = data[:HEAD]
    try:
        text = data.decode(text_encoding(head)).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise CaptionFileError("The text is neither UTF-8 nor UTF-16.") from error
    if not text.strip():
        return ()  # what the vendor makes of a video in which nobody speaks
    kind = subtitle_ending(head).removeprefix(".")
    # pysubs2 drops tags that SRT does not know, and with them what a speaker put between < and >.
    options = {"keep_unknown_html_tags": True} if kind == "srt" else {}
    try:
        # Without a format pysubs2 guesses, and takes a page that quotes times for subtitles.
        events = SSAFile.from_string(text, format_=kind, **options) if kind else SSAFile()
    except (Pysubs2Error, ValueError, IndexError) as error:
        raise CaptionFileError(f"The {kind.upper()} can't be read: {error}.") from error
    if not kind:
        raise CaptionFileError("These are no subtitles.")
    # Not by `remove_miscellaneous_events`, which drops short cues that it takes for karaoke.
    shown = (event for event in events if not event.is_comment and not event.is_drawing)
    return tuple(Cue(event.start, event.end, _plain(event.text, kind)) for event in shown)


def _plain(text: str, kind: str) -> str:
    # `plaintext` of pysubs2 removes all braces, which only ASS gives a meaning: "{laughs}" is text in SRT.
    text = _TAGS.sub("", text).replace(r"\N", "\n").replace(r"\n", "\n").replace(r"\h", " ")
    return (unescape(text) if kind == "vtt" else text).strip()


def to_srt(cues: Iterable[Cue]) -> str:
    """Return cues as an SRT file."""
    return "".join(
        f"{number}\n{timestamp(cue.start, ',')} --> {timestamp(cue.end, ',')}\n{_lines(cue.text)}\n\n"
        for number, cue in enumerate(cues, start=1)
    )


def to_vtt(cues: Iterable[Cue]) -> str:
    """Return cues as WebVTT, in which no text is taken for markup; what is never shown is left out."""
    shown = (cue for cue in cues if cue.text.strip() and cue.end > cue.start)
    return "WEBVTT\n\n" + "".join(
        f"{timestamp(cue.start)} --> {timestamp(cue.end)}\n{escape(_lines(cue.text), quote=False)}\n\n"
        for cue in shown
    )


def timestamp(milliseconds: int, point: str = ".") -> str:
    """Return a moment of a video such as "00:01:02.500"."""
    hours, minutes, seconds, rest = ms_to_times(max(milliseconds, 0))
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{rest:03}"


def _lines(text: str) -> str:
    """Return text without blank lines, which would end the cue."""
    return _BLANK_LINES.sub("\n", text.replace("\r", "")).strip()


def pair_cues(original: Sequence[Cue], translated: Sequence[Cue]) -> list[CuePair]:
    """Return both files side by side, by time.

    Each original cue goes to the translated one that it shares most time with; where hundreds are shown at
    once, not all of them are compared. Where several go to one, they become one cue; where a cue has no
    partner, it is alone.
    """
    if len(original) == len(translated) and all(
        abs(one.start - other.start) <= _SAME_START for one, other in zip(original, translated, strict=True)
    ):
        return [CuePair(one, other) for one, other in zip(original, translated, strict=True)]
    partners: dict[int, list[Cue]] = {}
    alone: list[CuePair] = []
    by_start = sorted(range(len(translated)), key=lambda number: translated[number].start)
    begun: list[int] = []  # those that are shown already when a cue begins, the last to end first
    following = 0
    for cue in sorted(original, key=lambda cue: cue.start):
        while following < len(by_start) and translated[by_start[following]].start <= cue.start:
            insort(begun, by_start[following], key=lambda number: -translated[number].end)
            following += 1
        del begun[_MOST_COMPARED:]
        while begun and translated[begun[-1]].end <= cue.start:
            begun.pop()
        best, most = None, (0, 0)
        for number in (*begun, *by_start[following : following + _MOST_COMPARED]):
            other = translated[number]
            shared = min(cue.end, other.end) - max(cue.start, other.start)
            # Of two that share as much the shorter one: a line may be shown for the whole video.
            match = (shared, other.start - other.end)
            if shared > 0 and (best is None or match > most):
                best, most = number, match
        if best is None:
            alone.append(CuePair(cue, None))
        else:
            partners.setdefault(best, []).append(cue)
    for number, other in enumerate(translated):
        found = partners.get(number, [])
        joined = None
        if found:
            end = max(cue.end for cue in found)
            joined = Cue(found[0].start, end, "\n".join(cue.text for cue in found if cue.text))
        alone.append(CuePair(joined, other))
    return sorted(alone, key=lambda pair: pair.start)
