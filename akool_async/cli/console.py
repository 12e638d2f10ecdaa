"""What is said to people, on stderr: stdout is for data.

Texts from outside (the vendor's words, file names, a catalog's cells) are shown as they are but for
control characters; they are never taken for markup.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

import attrs
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from akool_async._model.errors import InvalidRequestError


class _Stderr(Console):
    def on_broken_pipe(self) -> None:
        """Go on in silence when nobody listens any more: paid jobs are not left for that."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


stderr: Final[Console] = _Stderr(stderr=True, highlight=False, emoji=False)
"""For people. Colours go with NO_COLOR, the width with the terminal or COLUMNS."""

_COMMAND: Final = 4
"""Spaces before a command."""


def strip_control(text: object) -> str:
    """Give a text from outside without what a terminal would obey: control and format characters."""
    return "".join(" " if char.isspace() else char for char in str(text) if _shows(char))


def _shows(char: str) -> bool:
    return char.isspace() or unicodedata.category(char)[0] != "C"


def print_info(text: str, *, style: str = "") -> None:
    """Say one line; a terminal gets it wrapped between words, below its own indentation.

    Four spaces stand before a command, which stays in one piece. Brackets mean nothing.
    """
    line = strip_control(text)
    indent = len(line) - len(line.lstrip(" "))
    if not line.strip() or not stderr.is_terminal or indent >= _COMMAND:
        stderr.print(line, markup=False, soft_wrap=True, style=style)
    else:
        stderr.print(Padding(Text(line.strip(), style=style), (0, 0, 0, indent), expand=False))


def print_error(text: object) -> None:
    """Say what went wrong, with the program's name before it."""
    print_info(f"akool-async: {text}")


def can_ask() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirmed(question: str) -> bool:
    """Ask a question of which only "yes" is a yes."""
    stderr.print(f"{strip_control(question)} [y/N] ", markup=False, soft_wrap=True, end="")
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        stderr.line()
    return answer.strip().lower() in ("y", "yes")


class Warnings(logging.Handler):
    """Says what the package warns of as a line among the others."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say one record."""
        print_info(record.getMessage())


# Questions to people, on the terminal.
#
# They are asked while no event loop runs, so that Ctrl-C ends them at once.


def prompt(question: str) -> str:
    """Give one line that was typed, without white space around it; "" at the end of the input."""
    stderr.print(strip_control(question), markup=False, soft_wrap=True, end=" ")
    return sys.stdin.readline().strip()


def confirm(question: str, *, yes: bool) -> bool:
    """Whether something may be done: `yes` was said on the command line, or is typed now.

    Raises:
        InvalidRequestError: nobody is there to ask.
    """
    if yes:
        return True
    if not can_ask():
        raise InvalidRequestError(question, advice="Say --yes to agree where there is no terminal.")
    return confirmed(question)


# Data on stdout: a table on a terminal, one line of fields between tabs for programs, JSON when asked for.
#
# Texts from outside are cleaned for the first two; JSON is ASCII, so that nothing in it is obeyed either.


_GAP: Final = 2
"""Spaces between two columns."""

Rows: TypeAlias = Iterable[Mapping[str, Any]]


def print_rows(rows: Rows, columns: Mapping[str, str], *, as_json: bool) -> None:
    """Show a list.

    Args:
        rows: what there is, all that is known of each.
        columns: fields that people and programs see, with their headings; JSON has all fields.
        as_json: give one JSON array.
    """
    if as_json:
        write_json(list(rows))
    elif sys.stdout.isatty():
        _show_table(rows, columns)
    else:
        write_lines("\t".join(format_value(row[name]) for name in columns) for row in rows)


def _show_table(rows: Rows, columns: Mapping[str, str]) -> None:
    console = Console(markup=False, highlight=False)
    cells = [[format_value(row[name]) for name in columns] for row in rows]
    widths = _widths(list(zip(columns.values(), *cells, strict=True)), console.width)
    if widths:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading, width in zip(columns.values(), widths, strict=True):
            table.add_column(heading, overflow="fold", width=width)
        for line in cells:
            table.add_row(*map(Text, line))
        console.print(table)
        return
    for first, *others in cells:  # too narrow for columns: what names a row stays whole
        console.print(Text(first, overflow="fold"))
        console.print(Padding(Text(" · ".join(filter(None, others))), (0, 0, 0, 2)))


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """Give each column's width; none when they can't stand side by side without breaking words.

    What names a row, the first column, is never broken at all.
    """
    widths = [max(map(cell_len, column)) for column in columns]
    least = [widths[0], *(max(map(cell_len, " ".join(column).split())) for column in columns[1:])]
    room -= _GAP * (len(columns) - 1)
    if sum(least) > room:
        return []
    while sum(widths) > room:
        widest = max(range(len(widths)), key=lambda number: widths[number] - least[number])
        widths[widest] -= 1
    return widths


def format_value(value: object) -> str:
    """Give one value as text for a cell."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.10g}"
        case tuple() | list():
            return ", ".join(format_value(part) for part in value)
    return " ".join(strip_control(value).split())


def write_json(value: object) -> None:
    """Write one JSON document."""
    write_lines([json.dumps(value, indent=2, default=_plain_value)])


def _plain_value(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def write_lines(lines: Iterable[str]) -> None:
    """Write lines to stdout, whatever it can encode."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    for line in lines:
        sys.stdout.write(f"{line}\n")


def print_wrapped(lines: Iterable[str]) -> None:
    """Write lines for people to stdout, as `wrap` does on a terminal."""
    if sys.stdout.isatty():
        wrap(lines, Console(markup=False, highlight=False))
    else:
        write_lines(lines)


def wrap(lines: Iterable[str], console: Console) -> None:
    """Print lines wrapped between words, but for commands.

    Args:
        lines: each with its own indentation; four spaces stand before a command, which stays in one piece.
        console: where they go.
    """
    for line in lines:
        text = line.lstrip(" ")
        indent = len(line) - len(text)
        if indent >= _COMMAND:
            console.print(Text(line), soft_wrap=True)
        else:
            console.print(Padding(Text(text), (0, 0, 0, indent)))


_HIDDEN: Final = frozenset({"raw"})


def fields_of(value: Any) -> dict[str, Any]:
    """Give the fields of a model, without the raw answer."""
    return attrs.asdict(value, filter=lambda field, _: field.name not in _HIDDEN)


# Credits in words: as they are, or rounded where they are only judged.


_SMALL: Final = 10


def credits_text(amount: float) -> str:
    """Give an amount with two decimals at most, such as "1,234.5"."""
    return f"{amount:,.2f}".rstrip("0").rstrip(".")


def approximate(amount: float) -> str:
    """Give an amount that is only judged, without decimals where they would mean nothing."""
    return f"{amount:,.0f}" if abs(amount) >= _SMALL else credits_text(amount)


# Moments and spans of time in the words that people use.


_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def duration(length: timedelta) -> str:
    """Give a length in its two largest units, such as "1 d 4 h"."""
    seconds = max(int(length.total_seconds()), 0)
    for number, (unit, size) in enumerate(_UNITS):
        if seconds >= size:
            parts = [(seconds // size, unit)]
            if number + 1 < len(_UNITS):
                smaller, least = _UNITS[number + 1]
                parts.append((seconds % size // least, smaller))
            return " ".join(f"{count} {name}" for count, name in parts if count)
    return "0 s"


def ago(moment: datetime | None, now: datetime) -> str:
    """Give a moment of the past, such as "2026-03-01 12:00 UTC, 3 h ago"."""
    if moment is None:
        return "at a time that is not known"
    return f"{moment:%Y-%m-%d %H:%M} UTC, {duration(now - moment)} ago"
