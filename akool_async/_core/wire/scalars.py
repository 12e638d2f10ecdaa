"""What single values of an answer mean, however they are written. Nothing here raises."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from akool_async._core.models import Status
from akool_async._core.text import clean

_ID: Final = re.compile(r"[0-9A-Za-z_-]{8,128}")
_LONGEST_NUMBER: Final = 40
_DIGITS: Final = "0123456789"
_SMALL: Final = tuple(map(float, range(1000)))
"""Most credits and seconds; each is held once, however many jobs have it."""


def read_int(value: object) -> int | None:
    """Give a whole number that may come as text or with a fraction of zero, else None."""
    number = read_float(value)
    if number is None or number != int(number):
        return None
    return value if type(value) is int else int(number)


def read_float(value: object) -> float | None:
    """Give a finite number that may come as text, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and (len(value) > _LONGEST_NUMBER or "_" in value):
        return None
    if type(value) is int and 0 <= value < len(_SMALL):
        return _SMALL[value]
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def read_text(value: object) -> str:
    """Give text that can be encoded; numbers become text, everything else ""."""
    if type(value) is str and value.isascii():
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    if isinstance(value, int) and value.bit_length() > 1024:
        return ""
    return str(value).encode("utf-8", "replace").decode()


def read_bool(value: object) -> bool:
    """Give a truth value that may come as text or number; what is unclear is False."""
    if isinstance(value, str):
        return value.strip().lower() in {"true", "1", "yes"}
    return value is True or read_float(value) not in (None, 0.0)


def read_texts(value: object) -> tuple[str, ...]:
    """Give a list of texts, cleaned, that may come as one text; what is empty is left out."""
    items = value if isinstance(value, list) else [value]
    return tuple(text for text in map(read_words, items) if text)


def read_moment(value: object) -> datetime | None:
    """Give the aware moment of a number of milliseconds since the epoch, else None."""
    number = read_float(value)
    if number is None or number <= 0:
        return None
    try:
        return datetime.fromtimestamp(number / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def read_id(value: object) -> str | None:
    """Give a well-formed job id, else None."""
    text = read_text(value)
    return text if _ID.fullmatch(text) else None


def read_status(value: object) -> Status:
    number = read_int(value)
    return Status(number) if number in (1, 2, 3, 4) else Status.UNKNOWN


def read_progress(value: object) -> int | None:
    number = read_float(value)
    return None if number is None else int(min(max(number, 0), 100))


def read_raw_status(value: object) -> str:
    if type(value) is int and 0 <= value < len(_DIGITS):
        return _DIGITS[value]
    return clean(json.dumps(value) if isinstance(value, dict | list) else repr(value))


def read_url(value: object) -> str:
    text = "".join(filter(str.isprintable, read_text(value))).strip()
    return text if text.lower().startswith(("http://", "https://")) else ""


def read_words(value: object) -> str:
    return clean(read_text(value))


def read_code(value: object) -> str:
    """Give the code of a language; there are few, so each is held once."""
    return _held_once(read_words(value))


@lru_cache(maxsize=512)
def _held_once(code: str) -> str:
    return code


def read_milliseconds(value: object) -> float | None:
    number = read_float(value)
    return None if number is None else number / 1000


def as_mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
