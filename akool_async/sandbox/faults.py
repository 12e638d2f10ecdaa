"""What goes wrong in a sandbox: one `Fault`, and the plan that decides when each hits.

The kinds are in `fault_kinds`; their effects in `fault_effects`, `api`, `cdn` and `webhooks`.
"""

from __future__ import annotations

import json
import random
import re
import sys
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import attrs

from akool_async._model.validators import fraction, in_range, not_negative, one_of, portion, whole_number
from akool_async.sandbox.fault_kinds import API_ENDPOINTS, SUITED, TRAITS, FaultKind
from akool_async.sandbox.jobs import COMPLETED, SandboxJob


def _as_numbers(value: int | Sequence[int] | None) -> tuple[int, ...] | range | None:
    if value is None or isinstance(value, range):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    if isinstance(value, list | tuple) and all(isinstance(item, int) for item in value):
        return tuple(value)
    raise TypeError(f"nth counts requests from 1: a number, a tuple or a range, not {value!r}")


_http_status: Final = in_range(
    "a whole number from 200 to 999", lambda value: isinstance(value, int) and 200 <= value <= 999
)


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

    on: str = attrs.field(validator=one_of(*SUITED))
    kind: FaultKind = attrs.field(converter=FaultKind)
    nth: tuple[int, ...] | range | None = attrs.field(default=None, converter=_as_numbers)
    job: str | int | None = None
    language: str | None = None
    probability: float = attrs.field(default=1.0, validator=portion)
    limit: int | None = attrs.field(default=None, validator=whole_number.or_none)
    acted: bool | None = None
    seconds: float = attrs.field(default=0.01, validator=not_negative)
    status: int | None = attrs.field(default=None, validator=_http_status.or_none)
    retry_after: str | float | None = None
    body: str | None = None
    keep: float = attrs.field(default=0.5, validator=fraction)
    location: str | None = None
    # Not with decorators, by which pyright does not see that there is a default.
    code: int = attrs.field(default=attrs.Factory(lambda self: TRAITS[self.kind].code, takes_self=True))
    size: int | None = attrs.field(default=None, validator=whole_number.or_none)
    value: Any = attrs.field(default=attrs.Factory(lambda self: TRAITS[self.kind].value, takes_self=True))

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

    def __attrs_post_init__(self) -> None:
        """Reject a kind that does not suit `on`, a value that does not suit the kind, a language left out."""
        if self.kind not in SUITED[self.on]:
            raise ValueError(f"{self.kind.value} can't happen on {self.on!r}")
        if self.kind is FaultKind.OMIT_LANGUAGE and self.language is None:
            raise ValueError("omit_language has to name the language")
        if not TRAITS[self.kind].suits(self.value):
            raise ValueError(f"{self.kind.value} has no value {self.value!r}")

    @property
    def acts(self) -> bool:
        """Whether the request has its effect although the answer is spoiled."""
        return TRAITS[self.kind].acts if self.acted is None else self.acted


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
    job: tuple[int, str] | None = None
    """Ordinal and id of the job concerned."""
    languages: Collection[str] = ()
    status: int | None = None
    """The true status of that job."""

    @classmethod
    def for_job(cls, on: str, job: SandboxJob | None) -> FaultTarget:
        """Describe a request about one job, or about none."""
        if job is None:
            return cls(on=on)
        return cls(on=on, job=(job.ordinal, job.id), languages=(job.spec.language,), status=job.status)


@attrs.define(eq=False)
class _Entry:
    fault: Fault
    seen: int = 0
    hits: int = 0
    jobs_hit: set[tuple[int, str] | None] = attrs.field(factory=set)


class FaultPlan:
    """The active faults, in the order in which they were added; safe to change from any thread.

    Args:
        faults: The first ones, each a `Fault` or a text for `Fault.parse`; one alone may be given as it is.
        seed: Seeds the draws of faults with a probability.
    """

    def __init__(self, faults: Fault | str | Iterable[Fault | str] = (), *, seed: int = 0) -> None:
        """Activate the first faults."""
        self._lock = threading.Lock()
        self._draw = random.Random(f"{seed}:faults")  # noqa: S311 - repeatable
        self._entries: tuple[_Entry, ...] = ()
        self._hits: list[Fault] = []
        self.add(*((faults,) if isinstance(faults, Fault | str) else faults))

    def add(self, *faults: Fault | str) -> None:
        """Activate faults from the next request on.

        Args:
            faults: Each a `Fault`, or a text for `Fault.parse` such as "create:reset:nth=2".

        Raises:
            ValueError: A text names no fault; none is added.
            TypeError: A fault is neither.
        """
        entries = tuple(_Entry(_as_fault(fault)) for fault in faults)
        with self._lock:
            self._entries += entries

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
                    entry.jobs_hit.add(target.job)
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
        if once_per_job and target.job in entry.jobs_hit:
            return False
        return fault.probability >= 1 or self._draw.random() < fault.probability


def _as_fault(fault: Fault | str) -> Fault:
    if isinstance(fault, str):
        return Fault.parse(fault)
    if not isinstance(fault, Fault):
        raise TypeError(f"A fault is a Fault or a text such as 'create:reset', not {fault!r}")
    return fault


def _concerns(fault: Fault, target: FaultTarget) -> bool:
    places = {"*": API_ENDPOINTS, "post": ("token", "create", "lipsync")}.get(fault.on, (fault.on,))
    language = None if fault.kind is FaultKind.EXTRA_LANGUAGE else fault.language
    # A fault that only shows in some states must not use up its `nth` and `limit` in others.
    if fault.kind in {FaultKind.DONE_WITHOUT_URL, FaultKind.URL_FORBIDDEN}:
        shows = target.status == COMPLETED
    elif fault.kind is FaultKind.UNKNOWN_STATUS and str(fault.value) in {"1", "2", "3", "4"}:
        shows = str(target.status) == str(fault.value)
    else:
        shows = True
    return (
        shows
        and target.on in places
        and (fault.job is None or fault.job in (target.job or ()))
        and (language is None or language in target.languages)
    )
