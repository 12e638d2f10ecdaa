"""The sheets of a spreadsheet, as tables: which one is read, and what its cells hold."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from akool_async._environment import needs_extra
from akool_async.cli.catalog.cells import NO_VALUE, is_empty_word
from akool_async.cli.catalog.model import (
    CatalogError,
    CatalogRow,
    CatalogTable,
    IsColumn,
    Issue,
    SourceLocation,
)
from akool_async.cli.catalog.sheet_xml import (
    Cells,
    SheetFacts,
    SheetXmlError,
    TooFarError,
    column_number,
    find_elements,
    read_facts,
)
from akool_async.cli.catalog.tables import (
    HEADER_WITHIN,
    Record,
    column_letters,
    count_columns,
    fill_table,
)
from akool_async.cli.console import counted

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook

ENDINGS: Final = (".xlsx", ".xlsm", ".ods")
_LARGEST: Final = 256 * 1024 * 1024
"""Bytes that a file may unpack to. A few kilobytes can unpack to gigabytes."""

_CHUNK: Final = 1024 * 1024
_OLD_FORMAT: Final = b"\xd0\xcf\x11\xe0"
_ODS_PART: Final = "content.xml"


def read_sheet(path: Path, table: CatalogTable, is_column: IsColumn, sheet: str) -> None:
    """Fill a table with the rows of a sheet: of the named one, or the visible one that has column names.

    Raises:
        CatalogError: the file can't be read.
        MissingExtraError: the extra `sheets` is not installed.
    """
    with needs_extra("sheets", "Spreadsheets"):
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
        facts = read_facts(parts.get(_part_of(name, parts), b""), name, ods=_ODS_PART in parts)
        cells, odd = workbook.get_sheet_by_name(name), facts.odd
        if _ODS_PART in parts:
            # What such a file repeats or covers could shift a place: it is refused as a whole.
            odd = {}
            _refuse_odd(path, table, facts)
        merged = [*facts.merged, *(cells.merged_cell_ranges or ())]
        fill_table(table, _records(cells, odd), is_column, merged=merged)
        table.rows = _noting_hidden(table.rows, table, facts, is_column)
    except TooFarError:
        text = "The sheet reaches too far down or to the right; delete all rows and columns around the table."
        raise _refusal(path, text) from None
    except (calamine.CalamineError, SheetXmlError) as error:
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
                    part.filename.startswith(("xl/work", "xl/_rels/workbook")) or part.filename == _ODS_PART
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
    if _ODS_PART in parts:
        return _ODS_PART
    targets = {
        one.get("Id"): one.get("Target", "")
        for one in find_elements(parts.get("xl/_rels/workbook.xml.rels", b""), "Relationship")
    }
    for sheet in find_elements(parts.get("xl/workbook.xml", b""), "sheet"):
        if sheet.get("name") == name:
            keys = (value for key, value in sheet.items() if key.endswith(":id"))
            return "xl/" + targets.get(next(keys, ""), "").removeprefix("/").removeprefix("xl/")
    return ""


def _refuse_odd(path: Path, table: CatalogTable, facts: SheetFacts) -> None:
    """Note what would be taken for empty in an .ods, and the defaults of the command line be paid for."""
    place = SourceLocation(str(path))
    for shown in dict.fromkeys(facts.odd.values()):
        if is_empty_word(shown):
            table.notes.append(f"{path}: '{shown}' is taken for empty.")
        elif shown == NO_VALUE:
            row, column = min(cell for cell, value in facts.odd.items() if value == NO_VALUE)
            text = (
                f"The cell {column_letters(column)}{row + 1} holds a formula without a value; "
                "open the file in its program, and save it."
            )
            table.add_mistake(place, text)
        else:
            table.add_mistake(place, f"A cell holds the error '{shown}'; correct its formula.")
    if facts.merged_rows:
        text = "Cells are merged over several rows; split them, so that each row has a value of its own."
        table.add_mistake(place, text)


def _noting_hidden(
    rows: Iterable[CatalogRow], table: CatalogTable, facts: SheetFacts, is_column: IsColumn
) -> Iterator[CatalogRow]:
    """Yield the rows of a table; at the end a note says which of what is read its owner does not see."""
    columns = [
        f"the column {name!r}"
        for name, letters in table.layout.letters.items()
        if is_column(name) and column_number(letters) in facts.hidden_columns
    ]
    number = 0
    for row in rows:
        number += row.row in facts.hidden_rows
        yield row
    found = [counted(number, "row")] * bool(number) + columns
    if found:
        table.notes.append(
            f"{table.layout.file}: Hidden or filtered out in the sheet, but counted like all others: "
            f"{', '.join(found)}. Delete what is not meant."
        )


def _records(sheet: CalamineSheet, odd: Cells) -> Iterator[Record]:
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
            if not texts[column].strip():
                texts[column] = value
        yield number + 1, number + 1, texts


def _text(value: Any) -> str:
    """Return a cell's value as people see it: spreadsheets have no whole numbers."""
    match value:
        case bool():
            return "yes" if value else "no"
        case float() if value.is_integer() and abs(value) < 10**16:
            return str(int(value))
        case datetime():
            return value.date().isoformat() if value.time() == time() else value.isoformat(" ")
        case date() | time():
            return value.isoformat()
    return str(value)
