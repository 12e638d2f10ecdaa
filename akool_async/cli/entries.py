"""A catalog out of the journal's own entries: what is gone on with where no file of videos is at hand."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from akool_async._core.lifecycle import State
from akool_async._core.text import clean
from akool_async._journal import Entry
from akool_async.cli.catalog import Catalog, Item, Place, names_for
from akool_async.cli.doubts import name_of
from akool_async.cli.home import Home
from akool_async.cli.standing import counted
from akool_async.cli.survey import Works
from akool_async.cli.talk import say


async def read_entries(home: Home, states: Collection[State]) -> tuple[list[Entry], Works]:
    """Give the entries in these states, in the order in which they were entered, and what is paid for.

    Raises:
        JournalError: there is no journal, it can't be read, or a run is writing it.
    """
    async with home.reading() as journal:
        if journal.held is not None:
            raise journal.held
        works, found = Works(), []
        async for entry in journal.entries():
            works.learn(entry)
            if entry.state in states:
                found.append(entry)
        return found, works


def sendable(entries: Iterable[Entry], works: Works) -> list[Entry]:
    """Give those that can be sent from the journal alone, and tell of the others.

    Those have a URL that lost its signature, or their work is paid for under another key.
    """
    found = list(entries)
    whole = [entry for entry in found if not entry.stripped]
    if len(whole) < len(found):
        say(
            f"{counted(len(found) - len(whole))} can't be sent from here: their URLs were signed, and the "
            "journal keeps no signatures. Run the catalog again for them."
        )
    return [entry for entry in whole if not _stands_twice(entry, works)]


def _stands_twice(entry: Entry, works: Works) -> bool:
    key = works.stands_as(entry)
    if key:
        say(
            f"{name_of(entry)} is left out: the same work stands in the journal as {clean(key)!r}, "
            "and would be paid again."
        )
    return bool(key)


def catalog_of(home: Home, entries: Iterable[Entry], what: str) -> Catalog:
    """Give a catalog that asks for the entries' own work.

    Args:
        home: where the journal is.
        entries: what is asked for.
        what: that in words.
    """
    place = Place(str(home.path))
    items = tuple(
        Item(request=entry.own_request, names=names_for(entry.request.key), place=place) for entry in entries
    )
    return Catalog(path=home.path, title=f"{home.path}, {what}", rows=len(items), items=items)
