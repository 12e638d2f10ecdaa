"""What the files of an entry are called: the same in every run, and never the same for two entries."""

from __future__ import annotations

import re
from typing import Final

from akool_async._core.fingerprint import fingerprint
from akool_async._core.names import safe, stem_of
from akool_async._core.requests import Request

_PLAIN: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")


def name_of(request: Request, target: str) -> str:
    """Give the name of an entry's files, without ending.

    A plain key (lower-case letters, digits, "-" and "_") is the name. Else the key's or the video's
    name gets a part of the fingerprint, so that two that look alike do not meet.
    """
    language = target or "lipsync"
    if request.key is not None and _PLAIN.fullmatch(request.key):
        return f"{request.key}.{language}"
    stem = (stem_of(request) if request.key is None else safe(request.key))[:60]
    return f"{stem}-{fingerprint(request, target)[:12]}.{language}"
