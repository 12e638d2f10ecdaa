"""What can go wrong with a call, and what each kind of call does about it: two tables.

`POLICY` says what happens to a call that may be repeated and to the paid POST. `error_of` turns a
business code into the exception of whoever can do something about it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from akool_async._core.codes import CodeKind, describe
from akool_async._core.errors import (
    AccountClosed,
    AkoolError,
    BadCredentials,
    DuplicateRefused,
    JobGone,
    MediaRefused,
    OutOfCredits,
    RequestRefused,
    ServerTrouble,
    Throttled,
    VendorError,
)


class Failure(enum.Enum):
    """How a call failed, as seen by the caller's side of the connection."""

    UNREACHABLE = "no connection, so nothing was sent"
    CERTIFICATE = "the certificate was not accepted"
    LOST = "reset, closed or silent after the first byte was sent"
    THROTTLED = "HTTP 429 or code 1005"
    TROUBLE = "HTTP 5xx"
    UNREADABLE = "empty, torn, too large, not JSON, or JSON without a code"
    REDIRECT = "HTTP 3xx"
    UNAUTHORIZED = "HTTP 401 or 403, code 1101 or 1102"
    BUSY = "a code for which the vendor says: try again later"
    REFUSED = "any other code than success"


class Action(enum.Enum):
    """What a call does about a failure."""

    REPEAT = "wait with growing backoff and send again, as one attempt more"
    WAIT = "wait and send again; it counts as no attempt"
    RENEW = "fetch one new token and send again, once"
    RAISE = "give up with an error"
    DOUBT = "give up: it is in doubt, and never sent again"


POLICY: Final[Mapping[Failure, tuple[Action, Action]]] = MappingProxyType(
    {
        # failure: (a call that may be repeated, the paid POST)
        Failure.UNREACHABLE: (Action.REPEAT, Action.REPEAT),
        Failure.CERTIFICATE: (Action.RAISE, Action.RAISE),
        Failure.LOST: (Action.REPEAT, Action.DOUBT),
        Failure.THROTTLED: (Action.WAIT, Action.WAIT),
        Failure.TROUBLE: (Action.REPEAT, Action.DOUBT),
        Failure.UNREADABLE: (Action.REPEAT, Action.DOUBT),
        Failure.REDIRECT: (Action.RAISE, Action.RAISE),
        Failure.UNAUTHORIZED: (Action.RENEW, Action.RENEW),
        Failure.BUSY: (Action.REPEAT, Action.RAISE),
        Failure.REFUSED: (Action.RAISE, Action.RAISE),
    }
)
"""What each failure leads to. `tests/core/test_failures.py` reads it row by row."""

_FAILURE_OF_KIND: Final[Mapping[CodeKind, Failure]] = MappingProxyType(
    {
        CodeKind.THROTTLED: Failure.THROTTLED,
        CodeKind.CREDENTIALS: Failure.UNAUTHORIZED,
        CodeKind.BUSY: Failure.BUSY,
    }
)

_ERROR_OF_KIND: Final[Mapping[CodeKind, type[AkoolError]]] = MappingProxyType(
    {
        CodeKind.MISTAKE: RequestRefused,
        CodeKind.MEDIA: MediaRefused,
        CodeKind.DUPLICATE: DuplicateRefused,
        CodeKind.CREDENTIALS: BadCredentials,
        CodeKind.CREDITS: OutOfCredits,
        CodeKind.ACCOUNT: AccountClosed,
        CodeKind.THROTTLED: Throttled,
        CodeKind.GONE: JobGone,
        CodeKind.SERVER: ServerTrouble,
        CodeKind.BUSY: ServerTrouble,
        CodeKind.UNKNOWN: VendorError,
    }
)


def failure_of_code(code: int | None) -> Failure:
    """Give how a call failed that was answered with `code`, which is not success."""
    return _FAILURE_OF_KIND.get(describe(code).kind, Failure.REFUSED)


def failure_of_status(http_status: int) -> Failure | None:
    """Give how a call failed by its HTTP status alone; None when the body decides."""
    if http_status == 429:
        return Failure.THROTTLED
    if http_status in (401, 403):
        return Failure.UNAUTHORIZED
    if 300 <= http_status < 400:
        return Failure.REDIRECT
    if http_status >= 500:
        return Failure.TROUBLE
    return None


def error_of(code: int | None, message: str = "", *, http_status: int | None = None) -> AkoolError:
    """Give the exception for a business code other than success.

    Args:
        code: the envelope's number; None when it had none.
        message: the vendor's words, cleaned.
        http_status: the HTTP status that came with it.
    """
    row = describe(code)
    said = f' It says: "{message}".' if message else ""
    number = "" if row.kind is CodeKind.UNKNOWN else f" (code {code})"
    error = _ERROR_OF_KIND.get(row.kind, VendorError)
    return error(
        f"The vendor refused the call: {row.meaning}{number}.{said}",
        code=code,
        vendor_message=message,
        http_status=http_status,
    )
