"""Read a file of rows: CSV and TSV as spreadsheets and people write them, JSON Lines, YAML."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from akool_async.cli.catalog.model import (
    CatalogError,
    CatalogRow,
    CatalogTable,
    Cell,
    IsColumn,
    Issue,
    SourceLocation,
)

_SEPARATORS: Final = ",;\t|"
_HINT: Final = "sep="
"""Excel's first line, which names the separator."""

_LONGEST_CELL: Final = 1024 * 1024
Record: TypeAlias = tuple[int, int, list[str]]
"""Line in the file, row in the spreadsheet, values."""


def read_delimited(text: str, file: str, is_column: IsColumn) -> CatalogTable:
    """Read a table whose first row names the columns."""
    table = CatalogTable()
    # Excel writes "sep=;" as a first line of its own in some countries; it is not a header.
    first, _, rest = text.partition("\n")
    hinted = first.strip().strip('"').lower().startswith(_HINT)
    hint = first.strip("\r").strip('"')[len(_HINT) :][:1] if hinted else ""
    body = rest if hinted else text
    separator = hint or _separator(body, file, is_column)
    records = _records(body, separator, file, table, first=1 + hinted)
    header = next((record for record in records if any(map(str.strip, record[2]))), None)
    if header is None:
        if not table.mistakes:
            table.note(SourceLocation(file), "The file is empty.")
        return table
    # Without this check the first video would be taken for the column names, and be left out.
    if not any(is_column(name.strip()) for name in header[2]) and any("://" in name for name in header[2]):
        text = "The first row has to name the columns, such as url,languages,key; this one holds values."
        table.note(SourceLocation(file, header[0]), text)
        return table
    names = _names(header, file, table)
    for record in records:
        if any(map(str.strip, record[2])):
            table.rows.append(_row(record, names, file, table))
    return table


def _separator(text: str, file: str, is_column: IsColumn) -> str:
    """Return the separator that finds most known columns in the first row, and most columns at all."""
    if file.lower().endswith((".tsv", ".tab")):
        return "\t"
    first = next((line for line in text.splitlines() if line.strip()), "")

    def known(separator: str) -> tuple[int, int]:
        names = [name.strip().strip('"') for name in first.split(separator)]
        return sum(map(is_column, names)), len(names)

    return max(_SEPARATORS, key=known)


def _records(text: str, separator: str, file: str, table: CatalogTable, *, first: int) -> Iterator[Record]:
    # The limit is global to the csv module; its default of 128 KiB is too small for a glossary cell.
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    for row in range(1, len(text) + 2):
        line = first + reader.line_num
        try:
            values = next(reader, None)
        except csv.Error as error:
            text = _ERRORS.get(str(error), f"It can't be read as a table: {error}.")
            table.note(SourceLocation(file, line), text)
            return
        if values is None:
            return
        yield line, row, values


_ERRORS: Final = {
    "unexpected end of data": "A quotation mark is opened here and never closed.",
    **{
        f"'{separator}' expected after '\"'": "Something follows a closing quotation mark; "
        "a quotation mark within a cell is written twice."
        for separator in _SEPARATORS
    },
}


def _names(header: Record, file: str, table: CatalogTable) -> list[tuple[str, str]]:
    """Return each column's letters and name."""
    line, row, values = header
    names: list[tuple[str, str]] = []
    for number, value in enumerate(values):
        letters, name = _letters(number), value.strip()
        if name and name in [other for _, other in names]:
            first = next(letter for letter, other in names if other == name)
            text = f"The column is here twice; the first is {first}{row}."
            table.note(SourceLocation(file, line, f"{letters}{row}", name), text)
        names.append((letters, name))
        table.header.setdefault(name, SourceLocation(file, line, f"{letters}{row}", name))
    return names


def _row(record: Record, names: list[tuple[str, str]], file: str, table: CatalogTable) -> CatalogRow:
    line, row, values = record
    cells: dict[str, Cell] = {}
    for number, value in enumerate(values):
        letters, name = names[number] if number < len(names) else (_letters(number), "")
        place = SourceLocation(file, line, f"{letters}{row}", name)
        if name:
            cells.setdefault(name, Cell(value.strip(), place))
        elif value.strip():
            text = "This cell has no column; does a cell to the left hold the separator without quotes?"
            table.note(place, text)
    return CatalogRow(SourceLocation(file, line), cells)


def _letters(number: int) -> str:
    """Return a spreadsheet's name of the column with this number from 0: A, B, ..., Z, AA."""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


_ROWS: Final = ("videos", "rows", "words")
_DEFAULTS: Final = "defaults"
_DEEPEST: Final = 4


def read_json_lines(text: str, file: str, _: IsColumn) -> CatalogTable:
    """Read one object from each line."""
    table = CatalogTable()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        doubled: set[str] = set()

        def to_dict(pairs: list[tuple[str, Any]], doubled: set[str] = doubled) -> dict[str, Any]:
            # Of two equal names, json would keep the last without a word.
            names = [name for name, _ in pairs]
            doubled.update(name for name in names if names.count(name) > 1)
            return dict(pairs)

        try:
            found = json.loads(line, object_pairs_hook=to_dict)
        except ValueError as error:
            place = SourceLocation(file, number, str(getattr(error, "colno", "") or ""))
            what = getattr(error, "msg", None) or str(error)
            table.note(place, f"This is not JSON: {what}.")
            continue
        except RecursionError:
            table.note(SourceLocation(file, number), "This is nested too deeply.")
            continue
        if not isinstance(found, dict):
            table.note(SourceLocation(file, number), "Each line has to hold one object: {...}.")
            continue
        for name in sorted(doubled):
            table.note(SourceLocation(file, number, field=name), "It is in this line twice.")
        cells = {name: Cell(value, SourceLocation(file, number, field=name)) for name, value in found.items()}
        table.rows.append(CatalogRow(SourceLocation(file, number), cells))
    return table


def read_yaml(text: str, file: str, _: IsColumn) -> CatalogTable:
    """Read a list of mappings, or a mapping with `defaults` and such a list under `videos`."""
    table = CatalogTable()
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
        table.note(place, f"This is not YAML: {getattr(error, 'problem', None) or error}.")
        return table
    except RecursionError:
        table.note(SourceLocation(file), "This is nested too deeply.")
        return table
    for node in _rows_of(root, file, table):
        if isinstance(node, yaml.MappingNode):
            table.rows.append(CatalogRow(_place(node, file), _cells(node, file, table)))
        else:
            table.note(_place(node, file), 'Each row has to be a mapping: "url: ...".')
    return table


def _rows_of(root: yaml.Node | None, file: str, table: CatalogTable) -> list[yaml.Node]:
    if isinstance(root, yaml.SequenceNode):
        return list(root.value)
    rows: list[yaml.Node] = []
    if not isinstance(root, yaml.MappingNode):
        where = SourceLocation(file) if root is None else _place(root, file)
        table.note(where, "The file has to hold a list of rows.")
        return rows
    for key, value in root.value:
        if key.value in _ROWS and isinstance(value, yaml.SequenceNode):
            rows += value.value
        elif key.value == _DEFAULTS and isinstance(value, yaml.MappingNode):
            table.defaults = _cells(value, file, table)
        else:
            text = 'Only "defaults" with a mapping and "videos" with a list of rows are allowed here.'
            table.note(_place(key, file), text)
    return rows


def _cells(node: yaml.MappingNode, file: str, table: CatalogTable) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for key, value in node.value:
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
        place = _place(value, file, name)
        # YAML keeps the last of two equal keys: the first languages would be lost without a word.
        if name in cells:
            table.note(_place(key, file, name), "It is in this row twice.")
        try:
            cells[name] = Cell(_value_of(value), place)
        except (TypeError, ValueError):
            table.note(place, "This value can't be read.")
    return cells


def _value_of(node: yaml.Node, depth: int = 0) -> Any:
    """Return text, a list or a mapping: "no" stays a language, 1:30 no number, and 2026-01-01 no date."""
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if isinstance(node, yaml.ScalarNode):
        return None if node.tag.endswith(":null") else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_value_of(item, depth + 1) for item in node.value]
    return {_value_of(key, depth + 1): _value_of(value, depth + 1) for key, value in node.value}


def _place(node: yaml.Node, file: str, field: str = "") -> SourceLocation:
    mark = node.start_mark
    return SourceLocation(file, mark.line + 1, str(mark.column + 1), field)


_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_LARGEST: Final = 200 * 1024 * 1024


def read_table(path: Path, is_column: IsColumn) -> CatalogTable:
    """Read a file by the format that its ending names.

    Raises:
        CatalogError: it can't be read, or is of no format that is known.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        ending = f'ends in "{path.suffix}"' if path.suffix else "has no ending"
        text = f"The file {ending}; known are {', '.join(_READERS)}. {_ADVICE.get(path.suffix.lower(), '')}"
        raise _refusal(path, text)
    return reader(_text_of(path), str(path), is_column)


_READERS: Final[Mapping[str, Callable[[str, str, IsColumn], CatalogTable]]] = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".txt"), read_delimited),
    **dict.fromkeys((".jsonl", ".ndjson"), read_json_lines),
    **dict.fromkeys((".yaml", ".yml"), read_yaml),
}

_ADVICE: Final = {
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), 'Save the sheet as "CSV UTF-8".'),
    ".json": "JSON Lines has one object on each line.",
}


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise _refusal(
                path, f"The file is larger than {_LARGEST // 1024 // 1024} MiB; cut it into several."
            )
        data = path.read_bytes()
    except OSError as error:
        raise _refusal(path, f"The file can't be read: {error.strerror}.") from error
    # A byte order mark decides; guessing an encoding would turn names and words into other ones.
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _refusal(
            path, 'This is not UTF-8 text. Save the file again as "CSV UTF-8" or in UTF-8.', line=line
        ) from error


def _refusal(path: Path, text: str, *, line: int = 0) -> CatalogError:
    return CatalogError([Issue(SourceLocation(str(path), line), text.strip())])
