"""Names that were seen, kept small: a catalog may be longer than what fits into memory."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

_GROUPS: Final = 4096
_MARK: Final = 5
"""Bytes that are kept of a name; the group that it is in says 12 bits more."""


class Seen:
    """A set of names that only grows, by 5 bytes each.

    A name is kept as 52 bits of its hash. Two names that meet there are taken for one: with a hundred
    thousand entries the chance is one in a million, with a million one in nine thousand. What then
    happens is that one is not submitted and says so.
    """

    def __init__(self) -> None:
        self._groups = [b""] * _GROUPS
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, key: str, target: str) -> bool:
        """Add a name; False when it was there."""
        digest = blake2b(f"{len(key)}:{key}{target}".encode(), digest_size=_MARK + 2).digest()
        number, mark = int.from_bytes(digest[:2], "big") % _GROUPS, digest[2:]
        group = self._groups[number]
        if _holds(group, mark):
            return False
        self._groups[number] = group + mark
        self._count += 1
        return True


def _holds(group: bytes, mark: bytes) -> bool:
    """Whether a mark stands in a group, at a place where marks begin."""
    place = group.find(mark)
    while place % _MARK and place >= 0:
        place = group.find(mark, place + 1)
    return place >= 0
