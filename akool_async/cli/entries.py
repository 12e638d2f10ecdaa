"""A catalog out of the journal's own entries: what is gone on with where no file of videos is at hand."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from akool_async._core.lifecycle import State
from akool_async._journal import Entry
from akool_async.cli.catalog import Catalog, Item, Place, names_for
from akool_async.cli.home import Home
from akool_async.cli.standing import counted
from akool_async.cli.talk import say


async def read_entries(home: Home, states: Collection[State]) -> list[Entry]:
    """Give the entries in these states, in the order in which they were entered.

    Raises:
        JournalError: there is no journal, it can't be read, or a run is writing it.
    """
    async with home.reading() as journal:
        if journal.held is not None:
            raise journal.held
        return [entry async for entry in journal.entries(states=states)]


def sendable(entries: Iterable[Entry]) -> list[Entry]:
    """Give those that can be sent from the journal alone; tell of those whose URL lost its signature."""
    found = list(entries)
    whole = [entry for entry in found if not entry.stripped]
    if len(whole) < len(found):
        say(
            f"{counted(len(found) - len(whole))} can't be sent from here: their URLs were signed, and the "
            "journal keeps no signatures. Run the catalog again for them."
        )
    return whole


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
