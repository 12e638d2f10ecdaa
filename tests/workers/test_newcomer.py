"""The documented way from nothing to two workers is run as it is written."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "many-machines.md"


@pytest.mark.skipif(not (PAGE.exists() and (ROOT / "examples").exists()), reason="only beside the pages")
@pytest.mark.thorough
@pytest.mark.timeout(900)
def test_two_workers_finish_a_catalog() -> None:
    # Not below the folder of pytest, which is for this user alone: root's Postgres runs as another one.
    with tempfile.TemporaryDirectory() as folder:
        follow(Path(folder))


def free_port() -> int:
    """Return a port that nobody listens at, below those that a machine hands out by itself."""
    while True:
        port = random.SystemRandom().randrange(10_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def follow(tmp_path: Path) -> None:
    (script,) = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    script = script.replace("8765", str(free_port()))
    lines = [line for line in script.splitlines() if not line.startswith("pip ")]
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "akool-async"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -W ignore -m akool_async "$@"\n')
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -W ignore "$@"\n')
    for program in (command, python):
        program.chmod(0o755)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    tmp_path.chmod(0o755)
    environment = {
        **os.environ,
        "XDG_RUNTIME_DIR": str(tmp_path),  # where the wheel of Postgres has its lock
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    process = subprocess.Popen(
        ["bash", "-e", "-c", "\n".join(lines)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.wait(600) == 0
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        said = process.communicate(timeout=120)[0]
        print(said)

    assert {path.name for path in (tmp_path / "results").glob("*.mp4")} == {"one.ja.mp4", "two.ja.mp4"}
    assert "2  saved" in said
