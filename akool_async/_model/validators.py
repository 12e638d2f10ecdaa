"""Constraints of fields and arguments. A setting that is out of its range raises `ConfigurationError`."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable
from datetime import datetime
from inspect import iscoroutinefunction
from typing import Any, Final

import attrs

from akool_async._model.errors import ConfigurationError
from akool_async._model.redact import safe_repr

JOINERS: Final = "\u200c\u200d"


def is_number(value: object) -> bool:
    """Whether a value is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number too large for a float
        return False


def is_encodable(text: str) -> bool:
    """Whether a text has a UTF-8 form; a lone surrogate, as from an escape in JSON, has none."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def joins(text: str, position: int, categories: str = "LMS") -> bool:
    """Whether the character at `position` is a ZWJ or ZWNJ between letters, marks or symbols such as emoji.

    There it is a part of the word, as in Persian; elsewhere it is only invisible.
    """
    if text[position] not in JOINERS or not 0 < position < len(text) - 1:
        return False
    neighbours = text[position - 1], text[position + 1]
    return all(unicodedata.category(char)[0] in categories for char in neighbours)


def is_printable(text: str) -> bool:
    """Whether a text has printable characters alone, among them ZWJ and ZWNJ where they join."""
    return text.isprintable() or all(
        char.isprintable() or joins(text, position) for position, char in enumerate(text)
    )


@attrs.frozen
class Constraint:
    """What a value must be: the validator of a field, and by `check` that of an argument.

    Attributes:
        expected: what the value must be, in the words of the error.
    """

    expected: str
    holds: Callable[[Any], object]

    @property
    def or_none(self) -> Constraint:
        """The constraint of a value that may be None, too."""
        return Constraint(f"None or {self.expected}", lambda value: value is None or self.holds(value))

    def __call__(self, _: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        """Check the value of a field."""
        self.check(attribute.name, value)

    def check(self, name: str, value: Any) -> None:
        """Raise the error unless the value of an argument is as expected."""
        if not self.holds(value):
            raise ConfigurationError(f"{name} must be {self.expected}, not {safe_repr(value)}.")


def instance_of(expected: str, *kinds: type) -> Constraint:
    """Make the constraint of an object of certain classes."""
    return Constraint(expected, lambda value: isinstance(value, kinds))


def implements(expected: str, *methods: str) -> Constraint:
    """Make the constraint of an object, not a class, that has these methods, none of them async."""

    def holds(value: Any) -> bool:
        found = [getattr(value, name, None) for name in methods]
        return not isinstance(value, type) and all(
            callable(method) and not iscoroutinefunction(method) for method in found
        )

    return Constraint(expected, holds)


def returns(expected: str, holds: Callable[[Any], object]) -> Constraint:
    """Make the constraint of a function, neither a class nor async, by what it returns when it is called."""

    def returns_it(value: Any) -> bool:
        is_function = callable(value) and not isinstance(value, type) and not iscoroutinefunction(value)
        return is_function and bool(holds(value()))

    return Constraint(expected, returns_it)


def one_of(*values: str) -> Constraint:
    """Make the constraint of a text that is one of a few."""
    shown = " or ".join(map(repr, values)) if len(values) < 3 else f"one of {', '.join(map(repr, values))}"
    return Constraint(shown, values.__contains__)


def in_range(expected: str, holds: Callable[[Any], bool]) -> Constraint:
    """Make the constraint of a finite number."""
    return Constraint(expected, lambda value: is_number(value) and holds(value))


def whole_number_from(least: int) -> Constraint:
    """Make the constraint of a whole number of `least` or more."""
    return in_range(
        f"a whole number of {least} or more", lambda value: isinstance(value, int) and value >= least
    )


positive: Final = in_range("a positive number", lambda value: value > 0)
not_negative: Final = in_range("a number of 0 or more", lambda value: value >= 0)
at_least_one: Final = in_range("a number of 1 or more", lambda value: value >= 1)
whole_number: Final = whole_number_from(1)

share: Final = in_range("above 0 and at most 1", lambda value: 0 < value <= 1)
fraction: Final = in_range("0 or more and below 1", lambda value: 0 <= value < 1)

portion: Final = in_range("a number from 0 to 1", lambda value: 0 <= value <= 1)

boolean: Final = Constraint("True or False", lambda value: isinstance(value, bool))
text: Final = Constraint("text", lambda value: isinstance(value, str))
some_text: Final = Constraint("text that is not empty", lambda value: isinstance(value, str) and value)
file_path: Final = Constraint(
    "text or a path, without NUL characters",
    lambda value: (isinstance(value, str) or hasattr(value, "__fspath__")) and "\0" not in str(value),
)

wall_clock: Final = returns(
    "a function that returns an aware datetime, as lambda: datetime.now(UTC)",
    lambda moment: isinstance(moment, datetime) and moment.utcoffset() is not None,
)
unix_clock: Final = returns("a function that returns seconds since 1970, as time.time", is_number)


def as_texts(texts: str | Iterable[str]) -> tuple[str, ...]:
    """Return texts in their order; one alone is one of them, not its letters."""
    return (texts,) if isinstance(texts, str) else tuple(texts)


def as_text_set(texts: str | Iterable[str]) -> frozenset[str]:
    """Return texts without an order, likewise."""
    return frozenset(as_texts(texts))


def seconds_field(default: float) -> float:
    return attrs.field(default=default, validator=positive)
