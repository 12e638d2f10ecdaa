"""Glossaries: words that are kept, get a certain translation, or are pronounced in a certain way.

A glossary is a table of the same formats as a catalog, with the columns `word`, `translation`,
`pronunciation` and `languages`. A word with neither of the two is kept as it is; one without a language
applies to all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from akool_async._download import local_path
from akool_async.cli.catalog import columns
from akool_async.cli.catalog.model import CatalogRow, Issue, SourceLocation
from akool_async.cli.catalog.readers import read_table

_COLUMNS: Final[Mapping[str, tuple[str, columns.Read]]] = {
    "word": ("word", columns.text),
    "term": ("word", columns.text),
    "translation": ("translation", columns.text),
    "fixed": ("translation", columns.text),
    "pronunciation": ("pronunciation", columns.text),
    "pronounced": ("pronunciation", columns.text),
    "keep": ("keep", columns.flag),
    "languages": ("languages", columns.codes),
    "language": ("languages", columns.codes),
}
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

    def __init__(self) -> None:
        """Begin empty."""
        self.mistakes: list[Issue] = []
        self._terms: dict[str, list[_Term]] = {}

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
        if one is not None and not Path(named).exists():
            languages, named = (one.group(1),), one.group(2)
        table = read_table(local_path(named), _COLUMNS.__contains__)  # "~" is left alone in ja=~/words.csv
        self.mistakes += table.mistakes
        used = {name: cell.place for row in table.rows for name, cell in row.cells.items()}
        for name, place in (used | table.header).items():
            if name and not _known(name):
                text = f"There is no such column in a glossary.{columns.did_you_mean(name, _COLUMNS)}"
                self.mistakes.append(Issue(place, text))
        for row in table.rows:
            self._add(row, languages)

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
                term = _Term(kind, found["word"], str(found.get(kind, "")), place)
                terms = self._terms.setdefault(language.lower(), [])
                for other in terms:
                    if (other.kind, other.word) == (kind, term.word) and other.value != term.value:
                        text = f"{term.word!r} is {other.value!r} in {other.place}; which one?"
                        self.mistakes.append(Issue(place, text))
                terms.append(term)

    def _values(self, row: CatalogRow) -> tuple[dict[str, Any], dict[str, SourceLocation]]:
        found: dict[str, Any] = {}
        places: dict[str, SourceLocation] = {}
        for name, cell in row.cells.items():
            if not _known(name) or name.startswith(columns.IGNORED) or cell.empty:
                continue
            field, read = _COLUMNS[_plain(name)]
            try:
                found[field], places[field] = read(cell.value), cell.place
            except columns.CellError as error:
                self.mistakes.append(Issue(cell.place, f"It {error}"))
        return found, places

    def words(self, language: str) -> Words:
        """Return the words for a language; those for it alone take precedence."""
        terms = [*self._terms.get("", ()), *self._terms.get(language.lower(), ())]

        def pairs(kind: str) -> dict[str, str]:
            return {one.word: one.value for one in terms if one.kind == kind}

        kept = dict.fromkeys(one.word for one in terms if one.kind == "keep")
        return Words(tuple(kept), pairs("translation"), pairs("pronunciation"))


def _plain(name: str) -> str:
    return name.strip().lower()


def _known(name: str) -> bool:
    return _plain(name) in _COLUMNS or name.startswith(columns.IGNORED)
