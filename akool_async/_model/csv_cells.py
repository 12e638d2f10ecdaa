"""Texts from outside as cells of CSV, which a spreadsheet would run where they look like formulas."""

from __future__ import annotations

from typing import Final

_FORMULA: Final = (
    *"=+-@\t\r\n",
    # A spreadsheet in a language with full-width signs takes these for the plain ones.
    "\N{FULLWIDTH EQUALS SIGN}",
    "\N{FULLWIDTH PLUS SIGN}",
    "\N{FULLWIDTH HYPHEN-MINUS}",
    "\N{FULLWIDTH COMMERCIAL AT}",
)
"""What a formula begins with. White space is skipped by some programs, so it may hide one of the signs."""


def escape_formula(text: str) -> str:
    """Return a text as a cell that no spreadsheet runs, which `unescape_formula` reads."""
    return f"'{text}" if _is_risky(text) else text


def unescape_formula(cell: str) -> str:
    """Return the text of a cell that `escape_formula` made, or that was typed without an apostrophe."""
    return cell[1:] if cell.startswith("'") and _is_risky(cell[1:]) else cell


def _is_risky(text: str) -> bool:
    # A text that looks escaped is escaped once more, or its own apostrophe would be lost when it is read.
    return text.lstrip("'").startswith(_FORMULA)
