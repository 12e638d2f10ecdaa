"""How a translation with corrected subtitles is linked to the first one: by its key.

The journal needs no field of its own for it: `talk.captions-2` is the second translation of `talk` if the
journal has a `talk` of the same video in the same language, and the request names subtitles.
"""

from __future__ import annotations

import re
from typing import Final

from akool_async._journal import Entry, Journal
from akool_async._model.requests import TranslationRequest

_VERSION: Final = re.compile(r"(.+)\.captions-([1-9]\d{0,3})")


def version_key(key: str, number: int) -> str:
    """Return the key of a translation with corrected subtitles; the first such has number 2."""
    return f"{key}.captions-{number}"


def first_version(entry: Entry, journal: Journal) -> tuple[str, int]:
    """Return the key of the first translation and which one this is: 1 for a first one."""
    found = _VERSION.fullmatch(entry.key)
    request = entry.request
    # A key that only looks like this was chosen by its owner.
    if found is None or not isinstance(request, TranslationRequest) or request.caption_url is None:
        return entry.key, 1
    first = journal.get(found[1], entry.target)
    if first is None or not isinstance(first.request, TranslationRequest) or first.request.url != request.url:
        return entry.key, 1
    return first.key, int(found[2])
