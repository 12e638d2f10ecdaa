"""The vendor's business codes, and what a call does about each failure, as tables."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

from akool_async._model.errors import (
    AkoolError,
    AuthenticationError,
    BadRequestError,
    DuplicateJobError,
    InvalidMediaError,
    JobNotFoundError,
    OutOfCredits,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    VendorError,
)

SUCCESS: Final = 1000
"""The only envelope code that means success."""


class CodeKind(enum.Enum):
    """Who can do something about a code, and what."""

    SUCCESS = "success"
    BAD_REQUEST = "mistake"
    MEDIA = "media"
    DUPLICATE = "duplicate"
    CREDENTIALS = "credentials"
    CREDITS = "credits"
    ACCOUNT = "account"
    RATE_LIMITED = "throttled"
    NOT_FOUND = "gone"
    SERVER = "server"
    BUSY = "busy"
    """A server error for which the vendor itself says "try again later"."""
    UNKNOWN = "unknown"


@attrs.frozen
class Code:
    """One row of the table: the number, its meaning and its kind."""

    code: int
    meaning: str
    kind: CodeKind


# Source: docs.akool.com, response code table.
_ROWS: Final = (
    Code(1000, "the call succeeded", CodeKind.SUCCESS),
    Code(1003, "a parameter is wrong or empty", CodeKind.BAD_REQUEST),
    Code(1004, "the account has to be verified first", CodeKind.ACCOUNT),
    Code(1005, "calls come too often", CodeKind.RATE_LIMITED),
    Code(1006, "the quota is used up", CodeKind.CREDITS),
    Code(1008, "the content does not exist", CodeKind.NOT_FOUND),
    Code(1009, "the account may not do this", CodeKind.ACCOUNT),
    Code(1010, "the content can't be operated on", CodeKind.BAD_REQUEST),
    Code(1011, "the content was operated on already", CodeKind.BAD_REQUEST),
    Code(1013, "the audio inside the video has to be used", CodeKind.MEDIA),
    Code(1014, "the resource does not exist", CodeKind.NOT_FOUND),
    Code(1015, "the video could not be processed", CodeKind.BUSY),
    Code(1017, "the audio was not created", CodeKind.SERVER),
    Code(1101, "the token or key is wrong or has expired", CodeKind.CREDENTIALS),
    Code(1102, "the token or key is missing", CodeKind.CREDENTIALS),
    Code(1103, "the account is not paid or is overdue", CodeKind.CREDITS),
    Code(1104, "there are not enough credits", CodeKind.CREDITS),
    Code(1109, "the account does not exist", CodeKind.ACCOUNT),
    Code(1110, "the audio could not be processed", CodeKind.SERVER),
    Code(1112, "the voice could not be processed", CodeKind.SERVER),
    Code(1200, "the account is blocked", CodeKind.ACCOUNT),
    Code(1201, "the audio could not be created now", CodeKind.BUSY),
    Code(
        1202,
        "the same video, language and lip-sync option were sent more than once",
        CodeKind.DUPLICATE,
    ),
    Code(1203, "the video has no audio", CodeKind.MEDIA),
    Code(1204, "the video is longer than the plan allows", CodeKind.MEDIA),
    Code(1205, "the video could not be created now", CodeKind.BUSY),
    Code(1207, "the video file is larger than the plan allows", CodeKind.MEDIA),
    Code(1208, "the video can't be read", CodeKind.MEDIA),
    Code(1209, "the video's encoding is not supported", CodeKind.MEDIA),
    Code(1210, "the frame rate is higher than allowed", CodeKind.MEDIA),
    Code(1211, "the lip-sync could not be created now", CodeKind.BUSY),
    Code(1213, "the account needs a subscription", CodeKind.ACCOUNT),
    Code(1221, "the account is not subscribed", CodeKind.ACCOUNT),
    Code(1222, "the resource exists already", CodeKind.DUPLICATE),
)

_OTHER_TOOLS: Final = frozenset({1007, 1016, 1105, 1108, 1111, 1206, 1212, *range(1214, 1221), 1223})
"""Documented for other tools of the vendor, so what they mean for a translation is unknown."""

CODES: Final[Mapping[int, Code]] = MappingProxyType({row.code: row for row in _ROWS})
"""Every documented business code by its number."""


def lookup(code: int | None) -> Code:
    """Return the row of `code`, or one of kind UNKNOWN that keeps the number; None is no number at all."""
    if code is not None and code in CODES:
        return CODES[code]
    number = -1 if code is None else code
    if number in _OTHER_TOOLS:
        return Code(number, f"a code of another tool (code {code})", CodeKind.UNKNOWN)
    shown = "no code" if code is None else f"code {code}"
    return Code(number, f"an undocumented answer ({shown})", CodeKind.UNKNOWN)


class Failure(enum.Enum):
    """How a call failed, as seen by the caller's side of the connection."""

    UNREACHABLE = "no connection, so nothing was sent"
    CERTIFICATE = "the certificate was not accepted"
    CONNECTION_LOST = "reset, closed or silent after the first byte was sent"
    RATE_LIMITED = "HTTP 429 or code 1005"
    SERVER_ERROR = "HTTP 5xx"
    UNREADABLE = "empty, torn, too large, not JSON, or JSON without a code"
    NOT_UNDERSTOOD = "HTTP 4xx without an answer of this API: most likely another server"
    SEE_OTHER = "HTTP 303 or 304"
    REDIRECT = "any other HTTP 3xx"
    UNAUTHORIZED = "HTTP 401 or 403, code 1101 or 1102"
    BUSY = "a code for which the vendor says: try again later"
    REFUSED = "any other code than success"


class Action(enum.Enum):
    """What a call does about a failure."""

    RETRY = "wait with growing backoff and send again; this counts as an attempt"
    WAIT = "wait and send again; this does not count as an attempt"
    REFRESH_TOKEN = "fetch one new token and send again, once"  # noqa: S105 - what a call does
    RAISE = "stop with an error"
    IN_DOUBT = "stop: the call is in doubt, and never sent again"


POLICY: Final[Mapping[Failure, tuple[Action, Action]]] = MappingProxyType(
    {
        # failure: (a call that may be repeated, the paid POST)
        Failure.UNREACHABLE: (Action.RETRY, Action.RETRY),  # a trace proves that no byte was sent
        Failure.CERTIFICATE: (Action.RAISE, Action.RAISE),
        # The vendor may have read all of it and made the job, and so may one behind a 5xx.
        Failure.CONNECTION_LOST: (Action.RETRY, Action.IN_DOUBT),
        # Refused before anything was made, so it costs no attempt; an id in the answer makes it a doubt.
        Failure.RATE_LIMITED: (Action.WAIT, Action.WAIT),
        Failure.SERVER_ERROR: (Action.RETRY, Action.IN_DOUBT),
        Failure.UNREADABLE: (Action.RETRY, Action.IN_DOUBT),
        # Most likely nothing was made, but a gateway in front of the right server may answer so, too.
        Failure.NOT_UNDERSTOOD: (Action.RAISE, Action.IN_DOUBT),
        # 303 says that the POST was accepted, and where its result is; no refusal has 304.
        Failure.SEE_OTHER: (Action.RAISE, Action.IN_DOUBT),
        Failure.REDIRECT: (Action.RAISE, Action.RAISE),  # following it would show the key to another host
        Failure.UNAUTHORIZED: (Action.REFRESH_TOKEN, Action.REFRESH_TOKEN),
        # An answer with a code says that no job was made; the batch may submit the entry again later.
        Failure.BUSY: (Action.RETRY, Action.RAISE),
        Failure.REFUSED: (Action.RAISE, Action.RAISE),
    }
)
"""What each failure leads to; `tests/model/test_failures.py` checks it row by row."""

_FAILURE_OF_KIND: Final[Mapping[CodeKind, Failure]] = MappingProxyType(
    {
        CodeKind.RATE_LIMITED: Failure.RATE_LIMITED,
        CodeKind.CREDENTIALS: Failure.UNAUTHORIZED,
        CodeKind.BUSY: Failure.BUSY,
    }
)

_ERROR_OF_KIND: Final[Mapping[CodeKind, type[AkoolError]]] = MappingProxyType(
    {
        CodeKind.BAD_REQUEST: BadRequestError,
        CodeKind.MEDIA: InvalidMediaError,
        CodeKind.DUPLICATE: DuplicateJobError,
        CodeKind.CREDENTIALS: AuthenticationError,
        CodeKind.CREDITS: OutOfCredits,
        CodeKind.ACCOUNT: PermissionDeniedError,
        CodeKind.RATE_LIMITED: RateLimitError,
        CodeKind.NOT_FOUND: JobNotFoundError,
        CodeKind.SERVER: ServerError,
        CodeKind.BUSY: ServerError,
        CodeKind.UNKNOWN: VendorError,
    }
)


def failure_of_code(code: int | None) -> Failure:
    """Return how a call failed that was answered with `code`, which is not success."""
    return _FAILURE_OF_KIND.get(lookup(code).kind, Failure.REFUSED)


def failure_of_status(http_status: int) -> Failure | None:
    """Return how a call failed by its HTTP status alone; None when the body decides."""
    if http_status == 429:
        return Failure.RATE_LIMITED
    if http_status in (401, 403):
        return Failure.UNAUTHORIZED
    # Never followed: credentials go to one host alone, and a redirect would take them to another.
    if 300 <= http_status < 400:
        return Failure.SEE_OTHER if http_status in (303, 304) else Failure.REDIRECT
    if http_status >= 500:
        return Failure.SERVER_ERROR
    return None


def not_understood(http_status: int, code: int | None) -> bool:
    """Whether an answer shows that its server does not know this API.

    Args:
        http_status: of the answer.
        code: of its envelope, if it has one. Other servers put HTTP statuses there, the vendor does not.
    """
    return (
        400 <= http_status < 500 and http_status not in _OTHER_4XX and (code is None or 0 <= code < SUCCESS)
    )


_MISSING_CONTENT: Final = (
    "Check that the vendor can fetch the video's URL, and that its account has the voices that are named."
)
_OTHER_4XX: Final = frozenset({401, 403, 408, 425, 429})
"""Statuses about credentials, time or rates: a gateway in front of the right server may send them, too."""


def error_for(
    code: int | None, message: str = "", *, http_status: int | None = None, creating: bool = False
) -> AkoolError:
    """Return the exception for a business code other than success; `message` must be cleaned.

    A paid POST names no job, so what does not exist where one is `creating` is the video or a voice.
    """
    row = lookup(code)
    said = f' It says: "{message}".' if message else ""
    number = "" if row.kind is CodeKind.UNKNOWN else f" (code {code})"
    missing = creating and row.kind is CodeKind.NOT_FOUND
    error = BadRequestError if missing else _ERROR_OF_KIND.get(row.kind, VendorError)
    return error(
        f"The vendor refused the call: {row.meaning}{number}.{said}",
        advice=_MISSING_CONTENT if missing else None,
        code=code,
        vendor_message=message,
        http_status=http_status,
    )
