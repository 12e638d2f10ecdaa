"""Validators for the numbers of settings: a value out of its range raises `ConfigurationError`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import attrs

from akool_async._model.errors import ConfigurationError
from akool_async._model.redact import safe_repr


def is_number(value: object) -> bool:
    """Whether a value is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number too large for a float
        return False


Check = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def in_range(be: str, holds: Callable[[Any], bool]) -> Check:
    """Make the validator of a number's range."""

    def check(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not (is_number(value) and holds(value)):
            raise ConfigurationError(f"{attribute.name} must be {be}, not {safe_repr(value)}.")

    return check


positive: Final = in_range("a positive number", lambda value: value > 0)
at_least_one: Final = in_range("a number of 1 or more", lambda value: value >= 1)
whole_number: Final = in_range(
    "a whole number of 1 or more", lambda value: isinstance(value, int) and value >= 1
)

share: Final = in_range("above 0 and at most 1", lambda value: 0 < value <= 1)
fraction: Final = in_range("0 or more and below 1", lambda value: 0 <= value < 1)


def seconds_field(default: float) -> float:
    return attrs.field(default=default, validator=positive)
