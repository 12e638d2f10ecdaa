"""Data on stdout: a table on a terminal, one line of fields between tabs for programs, JSON when asked for.

Texts from outside are cleaned for the first two; JSON is ASCII, so that nothing in it is obeyed either.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

import attrs
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from akool_async.cli.talk import plain

_GAP: Final = 2
"""Spaces between two columns."""

Rows: TypeAlias = Iterable[Mapping[str, Any]]


def show(rows: Rows, columns: Mapping[str, str], *, as_json: bool) -> None:
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
        write_lines("\t".join(told(row[name]) for name in columns) for row in rows)


def _show_table(rows: Rows, columns: Mapping[str, str]) -> None:
    console = Console(markup=False, highlight=False)
    cells = [[told(row[name]) for name in columns] for row in rows]
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


def told(value: object) -> str:
    """Give one value as text for a cell."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.10g}"
        case tuple() | list():
            return ", ".join(told(part) for part in value)
    return " ".join(plain(value).split())


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


def write_text(lines: Iterable[str]) -> None:
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


_COMMAND: Final = 4
_HIDDEN: Final = frozenset({"raw"})


def fields_of(value: Any) -> dict[str, Any]:
    """Give the fields of a model, without the raw answer."""
    return attrs.asdict(value, filter=lambda field, _: field.name not in _HIDDEN)
