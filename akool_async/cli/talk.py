"""What is said to people, on stderr: stdout is for data.

Texts from outside (the vendor's words, file names, a catalog's cells) are shown as they are but for
control characters; they are never taken for markup.
"""

from __future__ import annotations

import logging
import os
import sys
import unicodedata
from typing import Final

from rich.console import Console
from rich.padding import Padding
from rich.text import Text


class _Talk(Console):
    def on_broken_pipe(self) -> None:
        """Go on in silence when nobody listens any more: paid jobs are not left for that."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


talk: Final[Console] = _Talk(stderr=True, highlight=False, emoji=False)
"""For people. Colours go with NO_COLOR, the width with the terminal or COLUMNS."""

_COMMAND: Final = 4
"""Spaces before a command."""


def plain(text: object) -> str:
    """Give a text from outside without what a terminal would obey: control and format characters."""
    return "".join(" " if char.isspace() else char for char in str(text) if _shows(char))


def _shows(char: str) -> bool:
    return char.isspace() or unicodedata.category(char)[0] != "C"


def say(text: str, *, style: str = "") -> None:
    """Say one line; a terminal gets it wrapped between words, below its own indentation.

    Four spaces stand before a command, which stays in one piece. Brackets mean nothing.
    """
    line = plain(text)
    indent = len(line) - len(line.lstrip(" "))
    if not line.strip() or not talk.is_terminal or indent >= _COMMAND:
        talk.print(line, markup=False, soft_wrap=True, style=style)
    else:
        talk.print(Padding(Text(line.strip(), style=style), (0, 0, 0, indent), expand=False))


def complain(text: object) -> None:
    """Say what went wrong, with the program's name before it."""
    say(f"akool-async: {text}")


def can_ask() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirmed(question: str) -> bool:
    """Ask a question of which only "yes" is a yes."""
    talk.print(f"{plain(question)} [y/N] ", markup=False, soft_wrap=True, end="")
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        talk.line()
    return answer.strip().lower() in ("y", "yes")


class Warnings(logging.Handler):
    """Says what the package warns of as a line among the others."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say one record."""
        say(record.getMessage())
