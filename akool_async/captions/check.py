"""What is wrong with subtitles: too fast, too long, over one another, without a word that had to stay.

The limits are settings. Their defaults come from published guides, each named beside its numbers.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import attrs

from akool_async._model.requests import TranslationRequest
from akool_async._model.validators import not_negative, positive, whole_number
from akool_async.captions.cues import Cue, pair_cues

_ROUNDING: Final = 0.002
"""Seconds that a file in milliseconds may be off from a limit in frames."""


class FaultType(enum.StrEnum):
    """What is wrong with one cue."""

    EMPTY = "empty"
    TIMES = "times"
    OVERLAP = "overlap"
    GAP = "gap"
    TOO_SHORT = "too short"
    TOO_LONG = "too long"
    SPEED = "reading speed"
    LINE_LENGTH = "line length"
    LINES = "lines"
    TERM = "term"


@attrs.frozen(kw_only=True)
class CaptionLimits:
    """What subtitles may be; None leaves a thing unchecked.

    Attributes:
        max_speed: characters a second, spaces included, above 0.
        max_line: characters of a line, above 0. In Chinese, Japanese and Korean, others than theirs count
            half.
        max_lines: lines of a cue, 1 or more.
        min_seconds: how long a cue is shown at least, 0 or more.
        max_seconds: how long at most, above 0.
        min_gap: seconds between two cues, 0 or more; cues may also follow each other without any.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    max_speed: float | None = attrs.field(default=17.0, validator=positive.or_none)
    max_line: float | None = attrs.field(default=42.0, validator=positive.or_none)
    max_lines: int | None = attrs.field(default=2, validator=whole_number.or_none)
    min_seconds: float | None = attrs.field(default=5 / 6, validator=not_negative.or_none)
    max_seconds: float | None = attrs.field(default=7.0, validator=positive.or_none)
    min_gap: float | None = attrs.field(default=2 / 25, validator=not_negative.or_none)


GUIDES: Final[Mapping[str, CaptionLimits]] = MappingProxyType(
    {
        # Netflix, "Timed Text Style Guide: General Requirements": 5/6 s to 7 s, 2 frames, 2 lines; "English
        # Template Timed Text Style Guide": 42 characters a line, 17 a second.
        "netflix": CaptionLimits(),
        # BBC, "Subtitle Guidelines": 160 to 180 words a minute (3 words a second are about 15 characters),
        # two lines, a pause of one second or none. 37 characters are a line of Teletext; for other screens
        # it gives a width in per cent. It sets no longest time.
        "bbc": CaptionLimits(max_speed=15.0, max_line=37.0, min_seconds=1.0, max_seconds=None, min_gap=1.0),
    }
)
"""Limits by who publishes them."""

_BY_LANGUAGE: Final[Mapping[str, tuple[float, float]]] = {
    # Characters a second and a line. Source: Netflix's Timed Text Style Guides for these languages.
    "ja": (4.0, 13.0),
    "ko": (12.0, 16.0),
    "zh": (9.0, 16.0),
    "th": (17.0, 35.0),
}
_WIDE: Final = frozenset({"ja", "ko", "zh"})


def limits_for(target: str, guide: str = "netflix") -> CaptionLimits:
    """Return the limits of a guide for a language.

    Args:
        target: a code such as "ja" or "zh-CN"; "" for one that is not known.
        guide: one of `GUIDES`.
    """
    limits = GUIDES[guide]
    speed, length = _BY_LANGUAGE.get(primary(target), (limits.max_speed, limits.max_line))
    return attrs.evolve(limits, max_speed=speed, max_line=length)


def primary(target: str) -> str:
    """Return the language of a code, without its region."""
    return re.split("[-_]", target.lower())[0]


@attrs.frozen(kw_only=True)
class Terms:
    """Words whose translation is not free.

    Attributes:
        kept: words that stay as they are.
        fixed: words with the translation that they must get.
    """

    kept: tuple[str, ...] = ()
    fixed: Mapping[str, str] = attrs.field(factory=dict)

    @classmethod
    def of_request(cls, request: object) -> Terms:
        """Return the words that a request set."""
        if not isinstance(request, TranslationRequest):
            return cls()
        return cls(kept=request.no_translate_words, fixed=request.fixed_words)


@attrs.frozen
class CaptionFault:
    """One fault of one cue.

    Attributes:
        fault: what kind it is.
        number: which cue it is, from 1, as SRT numbers them.
        start: when the cue begins, in milliseconds.
        message: what is wrong, in words.
    """

    fault: FaultType
    number: int
    start: int
    message: str


def check_cues(
    cues: Sequence[Cue],
    limits: CaptionLimits,
    *,
    target: str = "",
    spoken: Sequence[Cue] = (),
    terms: Terms = Terms(),
) -> list[CaptionFault]:
    """Return what is wrong with subtitles, in the order of the cues.

    Args:
        cues: those of one file.
        limits: what they may be.
        target: their language, which says how characters count.
        spoken: subtitles in the source language; without them no terms are looked for.
        terms: words whose translation is not free.
    """
    found = []
    before: Cue | None = None
    for number, cue in enumerate(cues, start=1):
        faults = [*_time_faults(cue, before, limits), *_text_faults(cue, limits, primary(target) in _WIDE)]
        found += [CaptionFault(fault, number, cue.start, message) for fault, message in faults]
        before = cue
    if terms.kept or terms.fixed:
        found += _term_faults(cues, spoken, terms)
    return sorted(found, key=lambda one: one.number)


def _time_faults(cue: Cue, before: Cue | None, limits: CaptionLimits) -> Iterator[tuple[FaultType, str]]:
    if cue.end <= cue.start:
        yield FaultType.TIMES, "It ends before it begins."
        return
    if limits.min_seconds is not None and cue.seconds < limits.min_seconds - _ROUNDING:
        yield FaultType.TOO_SHORT, f"Shown for {cue.seconds:.2f} s, {limits.min_seconds:.2f} s at least."
    if limits.max_seconds is not None and cue.seconds > limits.max_seconds + _ROUNDING:
        yield FaultType.TOO_LONG, f"Shown for {cue.seconds:.2f} s, {limits.max_seconds:.2f} s at most."
    if before is None:
        return
    gap = (cue.start - before.end) / 1000
    if cue.start < before.start:
        yield FaultType.TIMES, "It begins before the cue that precedes it."
    elif gap < 0:
        yield FaultType.OVERLAP, f"It begins {-gap:.2f} s before the cue that precedes it ends."
    elif limits.min_gap is not None and 0 < gap < limits.min_gap - _ROUNDING:
        yield FaultType.GAP, f"{gap:.2f} s after the cue before: none, or {limits.min_gap:.2f} s at least."


def _text_faults(cue: Cue, limits: CaptionLimits, wide: bool) -> Iterator[tuple[FaultType, str]]:
    lines = cue.text.split("\n")
    widths = [_width(line, wide) for line in lines]
    if not any(widths):
        yield FaultType.EMPTY, "It has no text."
        return
    if limits.max_lines is not None and len(lines) > limits.max_lines:
        yield FaultType.LINES, f"{len(lines)} lines, {limits.max_lines} at most."
    if limits.max_line is not None and max(widths) > limits.max_line:
        yield FaultType.LINE_LENGTH, f"A line of {max(widths):g} characters, {limits.max_line:g} at most."
    if limits.max_speed is not None and cue.end > cue.start:
        speed = sum(widths) / cue.seconds
        if speed > limits.max_speed * (1 + _ROUNDING):
            yield FaultType.SPEED, f"{speed:.1f} characters a second, {limits.max_speed:g} at most."


def _width(line: str, wide: bool) -> float:
    """Return how many characters a line has; marks on one and invisible signs do not count."""
    shown = [char for char in line.strip() if unicodedata.category(char) not in ("Mn", "Me", "Cf", "Cc")]
    if not wide:
        return len(shown)
    return sum(1.0 if unicodedata.east_asian_width(char) in "WF" else 0.5 for char in shown)


def _term_faults(cues: Sequence[Cue], spoken: Sequence[Cue], terms: Terms) -> Iterator[CaptionFault]:
    wanted = {word: word for word in terms.kept} | dict(terms.fixed)
    patterns = {word: _pattern(word) for word in wanted}
    numbers = {id(cue): number for number, cue in enumerate(cues, start=1)}
    pairs = pair_cues(spoken, cues)
    for place, pair in enumerate(pairs):
        if pair.original is None:
            continue
        # A translation may say it a cue earlier or later than the original.
        near = [one.translated for one in pairs[max(place - 1, 0) : place + 2] if one.translated is not None]
        text = _folded(" ".join(cue.text for cue in near))
        said = _folded(pair.original.text)
        for word, translation in wanted.items():
            if patterns[word].search(said) and _folded(translation) not in text:
                cue = pair.translated or next(iter(near), None)
                kept = "is missing" if translation == word else f"is not translated as {translation!r}"
                yield CaptionFault(
                    FaultType.TERM,
                    1 if cue is None else numbers[id(cue)],
                    pair.start,
                    f"{word!r} {kept}.",
                )


def _pattern(word: str) -> re.Pattern[str]:
    # "Art" is not in "start"; scripts without spaces between words have no such borders.
    folded = _folded(word)
    border = r"\b" if folded.isascii() else ""
    left = border if re.match(r"\w", folded) else ""
    right = border if re.search(r"\w$", folded) else ""
    return re.compile(left + re.escape(folded) + right)


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
