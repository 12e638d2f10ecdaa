"""Cells of spreadsheets that a reader takes for empty: errors, formulas without a value, merged names."""

from __future__ import annotations

import zipfile
from pathlib import Path

import openpyxl
import pytest

from akool_async.cli.catalog import read_catalog
from tests.cli.conftest import mistakes_of
from tests.cli.test_catalog_sheets import URL, hide, sheet_of, translations


def with_cell(path: Path, cell: str) -> Path:
    """Write a spreadsheet of the format .xlsx whose cell B2, the languages, is given as XML."""
    whole = sheet_of(
        path.with_name("whole.xlsx"), [["url", "languages", "key"], [f"{URL}/a.mp4", "MARK", "a"]]
    )
    with zipfile.ZipFile(whole) as before, zipfile.ZipFile(path, "w") as after:
        for part in before.namelist():
            content = before.read(part).decode()
            if part.endswith("sheet1.xml"):
                start, rest = content.split('<c r="B2"')
                content = start + cell + rest.split("</c>", 1)[1]
            after.writestr(part, content)
    return path


ODS = """<?xml version="1.0" encoding="UTF-8"?>
<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"
 xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"
 xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0" office:version="1.3">
<office:body><office:spreadsheet><table:table table:name="S">ROWS</table:table></office:spreadsheet>
</office:body></office:document-content>"""
MANIFEST = """<?xml version="1.0"?>
<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"></manifest:manifest>"""


def open_document(path: Path, rows: list[list[str]]) -> Path:
    """Write a spreadsheet of the format .ods; what begins with "<" is the XML of a cell."""
    text = ""
    for row in rows:
        cells = (
            value
            if value.startswith("<")
            else f'<table:table-cell office:value-type="string"><text:p>{value}</text:p></table:table-cell>'
            for value in row
        )
        text += f"<table:table-row>{''.join(cells)}</table:table-row>"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", ODS.replace("ROWS", text))
        archive.writestr("META-INF/manifest.xml", MANIFEST)
    return path


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ('<c r="B2" s="0" t="e"><f>X()</f><v>#NAME?</v></c>', "#NAME?"),
        ('<c t="e" r="B2"><f>X()</f><v>#NAME?</v></c>', "#NAME?"),
        ('<c  r="B2" t="e"><v>#REF!</v></c>', "#REF!"),
        ("<c r='B2' t='e'><v>#REF!</v></c>", "#REF!"),
        ('<c r="B2" t="e">\n  <f>X()</f>\n  <v>#REF!</v>\n</c>', "#REF!"),
        ('<c t="e"><v>#REF!</v></c>', "#REF!"),
        ('<c s="0" r="B2"><f>C2</f></c>', "a formula without a value"),
        ('<c r="B2">\n  <f>C2</f>\n</c>', "a formula without a value"),
        ('<c r="B2"><f>C2</f><v>\n</v></c>', "a formula without a value"),
        ('<c r="B2" t="str"><f>C2</f></c>', "a formula without a value"),
        ('<c r="B2"><f><![CDATA[1<2]]></f><v/></c>', "a formula without a value"),
    ],
)
def test_errors_and_formulas_without_a_value_are_found_however_they_are_written(
    tmp_path: Path, cell: str, said: str
) -> None:
    (found,) = mistakes_of(with_cell(tmp_path / "films.xlsx", cell), defaults={"targets": ("ja",)})

    assert found.startswith("films.xlsx:2: languages (B2): holds ")
    assert said in found


@pytest.mark.parametrize("value", ["<v></v>", "<v/>"])
def test_an_empty_text_that_a_program_has_computed_is_an_empty_cell(tmp_path: Path, value: str) -> None:
    cell = f'<c r="B2" t="str"><f>IF(A2="x","ja","")</f>{value}</c>'

    catalog = read_catalog(with_cell(tmp_path / "films.xlsx", cell), defaults={"targets": ("fr",)})
    assert [one.targets for one in translations(catalog)] == [("fr",)]


@pytest.mark.parametrize(
    ("values", "inside", "said"),
    [
        ("", "", "The cell B2 holds a formula without a value; open the file in its program, and save it."),
        ('office:value-type="string"', "", "The cell B2 holds a formula without a value"),
        ('office:value-type="float"', "", "The cell B2 holds a formula without a value"),
        ("", "<text:p>ja</text:p>", "The cell B2 holds a formula without a value"),
        (
            'office:value-type="string"',
            "<office:annotation><text:p>why</text:p></office:annotation>",
            "The cell B2 holds a formula without a value",
        ),
        (
            'office:value-type="string" office:string-value=""',
            "<text:p>#NAME?</text:p>",
            "A cell holds the error '#NAME?'; correct its formula.",
        ),
        ("calcext:value-type='error'", "<text:p>#REF!</text:p>", "A cell holds the error '#REF!'"),
    ],
)
def test_formulas_of_an_open_document_without_a_value_are_refused(
    tmp_path: Path, values: str, inside: str, said: str
) -> None:
    cell = f'<table:table-cell table:formula="of:=[.C2]" {values}>{inside}</table:table-cell>'
    path = open_document(tmp_path / "films.ods", [["url", "languages", "key"], [f"{URL}/a.mp4", cell, "a"]])

    (found,) = mistakes_of(path, defaults={"targets": ("ja",)})
    assert found.startswith(f"films.ods: {said}")


@pytest.mark.parametrize(
    ("values", "inside"),
    [
        ('office:value-type="string" office:string-value=""', "<text:p/>"),
        ('office:value-type="string" office:string-value=""', ""),
        ('office:value-type="string"', "<text:p></text:p>"),
    ],
)
def test_an_empty_text_that_an_open_document_has_computed_is_an_empty_cell(
    tmp_path: Path, values: str, inside: str
) -> None:
    cell = f'<table:table-cell table:formula="of:=&quot;&quot;" {values}>{inside}</table:table-cell>'
    path = open_document(tmp_path / "films.ods", [["url", "languages", "key"], [f"{URL}/a.mp4", cell, "a"]])

    (request,) = translations(read_catalog(path, defaults={"targets": ("fr",)}))
    assert request.targets == ("fr",)


def test_a_sheet_whose_cells_can_not_be_checked_is_refused(tmp_path: Path) -> None:
    path = open_document(tmp_path / "films.ods", [["url", "languages"], [f"{URL}/a.mp4", "ja"]])
    with zipfile.ZipFile(path) as archive:
        content = archive.read("content.xml").decode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", MANIFEST)
        start, rest = content.split("?>", 1)
        archive.writestr("content.xml", f'{start}?><!DOCTYPE x [<!ENTITY a "aaaa">]>{rest}')

    (found,) = mistakes_of(path)
    assert found == "films.ods: The sheet can't be read: it declares a document type."


def test_whole_numbers_are_written_as_such_up_to_the_longest(tmp_path: Path) -> None:
    numbers = [7, 123456789012345, 1234567890123456]
    rows = [["url", "languages", "key"], *([f"{URL}/{one}.mp4", "ja", one] for one in numbers)]

    catalog = read_catalog(sheet_of(tmp_path / "films.xlsx", rows))
    assert [one.key for one in translations(catalog)] == list(map(str, numbers))


def test_single_quotes_hide_neither_errors_nor_what_is_hidden(tmp_path: Path) -> None:
    whole = hide(with_cell(tmp_path / "double.xlsx", '<c r="B2" t="e"><v>#N/A</v></c>'), range(2, 3), "C")
    path = tmp_path / "films.xlsx"
    with zipfile.ZipFile(whole) as before, zipfile.ZipFile(path, "w") as after:
        for part in before.namelist():
            content = before.read(part)
            after.writestr(part, content.replace(b'"', b"'") if part.startswith("xl/w") else content)

    notes = read_catalog(path, defaults={"targets": ("ja",)}).notes
    assert any("languages: '#N/A' in 1 cell is taken for empty" in note for note in notes)
    assert any("like all others: 1 row, the column 'key'" in note for note in notes)


def merged(path: Path, *ranges: str) -> Path:
    """Merge cells of a spreadsheet of the format .xlsx."""
    book = openpyxl.load_workbook(path)
    for one in ranges:
        book.active.merge_cells(one)
    book.save(path)
    return path


SEVERAL = [["url", "languages", "", "", "key"], [f"{URL}/a.mp4", "ja", "fr", "", "a"]]


@pytest.mark.parametrize("title", [[], [["Films of spring"]]])
def test_values_under_a_name_that_is_merged_over_their_columns_are_mistakes(
    tmp_path: Path, title: list[list[str]]
) -> None:
    path = sheet_of(tmp_path / "films.xlsx", [*title, *SEVERAL])
    line = len(title) + 1

    (found,) = mistakes_of(merged(path, f"B{line}:D{line}", *(["A1:E1"] if title else [])))
    assert found == (
        f"films.xlsx:{line + 1}: (C{line + 1}): This cell has no column: B{line}, 'languages', is merged "
        "over it. Split it and name each column, or write all values into the first."
    )


def test_values_under_a_name_that_an_open_document_merges_over_their_columns_are_mistakes(
    tmp_path: Path,
) -> None:
    name = (
        '<table:table-cell office:value-type="string" table:number-columns-spanned="3" '
        'table:number-rows-spanned="1"><text:p>languages</text:p></table:table-cell>'
    )
    covered = '<table:covered-table-cell table:number-columns-repeated="2"/>'
    rows = [["url", name, covered, "key"], SEVERAL[1]]

    (found,) = mistakes_of(open_document(tmp_path / "films.ods", rows))
    assert "(C2): This cell has no column: B1, 'languages', is merged over it." in found


@pytest.mark.parametrize(
    ("ranges", "rows"),
    [
        (["B1:D1"], [SEVERAL[0], [f"{URL}/a.mp4", "ja", "", "", "a"]]),
        ([], SEVERAL),
        (["C1:D1"], [["url", "languages", "Remarks", "", "key"], [f"{URL}/a.mp4", "ja", "so", "so", "a"]]),
    ],
    ids=["nothing below", "not merged", "remarks"],
)
def test_columns_without_a_name_that_is_read_hold_whatever_their_owner_likes(
    tmp_path: Path, ranges: list[str], rows: list[list[str]]
) -> None:
    catalog = read_catalog(merged(sheet_of(tmp_path / "films.xlsx", rows), *ranges))

    assert [one.targets for one in translations(catalog)] == [("ja",)]
    letters = [column for column, value in zip("CD", rows[1][2:4], strict=True) if value]
    letters = letters[1:] if "Remarks" in rows[0] else letters
    notes = [note for note in catalog.notes if "without a name" in note]
    assert notes == [
        f"{tmp_path / 'films.xlsx'}: Columns without a name that are not read: {letter}."
        for letter in letters
    ]
