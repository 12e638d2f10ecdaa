"""Which entries a batch has met: 8 bytes each, so that a long catalog does not fill the memory."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from hashlib import blake2b


class Seen:
    """A set of names that only grows.

    A name is kept as 64 bits of its hash. Two names that meet there are taken for one: with a million
    entries the chance is below one in ten million, and what then happens is that one is not submitted.
    """

    def __init__(self) -> None:
        self._marks = array("Q")

    def __len__(self) -> int:
        return len(self._marks)

    def add(self, key: str, target: str) -> bool:
        """Add a name; False when it was there."""
        digest = blake2b(f"{len(key)}:{key}{target}".encode(), digest_size=8).digest()
        mark = int.from_bytes(digest, "big")
        place = bisect_left(self._marks, mark)
        if place < len(self._marks) and self._marks[place] == mark:
            return False
        self._marks.insert(place, mark)
        return True
