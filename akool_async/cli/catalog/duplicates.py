"""The same work in two rows: each would be paid, so it is found before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from akool_async._core.fingerprint import fingerprint, work_of
from akool_async._core.requests import only
from akool_async.cli.catalog.item import Duplicate, Item, OnDuplicate
from akool_async.cli.catalog.place import CatalogWrong, Mistake, Place


def without_duplicates(
    items: Iterable[Item], on_duplicate: OnDuplicate, mistakes: list[Mistake]
) -> tuple[list[Item], list[Duplicate]]:
    """Leave out what asks for the same work twice, or note it as a mistake."""
    finder = _Finder()
    kept: list[Item] = []
    duplicates: list[Duplicate] = []
    for item in items:
        fresh = []
        for target in item.request.targets:
            try:
                first = finder.first(item, target)
            except CatalogWrong as wrong:
                mistakes += wrong.mistakes
                continue
            if first is None:
                fresh.append(target)
            else:
                duplicates.append(Duplicate(item.place, first, target))
        if fresh:
            kept.append(attrs.evolve(item, request=only(item.request, tuple(fresh))))
    if on_duplicate == "refuse":
        mistakes += map(_refused, duplicates)
        duplicates = []
    return kept, duplicates


class _Finder:
    """Knows where each key and each piece of work was met first."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str], tuple[str, Place]] = {}
        self._works: dict[str, Place] = {}

    def first(self, item: Item, target: str) -> Place | None:
        """Give where the same work stood before, None if nowhere.

        Raises:
            CatalogWrong: the key stood before for other work.
        """
        mark = fingerprint(item.request, target)
        known, place = self._keys.setdefault((item.key_for(target), target), (mark, item.place))
        if known != mark:
            text = f"This key names other work in {place}; each row needs a key of its own."
            raise CatalogWrong([Mistake(item.where("key"), text)])
        if place is not item.place:
            return place
        first = self._works.setdefault(work_of(item.request, target), item.place)
        return None if first is item.place else first


def _refused(duplicate: Duplicate) -> Mistake:
    text = (
        f"The same video and options into {duplicate.target!r} stand in {duplicate.first} already; each "
        "would be paid. Take one away, or leave such rows out with --duplicates skip."
    )
    return Mistake(duplicate.place, text)
