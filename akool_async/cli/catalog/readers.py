"""Read a file of rows: CSV and TSV as spreadsheets and people write them, JSON Lines, YAML, spreadsheets."""

from __future__ import annotations

import codecs
import csv
import json
import os
import stat
from collections.abc import Iterator
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, Final, TypeAlias
from zipfile import BadZipFile, ZipFile

import yaml

from akool_async._model.responses import GZIP_MAGIC
from akool_async.cli.catalog.model import (
    CatalogError,
    CatalogRow,
    CatalogTable,
    IsColumn,
    Issue,
    Layout,
    SourceLocation,
)
from akool_async.cli.catalog.sheets import ENDINGS, read_sheet
from akool_async.cli.catalog.tables import SEPARATORS, Record, count_columns, fill_table
from akool_async.cli.console import shown_argument

_LARGEST: Final = 200 * 1024 * 1024
_DELIMITED: Final = (".csv", ".tsv", ".tab", ".txt")
_JSON_LINES: Final = (".jsonl", ".ndjson")
_YAML: Final = (".yaml", ".yml")
CATALOG_ENDINGS: Final = (*_DELIMITED, *_JSON_LINES, *_YAML, *ENDINGS)
_ADVICE: Final = {
    **dict.fromkeys((".xls", ".xlsb", ".numbers"), "Save it as .xlsx, .ods or CSV UTF-8."),
    ".json": "JSON Lines has one object on each line.",
}
_BINARY: Final = (
    (b"%PDF", "a PDF document"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file (.xls), or another document of Office"),
    (GZIP_MAGIC, "a compressed file (gzip)"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"SQLite", "a database, perhaps a journal"),
)
"""How files begin that are no text. Source: the formats' own specifications."""

_ARCHIVE: Final = b"PK\x03\x04"
_WORKBOOKS: Final = {"xl/workbook.xml": ".xlsx", "xl/workbook.bin": ".xlsb", "content.xml": ".ods"}
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_table(path: Path, is_column: IsColumn, sheet: str = "") -> CatalogTable:
    """Read a file by the format that its ending names; of a spreadsheet, the sheet of this name.

    Raises:
        CatalogError: it can't be read, or is of no format that is known.
    """
    ending = path.suffix.lower()
    if ending not in CATALOG_ENDINGS and not os.path.isdir(path):  # noqa: PTH112 - it may have any name
        suffix = Path(_shown(path)).suffix
        said = f'ends in "{suffix}"' if suffix else "has no ending"
        text = f"The file {said}; known are {', '.join(CATALOG_ENDINGS)}. {_ADVICE.get(ending, '')}"
        raise _refusal(path, text)
    try:
        found = path.stat()
        # Opening a pipe would wait for a program that writes into it.
        if not stat.S_ISREG(found.st_mode):
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
            raise _refusal(path, f"This is {what}, not a file. Write the rows into a file, and name that.")
        if found.st_size > _LARGEST:
            text = f"The file is larger than {_LARGEST // 1024 // 1024} MiB; cut it into several."
            raise _refusal(path, text)
        with path.open("rb") as stream:
            start = stream.read(8)
    except OSError as error:
        raise _refusal(path, f"The file can't be read: {error.strerror}.") from error
    table = CatalogTable(Layout(str(path)))
    if ending in ENDINGS:
        read_sheet(path, table, is_column, sheet)
        return table
    if start.startswith(_ARCHIVE):
        raise _refusal(path, _archive_advice(path))
    for beginning, what in _BINARY:
        if start.startswith(beginning):
            raise _refusal(path, f"This is {what}, whatever its ending says. {_AS_TEXT}")
    # A byte order mark decides; guessing an encoding would turn names and words into other ones.
    encoding = next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")
    if ending in _YAML:
        read_yaml("".join(_lines(path, encoding)), table)
    elif ending in _JSON_LINES:
        table.rows = _json_rows(path, encoding, table)
    else:
        _read_delimited(path, encoding, table, is_column)
    return table


_AS_TEXT: Final = "Save the table as .xlsx, .ods or CSV UTF-8."


def _archive_advice(path: Path) -> str:
    try:
        with ZipFile(path) as archive:
            names = {*archive.namelist()}
    except (OSError, BadZipFile):
        names = set()
    ending = next((ending for name, ending in _WORKBOOKS.items() if name in names), "")
    if ending in ENDINGS:
        return f"This is a spreadsheet under another ending. Rename it to {path.stem}{ending}."
    return f"This is an archive or a document, not text. {_AS_TEXT}"


def _refusal(path: Path, text: str, *, line: int = 0) -> CatalogError:
    return CatalogError([Issue(SourceLocation(_shown(path), line), text.strip())])


def _shown(path: Path) -> str:
    return str(path) if os.path.lexists(path) else shown_argument(path)


def _lines(path: Path, encoding: str) -> Iterator[str]:
    """Return the lines of a file with their ends, without byte order marks.

    Raises:
        CatalogError: it is no text of this encoding.
    """
    try:
        with path.open(encoding=encoding, newline="") as stream:
            # A tool that adds a mark to a file which has one makes two: the first column would be unknown.
            yield from chain([stream.readline().lstrip("\ufeff")], stream)
    except UnicodeDecodeError as error:
        line, text = _undecodable(path, encoding)
        raise _refusal(path, text, line=line) from error


def _undecodable(path: Path, encoding: str) -> tuple[int, str]:
    """Return the line that can't be read, and what to do."""
    data = path.read_bytes()  # the error's own place is within a part of the file
    if encoding == "utf-8" and b"\0" in data:
        return 0, f"This is no text. {_AS_TEXT}"
    line = 0
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
    return line, 'This is not UTF-8 text. Save the file again as "CSV UTF-8" or in UTF-8.'


# CSV and TSV.

_SAMPLE: Final = 30
"""Lines by which the separator is found."""

_HINT: Final = "sep="
"""Excel's first line, which names the separator."""

_LONGEST_CELL: Final = 1024 * 1024


def _read_delimited(path: Path, encoding: str, table: CatalogTable, is_column: IsColumn) -> None:
    lines = _lines(path, encoding)
    first = next(lines, "")
    # Excel writes "sep=;" as a first line of its own in some countries; it is not a header.
    said = first.strip("\r\n").strip('"')
    hint = said[len(_HINT) :][:1] if said.lower().startswith(_HINT) else ""
    before = 1 if hint else 0
    sample = list(islice(lines if hint else chain([first], lines), _SAMPLE))
    separator = hint or _separator(sample, path, is_column)
    records = _records(chain(sample, lines), separator, table, first=1 + before)
    fill_table(table, records, is_column, separator=separator)


def _separator(sample: list[str], path: Path, is_column: IsColumn) -> str:
    """Return the separator that finds most known columns in a row, and most columns at all."""
    if path.suffix.lower() in (".tsv", ".tab"):
        return "\t"

    def known(separator: str) -> tuple[int, int]:
        rows = [[name.strip().strip('"') for name in line.split(separator)] for line in sample]
        return max(((count_columns(row, is_column), len(row)) for row in rows), default=(0, 0))

    return max(SEPARATORS, key=known)


def _records(lines: Iterator[str], separator: str, table: CatalogTable, *, first: int) -> Iterator[Record]:
    # The limit is global to the csv module; its default of 128 KiB is too small for a glossary cell.
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    line = first
    try:
        for row, values in zip(count(1), reader):
            # One number where they are equal: there may be very many.
            yield line, line if row == line else row, values
            line = first + reader.line_num
    except csv.Error as error:
        place = SourceLocation(table.layout.file, line)
        table.add_mistake(place, _ERRORS.get(str(error), f"It can't be read as a table: {error}."))
    except CatalogError as error:  # it is no text; what was read so far is judged all the same
        table.mistakes += error.mistakes


_ERRORS: Final = {
    "unexpected end of data": "A quotation mark is opened here and never closed.",
    **{
        f"'{separator}' expected after '\"'": "Something follows a closing quotation mark; "
        "a quotation mark within a cell is written twice."
        for separator in SEPARATORS
    },
}


def _json_rows(path: Path, encoding: str, table: CatalogTable) -> Iterator[CatalogRow]:
    """Read one object from each line."""
    layout, file = table.layout, table.layout.file
    doubled: set[str] = set()

    def to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # Of two equal names, json would keep the last without a word.
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            doubled.update(name for name in names if names.count(name) > 1)
        return found

    for number, line in enumerate(_lines(path, encoding), 1):
        if not line.strip():
            continue
        doubled.clear()
        try:
            found = json.loads(line, object_pairs_hook=to_dict)
        except ValueError as error:
            place = SourceLocation(file, number, str(getattr(error, "colno", "") or ""))
            what = getattr(error, "msg", None) or str(error)
            table.add_mistake(place, f"This is not JSON: {what}.")
            continue
        except RecursionError:
            table.add_mistake(SourceLocation(file, number), "This is nested too deeply.")
            continue
        if not isinstance(found, dict):
            table.add_mistake(SourceLocation(file, number), "Each line has to hold one object: {...}.")
            continue
        for name in sorted(doubled):
            place = SourceLocation(file, number, field=name)
            table.add_mistake(place, "It is in this line twice.")
        yield CatalogRow(layout, number, 0, found)


_ROWS: Final = ("videos", "rows", "words")
_DEFAULTS: Final = "defaults"
_MERGE: Final = "tag:yaml.org,2002:merge"
_DEEPEST: Final = 1
"""A cell is text, a list or a mapping of texts. What is nested more deeply could be a few lines that unfold
into gigabytes."""

_Pairs: TypeAlias = dict[str, tuple[yaml.Node, yaml.Node]]
_Merged: TypeAlias = dict[int, _Pairs | None]
"""The pairs of mappings by the id of their node; None while they are read."""


def read_yaml(text: str, table: CatalogTable) -> None:
    """Fill a table with the rows of a YAML text: a list, or a list under `videos` beside `defaults`."""
    file = table.layout.file
    try:
        # Composed, not loaded: nodes know their line, and `no` stays the language it is.
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = (
            SourceLocation(file)
            if mark is None
            else SourceLocation(file, mark.line + 1, str(mark.column + 1))
        )
        table.add_mistake(place, f"This is not YAML: {getattr(error, 'problem', None) or error}.")
        return
    except RecursionError:
        table.add_mistake(SourceLocation(file), "This is nested too deeply.")
        return
    rows: list[CatalogRow] = []
    merged: _Merged = {}
    for node in _row_nodes(root, table, merged):
        if isinstance(node, yaml.MappingNode):
            rows.append(_row(node, table, merged))
        else:
            table.add_mistake(_place(node, file), 'Each row has to be a mapping: "url: ...".')
    table.rows = rows


def _row_nodes(root: yaml.Node | None, table: CatalogTable, merged: _Merged) -> Iterator[yaml.Node]:
    file = table.layout.file
    if isinstance(root, yaml.SequenceNode):
        yield from root.value
        return
    if not isinstance(root, yaml.MappingNode):
        where = SourceLocation(file) if root is None else _place(root, file)
        table.add_mistake(where, "The file has to hold a list of rows.")
        return
    for key, value in root.value:
        if key.value in _ROWS and isinstance(value, yaml.SequenceNode):
            yield from value.value
        elif key.value == _DEFAULTS and isinstance(value, yaml.MappingNode):
            table.defaults = _row(value, table, merged)
        else:
            text = 'Only "defaults" with a mapping and "videos" with a list of rows are allowed here.'
            table.add_mistake(_place(key, file), text)


def _row(node: yaml.MappingNode, table: CatalogTable, merged: _Merged) -> CatalogRow:
    file = table.layout.file
    cells: dict[str, Any] = {}
    places = {"": _place(node, file)}
    for name, (_, value) in _pairs(node, table, merged).items():
        places[name] = _place(value, file, name)
        try:
            cells[name] = _value(value)
        except (TypeError, ValueError):
            table.add_mistake(places[name], "This value can't be read.")
    return CatalogRow(Layout(file, places=places), places[""].line, 0, cells)


def _pairs(node: yaml.MappingNode, table: CatalogTable, merged: _Merged) -> _Pairs:
    """Return a mapping's pairs by name, and those that a merge key ("<<") adds."""
    known = merged.get(id(node))
    if known is not None:
        return known
    merged[id(node)] = None
    file = table.layout.file
    own: _Pairs = {}
    others: _Pairs = {}
    for key, value in node.value:
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
        # YAML keeps the last of two equal keys: the first languages would be lost without a word.
        if name in own:
            table.add_mistake(_place(key, file, name), "It is in this row twice.")
        if key.tag != _MERGE:
            own[name] = key, value
            continue
        for each in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            if not isinstance(each, yaml.MappingNode) or merged.get(id(each), ()) is None:
                text = 'A merge key ("<<") takes another mapping, such as *name, or a list of some.'
                table.add_mistake(_place(key, file, name), text)
            else:  # of several the first wins. Source: yaml.org/type/merge.html
                others = _pairs(each, table, merged) | others
    merged[id(node)] = others | own
    return others | own


def _value(node: yaml.Node, depth: int = 0) -> Any:
    """Return text, a list or a mapping: "no" stays a language, 1:30 no number, and 2026-01-01 no date."""
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if isinstance(node, yaml.ScalarNode):
        return None if node.tag.endswith(":null") else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, depth + 1) for item in node.value]
    return {_value(key, depth + 1): _value(value, depth + 1) for key, value in node.value}


def _place(node: yaml.Node, file: str, field: str = "") -> SourceLocation:
    mark = node.start_mark
    return SourceLocation(file, mark.line + 1, str(mark.column + 1), field)
