"""What the head of a file host's answer means for a file of which a part is here: pure rules of ranges."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

import attrs

from akool_async._model.errors import DownloadError

_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
_OUTSIDE: Final = re.compile(r"bytes \*/(\d{1,19})", re.ASCII)
_STRONG: Final = re.compile(r'"[\x21\x23-\x7e]*"')
_AGAIN: Final = frozenset({408, 425, 429})


class InvalidContentError(DownloadError):
    """What came whole is not what it should be."""


class RetryableResponse(Exception):
    """This answer can't be used; another try may bring a better one.

    Attributes:
        reason: in words.
        start_over: whether what is here is of no use any more.
        wrong: whether it came whole and is something else.
        http_status: of the answer.
        retry_after: seconds that the host asked for.
    """

    def __init__(
        self,
        reason: str,
        *,
        start_over: bool = False,
        wrong: bool = False,
        http_status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.start_over = start_over
        self.wrong = wrong
        self.http_status = http_status
        self.retry_after = retry_after


@attrs.frozen
class Restart:
    """The whole file comes, from its first byte.

    Attributes:
        length: its bytes, None where the host does not say.
        etag: its strong ETag, or "".
    """

    length: int | None
    etag: str


@attrs.frozen
class Continue:
    """The file goes on where the part ends.

    Attributes:
        until: where this piece ends.
        length: bytes of the whole file, None where the host does not say.
    """

    until: int
    length: int | None


@attrs.frozen
class Complete:
    """There is no byte after those that are here."""


Head: TypeAlias = Restart | Continue | Complete


def read_head(status: int, headers: Mapping[str, str], *, have: int, etag: str, length: int | None) -> Head:
    """Give what to do with the body.

    Args:
        status: HTTP status.
        headers: names in lower case.
        have: bytes that are here; what was asked for begins there.
        etag: the strong ETag of what is here, or "".
        length: bytes of the whole file, as far as known.

    Raises:
        Unusable: another try may help.
        DownloadError: it won't.
    """
    if status == 416 and have:
        return _unsatisfied(headers, have)
    if status not in (200, 206):
        raise _refused(status, headers)
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise RetryableResponse("the file host compressed the file, though it was asked not to")
    if have and headers.get("content-type", "").partition(";")[0].strip().lower() == "text/html":
        # Without a part to be lost the content decides: hosts are wrong about types.
        raise RetryableResponse("the file host sent a page instead of the file")
    if status == 206:
        return _partial(headers, have=have, etag=etag, length=length)
    return Restart(_length(headers), strong_etag(headers.get("etag", "")))


def strong_etag(etag: str) -> str:
    """Give `etag` if it promises the same bytes, else ""."""
    text = etag.strip()
    return text if _STRONG.fullmatch(text) and text != '""' else ""


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _partial(headers: Mapping[str, str], *, have: int, etag: str, length: int | None) -> Continue:
    found = _RANGE.fullmatch(headers.get("content-range", "").strip())
    if not have or found is None:
        raise RetryableResponse("the file host sent a part that was not asked for", start_over=True)
    first, last = int(found[1]), int(found[2])
    total = None if found[3] == "*" else int(found[3])
    if first != have or last < first or (total is not None and last >= total):
        raise RetryableResponse("the file host sent another part than the one asked for", start_over=True)
    if strong_etag(headers.get("etag", "")) != etag or (None not in (total, length) and total != length):
        raise RetryableResponse("the file changed at its host", start_over=True)
    told = _length(headers)
    if told is not None and told != last - first + 1:
        raise RetryableResponse("the file host contradicts itself about the part's length", start_over=True)
    return Continue(last + 1, length if total is None else total)


def _unsatisfied(headers: Mapping[str, str], have: int) -> Complete:
    found = _OUTSIDE.fullmatch(headers.get("content-range", "").strip())
    if found is None or int(found[1]) != have:
        raise RetryableResponse("the file at its host is shorter than what is here", start_over=True)
    return Complete()


def _refused(status: int, headers: Mapping[str, str]) -> Exception:
    if status >= 500 or status in _AGAIN:
        wait = headers.get("retry-after", "").strip()
        seconds = float(wait[:6]) if wait.isascii() and wait.isdigit() else None
        return RetryableResponse(
            f"the file host answered HTTP {status}", http_status=status, retry_after=seconds
        )
    return DownloadError(f"The file host answered HTTP {status}.", http_status=status)
