"""What a response means for a partly downloaded file: the rules of HTTP ranges, without I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import attrs

from akool_async._clock import http_date, retry_after
from akool_async._model.errors import DownloadError

_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
_UNSATISFIED: Final = re.compile(r"bytes \*/(\d{1,19})", re.ASCII)
_STRONG_ETAG: Final = re.compile(r'"[\x21\x23-\x7e]+"')
_RETRYABLE: Final = frozenset({408, 425, 429})
_COMPRESSIONS: Final = frozenset({"gzip", "x-gzip", "compress", "x-compress", "deflate", "br", "zstd", "exi"})
"""Encodings that change the bytes; hosts name others, such as aws-chunked or utf-8, that do not."""


@attrs.define
class RetryableResponse(Exception):
    """This response can't be used; another attempt may bring a better one.

    Attributes:
        reason: in words.
        start_over: whether the bytes received so far are of no use any more.
        arrived: whether all bytes that the host announced are here, and their content is the reason.
        playable: whether they begin as a video does.
        http_status: of the response.
        retry_after: seconds that the host asked for.
    """

    reason: str
    start_over: bool = False
    arrived: bool = False
    playable: bool = False
    http_status: int | None = None
    retry_after: float | None = None


@attrs.frozen(kw_only=True)
class Body:
    """What the headers of a usable response announce; None where the host does not say.

    Attributes:
        restarts: whether the body is the whole file, from its first byte; else it continues the part.
        end: where the body ends in the file.
        length: bytes of the whole file.
        etag: the file's strong ETag, or "".
        compression: how the host says that it compressed it, "" if it does not.
    """

    restarts: bool
    end: int | None
    length: int | None
    etag: str
    compression: str = ""


def read_range(
    status: int,
    headers: Mapping[str, str],
    *,
    received: int,
    etag: str,
    length: int | None,
    packed: bool = False,
) -> Body | None:
    """Return what the body of a response is, None if the file has no byte after those received before.

    Args:
        status: of the response.
        headers: of the response, with names in lower case.
        received: bytes received before; the range that was requested begins there.
        etag: their strong ETag, or "".
        length: bytes of the whole file, as far as known.
        packed: whether those bytes are compressed, as the rest of them then is.

    Raises:
        RetryableResponse: another attempt may help.
        DownloadError: no attempt will.
    """
    if status == 416 and received:
        unsatisfied = _UNSATISFIED.fullmatch(headers.get("content-range", "").strip())
        if unsatisfied is None or int(unsatisfied[1]) != received:
            raise RetryableResponse("the file is shorter than what was received before", start_over=True)
        return None
    if status >= 500 or status in _RETRYABLE:
        # By the clock of the same answer; without one, a date says nothing of how long to wait.
        wait = retry_after(headers, http_date(headers.get("date", "")))
        raise RetryableResponse(f"the file host answered HTTP {status}", http_status=status, retry_after=wait)
    if status not in (200, 206):
        raise DownloadError(f"The file host answered HTTP {status}.", http_status=status)
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if status == 200:
        # Hosts are often wrong about types, so the content decides; but a page must not replace a good part.
        if received and media_type == "text/html" and _strong_etag(headers) != etag:
            raise RetryableResponse("the file host sent a page instead of the file")
        size = _content_length(headers)
        etag = _strong_etag(headers)
        return Body(restarts=True, end=size, length=size, etag=etag, compression=_compression(headers))
    if media_type.startswith("multipart/"):
        raise RetryableResponse("the file host sent several ranges in one answer", start_over=True)
    body = _read_partial(headers, received=received, etag=etag, length=length)
    if body.compression and not (body.restarts or packed):
        raise RetryableResponse("the file host compressed the range although it was asked not to")
    return body


def _compression(headers: Mapping[str, str]) -> str:
    codings = re.split(r"[\s,]+", headers.get("content-encoding", "").lower())
    return ", ".join(coding for coding in codings if coding in _COMPRESSIONS)


def _read_partial(headers: Mapping[str, str], *, received: int, etag: str, length: int | None) -> Body:
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    if found is None:
        raise RetryableResponse("the file host sent a range that was not requested", start_over=True)
    first, last = int(found[1]), int(found[2])
    total = None if found[3] == "*" else int(found[3])
    whole = first == 0 and (not received or last + 1 == total)  # unasked, and as good as HTTP 200
    if not (whole or first == received) or last < first or (total is not None and last >= total):
        raise RetryableResponse("the file host sent another range than the one requested", start_over=True)
    if _content_length(headers) not in (None, last - first + 1):
        raise RetryableResponse("the file host contradicts itself about the range's length", start_over=True)
    if whole:
        etag, packing = _strong_etag(headers), _compression(headers)
        return Body(restarts=True, end=last + 1, length=total, etag=etag, compression=packing)
    # Bytes of two versions of a file must never end up in one: it would look complete and be damaged.
    if _strong_etag(headers) != etag or (None not in (total, length) and total != length):
        raise RetryableResponse("the file changed at its host", start_over=True)
    size = length if total is None else total
    return Body(restarts=False, end=last + 1, length=size, etag=etag, compression=_compression(headers))


def _strong_etag(headers: Mapping[str, str]) -> str:
    """Return the ETag if it promises the same bytes, else ""; a weak one (W/) does not."""
    etag = headers.get("etag", "").strip()
    return etag if _STRONG_ETAG.fullmatch(etag) else ""


def _content_length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
