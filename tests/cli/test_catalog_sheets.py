"""Catalogs in spreadsheets: which sheet and row the columns are in, what cells hold, files that are bad."""

from __future__ import annotations

import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from akool_async import TranslationRequest
from akool_async.cli.app import run
from akool_async.cli.catalog import Catalog, read_catalog
from akool_async.cli.catalog import sheets as sheets_module
from akool_async.cli.catalog.columns import ColumnChoice
from akool_async.sandbox import Sandbox
from tests.cli.conftest import Command, mistakes_of

SHEETS = Path(__file__).parent / "sheets"
URL = "https://m.example.org"
LINK = ColumnChoice({"video_link": "url"})


def make_mixed(path: Path) -> None:
    """Write the file that LibreOffice was given to make `mixed.xlsx` and `mixed.ods`."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Videos"
    sheet.append(["url", "languages", "key", "made", "flag"])
    sheet.append([f"{URL}/a.mp4", "ja", date(2026, 3, 1), date(2026, 3, 2), True])
    sheet.append([f"{URL}/b.mp4", "", "=A1", "=1/0", "#N/A"])
    sheet.append([f"{URL}/c.mp4", "fr", 1.5, 12345678901234, "x"])
    sheet.merge_cells("B2:B3")
    hidden = book.create_sheet("Old")
    hidden.sheet_state = "hidden"
    hidden.append(["url", "languages"])
    hidden.append([f"{URL}/old.mp4", "ja"])
    book.save(path)


def sheet_of(path: Path, rows: list[list[Any]]) -> Path:
    """Write a spreadsheet with one sheet."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    book.save(path)
    return path


def translations(catalog: Catalog) -> list[TranslationRequest]:
    return [item.request for item in catalog.items if isinstance(item.request, TranslationRequest)]


@pytest.mark.parametrize("name", ["films.csv", "films.xlsx", "films.ods"])
def test_a_sheet_of_libreoffice_is_read_as_its_csv(name: str) -> None:
    catalog = read_catalog(SHEETS / name, choice=LINK)

    first, second = translations(catalog)
    assert (first.url, first.targets) == ("https://media.example.org/a.mp4", ("ja", "fr"))
    assert (first.key, first.speaker_num) == ("7", 2)
    assert (second.key, second.targets) == ("tour", ("ja",))
    assert any("The column names are in line 3" in note for note in catalog.notes)


def test_dates_numbers_formulas_and_merged_cells_are_what_people_see() -> None:
    catalog = read_catalog(SHEETS / "mixed.xlsx")

    found = translations(catalog)
    assert [one.key for one in found] == ["2026-03-01", "url", "1.5"]
    assert [one.targets for one in found] == [("ja",), ("ja",), ("fr",)]
    assert any("The sheet 'Videos' is read, and not 'Old' (hidden)." in note for note in catalog.notes)


def test_a_hidden_sheet_is_read_where_it_is_named() -> None:
    for name in ("mixed.xlsx", "films.xlsx"):
        if name == "mixed.xlsx":
            (request,) = translations(read_catalog(SHEETS / name, sheet=" OLD "))
            assert request.url == f"{URL}/old.mp4"
        else:
            (found,) = mistakes_of(SHEETS / name, sheet="Old", choice=LINK)
            assert found.startswith("--sheet: There is no sheet 'Old'")


def test_an_ods_with_errors_or_merged_rows_is_refused_because_they_would_be_taken_for_empty() -> None:
    found = mistakes_of(SHEETS / "mixed.ods", defaults={"targets": ("ja",)})

    assert found == [
        "mixed.ods: A cell holds the error '#DIV/0!'; correct its formula.",
        "mixed.ods: Cells are merged over several rows; split them, so that each row has a value of its own.",
    ]


def test_formulas_that_no_program_has_computed_are_not_taken_for_empty(tmp_path: Path) -> None:
    make_mixed(tmp_path / "raw.xlsx")

    (found,) = mistakes_of(tmp_path / "raw.xlsx")
    assert (
        found
        == "raw.xlsx:3: key (C3): holds a formula without a value; open the file in its program, and save it."
    )


def test_errors_in_a_column_that_is_read_are_shown(tmp_path: Path) -> None:
    rows = [["url", "languages"], [f"{URL}/a.mp4", "#REF!"], ["#N/A", "ja"]]

    found = mistakes_of(sheet_of(tmp_path / "errors.xlsx", rows), defaults={"targets": ("ja",)})
    assert found == [
        "errors.xlsx:2: languages (B2): holds '#REF!', an error of the spreadsheet; correct its formula.",
        "errors.xlsx:3: url (A3): The video's URL is missing; the cell holds '#N/A'.",
    ]


def test_of_several_sheets_with_videos_one_has_to_be_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = openpyxl.Workbook()
    for name in ("Spring", "Autumn & winter"):
        sheet = book.create_sheet(name)
        sheet.append(["url", "languages", "key"])
        sheet.append([f"{URL}/{len(name)}.mp4", "ja", name[:6]])
    path = tmp_path / "two.xlsx"
    book.save(path)

    (found,) = mistakes_of(path)
    assert found.startswith("two.xlsx: Several sheets have column names: 'Spring', 'Autumn & winter'.")
    assert run(["plan", str(path), "--offline", "--sheet", "autumn & winter"]) == 0
    assert capsys.readouterr().out.startswith("Autumn\tja\tnew")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (
            b"url,languages\n",
            "This is no spreadsheet, or a damaged one. If it is a CSV file, let its name",
        ),
        (b"", "This is no spreadsheet, or a damaged one."),
        (b"PK\x03\x04" + bytes(40), "This is no spreadsheet, or a damaged one."),
        (None, "The file is protected by a password, or in the format of .xls."),
    ],
    ids=["csv", "empty", "torn", "password"],
)
def test_what_is_no_spreadsheet_is_named_for_what_it_is(
    tmp_path: Path, content: bytes | None, named: str
) -> None:
    path = tmp_path / "films.xlsx"
    path.write_bytes((SHEETS / "locked.xlsx").read_bytes() if content is None else content)

    (found,) = mistakes_of(path)
    assert found.startswith(f"films.xlsx: {named}")


def test_a_damaged_part_is_a_mistake(tmp_path: Path) -> None:
    data = bytearray((SHEETS / "films.xlsx").read_bytes())
    at = data.find(b"xl/worksheets/sheet1.xml") + 60
    data[at : at + 40] = bytes(40)
    path = tmp_path / "films.xlsx"
    path.write_bytes(data)

    (found,) = mistakes_of(path)
    assert found.startswith("films.xlsx: ")


def test_a_file_that_unpacks_to_gigabytes_is_refused_whatever_size_it_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheets_module, "_LARGEST", 4 * 1024 * 1024)
    path = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", bytes(16 * 1024 * 1024))
    data = path.read_bytes()
    path.write_bytes(data.replace((16 * 1024 * 1024).to_bytes(4, "little"), (100).to_bytes(4, "little")))

    (found,) = mistakes_of(path)
    assert found == "bomb.xlsx: The file unpacks to more than 4 MiB; save a smaller one."


def test_a_sheet_with_a_cell_far_away_is_refused_not_held_in_memory(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["url", "languages"])
    sheet.append([f"{URL}/a.mp4", "ja"])
    sheet["XFD1048576"] = "x"
    book.save(tmp_path / "far.xlsx")

    (found,) = mistakes_of(tmp_path / "far.xlsx")
    assert found.startswith("far.xlsx: The sheet reaches too far down or to the right")


def test_an_ods_whose_cells_repeat_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "far.ods"
    with zipfile.ZipFile(SHEETS / "films.ods") as source, zipfile.ZipFile(path, "w") as target:
        for part in source.infolist():
            content = source.read(part)
            if part.filename == "content.xml":
                cell = b'<table:table-cell office:value-type="string"'
                assert cell in content
                repeated = (
                    b'<table:table-cell table:number-columns-repeated="16384" office:value-type="string"'
                )
                content = content.replace(cell, repeated, 1)
            target.writestr(part, content)

    (found,) = mistakes_of(path)
    assert found.startswith("far.ods: The sheet reaches too far down or to the right")


def test_ten_thousand_rows_with_a_title_are_read(tmp_path: Path) -> None:
    rows: list[list[Any]] = [["Films"], [], ["url", "languages", "key"]]
    rows += [[f"{URL}/{number}.mp4", "Japanese", number] for number in range(10_000)]

    catalog = read_catalog(sheet_of(tmp_path / "long.xlsx", rows))
    assert [one.key for one in translations(catalog)[:2]] == ["0", "1"]
    assert len(catalog.items) == 10_000
    assert str(catalog.items[-1].where("key")).endswith("long.xlsx:10003")
    assert catalog.items[-1].where("key").cell == "C10003"


def test_a_glossary_may_be_a_sheet(tmp_path: Path) -> None:
    words = sheet_of(tmp_path / "words.xlsx", [["Term", "Japanese"], ["room", "部屋"]])
    path = sheet_of(tmp_path / "films.xlsx", [["url", "languages"], [f"{URL}/a.mp4", "ja"]])

    (request,) = translations(read_catalog(path, glossaries=[str(words)]))
    assert request.fixed_words == {"room": "部屋"}


def test_a_sheet_that_is_no_xml_is_a_mistake_in_the_catalog(tmp_path: Path) -> None:
    whole = sheet_of(tmp_path / "whole.xlsx", [["url", "languages"], [f"{URL}/a.mp4", "ja"]])
    broken = tmp_path / "broken.xlsx"
    with zipfile.ZipFile(whole) as before, zipfile.ZipFile(broken, "w") as after:
        for part in before.namelist():
            after.writestr(part, before.read(part).replace(b"/a.mp4", b"/&#55296;.mp4"))

    assert any("can't be read" in mistake for mistake in mistakes_of(broken))


def hide(path: Path, rows: range = range(0), columns: str = "") -> Path:
    """Hide rows and columns of a spreadsheet of the format .xlsx."""
    book = openpyxl.load_workbook(path)
    for row in rows:
        book.active.row_dimensions[row].hidden = True
    for column in columns:
        book.active.column_dimensions[column].hidden = True
    book.save(path)
    return path


ROWS = [
    ["url", "languages", "lipsync", "remarks"],
    *([f"{URL}/{n}.mp4", "ja", "no", ""] for n in range(5)),
    [],
]


@pytest.mark.parametrize(
    ("rows", "columns", "told"),
    [
        (range(3, 7), "", "4 rows"),
        (range(2, 3), "CD", "1 row, the column 'lipsync'"),
        (range(0), "AC", "the column 'url', the column 'lipsync'"),
        (range(1, 2), "D", ""),
        (range(8, 20), "", ""),
    ],
)
def test_what_is_hidden_and_read_is_told(tmp_path: Path, rows: range, columns: str, told: str) -> None:
    catalog = read_catalog(hide(sheet_of(tmp_path / "films.xlsx", ROWS), rows, columns))
    notes = [note for note in catalog.notes if "Hidden" in note]

    assert len(catalog.items) == 5
    assert len(notes) == bool(told)
    assert not told or f"like all others: {told}. Delete" in notes[0]


def test_what_is_hidden_in_an_open_document_is_told(tmp_path: Path) -> None:
    path = tmp_path / "films.ods"
    plain_row = b'<table:table-row table:style-name="ro1">'
    with zipfile.ZipFile(SHEETS / "films.ods") as before, zipfile.ZipFile(path, "w") as after:
        for part in before.namelist():
            content = before.read(part)
            if part == "content.xml":
                first, *others = content.split(b"<table:table-column ")
                content = b'<table:table-column table:visibility="collapse" '.join([first, others[0]])
                content = b"<table:table-column ".join([content, *others[1:]])
                start, last = content.rsplit(plain_row, 1)
                hidden_row = plain_row.replace(b">", b' table:visibility="filter">')
                content = start + hidden_row + last
                content = content.replace(plain_row, b"<table:table-row-group>" + plain_row, 1)
                content = content.replace(b"</table:table>", b"</table:table-row-group></table:table>", 1)
            after.writestr(part, content)

    (note,) = (note for note in read_catalog(path, choice=LINK).notes if "Hidden" in note)
    assert "like all others: 1 row, the column" in note


@pytest.mark.parametrize("command", ["plan", "run", "enqueue"])
def test_commands_tell_of_hidden_rows_before_anything_is_sent(
    tmp_path: Path, akool: Command, command: str, vendor: Sandbox
) -> None:
    path = hide(sheet_of(tmp_path / "films.xlsx", ROWS), range(3, 7), "C")
    place = ["--ledger", "postgresql://127.0.0.1:9/none"] if command == "enqueue" else ["--no-check"]
    told = akool(command, path, *place, *(["--out", tmp_path / "out"] if command != "enqueue" else []))

    assert "counted like all others: 4 rows, the column 'lipsync'. Delete" in " ".join(told.err.split())
    assert not vendor.audit.jobs
