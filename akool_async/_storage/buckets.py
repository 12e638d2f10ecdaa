"""One bucket: what is done with its objects, and what its errors mean.

All methods block and are called in threads: obstore's own coroutines need asyncio, and the core runs on trio
as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Unpack

import attrs

from akool_async._environment import needs_extra
from akool_async._model.errors import AkoolError, ConfigurationError, ErrorDetails
from akool_async._model.redact import sanitize
from akool_async._storage.settings import Storage

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

PART: Final = 8 * 2**20
"""Bytes of one part of an upload; S3 takes 10,000 parts, so this is enough for 80 GB."""

_AT_ONCE: Final = 4
_RETRY: Final[Any] = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
_CODE: Final = re.compile(r"<Code>(\w{1,60})</Code>")
_STATUS: Final = re.compile(r"status code: (\d{3} [\w ]{1,40})")
_BY_CODE: Final = {
    "SignatureDoesNotMatch": "the secret key is wrong",
    "InvalidAccessKeyId": "it does not know the access key",
    "RequestTimeTooSkewed": "the clock of this machine is wrong, so no signature is accepted; set the clock",
    "ExpiredToken": "the credentials have expired",
    "NoSuchBucket": "there is no such bucket",
    "AccessDenied": "the credentials may not do this, or the bucket does not exist",
}
_WRONG_REGION: Final = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "PermanentRedirect",
        "TemporaryRedirect",
        "IllegalLocationConstraintException",
    }
)
"""How S3 answers a request that is signed for another region. Source: Amazon S3, "Error responses"."""

_OVERLOADED: Final = frozenset({"SlowDown", "ServiceUnavailable", "RequestLimitExceeded", "ServerBusy"})
_REGION: Final = re.compile(
    r"<Region>([\w-]{1,40})</Region>|<Endpoint>[\w.-]*?s3[.-]([\w-]{1,40})\.amazonaws"
)


class BucketError(AkoolError):
    """A bucket could not do what was asked.

    Attributes:
        permanent: whether it would refuse other objects, too.
    """

    advice = "Correct the endpoint, the credentials or the name of the bucket, then run the same again."

    def __init__(self, message: str, *, permanent: bool = False, **details: Unpack[ErrorDetails]) -> None:
        super().__init__(message, **details)
        self.permanent = permanent


class ObjectExistsError(BucketError):
    """Another object has the name."""

    impact = "The existing object was not changed."
    advice = "Move it away, or use another prefix."


class ObjectMissingError(BucketError):
    """There is no object of this name."""


@attrs.frozen
class ObjectFacts:
    """What a bucket says of an object.

    Attributes:
        size: bytes.
        etag: its ETag without quotation marks, or "".
    """

    size: int
    etag: str


class Bucket:
    """A bucket of any kind.

    What can't be done raises a `BucketError`: an `ObjectExistsError` where a new name is taken, and an
    `ObjectMissingError` where there is no such object.

    Raises:
        ConfigurationError: a setting is wrong; as `MissingExtraError`, the extra is not installed.
    """

    def __init__(self, scheme: str, name: str, storage: Storage) -> None:
        self.url = f"{scheme}://{name}"
        with needs_extra("storage", "Buckets"):
            from obstore.exceptions import BaseError
            from obstore.store import from_url
        # Without it S3 could only overwrite: a copy is completed on the condition that nothing is there.
        usual = {"aws_copy_if_not_exists": "multipart"} if scheme == "s3" else {}
        try:
            # All options are in no variable: a traceback with local variables would show their secrets.
            self._store: S3Store | GCSStore | AzureStore = from_url(  # type: ignore[call-overload]
                self.url,
                config={**usual, **storage.options},
                client_options={"allow_http": storage.allows_http()},
                retry_config=_RETRY,
            )
        except BaseException as error:
            # Of settings that are no text it raises others, too.
            known = isinstance(error, BaseError | ValueError | TypeError | AttributeError)
            if not known and not _is_panic(error):
                raise
            raise ConfigurationError(f"{self.url} can't be opened: {_first_line(error)}.") from None

    @contextmanager
    def _explained(self, action: str, key: str) -> Iterator[None]:
        """Turn the library's errors into ours; its texts repeat requests, so they are not shown whole."""
        from obstore.exceptions import (
            AlreadyExistsError,
            BaseError,
            PermissionDeniedError,
            PreconditionError,
            UnauthenticatedError,
        )

        place = sanitize(f"{self.url}/{key}")
        try:
            yield
        except AkoolError:  # of what gives an upload its bytes
            raise
        except (AlreadyExistsError, PreconditionError):
            raise ObjectExistsError(f"{place} already exists.") from None
        except FileNotFoundError as error:
            code = _CODE.search(str(error))
            if code and code[1] == "NoSuchBucket":
                gone = f"{place} could not be {action}: there is no such bucket."
                raise BucketError(gone, permanent=True) from None
            raise ObjectMissingError(f"{place} does not exist.") from None
        except (BaseError, OSError, ValueError) as error:
            # Another object would be refused in the same way.
            permanent = isinstance(error, PermissionDeniedError | UnauthenticatedError) or (
                _code(error) in _BY_CODE or _is_wrong_region(error)
            )
            message = f"{place} could not be {action}: {_reason(error)}."
            raise BucketError(message, permanent=permanent) from None
        except BaseException as error:
            if not _is_panic(error):
                raise
            raise BucketError(
                f"{place} could not be {action}: {_first_line(error)}.",
                permanent=True,
                advice="Look for a line break, or another character that no request can have, in the keys, "
                "the token and the other settings, then run the same again.",
            ) from None

    def head(self, key: str) -> ObjectFacts | None:
        """Return what an object is, None if there is none."""
        from obstore import get_range, head
        from obstore.exceptions import GenericError, PermissionDeniedError

        try:
            with self._explained("looked at", key):
                try:
                    found = head(self._store, key)
                except (PermissionDeniedError, GenericError) as error:
                    if isinstance(error, GenericError) and "400 Bad Request" not in str(error):
                        raise
                    get_range(self._store, key, start=0, end=1)  # unlike to HEAD, the answer says why
                    raise
        except ObjectMissingError:
            return None
        return ObjectFacts(found["size"], (found["e_tag"] or "").removeprefix("W/").strip('"'))

    def upload(self, key: str, chunks: Iterator[bytes], media_type: str) -> None:
        """Write an object in parts. It appears when `chunks` has ended, and does not if that raises."""
        from obstore import put

        with self._explained("written", key):
            put(
                self._store,
                key,
                chunks,
                attributes={"Content-Type": media_type},
                chunk_size=PART,
                max_concurrency=_AT_ONCE,
                use_multipart=True,
            )

    def put_new(self, key: str, content: bytes, media_type: str, *, replace: bool = False) -> None:
        """Write a small object, unless there is one of this name and it is not to be replaced."""
        from obstore import put

        with self._explained("written", key):
            put(
                self._store,
                key,
                content,
                attributes={"Content-Type": media_type},
                mode="overwrite" if replace else "create",
                use_multipart=False,
            )

    def copy_new(self, source: str, key: str) -> None:
        """Copy an object within the bucket, unless there is one of this name."""
        from obstore import copy

        with self._explained("written", key):
            copy(self._store, source, key, overwrite=False)

    def read(self, key: str) -> Iterator[bytes]:
        """Yield the content of an object."""
        from obstore import get

        with self._explained("read", key):
            for chunk in get(self._store, key):
                yield bytes(chunk)

    def names(self, folder: str, beginning: str, *, nested: bool = False) -> Iterator[str]:
        """Yield the names of the objects in a folder that begin so; if `nested`, also in folders below it."""
        from obstore import list as list_objects

        prefix = f"{folder}/" if folder else ""
        with self._explained("listed", prefix):
            # What is before the beginning is left out by the store itself, which sorts by name.
            pages = list_objects(self._store, prefix=folder or None, offset=prefix + beginning or None)
            for page in pages:
                for found in page:
                    name = found["path"].removeprefix(prefix)
                    if not name.startswith(beginning):
                        if name > beginning and self.url.startswith(("s3:", "gs:")):
                            return
                        continue
                    if nested or "/" not in name:
                        yield name

    def sign(self, key: str, expires: timedelta) -> str:
        """Return a URL that everyone can fetch the object by, until it expires."""
        from obstore import sign

        with self._explained("signed", key):
            return sign(self._store, "GET", key, expires)

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error."""
        from obstore import delete

        try:
            with self._explained("deleted", key):
                delete(self._store, key)
        except ObjectMissingError:
            return


def _is_panic(error: BaseException) -> bool:
    """Whether it is a failure of the library's own; it says so by a BaseException that can't be imported."""
    return (type(error).__module__, type(error).__name__) == ("pyo3_runtime", "PanicException")


def _first_line(error: BaseException) -> str:
    return sanitize(str(error).strip().partition("\n")[0].rstrip("."))


def _code(error: Exception) -> str:
    found = _CODE.search(str(error))
    return found[1] if found is not None else ""


def _is_wrong_region(error: Exception) -> bool:
    # S3 redirects without a place to go to, and an answer to HEAD has no code.
    return _code(error) in _WRONG_REGION or "redirect without LOCATION" in str(error)


def _reason(error: Exception) -> str:
    text, code = str(error), _code(error)
    status = _STATUS.search(text)
    if _is_wrong_region(error):
        region = _REGION.search(text)
        named = f" to {region[1] or region[2]}" if region is not None else ""
        return f"the bucket is in another region; set AWS_REGION{named}"
    if code in _OVERLOADED or (not code and status is not None and status[1].startswith("503")):
        return f"it is overloaded and asks for fewer requests ({code or 503})"
    if code:
        return _BY_CODE.get(code, f"the answer was {code}")
    if "169.254.169.254" in text or "metadata.google" in text:
        return "there are no credentials in the environment"
    return f"the answer was {status[1].strip()}" if status is not None else _first_line(error)
