"""The name of an entry that was given none: a hash of what the vendor is asked to make.

A URL that is signed anew on each run names the same video, so what signs it is left out. What does
not change the result (where to call back, the caller's own key) is left out too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import attrs

from akool_async._model.requests import LipSyncRequest, Request, TranslationRequest

_SIGNING_PREFIXES: Final = ("x-amz-", "x-goog-", "x-oss-", "x-cos-")
_SIGNING_NAMES: Final = frozenset(
    "awsaccesskeyid googleaccessid ossaccesskeyid signature expires key-pair-id policy "
    "token hdnts hdnea __token__".split()
)

_AZURE_SIGNATURE: Final = "sig"
_AZURE_NAMES: Final = frozenset("se st sp sv sr spr sip skoid sktid skt ske sks skv".split())
"""Too short to count as signing without a signature of Azure beside them."""


def _signing(names: Iterable[str]) -> frozenset[str]:
    """Return those names, in lower case, that sign a query."""
    folded = {name.lower() for name in names}
    signing = {name for name in folded if name in _SIGNING_NAMES or name.startswith(_SIGNING_PREFIXES)}
    if _AZURE_SIGNATURE in folded:
        signing |= folded & {_AZURE_SIGNATURE, *_AZURE_NAMES}
    return frozenset(signing)


def canonical_url(url: str) -> str:
    """Return `url` with host in lower case and without what signs it, user or fragment."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True, errors="surrogateescape")
    signing = _signing(name for name, _ in pairs)
    query = urlencode([pair for pair in pairs if pair[0].lower() not in signing], errors="surrogateescape")
    host = parts.netloc.rpartition("@")[2].lower()
    return urlunsplit((parts.scheme, host, parts.path or "/", query, ""))


_LEFT_OUT: Final = ("key", "webhook_url", "targets")
_NAMES: Final = {
    kind: tuple(field.name for field in attrs.fields(kind) if field.name not in _LEFT_OUT)
    for kind in (TranslationRequest, LipSyncRequest)
}
"""The fields that say what is to be made."""


def _options(request: Request, target: str, address: Callable[[str], str]) -> dict[str, Any]:
    options: dict[str, Any] = {name: getattr(request, name) for name in _NAMES[type(request)]}
    for name in ("url", "video_url", "audio_url", "caption_url"):
        if options.get(name):
            options[name] = address(options[name])
    if isinstance(request, TranslationRequest):
        options["voices_map"] = request.voices_map.get(target, "")
    return {"kind": type(request).__name__, "target": target, **options}


def fingerprint(request: Request, target: str) -> str:
    """Return 32 hexadecimal digits that are the same for the same work on the same video.

    Args:
        request: what is asked for.
        target: one of its languages.
    """
    return _digest(_options(request, target, canonical_url))


def exact_fingerprint(request: Request, target: str) -> str:
    """Return 32 hexadecimal digits that are the same for the same work on the very same URL.

    Other than in the fingerprint, a query that looks like a signature counts: it may be all that tells
    two videos apart, and then a caller's own keys do so too.
    """
    return _digest(_options(request, target, lambda url: url))


_WRITER: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=True)


def _digest(options: dict[str, Any]) -> str:
    return hashlib.sha256(_WRITER.encode(options).encode()).hexdigest()[:32]


def entry_key(request: Request, target: str) -> str:
    """Return the name of an entry: the caller's key, or the fingerprint."""
    return request.key or fingerprint(request, target)


# Names that were seen, kept small: a catalog may be longer than what fits into memory.


_GROUPS: Final = 4096
_MARK: Final = 5
"""Bytes that are kept of a name; the group that it is in says 12 bits more."""


class CompactSet:
    """A set of names that only grows, by 5 bytes each.

    A name is kept as 52 bits of its hash. Two names that meet there are taken for one: with a hundred
    thousand entries the chance is one in a million, with a million one in nine thousand. What then
    happens is that one is not submitted and says so.
    """

    def __init__(self) -> None:
        self._groups = [b""] * _GROUPS
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def contains(self, key: str, target: str) -> bool:
        """Whether a name was added."""
        number, mark = _group_and_mark(key, target)
        return _holds(self._groups[number], mark)

    def add(self, key: str, target: str) -> bool:
        """Add a name; False when it was there."""
        number, mark = _group_and_mark(key, target)
        group = self._groups[number]
        if _holds(group, mark):
            return False
        self._groups[number] = group + mark
        self._count += 1
        return True


def _group_and_mark(key: str, target: str) -> tuple[int, bytes]:
    digest = blake2b(f"{len(key)}:{key}{target}".encode(), digest_size=_MARK + 2).digest()
    return int.from_bytes(digest[:2], "big") % _GROUPS, digest[2:]


def _holds(group: bytes, mark: bytes) -> bool:
    """Return whether a group holds a mark, at a multiple of its length."""
    place = group.find(mark)
    while place % _MARK and place >= 0:
        place = group.find(mark, place + 1)
    return place >= 0
