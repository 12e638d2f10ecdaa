"""Both languages in one table, for people who correct subtitles in a spreadsheet, and back."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias
from zipfile import BadZipFile

from akool_async._environment import needs_extra
from akool_async._model.csv_cells import escape_formula, unescape_formula
from akool_async.captions.cues import (
    LARGEST,
    CaptionFileError,
    Cue,
    CuePair,
    pair_cues,
    read_cues,
    timestamp,
    to_srt,
)

Layout: TypeAlias = Literal["srt", "csv", "xlsx", "bilingual"]
"""What is laid out: the subtitles by themselves, a table, or one SRT with both languages in each cue."""

HEADER: Final = ("number", "start", "end", "original", "translation", "comment")
_WIDTHS: Final = (8, 14, 14, 60, 60, 30)
_TIME: Final = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?")


def lay_out(
    folder: Path, name: str, spoken: Sequence[Cue], translated: Sequence[Cue], layouts: Iterable[Layout]
) -> tuple[list[Path], list[Path]]:
    """Write subtitles for a reviewer; nothing that is there already is overwritten.

    Args:
        folder: where they go, which exists.
        name: the result's name, such as "talk.ja".
        spoken: the subtitles in the source language.
        translated: those in the target language.
        layouts: what is wanted.

    Returns:
        The files that were written, and those that were there already.

    Raises:
        OSError: a file can't be written.
    """
    pairs = pair_cues(spoken, translated)
    made: dict[str, Callable[[], bytes]] = {}
    for layout in layouts:
        match layout:
            case "srt":
                made[f"{name}.srt"] = lambda: to_srt(translated).encode()
                made[f"{name}.original.srt"] = lambda: to_srt(spoken).encode()
            case "csv":
                made[f"{name}.csv"] = lambda: _csv(pairs)
            case "xlsx":
                made[f"{name}.xlsx"] = lambda: _xlsx(pairs)
            case "bilingual":
                made[f"{name}.bilingual.srt"] = lambda: to_srt(map(_both, pairs)).encode()
    written, kept = [], []
    for file_name, content in made.items():
        path = folder / file_name
        try:
            with path.open("xb") as file:  # a reviewer may be working in the one that is there
                file.write(content())
            written.append(path)
        except FileExistsError:
            kept.append(path)
    return written, kept


def _both(pair: CuePair) -> Cue:
    cues = [cue for cue in (pair.translated, pair.original) if cue is not None]
    text = "\n".join(cue.text for cue in cues if cue.text)
    return Cue(cues[0].start, cues[0].end, text)


def _rows(pairs: Iterable[CuePair]) -> Iterable[tuple[int, str, str, str, str]]:
    for number, pair in enumerate(pairs, start=1):
        cue = pair.translated or pair.original
        assert cue is not None  # noqa: S101 - a pair has one of both
        original, translation = ("" if one is None else one.text for one in (pair.original, pair.translated))
        yield number, timestamp(cue.start), timestamp(cue.end), original, translation


def _csv(pairs: Iterable[CuePair]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(HEADER)
    for number, start, end, *texts in _rows(pairs):
        writer.writerow((number, start, end, *map(escape_formula, texts), ""))
    return text.getvalue().encode("utf-8-sig")  # without the mark Excel takes it for another encoding


def _xlsx(pairs: Iterable[CuePair]) -> bytes:
    with needs_extra("captions", "Tables of Excel"):
        from openpyxl import Workbook
        from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
        from openpyxl.styles import Alignment, Font

    book = Workbook()
    sheet = book.active
    assert sheet is not None  # noqa: S101 - a new book has one
    sheet.title = "subtitles"
    sheet.append(HEADER)
    for row in _rows(pairs):
        sheet.append([ILLEGAL_CHARACTERS_RE.sub("", cell) if isinstance(cell, str) else cell for cell in row])
        for cell in sheet[sheet.max_row][1:]:
            cell.data_type = "s"  # "=" at its beginning makes no formula of it
            cell.alignment = Alignment(wrap_text=True, vertical="top")
    for letter, width in zip("ABCDEF", _WIDTHS, strict=True):
        sheet[f"{letter}1"].font = Font(bold=True)
        sheet.column_dimensions[letter].width = width
    sheet.freeze_panes = "A2"
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def read_translation(path: Path) -> tuple[Cue, ...]:
    """Read corrected subtitles: a subtitle file, or the column `translation` of a table.

    Raises:
        CaptionFileError: it can't be read, or a row has no valid times.
        MissingExtraError: openpyxl is needed for it and missing.
    """
    if path.suffix.lower() not in (".csv", ".xlsx"):
        return read_cues(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CaptionFileError(f"{path} can't be read: {error.strerror}.", advice="") from error
    if len(data) > LARGEST:
        raise CaptionFileError(f"{path} has more than {LARGEST >> 20} MiB, which no table of subtitles has.")
    rows = _read_csv(path, data) if path.suffix.lower() == ".csv" else _read_xlsx(path, data)
    if not rows or not {"start", "end", "translation"} <= {*rows[0]}:
        raise CaptionFileError(f"{path} has no columns start, end and translation.", advice="")
    cues = []
    for number, row in enumerate(rows, start=2):
        times = [_milliseconds(row.get(name, "")) for name in ("start", "end")]
        text = unescape_formula(row.get("translation", ""))
        if times[0] is None or times[1] is None:
            raise CaptionFileError(
                f"{path}, row {number}: start and end must be times such as 00:01:02.500, not "
                f"{row.get('start', '')!r} and {row.get('end', '')!r}.",
                advice="A spreadsheet may have changed them: use --table xlsx, or copy them from a new pull.",
            )
        if text.strip():  # a row without a translation is a line of the original alone
            cues.append(Cue(times[0], times[1], text.replace("\r\n", "\n").strip()))
    return tuple(sorted(cues, key=lambda cue: cue.start))


def _read_csv(path: Path, data: bytes) -> list[Mapping[str, str]]:
    try:
        text = data.decode("utf-8-sig")
        separator = ";" if text.partition("\n")[0].count(";") > 1 else ","
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, restval="", strict=True)
        return [{str(name).strip().lower(): value for name, value in row.items() if name} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise CaptionFileError(f"{path} can't be read: {error}.", advice="Save it as CSV UTF-8.") from error


def _read_xlsx(path: Path, data: bytes) -> list[Mapping[str, str]]:
    with needs_extra("captions", "Tables of Excel"):
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException

    try:
        sheet = load_workbook(io.BytesIO(data), read_only=True, data_only=True).active
        cells = [] if sheet is None else [*sheet.iter_rows(values_only=True)]
    except (BadZipFile, InvalidFileException, KeyError, ValueError, OSError) as error:
        raise CaptionFileError(f"{path} is no workbook of Excel.", advice="Save it as .xlsx.") from error
    names = [str(name or "").strip().lower() for name in cells[0]] if cells else []
    return [
        dict(zip(names, ("" if value is None else str(value) for value in row), strict=False))
        for row in cells[1:]
        if any(value not in (None, "") for value in row)
    ]


def _milliseconds(text: str) -> int | None:
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    hours, minutes, seconds, rest = (group or "0" for group in found.groups())
    return (int(hours) * 3600 + int(minutes) * 60 + int(seconds)) * 1000 + int(rest.ljust(3, "0"))
