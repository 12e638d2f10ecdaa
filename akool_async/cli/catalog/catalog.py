"""A catalog: what a person wants translated, read and checked as far as that needs no network."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import attrs

from akool_async._core.errors import InvalidRequest
from akool_async._core.fingerprint import fingerprint, key_of, work_of
from akool_async._core.requests import Request, TranslationRequest, only, video_of
from akool_async._core.text import without_query
from akool_async.cli.catalog import columns
from akool_async.cli.catalog.columns import Column
from akool_async.cli.catalog.formats import read_table
from akool_async.cli.catalog.glossary import Glossary, Words
from akool_async.cli.catalog.place import CatalogWrong, Mistake, Place
from akool_async.cli.catalog.table import Cell, Row, Table

OnDuplicate = Literal["refuse", "skip"]

_OWN: Final = frozenset({"name"})
"""Columns that are no options of a request."""

_SAMPLE: Final = {"url": "https://example.com/video.mp4", "targets": "en"}


def names_for(key: str | None) -> str:
    """Give the template of names for a request with this key."""
    return "{stem}.{language}" if key is None else "{key}.{language}"


@attrs.frozen(kw_only=True)
class Item:
    """One request and where it comes from.

    Attributes:
        request: for one or several languages.
        names: template of its files' names.
        place: its row.
        places: where its options stand, by option.
    """

    request: Request
    names: str
    place: Place
    places: Mapping[str, Place] = attrs.field(factory=dict)

    @property
    def url(self) -> str:
        """The video's URL."""
        return video_of(self.request)

    def key_for(self, target: str) -> str:
        """Give the name under which a journal keeps one of its languages."""
        return key_of(self.request, target)

    def where(self, option: str) -> Place:
        """Give where an option stands; the row where it comes from the defaults."""
        return self.places.get(option, self.place)


@attrs.frozen
class Duplicate:
    """A row's language that was left out, because another row asks for the same.

    Attributes:
        place: what was left out.
        first: what it repeats.
        target: the language.
    """

    place: Place
    first: Place
    target: str


@attrs.frozen(kw_only=True)
class Catalog:
    """What a file asks for.

    Attributes:
        path: the file.
        title: what it is called in words; default is its path and how many rows it has.
        rows: how many rows it has.
        items: what is to be done; a row whose languages have different glossaries makes several.
        duplicates: what was left out.
    """

    path: Path
    title: str = ""
    rows: int
    items: tuple[Item, ...] = attrs.field(repr=False)
    duplicates: tuple[Duplicate, ...] = ()


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
    reading = _Reading(table, dict(defaults or {}), glossary, mistakes, ignore)
    items = [item for row in table.rows for item in reading.items(row)]
    kept, duplicates = _without_duplicates(items, on_duplicate, mistakes)
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
    reading = _Reading(Table(), dict(defaults), glossary, mistakes, ())
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


class _Reading:
    """Makes requests of rows, and notes every mistake on the way."""

    def __init__(
        self,
        table: Table,
        defaults: dict[str, Any],
        glossary: Glossary,
        mistakes: list[Mistake],
        ignore: Iterable[str],
    ) -> None:
        self._mistakes = mistakes
        self._header = table.header
        self._glossary = glossary
        self._ignored = {name.strip().lower() for name in ignore}
        self._told: set[str] = set()
        self._defaults, _ = self._values(table.defaults)
        self._defaults = defaults | self._defaults

    def items(self, row: Row) -> Iterator[Item]:
        """Give a row's requests; none if anything is wrong with it."""
        before = len(self._mistakes)
        own, places = self._values(row.cells)
        values = self._defaults | own
        for option, text in (("url", _NO_URL), ("targets", _NO_LANGUAGE)):
            if option not in values and option not in places:
                self._mistakes.append(Mistake(_place_for(option, row), text))
        names = values.pop("name", None)
        whole: Mistake | None = None
        try:
            if len(self._mistakes) == before:
                values["voices_map"] = _voices(values, own)
                request = TranslationRequest(**values)
                names = names or names_for(request.key)
                for part in _split(request, self._glossary):
                    yield Item(request=part, names=names, place=row.place, places=places)
                return
        except InvalidRequest as error:
            whole = Mistake(places.get("voices_map", row.place), error.what)
        self._judge_each(own, places)
        if whole is not None and len(self._mistakes) == before:
            self._mistakes.append(whole)  # its options are good one by one, not together

    def _judge_each(self, own: Mapping[str, Any], places: Mapping[str, Place]) -> None:
        for option, value in own.items():
            try:
                judge(option, value)
            except columns.CellWrong as wrong:
                self._mistakes.append(Mistake(places[option], str(wrong)))

    def _values(self, cells: Mapping[str, Cell]) -> tuple[dict[str, Any], dict[str, Place]]:
        """Give the options that cells hold, and where each stands."""
        values: dict[str, Any] = {}
        places: dict[str, Place] = {}
        for name, cell in cells.items():
            column = self._column(name, cell)
            if column is None or cell.empty:
                continue
            if column.option in places:
                text = f"This says the same as the column {places[column.option].field!r}; keep one of them."
                self._once(name, Mistake(self._named(name, cell), text))
                continue
            places[column.option] = cell.place
            self._take(column, cell, values)
        return values, places

    def _column(self, name: str, cell: Cell) -> Column | None:
        if name.startswith(columns.IGNORED) or name.strip().lower() in self._ignored:
            return None
        column = columns.column_of(name)
        if column is None:
            near = columns.meant(name)
            advice = near or ' Take it away, or put "#" before its name.'
            self._once(name, Mistake(self._named(name, cell), f"There is no such column.{advice}"))
        return column

    def _named(self, name: str, cell: Cell) -> Place:
        return self._header.get(name, cell.place)

    def _once(self, name: str, mistake: Mistake) -> None:
        """Note a mistake that is the column's, not the row's, the first time it is met."""
        if name not in self._told:
            self._told.add(name)
            self._mistakes.append(mistake)

    def _take(self, column: Column, cell: Cell, values: dict[str, Any]) -> None:
        try:
            values[column.option] = column.read(cell.value)
        except columns.CellWrong as error:
            self._mistakes.append(Mistake(cell.place, str(error)))


_NO_URL: Final = "The video's URL is missing."
_NO_LANGUAGE: Final = "The languages are missing: fill them in, or give --to for all rows."


def _place_for(option: str, row: Row) -> Place:
    """Give where an option would stand in a row."""
    for name, cell in row.cells.items():
        column = columns.column_of(name)
        if column is not None and column.option == option:
            return cell.place
    return attrs.evolve(row.place, field=option)


def read_option(option: str, given: Any) -> Any:
    """Read what was given for one option.

    Raises:
        CellWrong: it can't be read, or the request would not take it.
    """
    column = columns.column_of(option)
    assert column is not None  # noqa: S101 - the table of columns has all options
    value = column.read(given)
    judge(option, value)
    return value


def judge(option: str, value: Any) -> None:
    """Let the request itself judge one option.

    Raises:
        CellWrong: it would not take it.
    """
    sample: dict[str, Any] = dict(_SAMPLE)
    if option == "voices_map":
        sample["targets"] = tuple(value) or "en"
    if option in _OWN:
        return
    try:
        TranslationRequest(**sample | {option: value})
    except InvalidRequest as error:
        raise columns.CellWrong(error.what.removeprefix(f"{option} ")) from None


def _voices(values: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, str]:
    """Give the voices of a row; those that come from the defaults need not suit all its languages."""
    voices: dict[str, str] = dict(values.get("voices_map", {}))
    if "voices_map" in own:
        return voices
    return {target: voice for target, voice in voices.items() if target in values["targets"]}


def _split(request: TranslationRequest, glossary: Glossary) -> Iterator[TranslationRequest]:
    """Cut a request where the glossary says different things for its languages, and put that in."""
    if glossary.empty:
        yield request
        return
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
            _part(request, targets),
            no_translate_words=tuple(dict.fromkeys((*request.no_translate_words, *words.no_translate_words))),
            fixed_words={**words.fixed_words, **request.fixed_words},
            pronounced_words={**words.pronounced_words, **request.pronounced_words},
        )


def _part(request: TranslationRequest, targets: Collection[str]) -> TranslationRequest:
    voices = {target: voice for target, voice in request.voices_map.items() if target in targets}
    return attrs.evolve(request, targets=tuple(targets), voices_map=voices)


def _without_duplicates(
    items: Iterable[Item], on_duplicate: OnDuplicate, mistakes: list[Mistake]
) -> tuple[list[Item], list[Duplicate]]:
    """Leave out what asks for the same work twice, or note it as a mistake."""
    finder = _Finder()
    kept: list[Item] = []
    duplicates: list[Duplicate] = []
    for item in items:
        fresh = []
        for target in item.request.targets:
            try:
                first = finder.first(item, target)
            except CatalogWrong as wrong:
                mistakes += wrong.mistakes
                continue
            if first is None:
                fresh.append(target)
            else:
                duplicates.append(Duplicate(item.place, first, target))
        if fresh:
            kept.append(attrs.evolve(item, request=only(item.request, tuple(fresh))))
    if on_duplicate == "refuse":
        mistakes += map(_refused, duplicates)
        duplicates = []
    return kept, duplicates


class _Finder:
    """Knows where each key and each piece of work was met first."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str], tuple[str, Place]] = {}
        self._works: dict[str, Place] = {}

    def first(self, item: Item, target: str) -> Place | None:
        """Give where the same work stood before, None if nowhere.

        Raises:
            CatalogWrong: the key stood before for other work.
        """
        mark = fingerprint(item.request, target)
        known, place = self._keys.setdefault((item.key_for(target), target), (mark, item.place))
        if known != mark:
            text = f"This key names other work in {place}; each row needs a key of its own."
            raise CatalogWrong([Mistake(item.where("key"), text)])
        if place is not item.place:
            return place
        first = self._works.setdefault(work_of(item.request, target), item.place)
        return None if first is item.place else first


def _refused(duplicate: Duplicate) -> Mistake:
    text = (
        f"The same video and options into {duplicate.target!r} stand in {duplicate.first} already; each "
        "would be paid. Take one away, or leave such rows out with --duplicates skip."
    )
    return Mistake(duplicate.place, text)
