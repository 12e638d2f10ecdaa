"""The name of an entry that was given none: a hash of what the vendor is asked to make.

A URL that is signed anew on each run names the same video, so what signs it is left out. What does
not change the result (where to call back, the caller's own key) is left out too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import attrs

from akool_async._core.requests import LipSyncRequest, Request, TranslationRequest

_SIGNING_PREFIXES: Final = ("x-amz-", "x-goog-", "x-oss-", "x-cos-")
_SIGNING_NAMES: Final = frozenset(
    "awsaccesskeyid googleaccessid ossaccesskeyid signature expires key-pair-id policy "
    "token hdnts hdnea __token__".split()
)
_AZURE_SIGNATURE: Final = "sig"
_AZURE_NAMES: Final = frozenset("se st sp sv sr spr sip skoid sktid skt ske sks skv".split())
"""Too short to be taken for signing where no signature of Azure stands beside them."""


def _signing(names: Iterable[str]) -> frozenset[str]:
    """Give those names, in lower case, that sign a query."""
    folded = {name.lower() for name in names}
    signing = {name for name in folded if name in _SIGNING_NAMES or name.startswith(_SIGNING_PREFIXES)}
    if _AZURE_SIGNATURE in folded:
        signing |= folded & {_AZURE_SIGNATURE, *_AZURE_NAMES}
    return frozenset(signing)


def plain_url(url: str) -> str:
    """Give `url` with host in lower case and without what signs it, user or fragment."""
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
    told: dict[str, Any] = {name: getattr(request, name) for name in _NAMES[type(request)]}
    for name in ("url", "video_url", "audio_url", "caption_url"):
        if told.get(name):
            told[name] = address(told[name])
    if isinstance(request, TranslationRequest):
        told["voices_map"] = request.voices_map.get(target, "")
    return {"kind": type(request).__name__, "target": target, **told}


def fingerprint(request: Request, target: str) -> str:
    """Give 32 hexadecimal digits that are the same for the same work on the same video.

    Args:
        request: what is asked for.
        target: one of its languages.
    """
    return _digest(_options(request, target, plain_url))


def work_of(request: Request, target: str) -> str:
    """Give 32 hexadecimal digits that are the same for the same work on the very same URL.

    Other than in the fingerprint, a query that looks like a signature counts: it may be all that tells
    two videos apart, and then a caller's own keys do so too.
    """
    return _digest(_options(request, target, lambda url: url))


_WRITER: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=True)


def _digest(options: dict[str, Any]) -> str:
    return hashlib.sha256(_WRITER.encode(options).encode()).hexdigest()[:32]


def key_of(request: Request, target: str) -> str:
    """Give the name of an entry: the caller's key, or the fingerprint."""
    return request.key or fingerprint(request, target)
