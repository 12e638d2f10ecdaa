"""The columns of a catalog: their names, which option each one is, and how a cell is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final, TypeAlias

import attrs

from akool_async._model.errors import InvalidRequestError
from akool_async._model.filenames import NameTemplate
from akool_async._model.redact import safe_repr

IGNORED: Final = "#"
"""A column whose name begins with it is not read."""

YES: Final = frozenset("yes y true t on 1 x ✓".split())
NO: Final = frozenset("no n false f off 0 -".split())
Read: TypeAlias = Callable[[Any], Any]
"""Turns the content of a cell into an option's value, or raises `CellError`."""


class CellError(Exception):
    """A cell can't be read; the text says what it has to be."""


def text(value: Any) -> str:
    """Read text; a number is kept as it is written."""
    # YAML and JSON give `true` where a person wrote it: "true" as a key or a word is never meant.
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise CellError(f"has to be text, not {safe_repr(value)}.")
    return str(value).strip()


def flag(value: Any) -> bool:
    """Read yes or no."""
    if isinstance(value, bool):
        return value
    said = str(value).strip().lower()
    if said in YES or said in NO:
        return said in YES
    raise CellError(f"has to be yes or no, not {safe_repr(value)}.")


def number(value: Any) -> int:
    """Read a whole number, also as a spreadsheet writes it ("2.0")."""
    found = re.fullmatch(r"(\d{1,9})(?:\.0*)?", text(value))
    if found is None:
        raise CellError(f"has to be a whole number, not {safe_repr(value)}.")
    return int(found.group(1))


def caption(value: Any) -> Any:
    """Read a kind of captions, by name or number."""
    said = text(value).lower()
    return int(said) if said.isdecimal() else said


def codes(value: Any) -> tuple[str, ...]:
    """Read language codes, with commas, semicolons or blanks between them."""
    if isinstance(value, list):
        return tuple(text(item) for item in value)
    return tuple(re.split(r"[\s,;|]+", text(value).strip(" ,;|\n")))


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


def voices(value: Any) -> dict[str, str]:
    """Read voices such as "ja=6889b755; fr=6889b799"."""
    return pairs(value, like="ja=VOICE_ID; fr=VOICE_ID")


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
    """One column: an option of `TranslationRequest`, or the catalog's own "name"."""

    option: str
    read: Read
    aliases: tuple[str, ...] = ()


COLUMNS: Final = (
    Column("url", text, ("video", "video_url", "link")),
    Column("targets", codes, ("languages", "language", "target", "to")),
    Column("key", text, ("id",)),
    Column("name", file_name, ("file", "file_name")),
    Column("source_language", text, ("source", "from")),
    Column("lipsync", flag, ("lip_sync",)),
    Column("caption_type", caption, ("caption", "captions")),
    Column("caption_url", text, ("captions_url", "srt_url")),
    Column("voices_map", voices, ("voices", "voice")),
    Column("style", text),
    Column("speaker_num", number, ("speakers",)),
    Column("remove_bgm", flag, ("remove_music",)),
    Column("dynamic_duration", flag),
    Column("no_translate_words", words, ("keep_words",)),
    Column("fixed_words", pairs, ("translations",)),
    Column("pronounced_words", pairs, ("pronunciations",)),
    Column("webhook_url", text, ("webhook",)),
    Column("url_is_public", flag, ("public_url",)),
)

_BY_NAME: Final = {name: column for column in COLUMNS for name in (column.option, *column.aliases)}


def column_of(name: str) -> Column | None:
    """Return the column that a header names; letter case, blanks and "-" for "_" do not matter."""
    return _BY_NAME.get(_folded(name))


def is_column(name: str) -> bool:
    """Whether a header names a column."""
    return column_of(name) is not None


def did_you_mean(name: str, known: Iterable[str] | None = None) -> str:
    """Return " Did you mean ...?" for an unknown name, or ""."""
    names = [*_BY_NAME] if known is None else [*known]
    near = get_close_matches(_folded(name), names, n=1, cutoff=0.7)
    return f" Did you mean {near[0]!r}?" if near else ""


def _folded(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())
