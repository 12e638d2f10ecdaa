"""A file of rows, whatever its format: named cells, each with its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

from akool_async.cli.catalog.place import Mistake, Place


@attrs.frozen
class Cell:
    """One value and where it stands.

    Attributes:
        value: text in CSV and TSV; in JSON and YAML also numbers, lists and so on.
        place: where.
    """

    value: Any
    place: Place

    @property
    def empty(self) -> bool:
        """Whether nothing was filled in."""
        return self.value is None or (isinstance(self.value, str) and not self.value.strip())


@attrs.frozen
class Row:
    """One row: its cells by the names that the file gives them."""

    place: Place
    cells: Mapping[str, Cell]


@attrs.define
class Table:
    """What a file holds.

    Attributes:
        header: where each column is named, in formats that name them once.
        rows: in the order of the file.
        defaults: cells that hold for every row that does not say otherwise.
        mistakes: what is wrong with the file as such.
    """

    header: dict[str, Place] = attrs.field(factory=dict)
    rows: list[Row] = attrs.field(factory=list)
    defaults: dict[str, Cell] = attrs.field(factory=dict)
    mistakes: list[Mistake] = attrs.field(factory=list)


IsColumn: TypeAlias = Callable[[str], bool]
"""Whether a name is one of a column; by that the separator of a CSV file is found."""
