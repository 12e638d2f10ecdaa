"""The sheets of a spreadsheet, as tables: which one is read, and what its cells hold."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from akool_async.cli.catalog.cells import NO_VALUE, is_empty_word
from akool_async.cli.catalog.model import (
    CatalogError,
    CatalogRow,
    CatalogTable,
    IsColumn,
    Issue,
    SourceLocation,
)
from akool_async.cli.catalog.tables import HEADER_WITHIN, Record, count_columns, fill_table
from akool_async.cli.console import counted

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook

ENDINGS: Final = (".xlsx", ".xlsm", ".ods")
_LARGEST: Final = 256 * 1024 * 1024
"""Bytes that a file may unpack to. A few kilobytes can unpack to gigabytes."""

_MOST_CELLS: Final = 20_000_000
"""A reader of spreadsheets holds all cells between the first and the last, also the empty ones."""

_CHUNK: Final = 1024 * 1024
_OLD_FORMAT: Final = b"\xd0\xcf\x11\xe0"
_Cells: TypeAlias = dict[tuple[int, int], str]
"""Texts by row and column, both from 0."""

_CELL: Final = re.compile(rb'<(?:\w+:)?c r="([A-Z]{1,3})(\d{1,7})"')
_FORMULA: Final = rb"<(?:\w+:)?f\b[^>]*(?:/>|>[^<]*</(?:\w+:)?f>)"
_ODD_CELL: Final = re.compile(
    _CELL.pattern
    + rb'(?:[^>]*\bt="e"[^>]*>(?:'
    + _FORMULA
    + rb")?<(?:\w+:)?v>([^<]*)<"
    + rb"|[^>/]*>"
    + _FORMULA
    + rb"(?:<(?:\w+:)?v ?/>|<(?:\w+:)?v></(?:\w+:)?v>)?</(?:\w+:)?c>)"
)
"""A cell of .xlsx with an error (third group), or with a formula that has no value."""

_ODS_ERROR: Final = re.compile(rb'calcext:value-type="error"[^>]*>\s*<text:p>([^<]*)<')
_ODS_MERGED: Final = re.compile(rb'table:number-rows-spanned="(?!1")\d+"')
_ODS_REPEATED: Final = re.compile(
    rb'<table:table-cell(?=[^>]*number-columns-repeated="\d{4,}")(?=[^>]*office:value-type)'
    rb'|<table:table-row[^>]*number-rows-repeated="\d{5,}"[^>]*>(?:(?!</table:table-row>).)*office:value-type',
    re.DOTALL,
)

_XLSX_ROW: Final = re.compile(rb"<(?:\w+:)?row\b([^>]*)>")
_XLSX_COLUMN: Final = re.compile(rb"<(?:\w+:)?col\b([^>]*)>")
_XLSX_HIDDEN: Final = re.compile(rb'\bhidden="(?:1|true)"')
_ODS_TABLE: Final = re.compile(rb'<table:table\s[^>]*\btable:name="([^"]*)"[^>]*>')
_ODS_EMPTY: Final = 10_000
"""Rows of .ods that are repeated so often are empty, else the file is refused."""

_ODS_HIDDEN: Final = re.compile(rb'table:visibility="(?:collapse|filter)"')


def read_sheet(path: Path, table: CatalogTable, is_column: IsColumn, sheet: str = "") -> None:
    """Fill a table with the rows of one sheet.

    Args:
        path: a spreadsheet.
        table: gets the rows, and what is wrong.
        is_column: whether a name is one of a column.
        sheet: the sheet's name; "" takes the visible one that has column names.

    Raises:
        CatalogError: the file can't be read.
        ModuleNotFoundError: the extra `sheets` is not installed.
    """
    import python_calamine as calamine

    # Before the reader sees it: that one unpacks whatever it is given, and can take the machine down.
    parts = _unpack(path)
    try:
        workbook = calamine.load_workbook(str(path))
    except calamine.PasswordError:
        raise _refusal(path, "The file is protected by a password; save a copy without one.") from None
    except (calamine.CalamineError, OSError) as error:
        raise _refusal(path, f"The file can't be read as a spreadsheet: {error}.") from None
    try:
        name = _chosen(workbook, table, is_column, sheet)
        if name is None:
            return
        content = parts.get(_part_of(name, parts), b"")
        odd = _odd_cells(path, table, content)
        fill_table(table, _records(workbook.get_sheet_by_name(name), odd), is_column)
        table.rows = _noting_hidden(table.rows, table, HiddenCells.find(content, name), is_column)
    except calamine.CalamineError as error:
        raise _refusal(path, f"The sheet can't be read: {error}.") from None


def _unpack(path: Path) -> Mapping[str, bytes]:
    """Return the parts of a spreadsheet that hold cells and names.

    Raises:
        CatalogError: it is damaged, or unpacks to more than it may.
    """
    parts: dict[str, bytes] = {}
    left = _LARGEST
    try:
        with zipfile.ZipFile(path) as archive:
            for part in archive.infolist():
                part.file_size = _LARGEST + 2 * _CHUNK  # what it says of its own size may be false
                kept = (
                    part.filename.startswith(("xl/work", "xl/_rels/workbook"))
                    or part.filename == "content.xml"
                )
                chunks = []
                with archive.open(part) as stream:
                    while chunk := stream.read(_CHUNK):
                        left -= len(chunk)
                        if left < 0:
                            size = f"{_LARGEST // 1024 // 1024} MiB"
                            raise _refusal(path, f"The file unpacks to more than {size}; save a smaller one.")
                        if kept:
                            chunks.append(chunk)
                if kept:
                    parts[part.filename] = b"".join(chunks)
    except zipfile.BadZipFile:
        with path.open("rb") as stream:
            old = stream.read(4) == _OLD_FORMAT
        text = (
            "The file is protected by a password, or in the format of .xls. Save a copy as .xlsx without one."
            if old
            else "This is no spreadsheet, or a damaged one. If it is a CSV file, let its name end in .csv."
        )
        raise _refusal(path, text) from None
    except (zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise _refusal(path, f"The file is damaged: {error}.") from None
    return parts


def _refusal(path: Path, text: str) -> CatalogError:
    return CatalogError([Issue(SourceLocation(str(path)), text)])


def _chosen(workbook: CalamineWorkbook, table: CatalogTable, is_column: IsColumn, sheet: str) -> str | None:
    """Return the sheet to be read; None if that is not clear, which is noted."""
    from python_calamine import SheetVisibleEnum

    file = table.layout.file
    hidden = {one.name for one in workbook.sheets_metadata if one.visible != SheetVisibleEnum.Visible}
    names = list(workbook.sheet_names)
    if sheet:
        found = [name for name in names if name.strip().casefold() == sheet.strip().casefold()]
        if not found:
            shown = ", ".join(map(repr, names))
            table.add_mistake(
                SourceLocation("--sheet"), f"There is no sheet {sheet!r} in {file}; there are {shown}."
            )
            return None
    else:
        # What is hidden is often an older state of the list: it would be paid for unseen.
        visible = [name for name in names if name not in hidden]
        found = [name for name in visible if len(visible) == 1 or _has_columns(workbook, name, is_column)]
        if len(found) > 1:
            shown = ", ".join(map(repr, found))
            text = f"Several sheets have column names: {shown}. Name the one that is meant with --sheet."
            table.add_mistake(SourceLocation(file), text)
            return None
        found = found or visible
    if not found:
        table.add_mistake(SourceLocation(file), "There is no visible sheet; name one with --sheet.")
        return None
    others = [f"{name!r} (hidden)" if name in hidden else repr(name) for name in names if name != found[0]]
    if others:
        table.notes.append(f"{file}: The sheet {found[0]!r} is read, and not {', '.join(others)}.")
    return found[0]


def _has_columns(workbook: CalamineWorkbook, name: str, is_column: IsColumn) -> bool:
    rows = workbook.get_sheet_by_name(name).to_python(nrows=HEADER_WITHIN)
    return any(count_columns(map(_text, row), is_column) > 1 for row in rows)


def _part_of(name: str, parts: Mapping[str, bytes]) -> str:
    """Return the part of the file that holds a sheet; an .ods has all sheets in one."""
    if "content.xml" in parts:
        return "content.xml"
    relations = re.findall(
        r"<(?:\w+:)?Relationship [^>]*>", parts.get("xl/_rels/workbook.xml.rels", b"").decode()
    )
    targets = {}
    for tag in relations:
        key, target = re.search(r'\bId="([^"]+)"', tag), re.search(r'\bTarget="/?(?:xl/)?([^"]+)"', tag)
        if key and target:
            targets[key[1]] = target[1]
    for tag in re.findall(
        r"<(?:\w+:)?sheet [^>]*>", parts.get("xl/workbook.xml", b"").decode("utf-8", "replace")
    ):
        named, key = re.search(r'name="([^"]*)"', tag), re.search(r'r:id="([^"]*)"', tag)
        if named and key and unescape(named[1]) == name:
            return f"xl/{targets.get(key[1], '')}"
    return ""


def _odd_cells(path: Path, table: CatalogTable, content: bytes) -> _Cells:
    """Return what the reader of spreadsheets takes for empty: errors, and formulas without a value.

    Raises:
        CatalogError: the sheet is larger than can be read.
    """
    far = "The sheet reaches too far down or to the right; delete the rows and columns outside of the table."
    if content[:200].find(b"office:document-content") >= 0:
        # An .ods has no places in its cells. An error or a covered cell would be taken for empty, and the
        # defaults of the command line be paid for.
        # A few bytes can repeat a cell into every cell of a sheet, which the reader would hold in memory.
        if _ODS_REPEATED.search(content):
            raise _refusal(path, far)
        for error in dict.fromkeys(_ODS_ERROR.findall(content)):
            shown = error.decode("utf-8", "replace")
            if is_empty_word(shown):
                table.notes.append(f"{path}: '{shown}' is taken for empty.")
            else:
                text = f"A cell holds the error '{shown}'; correct its formula."
                table.add_mistake(SourceLocation(str(path)), text)
        if _ODS_MERGED.search(content):
            text = "Cells are merged over several rows; split them, so that each row has a value of its own."
            table.add_mistake(SourceLocation(str(path)), text)
        return {}
    places = _CELL.findall(content)
    rows = max((int(row) for _, row in places), default=0)
    columns = max((_number(letters) for letters in {letters for letters, _ in places}), default=0)
    if rows * columns > _MOST_CELLS:
        raise _refusal(path, far)
    return {
        (int(row) - 1, _number(letters) - 1): error.decode("utf-8", "replace") or NO_VALUE
        for letters, row, error in _ODD_CELL.findall(content)
    }


@attrs.frozen
class HiddenCells:
    """Rows and columns of a sheet that its owner does not see, hidden or left out by a filter; from 1."""

    rows: frozenset[int]
    columns: frozenset[int]

    @classmethod
    def find(cls, content: bytes, name: str) -> HiddenCells:
        """Read the part of a file that holds the sheet of this name."""
        if content[:200].find(b"office:document-content") < 0:
            columns = set[int]()
            for attributes in _XLSX_COLUMN.findall(content):
                first, last = (re.search(rb'\b%s="(\d{1,5})"' % one, attributes) for one in (b"min", b"max"))
                if first and last and _XLSX_HIDDEN.search(attributes):
                    columns |= {*range(int(first[1]), int(last[1]) + 1)}
            rows, number = set[int](), 0
            for attributes in _XLSX_ROW.findall(content):
                said = re.search(rb'\br="(\d{1,7})"', attributes)
                number = int(said[1]) if said else number + 1
                if _XLSX_HIDDEN.search(attributes):
                    rows.add(number)
            return cls(frozenset(rows), frozenset(columns))
        # An .ods has all sheets in one part, and counts neither rows nor columns.
        for start in _ODS_TABLE.finditer(content):
            if unescape(start[1].decode("utf-8", "replace")) == name:
                table = content[start.end() : content.find(b"</table:table>", start.end())]
                return cls(_ods_hidden(table, b"row"), _ods_hidden(table, b"column"))
        return cls(frozenset(), frozenset())


def _ods_hidden(table: bytes, what: bytes) -> frozenset[int]:
    hidden, number = set[int](), 1
    for attributes in re.findall(rb"<table:table-%s(?=[\s/>])([^>]*)>" % what, table):
        said = re.search(rb'number-%ss-repeated="(\d{1,7})"' % what, attributes)
        count = int(said[1]) if said else 1
        # Up to the end of the sheet there is nothing to be read, and a million numbers to be kept.
        if count < _ODS_EMPTY and _ODS_HIDDEN.search(attributes):
            hidden |= {*range(number, number + count)}
        number += count
    return frozenset(hidden)


def _noting_hidden(
    rows: Iterable[CatalogRow], table: CatalogTable, hidden: HiddenCells, is_column: IsColumn
) -> Iterator[CatalogRow]:
    """Yield the rows of a table; at the end a note says which of what is read its owner does not see."""
    columns = [
        f"the column {name!r}"
        for name, letters in table.layout.letters.items()
        if is_column(name) and _number(letters.encode()) in hidden.columns
    ]
    number = 0
    for row in rows:
        number += row.row in hidden.rows
        yield row
    found = [counted(number, "row")] * bool(number) + columns
    if found:
        table.notes.append(
            f"{table.layout.file}: Hidden or filtered out in the sheet, but counted like all others: "
            f"{', '.join(found)}. Delete what is not meant."
        )


def _number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + letter - ord("A") + 1
    return number


def _records(sheet: CalamineSheet, odd: _Cells) -> Iterator[Record]:
    top, left = sheet.start or (0, 0)
    filled = dict(odd)
    rows = sheet.to_python()
    for (first, column), (last, _) in sheet.merged_cell_ranges or ():
        # A cell that is merged over several rows is the value of each of them, as people see it.
        if first < last and top <= first < top + len(rows) and left <= column < left + len(rows[0]):
            value = _text(rows[first - top][column - left])
            filled |= {(row, column): value for row in range(first + 1, min(last + 1, top + len(rows)))}
    by_row: dict[int, dict[int, str]] = {}
    for (row, column), value in filled.items():
        by_row.setdefault(row, {})[column] = value
    for number, values in enumerate(rows, top):
        texts = [""] * left + list(map(_text, values))
        for column, value in by_row.get(number, {}).items():
            texts += [""] * (column + 1 - len(texts))
            texts[column] = texts[column] or value
        yield number + 1, number + 1, texts


def _text(value: Any) -> str:
    """Return a cell's value as people see it: spreadsheets have no whole numbers."""
    match value:
        case bool():
            return "yes" if value else "no"
        case float() if value.is_integer() and abs(value) < 10**15:
            return str(int(value))
        case datetime():
            return value.date().isoformat() if value.time() == time() else value.isoformat(" ")
        case date() | time():
            return value.isoformat()
    return str(value)
