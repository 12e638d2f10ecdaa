"""Say by which options a row of a catalog asks for other work than the journal has under its key."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from glob import escape
from typing import Any, Final

import attrs

from akool_async._journal import Entry, Journal
from akool_async._model.fingerprint import differing_fields, moved_input
from akool_async._model.locations import Location, is_private
from akool_async._model.redact import safe_repr, sanitize, strip_query
from akool_async._model.requests import URL_FIELDS, Request, TranslationRequest, private_inputs
from akool_async._model.states import State
from akool_async.cli.catalog import CatalogItem, Issue
from akool_async.cli.catalog_options import flag_of

PAID: Final = frozenset({State.SUBMITTING, State.SUBMITTED, State.COMPLETED, State.DELIVERED, State.IN_DOUBT})
"""States in which an entry is, or may be, paid for."""

_LONG: Final = 80
"""Characters of the longest value of an option that is shown."""


def what_differs(known: Entry, item: CatalogItem, target: str) -> str:
    """Return each option of a row with its earlier value and the one that it has now."""
    before, now = known.request, item.request
    if type(before) is not type(now):
        return "one is a lip-sync of an audio file, the other a translation"
    parts: list[str] = []
    for name in differing_fields(before, now, target):
        then, given = _shown(before, name, target), _shown(now, name, target)
        called = item.layout.options.get(name) or flag_of(name) or name
        if (moved := moved_input(before, now)) and name in private_inputs(now):
            parts.append(f"{called} was {moved[0]} and is {moved[1]} now, with the same content")
        elif then is None or given is None or then == given:
            parts.append(f"{called} differs")
        else:
            parts.append(f"{called} was {then} and is {given} now")
    return "; ".join(parts) or "the query of a URL differs"


def _shown(request: Request, name: str, target: str) -> str | None:
    """Return the value of an option, or None if it is too long to be read in a message."""
    value: Any = getattr(request, name)
    if name == "voices_map":
        value = value.get(target)
    if name in URL_FIELDS and value:
        return sanitize(Location.parse(value) if is_private(value) else strip_query(value))
    if not value or value == attrs.fields_dict(type(request))[name].default:
        return "not set"
    if isinstance(value, bool):
        return "set"
    if isinstance(value, enum.Enum):
        return value.name.lower()
    shown = safe_repr(value)
    return None if len(shown) > _LONG or isinstance(value, tuple | dict) else shown


def other_work(item: CatalogItem, targets: Sequence[str], difference: str) -> Issue:
    """Return the mistake of a row whose key names other work in the journal.

    The free remedy comes first: with an option forgotten, the others pay for the whole catalog again.
    """
    text = (
        f"In the journal this key names other work{into(targets)}: {difference}. Set that as it was, and "
        "nothing is paid again; under another key, or with another --out, it is paid for as a new job."
    )
    return Issue(item.where("key"), text)


async def other_video(item: CatalogItem, targets: Sequence[str], journal: Journal) -> Issue:
    """Return the mistake of a row whose key names another video in the journal, in other languages."""
    named = ""
    async for entry in journal.entries(key=escape(item.request.key or "")):
        if entry.state in PAID:
            field = "url" if isinstance(entry.request, TranslationRequest) else "video_url"
            named = f" ({_shown(entry.request, field, entry.target)}{into([entry.target])})"
            break
    text = (
        f"In the journal this key names another video{named} than here{into(targets)}; captions and the "
        "report would take them for one. If it is the same video, write its URL as it was; another video "
        "needs another key, and is paid for under it."
    )
    return Issue(item.where("key"), text)


def into(targets: Sequence[str]) -> str:
    """Return languages as a part of a sentence; "" for a lip-sync."""
    shown = ", ".join(repr(target) for target in targets if target)
    return f" into {shown}" if shown else ""
