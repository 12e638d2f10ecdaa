"""Journals near a catalog or its results that know of what a run with another journal would pay for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

from akool_async._journal import open_journal
from akool_async._journal.names import beside
from akool_async._model.errors import AkoolError
from akool_async._model.fingerprint import fingerprint
from akool_async._model.locations import BucketPath
from akool_async._model.requests import Request
from akool_async.cli.options import JOURNAL, OutputOptions
from akool_async.cli.other_work import PAID

_MOST: Final = 20
"""Journals that are looked into, at most."""


async def find_paid_elsewhere(
    output: OutputOptions, catalog: Path, wanted: Sequence[tuple[Request, str]]
) -> Path | None:
    """Return another journal in which one of these entries is, or may be, paid for."""
    for place in islice(_near(output, catalog), _MOST):
        with suppress(AkoolError, OSError):  # it is damaged, or of another version: it tells nothing
            async with open_journal(place, read_only=True) as journal:
                for request, target in wanted:
                    entry = journal.find_work(fingerprint(request, target), target, "", any_query=False)
                    if entry is not None and entry.state in PAID:
                        return place
    return None


def journal_beside(output: OutputOptions) -> Path | None:
    """Return the journal in the folder of the results where a run uses another one, if it is there."""
    place = output.local / JOURNAL
    own = isinstance(output.out, BucketPath) or place.absolute() == output.path.absolute()
    return None if own or not place.is_file() else place


def _near(output: OutputOptions, catalog: Path) -> Iterator[Path]:
    """Return journals in the folder of the results, beside the catalog, and in the folders there."""
    seen = {output.path.absolute()}
    for folder in dict.fromkeys((output.local, catalog.parent, Path())):
        with suppress(OSError):
            for place in (*folder.glob("*.sqlite3"), *folder.glob(f"*/{JOURNAL}")):
                # Only a journal has a lock beside it; a backup is older than what it was made of.
                if place.absolute() not in seen and beside(place, ".lock").exists():
                    seen.add(place.absolute())
                    yield place
