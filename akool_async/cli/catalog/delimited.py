"""CSV and TSV, as spreadsheets and people write them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Final, TypeAlias

from akool_async.cli.catalog.place import Mistake, Place
from akool_async.cli.catalog.table import Cell, IsColumn, Row, Table

_SEPARATORS: Final = ",;\t|"
_HINT: Final = "sep="
"""The first line by which Excel is told the separator."""

_LONGEST_CELL: Final = 1024 * 1024

Record: TypeAlias = tuple[int, int, list[str]]
"""Line in the file, row in the spreadsheet, values."""


def read_delimited(text: str, file: str, is_column: IsColumn) -> Table:
    """Read a table whose first row names the columns."""
    table = Table()
    hint, body, skipped = _without_hint(text)
    separator = hint or _separator(body, file, is_column)
    records = _records(body, separator, file, table, first=skipped + 1)
    header = next((record for record in records if any(map(str.strip, record[2]))), None)
    if header is None:
        if not table.mistakes:
            table.mistakes.append(Mistake(Place(file), "The file is empty."))
        return table
    if not any(is_column(name.strip()) for name in header[2]) and any("://" in name for name in header[2]):
        text = "The first row has to name the columns, such as url,languages,key; this one holds values."
        table.mistakes.append(Mistake(Place(file, header[0]), text))
        return table
    names = _names(header, file, table)
    for record in records:
        if any(map(str.strip, record[2])):
            table.rows.append(_row(record, names, file, table))
    return table


def _without_hint(text: str) -> tuple[str, str, int]:
    """Give the separator that Excel's first line names or "", the rest, and how many lines were taken."""
    first, end, rest = text.partition("\n")
    said = first.strip().strip('"')
    if not said.lower().startswith(_HINT):
        return "", text, 0
    hint = first.strip("\r").strip('"')[len(_HINT) :]
    return hint[:1], rest if end else "", 1


def _separator(text: str, file: str, is_column: IsColumn) -> str:
    """Give the separator by which the first row has most known columns, and most columns at all."""
    if file.lower().endswith((".tsv", ".tab")):
        return "\t"
    first = next((line for line in text.splitlines() if line.strip()), "")

    def known(separator: str) -> tuple[int, int]:
        names = [name.strip().strip('"') for name in first.split(separator)]
        return sum(map(is_column, names)), len(names)

    return max(_SEPARATORS, key=known)


def _records(text: str, separator: str, file: str, table: Table, *, first: int) -> Iterator[Record]:
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    for row in range(1, len(text) + 2):
        line = first + reader.line_num
        try:
            values = next(reader, None)
        except csv.Error as error:
            told = _ERRORS.get(str(error), f"It can't be read as a table: {error}.")
            table.mistakes.append(Mistake(Place(file, line), told))
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


def _names(header: Record, file: str, table: Table) -> list[tuple[str, str]]:
    """Give each column's letters and name."""
    line, row, values = header
    names: list[tuple[str, str]] = []
    for number, value in enumerate(values):
        letters, name = _letters(number), value.strip()
        if name and name in [other for _, other in names]:
            first = next(letter for letter, other in names if other == name)
            text = f"The column stands here twice; the first is {first}{row}."
            table.mistakes.append(Mistake(Place(file, line, f"{letters}{row}", name), text))
        names.append((letters, name))
        table.header.setdefault(name, Place(file, line, f"{letters}{row}", name))
    return names


def _row(record: Record, names: list[tuple[str, str]], file: str, table: Table) -> Row:
    line, row, values = record
    cells: dict[str, Cell] = {}
    for number, value in enumerate(values):
        letters, name = names[number] if number < len(names) else (_letters(number), "")
        place = Place(file, line, f"{letters}{row}", name)
        if name:
            cells.setdefault(name, Cell(value.strip(), place))
        elif value.strip():
            text = "This cell has no column; is a cell to the left not quoted that holds the separator?"
            table.mistakes.append(Mistake(place, text))
    return Row(Place(file, line), cells)


def _letters(number: int) -> str:
    """Give a spreadsheet's name of the column with this number from 0: A, B, ..., Z, AA."""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
