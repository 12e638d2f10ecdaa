"""What the files of a result are called: safe and distinct on every system.

Without I/O: the journal knows which entry has which name, the batch what is in a folder.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import string
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, TypeAlias
from urllib.parse import unquote, urlsplit

import attrs

from akool_async._model.errors import InvalidRequestError
from akool_async._model.fingerprint import entry_key, fingerprint
from akool_async._model.outcomes import ENDINGS
from akool_async._model.redact import safe_repr
from akool_async._model.requests import LipSyncRequest, Request
from akool_async._model.validators import JOINERS, is_printable, joins

LONGEST: Final = 160
"""Bytes of a name in UTF-8, so that the longest ending of a part still fits into 255."""

MOST_NAMES: Final = 5
"""Names that are tried for one result: all but the first hold a part of a hash of the entry."""

_LONGEST_FIELD: Final = 100
_MARK: Final = 8
"""Digits of a fingerprint that tell two names apart."""

_PLAIN: Final = frozenset("._+=@-")
_WITHOUT_JOINERS: Final = dict.fromkeys(map(ord, JOINERS))
_RUNS: Final = re.compile("--+")
_SAFE: Final = re.compile(r"[A-Za-z0-9_+=@](?:[A-Za-z0-9._+=@]|-(?!-))*(?<![.-])")
"""Names of which nothing has to be changed, but for the names of devices."""

_FORBIDDEN: Final = frozenset('/\\:*?"<>|')
_FIELDS: Final = ("stem", "language", "key", "fingerprint")
_DEVICES: Final = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"]
    + [f"{name}{digit}" for name in ("com", "lpt") for digit in "0123456789\u00b9\u00b2\u00b3"]
)
"""Names that mean a device on Windows, with any ending. Source: Microsoft, "Naming Files, Paths"."""

_OWN_FOLDERS: Final = frozenset({"captions", "report"})
"""Folders beside the results that hold something else: files for reviewers, the pages of a report."""

_MOST_FOLDERS: Final = 8
_FILES: Final = re.compile(r"\.(?=(?:mp4|srt|ass|vtt|json|part|about|new|sqlite3\S*)\Z)", re.IGNORECASE)
"""The dot before an ending of a file: a folder "talk.mp4" would be in the way of the file of that name."""

_INFIXES: Final = tuple(ending.rpartition(".")[0] for ending in ENDINGS.values() if ending.rpartition(".")[0])
"""What is between a name and the last ending of some of its files, such as ".original"."""


def video_stem(request: Request) -> str:
    """Return the name of the request's video, without ending."""
    url = request.video_url if isinstance(request, LipSyncRequest) else request.url
    last = unquote(urlsplit(url).path).rpartition("/")[2]
    return _cut(safe_filename(last.rpartition(".")[0] or last), _LONGEST_FIELD)


def safe_filename(text: str, otherwise: str = "video") -> str:
    """Return `text` as a name that every system takes, of at most 160 bytes."""
    if len(text) <= LONGEST and _SAFE.fullmatch(text) and not _is_device(text):
        return text
    # macOS composes names itself: without this, one written here would be listed back as another.
    text = unicodedata.normalize("NFC", text)
    kept = "".join(
        # A letter, a mark on one, or a digit of any script, or what means nothing to any system.
        char
        if char in _PLAIN or unicodedata.category(char)[0] in "LMN" or joins(text, position, "LM")
        else "-"
        for position, char in enumerate(text)
    )
    name = _cut(_RUNS.sub("-", kept).strip(" .-"), LONGEST) or otherwise
    return _cut(f"_{name}", LONGEST) if _is_device(name) else name


def _is_device(name: str) -> bool:
    return name.partition(".")[0].rstrip().casefold() in _DEVICES


def _cut(text: str, most: int) -> str:
    """Return the beginning of `text` that takes at most so many bytes, and may end a name."""
    if len(text.encode()) <= most:
        return text
    # A cut within a character would leave bytes that some systems refuse.
    return text.encode()[:most].decode("utf-8", "ignore").rstrip(f" .-{JOINERS}")


def is_safe_filename(name: str) -> bool:
    """Whether a name that a caller chose is one plain part of a path, on every system."""
    return (
        0 < len(name.encode("utf-8", "replace")) <= 200
        and is_printable(name)
        and not name.startswith(".")
        and not name.endswith((".", " "))
        # NFKC: a full-width slash or colon becomes a plain one on some file systems.
        and not _FORBIDDEN & set(unicodedata.normalize("NFKC", name))
        and not _is_device(name)
    )


def is_safe_path(name: str) -> bool:
    """Whether a name that a caller chose, with folders before it, stays below the folder of the results."""
    parts = name.split("/")
    return len(parts) <= _MOST_FOLDERS + 1 and all(map(is_safe_filename, parts))


def collision_key(name: str) -> str:
    """Return a text that is the same for all names whose files could meet on some system.

    Letters that differ only in case, composition or joiners are one there, also in folders: "JA/talk" is
    "ja/talk". And the subtitles of "a" and of "a.original" would both be a.original.srt.
    """
    text = unicodedata.normalize("NFKC", name.translate(_WITHOUT_JOINERS))
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text.upper().casefold()).casefold())
    # A loop: "a.original.original" meets "a" by its subtitles, too.
    while infix := next((one for one in _INFIXES if text.endswith(one)), ""):
        text = text.removesuffix(infix)
    return text or name


def _check_template(_: object, __: attrs.Attribute[str], text: str) -> None:
    if not isinstance(text, str) or not is_printable(text) or (_FORBIDDEN - {"/"}) & set(text):
        raise InvalidRequestError(
            "names must be part of a file's name such as '{stem}.{language}', or with folders such as "
            f"'{{language}}/{{key}}', not {safe_repr(text)}.",
            advice="download_to names the folder; extensions are added.",
        )
    parts = text.split("/")
    # "" is before a first slash, which would name a folder of the system, and between two.
    if text.startswith("~") or any(not part.strip(" .") for part in parts) or len(parts) > _MOST_FOLDERS + 1:
        raise InvalidRequestError(
            f"names must lead to files below the folder of the results, through {_MOST_FOLDERS} folders at "
            f"most, not {safe_repr(text)}.",
            advice="Write folders as in '{language}/{key}', without '..' and without a slash at either end.",
        )
    try:
        pieces = [(field, form, how) for _text, field, form, how in string.Formatter().parse(text)]
    except ValueError as error:
        raise InvalidRequestError(f"names can't be read: {error}; it is {safe_repr(text)}.") from error
    fields = ", ".join(f"{{{name}}}" for name in _FIELDS)
    # A format such as {stem:>999999999} would fill the memory, and {key.__class__} show what is no name.
    if any(field is not None and (field not in _FIELDS or form or how) for field, form, how in pieces):
        raise InvalidRequestError(f"A template of file names may hold {fields} alone, not {safe_repr(text)}.")
    if not any(field for field, _form, _how in pieces):
        raise InvalidRequestError(f"names must hold one of {fields}; it is {safe_repr(text)}.")


@attrs.frozen
class NameTemplate:
    """How names are made, such as "{stem}.{language}".

    Args:
        text: with the fields stem (the video's name), language ("lipsync" for lip-syncs), key and
            fingerprint; "/" puts files into folders.

    Raises:
        InvalidRequestError: it has other fields, can't be part of a file's name, or leads out of the folder.
    """

    text: str = attrs.field(validator=_check_template)

    def name(self, request: Request, target: str) -> str:
        """Return the name of an entry's files, without ending, after those of its folders."""
        values = {"language": target or "lipsync"}
        if "{stem}" in self.text:
            values["stem"] = video_stem(request)
        if "{key}" in self.text:
            values["key"] = _cut(safe_filename(entry_key(request, target), "key"), _LONGEST_FIELD)
        if "{fingerprint}" in self.text:
            values["fingerprint"] = fingerprint(request, target)
        # Taken apart before the values are put in: a key with a slash makes no folder.
        *folders, last = (safe_filename(part.format_map(values)) for part in self.text.split("/"))
        if not folders:
            return last
        if folders[0].casefold() in _OWN_FOLDERS:
            folders[0] = f"_{folders[0]}"
        return "/".join([*(_FILES.sub("-", folder) for folder in folders), last])

    def names(self, request: Request, target: str) -> Iterator[str]:
        """Return names for an entry, the one to be preferred first, without end.

        All but the first hold a part of a hash of the entry.
        """
        whole_name, mark = self.name(request, target), fingerprint(request, target)
        yield whole_name
        folder, slash, name = whole_name.rpartition("/")
        # Two entries may have one fingerprint, as under two keys: the key is hashed, too.
        whole = hashlib.sha256(f"{entry_key(request, target)}\n{target}\n{mark}".encode()).hexdigest()
        numbered = (f"{whole[:_MARK]}-{number}" for number in itertools.count(2))
        for addition in itertools.chain((mark[:_MARK], whole[:_MARK], whole[: 4 * _MARK]), numbered):
            yield f"{folder}{slash}{_cut(name, LONGEST - len(addition) - 1)}-{addition}"


template_of: Final = lru_cache(maxsize=256)(NameTemplate)
"""Return the template with a text; a catalog has few of them, and many entries."""

DEFAULT_TEMPLATE: Final = NameTemplate("{stem}.{language}")
"""How files are called where nothing else is said."""


@attrs.frozen
class TemplatesByKey:
    """How names are made, entry by entry.

    Args:
        templates: one for each key, or for a (key, language), which goes before the key's; other entries get
            the usual one.
    """

    templates: Mapping[str | tuple[str, str], NameTemplate]

    def names(self, request: Request, target: str) -> Iterator[str]:
        """Return names for an entry, the one to be preferred first, without end."""
        key = entry_key(request, target)
        template = self.templates.get((key, target)) or self.templates.get(key, DEFAULT_TEMPLATE)
        return template.names(request, target)


FileTemplates: TypeAlias = NameTemplate | TemplatesByKey

TemplateTexts: TypeAlias = (
    str | Mapping[str, str] | Mapping[tuple[str, str], str] | Mapping[str | tuple[str, str], str]
)
"""One template for all entries, or one for each key or (key, language)."""


def parse_templates(templates: TemplateTexts) -> FileTemplates:
    """Return what makes names, from one template or from one for each key or (key, language).

    Raises:
        InvalidRequestError: one of them is not a template.
    """
    if isinstance(templates, Mapping):
        made = {text: NameTemplate(text) for text in set(templates.values())}
        return TemplatesByKey({key: made[text] for key, text in templates.items()})
    return NameTemplate(templates)
