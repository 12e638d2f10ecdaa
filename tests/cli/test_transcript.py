"""The README shows a session with the command line; here it is typed again, and has to look the same."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.screen import terminal
from tests.cli.vendor import Vendor, served

KEY = "canary-4f9c1b7e2a"
ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"


def session() -> list[tuple[list[str], str]]:
    """Give the commands of the README's session and what each one shows."""
    (block,) = re.findall(r"```console\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)[1:]
    return [(shlex.split(line), shown) for line, shown in zip(parts[::2], parts[1::2], strict=True)]


def normal(shown: str) -> list[str]:
    """Give what does not depend on speed: no durations, results in one order."""
    lines = [re.sub(r"\((\d+ \w+ ?)+\)", "(TIME)", line.rstrip()) for line in shown.strip().splitlines()]
    saved = iter(sorted(line for line in lines if line.startswith("saved ")))
    return [next(saved) if line.startswith("saved ") else line for line in lines]


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with served(KEY) as vendor:
        yield vendor


def test_the_session_in_the_readme_is_what_one_gets(
    vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {
        "AKOOL_API_KEY": KEY,
        "AKOOL_API_HOST": vendor.base_url,
        "PYTHONPATH": path,
        "NO_COLOR": "1",
    }
    for (program, *arguments), expected in session():
        if program == "cat":
            Path(arguments[0]).write_text(expected, encoding="utf-8")
            continue
        assert program == "akool-async"
        with terminal(*arguments, environment=environment, lines=60) as typed:
            while typed.alive:
                vendor.let_jobs_end()
                typed.look(0.2)
            assert normal(typed.text) == normal(expected)
