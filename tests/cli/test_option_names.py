"""On the command line a message names options, where a program is told its arguments."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import akool_async
from akool_async._model.tariff import budget_refusal
from akool_async.cli import app
from akool_async.cli.console import format_value, name_options
from akool_async.sandbox import Sandbox
from tests.cli.conftest import Command

LIBRARY = Path(akool_async.__file__).parent
EVERY = frozenset[str]().union(
    *(app.options_of(name) for modules in app.COMMANDS.values() for name in modules)
)


def texts() -> Iterator[str]:
    """Yield the texts of the library that name an option."""
    for path in sorted(LIBRARY.rglob("*.py")):
        if path.relative_to(LIBRARY).parts[0].startswith("_") or "ledger" in path.parts:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and "--" in str(node.value):
                    yield str(node.value)


def test_what_the_library_says_with_an_option_names_that_alone() -> None:
    named = [text for text in texts() if re.search(r"\w \(`?--[a-z]", text)]
    said = [name_options(text) for text in named]

    assert len(named) > 5
    assert not [text for text in said if "=True" in text or re.search(r"\w_\w+ \(`?--[a-z]", text)]
    assert {option for text in said for option in re.findall(r"--[a-z][a-z-]+", text)} <= EVERY


@pytest.mark.parametrize("estimated", [False, True])
def test_the_bound_is_called_as_it_was_set(estimated: bool) -> None:
    said = name_options(budget_refusal(1234.5, 1230, 7, estimated=estimated))

    assert said.startswith("--max-credits (1,234.5) would be exceeded: ")


def test_a_key_that_looks_like_an_argument_stays_as_it_is() -> None:
    for key in ("film (--cut)", "max_credits", "file_names", "max_credits (old)", "pay_again=True"):
        assert format_value(key) == key


def test_a_missing_journal_names_the_option_that_accepts_it(
    akool: Command, vendor: Sandbox, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("url,to,key\nhttps://example.com/a.mp4,ja,a\n")
    akool("run", "a.csv", "--yes")
    (tmp_path / "results" / "jobs.sqlite3").unlink()
    told = akool("run", "a.csv", "--yes", "--json")

    assert "continue with --accept-older-journal and" in told.err
    assert "continue with --accept-older-journal and" in told.out
    assert "=True" not in told.err + told.out
