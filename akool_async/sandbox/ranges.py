"""Range and If-Range as RFC 9110 has them, for one range of bytes.

Pure: header values and a length in, a span or a verdict out. Several ranges at once are ignored, as
a server may.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

__all__ = ["Span", "Unsatisfiable", "span_of"]

_SINGLE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)


class Unsatisfiable(ValueError):
    """The range lies outside of the file."""


@attrs.frozen
class Span:
    """The bytes from `first` up to and including `last`."""

    first: int
    last: int

    def content_range(self, length: int) -> bytes:
        """Return the Content-Range header's value."""
        return f"bytes {self.first}-{self.last}/{length}".encode()


def span_of(
    wanted: str | None, condition: str | None, *, length: int, etag: str, modified: str
) -> Span | None:
    """Return the span to send, None for the whole file.

    Args:
        wanted: The Range header, if any.
        condition: The If-Range header, if any.
        length: The file's length in bytes.
        etag: The file's strong ETag, with its quotes.
        modified: The file's Last-Modified.

    Raises:
        Unsatisfiable: The range lies outside of the file.
    """
    match = _SINGLE.fullmatch(wanted.strip()) if wanted else None
    if match is None or match.group(0) == "bytes=-":
        return None
    if condition is not None and condition.strip() not in {etag, modified}:
        return None
    first, last = match.groups()
    if first and last and int(first) > int(last):
        return None
    return _within(first, last, length)


def _within(first: str, last: str, length: int) -> Span:
    if not first:
        if int(last) == 0 or length == 0:
            raise Unsatisfiable("an empty suffix")
        return Span(max(0, length - int(last)), length - 1)
    if int(first) >= length:
        raise Unsatisfiable("begins behind the end")
    return Span(int(first), min(int(last), length - 1) if last else length - 1)
