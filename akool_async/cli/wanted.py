"""The options that say what is wanted of a catalog: what holds for its rows, glossaries, duplicates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import attrs
from cyclopts import Parameter

from akool_async.cli.catalog import Catalog, CatalogWrong, Mistake, OnDuplicate, Place, read_catalog
from akool_async.cli.catalog.catalog import read_option
from akool_async.cli.catalog.columns import CellWrong


@Parameter(name="*", group="Catalog")
@attrs.frozen(kw_only=True)
class Wanted:
    """What holds for rows of a catalog that do not say otherwise, and how the catalog is read.

    Attributes:
        to: Languages, such as ja,fr.
        source: Language of the videos; without it the vendor detects it.
        lipsync: Move the mouths with the new audio.
        caption: Captions in the result: none, original, target, replace or translated.
        voice: Voice for a language, as ja=VOICE_ID. May be given several times.
        style: Speaking style, such as calm.
        speakers: Number of speakers; 0 lets the vendor detect it.
        remove_bgm: Drop the background music.
        dynamic_duration: Let results be longer or shorter than the videos.
        webhook_url: Where the vendor calls when a job changes state.
        names: What files are called, without ending, made of {stem} (the video's name), {language}, {key} and
            {fingerprint}; default is {key}.{language} where there is a key, else {stem}.{language}.
        glossary: File of words with a translation or a pronunciation, or that stay as they are; for one
            language as ja=FILE. May be given several times.
        ignore_columns: Columns that are not read; those whose name begins with "#" never are.
        duplicates: Whether the same work in two rows is a mistake, or the second is skipped.
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
    names: str | None = None
    glossary: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = ()
    ignore_columns: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = ()
    duplicates: OnDuplicate = "refuse"

    def read(self, path: Path) -> Catalog:
        """Read the catalog.

        Raises:
            CatalogWrong: with every mistake in it, in glossaries and in these options.
        """
        mistakes: list[Mistake] = []
        defaults = dict(self._defaults(mistakes))
        try:
            catalog = read_catalog(
                path,
                defaults=defaults,
                glossaries=self.glossary,
                ignore=[name for names in self.ignore_columns for name in names.split(",")],
                on_duplicate=self.duplicates,
            )
        except CatalogWrong as wrong:
            raise CatalogWrong([*mistakes, *wrong.mistakes]) from None
        if mistakes:
            raise CatalogWrong(mistakes)
        return catalog

    def _defaults(self, mistakes: list[Mistake]) -> Iterator[tuple[str, Any]]:
        for name, option in _OPTIONS.items():
            given = getattr(self, name)
            if given in (None, ()):
                continue
            try:
                yield option, read_option(option, "; ".join(given) if option == "voices_map" else given)
            except CellWrong as wrong:
                mistakes.append(Mistake(Place(_NAMES.get(name, f"--{name.replace('_', '-')}")), str(wrong)))


_OPTIONS: Final[Mapping[str, str]] = {
    "to": "targets",
    "source": "source_language",
    "lipsync": "lipsync",
    "caption": "caption_type",
    "voice": "voices_map",
    "style": "style",
    "speakers": "speaker_num",
    "remove_bgm": "remove_bgm",
    "dynamic_duration": "dynamic_duration",
    "webhook_url": "webhook_url",
    "names": "name",
}
_NAMES: Final = {"source": "--from"}

AS_IT_SAYS: Final = Wanted()
"""What holds without options."""
