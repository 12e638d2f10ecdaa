"""Glossaries: words that are kept, get a certain translation, or are pronounced in a certain way.

A glossary is a table of the same formats as a catalog, with the columns `word`, `translation`,
`pronunciation` and `languages`. A word with neither of the two is kept as it is; one without a language
applies to all. In a wide one, as translators have them, the first column is the word, and the others are
languages by code or name: a word that is the same in a language is kept there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from akool_async._download import local_path
from akool_async._model.redact import safe_repr
from akool_async.cli.catalog import columns
from akool_async.cli.catalog.cells import CellError, fold_header, is_empty, strip_invisible, text
from akool_async.cli.catalog.languages import LanguageNames
from akool_async.cli.catalog.model import CatalogRow, CatalogTable, Issue, SourceLocation
from akool_async.cli.catalog.readers import read_table

_COLUMNS: Final[Mapping[str, str]] = {
    "word": "word",
    "term": "word",
    "translation": "translation",
    "fixed": "translation",
    "pronunciation": "pronunciation",
    "pronounced": "pronunciation",
    "keep": "keep",
    "languages": "languages",
    "language": "languages",
}
_NO_LANGUAGES: Final = frozenset({"id", "no", "key"})
"""Columns of numbers, which would be Indonesian and Norwegian."""
_FOR_ONE: Final = re.compile(r"([A-Za-z0-9]{2,8}(?:[-_][A-Za-z0-9]{1,20})*)=(.+)")


@attrs.frozen
class Words:
    """The glossary's words for one language."""

    no_translate_words: tuple[str, ...] = ()
    fixed_words: Mapping[str, str] = attrs.field(factory=dict)
    pronounced_words: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class _Term:
    """A row's rule for a word; the kind is "keep", "translation" or "pronunciation"."""

    kind: str
    word: str
    value: str
    place: SourceLocation


class Glossary:
    """All glossaries together, and their mistakes."""

    def __init__(self, names: LanguageNames | None = None) -> None:
        """Begin empty; `names` reads languages."""
        self._names = LanguageNames() if names is None else names
        self.mistakes: list[Issue] = []
        self.notes: list[str] = []
        self._languages: dict[str, str] = {}  # and the files that were named for them
        self._terms: dict[str, dict[tuple[str, str], _Term]] = {}

    @property
    def empty(self) -> bool:
        """Whether there are no words."""
        return not self._terms

    def read(self, named: str) -> None:
        """Add a file, given as "FILE" or, for one language, as "ja=FILE".

        Raises:
            CatalogError: it can't be read.
        """
        # A file may really be called "a=b.csv": then it is the file.
        one = _FOR_ONE.fullmatch(named)
        languages: tuple[str, ...] = ("",)
        if one is not None and not os.path.lexists(named):
            languages, named = (one.group(1),), one.group(2)
            self._languages[one.group(1)] = named
        table = read_table(local_path(named), self._is_column)  # "~" is left alone in ja=~/words.csv
        wide = self._wide(table) if languages == ("",) else {}
        seen: dict[str, SourceLocation] = dict(table.header)
        for row in table.rows:
            seen = seen or {name: row.cell_place(name) for name in row.cells}
            if wide:
                self._add_wide(row, wide)
            else:
                seen |= {name: row.cell_place(name) for name in row.cells.keys() - seen.keys()}
                self._add(row, languages)
        self.mistakes += table.mistakes
        self.notes += table.notes
        self._judge_columns(seen, wide, named)

    def idle(self, languages: Iterable[str]) -> Iterator[str]:
        """Return which files are for a language that no row of a catalog has; these are its languages."""
        there = {language.lower() for language in languages}
        for language, file in self._languages.items():
            if language.lower() not in there:
                yield f"{file}: Its words are for {language}, and nothing is translated into that."

    def _is_column(self, name: str) -> bool:
        return fold_header(name) in _COLUMNS or self._language(name) is not None

    def _language(self, name: str) -> str | None:
        """Return the language that a column of a wide glossary is."""
        folded = fold_header(name)
        plain = (
            name.startswith(columns.IGNORED) or not folded or folded in _COLUMNS or folded in _NO_LANGUAGES
        )
        return None if plain else LanguageNames().find(strip_invisible(name))

    def _wide(self, table: CatalogTable) -> dict[str, str]:
        """Return the languages of a wide glossary by their columns; "" is the one of the words."""
        folded = {fold_header(name): name for name in table.header}
        languages = {name: code for name in table.header if (code := self._language(name))}
        if not languages or folded.keys() & {"translation", "fixed", "languages", "language"}:
            return {}
        word = next((folded[name] for name in ("word", "term") if name in folded), next(iter(table.header)))
        languages.pop(word, None)
        return {word: "", **languages}

    def _add_wide(self, row: CatalogRow, wide: Mapping[str, str]) -> None:
        word = next(name for name, code in wide.items() if not code)
        for name, code in wide.items():
            value = row.cells.get(name)
            if not code or is_empty(value):
                continue
            try:
                term, said = text(row.cells.get(word)), text(value)
            except CellError as error:
                self.mistakes.append(Issue(row.cell_place(name), f"It {error}"))
                continue
            if not term:
                self.mistakes.append(Issue(row.cell_place(word), "The word is missing."))
                return
            kind, said = ("keep", "") if term == said else ("translation", said)
            self._add_term(code, _Term(kind, term, said, row.cell_place(name)))

    def _judge_columns(self, seen: Mapping[str, SourceLocation], wide: Mapping[str, str], file: str) -> None:
        """Note slips in the names of columns, and which columns are not read."""
        left_out = []
        for name, place in seen.items():
            if not name or name in wide or _known(name):
                continue
            near = columns.nearest_name(name, _COLUMNS)
            if near is None:
                left_out.append(name)
            else:
                text = f"There is no such column in a glossary. Did you mean {near!r}?"
                self.mistakes.append(Issue(place, text))
        if left_out:
            self.notes.append(f"{file}: Columns that are not read: {', '.join(map(safe_repr, left_out))}.")
        if wide:
            shown = ", ".join(f"{name} is {code}" for name, code in wide.items() if code and name != code)
            if shown:
                self.notes.append(f"{file}: Languages by their names: {shown}.")

    def _add(self, row: CatalogRow, languages: tuple[str, ...]) -> None:
        found, places = self._values(row)
        if "word" not in found:
            self.mistakes.append(Issue(attrs.evolve(row.place, field="word"), "The word is missing."))
            return
        kinds: list[str] = [kind for kind in ("translation", "pronunciation") if kind in found]
        if found.get("keep") or not kinds:
            kinds.append("keep")
        for language in found.get("languages", languages):
            for kind in kinds:
                place = places.get(kind, places["word"])
                self._add_term(language, _Term(kind, found["word"], str(found.get(kind, "")), place))

    def _add_term(self, language: str, term: _Term) -> None:
        terms = self._terms.setdefault(language.lower(), {})
        other = terms.setdefault((term.kind, term.word), term)
        if other.value != term.value:
            text = f"{term.word!r} is {other.value!r} in {other.place}; which one?"
            self.mistakes.append(Issue(term.place, text))

    def _values(self, row: CatalogRow) -> tuple[dict[str, Any], dict[str, SourceLocation]]:
        found: dict[str, Any] = {}
        places: dict[str, SourceLocation] = {}
        readers = {"keep": columns.flag, "languages": self._names.codes}
        for name, value in row.cells.items():
            field = _COLUMNS.get(fold_header(name))
            if field is None or is_empty(value):
                continue
            place = row.cell_place(name)
            try:
                found[field], places[field] = readers.get(field, text)(value), place
            except CellError as error:
                self.mistakes.append(Issue(place, f"It {error}"))
        return found, places

    def words(self, language: str) -> Words:
        """Return the words for a language; those for it alone take precedence."""
        terms = [*self._terms.get("", {}).values(), *self._terms.get(language.lower(), {}).values()]

        def pairs(kind: str) -> dict[str, str]:
            return {one.word: one.value for one in terms if one.kind == kind}

        kept = dict.fromkeys(one.word for one in terms if one.kind == "keep")
        return Words(tuple(kept), pairs("translation"), pairs("pronunciation"))


def _known(name: str) -> bool:
    return fold_header(name) in _COLUMNS or name.startswith(columns.IGNORED)
