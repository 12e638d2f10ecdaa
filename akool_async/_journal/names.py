"""Names beside a journal that belong to it: of SQLite, of this package, and of its command line."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from akool_async._model.errors import JournalCorruptedError, JournalError

_ENDINGS: Final = ("-wal", "-shm", "-journal", ".lock", ".runs", ".on-saved", ".media")


def beside(path: Path, suffix: str) -> Path:
    """Return the file beside a journal whose name has this added."""
    return path.with_name(f"{path.name}{suffix}")


def unreadable_journal(path: str | os.PathLike[str], why: str, *, is_database: bool) -> JournalCorruptedError:
    """Return the error of a file that can't be read as a journal.

    A backup is to be put only where a journal was: elsewhere it would overwrite a catalog or a video.
    """
    place = Path(path)
    text = "is a file of SQLite, but not a journal" if is_database else "is not a journal"
    if beside(place, ".lock").exists() or (place.suffix == ".sqlite3" and not is_database):
        words = f"{place} {text}." if is_database else f"The journal {place} is damaged or {text}: {why}."
        return JournalCorruptedError(words)
    return JournalCorruptedError(
        f"{place} {text}.",
        impact="It was left as it is, and nothing was sent.",
        advice="Name the journal, or the folder with the results. `akool-async run` takes a catalog, and "
        "`akool-async inspect` a video.",
    )


def draft_pattern(name: str) -> str:
    """Return the pattern of the names that a file has while it is made; those left over are deleted."""
    return f".{name}.*.new*"


def check_name(path: Path) -> None:
    """Refuse a file whose name belongs to a journal, or would belong to one: it is overwritten or deleted.

    A journal that has such a name already is not refused where there is nothing that it could belong to.

    Raises:
        JournalError: nothing was written.
    """
    name = path.name.lower()  # as file systems may compare them
    ending = next((ending for ending in _ENDINGS if name.endswith(ending)), "")
    if ending:
        owner = path.with_name(path.name[: -len(ending)] or ".")
        if path.exists() and not owner.is_file():
            return
        whose = f"a file that is kept beside {owner.name}"
    elif fnmatchcase(name, draft_pattern("?*")):
        whose = "a file that is still being made"
    else:
        return
    raise JournalError(
        f"The name {path} is that of {whose}.",
        impact="What has such a name is overwritten or deleted sooner or later. Nothing was written or sent.",
        advice="Choose another name, such as one that ends in .sqlite3.",
    )
