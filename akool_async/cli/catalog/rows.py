"""Rows become requests: cells are read, options judged, glossaries put in, and every mistake noted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from akool_async._core.errors import InvalidRequest
from akool_async._core.requests import TranslationRequest
from akool_async.cli.catalog import columns
from akool_async.cli.catalog.columns import Column
from akool_async.cli.catalog.glossary import Glossary, Words
from akool_async.cli.catalog.item import Item, names_for
from akool_async.cli.catalog.place import Mistake, Place
from akool_async.cli.catalog.table import Cell, Row, Table

_NO_URL: Final = "The video's URL is missing."
_NO_LANGUAGE: Final = "The languages are missing: fill them in, or give --to for all rows."

_OWN: Final = frozenset({"name"})
"""Columns that are no options of a request."""

_PLAIN: Final = {"targets": "languages"}
"""What the documentation calls a column that has another name in a request."""

_SAMPLE: Final = {"url": "https://example.com/video.mp4", "targets": "en"}


class RowReader:
    """Makes requests of rows, and notes every mistake on the way."""

    def __init__(
        self,
        table: Table,
        defaults: dict[str, Any],
        glossary: Glossary,
        mistakes: list[Mistake],
        ignore: Iterable[str],
    ) -> None:
        """Read the table's defaults."""
        self._mistakes = mistakes
        self._header = table.header
        self._glossary = glossary
        self._ignored = {name.strip().lower() for name in ignore}
        self._told: set[str] = set()
        own, places = self._values(table.defaults)
        self._judge_each(own, places)
        self._defaults = defaults | own

    def items(self, row: Row) -> Iterator[Item]:
        """Give a row's requests; none if anything is wrong with it."""
        before = len(self._mistakes)
        own, places = self._values(row.cells)
        values = self._defaults | own
        for option, text in (("url", _NO_URL), ("targets", _NO_LANGUAGE)):
            if option not in values and option not in places:
                self._mistakes.append(Mistake(self._place_for(option, row), text))
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

    def _judge_each(self, own: dict[str, Any], places: Mapping[str, Place]) -> None:
        """Note which options are wrong one by one, and take them out."""
        for option in list(own):
            try:
                judge(option, own[option])
            except columns.CellWrong as wrong:
                self._mistakes.append(Mistake(places[option], str(wrong)))
                del own[option]

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

    def _place_for(self, option: str, row: Row) -> Place:
        """Give where an option would stand in a row, by the name it has in the file, else in the docs."""
        for name, cell in row.cells.items():
            if _is(option, name):
                return cell.place
        named = next((name for name in self._header if _is(option, name)), _PLAIN.get(option, option))
        return attrs.evolve(row.place, field=named)

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


def _is(option: str, name: str) -> bool:
    column = columns.column_of(name)
    return column is not None and column.option == option


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
