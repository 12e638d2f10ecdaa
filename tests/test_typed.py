"""Type checkers accept a program that users may write, and refuse each mistake in another one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import akool_async

PROGRAMS = Path(__file__).with_name("typed")
SOURCES = str(Path(akool_async.__file__).parents[1])
CHECKERS = {
    "mypy": ("--strict", "--cache-dir", ".cache"),
    "pyright": ("--pythonpath", sys.executable),
}


@pytest.mark.parametrize("checker", CHECKERS)
def test_type_checkers_refuse_each_mistake_and_nothing_else(checker: str, tmp_path: Path) -> None:
    pytest.importorskip(checker)
    shutil.copytree(PROGRAMS, tmp_path, dirs_exist_ok=True)  # away from the settings of this project
    mistakes = {
        (path.name, number)
        for path in tmp_path.glob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if line.endswith("# refused")
    }
    sources = {} if sysconfig.get_path("purelib") == SOURCES else {"MYPYPATH": SOURCES, "PYTHONPATH": SOURCES}

    done = subprocess.run(
        [sys.executable, "-m", checker, *CHECKERS[checker], "accepted.py", "refused.py"],
        cwd=tmp_path,
        env={**os.environ, **sources},
        capture_output=True,
        text=True,
        timeout=250,
    )

    found = re.findall(r"(\w+\.py):(\d+):(?:\d+ -)? error: ", done.stdout)
    assert {(program, int(number)) for program, number in found} == mistakes, done.stdout + done.stderr


def test_the_accepted_program_is_right() -> None:
    exec((PROGRAMS / "accepted.py").read_text(encoding="utf-8"), {"__name__": "accepted"})
