"""What the files of a plan's new entries will be called, and which of their results the folder has.

A run settles each name before it pays: the first of an entry's names that neither another entry has nor files
in the folder use. Here the rows come one after another, as in a run, so that both choose the same.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Final

import attrs

from akool_async._batch.saving import LONGEST_ENDING, free_names
from akool_async._journal import Entry
from akool_async._model.errors import DownloadError
from akool_async._model.filenames import MOST_NAMES, collision_key, template_of
from akool_async._model.locations import BucketPath
from akool_async._model.outcomes import MANIFEST
from akool_async._storage import find_paid_result, result_folder
from akool_async.cli.catalog import CatalogItem, names_for

_WITH_HASH: Final = re.compile(rf".*-[0-9a-f]{{8,32}}(?:-\d+)?{re.escape(MANIFEST)}")
"""A manifest of a name that is not the first of its entry."""
_SHORT: Final = 400
"""Bytes of a folder for results that leave room for each name without folders, on disk and in a bucket."""
_IN_JOURNAL: Final = -1
"""Stands for the row of an entry that this catalog, as it is, did not enter."""


@attrs.frozen
class _Contents:
    """What is in a folder: any file at all, and any manifest of a name with a hash."""

    files: bool = True
    with_hash: bool = True


_NOTHING: Final = _Contents(files=False, with_hash=False)


class PlannedNames:
    """Chooses names for the rows of a catalog, in their order.

    Args:
        folder: where the results go; a bucket is looked into by the run alone.
        items: the rows.
        pay_again: whether results that are in the folder are paid for once more.
    """

    def __init__(self, folder: Path, items: Sequence[CatalogItem], *, pay_again: bool) -> None:
        self._items = items
        self._place = folder
        self._pay_again = pay_again
        self._results = cache(partial(result_folder, folder, None))
        # Names of the usual form fit into a short folder, and are not checked one by one.
        self._any_fits = sys.getfilesystemencoding() == "utf-8" and len(os.fsencode(str(folder))) <= _SHORT
        self._contents: dict[str, _Contents] = {}
        self._checked: set[str] = set()
        # By hashes: a long catalog has names by the hundred thousand.
        self._taken: dict[int, int] = {}
        self._renamed = 0
        self._example = ""

    def record(self, entry: Entry) -> None:
        """Record the name of an entry of the journal."""
        if entry.name:
            self._taken[hash(collision_key(entry.name))] = _IN_JOURNAL

    def settle(self, item: CatalogItem, target: str, row: int, found: Entry | None) -> tuple[str, bool]:
        """Return what the files of an entry will be called, if not as its row or the journal says, else "".

        With it comes whether its result is in the folder: another journal paid for it, or this one before it
        was lost, perhaps after the job failed that this one knows. Then the name is that of the result.

        Args:
            item: the entry's row.
            target: its language.
            row: the number of its row.
            found: what the journal has of it.

        Raises:
            ConfigurationError: the job would be paid for, and its result could not be saved under its name.
        """
        first, own = template_of(item.names).name(item.request, target), "" if found is None else found.name
        if not self._pay_again and (name := self._find_paid(item, target, first, own)):
            return name, True
        folder, in_folders, _ = first.rpartition("/")
        is_new = bool(in_folders) and folder not in self._checked
        self._checked.add(folder)
        if is_new or not self._any_fits or len(first.encode()) > _SHORT:
            self._results().check_name(f"{first}{LONGEST_ENDING}")
        if is_new:
            self._results().check_writable(first)
        return "" if own else self._choose(item, target, first, row), False

    def _find_paid(self, item: CatalogItem, target: str, first: str, own: str) -> str:
        contents = self._look(first)
        if isinstance(self._place, BucketPath) or not (contents.files or own):
            return ""
        names: Iterable[str] = [first]
        if contents.with_hash:  # such names take long to make, and most folders have none
            names = islice(template_of(item.names).names(item.request, target), MOST_NAMES)
        results, key = self._results(), item.key_for(target)
        with suppress(DownloadError):  # a manifest that can't be read says nothing; a run stops at it
            result = find_paid_result(
                results,
                names,
                results.lookup(first),
                lambda one: one.is_of(key, target, item.request),
                own=own,
            )
            if result is not None:
                return result.manifest.relative_to(self._place).as_posix().removesuffix(MANIFEST)
        return ""

    def _choose(self, item: CatalogItem, target: str, first: str, row: int) -> str:
        """Return the name that an entry gets instead of its first; "" if that is free."""
        is_there: Callable[[str], bool] = lambda _: False  # noqa: E731
        if self._look(first).files:
            is_there = self._results().lookup(first)
        mark = hash(collision_key(first))
        if mark not in self._taken and next(free_names([first], is_there), None):
            self._taken[mark] = row
            return ""
        others = islice(template_of(item.names).names(item.request, target), 1, MOST_NAMES)
        for name in free_names(others, is_there):
            if hash(collision_key(name)) not in self._taken:
                self._taken[hash(collision_key(name))] = row
                self._renamed += 1
                if not self._example:
                    by = f"{first!r} is taken by {self._owner(mark)}"
                    self._example = f"{item.place}: {by}, so it becomes {name!r}"
                return name
        return ""

    def notes(self) -> Iterator[str]:
        """Yield what to know of names that are taken."""
        if not self._renamed:
            return
        more = f", and {self._renamed - 1:,} more like it" * (self._renamed > 1)
        advice = ""
        if any(item.names != names_for(item.request.key) for item in self._items):
            advice = " Put {key} into --names to tell them apart yourself."
        elif any(item.request.key is None for item in self._items):
            advice = " A key for each row tells them apart."
        yield f"{self._example}{more}.{advice}"

    def _owner(self, mark: int) -> str:
        row = self._taken.get(mark)
        if row is None:
            return f"files in {self._place}"
        return "an entry of the journal" if row == _IN_JOURNAL else str(self._items[row].place)

    def _look(self, name: str) -> _Contents:
        """Return what is in the folder of a name."""
        below = name.rpartition("/")[0]
        if below not in self._contents:
            is_bucket = isinstance(self._place, BucketPath)
            self._contents[below] = _NOTHING if is_bucket else _list(self._place / below)
        return self._contents[below]


def _list(folder: Path) -> _Contents:
    try:
        files = os.listdir(folder)  # noqa: PTH208 - of a folder with very many
    except FileNotFoundError:
        return _NOTHING
    except OSError:  # what can't be listed may hold anything
        return _Contents()
    return _Contents(files=bool(files), with_hash=any(map(_WITH_HASH.fullmatch, files)))
