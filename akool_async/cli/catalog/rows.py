"""Turn rows into requests: read cells, validate options, apply glossaries, and note every mistake."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs

from akool_async._model.errors import InvalidRequestError
from akool_async._model.redact import safe_repr, strip_query
from akool_async._model.requests import LipSyncRequest, Request, TranslationRequest
from akool_async.cli.catalog import columns
from akool_async.cli.catalog.cells import CellError, fold_header, is_empty, is_empty_word, show_cell
from akool_async.cli.catalog.columns import Column, ColumnChoice
from akool_async.cli.catalog.duplicates import without_duplicates
from akool_async.cli.catalog.glossary import Glossary, Words
from akool_async.cli.catalog.languages import LanguageNames, UnknownLanguageError
from akool_async.cli.catalog.model import (
    Catalog,
    CatalogError,
    CatalogItem,
    CatalogRow,
    CatalogTable,
    Issue,
    Layout,
    OnDuplicate,
    SourceLocation,
    names_for,
)
from akool_async.cli.catalog.readers import read_table
from akool_async.cli.console import counted

_MISSING: Final = {
    "url": "The video's URL is missing",
    "targets": "The languages are missing: fill them in, or use --to for all rows",
}
_PLAIN: Final = {"targets": "languages"}
"""Columns that the documentation calls by another name than a request."""

_SAMPLE: Final = {"url": "https://example.com/video.mp4", "targets": "en"}
_LIPSYNC: Final = frozenset({"url", "audio_url", "key", "name", "webhook_url", "url_is_public"})
"""What a row with `audio_url` may set."""


class RowReader:
    """Make requests of rows, and note every mistake.

    Args:
        defaults: options of the command line, for rows that do not set them.
        mistakes: gets what is wrong.
        unread: options of the command line with a mistake, which rows without them do not have once more.
    """

    def __init__(
        self,
        table: CatalogTable,
        defaults: dict[str, Any],
        glossary: Glossary,
        mistakes: list[Issue],
        choice: ColumnChoice,
        names: LanguageNames,
        unread: frozenset[str],
    ) -> None:
        """Read the table's column names and defaults."""
        self._mistakes = mistakes
        self._file = table.layout.file
        self._header = table.header
        self._glossary = glossary
        self._choice = choice
        self._names = names
        self._columns: dict[str, Column | None] = {}
        self._left_out: list[str] = []
        self._misspelt: set[str] = set(unread)
        self._empty_words: dict[str, tuple[set[str], int]] = {}
        self._first: CatalogRow | None = None
        self._defaults = defaults
        self.unused: set[str] = set(defaults)
        for name, place in table.header.items():
            self._column(name, place)
        if table.defaults is not None:
            own = self._values(table.defaults)
            self._judge_each(own, table.defaults)
            self._defaults = defaults | own
        self._given = defaults.keys() - (() if table.defaults is None else own.keys())
        there = {column.option for column in self._columns.values() if column is not None}
        # A table without such a column has one mistake, not one in every row; see `finish`.
        self._absent = {
            option
            for option in _MISSING
            if table.header
            and option not in there | self._defaults.keys()
            # Lip-syncs have no language.
            and not (option == "targets" and "audio_url" in there)
        }

    def items(self, row: CatalogRow) -> Iterator[CatalogItem]:
        """Return a row's requests; none if anything is wrong with it."""
        before = len(self._mistakes)
        self._first = self._first or row
        own = self._values(row)
        if "audio_url" in own:
            yield from self._lipsync_items(row, own, before)
            return
        values = self._defaults | own
        if self.unused:
            self.unused -= self._given - own.keys()
        # A row that lacks a language or a video makes no request, whatever the reason is reported as.
        lacking = [option for option in _MISSING if option not in values]
        for option in lacking:
            if option not in self._absent | self._misspelt and len(self._mistakes) == before:
                self._mistakes.append(self._missing(option, row))
        names = values.pop("name", None)
        whole: Issue | None = None
        try:
            if len(self._mistakes) == before and not lacking:
                if "voices_map" not in own:  # the defaults' voices need not suit all languages of the row
                    values["voices_map"] = _voices_for(values["targets"], values.get("voices_map", {}))
                request = TranslationRequest(**values)
                names = names or names_for(request.key)
                for part in _split(request, self._glossary):
                    yield self._item(row, part, names)
                return
        except InvalidRequestError as error:
            place = self._place("voices_map", row) if "voices_map" in own else row.place
            said = error.message.removeprefix("voices_map ").replace("the targets", "its languages")
            whole = Issue(place, said)
        self._judge_each(own, row)
        if whole is not None and len(self._mistakes) == before:
            self._mistakes.append(whole)  # each option is valid by itself, not together

    def _lipsync_items(self, row: CatalogRow, own: dict[str, Any], before: int) -> Iterator[CatalogItem]:
        """Return the request of a row that has an audio file; a translation's defaults do not concern it."""
        for option in own:
            if option not in _LIPSYNC and not (option == "lipsync" and own[option]):
                text = (
                    "A row with audio_url is a lip-sync of that audio; it takes no options of a translation."
                )
                self._mistakes.append(Issue(self._place(option, row), text))
        if "url" not in own and len(self._mistakes) == before:
            self._mistakes.append(self._missing("url", row))
        values = {option: value for option, value in (self._defaults | own).items() if option in _LIPSYNC}
        if len(self._mistakes) > before:
            return
        names = values.pop("name", None) or names_for(values.get("key"))
        try:
            request = LipSyncRequest(video_url=values.pop("url"), **values)
        except InvalidRequestError as error:
            option = next((name for name in own if error.message.startswith((name, f"video_{name}"))), "url")
            text = error.message.partition(" ")[2]
            self._mistakes.append(Issue(self._place(option, row), text))
        else:
            yield self._item(row, request, names)

    def _item(self, row: CatalogRow, request: Request, names: str) -> CatalogItem:
        return CatalogItem(request=request, names=names, layout=row.layout, line=row.line, row=row.row)

    def _missing(self, option: str, row: CatalogRow) -> Issue:
        # By the option's name in the file, else in the documentation.
        known = (name for name, column in self._columns.items() if column and column.option == option)
        name = row.layout.options.get(option) or next(known, None)
        if name is None:
            place = attrs.evolve(row.place, field=_PLAIN.get(option, option))
            return Issue(place, f"{_MISSING[option]}.")
        value = row.cells.get(name)
        why = f"; the cell holds {show_cell(value)}" if is_empty_word(value) else ""
        return Issue(row.cell_place(name), f"{_MISSING[option]}{why}.")

    def finish(self) -> None:
        """Note what is missing in the table as a whole."""
        for header in self._choice.mapped:
            if header not in map(fold_header, self._columns):
                shown = ", ".join(map(repr, self._columns)) or "none"
                text = f"There is no column {header!r} in {self._file}; there are {shown}."
                self._mistakes.append(Issue(SourceLocation("--column"), text))
                self._misspelt.add(self._choice.mapped[header])
        first = self._first
        for option in self._absent - self._misspelt:
            text, name = _MISSING[option], _PLAIN.get(option, option)
            if self._left_out:
                cells = {} if first is None else first.cells
                fitting = (one for one in self._left_out if self._may_be(option, cells.get(one)))
                example = next(fitting, self._left_out[0])
                text = (
                    f"{text}. No column is called so; name the one that has it: --column {name}={example!a}"
                )
            line = min((place.line for place in self._header.values()), default=0)
            self._mistakes.append(Issue(SourceLocation(self._file, line, field=name), f"{text}."))

    def _may_be(self, option: str, value: object) -> bool:
        """Whether a cell may hold the video or the languages of its row."""
        if option == "url":
            return "://" in str(value)
        with suppress(CellError):
            return value is not None and bool(read_option(option, value, self._names))
        return False

    def _judge_each(self, own: dict[str, Any], row: CatalogRow) -> None:
        """Note the options that are wrong by themselves, and remove them."""
        for option in list(own):
            try:
                validate_option(option, own[option])
            except CellError as wrong:
                self._mistakes.append(Issue(self._place(option, row), str(wrong)))
                del own[option]

    def _place(self, option: str, row: CatalogRow) -> SourceLocation:
        return row.cell_place(row.layout.options[option])

    def _values(self, row: CatalogRow) -> dict[str, Any]:
        """Return the options that a row's cells set."""
        values: dict[str, Any] = {}
        known, options = self._columns, row.layout.options
        for name, value in row.cells.items():
            column = known[name] if name in known else self._column(name, row.cell_place(name))
            if column is None:
                continue
            option = column.option
            if is_empty(value) and not (column.keeps_none and value and str(value).lower() == "none"):
                if is_empty_word(value):
                    words, count = self._empty_words.get(name, (set(), 0))
                    self._empty_words[name] = words | {str(value).strip()}, count + 1
                options.setdefault(option, name)
                continue
            # Two columns for one option: which one would be paid for is not ours to choose.
            if option in values:
                text = f"This is the same as the column {options[option]!r}; keep one of them."
                self._mistakes.append(Issue(self._header.get(name, row.cell_place(name)), text))
                continue
            options[option] = name
            try:
                values[option] = column.read(value, self._names)
            except CellError as error:
                unknown = isinstance(error, UnknownLanguageError)
                self._mistakes.append(Issue(row.cell_place(name), str(error), unknown))
        return values

    def _column(self, name: str, place: SourceLocation) -> Column | None:
        column = self._columns[name] = self._choice.column(name)
        if column is None and not self._choice.is_ignored(name):
            near = None if columns.column_of(name) else columns.nearest_name(name)
            # A slip such as `langauges` is a mistake: it would fall back to --to and be paid for.
            if near is not None:
                option = columns.COLUMNS_BY_NAME[near].option
                self._misspelt.add(option)
                text = (
                    f'There is no such column. Did you mean {near!r}? If not, put "#" before its name, '
                    "or leave it out with --ignore-columns."
                )
                self._mistakes.append(Issue(place, text))
            else:
                self._left_out.append(name)
        return column

    def notes(self) -> Iterator[str]:
        """Return how the file was read, where that is not plain."""
        if self._left_out:
            names = ", ".join(map(safe_repr, self._left_out))
            yield f"{self._file}: Columns that are not read: {names}."
        for name, (words, count) in self._empty_words.items():
            said = ", ".join(f"'{word}'" for word in sorted(words))
            yield f"{self._file}: {name}: {said} in {counted(count, 'cell')} is taken for empty."


def read_option(option: str, given: Any, names: LanguageNames) -> Any:
    """Read the value of one command line option; raises a `CellError` as a cell would."""
    value = columns.COLUMNS_BY_NAME[option].read(given, names)
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
        raise CellError(error.message.removeprefix(f"{option} ")) from None


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


def read_catalog(
    path: Path,
    *,
    defaults: Mapping[str, Any] | None = None,
    glossaries: Iterable[str] = (),
    choice: ColumnChoice = ColumnChoice(),  # noqa: B008 - it does not change
    on_duplicate: OnDuplicate = "refuse",
    names: LanguageNames | None = None,
    sheet: str = "",
    unread: frozenset[str] = frozenset(),
) -> Catalog:
    """Read and check a catalog.

    Args:
        path: a spreadsheet, or a file of CSV, TSV, JSON Lines or YAML.
        defaults: options of a request for rows that do not set them.
        glossaries: files, as "FILE" or "LANGUAGE=FILE".
        choice: which columns are read.
        on_duplicate: "refuse" makes repeated work a mistake, "skip" leaves the second out.
        names: reads languages, and has read those of `defaults`.
        sheet: the sheet of a spreadsheet; "" takes the visible one that has column names.
        unread: options of the command line that are not in `defaults`, because they have a mistake.

    Raises:
        CatalogError: names every mistake.
    """
    names = LanguageNames() if names is None else names
    mistakes: list[Issue] = []
    table = CatalogTable(Layout(str(path)))
    try:
        table = read_table(path, choice.is_column, sheet)
    except CatalogError as wrong:
        mistakes += wrong.mistakes
    glossary = _glossary(glossaries, mistakes, names)
    reading = RowReader(table, dict(defaults or {}), glossary, mistakes, choice, names, unread)
    rows = 0
    items: list[CatalogItem] = []
    for row in table.rows:
        rows += 1
        items += reading.items(row)
    if rows or table.header:
        reading.finish()
    mistakes += table.mistakes
    kept, duplicates = without_duplicates(items, on_duplicate, mistakes)
    if not rows and not mistakes:
        mistakes.append(Issue(SourceLocation(str(path)), "There is no row below the column names."))
    if mistakes:
        raise CatalogError(dict.fromkeys(mistakes))
    idle = glossary.idle(target for item in items for target in item.request.targets)
    notes = (*table.notes, *reading.notes(), *glossary.notes, *idle, names.note)
    return Catalog(
        path=path,
        rows=rows,
        items=tuple(kept),
        duplicates=tuple(duplicates),
        notes=tuple(filter(None, notes)),
        unused=frozenset(reading.unused),
    )


def one_video(
    url: str,
    *,
    defaults: Mapping[str, Any],
    glossaries: Iterable[str],
    names: LanguageNames,
    unread: frozenset[str],
) -> Catalog:
    """Return a catalog of one video; arguments and errors are those of `read_catalog`."""
    mistakes: list[Issue] = []
    glossary = _glossary(glossaries, mistakes, names)
    flags = {
        "caption_url": "--caption-url",
        "targets": "--to",
        "source_language": "--from",
        "voices_map": "--voice",
    }
    places = {"url": SourceLocation("URL")} | {name: SourceLocation(flag) for name, flag in flags.items()}
    layout = Layout("URL", places=places, options={name: name for name in flags})
    table = CatalogTable(layout)
    reading = RowReader(table, dict(defaults), glossary, mistakes, ColumnChoice(), names, unread)
    items = tuple(reading.items(CatalogRow(layout, 0, 0, {"url": url})))
    if mistakes:
        raise CatalogError(dict.fromkeys(mistakes))
    idle = glossary.idle(target for item in items for target in item.request.targets)
    notes = tuple(filter(None, (*glossary.notes, *idle, names.note)))
    return Catalog(path=Path(), title=strip_query(url), rows=1, items=items, notes=notes)


def _glossary(glossaries: Iterable[str], mistakes: list[Issue], names: LanguageNames) -> Glossary:
    glossary = Glossary(names)
    for named in glossaries:
        try:
            glossary.read(named)
        except CatalogError as wrong:
            mistakes += wrong.mistakes
    mistakes += glossary.mistakes
    return glossary
