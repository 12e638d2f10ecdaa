"""One caller's wish, as the writer sees it: each step checks, then writes, all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import attrs

from akool_async._core.requests import Request
from akool_async._core.text import clean
from akool_async._journal import codec
from akool_async._journal.table import SqlValue, Table


class Step(Protocol):
    """One caller's wish."""

    @property
    def several(self) -> bool:
        """Whether it may write more than once, so that it needs a way back."""
        ...

    def __call__(self, table: Table) -> Any:
        """Do it inside a transaction; what is raised fails this caller alone.

        Raises:
            JournalRefused: the entry's state does not allow it.
        """
        ...


@attrs.frozen
class Nothing:
    """No wish; when it is done, so is all that was handed in before it."""

    several: bool = False

    def __call__(self, table: Table) -> None:
        """Write nothing."""


Undo: TypeAlias = Callable[[Table], None]
"""Takes a committed step back, for a caller that was cancelled before it learned of it."""


def named(key: str, target: str) -> str:
    """Give an entry's name as errors show it."""
    return f"{clean(key)} ({target})" if target else clean(key)


def wanted_columns(request: Request, mark: str) -> dict[str, SqlValue]:
    """Give the columns that say what was asked for."""
    return {
        "fingerprint": mark,
        "request": codec.write_request(request),
        "stripped": int(codec.is_stripped(request)),
    }
