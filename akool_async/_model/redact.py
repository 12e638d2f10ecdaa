"""Texts from outside, made safe to show: no control characters, no secrets, no signed queries.

Whatever the vendor or a URL contributes to a log, an error or a repr passes here first.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import urlsplit

LONGEST = 300
"""Characters of a remote text that are shown."""

_MOST_READ = 16_384
_HIDDEN = "[redacted]"
_SHORTEST_SECRET = 4


def sanitize(remote: object, *, secrets: Iterable[str] = ()) -> str:
    """Return `remote` as one short printable line.

    Control, format and surrogate characters go, white space is folded, each of `secrets` is
    replaced, also where such characters or white space split it, and what is longer than 300
    characters is cut.
    """
    if remote is None or remote == "":
        return ""
    text = str(remote)[:_MOST_READ]
    if not text.isprintable():
        text = "".join(" " if char.isspace() else char for char in text if _shows(char))
    folded = redact(" ".join(text.split()), secrets)
    return folded if len(folded) <= LONGEST else folded[: LONGEST - 1] + "…"


def safe_repr(value: object) -> str:
    """Return the repr of a refused value as one short printable line."""
    try:
        return sanitize(repr(value))
    except (ValueError, RecursionError):  # a number of too many digits, lists within lists
        return f"a value of type {type(value).__name__} that can't be shown"


def _shows(char: str) -> bool:
    return char.isspace() or unicodedata.category(char)[0] != "C"


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace each secret in `text`; secrets shorter than 4 characters are taken for placeholders.

    White space inside a secret may differ: a line that was folded may have broken it.
    """
    for secret in sorted(("".join(secret.split()) for secret in secrets), key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = re.sub(r"\s*".join(map(re.escape, secret)), _HIDDEN, text)
    return text


def strip_query(url: str) -> str:
    """Return `url` without user, query and fragment: what may be logged of a signed URL."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "[not a URL]"
    hidden = "?…" if parts.query else ""
    path = parts.path if parts.netloc else parts.path.rpartition("@")[2]
    return f"{parts.scheme}://{host}{path}{hidden}" if parts.scheme else f"{path}{hidden}"


def url_repr(url: object) -> str:
    """Return the repr of a URL field, without what signs it."""
    return repr(strip_query(url)) if isinstance(url, str) else repr(url)
