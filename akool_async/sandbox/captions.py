"""Captions: read from SRT and ASS, written as SRT, and invented where there are none.

A caption is a text with two moments. Nothing here knows about video files (see `rendering`) or about
languages (see `pseudo`).
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import attrs

from akool_async.sandbox.pseudo import pseudo_localise

__all__ = ["Caption", "format_srt", "parse", "pseudo_localise", "transcript", "without_overrides"]

_LINE_END: Final = re.compile(r"\r\n|\r|\n")

_MOMENT: Final = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,6}))?"

_SRT_TIMING: Final = re.compile(rf"{_MOMENT}\s*-->\s*{_MOMENT}(?:\s.*)?", re.ASCII)

_SRT_INDEX: Final = re.compile(r"\d{1,9}", re.ASCII)

_ASS_MOMENT: Final = re.compile(_MOMENT, re.ASCII)

_ASS_FIELDS: Final = "Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text"

_ASS_DRAWING: Final = re.compile(r"\{[^}]*\\p[1-9][^}]*\}.*?(?=\{[^}]*\\p0|$)", re.DOTALL)

_ASS_OVERRIDE: Final = re.compile(r"\{[^}]*\}")

_BYTE_ORDER_MARK: Final = "\ufeff"

_WHO: Final = (
    "The harbour crew",
    "Our night baker",
    "A patient gardener",
    "The lamplighter",
    "My neighbour",
)

_DOES: Final = ("counts", "repairs", "paints", "carries", "remembers", "measures")

_WHAT: Final = ("every lantern", "the long bridge", "three wooden boats", "an old map", "the morning bread")

_WHEN: Final = ("before sunrise.", "without any hurry.", "in the rain.", "twice a week.", "and smiles.")

_SENTENCE_SECONDS: Final = (2.0, 4.0)

_SHORTEST_LAST: Final = 1.0


def _not_before_start(caption: Caption, _attribute: attrs.Attribute[float], end: float) -> None:
    if not 0 <= caption.start <= end < math.inf:
        raise ValueError(f"a caption can't last from {caption.start} s to {end} s")


@attrs.frozen
class Caption:
    """A text and when it is seen.

    Args:
        start: seconds from the start of the video, 0 or more.
        end: seconds from the start of the video, not before `start`.
        text: what is shown; lines are separated by a line feed.
    """

    start: float
    end: float = attrs.field(validator=_not_before_start)
    text: str


def parse(text: str) -> tuple[Caption, ...]:
    """Read SRT or ASS, whichever it is, sorted by start; formatting is dropped where it is ASS.

    Leading byte order marks, any line ends, missing SRT indices and a dot or comma before the fraction are
    all taken.

    Raises:
        ValueError: what stands there is neither; the message names the line, counted from 1.
    """
    lines = _LINE_END.split(text.removeprefix(_BYTE_ORDER_MARK))
    captions = _parse_ass(lines) if _looks_like_ass(lines) else _parse_srt(lines)
    return tuple(sorted(captions, key=lambda caption: (caption.start, caption.end)))


def format_srt(captions: Iterable[Caption]) -> str:
    """Write SRT with indices from 1 and milliseconds after a comma; blank lines inside a text are dropped."""
    return "".join(
        f"{index}\n{_srt_moment(caption.start)} --> {_srt_moment(caption.end)}\n{_srt_text(caption.text)}\n"
        for index, caption in enumerate(captions, start=1)
    )


def without_overrides(text: str) -> str:
    """Give the words of an ASS text: line ends as line feeds, no formatting, no drawings."""
    bare = _ASS_OVERRIDE.sub("", _ASS_DRAWING.sub("", text))
    broken = bare.replace(r"\N", "\n").replace(r"\n", " ").replace(r"\h", " ")
    return "\n".join(line.strip() for line in broken.split("\n")).strip("\n")


def transcript(seconds: float, seed: int) -> tuple[Caption, ...]:
    """Invent English captions that follow each other from 0 to the end, the same for the same arguments.

    Args:
        seconds: how long the video is; 0 gives no captions.
        seed: any number; another one gives other sentences.

    Raises:
        ValueError: a length that is negative, infinite or not a number.
    """
    if not 0 <= seconds < math.inf:
        raise ValueError(f"a video can't be {seconds} s long")
    draw = random.Random(seed)  # noqa: S311 - sentences, not secrets
    captions, start = [], 0.0
    while start < seconds:
        end = round(start + draw.uniform(*_SENTENCE_SECONDS), 3)
        if seconds - end < _SHORTEST_LAST:
            end = seconds
        sentence = " ".join(draw.choice(part) for part in (_WHO, _DOES, _WHAT, _WHEN))
        captions.append(Caption(start, end, sentence))
        start = end
    return tuple(captions)


def _nonsense(number: int, why: str) -> ValueError:
    return ValueError(f"line {number} of the captions: {why}")


def _caption(number: int, moments: Sequence[str | None], text: str) -> Caption:
    """Make a caption of what the time expressions found: twice hours, minutes, seconds, fraction."""
    start, end = _seconds(number, moments[:4]), _seconds(number, moments[4:])
    if end < start:
        raise _nonsense(number, "it ends before it starts")
    return Caption(start, end, text)


def _seconds(number: int, moment: Sequence[str | None]) -> float:
    hours, minutes, seconds = (int(part or 0) for part in moment[:3])
    if minutes > 59 or seconds > 59:
        raise _nonsense(number, "a minute has 60 seconds and an hour 60 minutes")
    return round(hours * 3600 + minutes * 60 + seconds + float(f"0.{moment[3] or 0}"), 6)


def _parse_srt(lines: Sequence[str]) -> Iterator[Caption]:
    """Walk over the cues: an index that may be missing, the timing, text up to a blank or the next cue."""
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        at = _timing_line(lines, at)
        timing = _SRT_TIMING.fullmatch(lines[at].strip())
        if timing is None:
            raise _nonsense(
                at + 1, f"expected times like 00:00:01,000 --> 00:00:02,000, not {lines[at][:40]!r}"
            )
        text_ends = _end_of_text(lines, at + 1)
        text = "\n".join(line.strip() for line in lines[at + 1 : text_ends])
        yield _caption(at + 1, timing.groups(), text)
        at = text_ends


def _timing_line(lines: Sequence[str], at: int) -> int:
    is_index = _SRT_INDEX.fullmatch(lines[at].strip()) is not None
    return at + 1 if is_index and at + 1 < len(lines) else at


def _end_of_text(lines: Sequence[str], at: int) -> int:
    while at < len(lines) and lines[at].strip() and not _starts_cue(lines, at):
        at += 1
    return at


def _starts_cue(lines: Sequence[str], at: int) -> bool:
    """Whether a cue starts here without the blank line that ought to stand before it."""
    return _SRT_TIMING.fullmatch(lines[_timing_line(lines, at)].strip()) is not None


def _srt_moment(seconds: float) -> str:
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02},{milliseconds:03}"


def _srt_text(text: str) -> str:
    """Give the lines of a text, none of which ends the cue or looks like the next one."""
    lines = (line.strip().replace("-->", "→") for line in _LINE_END.split(text))
    return "".join(f"{line}\n" for line in lines if line)


def _looks_like_ass(lines: Sequence[str]) -> bool:
    first = next((line.strip() for line in lines if line.strip() and not line.startswith(";")), "")
    return bool(re.match(r"\[[^\]]+\]$|(?:Format|Dialogue):", first, re.IGNORECASE))


def _parse_ass(lines: Sequence[str]) -> Iterator[Caption]:
    section, fields = "events", _field_names(_ASS_FIELDS)
    for number, line in enumerate((line.strip() for line in lines), start=1):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip().lower()
        elif section == "events" and line and not line.startswith((";", "!:")):
            kind, colon, rest = line.partition(":")
            if not colon:
                raise _nonsense(number, f"expected an event, not {line[:40]!r}")
            if kind.strip().lower() == "format":
                fields = _event_fields(number, rest)
            elif kind.strip().lower() == "dialogue":
                yield _dialogue(number, fields, rest)


def _field_names(text: str) -> list[str]:
    return [name.strip().lower() for name in text.split(",")]


def _event_fields(number: int, text: str) -> list[str]:
    fields = _field_names(text)
    if not {"start", "end"}.issubset(fields) or fields[-1] != "text":
        raise _nonsense(number, "the format needs Start and End, and Text as its last field")
    return fields


def _dialogue(number: int, fields: Sequence[str], rest: str) -> Caption:
    values = rest.split(",", len(fields) - 1)
    if len(values) < len(fields):
        raise _nonsense(number, f"expected {len(fields)} fields, found {len(values)}")
    event = dict(zip(fields, values, strict=True))
    start, end = (_ASS_MOMENT.fullmatch(event[name].strip()) for name in ("start", "end"))
    if start is None or end is None:
        raise _nonsense(number, "expected times like 0:00:01.00")
    return _caption(number, start.groups() + end.groups(), without_overrides(event["text"]))
