"""What a catalog holds once it is read: requests, and where each of them stands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import attrs

from akool_async._core.fingerprint import key_of
from akool_async._core.requests import Request, video_of
from akool_async.cli.catalog.place import Place

OnDuplicate: TypeAlias = Literal["refuse", "skip"]


def names_for(key: str | None) -> str:
    """Give the template of names for a request with this key."""
    return "{stem}.{language}" if key is None else "{key}.{language}"


@attrs.frozen(kw_only=True)
class Item:
    """One request and where it comes from.

    Attributes:
        request: for one or several languages.
        names: template of its files' names.
        place: its row.
        places: where its options stand, by option.
    """

    request: Request
    names: str
    place: Place
    places: Mapping[str, Place] = attrs.field(factory=dict)

    @property
    def url(self) -> str:
        """The video's URL."""
        return video_of(self.request)

    def key_for(self, target: str) -> str:
        """Give the name under which a journal keeps one of its languages."""
        return key_of(self.request, target)

    def where(self, option: str) -> Place:
        """Give where an option stands; the row where it comes from the defaults."""
        return self.places.get(option, self.place)


@attrs.frozen
class Duplicate:
    """A row's language that was left out, because another row asks for the same.

    Attributes:
        place: what was left out.
        first: what it repeats.
        target: the language.
    """

    place: Place
    first: Place
    target: str


@attrs.frozen(kw_only=True)
class Catalog:
    """What a file asks for.

    Attributes:
        path: the file.
        title: what it is called in words; default is its path and how many rows it has.
        rows: how many rows it has.
        items: what is to be done; a row whose languages have different glossaries makes several.
        duplicates: what was left out.
    """

    path: Path
    title: str = ""
    rows: int
    items: tuple[Item, ...] = attrs.field(repr=False)
    duplicates: tuple[Duplicate, ...] = ()
