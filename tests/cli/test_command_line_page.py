"""The pages about the command line and catalogs keep their word: what they list is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from akool_async.cli.app import COMMANDS
from akool_async.cli.catalog import read_catalog
from akool_async.cli.catalog.columns import COLUMNS, column_of
from akool_async.cli.exit_codes import ExitCode

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = "\n\n".join((DOCS / name).read_text(encoding="utf-8") for name in ("command-line.md", "catalogs.md"))


def rows_below(header: str) -> list[list[str]]:
    """Give the rows of the table with this header."""
    table = TEXT.partition(header)[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_every_column_stands_in_the_table_with_names_that_are_taken() -> None:
    told: set[str] = set()
    for names, aliases, _ in rows_below("| column | also called | what it holds |"):
        for name in (*names.replace("`", "").split(","), *filter(None, aliases.split(","))):
            column = column_of(name)
            assert column is not None, name
            told.add(column.option)

    assert told == {column.option for column in COLUMNS}


def test_every_exit_code_stands_in_the_table() -> None:
    told = {int(code) for code, _ in rows_below("| code | meaning |")}

    assert told == {code.value for code in ExitCode}


def test_the_examples_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    catalog, glossary = re.findall(r"```csv\n(.*?)```", TEXT, re.DOTALL)
    (yaml,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    for name, text in (("a.csv", catalog), ("words.csv", glossary), ("a.yaml", yaml)):
        Path(name).write_text(text, encoding="utf-8")

    rows = read_catalog(Path("a.csv"), glossaries=["words.csv"]).items
    assert [row.request.targets for row in rows] == [("ja",), ("fr",), ("af-ZA",)]
    assert rows[0].request.fixed_words == {"Paris": "パリ"}
    assert rows[0].request.no_translate_words == ("Akool",)
    for row in read_catalog(Path("a.yaml")).items:
        assert (row.request.targets, row.request.lipsync) == (("ja", "no"), True)


def test_every_command_stands_in_the_table() -> None:
    told = {name.split("`")[1].partition(" --")[0] for name, _ in rows_below("| command | what it does |")}
    more = {name for cell, _ in rows_below("| command | what it does |") for name in cell.split("`")[3::2]}
    named = {re.sub(r" [A-Z_ ]+$", "", name) for name in told | more}

    assert named == {name for names in COMMANDS.values() for name in names}
