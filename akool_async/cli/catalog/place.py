"""Where something stands in a file that a person wrote, and what is wrong with it there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import attrs


@attrs.frozen(order=True)
class Place:
    """One spot in a file.

    Attributes:
        file: as it was named.
        line: from 1; 0 for the file as a whole.
        column: a spreadsheet's cell such as "C14", or a number of characters from 1; "" for the line.
        field: what stands there, by the name that it has in the file; "" for the line.
    """

    file: str
    line: int = 0
    column: str = ""
    field: str = ""

    def __str__(self) -> str:
        if not self.line:
            return self.file
        return f"{self.file}:{self.line}{f':{self.column}' if self.column.isdecimal() else ''}"

    @property
    def cell(self) -> str:
        """The spreadsheet's cell, or ""."""
        return "" if self.column.isdecimal() else self.column


@attrs.frozen(order=True)
class Mistake:
    """Something that has to be corrected before anything is sent.

    Attributes:
        place: where.
        text: what is wrong and what would be right.
    """

    place: Place
    text: str

    def __str__(self) -> str:
        cell = f"({self.place.cell})" if self.place.cell else ""
        spot = " ".join(filter(None, (self.place.field, cell)))
        return ": ".join(filter(None, (str(self.place), spot, self.text)))


class CatalogWrong(Exception):
    """A catalog, a glossary or what they lead to is wrong.

    Attributes:
        mistakes: all of them, in the order of the files.
    """

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        """Sort them."""
        self.mistakes: tuple[Mistake, ...] = tuple(sorted(mistakes))
        super().__init__("\n".join(told(self.mistakes)))


_FEW: Final = 3


def told(mistakes: Iterable[Mistake]) -> Iterator[str]:
    """Give a line for each mistake; one that stands in more than three lines of a column is told once."""
    groups: dict[tuple[str, str, str], list[Mistake]] = {}
    for one in sorted(mistakes):
        groups.setdefault((one.place.file, one.place.field, one.text), []).append(one)
    for (file, field, text), same in groups.items():
        if len(same) <= _FEW:
            yield from map(str, same)
        else:
            spot = f"{file}:{_ranges(one.place.line for one in same)}"
            yield ": ".join(filter(None, (spot, field, text)))


def _ranges(lines: Iterable[int]) -> str:
    """Give numbers as "2-9,12"."""
    given: list[list[int]] = []
    for line in sorted(set(lines)):
        if given and line == given[-1][1] + 1:
            given[-1][1] = line
        else:
            given.append([line, line])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in given)
