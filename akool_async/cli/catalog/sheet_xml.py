"""What the reader of spreadsheets does not tell: errors, formulas without a value, what is hidden, merged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, TypeAlias
from xml.parsers import expat

import attrs

from akool_async.cli.catalog.cells import NO_VALUE
from akool_async.cli.catalog.tables import Merged

Cells: TypeAlias = dict[tuple[int, int], str]
"""Texts by row and column, both from 0."""

_MOST_CELLS: Final = 20_000_000
"""A reader of spreadsheets holds all cells between the first and the last, also the empty ones."""

_MOST_COLUMNS: Final = 16_384
_ODS_MOST_REPEATS: Final = 1_000
_ODS_EMPTY: Final = 10_000
"""Rows of .ods that are repeated so often are empty, else the file is refused."""

_PLACE: Final = re.compile(r"([A-Z]{1,3})(\d{1,7})")
_ODS_VALUES: Final = {
    "date": "office:date-value",
    "time": "office:time-value",
    "boolean": "office:boolean-value",
}


class SheetXmlError(Exception):
    """The text of a sheet can't be read; the text says why."""


class TooFarError(Exception):
    """A sheet has more cells than can be held in memory."""


@attrs.frozen
class SheetFacts:
    """What is found in the XML of one sheet."""

    odd: Cells = attrs.field(factory=dict)
    """What the reader of spreadsheets takes for empty: errors, and formulas without a value."""

    hidden_rows: set[int] = attrs.field(factory=set)
    """Rows that the sheet's owner does not see, hidden or left out by a filter; from 1."""

    hidden_columns: set[int] = attrs.field(factory=set)
    merged: list[Merged] = attrs.field(factory=list)
    """Of an .ods: cells that are merged over several columns."""

    merged_rows: list[tuple[int, int]] = attrs.field(factory=list)
    """Of an .ods: cells that are merged over several rows."""


def read_facts(content: bytes, name: str, *, ods: bool) -> SheetFacts:
    """Read the XML that holds a sheet; that of an .ods holds all sheets, by their names.

    Raises:
        SheetXmlError: it can't be read, or the sheet is not in it.
        TooFarError: it has more cells than can be held in memory.
    """
    reader = _Ods(name) if ods else _Xlsx()
    _parse(content, reader)
    if not reader.found:
        raise SheetXmlError("its cells are not where they should be")
    return reader.facts


def find_elements(content: bytes, name: str) -> list[Mapping[str, str]]:
    """Return the attributes of all elements with a name.

    Raises:
        SheetXmlError: the content is no XML.
    """
    reader = _Elements(name)
    _parse(content, reader)
    return reader.elements


def column_number(letters: str) -> int:
    """Return the number from 1 of a column: 1 for A, 27 for AA."""
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number


class _Reader:
    found = False

    def start(self, tag: str, values: Mapping[str, str]) -> None:
        raise NotImplementedError

    def end(self, tag: str) -> None:
        pass

    def text(self, text: str) -> None:
        pass


def _parse(content: bytes, reader: _Reader) -> None:
    def refuse(*_: object) -> None:
        # No program writes one into a spreadsheet, and its entities can grow to gigabytes.
        raise SheetXmlError("it declares a document type")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise SheetXmlError(str(error)) from None


class _Elements(_Reader):
    def __init__(self, name: str) -> None:
        self.elements: list[Mapping[str, str]] = []
        self._name = name

    def start(self, tag: str, values: Mapping[str, str]) -> None:
        if tag.rpartition(":")[2] == self._name:
            self.elements.append(values)


class _Xlsx(_Reader):
    def __init__(self) -> None:
        self.facts = SheetFacts()
        self._row = self._column = self._last_row = self._last_column = 0
        self._type: str | None = None
        """The type of the cell that is open."""
        self._formula = self._value = self._shows = False
        self._text = ""

    def start(self, tag: str, values: Mapping[str, str]) -> None:
        name = tag.rpartition(":")[2]
        if self._type is not None:
            self._formula |= name == "f"
            self._value |= name == "v"
            self._shows = name in {"v", "t"}
        elif name == "c":
            self._open(values)
        elif name == "row":
            self._row, self._column = int(values.get("r", self._row + 1)), 0
            if _is_hidden(values):
                self.facts.hidden_rows.add(self._row)
        elif name == "col" and _is_hidden(values):
            first, last = max(int(values["min"]), 1), min(int(values["max"]), _MOST_COLUMNS)
            self.facts.hidden_columns.update(range(first, last + 1))
        elif name == "sheetData":
            self.found = True

    def _open(self, values: Mapping[str, str]) -> None:
        row, column = self._row, self._column + 1
        if "r" in values:
            place = _PLACE.fullmatch(values["r"].upper())
            if not place:
                raise SheetXmlError(f"there is no cell {values['r']!r}")
            row, column = int(place[2]), column_number(place[1])
        self._row, self._column = row, column
        self._last_row, self._last_column = max(self._last_row, row), max(self._last_column, column)
        if self._last_row * self._last_column > _MOST_CELLS:
            raise TooFarError
        self._type = values.get("t", "")
        self._formula = self._value = self._shows = False
        self._text = ""

    def text(self, text: str) -> None:
        if self._shows:
            self._text += text

    def end(self, tag: str) -> None:
        if self._type is None:
            return
        name = tag.rpartition(":")[2]
        self._shows = False
        if name == "c":
            text = self._text.strip()
            # A text that was computed may be empty; any other value that is empty was not computed.
            empty = not text and not (self._type == "str" and self._value)
            if self._type == "e" or (self._formula and empty):
                self.facts.odd[self._row - 1, self._column - 1] = text or NO_VALUE
            self._type = None


def _is_hidden(values: Mapping[str, str]) -> bool:
    return values.get("hidden") in {"1", "true"}


class _Ods(_Reader):
    def __init__(self, name: str) -> None:
        self.facts = SheetFacts()
        self._name = name
        self._depth = self._table = self._cell = 0
        """How deep the open element is in the document, and how deep the open table and cell are."""
        self._here = False
        self._row = self._column = self._tables_column = 0
        self._rows = self._columns = 1
        """How often the open row and cell are repeated."""
        self._values: Mapping[str, str] = {}
        self._paragraphs = 0
        self._text = ""

    def start(self, tag: str, values: Mapping[str, str]) -> None:
        self._depth += 1
        if self._cell:
            self._paragraphs += tag == "text:p" and self._depth == self._cell + 1
        elif tag in {"table:table-cell", "table:covered-table-cell"}:
            self._open(values)
        elif tag == "table:table" and not self._table:
            self._table, self._here = self._depth, values.get("table:name") == self._name
            self.found |= self._here
            self._row = self._tables_column = 0
        elif tag == "table:table-row":
            self._rows, self._column = _count(values, "table:number-rows-repeated"), 0
            if self._here and self._rows < _ODS_EMPTY and _is_collapsed(values):
                self.facts.hidden_rows.update(range(self._row + 1, self._row + self._rows + 1))
        elif tag == "table:table-column":
            first, count = self._tables_column, _count(values, "table:number-columns-repeated")
            # Up to the end of the sheet there is nothing to be read.
            if self._here and count < _ODS_EMPTY and _is_collapsed(values):
                self.facts.hidden_columns.update(range(first + 1, first + count + 1))
            self._tables_column += count

    def _open(self, values: Mapping[str, str]) -> None:
        self._cell, self._values, self._paragraphs, self._text = self._depth, values, 0, ""
        self._columns = _count(values, "table:number-columns-repeated")
        many = self._columns >= _ODS_MOST_REPEATS or self._rows >= _ODS_EMPTY
        if many and "office:value-type" in values:
            raise TooFarError

    def text(self, text: str) -> None:
        if self._paragraphs:
            self._text += text

    def end(self, tag: str) -> None:
        if self._cell == self._depth:
            if self._here:
                self._close()
            self._cell, self._column, self._paragraphs = 0, self._column + self._columns, 0
        elif self._table == self._depth:
            self._table, self._here = 0, False
        elif tag == "table:table-row" and not self._cell:
            self._row += self._rows
        self._depth -= 1

    def _close(self) -> None:
        values, place, shown = self._values, (self._row, self._column), self._text.strip()
        kind = values.get("office:value-type", "")
        value = values.get(_ODS_VALUES.get(kind, "office:value"), "")
        if kind == "string":
            value = values.get("office:string-value", shown)
        if values.get("calcext:value-type") == "error" or (kind == "string" and shown and not value):
            self.facts.odd[place] = shown or NO_VALUE
        elif kind == "string" and ("office:string-value" in values or self._paragraphs):
            pass  # a text, which may be empty
        elif not value and (shown or "table:formula" in values):
            self.facts.odd[place] = NO_VALUE
        if _count(values, "table:number-rows-spanned") > 1:
            self.facts.merged_rows.append(place)
        columns = _count(values, "table:number-columns-spanned")
        if columns > 1:
            self.facts.merged.append((place, (self._row, self._column + columns - 1)))


def _count(values: Mapping[str, str], name: str) -> int:
    return int(values.get(name, 1))


def _is_collapsed(values: Mapping[str, str]) -> bool:
    return values.get("table:visibility") in {"collapse", "filter"}
