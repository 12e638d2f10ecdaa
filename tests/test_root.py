"""The root of the package: every name is there, and what a plain client does not need comes later."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import akool_async


def _said_by(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_every_public_name_is_there_once_and_in_order() -> None:
    names = akool_async.__all__

    assert [name for name in names if not hasattr(akool_async, name)] == []
    assert names == sorted(set(names))
    assert names == [name for name in dir(akool_async) if not name.startswith("__")]


def test_the_public_names_are_those_of_their_parts() -> None:
    assert akool_async.open_batch is akool_async._batch.open_batch
    assert akool_async.Journal is akool_async._journal.Journal


def test_every_name_is_the_one_that_type_checkers_see() -> None:
    source = ast.parse(Path(akool_async.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(source) if isinstance(node, ast.ImportFrom)]
    seen = {
        alias.name: getattr(importlib.import_module(node.module or ""), alias.name)
        for node in imports
        if node.module and node.module.startswith("akool_async.")
        for alias in node.names
    }

    assert sorted(seen) == akool_async.__all__
    assert [name for name, value in seen.items() if getattr(akool_async, name) is not value] == []


def test_a_name_that_is_not_there_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="open_bach"):
        akool_async.open_bach  # noqa: B018


def test_a_plain_client_imports_neither_the_batch_nor_the_journal_nor_aiohttp() -> None:
    program = (
        "import sys, akool_async; akool_async.AkoolClient(api_key='k');"
        "print(sorted({'akool_async._batch', 'akool_async._journal', 'sqlite3', 'aiohttp', 'cryptography',"
        " 'uvicorn'} & {*sys.modules}))"
    )

    assert _said_by(program) == "[]"


def test_a_star_brings_every_name() -> None:
    program = "from akool_async import *; import akool_async; print(set(akool_async.__all__) <= {*globals()})"

    assert _said_by(program) == "True"
