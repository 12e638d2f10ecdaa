"""A command on a terminal of its own: what it shows there, and what it asks."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from select import select

import attrs

ROOT = Path(__file__).resolve().parents[2]


@attrs.frozen
class Shown:
    """What stood on the terminal when the command had ended."""

    code: int
    raw: str

    @property
    def text(self) -> str:
        """Without bold, which is no colour."""
        return re.sub(r"\x1b\[[01]m", "", self.raw)


def on_terminal(*arguments: object, columns: int = 100, answers: Iterable[tuple[str, str]] = ()) -> Shown:
    """Run a command on a terminal of `columns`, in the environment as it is, without colours.

    Args:
        arguments: of the command.
        columns: width of the terminal.
        answers: what to wait for and what to type then, in this order.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])  # wherever the test stands
    environment = os.environ | {"NO_COLOR": "1", "TERM": "xterm-256color", "PYTHONPATH": path}
    environment.pop("COLUMNS", None)
    command = [sys.executable, "-m", "tests.cli.quick", *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    ) as running:
        os.close(theirs)
        try:
            with closing(os.fdopen(ours, "r+b", buffering=0)) as terminal:
                shown = _talk(terminal.fileno(), list(answers))
            return Shown(running.wait(120), shown)
        finally:
            running.kill()


def _talk(terminal: int, answers: list[tuple[str, str]]) -> str:
    shown, seen = b"", 0
    while True:
        assert select([terminal], [], [], 120)[0], f"it shows nothing more: {shown.decode()}"
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux says so when the other end is closed
            part = b""
        if not part:
            break
        shown += part
        while answers and (place := shown.find(answers[0][0].encode(), seen)) >= 0:
            wanted, typed = answers.pop(0)
            seen = place + len(wanted)
            os.write(terminal, f"{typed}\n".encode())
    assert not answers, f"never asked: {answers}; shown: {shown.decode()}"
    return shown.decode()
