"""Tables whose columns are named in one row: CSV, TSV and the sheets of a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Final, TypeAlias

from akool_async.cli.catalog.cells import strip_invisible
from akool_async.cli.catalog.columns import IGNORED
from akool_async.cli.catalog.model import CatalogRow, CatalogTable, IsColumn, Layout, SourceLocation

Record: TypeAlias = tuple[int, int, list[str]]
"""Line in the file, row in the spreadsheet, values."""

Merged: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
"""Row and column of the first and the last of the cells that are merged, from 0; the first has the value."""

SEPARATORS: Final = ",;\t|"
"""What may separate the cells of a line of text."""

HEADER_WITHIN: Final = 20
"""Rows that are searched for the column names: above them people write titles."""

_NO_COLUMN: Final = "This cell has no column; does a cell to the left hold the separator without quotes?"


def count_columns(values: Iterable[str], is_column: IsColumn) -> int:
    """Return how many of a row's values are the names of columns."""
    return sum(is_column(value) for value in values if value)


def fill_table(
    table: CatalogTable,
    records: Iterator[Record],
    is_column: IsColumn,
    *,
    separator: str = "",
    merged: Iterable[Merged] = (),
) -> None:
    """Find the column names in the records, and give a table its header and its rows.

    A text has a separator between two cells, a spreadsheet has cells that are merged.
    """
    file = table.layout.file
    top = list(islice((record for record in records if any(map(str.strip, record[2]))), HEADER_WITHIN))
    if not top:
        if not table.mistakes:
            table.add_mistake(SourceLocation(file), "The file is empty.")
        return
    known = [count_columns(values, is_column) for _, _, values in top]
    at = known.index(max(known))
    # Without this check the first videos would be taken for a title or column names, and be left out.
    for line, _, values in top[: at + 1]:
        if any("://" in value for value in values) and not (line == top[at][0] and known[at]):
            text = "The first row has to name the columns, such as url,languages,key; this one holds values."
            table.add_mistake(SourceLocation(file, line), text)
            return
    if at:
        table.notes.append(f"{file}: The column names are in line {top[at][0]}; nothing above it is read.")
    names = _names(top[at], table, is_column)
    lost = _lost(names, top[at], merged, is_column)
    table.rows = _rows(chain(top[at + 1 :], records), names, table, lost, separator)


def _names(header: Record, table: CatalogTable, is_column: IsColumn) -> list[str]:
    """Return the columns' names, and note where they are."""
    line, row, values = header
    names: list[str] = []
    letters: dict[str, str] = {}
    for number, value in enumerate(values):
        letter, name = column_letters(number), strip_invisible(value)
        place = SourceLocation(table.layout.file, line, f"{letter}{row}", name)
        if name and name in letters and is_column(name):
            text = f"The column is here twice; the first is {letters[name]}{row}."
            table.add_mistake(place, text)
        # Two columns that are not read may share a name.
        names.append(f"{IGNORED}{name}" if name and name in letters else name)
        letters.setdefault(name, letter)
        table.header.setdefault(name, place)
    table.header.pop("", None)
    table.layout = Layout(table.layout.file, letters)
    return names


def _lost(names: list[str], header: Record, merged: Iterable[Merged], is_column: IsColumn) -> dict[int, str]:
    """Return the columns over which the name of another is merged, and what to say of a value in them."""
    lost: dict[int, str] = {}
    for (first_row, first), (last_row, last) in merged:
        if first_row < header[1] <= last_row + 1 and first < len(names) and is_column(names[first]):
            text = (
                f"This cell has no column: {column_letters(first)}{header[1]}, {names[first]!r}, is merged "
                "over it. Split it and name each column, or write all values into the first."
            )
            lost |= {
                number: text for number in range(first + 1, min(last + 1, len(names))) if not names[number]
            }
    return lost


def _rows(
    records: Iterable[Record], names: list[str], table: CatalogTable, lost: Mapping[int, str], separator: str
) -> Iterator[CatalogRow]:
    """Yield the rows. Values in lost columns are mistakes, in a text all values without a column."""
    layout, whole = table.layout, bool(separator)
    others = [sign for sign in SEPARATORS if sign != separator] if whole else []
    width = len(names)
    nameless = [number for number, name in enumerate(names) if not name]
    unread = set[int]()
    for line, row, values in records:
        if not any(map(str.strip, values)):
            continue
        # Such a row would be one long URL, and be paid for with the options of the command line.
        if len(values) == 1 < width and (other := next((sign for sign in others if sign in values[0]), "")):
            text = (
                f"The column names are separated by {separator!r}, and this row has none, but {other!r}. "
                f"Write both alike; a row of one cell that holds {other!r} has to end with {separator!r}."
            )
            table.add_mistake(SourceLocation(layout.file, line), text)
            continue
        for number in (*nameless, *range(width, len(values) if whole else 0)):
            if number < len(values) and values[number].strip():
                if whole or number in lost:
                    place = SourceLocation(layout.file, line, f"{column_letters(number)}{row}")
                    table.add_mistake(place, lost.get(number, _NO_COLUMN))
                else:
                    unread.add(number)
        yield CatalogRow(
            layout, line, row, {name: value for name, value in zip(names, values, strict=False) if name}
        )
    if unread:
        letters = ", ".join(map(column_letters, sorted(unread)))
        table.notes.append(f"{layout.file}: Columns without a name that are not read: {letters}.")


def column_letters(number: int) -> str:
    """Return a spreadsheet's name of the column with this number from 0: A, B, ..., Z, AA."""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
