"""The options of a translation, as `run`, `plan` and `translate` take them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import attrs
from cyclopts import Parameter

from akool_async.cli.catalog import Catalog, CatalogWrong, Mistake, Place, one_video
from akool_async.cli.catalog.columns import CellWrong
from akool_async.cli.catalog.rows import read_option


@Parameter(name="*", group="Translation")
@attrs.frozen(kw_only=True)
class Options:
    """What is asked for; in a catalog, what holds for rows that do not say otherwise.

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

    def of_one(self, url: str, key: str | None) -> Catalog:
        """Give a catalog of one video.

        Raises:
            CatalogWrong: with every mistake in these options.
        """
        mistakes: list[Mistake] = []
        defaults = dict(self.values(mistakes)) | ({} if key is None else {"key": key})
        strangers = sorted(set(defaults.get("voices_map", ())) - set(defaults.get("targets", ())))
        if strangers and "targets" in defaults:
            text = f"{', '.join(strangers)} is not among the languages of --to."
            mistakes.append(Mistake(Place("--voice"), text))
        try:
            catalog = one_video(url, defaults=defaults, glossaries=self.glossary)
        except CatalogWrong as wrong:
            raise CatalogWrong([*mistakes, *wrong.mistakes]) from None
        if mistakes:
            raise CatalogWrong(mistakes)
        return catalog

    def values(self, mistakes: list[Mistake]) -> Iterator[tuple[str, Any]]:
        """Give the options of `TranslationRequest` that are set, and note what is wrong."""
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

NOTHING_SAID: Final = Options()
"""What holds without options."""
