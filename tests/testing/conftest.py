"""Runs of pytest in a process of their own, as users have them: with the plugin, without our settings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import attrs

import akool_async

HEAD = """
import os
import anyio, pytest
import akool_async
from akool_async import *
from akool_async.sandbox import Fault

def video(number=1):
    return TranslationRequest(url=f"https://example.com/{number}.mp4", targets="ja")
"""
ANYIO = """
pytestmark = pytest.mark.anyio

@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param
"""
ASYNCIO = """
import pytest_asyncio
pytestmark = pytest.mark.asyncio
"""


@attrs.frozen
class Run:
    """What a run of pytest came to."""

    outcomes: dict[str, set[str]]
    """By test, with its parameters: PASSED or FAILED, and ERROR for what failed before or after it."""
    output: str


def run_tests(folder: Path, code: str, *options: str) -> Run:
    """Run pytest over this code in a folder, as if the folder were a user's project."""
    (folder / "test_theirs.py").write_text(HEAD + code, encoding="utf-8")
    settings = "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
    (folder / "pytest.ini").write_text(settings, encoding="utf-8")
    installed = entry_points(group="pytest11", name="akool_async")
    loaded = () if installed else ("-p", "akool_async.testing.plugin")
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", *loaded, *options]
    environment = os.environ | {"PYTHONPATH": str(Path(akool_async.__file__).parents[1]), "COLUMNS": "200"}
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"):
        environment.pop(name, None)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=270)
    outcomes: dict[str, set[str]] = {}
    for outcome, name in re.findall(r"^(PASSED|FAILED|ERROR) \S*?::(\S+)", done.stdout, re.MULTILINE):
        outcomes.setdefault(name, set()).add(outcome)
    return Run(outcomes, done.stdout + done.stderr)
