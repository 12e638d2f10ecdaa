"""The options of what is to be made: of a translation, and of how a catalog is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import attrs
from cyclopts import Parameter

from akool_async._model.errors import AkoolError, InvalidRequestError
from akool_async.cli.catalog import (
    Catalog,
    CatalogError,
    Issue,
    OnDuplicate,
    SourceLocation,
    one_video,
    read_catalog,
)
from akool_async.cli.catalog.cells import CellError, fold_header
from akool_async.cli.catalog.columns import COLUMNS_BY_NAME, ColumnChoice
from akool_async.cli.catalog.languages import LanguageNames, UnknownLanguageError
from akool_async.cli.catalog.rows import read_option
from akool_async.cli.console import shown_argument
from akool_async.cli.options import ConnectionOptions


@Parameter(name="*", group="Translation")
@attrs.frozen(kw_only=True)
class TranslationOptions:
    """Options of a translation; in a catalog, the defaults of its rows.

    Attributes:
        to: Languages, such as ja,fr; in a catalog, for rows that name none.
        source: Language of the videos; without it the vendor detects it.
        lipsync: Move the mouths with the new audio.
        caption: Captions in the result: none, original, target, replace or translated.
        voice: Voice for a language, such as ja=VOICE_ID. May be given several times.
        style: Speaking style, such as calm.
        speakers: Number of speakers; 0 lets the vendor detect it.
        remove_bgm: Drop the background music.
        dynamic_duration: Let results be longer or shorter than the videos.
        webhook_url: Where the vendor calls when a job changes state.
        keep_words: Words to keep as they are, such as "Akool; Bob".
        fixed_words: Words with a fixed translation, such as "Paris=Paname; Bob=Robert".
        pronounced_words: Words with their pronunciation, such as "NASA=nassa".
        url_is_public: The query of the URL is not secret and names the video, as in ?id=7.
        names: Name of the files, without extension, made of {stem} (the video's name), {language}, {key} and
            {fingerprint}, with folders as in {language}/{key}; default is {key}.{language} where there is a
            key, else {stem}.{language}.
        glossary: File of words with a translation or a pronunciation, or that stay as they are; for one
            language as ja=FILE. May be given several times.
    """

    to: str | None = None
    source: Annotated[str | None, Parameter(name="--from")] = None
    lipsync: bool | None = None
    caption: str | None = None
    voice: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = ()
    style: str | None = None
    speakers: int | None = None
    remove_bgm: bool | None = None
    dynamic_duration: bool | None = None
    webhook_url: str | None = None
    keep_words: str | None = None
    fixed_words: str | None = None
    pronounced_words: str | None = None
    url_is_public: bool | None = None
    names: str | None = None
    glossary: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = ()

    def of_one(self, url: str, key: str | None, names: LanguageNames, **extra: Any) -> Catalog:
        """Return a catalog of one video, or raise a `CatalogError` with every mistake in these options."""
        mistakes: list[Issue] = []
        defaults = dict(self.values(mistakes, names))
        for option, given in {"key": key, **extra}.items():
            try:
                if given is not None:
                    defaults[option] = read_option(option, given, names)
            except CellError as error:
                mistakes.append(Issue(SourceLocation(_flag(option)), str(error)))
        unknown = sorted(set(defaults.get("voices_map", ())) - set(defaults.get("targets", ())))
        if unknown and "targets" in defaults:
            text = f"{', '.join(unknown)} is not among the languages of --to."
            mistakes.append(Issue(SourceLocation("--voice"), text))
        with _adding(mistakes):
            return one_video(
                url, defaults=defaults, glossaries=self.glossary, names=names, unread=self.unread(defaults)
            )

    def unread(self, defaults: Mapping[str, Any]) -> frozenset[str]:
        """Return the options of a request that were given and are not among these defaults."""
        given = {name for name, value in attrs.asdict(self).items() if value not in (None, ())}
        return frozenset(_OPTIONS.get(name, name) for name in given) - defaults.keys()

    def values(self, mistakes: list[Issue], names: LanguageNames) -> Iterator[tuple[str, Any]]:
        """Yield the options of `TranslationRequest` that are set, and add what is wrong to `mistakes`."""
        for name, given in attrs.asdict(self).items():
            if name == "glossary" or given in (None, ()):
                continue
            option = _OPTIONS.get(name, name)
            try:
                yield (
                    option,
                    read_option(option, "; ".join(given) if isinstance(given, tuple) else given, names),
                )
            except CellError as error:
                place = SourceLocation(_flag(name))
                mistakes.append(Issue(place, str(error), isinstance(error, UnknownLanguageError)))


def _flag(name: str) -> str:
    return "--from" if name == "source" else f"--{name.replace('_', '-')}"


def flag_of(option: str) -> str:
    """Return the flag of a request's option; "" where only a catalog sets it."""
    flags = {_OPTIONS.get(name, name): _flag(name) for name in attrs.fields_dict(TranslationOptions)}
    return flags.get(option, "")


@contextmanager
def _adding(mistakes: list[Issue]) -> Iterator[None]:
    """Raise these mistakes together with those that the block raises."""
    try:
        yield
    except CatalogError as error:
        raise CatalogError([*mistakes, *error.mistakes]) from None
    if mistakes:
        raise CatalogError(mistakes)


# Options that a request calls by another name.
_OPTIONS: Final[Mapping[str, str]] = {
    "to": "targets",
    "source": "source_language",
    "caption": "caption_type",
    "voice": "voices_map",
    "speakers": "speaker_num",
    "keep_words": "no_translate_words",
    "names": "name",
}


def _idle_options(catalog: Catalog, defaults: Mapping[str, Any]) -> Iterator[str]:
    """Say which options changed nothing: who gave them would pay for something else than they meant."""
    for option in sorted(catalog.unused):
        yield f"No row uses {flag_of(option)}: the catalog sets that itself."
    languages = {target for item in catalog.items for target in item.request.targets}
    idle = sorted(set(defaults.get("voices_map", ())) - languages)
    if idle and "voices_map" not in catalog.unused:
        yield f"--voice: No row is translated into {', '.join(idle)}."


DEFAULT_TRANSLATION: Final = TranslationOptions()


@Parameter(name="*", group="Catalog")
@attrs.frozen(kw_only=True)
class CatalogOptions:
    """How a catalog is read.

    Attributes:
        column: The name of a column in the file, such as url="Video link". May be given several times.
        ignore_columns: Columns to leave out; columns whose name begins with "#" are never read.
        duplicates: Whether the same work in two rows is a mistake, or the second is skipped.
        sheet: Sheet of a spreadsheet; default is the visible one that has column names.
    """

    column: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = ()
    ignore_columns: Annotated[
        tuple[str, ...], Parameter(negative="", show_default=False, consume_multiple=True)
    ] = ()
    duplicates: OnDuplicate = "refuse"
    sheet: Annotated[str, Parameter(show_default=False)] = ""

    def read(self, path: Path, options: TranslationOptions, names: LanguageNames) -> Catalog:
        """Read a catalog; a `CatalogError` names every mistake in it, in glossaries and in these options."""
        shown = shown_argument(path)
        if "://" in shown and not os.path.lexists(path):
            raise InvalidRequestError(
                f"{shown} is a URL, and a catalog is a file.",
                impact="Nothing was sent.",
                advice="`akool-async translate URL --to ja` translates one video.",
            )
        mistakes: list[Issue] = []
        defaults = dict(options.values(mistakes, names))
        ignored = (name for given in self.ignore_columns for name in given.split(","))
        choice = ColumnChoice(dict(self._mapped(mistakes)), frozenset(map(fold_header, ignored)))
        with _adding(mistakes):
            catalog = read_catalog(
                path,
                defaults=defaults,
                glossaries=options.glossary,
                choice=choice,
                on_duplicate=self.duplicates,
                names=names,
                sheet=self.sheet,
                unread=options.unread(defaults),
            )
        return attrs.evolve(catalog, notes=(*catalog.notes, *_idle_options(catalog, defaults)))

    def _mapped(self, mistakes: list[Issue]) -> Iterator[tuple[str, str]]:
        for given in self.column:
            name, equals, header = given.partition("=")
            column = COLUMNS_BY_NAME.get(fold_header(name))
            if column is None or not equals or not header.strip():
                known = ", ".join(dict.fromkeys(one.option for one in COLUMNS_BY_NAME.values()))
                text = f'has to be such as url="Video link", with one of {known}; not {given!a}.'
                mistakes.append(Issue(SourceLocation("--column"), text))
            else:
                yield fold_header(header), column.option


DEFAULT_CATALOG: Final = CatalogOptions()


def read_with_names(
    read: Callable[[LanguageNames], Catalog], connection: ConnectionOptions, *, offline: bool = False
) -> Catalog:
    """Return what `read` reads; languages that are not known here are looked up in the vendor's list.

    Raises:
        CatalogError: there are mistakes that the list does not explain.
    """
    try:
        return read(LanguageNames())
    except CatalogError as error:
        # All other mistakes are reported before a key is asked for and the server is called.
        if offline or not error.unknown_languages:
            raise
        try:
            listed = connection.ask(lambda client: client.languages())
        except AkoolError:  # the mistakes say more than that the server could not be asked
            raise error from None
    return read(LanguageNames({language.name: language.code for language in listed}))
