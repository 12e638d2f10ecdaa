"""Text from strangers, read in one way only: UTF-8, JSON without repeats, base64 of one spelling.

Whatever is not exactly that is refused, so that two readers can't see two things in one body.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from akool_async._core.sealed.refusal import UnsealError, UnsealReason

_Found = TypeVar("_Found")


class Number(str):
    """A JSON number as it was written: the vendor signs that text, not its value."""

    __slots__ = ()


def json_object(text: bytes, reason: UnsealReason) -> dict[str, Any]:
    """Parse strictly: UTF-8, one object, no key twice, no NaN; numbers come back as they were written.

    Raises:
        UnsealError: with `reason`, if it is anything else.
    """
    try:
        parsed = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_without_repeats,
            parse_constant=_refuse_constant,
            parse_float=Number,
            parse_int=Number,
        )
    except (ValueError, RecursionError):
        # Refused below, outside of this block: the cause carries the whole text, a result's URL with it.
        parsed = None
    if not isinstance(parsed, dict):
        raise UnsealError(reason)
    return parsed


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key stands twice in one JSON object")
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def encodable(text: str) -> bool:
    """Whether the text has a UTF-8 form; a lone surrogate from a JSON escape has none."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def text_of(value: object) -> str | None:
    """Give text that can be encoded, else None."""
    if isinstance(value, str) and not isinstance(value, Number) and encodable(value):
        return value
    return None


def text_or_number(value: object) -> str | None:
    """Give text, or a number as it was written, else None."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**64:
        return str(value)
    return text_of(value)


def some_text(value: object) -> str | None:
    """Give text that is not empty, else None."""
    return text_of(value) or None


def whole_number(value: object) -> int | None:
    """Read a number or a numeric text; fractions are cut, anything else counts as absent."""
    if not isinstance(value, str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if math.isfinite(number) and abs(number) < 2**53 else None


def first(fields: Mapping[str, Any], read: Callable[[object], _Found | None], *names: str) -> _Found | None:
    """The first of several spellings of a field that can be read."""
    return next((found for name in names if (found := read(fields.get(name))) is not None), None)


def strict_base64(text: str) -> bytes:
    """Decode base64 of which there is exactly one spelling, so that a message can't be re-spelled.

    Raises:
        UnsealError: it is none, or another spelling.
    """
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if not decoded or base64.b64encode(decoded).decode("ascii") != text:
        raise UnsealError("malformed")
    return decoded
