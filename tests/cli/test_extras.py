"""The command line works with the extra `cli` alone; what needs more says which extra to install."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from akool_async.cli.app import COMMANDS

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
from akool_async.cli import main
sys.argv[0] = "akool-async"
main()
"""


@cache  # it reads the files of every package that is installed
def only_with_extras() -> set[str]:
    """Return the modules that the extras but `cli` bring, by the names that are imported."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]

    def named(requirements: list[str]) -> set[str]:
        return {re.split(r"[^\w.-]", one)[0].lower().replace("_", "-") for one in requirements}

    extras = project["optional-dependencies"]
    wanted = named([one for extra, told in extras.items() if extra != "cli" for one in told])
    wanted -= named(project["dependencies"]) | named(extras["cli"]) | {"akool-async"}
    return {
        module
        for module, distributions in packages_distributions().items()
        if wanted & {name.lower().replace("_", "-") for name in distributions}
    }


def akool(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "AKOOL_API_KEY": "canary-4f9c1b7e2a", "AKOOL_API_HOST": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", BLOCKED.format(blocked=only_with_extras()), *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.thorough
def test_the_help_of_every_command_needs_no_other_extra(tmp_path: Path) -> None:
    assert {"av", "mcp", "cryptography"} <= only_with_extras()
    shown = akool(tmp_path, "--help")

    assert shown.returncode == 0, shown.stderr
    for names in COMMANDS.values():
        for name in names:
            assert f" {name.split()[0]} " in shown.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "videos.csv", "--offline"),
        *(pytest.param((word,), marks=pytest.mark.thorough) for word in ("status", "list", "doctor")),
    ],
)
def test_what_needs_no_extra_works_without(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "videos.csv").write_text("url,languages\nhttps://example.com/1.mp4,ja\n", encoding="utf-8")
    ended = akool(tmp_path, *words)

    assert "Traceback" not in ended.stderr
    assert "pip install" not in ended.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("demo",),
        *(
            pytest.param(words, marks=pytest.mark.thorough)
            for words in (("mcp",), ("sandbox", "--port", "0"), ("webhook", "serve"))
        ),
    ],
)
def test_what_needs_an_extra_says_which(tmp_path: Path, words: tuple[str, ...]) -> None:
    ended = akool(tmp_path, *words)

    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert "akool-async[" in ended.stderr


@pytest.mark.thorough
@pytest.mark.parametrize("command", ["plan", "run"])
def test_results_for_a_bucket_need_the_extra_of_a_plan_and_of_a_run(tmp_path: Path, command: str) -> None:
    (tmp_path / "videos.csv").write_text("url,languages\nhttps://example.com/1.mp4,ja\n", encoding="utf-8")
    ended = akool(tmp_path, command, "videos.csv", "--out", "s3://bucket/x", "--journal", "jobs.sqlite3")

    assert ended.returncode == 2
    assert "akool-async[storage]" in ended.stderr
    assert "would be submitted" not in ended.stdout + ended.stderr
