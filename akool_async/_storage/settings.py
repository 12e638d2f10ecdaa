"""How buckets are used; nothing is opened here, and no library for buckets is loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import attrs

from akool_async._environment import is_loopback
from akool_async._model.errors import ConfigurationError
from akool_async._model.locations import BUCKET_SCHEMES, Location, input_url, is_private_url
from akool_async._model.redact import safe_repr
from akool_async._model.validators import Constraint, boolean, whole_number

SHORTEST: Final = timedelta(minutes=15)
LONGEST: Final = timedelta(days=7)
"""The longest lifetime of a signed URL. Source: AWS Signature Version 4, query parameters, X-Amz-Expires."""

_ENDPOINT: Final = re.compile(r"(?:(?:aws|google|azure).*)?(?:endpoint.*|base_url)")
"""Names of settings that say where a store is: Google's has no endpoint, but a base URL."""


def bucket_location(url: str, what: str) -> Location:
    """Return a bucket, and the prefix of keys in it, without a slash at its end.

    Args:
        url: such as "s3://bucket" or "gs://bucket/prefix".
        what: names it in the error.

    Raises:
        ConfigurationError: it names no bucket.
    """
    whole = input_url(f"{url.rstrip('/')}/-") if isinstance(url, str) else url
    named = isinstance(whole, str) and whole.partition("://")[0] in BUCKET_SCHEMES and "?" not in whole
    if not isinstance(whole, str) or not named or not is_private_url(whole):
        raise ConfigurationError(
            f"{what} must be a bucket such as s3://bucket/prefix, gs://name or az://container, "
            f"not {safe_repr(url)}.",
            advice="The name has at least 3 letters, digits, hyphens and dots, and no credentials; "
            "a prefix has no ? or #.",
        )
    found = Location.parse(whole)
    prefix = found.key.removesuffix("-").rstrip("/")
    # Some stores keep such keys as they are, others and this library as another key: no file would be found.
    if prefix and not {"", ".", ".."}.isdisjoint(prefix.split("/")):
        raise ConfigurationError(
            f"{what} must have a prefix without empty parts, '.' and '..', which {safe_repr(url)} has.",
            advice=f"Write {found.scheme}://{found.bucket}/prefix, with one slash between its parts.",
        )
    return attrs.evolve(found, key=prefix)


def _as_path(path: str | os.PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path)


def _is_bucket(_: object, __: attrs.Attribute[str | None], value: str | None) -> None:
    if value is not None:
        bucket_location(value, "share")


@attrs.frozen(kw_only=True)
class Storage:
    """Which buckets a batch may use, for `open_batch(storage=...)`.

    Endpoint, region and credentials are taken from the environment, as the library `obstore` reads it:
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL and so on,
    GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME. Plain http is for an endpoint of this machine.

    Args:
        share: where files are uploaded so that the vendor can fetch them, such as "s3://bucket/prefix": each
            under a hash of its content, and deleted when its last job has ended. None refuses files.
        expires: how long a signed URL is valid, 15 minutes to 7 days. The vendor must have fetched the video
            by then, and may begin hours after the POST. It ends with temporary credentials, too.
        keep: leave uploaded files where they are.
        spool: the folder of this machine where results are collected and verified on their way into a
            bucket; it needs room for as many results as are downloaded at once. Default is
            "~/.cache/akool-async".
        spool_bytes: what may be in the spool at once, 1 or more; default is 16 GiB. A result waits until
            others were sent. Where those could not be sent it stays at the vendor, and its outcome says so.
        options: settings for the buckets that the environment does not have, by obstore's names.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    share: str | None = attrs.field(default=None, validator=_is_bucket)
    expires: timedelta = attrs.field(
        default=timedelta(hours=24),
        validator=Constraint(
            "a timedelta from 15 minutes to 7 days",
            lambda value: isinstance(value, timedelta) and SHORTEST <= value <= LONGEST,
        ),
    )
    keep: bool = attrs.field(default=False, validator=boolean)
    spool: Path | None = attrs.field(default=None, converter=_as_path)
    spool_bytes: int = attrs.field(default=16 * 2**30, validator=whole_number)
    options: Mapping[str, str] = attrs.field(factory=dict, repr=False)

    @property
    def spool_folder(self) -> Path:
        """Where results are collected on their way into a bucket."""
        return self.spool or Path("~/.cache/akool-async").expanduser()

    def allows_http(self) -> bool:
        """Whether plain http may be used: where an endpoint of this machine is named by it.

        Raises:
            ConfigurationError: another endpoint is: every file could be read on the way.
        """
        plain = False
        for name, value in (*os.environ.items(), *self.options.items()):
            if _ENDPOINT.fullmatch(name.lower()) is None or (parts := urlsplit(value)).scheme != "http":
                continue
            if not is_loopback(parts.hostname or ""):
                raise ConfigurationError(
                    f"{name} names an endpoint by http://, which others on the way can read.",
                    advice="Use https://; plain http is for an endpoint on this machine alone.",
                )
            plain = True
        return plain
