"""A catalog: what a person wants translated, read and checked as far as that needs no network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from akool_async._core.text import without_query
from akool_async.cli.catalog import columns
from akool_async.cli.catalog.duplicates import without_duplicates
from akool_async.cli.catalog.formats import read_table
from akool_async.cli.catalog.glossary import Glossary
from akool_async.cli.catalog.item import Catalog, OnDuplicate
from akool_async.cli.catalog.place import CatalogWrong, Mistake, Place
from akool_async.cli.catalog.rows import RowReader
from akool_async.cli.catalog.table import Cell, Row, Table


def read_catalog(
    path: Path,
    *,
    defaults: Mapping[str, Any] | None = None,
    glossaries: Iterable[str] = (),
    ignore: Iterable[str] = (),
    on_duplicate: OnDuplicate = "refuse",
) -> Catalog:
    """Read and check a catalog.

    Args:
        path: a file of CSV, TSV, JSON Lines or YAML.
        defaults: options of `TranslationRequest` for rows that do not say otherwise.
        glossaries: files, as "FILE" or "LANGUAGE=FILE".
        ignore: columns that are not read.
        on_duplicate: "refuse" takes the same work twice for a mistake, "skip" leaves the second out.

    Raises:
        CatalogWrong: with every mistake that there is.
    """
    table, glossary, mistakes = _tables(path, glossaries)
    reading = RowReader(table, dict(defaults or {}), glossary, mistakes, ignore)
    items = [item for row in table.rows for item in reading.items(row)]
    kept, duplicates = without_duplicates(items, on_duplicate, mistakes)
    if not table.rows and not mistakes:
        mistakes.append(Mistake(Place(str(path)), "There is no row below the names of the columns."))
    if mistakes:
        raise CatalogWrong(dict.fromkeys(mistakes))
    return Catalog(path=path, rows=len(table.rows), items=tuple(kept), duplicates=tuple(duplicates))


def one_video(url: str, *, defaults: Mapping[str, Any], glossaries: Iterable[str]) -> Catalog:
    """Give a catalog of one video.

    Args:
        url: the video's.
        defaults: options of `TranslationRequest`, the languages among them.
        glossaries: files, as "FILE" or "LANGUAGE=FILE".

    Raises:
        CatalogWrong: with every mistake that there is.
    """
    glossary, mistakes = _glossary(glossaries)
    place = Place("URL")
    reading = RowReader(Table(), dict(defaults), glossary, mistakes, ())
    items = tuple(reading.items(Row(place, {"url": Cell(url, place)})))
    if mistakes:
        raise CatalogWrong(dict.fromkeys(mistakes))
    return Catalog(path=Path(), title=without_query(url), rows=1, items=items)


def _tables(path: Path, glossaries: Iterable[str]) -> tuple[Table, Glossary, list[Mistake]]:
    """Read the files, each as far as it goes."""
    mistakes: list[Mistake] = []
    table = Table()
    try:
        table = read_table(path, columns.is_column)
    except CatalogWrong as wrong:
        mistakes += wrong.mistakes
    glossary, more = _glossary(glossaries)
    return table, glossary, [*mistakes, *table.mistakes, *more]


def _glossary(glossaries: Iterable[str]) -> tuple[Glossary, list[Mistake]]:
    glossary = Glossary()
    mistakes: list[Mistake] = []
    for named in glossaries:
        try:
            glossary.read(named)
        except CatalogWrong as wrong:
            mistakes += wrong.mistakes
    return glossary, [*mistakes, *glossary.mistakes]
