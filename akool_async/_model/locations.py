"""Where an input is: at a public URL, in a bucket or on this machine. Values only; nothing is looked at.

The vendor fetches public URLs and nothing else, so what is elsewhere is given a signed URL just before the
paid POST (`_storage`). A request holds where the input is and what is in it, never a signature:
`file:///videos/talk.mp4?sha256=…`, `s3://bucket/talk.mp4?etag=…`.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from posixpath import normpath
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import attrs

from akool_async._model.errors import InputError

BUCKET_SCHEMES: Final = frozenset({"s3", "gs", "az"})
"""Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage."""

PRIVATE_SCHEMES: Final = BUCKET_SCHEMES | {"file"}
"""What the vendor can't fetch by itself."""

_LOCAL: Final = re.compile(r"/|\.{1,2}/|~")
_PLAIN: Final = "/"
_CONTENT: Final = re.compile(r"(?:sha256=[0-9a-f]{64}|etag=[\w.~%-]{1,200})?", re.ASCII)
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,220}", re.ASCII)


def no_public_url(place: Location) -> InputError:
    """Return the error of an input that the vendor can't fetch by itself."""
    return InputError(f"{place} has no public URL, and the vendor fetches nothing else.")


def input_url(value: object) -> object:
    """Return a path of this machine as a file:// URL and a bucket's key with its signs escaped.

    A path is a `Path`, or a text that begins with "/", "./", "../" or "~"; a relative one counts from the
    current folder. All else is returned as it is, for a validator to judge.
    """
    if isinstance(value, PurePath):
        value = str(value) if _LOCAL.match(str(value)) else f"./{value}"
    if not isinstance(value, str):
        return value
    if _LOCAL.match(value) and not value.startswith("//"):
        try:
            path = normpath(Path(value).expanduser().absolute())  # no file is touched
        except RuntimeError:  # there is no such user
            return value
        return f"file://{quote(path, safe=_PLAIN, errors='surrogateescape')}"
    scheme, colon, rest = value.partition("://")
    if not colon or scheme.lower() not in PRIVATE_SCHEMES:
        return value
    place, mark, content = rest.partition("?")
    # Escaped signs stay what they are, so that this may be done to its own result.
    path = quote(unquote(place, errors="surrogateescape"), safe=_PLAIN, errors="surrogateescape")
    return f"{scheme.lower()}://{path}{mark}{content}"


def is_private(url: str | None) -> bool:
    """Whether the vendor can't fetch this input by itself."""
    return url is not None and url.partition("://")[0] in PRIVATE_SCHEMES


def is_private_url(url: str) -> bool:
    """Whether `url` names a file of this machine or an object in a bucket."""
    if not is_private(url) or not url.isascii() or "#" in url:
        return False
    parts = urlsplit(url)
    if _CONTENT.fullmatch(parts.query) is None or len(parts.path) < 2 or parts.path.endswith("/"):
        return False
    if parts.scheme == "file":
        return parts.netloc == ""
    return _BUCKET.fullmatch(parts.netloc) is not None


@attrs.frozen
class Location:
    """An input's place, taken apart.

    Attributes:
        scheme: "file", "s3", "gs" or "az".
        bucket: its bucket, or Azure's container; "" for a file.
        key: the key in the bucket, or the path of the file, without escapes.
        content: "sha256=…" or "etag=…", "" where the content is not known.
    """

    scheme: str
    bucket: str
    key: str
    content: str = ""

    @classmethod
    def parse(cls, url: str) -> Location:
        """Take a URL apart that a request holds."""
        parts = urlsplit(url)
        path = unquote(parts.path, errors="surrogateescape")
        key = path if parts.scheme == "file" else path.removeprefix("/")
        return cls(parts.scheme, parts.netloc, key, parts.query)

    @property
    def sha256(self) -> str:
        """The hash of the content, or ""."""
        return self.content.removeprefix("sha256=") if self.content.startswith("sha256=") else ""

    @property
    def etag(self) -> str:
        """The ETag of the object, or ""."""
        return unquote(self.content.removeprefix("etag=")) if self.content.startswith("etag=") else ""

    def __str__(self) -> str:
        """Return it as people write it."""
        return self.key if self.scheme == "file" else f"{self.scheme}://{self.bucket}/{self.key}"


class BucketPath(type(Path())):  # type: ignore[misc] # PosixPath, or Windows' one
    """The URL of an object in a bucket, such as "s3://bucket/talk.mp4", where a path of a file may be, too.

    It has name, suffix and parent, as each path. It names no file: what would read one raises `TypeError`.
    """

    def __str__(self) -> str:
        """Return the URL."""
        return str(super().__str__()).replace("\\", "/").replace(":/", "://", 1)

    def __fspath__(self) -> str:
        """Refuse: as a path it would be a file in a folder called "s3:"."""
        raise TypeError(f"{self} is an object in a bucket, not a file of this machine.")


def result_path(text: str) -> Path:
    """Return the path of a saved file: of this machine, or in a bucket."""
    return BucketPath(text) if text.partition("://")[0] in BUCKET_SCHEMES else Path(text)


def with_content(url: str, content: str) -> str:
    """Return an input's URL with what is in it: "sha256=…" or "etag=…"."""
    return f"{url.partition('?')[0]}?{content}"
