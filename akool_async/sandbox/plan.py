"""The faults in force, and the choice of those that strike a request.

The one place that counts requests for faults. Safe to change from any thread at any moment.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Collection, Iterable, Iterator

import attrs

from akool_async.sandbox.faults import API_ENDPOINTS, Do, Fault

__all__ = ["FaultPlan", "Subject"]


@attrs.frozen(kw_only=True)
class Subject:
    """What a request is about, as far as a fault may ask."""

    on: str
    jobs: tuple[tuple[int, str], ...] = ()
    """Ordinal and id of the jobs concerned."""
    languages: Collection[str] = ()
    status: int | None = None
    """The true status of the one job concerned."""


@attrs.define(eq=False)
class _Entry:
    fault: Fault
    seen: int = 0
    struck: int = 0
    jobs_struck: set[str] = attrs.field(factory=set)


class FaultPlan:
    """The faults in force, in the order in which they were added.

    Args:
        faults: The first ones.
        seed: Feeds the draws of faults with a probability.
    """

    def __init__(self, faults: Iterable[Fault] = (), *, seed: int = 0) -> None:
        """Put the first faults in force."""
        self._lock = threading.Lock()
        self._draw = random.Random(f"{seed}:faults")  # noqa: S311 - repeatable
        self._entries: tuple[_Entry, ...] = ()
        self._struck: list[Fault] = []
        self.add(*faults)

    def add(self, *faults: Fault) -> None:
        """Put faults in force from the next request on."""
        with self._lock:
            self._entries += tuple(_Entry(fault) for fault in faults)

    def remove(self, fault: Fault) -> None:
        """Take one fault out of force; it need not be there."""
        with self._lock:
            self._entries = tuple(entry for entry in self._entries if entry.fault is not fault)

    def clear(self) -> None:
        """Take all faults out of force."""
        with self._lock:
            self._entries = ()

    def __len__(self) -> int:
        """Return how many are in force."""
        return len(self._entries)

    def __iter__(self) -> Iterator[Fault]:
        """Go through those in force."""
        return iter([entry.fault for entry in self._entries])

    @property
    def struck(self) -> tuple[Fault, ...]:
        """What has happened so far, in order: one entry for every time a fault struck."""
        with self._lock:
            return tuple(self._struck)

    def strike(self, subject: Subject) -> tuple[Fault, ...]:
        """Count a request and return the faults that strike it."""
        if not self._entries:
            return ()
        with self._lock:
            hits = tuple(entry.fault for entry in self._entries if self._hits(entry, subject))
            self._struck.extend(hits)
            return hits

    def _hits(self, entry: _Entry, subject: Subject) -> bool:
        if not _concerns(entry.fault, subject):
            return False
        entry.seen += 1
        if not self._chosen(entry, subject):
            return False
        entry.struck += 1
        entry.jobs_struck.update(job_id for _, job_id in subject.jobs)
        return True

    def _chosen(self, entry: _Entry, subject: Subject) -> bool:
        fault = entry.fault
        if fault.limit is not None and entry.struck >= fault.limit:
            return False
        if fault.nth is not None and entry.seen not in fault.nth:
            return False
        once_per_job = fault.do is Do.URL_FORBIDDEN and fault.nth is None and fault.limit is None
        if once_per_job and any(job_id in entry.jobs_struck for _, job_id in subject.jobs):
            return False
        return fault.probability >= 1 or self._draw.random() < fault.probability


def _concerns(fault: Fault, subject: Subject) -> bool:
    at_endpoint = subject.on in API_ENDPOINTS if fault.on == "*" else subject.on == fault.on
    return (
        at_endpoint
        and (fault.job is None or any(fault.job in names for names in subject.jobs))
        and (fault.filter_language is None or fault.filter_language in subject.languages)
        and _possible(fault, subject.status)
    )


def _possible(fault: Fault, status: int | None) -> bool:
    """Tell whether the job is in a state in which the fault would show."""
    if fault.do in {Do.DONE_WITHOUT_URL, Do.URL_FORBIDDEN}:
        return status == 3
    if fault.do is Do.UNKNOWN_STATUS and str(fault.value) in {"1", "2", "3", "4"}:
        return str(status) == str(fault.value)
    return True
