"""The columns of a catalog: their names, which option each one is, and how a cell is read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final, TypeAlias
from unicodedata import normalize

import attrs

from akool_async._model.errors import InvalidRequestError
from akool_async._model.filenames import NameTemplate
from akool_async._model.redact import safe_repr
from akool_async.cli.catalog.cells import CellError, fold_header, show_cell, text
from akool_async.cli.catalog.languages import LanguageNames

IGNORED: Final = "#"
"""A column whose name begins with it is not read."""

YES: Final = frozenset("yes y true t on 1 x ✓".split())
NO: Final = frozenset("no n false f off 0 -".split())
Read: TypeAlias = Callable[[Any], Any]
"""Turns the content of a cell into an option's value, or raises `CellError`."""

_UPLOAD: Final = "Fill in the path of a file, or a public https:// URL of the video."
_NAMES_NO_URL: Final = re.compile(r"(s3|gs|az|file)://|\.{0,2}/|~", re.IGNORECASE)
"""How objects in buckets and files of this machine begin, which are shared with the vendor by signed URLs."""

_ENDINGS: Final = r"\.(mp4|mov|m4v|mkv|webm|avi|srt|ass|vtt|wav|mp3|m4a)"
_TWO_URLS: Final = re.compile(r"([,;|])\s*[a-z][a-z0-9]*://", re.IGNORECASE)
_URL_AND_MORE: Final = re.compile(rf"https?://[^?#]*{_ENDINGS}\s*([,;|])([^/?#=.:]*)", re.IGNORECASE)
"""A URL and another cell, with a separator between them that is not the file's. Such signs may be part of a
path, as in `talk;v=1.mp4` and `a,b.mp4`, but hardly follow a file's whole name."""

_NO_URLS: Final = tuple(
    (re.compile(form, re.IGNORECASE), text)
    for form, text in (
        (r"(gcs|abfss?|r2)://", "is an object in a bucket. Name it by s3://, gs:// or az://."),
        (r"[a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?/", "has to begin with https:// or http://"),
        (r"[a-z]:[\\/]|\\|\.", f"is no path that this system has. {_UPLOAD}"),
        (
            rf"[^:?#]*{_ENDINGS}$",
            f"is the name of a file that is not there. {_UPLOAD}",
        ),
    )
)
"""What people fill in instead of a URL, and what a message says about it."""


def link(value: Any) -> str:
    """Read the URL of a video, an audio file or captions."""
    said = text(value)
    # `Path.is_file` raises for a name that no file can have, such as a very long one.
    if "://" not in said and not said.isascii() and not os.path.lexists(said):
        # A disk of a Mac has names in another form of Unicode than a spreadsheet writes.
        forms = (normalize(form, said) for form in ("NFC", "NFD"))
        said = next((name for name in forms if os.path.lexists(name)), said)
    if "://" not in said and not _NAMES_NO_URL.match(said) and os.path.isfile(said):  # noqa: PTH113
        return f"./{said}"
    if not said.startswith(("http://", "https://")) and not _NAMES_NO_URL.match(said):
        for form, advice in _NO_URLS:
            if form.match(said):
                # Backslashes would be shown doubled, as in a program.
                raise CellError(f"{safe_repr(said.replace(chr(92), '/'))} {advice}")
    # Taken for one long URL, it would be paid for with the options of the command line.
    if two := _TWO_URLS.search(said):
        sign = two[1]
        mistake = f"holds two URLs with {sign!r} between them. Write each into a row of its own"
    elif more := _URL_AND_MORE.fullmatch(said):
        sign = more[2]
        mistake = (
            f"holds a URL, then {sign!r} and {safe_repr(more[3].strip())}. Write what is no part of the URL "
            "into another column, separated as the column names are"
        )
    else:
        return said
    raise CellError(f"{mistake}; a {sign!r} within a URL is written as %{ord(sign):X}.")


def flag(value: Any) -> bool:
    """Read yes or no."""
    if isinstance(value, bool):
        return value
    said = str(value).strip().lower()
    if said in YES or said in NO:
        return said in YES
    raise CellError(f"has to be yes or no, not {show_cell(value)}.")


def number(value: Any) -> int:
    """Read a whole number, also as a spreadsheet writes it ("2.0")."""
    found = re.fullmatch(r"(\d{1,9})(?:\.0*)?", text(value))
    if found is None:
        raise CellError(f"has to be a whole number, not {show_cell(value)}.")
    return int(found.group(1))


def caption(value: Any) -> Any:
    """Read a kind of captions, by name or number."""
    said = text(value).lower()
    return int(said) if said.isdecimal() else said


def words(value: Any) -> tuple[str, ...]:
    """Read words, with semicolons or line breaks between them, or commas where there are none of these."""
    if isinstance(value, list):
        return tuple(text(item) for item in value)
    said = text(value)
    parts = re.split(r"[;\n]" if re.search(r"[;\n]", said) else ",", said)
    return tuple(part.strip() for part in parts if part.strip())


def file_name(value: Any) -> str:
    """Read a file's name, or a template of it; without a field the language is added."""
    said = text(value)
    try:
        return NameTemplate(said if "{" in said or "}" in said else f"{said}.{{language}}").text
    except InvalidRequestError as error:
        raise CellError(error.message.removeprefix("names ")) from None


def pairs(value: Any, *, like: str = "word=word; word=word") -> dict[str, str]:
    """Read pairs such as "Paris=Paree; Akool=A cool"."""
    if isinstance(value, Mapping):
        return {text(left): text("" if right is None else right) for left, right in value.items()}
    found: dict[str, str] = {}
    for part in re.split(r"[;\n]", text(value)):
        left, equals, right = part.partition("=")
        if not part.strip():
            continue
        if not equals or not left.strip():
            raise CellError(f'has to hold pairs such as "{like}", not {safe_repr(part.strip())}.')
        # One of the two would win silently, and the video be spoken by the wrong voice.
        if left.strip() in found:
            raise CellError(f"names {safe_repr(left.strip())} twice.")
        found[left.strip()] = right.strip()
    return found


@attrs.frozen
class Column:
    """One column: an option of a request, or the catalog's own "name".

    Attributes:
        option: what `TranslationRequest` calls it.
        by_name: reads languages, given as codes or names.
        keeps_none: whether "none" is a value, not an empty cell.
    """

    option: str
    reader: Read | None = None
    aliases: tuple[str, ...] = ()
    by_name: Callable[[LanguageNames, Any], Any] | None = None
    keeps_none: bool = False

    def read(self, value: Any, names: LanguageNames) -> Any:
        """Return the option's value.

        Raises:
            CellError: the cell can't be read.
        """
        if self.by_name is not None:
            return self.by_name(names, value)
        return (self.reader or text)(value)


def _voices(names: LanguageNames, value: Any) -> dict[str, str]:
    found = pairs(value, like="ja=VOICE_ID; fr=VOICE_ID")
    # The default voice would be paid for where an id was lost on its way into the catalog.
    for language, voice in found.items():
        if not voice:
            raise CellError(
                f"names no voice for {safe_repr(language)}; leave the language out for the default voice."
            )
    return names.keys(found)


COLUMNS: Final = (
    Column("url", link, ("video", "video_url", "link")),
    Column("targets", None, ("languages", "language", "target", "to"), LanguageNames.codes),
    Column("key", aliases=("id",)),
    Column("name", file_name, ("file", "file_name")),
    Column("audio_url", link, ("audio",)),
    Column("source_language", None, ("source", "from"), LanguageNames.code),
    Column("lipsync", flag, ("lip_sync",)),
    Column("caption_type", caption, ("caption", "captions"), keeps_none=True),
    Column("caption_url", link, ("captions_url", "srt_url")),
    Column("voices_map", None, ("voices", "voice"), _voices),
    Column("style"),
    Column("speaker_num", number, ("speakers",)),
    Column("remove_bgm", flag, ("remove_music",)),
    Column("dynamic_duration", flag),
    Column("no_translate_words", words, ("keep_words",)),
    Column("fixed_words", pairs, ("translations",)),
    Column("pronounced_words", pairs, ("pronunciations",)),
    Column("webhook_url", aliases=("webhook",)),
    Column("url_is_public", flag, ("public_url",)),
)

COLUMNS_BY_NAME: Final = {name: column for column in COLUMNS for name in (column.option, *column.aliases)}
_ALIKE: Final = 0.8
"""How alike a column's name and a known one are when the one is taken for a slip of the other. Below it are
the names that people's own columns have, such as "notes" and "title"."""


def column_of(name: str) -> Column | None:
    """Return the column that a header names; letter case, blanks and "-" for "_" do not matter."""
    return COLUMNS_BY_NAME.get(fold_header(name))


def nearest_name(name: str, known: Iterable[str] | None = None) -> str | None:
    """Return the known name that an unknown one is probably a slip of."""
    near = get_close_matches(
        fold_header(name), [*COLUMNS_BY_NAME] if known is None else known, n=1, cutoff=_ALIKE
    )
    return near[0] if near else None


@attrs.frozen
class ColumnChoice:
    """Which of a file's columns are read.

    Attributes:
        mapped: the option that a column is, by its folded name.
        ignored: folded names of columns that are not read.
    """

    mapped: Mapping[str, str] = attrs.field(factory=dict)
    ignored: frozenset[str] = frozenset()

    def is_ignored(self, name: str) -> bool:
        """Whether the user asked to leave a column out."""
        return name.startswith(IGNORED) or fold_header(name) in self.ignored

    def column(self, name: str) -> Column | None:
        """Return the column that a header names, if it is read."""
        if self.is_ignored(name):
            return None
        option = self.mapped.get(fold_header(name))
        if option is not None:
            return COLUMNS_BY_NAME[option]
        column = column_of(name)
        return None if column is None or column.option in self.mapped.values() else column

    def is_column(self, name: str) -> bool:
        """Whether a header names a column that is read."""
        return self.column(name) is not None
