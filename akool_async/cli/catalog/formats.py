"""Which reader a file is given to, and how its bytes become text."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from akool_async.cli.catalog.delimited import read_delimited
from akool_async.cli.catalog.place import CatalogWrong, Mistake, Place
from akool_async.cli.catalog.structured import read_json_lines, read_yaml
from akool_async.cli.catalog.table import IsColumn, Table

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LARGEST: Final = 200 * 1024 * 1024


def read_table(path: Path, is_column: IsColumn) -> Table:
    """Read a file by the format that its ending names.

    Raises:
        CatalogWrong: it can't be read, or is of no format that is known.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise _refusal(path, _unknown(path))
    return reader(_text_of(path), str(path), is_column)


def _unknown(path: Path) -> str:
    ending = f'ends in "{path.suffix}"' if path.suffix else "has no ending"
    return f"The file {ending}; known are {', '.join(_READERS)}. {_ADVICE.get(path.suffix.lower(), '')}"


_READERS: Final[Mapping[str, Callable[[str, str, IsColumn], Table]]] = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".txt"), read_delimited),
    **dict.fromkeys((".jsonl", ".ndjson"), read_json_lines),
    **dict.fromkeys((".yaml", ".yml"), read_yaml),
}
_ADVICE: Final = {
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), 'Save the sheet as "CSV UTF-8".'),
    ".json": "JSON Lines has one object on each line.",
}


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise _refusal(
                path, f"The file is larger than {_LARGEST // 1024 // 1024} MiB; cut it into several."
            )
        data = path.read_bytes()
    except OSError as error:
        raise _refusal(path, f"The file can't be read: {error.strerror}.") from error
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _refusal(
            path, 'This is not UTF-8 text. Save the file again as "CSV UTF-8" or in UTF-8.', line=line
        ) from error


def _refusal(path: Path, text: str, *, line: int = 0) -> CatalogWrong:
    return CatalogWrong([Mistake(Place(str(path), line), text.strip())])
