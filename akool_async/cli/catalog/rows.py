"""Turn rows into requests: read cells, validate options, apply glossaries, and note every mistake."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from akool_async._model.errors import InvalidRequestError
from akool_async._model.fingerprint import fingerprint, work_of
from akool_async._model.redact import strip_query
from akool_async._model.requests import TranslationRequest, with_targets
from akool_async.cli.catalog import columns
from akool_async.cli.catalog.columns import Column
from akool_async.cli.catalog.glossary import Glossary, Words
from akool_async.cli.catalog.model import (
    Catalog,
    CatalogError,
    CatalogItem,
    CatalogRow,
    CatalogTable,
    Cell,
    Duplicate,
    Issue,
    OnDuplicate,
    SourceLocation,
    names_for,
)
from akool_async.cli.catalog.readers import read_table

_NO_URL: Final = "The video's URL is missing."
_NO_LANGUAGE: Final = "The languages are missing: fill them in, or use --to for all rows."
_PLAIN: Final = {"targets": "languages"}
"""Columns that the documentation calls by another name than a request."""

_SAMPLE: Final = {"url": "https://example.com/video.mp4", "targets": "en"}


class RowReader:
    """Make requests of rows, and note every mistake."""

    def __init__(
        self,
        table: CatalogTable,
        defaults: dict[str, Any],
        glossary: Glossary,
        mistakes: list[Issue],
        ignore: Iterable[str],
    ) -> None:
        """Read the table's defaults."""
        self._mistakes = mistakes
        self._header = table.header
        self._glossary = glossary
        self._ignored = {name.strip().lower() for name in ignore}
        self._reported: set[str] = set()
        own, places = self._values(table.defaults)
        self._judge_each(own, places)
        self._defaults = defaults | own

    def items(self, row: CatalogRow) -> Iterator[CatalogItem]:
        """Return a row's requests; none if anything is wrong with it."""
        before = len(self._mistakes)
        own, places = self._values(row.cells)
        values = self._defaults | own
        for option, text in (("url", _NO_URL), ("targets", _NO_LANGUAGE)):
            if option not in values and option not in places:
                # By the option's name in the file, else in the documentation.
                places_of = {name: cell.place for name, cell in row.cells.items()}
                there = next((place for name, place in places_of.items() if _is(option, name)), None)
                named = next((name for name in self._header if _is(option, name)), _PLAIN.get(option, option))
                self._mistakes.append(Issue(there or attrs.evolve(row.place, field=named), text))
        names = values.pop("name", None)
        whole: Issue | None = None
        try:
            if len(self._mistakes) == before:
                if "voices_map" not in own:  # the defaults' voices need not suit all languages of the row
                    values["voices_map"] = _voices_for(values["targets"], values.get("voices_map", {}))
                request = TranslationRequest(**values)
                names = names or names_for(request.key)
                for part in _split(request, self._glossary):
                    yield CatalogItem(request=part, names=names, place=row.place, places=places)
                return
        except InvalidRequestError as error:
            whole = Issue(places.get("voices_map", row.place), error.message)
        self._judge_each(own, places)
        if whole is not None and len(self._mistakes) == before:
            self._mistakes.append(whole)  # each option is valid by itself, not together

    def _judge_each(self, own: dict[str, Any], places: Mapping[str, SourceLocation]) -> None:
        """Note the options that are wrong by themselves, and remove them."""
        for option in list(own):
            try:
                validate_option(option, own[option])
            except columns.CellError as wrong:
                self._mistakes.append(Issue(places[option], str(wrong)))
                del own[option]

    def _values(self, cells: Mapping[str, Cell]) -> tuple[dict[str, Any], dict[str, SourceLocation]]:
        """Return the options that cells set, and their places."""
        values: dict[str, Any] = {}
        places: dict[str, SourceLocation] = {}
        for name, cell in cells.items():
            column = self._column(name, cell)
            if column is None or cell.empty:
                continue
            # Two columns for one option: which one would be paid for is not ours to choose.
            if column.option in places:
                text = f"This is the same as the column {places[column.option].field!r}; keep one of them."
                self._once(name, Issue(self._named(name, cell), text))
                continue
            places[column.option] = cell.place
            try:
                values[column.option] = column.read(cell.value)
            except columns.CellError as error:
                self._mistakes.append(Issue(cell.place, str(error)))
        return values, places

    def _column(self, name: str, cell: Cell) -> Column | None:
        if name.startswith(columns.IGNORED) or name.strip().lower() in self._ignored:
            return None
        column = columns.column_of(name)
        # An unknown column is a mistake: a misspelt `langauges` would fall back to --to and be paid for.
        if column is None:
            near = columns.did_you_mean(name)
            advice = near or ' Remove it, or put "#" before its name.'
            self._once(name, Issue(self._named(name, cell), f"There is no such column.{advice}"))
        return column

    def _named(self, name: str, cell: Cell) -> SourceLocation:
        return self._header.get(name, cell.place)

    def _once(self, name: str, mistake: Issue) -> None:
        """Note a mistake of the column, not of the row, the first time it occurs."""
        if name not in self._reported:
            self._reported.add(name)
            self._mistakes.append(mistake)


def _is(option: str, name: str) -> bool:
    column = columns.column_of(name)
    return column is not None and column.option == option


def read_option(option: str, given: Any) -> Any:
    """Read the value of one command line option; raises a `CellError` as a cell would."""
    column = columns.column_of(option)
    assert column is not None  # noqa: S101 - the table of columns has all options
    value = column.read(given)
    validate_option(option, value)
    return value


def validate_option(option: str, value: Any) -> None:
    """Let the request itself validate one option; raises a `CellError` if it is refused."""
    if option == "name":  # the catalog's own
        return
    sample: dict[str, Any] = dict(_SAMPLE)
    if option == "voices_map":
        sample["targets"] = tuple(value) or "en"
    try:
        TranslationRequest(**sample | {option: value})
    except InvalidRequestError as error:
        raise columns.CellError(error.message.removeprefix(f"{option} ")) from None


def _voices_for(targets: Collection[str], voices: Mapping[str, str]) -> dict[str, str]:
    return {target: voice for target, voice in voices.items() if target in targets}


def _split(request: TranslationRequest, glossary: Glossary) -> Iterator[TranslationRequest]:
    """Split a request where the glossary differs between its languages, and add the words."""
    if glossary.empty:
        yield request
        return
    # One POST has one glossary for all its languages.
    groups: list[tuple[Words, list[str]]] = []
    for target in request.targets:
        words = glossary.words(target)
        for other, targets in groups:
            if other == words:
                targets.append(target)
                break
        else:
            groups.append((words, [target]))
    for words, targets in groups:
        yield attrs.evolve(
            request,
            targets=tuple(targets),
            voices_map=_voices_for(targets, request.voices_map),
            no_translate_words=tuple(dict.fromkeys((*request.no_translate_words, *words.no_translate_words))),
            fixed_words={**words.fixed_words, **request.fixed_words},
            pronounced_words={**words.pronounced_words, **request.pronounced_words},
        )


def without_duplicates(
    items: Iterable[CatalogItem], on_duplicate: OnDuplicate, mistakes: list[Issue]
) -> tuple[list[CatalogItem], list[Duplicate]]:
    """Leave out rows that repeat work, or note them as mistakes: each would be paid."""
    finder = _Finder()
    kept: list[CatalogItem] = []
    duplicates: list[Duplicate] = []
    for item in items:
        fresh = []
        for target in item.request.targets:
            try:
                first = finder.first(item, target)
            except CatalogError as wrong:
                mistakes += wrong.mistakes
                continue
            if first is None:
                fresh.append(target)
            else:
                duplicates.append(Duplicate(item.place, first, target))
        if fresh:
            kept.append(attrs.evolve(item, request=with_targets(item.request, tuple(fresh))))
    if on_duplicate == "refuse":
        for duplicate in duplicates:
            text = (
                f"The same video and options into {duplicate.target!r} are in {duplicate.first} already; "
                "each would be paid. Remove one, or leave such rows out with --duplicates skip."
            )
            mistakes.append(Issue(duplicate.place, text))
        duplicates = []
    return kept, duplicates


class _Finder:
    """Remember where each key and each piece of work occurred first."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str], tuple[str, SourceLocation]] = {}
        self._works: dict[str, SourceLocation] = {}
        self._unkeyed: dict[tuple[str, str], tuple[str, SourceLocation]] = {}

    def first(self, item: CatalogItem, target: str) -> SourceLocation | None:
        """Return where the same work occurred before, or None.

        Raises:
            CatalogError: the key was used before for other work.
        """
        mark = fingerprint(item.request, target)
        known, place = self._keys.setdefault((item.key_for(target), target), (mark, item.place))
        if work_of(known) != work_of(mark):
            text = f"This key names other work in {place}; each row needs a key of its own."
            raise CatalogError([Issue(item.where("key"), text)])
        # The same key in two rows with the same work is a duplicate; with other work it is a mistake above.
        if place is not item.place:
            return place
        # The same work under two keys would be paid twice.
        first = self._works.setdefault(mark, item.place)
        if first is not item.place:
            return first
        if not item.request.key and not item.request.url_is_public:
            other, of = self._unkeyed.setdefault((work_of(mark), target), (mark, item.place))
            if other != mark:
                text = (
                    f"Its URL differs from {of} in the query only: one video signed twice, or two videos? "
                    "Give each video a key, or set url_is_public where the query names the video."
                )
                raise CatalogError([Issue(item.where("url"), text)])
        return None


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
        defaults: options of `TranslationRequest` for rows that do not set them.
        glossaries: files, as "FILE" or "LANGUAGE=FILE".
        ignore: columns that are not read.
        on_duplicate: "refuse" makes repeated work a mistake, "skip" leaves the second out.

    Raises:
        CatalogError: names every mistake.
    """
    mistakes: list[Issue] = []
    table = CatalogTable()
    try:
        table = read_table(path, columns.is_column)
    except CatalogError as wrong:
        mistakes += wrong.mistakes
    mistakes += table.mistakes
    glossary = _glossary(glossaries, mistakes)
    reading = RowReader(table, dict(defaults or {}), glossary, mistakes, ignore)
    items = [item for row in table.rows for item in reading.items(row)]
    kept, duplicates = without_duplicates(items, on_duplicate, mistakes)
    if not table.rows and not mistakes:
        mistakes.append(Issue(SourceLocation(str(path)), "There is no row below the column names."))
    if mistakes:
        raise CatalogError(dict.fromkeys(mistakes))
    return Catalog(path=path, rows=len(table.rows), items=tuple(kept), duplicates=tuple(duplicates))


def one_video(url: str, *, defaults: Mapping[str, Any], glossaries: Iterable[str]) -> Catalog:
    """Return a catalog of one video; arguments and errors are those of `read_catalog`."""
    mistakes: list[Issue] = []
    glossary = _glossary(glossaries, mistakes)
    place = SourceLocation("URL")
    reading = RowReader(CatalogTable(), dict(defaults), glossary, mistakes, ())
    items = tuple(reading.items(CatalogRow(place, {"url": Cell(url, place)})))
    if mistakes:
        raise CatalogError(dict.fromkeys(mistakes))
    return Catalog(path=Path(), title=strip_query(url), rows=1, items=items)


def _glossary(glossaries: Iterable[str], mistakes: list[Issue]) -> Glossary:
    glossary = Glossary()
    for named in glossaries:
        try:
            glossary.read(named)
        except CatalogError as wrong:
            mistakes += wrong.mistakes
    mistakes += glossary.mistakes
    return glossary
