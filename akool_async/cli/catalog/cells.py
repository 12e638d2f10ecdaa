"""Cells as people and programs fill them in: what is empty, and signs that nobody sees."""

from __future__ import annotations

import unicodedata
from typing import Any, Final

from akool_async._model.redact import safe_repr
from akool_async._model.validators import JOINERS, joins

_EMPTY: Final = frozenset(
    [*"nan -nan .nan nat null none n/a na <na> #n/a #na 1.#qnan -1.#ind".split(), "#n/a n/a"]
)
"""What programs write into a cell that has no value. Source: the defaults of pandas.read_csv, YAML's .nan."""

_FORMULA_ERRORS: Final = frozenset(
    "#ref! #value! #div/0! #name? #num! #null! #spill! #calc! #field! #blocked! err:502 err:504 err:508 "
    "err:509 err:522".split()
)
NO_VALUE: Final = "#FORMULA WITHOUT A VALUE!"
"""What is read from a formula that no program has computed."""

_SHOWN: Final = 60


class CellError(Exception):
    """A cell can't be read; the text says what it has to be."""


def show_cell(value: Any) -> str:
    """Return a cell's own text for a message; signs that nobody sees are named."""
    if isinstance(value, str) and value.lower() in _EMPTY | _FORMULA_ERRORS:
        return f"'{value}'"  # sanitized, "#N/A" would be taken for the fragment of a URL
    return safe_repr(value)


def strip_invisible(value: str) -> str:
    """Return a text without white space and format characters around it."""
    value = value.strip()
    if value.isascii():
        return value
    start, end = 0, len(value)
    while start < end and _is_blank(value[start]):
        start += 1
    while end > start and _is_blank(value[end - 1]):
        end -= 1
    return value[start:end]


def _is_blank(char: str) -> bool:
    return char.isspace() or unicodedata.category(char) == "Cf"


def fold_header(name: str) -> str:
    """Return a column's name for comparison: without regard to case, blanks, "-" and invisible signs."""
    seen = "".join(" " if char.isspace() else char for char in name if unicodedata.category(char) != "Cf")
    return "_".join(seen.lower().replace("-", " ").replace("_", " ").split())


def is_empty(value: Any) -> bool:
    """Whether nothing was filled in, or only what programs write for nothing."""
    if isinstance(value, str):
        return not value or value.isspace() or is_empty_word(value)
    return value is None or is_empty_word(value)


def is_empty_word(value: Any) -> bool:
    """Whether a value is what programs write into a cell that has none, such as NaN or #N/A."""
    if isinstance(value, float):
        return value != value
    return isinstance(value, str) and len(value) < 16 and value.strip().lower() in _EMPTY


def text(value: Any) -> str:
    """Read text; a number is kept as it is written.

    Raises:
        CellError: it is no text, an error of a spreadsheet, or holds signs that nobody sees.
    """
    # YAML and JSON give `true` where a person wrote it: "true" as a key or a word is never meant.
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise CellError(f"has to be text, not {safe_repr(value)}.")
    said = strip_invisible(str(value))
    # Taken for empty, each of these would let the row fall back to a default, and be paid for.
    if said == NO_VALUE:
        raise CellError("holds a formula without a value; open the file in its program, and save it.")
    if said.lower() in _FORMULA_ERRORS:
        raise CellError(f"holds {show_cell(said)}, an error of the spreadsheet; correct its formula.")
    if not said.isprintable():
        for place, char in enumerate(said):
            if not (char.isprintable() or char.isspace() or joins(said, place)):
                name = unicodedata.name(char, "a control character")
                kind = " where it joins nothing" if char in JOINERS else ""
                before = safe_repr(said[:place][-_SHOWN:])
                raise CellError(f"holds U+{ord(char):04X} ({name}){kind} after {before}; remove it.")
    return said
