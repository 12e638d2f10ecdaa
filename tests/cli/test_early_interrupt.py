"""Ctrl-C while the command line is still being imported ends it without a traceback; nothing was sent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INTERRUPTED = """
import os, signal, sys

class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPTED_AT"]:
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
sys.meta_path.insert(0, Interrupter())
"""


@pytest.mark.parametrize(
    "module",
    [
        *(
            "akool_async.cli.app",
            "cyclopts",
            "httpx",
            "akool_async._journal",
            "akool_async.cli.commands.status",
        ),
        *(
            pytest.param(other, marks=pytest.mark.thorough)
            for other in (
                "attrs",
                "anyio",
                "rich",
                "cattrs",
                "akool_async._model.errors",
                "akool_async._client",
                "sqlite3",
            )
        ),
    ],
)
def test_ctrl_c_during_an_import_ends_in_order(module: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": path, "INTERRUPTED_AT": module}
    command = [sys.executable, "-m", "akool_async", "status", "--out", str(tmp_path)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "Interrupted.\n")
