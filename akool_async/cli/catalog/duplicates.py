"""Find rows that ask for the same work, or use one key for two works, before any of them is paid for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from akool_async._model.fingerprint import canonical_url, fingerprint, work_of
from akool_async._model.requests import with_targets
from akool_async.cli.catalog.model import (
    CatalogItem,
    Duplicate,
    Issue,
    OnDuplicate,
    SourceLocation,
)


def without_duplicates(
    items: list[CatalogItem], on_duplicate: OnDuplicate, mistakes: list[Issue]
) -> tuple[list[CatalogItem], list[Duplicate]]:
    """Leave out rows that repeat work, or note them as mistakes: each would be paid."""
    finder = _Finder()
    kept: list[CatalogItem] = []
    duplicates: list[Duplicate] = []
    suspects = _repeated_marks(items)
    for item in items:
        if suspects.isdisjoint(_marks(item)):
            kept.append(item)
            continue
        other = finder.other_video(item)
        if other is not None:
            # Also with other languages: captions and the report know a video by its key.
            text = f"This key names another video in {other}; each video needs a key of its own."
            mistakes.append(Issue(item.where("key"), text))
            continue
        fresh = []
        for target in item.request.targets:
            first = finder.first(item, target)
            if first is None:
                fresh.append(target)
            elif isinstance(first, Issue):
                mistakes.append(first)
            else:
                duplicates.append(Duplicate(item.place, first, target))
        if fresh:
            kept.append(attrs.evolve(item, request=with_targets(item.request, tuple(fresh))))
    if on_duplicate == "refuse":
        for duplicate in duplicates:
            into = f"into {duplicate.target!r}" if duplicate.target else "for a lip-sync"
            text = (
                f"The same video and options {into} are in {duplicate.first} already; "
                "each would be paid. Remove one, or leave such rows out with --duplicates skip."
            )
            mistakes.append(Issue(duplicate.place, text))
        duplicates = []
    return kept, duplicates


_BITS: Final = 25
"""Marks are kept as bits of 4 MiB. Two that meet there make an item slower to judge, and nothing else."""
_ALL_BITS: Final = (1 << _BITS) - 1


def _marks(item: CatalogItem) -> tuple[int, ...]:
    """Return hashes, of which an item shares one with every item that has its key or may ask for its work."""
    # Coarser than a fingerprint, and 20 times cheaper: hosts, users, queries and options do not count.
    place = item.url.partition("?")[0].partition("#")[0].partition("://")[2].rpartition("@")[2]
    work = hash(place.lower().rstrip("/")) & _ALL_BITS
    return (work,) if item.request.key is None else (work, hash((item.request.key, "key")) & _ALL_BITS)


def _repeated_marks(items: Iterable[CatalogItem]) -> set[int]:
    seen = bytearray(1 << _BITS - 3)
    repeated: set[int] = set()
    for item in items:
        for mark in _marks(item):
            place, bit = mark >> 3, 1 << (mark & 7)
            if seen[place] & bit:
                repeated.add(mark)
            seen[place] |= bit
    return repeated


class _Finder:
    """Remember where each key and each piece of work occurred first."""

    def __init__(self) -> None:
        self._videos: dict[str, tuple[str, SourceLocation]] = {}
        self._keys: dict[tuple[str, str], tuple[str, SourceLocation]] = {}
        self._works: dict[str, SourceLocation] = {}
        self._unkeyed: dict[tuple[str, str], tuple[str, SourceLocation]] = {}

    def other_video(self, item: CatalogItem) -> SourceLocation | None:
        """Return where the key of an item was used before for another video, or None."""
        if item.request.key is None:
            return None
        url = canonical_url(item.url)
        if not item.request.url_is_public:  # a query may only sign the URL, and a key says enough
            url = url.partition("?")[0]
        known, place = self._videos.setdefault(item.request.key, (url, item.place))
        return None if known == url else place

    def first(self, item: CatalogItem, target: str) -> SourceLocation | Issue | None:
        """Return where the same work occurred before, if it did; or what is wrong with the key or the URL."""
        mark = fingerprint(item.request, target)
        known, place = self._keys.setdefault((item.key_for(target), target), (mark, item.place))
        if work_of(known) != work_of(mark):
            text = f"This key names other work in {place}; each row needs a key of its own."
            return Issue(item.where("key"), text)
        # The same key in two rows with the same work is a duplicate; with other work it is a mistake above.
        if place != item.place:
            return place
        # The same work under two keys would be paid twice.
        first = self._works.setdefault(mark, item.place)
        if first != item.place:
            return first
        if not item.request.key and not item.request.url_is_public:
            other, of = self._unkeyed.setdefault((work_of(mark), target), (mark, item.place))
            if other != mark:
                text = (
                    f"Its URL differs from {of} in the query only: one video signed twice, or two videos? "
                    "Give each video a key, or set url_is_public where the query names the video."
                )
                return Issue(item.where("url"), text)
        return None
