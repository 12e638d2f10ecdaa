"""No text from outside is run as a formula by a spreadsheet, and each is read back as it was."""

from __future__ import annotations

import csv
import io

import pytest

from akool_async._model.csv_cells import escape_formula, unescape_formula

RISKY = [f"{sign}1+1" for sign in "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"]


@pytest.mark.parametrize("text", RISKY)
def test_what_begins_as_a_formula_is_text(text: str) -> None:
    assert escape_formula(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "talk", "1-1", "日本語", "'quoted'", " =1", "a\t=1"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert escape_formula(text) == text


@pytest.mark.parametrize("text", [*RISKY, "", "talk", "'quoted'", "'", "'=1", "''-1", "'\uff1d1"])
def test_each_text_is_read_as_it_was(text: str) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerow([escape_formula(text), "end"])
    file.seek(0)
    ((cell, _),) = csv.reader(file)

    assert unescape_formula(cell) == text


def test_a_cell_that_was_typed_needs_no_apostrophe() -> None:
    assert unescape_formula("- Hello.") == "- Hello."
