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
    """Something that has to be corrected before anything is sent: what is wrong and what would be right.

    Attributes:
        unknown_language: whether the vendor's own list of languages may explain it.
    """

    location: SourceLocation
    text: str
    unknown_language: bool = attrs.field(default=False, eq=False, repr=False)

    def __str__(self) -> str:
        cell = f"({self.location.cell})" if self.location.cell else ""
        spot = " ".join(filter(None, (self.location.field, cell)))
        return ": ".join(filter(None, (str(self.location), spot, self.text)))


class CatalogError(Exception):
    """A catalog, a glossary or an option has mistakes; nothing was sent."""

    def __init__(self, mistakes: Iterable[Issue]) -> None:
        self.mistakes: tuple[Issue, ...] = tuple(sorted(mistakes))
        super().__init__("\n".join(format_issues(self.mistakes)))

    @property
    def unknown_languages(self) -> bool:
        """Whether all mistakes are languages that the vendor's own list may explain."""
        return all(issue.unknown_language for issue in self.mistakes)


_FEW: Final = 3


def format_issues(mistakes: Iterable[Issue]) -> Iterator[str]:
    """Return a line for each mistake; one that occurs in more than three lines is reported once."""
    groups: dict[tuple[str, str, str], list[Issue]] = {}
    for one in sorted(mistakes):
        groups.setdefault((one.location.file, one.location.field, one.text), []).append(one)
    lines: list[tuple[Issue, str]] = []  # in the order of the rows, each group where its first row is
    for (file, field, text), same in groups.items():
        if len(same) <= _FEW:
            lines += ((one, str(one)) for one in same)
        else:
            spot = f"{file}:{_ranges(one.location.line for one in same)}"
            lines.append((same[0], ": ".join(filter(None, (spot, field, text)))))
    return (line for _, line in sorted(lines))


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


@attrs.define
class Layout:
    """Where the rows of a table are: one for all rows of a file, or one for each in YAML.

    Attributes:
        file: its name as given.
        letters: the spreadsheet's letters of a column, by its name; empty in formats without columns.
        places: where a row and its cells are, by their names and "" for the row, where that is known better
            than by line and letters.
        options: the names that the file has for the options of a request.
    """

    file: str
    letters: Mapping[str, str] = attrs.field(factory=dict)
    places: Mapping[str, SourceLocation] = attrs.field(factory=dict)
    options: dict[str, str] = attrs.field(factory=dict)

    def row_place(self, line: int) -> SourceLocation:
        """Return where a row is."""
        return self.places.get("") or SourceLocation(self.file, line)

    def cell_place(self, name: str, line: int, row: int) -> SourceLocation:
        """Return where a row has the cell of a column."""
        letters = self.letters.get(name)
        return self.places.get(name) or SourceLocation(
            self.file, line, f"{letters}{row}" * bool(letters), name
        )


@attrs.frozen(kw_only=True, weakref_slot=False)
class CatalogItem:
    """One request, for one or several languages, and where it comes from.

    There may be very many, so that a place is made when it is asked for.

    Attributes:
        names: template of its files' names.
        layout: of the table that has its row.
        line: of its row; 0 for the file as a whole.
        row: the spreadsheet's number of its row.
    """

    request: Request
    names: str
    layout: Layout
    line: int = 0
    row: int = 0

    @property
    def place(self) -> SourceLocation:
        """Where its row is."""
        return self.layout.row_place(self.line)

    @property
    def url(self) -> str:
        """The video's URL."""
        return video_url(self.request)

    def key_for(self, target: str) -> str:
        """Return the key of one of its languages in the journal."""
        return entry_key(self.request, target)

    def where(self, option: str) -> SourceLocation:
        """Return where an option is set; the row where no column sets it."""
        # A lip-sync calls the video by another name than its row does.
        name = self.layout.options.get("url" if option == "video_url" else option)
        return self.place if name is None else self.layout.cell_place(name, self.line, self.row)


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
        items: the requests; a row whose languages have different glossaries makes several.
        notes: how it was read, where that is not plain: columns left out, names taken for codes.
        unused: defaults that no row took, by the names of a request's options.
    """

    path: Path
    title: str = ""
    rows: int
    items: tuple[CatalogItem, ...] = attrs.field(repr=False)
    duplicates: tuple[Duplicate, ...] = ()
    notes: tuple[str, ...] = ()
    unused: frozenset[str] = frozenset()


@attrs.frozen
class CatalogRow:
    """One row: its values by the names that the file gives them, and where it is.

    The values are text in tables; in JSON and YAML also numbers, lists and so on.
    """

    layout: Layout
    line: int
    row: int
    cells: Mapping[str, Any]

    @property
    def place(self) -> SourceLocation:
        """Where the row is."""
        return self.layout.row_place(self.line)

    def cell_place(self, name: str) -> SourceLocation:
        """Return where the cell of a column is."""
        return self.layout.cell_place(name, self.line, self.row)


@attrs.define
class CatalogTable:
    """The rows of a file, whatever its format.

    Attributes:
        layout: of its rows, where they share one.
        header: where each column is named, in formats that name them once.
        rows: in the order of the file; read while they are taken, which may add mistakes.
        defaults: cells for every row that does not set them itself.
        mistakes: what is wrong with the file itself.
        notes: what of it is not read.
    """

    layout: Layout
    header: dict[str, SourceLocation] = attrs.field(factory=dict)
    rows: Iterable[CatalogRow] = ()
    defaults: CatalogRow | None = None
    mistakes: list[Issue] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)

    def add_mistake(self, location: SourceLocation, text: str) -> None:
        """Add what is wrong at a place."""
        self.mistakes.append(Issue(location, text))


IsColumn: TypeAlias = Callable[[str], bool]
"""Whether a name is one of a column; by that the separator of a CSV file and its header are found."""
