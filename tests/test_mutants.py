"""The mutants fit the code as it is: one whose line was changed would be noticed only by the slow session."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import akool_async
from tests.mutants import AREAS, MUTANTS, SURVIVORS, TESTS, Area, Mutant

PACKAGE = Path(akool_async.__file__).parent


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what)
def test_a_mutant_changes_one_line_and_names_tests(mutant: Mutant) -> None:
    source = (PACKAGE / mutant.file).read_text(encoding="utf-8")

    assert source.count(mutant.right) == 1
    ast.parse(source.replace(mutant.right, mutant.wrong))
    tests, _, words = " ".join(mutant.tests).partition(" -k ")
    assert (TESTS.parent / tests).is_file()
    content = (TESTS.parent / tests).read_text(encoding="utf-8")
    assert all(word in content for word in words.split(" or "))


@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.name)
def test_an_area_names_code_and_tests(area: Area) -> None:
    source = ast.parse((PACKAGE / area.file).read_text(encoding="utf-8"))
    functions = {
        node.name for node in ast.walk(source) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

    assert set(area.functions) <= functions
    assert all((TESTS.parent / test).exists() for test in area.tests)


def test_changes_that_are_listed_as_harmless_are_of_code_that_is_changed() -> None:
    assert set(SURVIVORS) <= {area.file for area in AREAS}
