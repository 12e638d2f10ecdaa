"""The saved subtitles of a journal, and the options by which they are checked."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final, Literal

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from akool_async._download import find_file, local_path
from akool_async._journal import Entry
from akool_async._model.errors import InvalidRequestError
from akool_async._model.locations import BucketPath
from akool_async._model.outcomes import Saved
from akool_async._model.states import State
from akool_async.captions import (
    CaptionFileError,
    CaptionLimits,
    Cue,
    Terms,
    limits_for,
    read_cues,
    read_translation,
)
from akool_async.cli.catalog import CatalogError
from akool_async.cli.catalog.glossary import Glossary
from akool_async.cli.catalog.languages import chosen_languages
from akool_async.cli.options import OutputOptions

CAPTIONS: Final = "captions"
"""The folder for reviewers, in that of the results."""

Folder = Annotated[
    Path | None, Parameter(negative="", help="Folder that `captions pull --to` wrote to, if it was another.")
]


def captions_folder(output: OutputOptions, named: Path | None) -> Path:
    """Return the folder for reviewers: the one that was named, or the usual one."""
    return output.local / CAPTIONS if named is None else local_path(named)


@attrs.frozen
class SavedSubtitles:
    """The saved subtitles of one entry; `spoken` is None where there are none of the source language."""

    entry: Entry
    name: str
    translated: Path
    spoken: Path | None

    @property
    def spoken_cues(self) -> Sequence[Cue]:
        """The subtitles in the source language."""
        return () if self.spoken is None else read_cues(self.spoken)

    def corrected(self, folder: Path) -> list[Path]:
        """Return the files in which a reviewer has changed something, or which can't be read."""
        saved = [cue for cue in read_cues(self.translated) if cue.text]
        changed = []
        for path in (folder / f"{self.name}{ending}" for ending in (".srt", ".csv", ".xlsx")):
            try:
                if path.is_file() and [cue for cue in read_translation(path) if cue.text] != saved:
                    changed.append(path)
            except CaptionFileError:
                changed.append(path)  # `check` and `push` say what is wrong with it
        return changed


async def saved_subtitles(
    output: OutputOptions, keys: tuple[str, ...], languages: tuple[str, ...]
) -> list[SavedSubtitles]:
    """Return what is saved with subtitles, of these keys and languages or of all.

    Raises:
        JournalError: there is no journal, or it can't be read.
        InvalidRequestError: a key names nothing that is saved with subtitles.
    """
    wanted = chosen_languages(languages)
    found, unknown = [], {*keys}
    async with output.reading() as journal:
        async for entry in journal.entries(states={State.DELIVERED}):
            named = {key for key in keys if key == entry.key or fnmatchcase(entry.key, key)}
            saved = Saved.from_paths(entry.files)
            if (keys and not named) or (wanted and entry.target not in wanted):
                continue
            if saved is None or saved.translated_srt is None:
                continue
            unknown -= named
            translated = find_file(str(saved.translated_srt), output.local, entry.name)
            if isinstance(saved.translated_srt, BucketPath) and not translated.exists():
                raise InvalidRequestError(
                    f"{saved.translated_srt} is in a bucket.",
                    impact="Nothing was changed.",
                    advice=f"`{output.command('report', copies=True)}` copies it to this machine.",
                )
            spoken = saved.original_srt and find_file(str(saved.original_srt), output.local, entry.name)
            spoken = spoken if spoken and spoken.exists() else None
            found.append(SavedSubtitles(entry, entry.name or saved.video.stem, translated, spoken))
    if unknown:
        raise InvalidRequestError(
            f"Nothing called {', '.join(map(repr, sorted(unknown)))} is saved with subtitles.",
            impact="Nothing was changed.",
            advice=f"`{output.command('list')}` shows what is saved.",
        )
    return found


Limit = Annotated[float | None, Parameter(validator=Number(gte=0), show_default=False)]


@Parameter(name="*", group="Limits")
@attrs.frozen(kw_only=True)
class CheckOptions:
    """What subtitles may be. Without an option the guide's limit for the language applies.

    Attributes:
        guide: Whose limits apply: netflix (Timed Text Style Guides) or bbc (Subtitle Guidelines).
        max_speed: Characters a second.
        max_line: Characters in a line; in Chinese, Japanese and Korean, those of other scripts count half.
        max_lines: Lines of a cue.
        min_seconds: Shortest time of a cue.
        max_seconds: Longest time of a cue.
        min_gap: Shortest pause between two cues that do not follow each other at once.
        glossary: File of words to keep or with a fixed translation, as for `run`. May be given several times.
    """

    guide: Literal["netflix", "bbc"] = "netflix"
    max_speed: Limit = None
    max_line: Limit = None
    max_lines: Annotated[int | None, Parameter(validator=Number(gte=1), show_default=False)] = None
    min_seconds: Limit = None
    max_seconds: Limit = None
    min_gap: Limit = None
    glossary: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = ()

    def limits(self, target: str) -> CaptionLimits:
        """Return the limits for a language."""
        names = [field.name for field in attrs.fields(CaptionLimits)]
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        return attrs.evolve(limits_for(target, self.guide), **given)

    def terms(self, request: object, target: str, words: Glossary) -> Terms:
        """Return the words of a request and of the glossaries."""
        own, more = Terms.of_request(request), words.words(target)
        return Terms(kept=(*own.kept, *more.no_translate_words), fixed={**more.fixed_words, **own.fixed})

    def read_glossary(self) -> Glossary:
        """Read the glossaries.

        Raises:
            CatalogError: one can't be read, or something in it is wrong.
        """
        words = Glossary()
        for named in self.glossary:
            words.read(named)
        if words.mistakes:
            raise CatalogError(words.mistakes)
        return words


DEFAULT_CHECK: Final = CheckOptions()
