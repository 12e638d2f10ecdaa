"""Messages to people on stderr, and data on stdout: a table, fields between tabs, or JSON.

Texts from outside (the vendor's messages, file names, a catalog's cells) are shown without control
characters and are never taken for markup. JSON is ASCII, so that a terminal obeys nothing in it either.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from akool_async._model.errors import InvalidRequestError
from akool_async._model.redact import sanitize
from akool_async._model.tariff import credits_text
from akool_async._model.validators import joins


class _Stderr(Console):
    stamped = False
    """Whether lines of `print_info` begin with the time, where they go to a log and not to a terminal."""

    def on_broken_pipe(self) -> None:
        # Rich would raise SystemExit here, which would abandon paid jobs because a reader closed its pipe.
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())

    def _check_buffer(self) -> None:
        # A closed terminal (EIO) or a full disk must not end a run either, whose jobs are paid.
        try:
            super()._check_buffer()
        except OSError:
            self.on_broken_pipe()


stderr: Final = _Stderr(stderr=True, highlight=False, emoji=False)
"""For people. NO_COLOR turns colours off; the width is the terminal's, or COLUMNS."""

_COMMAND_INDENT: Final = 4
"""Spaces before a command. A line that begins with as many is never wrapped, so that it can be copied."""
_COLUMN_GAP: Final = 2
_READABLE: Final = 24
_READABLE_CUT: Final = 30
"""Columns that a text has to have before other columns are shown beside it: where it is wrapped, and cut."""
_APPROXIMATE_FROM: Final = 10
_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


class WarningPrinter(logging.Handler):
    """Prints the package's warnings as lines among the others."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        print_info(record.getMessage())


def strip_control(text: object) -> str:
    """Return a text without the control and format characters that a terminal would obey.

    Joiners stay where they are a part of a word: a key without them would be another one.
    """
    said = str(text)
    if said.isprintable():
        return said
    cleaned = "".join(" " if char.isspace() else char for char in said)
    return "".join(
        char
        for place, char in enumerate(cleaned)
        if unicodedata.category(char)[0] != "C" or joins(cleaned, place)
    )


_ARGUMENT: Final = re.compile(
    r"\b(?:(?:pay_again|retry_failed|accept_older)=True|file_names) \(`?(--[a-z-]+)`?\)"
    r"|\bmax_credits(?= \([\d,.]+\)(?: would|\.))"
)


def name_options(text: str) -> str:
    """Return a message of the library with options alone: "--pay-again" for "pay_again=True (--pay-again)".

    The library names what a program passes, and after it the option.
    """
    return _ARGUMENT.sub(lambda found: found[1] or "--max-credits", text)


def is_terminal(console: Console) -> bool:
    """Return whether a console writes to a terminal; rich says so for FORCE_COLOR in a pipe too."""
    return console.file.isatty()


_MAY_BE_KEY: Final = re.compile(
    r"(?!.*\.[a-z][a-z0-9]{1,6}$) (?=.*\d.*[A-Za-z] | .*[A-Za-z].*\d | .*[a-z].*[A-Z] | .*[A-Z]{2}.*[a-z])"
    r" [\w+/=.:~-]{8,}",
    re.VERBOSE,
)


def may_be_key(argument: str) -> bool:
    """Return whether an argument may be a key in the wrong place: it is no word and no file's name."""
    if argument.startswith(("/", "./", "../", "~")):
        return False
    return _MAY_BE_KEY.fullmatch(argument) is not None or sanitize(argument) != argument


def shown_argument(argument: object) -> str:
    """Return how a message names an argument that was not expected, or no file: never a key."""
    given = re.sub(r"^([a-z][a-z0-9+.-]*):/+", r"\1://", str(argument))  # a path has one slash of a URL's two
    if "://" in given:
        return sanitize(given)
    return "(not shown, because it looks like a key)" if may_be_key(given) else str(argument)


def print_info(text: str) -> None:
    """Print one line to stderr; on a terminal it is wrapped as `wrap` does, in a log it may have the time."""
    line = name_options(strip_control(text))
    if is_terminal(stderr):
        wrap([line], stderr)
        return
    if stderr.stamped:
        line = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}  {line}"
    stderr.print(line, markup=False, soft_wrap=True)


def print_command(why: str, *commands: str) -> None:
    """Print why to run some commands, and each on a line of its own, so that it can be copied."""
    print_info(why)
    for command in commands:
        print_info(f"{' ' * _COMMAND_INDENT}{command}")


def print_error(text: object) -> None:
    """Print what went wrong to stderr, after the program's name."""
    print_info(f"akool-async: {text}")


def can_ask() -> bool:
    """Return whether there is a terminal to ask on."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def prompt(question: str) -> str:
    """Return one line that was typed, without white space around it; "" at the end of the input.

    Call it while no event loop runs, so that Ctrl-C interrupts it at once.
    """
    stderr.print(strip_control(question), markup=False, soft_wrap=True, end=" ")
    answer = sys.stdin.readline()
    # The input has ended, so the cursor is still behind the question.
    if not answer.endswith("\n"):
        stderr.line()
    return answer.strip()


def confirm(question: str, *, yes: bool) -> bool:
    """Return whether the user agrees: by `yes` from the command line, or by typing "y" or "yes".

    Raises:
        InvalidRequestError: there is no terminal to ask on.
    """
    if yes:
        return True
    if not can_ask():
        raise InvalidRequestError(
            f"This needs your consent: {question}",
            impact="Nothing was sent and nothing was changed.",
            advice="Add --yes to agree where there is no terminal to ask on.",
        )
    # Enter alone, or the end of the input, spends nothing.
    return prompt(f"{question} [y/N]").lower() in ("y", "yes")


def print_rows(
    rows: Iterable[Mapping[str, Any]],
    columns: Mapping[str, str],
    *,
    as_json: bool,
    optional: Sequence[str] = (),
    cut: str = "",
) -> bool:
    """Print a list to stdout: all fields as JSON, or those of `columns`, which has their headings.

    On a terminal the last of `optional` are left out where it is too narrow, and all that are empty. With
    `cut`, each row is one line, in which the column of that name is cut where it is too long.

    Returns:
        Whether texts were cut.
    """
    if as_json:
        write_json(list(rows))
        return False
    texts = ([format_value(row[name]) for name in columns] for row in rows)
    if not sys.stdout.isatty():
        write_lines(map("\t".join, texts))
        return False
    cells = list(texts)
    if not cells:
        return False
    console = Console(markup=False, highlight=False)
    by_name = dict(zip(columns, zip(columns.values(), *cells, strict=True), strict=True))
    if optional:
        by_name = {name: column for name, column in by_name.items() if any(column[1:])}
    droppable = [name for name in optional if name in by_name and name != cut]
    while True:
        shown = list(by_name.values())
        place = list(by_name).index(cut) if cut in by_name else -1
        widths = _column_widths(shown, console.width, readable=_READABLE if optional else 0, cut=place)
        if widths or not droppable:
            break
        del by_name[droppable.pop()]
    if widths:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column, width in zip(shown, widths, strict=True):
            table.add_column(
                column[0], overflow="ellipsis" if cut else "fold", no_wrap=bool(cut), width=width
            )
        for line in list(zip(*shown, strict=True))[1:]:
            table.add_row(*map(Text, line))
        console.print(table)
        return place >= 0 and widths[place] < max(map(cell_len, shown[place]))
    rests = [" · ".join(filter(None, others)) for _, *others in cells]
    for (first, *_), shown_rest in zip(cells, rests, strict=True):
        console.print(Text(first, overflow="fold"))
        rest = Text(shown_rest, overflow="ellipsis" if cut else None, no_wrap=bool(cut))
        console.print(Padding(rest, (0, 0, 0, _COLUMN_GAP)))
    return bool(cut) and max(map(cell_len, rests)) > console.width - _COLUMN_GAP


def _column_widths(columns: Sequence[Sequence[str]], available: int, *, readable: int, cut: int) -> list[int]:
    """Return each column's width; none if words would have to be broken, or texts get less than `readable`.

    Rich's own widths break words while another column has space to spare. The first column is not wrapped at
    all: it holds the keys and ids that people copy. Where the column with the number `cut` may be cut (-1:
    none), no other gets less than its whole width.
    """
    widths = [max(map(cell_len, column)) for column in columns]
    if cut >= 0:
        least = [min(width, _READABLE_CUT) if number == cut else width for number, width in enumerate(widths)]
    else:
        words = (max(map(cell_len, " ".join(column).split())) for column in columns[1:])
        least = [
            widths[0],
            *(max(word, min(width, readable)) for word, width in zip(words, widths[1:], strict=True)),
        ]
    available -= _COLUMN_GAP * (len(columns) - 1)
    if sum(least) > available:
        return []
    # Taken from the column that has most to spare, so that no word is broken.
    while sum(widths) > available:
        widest = max(range(len(widths)), key=lambda number: widths[number] - least[number])
        widths[widest] -= 1
    return widths


def format_value(value: object) -> str:
    """Return one value as text for a cell."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.10g}"
        case tuple() | list():
            return ", ".join(map(format_value, value))
    text = name_options(strip_control(value))
    return " ".join(text.split()) if " " in text else text


def fields_of(value: Any) -> dict[str, Any]:
    """Return the fields of a model, without the raw answer."""
    return attrs.asdict(value, filter=lambda field, _: field.name != "raw")


def write_json(value: object) -> None:
    """Write one JSON document to stdout."""
    write_lines([json.dumps(value, indent=2, default=encode_json)])


def encode_json(part: object) -> str:
    """Return what JSON has no form for, a moment or a path, as text."""
    return part.isoformat() if isinstance(part, datetime) else str(part)


def write_lines(lines: Iterable[str]) -> None:
    """Write lines to stdout; a character that its encoding lacks is escaped."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # After the work was paid for, a key that the terminal can't show must not end the command.
        sys.stdout.reconfigure(errors="backslashreplace")
    for line in lines:
        sys.stdout.write(f"{line}\n")


def print_wrapped(lines: Iterable[str]) -> None:
    """Write lines for people to stdout, on a terminal as `wrap` does."""
    if sys.stdout.isatty():
        wrap(lines, Console(markup=False, highlight=False))
    else:
        write_lines(lines)


def wrap(lines: Iterable[str], console: Console) -> None:
    """Print lines wrapped between words below their own indentation; a command (four spaces) stays whole."""
    for line in lines:
        text = line.lstrip(" ")
        indent = len(line) - len(text)
        if not text or indent >= _COMMAND_INDENT:
            console.print(Text(line), soft_wrap=True)
        else:
            console.print(Padding(Text(text), (0, 0, 0, indent), expand=False))


def counted(number: int, what: str) -> str:
    """Return a number of things in words, such as "1 entry" or "1,200 jobs"."""
    if number == 1:
        return f"1 {what}"
    if what.endswith("y") and what[-2:-1] not in "aeo":
        return f"{number:,} {what.removesuffix('y')}ies"
    return f"{number:,} {what}s"


def credits_line(used: float, locked: float, unpriced: int) -> str:
    """Return what jobs cost; where that is not known, no 0, which would be taken for free."""
    known = f"{credits_text(used)} used, {credits_text(locked)} locked"
    if not unpriced:
        return known
    unknown = f"not known for {counted(unpriced, 'job')}"
    return f"{known}, {unknown}" if used or locked else unknown


def approximate(amount: float) -> str:
    """Return an estimated amount, without decimals where they would mean nothing."""
    return f"{amount:,.0f}" if abs(amount) >= _APPROXIMATE_FROM else credits_text(amount)


def duration(length: timedelta) -> str:
    """Return a length in its two largest units, such as "1 d 4 h": exact, and short enough for a column."""
    rest, counts = max(int(length.total_seconds()), 0), []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        counts.append((count, unit))
    while len(counts) > 1 and not counts[0][0]:
        del counts[0]
    return " ".join(f"{count} {unit}" for count, unit in counts[:2] if count) or "0 s"


def rough_duration(length: timedelta) -> str:
    """Return a length as people say it, such as "7 days" or "40 minutes"."""
    seconds = max(length.total_seconds(), 0)
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return counted(round(seconds / size), unit)
    return counted(round(seconds), "second")


def expiry_text(moment: datetime, now: datetime) -> str:
    """Return when a result expires, such as "expires in 7 days"."""
    # Past its expiry a result may still be there: the vendor deletes without notice.
    left = moment - now
    return (
        f"expires in {rough_duration(left)}" if left > timedelta() else f"expired {rough_duration(-left)} ago"
    )


def moment_text(moment: datetime | None) -> str:
    """Return a moment such as "2026-03-01 12:00 UTC"; "" for none."""
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else ""


def ago(moment: datetime | None, now: datetime) -> str:
    """Return a moment of the past, such as "2026-03-01 12:00 UTC, 3 h ago"."""
    return f"{moment_text(moment)}, {duration(now - moment)} ago" if moment else "at an unknown time"
