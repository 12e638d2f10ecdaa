"""What goes wrong in a sandbox: the kinds of faults, one `Fault`, and the plan that decides when each hits.

What a fault does to an answer is in `fault_effects`, `api`, `cdn` and `webhooks`.
"""

from __future__ import annotations

import enum
import json
import random
import re
import sys
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import attrs
from attrs import validators

from akool_async.sandbox.jobs import SandboxJob

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
    """The request is taken up `seconds` of real time late. Webhooks: sandbox seconds."""
    HANG = "hang"
    """Never an answer; the client has to leave. `acted` says whether the request had its effect."""
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
    """Every token issued so far is void, from this very request on. API only."""

    REFUSE_LANGUAGE = "refuse_language"
    """`language` is refused with `code`, the others of the request are not. Create only."""
    OMIT_LANGUAGE = "omit_language"
    """`language` is missing in the answer; its job was made unless `acted` is False. Create only."""
    EXTRA_LANGUAGE = "extra_language"
    """A job for `language` (by default one not asked for) is made besides. Create only."""
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
    """The body comes `size` bytes (16 by default) every `seconds` of real time. CDN only."""
    STALL = "stall"
    """After the fraction `keep` of the body nothing comes any more, and the connection stays. CDN only."""
    NO_RANGES = "no_ranges"
    """The whole file comes, whatever part of it was asked for. CDN only."""
    WRONG_RANGE = "wrong_range"
    """The part that comes begins one byte after the one asked for, and says so. CDN only."""
    WEAK_ETAG = "weak_etag"
    """The ETag is a weak one. CDN only."""
    COMPRESSED = "compressed"
    """The body is compressed with gzip, though nobody asked for it. CDN only."""

    LOSE = "lose"
    """A webhook is never sent. Webhook only."""
    DUPLICATE = "duplicate"
    """A webhook is sent twice. Webhook only."""
    REORDER = "reorder"
    """A webhook is sent after the next one of the same job; the last one of a job never is. Webhook only."""


def kinds(names: str) -> frozenset[FaultKind]:
    """Return the kinds with these names, which are separated by spaces."""
    return frozenset(map(FaultKind, names.split()))


_CREATE_ONLY: Final = kinds("refuse_language omit_language extra_language no_all_results")
_CREATES: Final = kinds("job_fails odd_id odd_price odd_time")
_STATUS_ONLY: Final = kinds("unknown_status done_without_url stuck vanish url_forbidden")
_CDN_ONLY: Final = kinds(
    "reset_mid wrong_length no_length changed_etag drip stall no_ranges wrong_range weak_etag compressed"
)
_WEBHOOK_ONLY: Final = kinds("lose duplicate reorder")
_API_ONLY: Final = kinds("huge wrong_type code token_expired http_with_answer code_with_answer cut_after_id")
_WIRE: Final = kinds(
    "reset_before reset_after delay wrong_date hang http html empty truncated short garbage redirect"
)
SUITED: Final[Mapping[str, frozenset[FaultKind]]] = {
    **dict.fromkeys((*API_ENDPOINTS, "*", "post"), _WIRE | _API_ONLY),
    "create": _WIRE | _API_ONLY | _CREATE_ONLY | _CREATES,
    "lipsync": _WIRE | _API_ONLY | _CREATES,
    "status": _WIRE | _API_ONLY | _STATUS_ONLY | _CREATES - {FaultKind.JOB_FAILS},
    "cdn": _WIRE | _CDN_ONLY,
    "webhook": _WEBHOOK_ONLY | {FaultKind.DELAY},
}
"""What can go wrong where."""

# The answer tells of a job in these, or hides it: a test of money needs one that was really made.
_ACTS_BY_DEFAULT: Final = kinds(
    "reset_after truncated short wrong_type omit_language http_with_answer code_with_answer cut_after_id"
)
_VALUES: Final[Mapping[FaultKind, object]] = {
    FaultKind.UNKNOWN_STATUS: 7,
    FaultKind.STUCK: 5,
    FaultKind.WRONG_TYPE: "not an object",
    FaultKind.CUT_AFTER_ID: 1,
    FaultKind.ODD_ID: "oid",
    FaultKind.ODD_TIME: "seconds",
    FaultKind.WRONG_DATE: 30,
}
"""The value of a fault that names none; None for the other kinds."""
_CODES: Final = {FaultKind.CODE_WITH_ANSWER: 1005, FaultKind.JOB_FAILS: 1201}


def _as_numbers(value: object) -> tuple[int, ...] | range | None:
    if value is None or isinstance(value, range):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    if isinstance(value, list | tuple) and all(isinstance(item, int) for item in value):
        return tuple(value)
    raise TypeError(f"nth counts requests from 1: a number, a tuple or a range, not {value!r}")


@attrs.frozen(kw_only=True)
class Fault:
    """One thing that goes wrong.

    Args:
        on: "token", "create", "lipsync", "status", "languages", "voices", "credit", "cdn", "webhook",
            "post" for token, create and lipsync, or "*" for every API endpoint.
        kind: What goes wrong, a `FaultKind` or its value.
        nth: Which requests it hits, counted from 1 over those that arrived since the fault was added
            and pass its other filters: a number, several, a range, or None for every one.
        job: Only requests about this job: its id, or its ordinal (1 for the first job ever made).
        language: Only requests about this language. For the kinds that name a language: that one.
        probability: The share of the requests picked by the other filters that it hits; seeded.
        limit: How often it hits at most; None for no limit.
        acted: Whether the request has its effect; None for the default of the kind: yes for reset_after,
            truncated, short, wrong_type, omit_language, http_with_answer, code_with_answer and
            cut_after_id, no for the others. Without it, the last three name the id of no job.
        seconds: For delay and drip.
        status: For http, http_with_answer and redirect.
        retry_after: For http: the header's text, or seconds.
        body: For http: the page instead of the usual one.
        keep: For truncated, short, reset_mid and stall: the fraction of the content that is sent.
        location: For redirect.
        code: For code, code_with_answer, refuse_language and job_fails.
        size: For huge, wrong_length and drip, in bytes.
        value: For wrong_type, unknown_status, stuck, cut_after_id, job_fails, wrong_date and the odd ones.
    """

    on: str = attrs.field(validator=validators.in_(tuple(SUITED)))
    kind: FaultKind = attrs.field(converter=FaultKind)
    nth: tuple[int, ...] | range | None = attrs.field(default=None, converter=_as_numbers)
    job: str | int | None = None
    language: str | None = None
    probability: float = attrs.field(default=1.0, validator=(validators.ge(0), validators.le(1)))
    limit: int | None = attrs.field(default=None, validator=validators.optional(validators.ge(1)))
    acted: bool | None = None
    seconds: float = attrs.field(default=0.01, validator=validators.ge(0))
    status: int | None = attrs.field(
        default=None, validator=validators.optional([validators.ge(200), validators.le(999)])
    )
    retry_after: str | float | None = None
    body: str | None = None
    keep: float = attrs.field(default=0.5, validator=(validators.ge(0), validators.lt(1)))
    location: str | None = None
    code: int = attrs.field()
    size: int | None = attrs.field(default=None, validator=validators.optional(validators.ge(1)))
    value: Any = attrs.field(default=attrs.NOTHING)

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Return the fault that a text such as "create:reset:nth=2" names: where, what, and any field.

        "reset" is short for "reset_after", on the CDN for "reset_mid". `nth` may be "2", "1,4", "2-5" or
        "3-", `value` is read as JSON where it is JSON, and `acted` is "yes" or "no".

        Raises:
            ValueError: There is no such place, kind or field, or a value does not suit it.
        """
        on, _, rest = text.partition(":")
        kind, _, rest = rest.partition(":")
        if kind == "reset":
            kind = "reset_mid" if on == "cdn" else "reset_after"
        if kind not in SUITED.get(on, frozenset()):
            place = f"after {on!r} may follow" if on in SUITED else "it may begin with"
            known = ", ".join(sorted(SUITED.get(on, SUITED)))
            raise ValueError(f"{text!r} is not a fault; {place}: {known}")
        options: dict[str, Any] = {}
        for field in _NEXT_FIELD.split(rest) if rest else ():
            name, _, value = field.partition("=")
            if name not in _FIELDS:
                raise ValueError(f"{text!r} has an unknown field {name!r}; known are: {', '.join(_FIELDS)}")
            try:
                options[name] = _read_field(name, value)
            except (KeyError, ValueError) as error:
                raise ValueError(f"{text!r} has a wrong value for {name}") from error
        return cls(on=on, kind=kind, **options)

    @code.default
    def _default_code(self) -> int:
        return _CODES.get(self.kind, 1003)

    @value.default
    def _default_value(self) -> object:
        return _VALUES.get(self.kind)

    def __attrs_post_init__(self) -> None:
        """Reject a kind that does not suit `on`, a value that does not suit the kind, a language left out."""
        if self.kind not in SUITED[self.on]:
            raise ValueError(f"{self.kind.value} can't happen on {self.on!r}")
        if self.kind is FaultKind.OMIT_LANGUAGE and self.language is None:
            raise ValueError("omit_language has to name the language")
        match self.kind:
            case FaultKind.ODD_ID:
                suits = self.value in ("oid", "number")
            case FaultKind.ODD_TIME:
                suits = not isinstance(self.value, str) or self.value in ODD_TIMES
            case FaultKind.CUT_AFTER_ID:
                suits = isinstance(self.value, int) and self.value >= 1
            case FaultKind.WRONG_DATE:
                suits = self.value is None or (
                    isinstance(self.value, int | float) and abs(self.value) <= _MOST_DAYS_OFF
                )
            case _:
                suits = True
        if not suits:
            raise ValueError(f"{self.kind.value} has no value {self.value!r}")

    @property
    def acts(self) -> bool:
        """Whether the request has its effect although the answer is spoiled."""
        return self.kind in _ACTS_BY_DEFAULT if self.acted is None else self.acted


_FIELDS: Final = (
    "nth job language probability limit acted seconds status retry_after body keep location code size value"
).split()
_NEXT_FIELD: Final = re.compile(f":(?=(?:{'|'.join(_FIELDS)})=)")
"""Before a field; other colons belong to a value, such as a URL."""


def _read_field(name: str, text: str) -> object:
    match name:
        case "nth" if "-" in text:
            first, _, last = text.partition("-")
            return range(int(first), int(last) + 1 if last else sys.maxsize)
        case "nth":
            return tuple(map(int, text.split(",")))
        case "job" if not text.isdecimal():
            return text
        case "job" | "limit" | "status" | "code" | "size":
            return int(text)
        case "probability" | "seconds" | "keep":
            return float(text)
        case "acted":
            return {"yes": True, "no": False}[text]
        case "value":
            with suppress(ValueError):
                return json.loads(text, parse_constant=str)
    return text


@attrs.frozen(kw_only=True)
class FaultTarget:
    """What a request is about, as far as the filters of faults ask."""

    on: str
    jobs: tuple[tuple[int, str], ...] = ()
    """Ordinal and id of the jobs concerned."""
    languages: Collection[str] = ()
    status: int | None = None
    """The true status of the one job concerned."""

    @classmethod
    def for_job(cls, on: str, job: SandboxJob | None) -> FaultTarget:
        """Describe a request about one job, or about none."""
        if job is None:
            return cls(on=on)
        return cls(on=on, jobs=((job.ordinal, job.id),), languages=(job.spec.language,), status=job.status)


@attrs.define(eq=False)
class _Entry:
    fault: Fault
    seen: int = 0
    hits: int = 0
    jobs_hit: set[str] = attrs.field(factory=set)


class FaultPlan:
    """The active faults, in the order in which they were added; safe to change from any thread.

    Args:
        faults: The first ones.
        seed: Seeds the draws of faults with a probability.
    """

    def __init__(self, faults: Iterable[Fault] = (), *, seed: int = 0) -> None:
        """Activate the first faults."""
        self._lock = threading.Lock()
        self._draw = random.Random(f"{seed}:faults")  # noqa: S311 - repeatable
        self._entries: tuple[_Entry, ...] = ()
        self._hits: list[Fault] = []
        self.add(*faults)

    def add(self, *faults: Fault) -> None:
        """Activate faults from the next request on."""
        with self._lock:
            self._entries += tuple(_Entry(fault) for fault in faults)

    def remove(self, fault: Fault) -> None:
        """Remove one fault, if it is there."""
        with self._lock:
            self._entries = tuple(entry for entry in self._entries if entry.fault is not fault)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._entries = ()

    def __len__(self) -> int:
        """Return how many are active."""
        return len(self._entries)

    def __iter__(self) -> Iterator[Fault]:
        """Iterate over the active ones."""
        return iter([entry.fault for entry in self._entries])

    @property
    def hits(self) -> tuple[Fault, ...]:
        """What has happened so far, in order: one entry for each time a fault hit a request."""
        with self._lock:
            return tuple(self._hits)

    def match(self, target: FaultTarget) -> tuple[Fault, ...]:
        """Count a request and return the faults that hit it."""
        if not self._entries:
            return ()
        with self._lock:
            concerned = [entry for entry in self._entries if _concerns(entry.fault, target)]
            hits = []
            for entry in concerned:
                entry.seen += 1
                if self._is_due(entry, target):
                    entry.hits += 1
                    entry.jobs_hit.update(job_id for _, job_id in target.jobs)
                    hits.append(entry.fault)
            self._hits += hits
            return tuple(hits)

    def _is_due(self, entry: _Entry, target: FaultTarget) -> bool:
        fault = entry.fault
        if fault.limit is not None and entry.hits >= fault.limit:
            return False
        if fault.nth is not None and entry.seen not in fault.nth:
            return False
        # Each poll would forbid the new URLs too, and the result could never be fetched.
        once_per_job = fault.kind is FaultKind.URL_FORBIDDEN and fault.nth is None and fault.limit is None
        if once_per_job and any(job_id in entry.jobs_hit for _, job_id in target.jobs):
            return False
        return fault.probability >= 1 or self._draw.random() < fault.probability


def _concerns(fault: Fault, target: FaultTarget) -> bool:
    places = {"*": API_ENDPOINTS, "post": ("token", "create", "lipsync")}.get(fault.on, (fault.on,))
    language = None if fault.kind is FaultKind.EXTRA_LANGUAGE else fault.language
    # A fault that only shows in some states must not use up its `nth` and `limit` in others.
    if fault.kind in {FaultKind.DONE_WITHOUT_URL, FaultKind.URL_FORBIDDEN}:
        shows = target.status == 3
    elif fault.kind is FaultKind.UNKNOWN_STATUS and str(fault.value) in {"1", "2", "3", "4"}:
        shows = str(target.status) == str(fault.value)
    else:
        shows = True
    return (
        shows
        and target.on in places
        and (fault.job is None or any(fault.job in names for names in target.jobs))
        and (language is None or language in target.languages)
    )
