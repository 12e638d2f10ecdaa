"""A catalog once it is read: its requests, where each comes from, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import attrs

from akool_async._model.fingerprint import entry_key
from akool_async._model.requests import Request, video_url


@attrs.frozen(order=True)
class SourceLocation:
    """A place in a file that a person wrote.

    Attributes:
        file: its name as given.
        line: from 1; 0 for the file as a whole.
        column: a spreadsheet's cell such as "C14", or a number of characters from 1; "" for the line.
        field: the column or key, as the file names it; "" for the line.
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
class Issue:
    """Something that has to be corrected before anything is sent: what is wrong and what would be right."""

    location: SourceLocation
    text: str

    def __str__(self) -> str:
        cell = f"({self.location.cell})" if self.location.cell else ""
        spot = " ".join(filter(None, (self.location.field, cell)))
        return ": ".join(filter(None, (str(self.location), spot, self.text)))


class CatalogError(Exception):
    """A catalog, a glossary or an option has mistakes; nothing was sent."""

    def __init__(self, mistakes: Iterable[Issue]) -> None:
        """Sort the mistakes by place."""
        self.mistakes: tuple[Issue, ...] = tuple(sorted(mistakes))
        super().__init__("\n".join(format_issues(self.mistakes)))


_FEW: Final = 3


def format_issues(mistakes: Iterable[Issue]) -> Iterator[str]:
    """Return a line for each mistake; one that occurs in more than three lines is reported once."""
    groups: dict[tuple[str, str, str], list[Issue]] = {}
    for one in sorted(mistakes):
        groups.setdefault((one.location.file, one.location.field, one.text), []).append(one)
    for (file, field, text), same in groups.items():
        if len(same) <= _FEW:
            yield from map(str, same)
        else:
            spot = f"{file}:{_ranges(one.location.line for one in same)}"
            yield ": ".join(filter(None, (spot, field, text)))


def _ranges(lines: Iterable[int]) -> str:
    """Return numbers as "2-9,12"."""
    given: list[list[int]] = []
    for line in sorted(set(lines)):
        if given and line == given[-1][1] + 1:
            given[-1][1] = line
        else:
            given.append([line, line])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in given)


OnDuplicate: TypeAlias = Literal["refuse", "skip"]


def names_for(key: str | None) -> str:
    """Return the template of file names for a request with this key."""
    return "{stem}.{language}" if key is None else "{key}.{language}"


@attrs.frozen(kw_only=True)
class CatalogItem:
    """One request, for one or several languages, and where it comes from.

    Attributes:
        names: template of its files' names.
        place: its row.
        places: where its options are set, by option.
    """

    request: Request
    names: str
    place: SourceLocation
    places: Mapping[str, SourceLocation] = attrs.field(factory=dict)

    @property
    def url(self) -> str:
        """The video's URL."""
        return video_url(self.request)

    def key_for(self, target: str) -> str:
        """Return the key of one of its languages in the journal."""
        return entry_key(self.request, target)

    def where(self, option: str) -> SourceLocation:
        """Return where an option is set; the row where it comes from the defaults."""
        return self.places.get(option, self.place)


@attrs.frozen
class Duplicate:
    """A language of a row that was left out, because the row at `first` asks for the same."""

    place: SourceLocation
    first: SourceLocation
    target: str


@attrs.frozen(kw_only=True)
class Catalog:
    """The requests of a file.

    Attributes:
        title: its name in messages; default is its path and number of rows.
        rows: number of rows.
        items: the requests; a row whose languages have different glossaries makes several.
        duplicates: what was left out.
    """

    path: Path
    title: str = ""
    rows: int
    items: tuple[CatalogItem, ...] = attrs.field(repr=False)
    duplicates: tuple[Duplicate, ...] = ()


@attrs.frozen
class Cell:
    """One value and its place: text in CSV and TSV; in JSON and YAML also numbers, lists and so on."""

    value: Any
    place: SourceLocation

    @property
    def empty(self) -> bool:
        """Whether nothing was filled in."""
        return self.value is None or (isinstance(self.value, str) and not self.value.strip())


@attrs.frozen
class CatalogRow:
    """One row: its cells by the names that the file gives them."""

    place: SourceLocation
    cells: Mapping[str, Cell]


@attrs.define
class CatalogTable:
    """The rows of a file, whatever its format.

    Attributes:
        header: where each column is named, in formats that name them once.
        rows: in the order of the file.
        defaults: cells for every row that does not set them itself.
        mistakes: what is wrong with the file itself.
    """

    header: dict[str, SourceLocation] = attrs.field(factory=dict)
    rows: list[CatalogRow] = attrs.field(factory=list)
    defaults: dict[str, Cell] = attrs.field(factory=dict)
    mistakes: list[Issue] = attrs.field(factory=list)

    def note(self, location: SourceLocation, text: str) -> None:
        """Note a mistake."""
        self.mistakes.append(Issue(location, text))


IsColumn: TypeAlias = Callable[[str], bool]
"""Whether a name is one of a column; by that the separator of a CSV file is found."""
