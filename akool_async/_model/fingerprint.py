"""The name of an entry that was given none: a hash of what the vendor is asked to make.

What does not change the result (where to call back, the caller's own key) is left out. The query of a URL is
hashed by itself: it may name the video or only sign it, and no rule tells these apart for every file host.
Two fingerprints may say "the same work, but for the query of a URL", and then the caller is asked.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import attrs
import idna

from akool_async._model.locations import Location, is_private
from akool_async._model.requests import (
    INPUT_FIELDS,
    PLAIN_URL,
    URL_FIELDS,
    LipSyncRequest,
    Request,
    TranslationRequest,
    private_inputs,
    video_url,
    with_inputs,
)

_SIGNING_PREFIXES: Final = ("x-amz-", "x-goog-", "x-oss-", "x-cos-", "q-")
_SCHEMES: Final = {
    "x-amz-signature": "",
    "x-goog-signature": "",
    "x-oss-signature": "",
    "q-signature": "",
    "awsaccesskeyid": "signature expires",
    "googleaccessid": "signature expires",
    "ossaccesskeyid": "signature expires",
    "key-pair-id": "signature expires policy",
    "sig": "se st sp sv sr spr sip skoid sktid skt ske sks skv",
}
"""By the name that gives a signing scheme away: what else belongs to it, besides the prefixes. These schemes
sign the path, so the same path is the same video. A name such as "token" by itself proves nothing."""

_WORK_DIGITS: Final = 20


def _signing(names: Iterable[str]) -> frozenset[str]:
    """Return those names, in lower case, that sign a query."""
    folded = {name.lower() for name in names}
    signing = set[str]()
    for scheme, others in _SCHEMES.items():
        if scheme in folded:
            signing |= {scheme, *others.split()}
            signing |= {name for name in folded if name.startswith(_SIGNING_PREFIXES)}
    return frozenset(signing & folded)


_PORTS: Final = {"http": ":80", "https": ":443"}
_UNESCAPED: Final = "!$&'()*,;=:@-._~"
"""What means the same escaped or not in a path, besides letters and digits: what programs differ in. "+" is
left out, which some hosts take for a space. Source: RFC 3986, 6.2.2.2 and 3.3."""

_PLAIN_PATH: Final = re.compile(f"[/A-Za-z0-9+{re.escape(_UNESCAPED)}]*")
_ESCAPE: Final = re.compile("%([0-9A-Fa-f]{2})")


def canonical_url(url: str) -> str:
    """Return `url` in the one form that all its spellings have, without what signs it.

    The host is in ASCII and lower case, without user, a dot at its end and the port that its scheme has
    anyway. In the path nothing is escaped that needs not be, and all else is; "." and ".." are resolved, as
    clients do. The fragment and the signature of a known scheme are left out.
    """
    if PLAIN_URL.fullmatch(url):
        return url
    parts = urlsplit(url)
    # The user and the password change with every re-issued link, as a signature does.
    host, path = parts.netloc.rpartition("@")[2].lower(), parts.path or "/"
    if parts.scheme in _PORTS:  # a bucket's keys and paths of this machine have one spelling
        host = _ascii_host(host.removesuffix(_PORTS[parts.scheme]).removesuffix(":"))
        path = _without_dots(path if _PLAIN_PATH.fullmatch(path) else _escaped_path(path))
    if not parts.query:
        return urlunsplit((parts.scheme, host, path, "", ""))
    pairs = parse_qsl(parts.query, keep_blank_values=True, errors="surrogateescape")
    signing = _signing(name for name, _ in pairs)
    query = urlencode([pair for pair in pairs if pair[0].lower() not in signing], errors="surrogateescape")
    return urlunsplit((parts.scheme, host, path, query, ""))


def _escaped_path(path: str) -> str:
    def spell(escape: re.Match[str]) -> str:
        char = chr(int(escape[1], 16))
        return char if char.isascii() and (char.isalnum() or char in _UNESCAPED) else escape[0].upper()

    return _ESCAPE.sub(spell, quote(path, safe=f"/%+{_UNESCAPED}", errors="surrogatepass"))


def _ascii_host(host: str) -> str:
    name, colon, port = host.partition(":")
    if not name.isascii():
        with suppress(idna.IDNAError):  # no client connects to such a host
            name = idna.encode(name, uts46=True).decode()
    return f"{name.removesuffix('.')}{colon}{port}"


def _without_dots(path: str) -> str:
    """Return a path without "." and "..". Source: RFC 3986, 5.2.4."""
    if "/." not in path:
        return path
    kept: list[str] = []
    parts = path.split("/")[1:]
    for part in (*parts, "") if parts[-1] in {".", ".."} else parts:
        if part != "." and part != "..":
            kept.append(part)
        elif part == ".." and kept:
            kept.pop()
    return f"/{'/'.join(kept)}"


_LEFT_OUT: Final = frozenset({"key", "webhook_url", "targets", "url_is_public"})
_ALWAYS: Final = {
    TranslationRequest: (
        *("url", "source_language", "lipsync", "speaker_num", "remove_bgm", "caption_type", "caption_url"),
        *("voices_map", "no_translate_words", "style", "fixed_words", "pronounced_words"),
        "dynamic_duration",
    ),
    LipSyncRequest: ("video_url", "audio_url"),
}
"""The fields that say what is to be made, of the first version."""

_LATER: Final = {
    kind: tuple(
        (field.name, field.default)
        for field in attrs.fields(kind)
        if field.name not in names and field.name not in _LEFT_OUT
    )
    for kind, names in _ALWAYS.items()
}
"""Fields that were added since, with their defaults. Each counts only where it was given: else every entry
without a key would be other work after an upgrade, and be paid once more."""


@lru_cache(maxsize=64)  # a request is on its way through several steps that each need its fingerprint
def fingerprint(request: Request, target: str) -> str:
    """Return 32 hexadecimal digits: 20 for the work but for the queries of its URLs, 12 for these.

    Args:
        request: what is asked for.
        target: one of its languages.
    """
    options, queries = _options(request, target)
    work = _digest({"kind": type(request).__name__, "target": target, **options})
    return work[:_WORK_DIGITS] + _query_digits(*queries)


def _options(request: Request, target: str) -> tuple[dict[str, Any], list[str]]:
    """Return what counts of a request for one language, and the queries of its URLs."""
    kind = type(request)
    options: dict[str, Any] = {name: getattr(request, name) for name in _ALWAYS[kind]}
    for name, default in _LATER[kind]:
        if (value := getattr(request, name)) != default:
            options[name] = value
    queries = []
    for name, value in options.items():
        if value and name in URL_FIELDS:
            options[name], _, query = canonical_url(value).partition("?")
            queries.append(query)
    if isinstance(request, TranslationRequest):
        # Voices of the other languages make no difference to this language's job.
        options["voices_map"] = request.voices_map.get(target, "")
        # A glossary whose rows are sorted is the same glossary.
        options["no_translate_words"] = sorted(set(request.no_translate_words))
    return options, queries


def differing_fields(known: Request, request: Request, target: str) -> tuple[str, ...]:
    """Return the fields by which two requests of one kind ask for different work, but for queries of URLs."""
    before, now = _options(known, target)[0], _options(request, target)[0]
    return tuple(name for name in {**now, **before} if before.get(name) != now.get(name))


@lru_cache(maxsize=16)  # most URLs have no query
def _query_digits(*queries: str) -> str:
    return _digest(queries)[: 32 - _WORK_DIGITS]


def work_of(mark: str) -> str:
    """Return the digits of a fingerprint that say what work it is, whatever the queries of its URLs are."""
    return mark[:_WORK_DIGITS]


def is_other_work(known: str, request: Request, target: str) -> bool:
    """Whether a request names other work than the one of this fingerprint, which has the same key.

    A query that is no secret says which video it is. Any other may only sign the URL, and a key says enough.
    Whether a file or an object was replaced is `replaced_input`: what it held is a part of its URL, too.
    """
    return are_other_works(known, fingerprint(request, target), url_is_public=request.url_is_public)


def are_other_works(known: str, mark: str, *, url_is_public: bool) -> bool:
    """Whether two fingerprints of one key name different works; see `is_other_work`."""
    return known != mark if url_is_public else work_of(known) != work_of(mark)


def replaced_input(known: Request, request: Request) -> Location | None:
    """Return the file or object of a request that had other content in a request for the same work.

    None also where the content of either is not known, because a file is gone by now.
    """
    before = private_inputs(known)
    for name, url in private_inputs(request).items():
        place, _, content = url.partition("?")
        known_place, _, known_content = before.get(name, "").partition("?")
        if place == known_place and content and known_content and content != known_content:
            return Location.parse(url)
    return None


def work_by_content(request: Request, target: str) -> str:
    """Return the digits that say what work it is wherever its files are; "" without a file of known content.

    A folder that is renamed leaves the work the same, though its fingerprint is another one.
    """
    urls = {
        name: f"file:///{digest}"
        for name, url in private_inputs(request).items()
        if (digest := Location.parse(url).sha256)
    }
    return work_of(fingerprint(with_inputs(request, urls), target)) if urls else ""


def moved_input(known: Request, request: Request) -> tuple[Location, Location] | None:
    """Return where a file was in another request, and where it is now with the same content."""
    before = private_inputs(known)
    for name, url in private_inputs(request).items():
        there, here = Location.parse(before.get(name, "")), Location.parse(url)
        if here.sha256 and here.sha256 == there.sha256 and here.key != there.key:
            return there, here
    return None


def is_by_hash(request: Request) -> bool:
    """Whether a request's inputs are all files with a known hash, so that a fingerprint tells their content.

    Of an object the ETag is known, and it may change where the content does not.
    """
    urls = [url for name in INPUT_FIELDS if (url := getattr(request, name, None))]
    return all(url.startswith("file:") and Location.parse(url).sha256 for url in urls)


_WRITER: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=True)


def _digest(value: Any) -> str:
    return hashlib.sha256(_WRITER.encode(value).encode()).hexdigest()


def entry_key(request: Request, target: str) -> str:
    """Return the name of an entry: the caller's key, or the fingerprint."""
    return request.key or fingerprint(request, target)


class KeyedVideos:
    """Which video each key names in a journal or a ledger, of those keys that matter."""

    def __init__(self, keys: Iterable[str | None]) -> None:
        """Begin without any video."""
        self._keys = frozenset(keys)
        self._videos: dict[str, tuple[int, int] | None] = {}

    def add(self, key: str, request: Request) -> None:
        """Record that a key names the video of a request."""
        if key in self._keys:
            video = _video(request)
            # Where it names several already, it tells nothing.
            same = self._videos.setdefault(key, video) == video
            self._videos[key] = video if same else None

    def names_other(self, request: Request) -> bool:
        """Whether the key of a request names another video than the request does."""
        known, video = self._videos.get(request.key or ""), _video(request)
        # A query that may only sign the URL is not kept there, so that it can't tell them apart.
        return known is not None and (
            known[0] != video[0] or (0 not in (known[1], video[1]) and known != video)
        )


def _video(request: Request) -> tuple[int, int]:
    """Return hashes of a video's URL without its query and of the query if it names the video, else 0."""
    place, _, query = canonical_url(video_url(request)).partition("?")
    # What a file or an object holds is a part of its URL, where it could be read.
    tells = request.url_is_public or (query and is_private(place))
    return hash(place), hash(("query", query)) if tells else 0


# Names that were seen, kept small: a catalog may be longer than what fits into memory.


_GROUPS: Final = 4096
_DIGEST: Final = 5
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
        number, digest = _group_and_digest(key, target)
        return _holds(self._groups[number], digest)

    def add(self, key: str, target: str) -> bool:
        """Add a name; False when it was there."""
        number, digest = _group_and_digest(key, target)
        group = self._groups[number]
        if _holds(group, digest):
            return False
        self._groups[number] = group + digest
        self._count += 1
        return True


def _group_and_digest(key: str, target: str) -> tuple[int, bytes]:
    hashed = blake2b(f"{len(key)}:{key}{target}".encode(), digest_size=_DIGEST + 2).digest()
    return int.from_bytes(hashed[:2], "big") % _GROUPS, hashed[2:]


def _holds(group: bytes, digest: bytes) -> bool:
    """Return whether a group holds a digest, at a multiple of its length."""
    place = group.find(digest)
    while place % _DIGEST and place >= 0:
        place = group.find(digest, place + 1)
    return place >= 0
