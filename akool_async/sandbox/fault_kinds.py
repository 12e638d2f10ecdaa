"""The kinds of faults, and a table that says where each can happen and what it leaves of an answer."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import attrs

_MOST_DAYS_OFF: Final = 10_000
ODD_TIMES: Final = ("seconds", "text", "float", "iso", "missing")
API_ENDPOINTS: Final = ("token", "create", "lipsync", "status", "languages", "voices", "credit")


class FaultKind(enum.StrEnum):
    """What goes wrong. Unless said otherwise a kind suits every API endpoint and the CDN."""

    RESET_BEFORE = "reset_before"
    """The connection is reset; the request had no effect."""
    RESET_AFTER = "reset_after"
    """The request had its effect; the connection is reset instead of an answer."""
    WRONG_DATE = "wrong_date"
    """The Date header is `value` days ahead (30 by default; behind if negative), or missing for None."""
    DELAY = "delay"
    """The request is handled `seconds` of real time late. Webhooks: sandbox seconds."""
    HANG = "hang"
    """No answer is sent; the client has to give up. `acted` says whether the request had its effect."""
    HTTP = "http"
    """The HTTP `status` with an HTML page, or `body`, and `retry_after` if given."""
    HTML = "html"
    """HTTP 200 with an HTML page."""
    EMPTY = "empty"
    """HTTP 200 with no body."""
    TRUNCATED = "truncated"
    """Valid HTTP, but the content ends at the fraction `keep` of what it should be."""
    SHORT = "short"
    """The connection is closed at the fraction `keep` of the announced Content-Length."""
    GARBAGE = "garbage"
    """Bytes that are not HTTP, then the connection is closed."""
    HUGE = "huge"
    """An envelope of `size` bytes (5 MiB by default). API only."""
    WRONG_TYPE = "wrong_type"
    """`data` is `value` (a string by default) instead of an object. API only."""
    REDIRECT = "redirect"
    """The HTTP `status` (302 by default) to `location`, by default /elsewhere on the CDN."""
    CODE = "code"
    """An envelope with the business `code`. API only."""
    HTTP_WITH_ANSWER = "http_with_answer"
    """The HTTP `status` (503 by default) with the whole answer as its body. API only."""
    CODE_WITH_ANSWER = "code_with_answer"
    """The whole answer with the business `code` (1005 by default) of a refusal. API only."""
    CUT_AFTER_ID = "cut_after_id"
    """Valid HTTP, but the content ends after the `value`th id of a job (1 by default). API only."""
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - the name of a fault
    """Every token issued so far is void, from this request on. API only."""

    REFUSE_LANGUAGE = "refuse_language"
    """`language` is refused with `code`, the others of the request are not. Create only."""
    OMIT_LANGUAGE = "omit_language"
    """`language` is missing in the answer; its job was made unless `acted` is False. Create only."""
    EXTRA_LANGUAGE = "extra_language"
    """A job for `language` (by default one not asked for) is made, too. Create only."""
    NO_ALL_RESULTS = "no_all_results"
    """The list of results is left out, as older servers do. Create only."""

    JOB_FAILS = "job_fails"
    """The jobs made end with status 4, the error code `code` (1201 by default) and the reason `value`.
    Create and lipsync only."""
    ODD_ID = "odd_id"
    """A job's id is an object ({"$oid": "..."}), or with the `value` "number" a short number, under which
    the job is known. Create, lipsync and status only."""
    ODD_PRICE = "odd_price"
    """The credits locked or deducted are shown as `value` (null by default), or are "missing". Create,
    lipsync and status only."""
    ODD_TIME = "odd_time"
    """The time of creation is shown in "seconds" (by default), as "text", "float" or "iso", is "missing", or
    any `value` that is not text. Create, lipsync and status only."""

    UNKNOWN_STATUS = "unknown_status"
    """`video_status` is `value` (7 by default). "1" to "4" hit only jobs that have that status.
    Status only."""
    DONE_WITHOUT_URL = "done_without_url"
    """A completed job shows no result. Status only."""
    STUCK = "stuck"
    """The progress shown is always `value` (5 by default) until the job ends. Status only."""
    VANISH = "vanish"
    """The job does not exist: code 1008. Status only."""
    URL_FORBIDDEN = "url_forbidden"
    """The result URLs shown answer 403; once one did, the next status shows working ones. Without `nth`
    and `limit` this happens once per job. Status only."""

    RESET_MID = "reset_mid"
    """The connection is reset at the fraction `keep` of the body. CDN only."""
    WRONG_LENGTH = "wrong_length"
    """The announced Content-Length is `size` bytes (100 by default) too large. CDN only."""
    NO_LENGTH = "no_length"
    """Chunked, without a Content-Length. CDN only."""
    CHANGED_ETAG = "changed_etag"
    """The file was replaced: other bytes under another ETag, from this request on. CDN only."""
    DRIP = "drip"
    """The body is sent `size` bytes (16 by default) every `seconds` of real time. CDN only."""
    STALL = "stall"
    """After the fraction `keep` of the body nothing more is sent, and the connection stays open. CDN only."""
    NO_RANGES = "no_ranges"
    """The whole file is sent, whatever range was requested. CDN only."""
    WRONG_RANGE = "wrong_range"
    """The range that is sent begins one byte after the requested one, and says so. CDN only."""
    WEAK_ETAG = "weak_etag"
    """The ETag is a weak one. CDN only."""
    COMPRESSED = "compressed"
    """The body is compressed with gzip, whatever the client accepts. CDN only."""

    LOSE = "lose"
    """A webhook is never sent. Webhook only."""
    DUPLICATE = "duplicate"
    """A webhook is sent twice. Webhook only."""
    REORDER = "reorder"
    """A webhook is sent after the next one of the same job; the last one of a job never is. Webhook only."""


class Remains(enum.Enum):
    """What a fault that replaces an answer leaves of the real one."""

    NOTHING = "nothing"
    PART = "a part, or all of it in another form"
    ID = "at least the id of a job"
    """Where the request had no effect, it is the id of no job: nothing was paid."""


@attrs.frozen(kw_only=True)
class FaultTraits:
    """What the sandbox has to know of a kind, besides its effect itself.

    Args:
        on: where it can happen, as `Fault.on` names it.
        remains: what is left of the answer; None for a kind that does not replace it.
        acts: whether the request has its effect unless `Fault.acted` says otherwise. An answer that tells of
            a job, or hides it, needs one that was really made: a test of money counts it.
        transfer: whether it changes how a file is sent by the CDN.
        value: the `Fault.value` of one that names none.
        code: the `Fault.code` of one that names none.
        suits: whether it can have a value.
    """

    on: Collection[str]
    remains: Remains | None = None
    acts: bool = False
    transfer: bool = False
    value: object = None
    code: int = 1003
    suits: Callable[[Any], bool] = lambda _: True


_API: Final = (*API_ENDPOINTS, "*", "post")
_ALL: Final = (*_API, "cdn")
_MAKES_JOB: Final = ("create", "lipsync")
_SHOWS_JOB: Final = (*_MAKES_JOB, "status")

TRAITS: Final[Mapping[FaultKind, FaultTraits]] = {
    FaultKind.RESET_BEFORE: FaultTraits(on=_ALL, remains=Remains.NOTHING),
    FaultKind.RESET_AFTER: FaultTraits(on=_ALL, remains=Remains.NOTHING, acts=True),
    FaultKind.WRONG_DATE: FaultTraits(
        on=_ALL,
        value=30,
        suits=lambda value: (
            value is None or (isinstance(value, int | float) and abs(value) <= _MOST_DAYS_OFF)
        ),
    ),
    FaultKind.DELAY: FaultTraits(on=(*_ALL, "webhook")),
    FaultKind.HANG: FaultTraits(on=_ALL, remains=Remains.NOTHING),
    FaultKind.HTTP: FaultTraits(on=_ALL, remains=Remains.NOTHING),
    FaultKind.HTML: FaultTraits(on=_ALL, remains=Remains.NOTHING),
    FaultKind.EMPTY: FaultTraits(on=_ALL, remains=Remains.NOTHING),
    FaultKind.TRUNCATED: FaultTraits(on=_ALL, remains=Remains.PART, acts=True, transfer=True),
    FaultKind.SHORT: FaultTraits(on=_ALL, remains=Remains.PART, acts=True, transfer=True),
    FaultKind.GARBAGE: FaultTraits(on=_ALL, remains=Remains.NOTHING),
    FaultKind.HUGE: FaultTraits(on=_API, remains=Remains.PART),
    FaultKind.WRONG_TYPE: FaultTraits(on=_API, remains=Remains.PART, acts=True, value="not an object"),
    FaultKind.REDIRECT: FaultTraits(on=_ALL, remains=Remains.NOTHING),
    FaultKind.CODE: FaultTraits(on=_API, remains=Remains.NOTHING),
    FaultKind.HTTP_WITH_ANSWER: FaultTraits(on=_API, remains=Remains.ID, acts=True),
    FaultKind.CODE_WITH_ANSWER: FaultTraits(on=_API, remains=Remains.ID, acts=True, code=1005),
    FaultKind.CUT_AFTER_ID: FaultTraits(
        on=_API,
        remains=Remains.ID,
        acts=True,
        value=1,
        suits=lambda value: isinstance(value, int) and value >= 1,
    ),
    FaultKind.TOKEN_EXPIRED: FaultTraits(on=_API),
    FaultKind.REFUSE_LANGUAGE: FaultTraits(on=("create",)),
    FaultKind.OMIT_LANGUAGE: FaultTraits(on=("create",), acts=True),
    FaultKind.EXTRA_LANGUAGE: FaultTraits(on=("create",)),
    FaultKind.NO_ALL_RESULTS: FaultTraits(on=("create",)),
    FaultKind.JOB_FAILS: FaultTraits(on=_MAKES_JOB, code=1201),
    FaultKind.ODD_ID: FaultTraits(on=_SHOWS_JOB, value="oid", suits=lambda value: value in ("oid", "number")),
    FaultKind.ODD_PRICE: FaultTraits(on=_SHOWS_JOB),
    FaultKind.ODD_TIME: FaultTraits(
        on=_SHOWS_JOB, value="seconds", suits=lambda value: not isinstance(value, str) or value in ODD_TIMES
    ),
    FaultKind.UNKNOWN_STATUS: FaultTraits(on=("status",), value=7),
    FaultKind.DONE_WITHOUT_URL: FaultTraits(on=("status",)),
    FaultKind.STUCK: FaultTraits(on=("status",), value=5),
    FaultKind.VANISH: FaultTraits(on=("status",)),
    FaultKind.URL_FORBIDDEN: FaultTraits(on=("status",)),
    FaultKind.RESET_MID: FaultTraits(on=("cdn",), transfer=True),
    FaultKind.WRONG_LENGTH: FaultTraits(on=("cdn",), transfer=True),
    FaultKind.NO_LENGTH: FaultTraits(on=("cdn",), transfer=True),
    FaultKind.CHANGED_ETAG: FaultTraits(on=("cdn",)),
    FaultKind.DRIP: FaultTraits(on=("cdn",), transfer=True),
    FaultKind.STALL: FaultTraits(on=("cdn",), transfer=True),
    FaultKind.NO_RANGES: FaultTraits(on=("cdn",)),
    FaultKind.WRONG_RANGE: FaultTraits(on=("cdn",), transfer=True),
    FaultKind.WEAK_ETAG: FaultTraits(on=("cdn",), transfer=True),
    FaultKind.COMPRESSED: FaultTraits(on=("cdn",), transfer=True),
    FaultKind.LOSE: FaultTraits(on=("webhook",)),
    FaultKind.DUPLICATE: FaultTraits(on=("webhook",)),
    FaultKind.REORDER: FaultTraits(on=("webhook",)),
}
"""One row for each kind."""

SUITED: Final[Mapping[str, frozenset[FaultKind]]] = {
    place: frozenset(kind for kind, traits in TRAITS.items() if place in traits.on)
    for place in (*_ALL, "webhook")
}
"""What can go wrong where."""
