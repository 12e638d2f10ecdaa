"""Whether a journal's file is as it was closed, so that it need not be looked through from end to end."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Final, Self

import attrs

_AGE: Final = 1_000_000_000
"""Nanoseconds by which a file that is closed is marked older than it is."""


@attrs.frozen
class FileStatus:
    """What changes with each write to a file, and when it is replaced or restored; not what is in it.

    Attributes:
        device: the disk.
        inode: the file on that disk.
        size: bytes.
        modified: nanoseconds since 1970.
        changed: the same; unlike `modified` it can't be set, except on Windows, where it is the creation.
    """

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """Return a file's state as it is now."""
        return cls.from_stat(path.stat())

    @classmethod
    def from_stat(cls, found: os.stat_result) -> Self:
        """Return what the system says of a file as its state."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    @classmethod
    def from_json(cls, stored: object) -> Self | None:
        """Return the state that was written as a list; None for anything else."""
        match stored:
            case [int(), int(), int(), int(), int()] as numbers:
                return cls(*numbers)
        return None

    @property
    def as_json(self) -> tuple[Any, ...]:
        """The state as it is written."""
        return attrs.astuple(self)


def mark_closed(path: Path) -> FileStatus | None:
    """Return the state of a file that is closed, marked so that each later write shows; None if it can't.

    The clock of a file system moves in steps of milliseconds: a write right after the last could leave all
    times as they are. So the file is given a time in the past, which no write gives it.
    """
    past = (time.time_ns() - _AGE) // 1000 * 1000  # a file system that counts microseconds keeps it
    os.utime(path, ns=(past, past))
    state = FileStatus.of_file(path)
    return state if state.modified == past else None
