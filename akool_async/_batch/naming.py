"""What the files of an entry are called: settled before money is spent, and the same in every run.

The template makes names, the journal holds each for one entry, the folder tells which are taken by others.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import attrs
from anyio.to_thread import run_sync

from akool_async._batch.flight import Flight
from akool_async._core.artifacts import ENDINGS, SIDE_FILE
from akool_async._core.fingerprint import key_of
from akool_async._core.names import Names
from akool_async._core.requests import Request
from akool_async._journal import Journal

_OFFERED: Final = 5
"""Names that the journal may choose from: all but the first hold a part of a hash of the entry."""

_WHOLE: Final = (*ENDINGS.values(), SIDE_FILE)
_BEGUN: Final = tuple(f"{ending}.part" for ending in ENDINGS.values())


@attrs.frozen(kw_only=True)
class Home:
    """Where results go.

    Attributes:
        folder: None leaves them at the vendor.
        names: how their names are made.
        captionless: whether the video without burnt-in captions is brought home too.
    """

    folder: Path | None
    names: Names
    captionless: bool = False


class Naming:
    """Names for a batch.

    Args:
        home: where the files go, and how names are made.
        journal: who holds which name.
    """

    def __init__(self, home: Home, journal: Journal) -> None:
        self._template = home.names
        self._folder = home.folder
        self._journal = journal

    async def offered(self, request: Request) -> dict[tuple[str, str], tuple[str, ...]]:
        """Give for each entry of a request the names that it may get, none where nothing is brought home."""
        if self._folder is None:
            return {}
        names = await run_sync(partial(self._free, request, self._folder))
        return {(key_of(request, target), target): found for target, found in names.items()}

    def _free(self, request: Request, folder: Path, *, begun: bool = False) -> dict[str, tuple[str, ...]]:
        """Look which names are not taken by files that stand there, or are `begun`."""
        endings = (*_WHOLE, *_BEGUN) if begun else _WHOLE
        found = {}
        for target in request.targets:
            names = self._template.names(request, target)
            free = (name for name in names if not _is_taken(folder, name, endings))
            found[target] = tuple(islice(free, _OFFERED))
        return found

    async def stem(self, flight: Flight, *, another: bool = False) -> Path:
        """Give folder and name of an entry's files; an entry that holds no name is given one.

        Args:
            flight: the entry.
            another: whether the name that it holds turned out to be somebody else's, who may be just
                bringing files of this name home.

        Raises:
            JournalError: it can't be recorded.
        """
        assert self._folder is not None  # noqa: S101 - there is something to bring home
        entry = self._journal.get(flight.key, flight.target)
        if entry is None or not entry.name or another:
            names = await run_sync(partial(self._free, flight.request, self._folder, begun=another))
            await self._journal.claim(flight.key, flight.target, names[flight.target], another=another)
            entry = self._journal.get(flight.key, flight.target)
        assert entry is not None  # noqa: S101 - it was just written
        return self._folder / entry.name


def _is_taken(folder: Path, name: str, endings: Iterable[str]) -> bool:
    return any(os.path.lexists(folder / f"{name}{ending}") for ending in endings)
