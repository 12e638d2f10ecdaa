"""A command on a terminal that can be looked at while it runs, and typed into."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyte

CTRL_C = "\x03"
QUIET = 0.05
"""Seconds without news after which a picture is whole; the next one is drawn later than that."""


class Terminal:
    """What a command shows, as a person sees it."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes], columns: int, lines: int) -> None:
        self._descriptor = descriptor
        self.process = process
        self._screen = pyte.HistoryScreen(columns, lines, history=1000)
        self._stream = pyte.ByteStream(self._screen)
        self._shots = Path(os.environ["AKOOL_TEST_SCREENS"]) if "AKOOL_TEST_SCREENS" in os.environ else None
        self.raw = b""

    @property
    def text(self) -> str:
        """The screen now, without what is scrolled away."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    @property
    def whole(self) -> str:
        """What is scrolled away and the screen now."""
        gone = (
            "".join(row[column].data for column in range(self._screen.columns))
            for row in self._screen.history.top
        )
        return "\n".join([*(line.rstrip() for line in gone), self.text])

    @property
    def alive(self) -> bool:
        """Whether the command goes on; False when all that it showed was looked at, too."""
        return self.process.poll() is None or self._read(0.0)

    def close(self) -> None:
        """Close it as a person closes a window: the command gets SIGHUP, and can write to it no more."""
        os.close(self._descriptor)
        self._descriptor = -1

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._descriptor, text.encode())

    def until(self, *wanted: str, seconds: float = 120.0) -> str:
        """Look until all of this stands on the screen; give the screen."""
        end = time.monotonic() + seconds
        while not all(one in self.text for one in wanted):
            if not self._read(end):
                raise AssertionError(f"{wanted} never stood on the screen:\n{self.whole}")
        return self._whole_picture()

    def until_match(self, pattern: str, seconds: float = 120.0) -> str:
        """Look until something like this stands on the screen; give the screen."""
        end = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            if not self._read(end):
                raise AssertionError(f"{pattern} never stood on the screen:\n{self.whole}")
        return self._whole_picture()

    def _whole_picture(self) -> str:
        """Look until nothing more comes for a moment: a picture may come in parts."""
        while self._read(time.monotonic() + QUIET):
            pass
        return self.text

    def look(self, seconds: float) -> str:
        """Look for so long, or until something new is shown; give the screen."""
        self._read(time.monotonic() + seconds)
        return self.text

    def end(self, seconds: float = 120.0) -> int:
        """Look until the command has ended; give its exit code."""
        end = time.monotonic() + seconds
        while self._read(end):
            pass
        assert time.monotonic() < end, f"It does not end:\n{self.text}"
        return self.process.wait(120)

    def _read(self, end: float) -> bool:
        ready, _, _ = select.select([self._descriptor], [], [], max(end - time.monotonic(), 0))
        try:
            part = os.read(self._descriptor, 65536) if ready else b""
        except OSError:  # Linux says so when the other end is closed
            part = b""
        self.raw += part
        self._stream.feed(part)
        return bool(part)

    def shot(self, name: str) -> None:
        """Keep the screen for a person to look at, where AKOOL_TEST_SCREENS names a folder."""
        if self._shots is not None:
            self._shots.mkdir(parents=True, exist_ok=True)
            (self._shots / f"{name}.txt").write_text(f"{self.text}\n", encoding="utf-8")


@contextmanager
def terminal(
    *arguments: object, environment: Mapping[str, str], columns: int = 100, lines: int = 30
) -> Iterator[Terminal]:
    """Run a command on a terminal of this size."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    command = [sys.executable, "-m", "tests.cli.quick", *map(str, arguments)]
    told = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    with subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=told | {"TERM": "xterm-256color"} | environment,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = Terminal(ours, process, columns, lines)
        try:
            yield shown
        finally:
            process.kill()
            if shown._descriptor >= 0:
                shown.close()
