"""Which entries a batch has at work and how far each is, pulled when somebody wants to know.

Told by the batch at each step; decides nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

import attrs

from akool_async._batch.flight import Flight
from akool_async._batch.following import Following
from akool_async._core.fingerprint import key_of
from akool_async._core.models import Status
from akool_async._core.observation import Observation, Verdict
from akool_async._core.requests import Request
from akool_async._waiting import Watch


class Stage(enum.StrEnum):
    """How far an entry at work is."""

    SUBMITTING = "submitting"
    """Its POST is waiting for its turn, or is under way."""
    WAITING = "waiting"
    """Its job is at the vendor, which was not asked about it yet."""
    QUEUEING = "queueing"
    """The vendor has not begun with it."""
    PROCESSING = "processing"
    """The vendor is at it."""
    SAVING = "saving"
    """The vendor is done; its result is being recorded and brought home."""


_STAGES: Final = {
    Status.QUEUEING: Stage.QUEUEING,
    Status.PROCESSING: Stage.PROCESSING,
    Status.COMPLETED: Stage.PROCESSING,  # its URL is not there yet
}


@attrs.frozen(kw_only=True)
class AtWork:
    """One entry that a batch has at work, at one moment.

    Attributes:
        key: the caller's name of the entry, or its fingerprint.
        target: the language; "" for lip-sync.
        stage: how far it is.
        job_id: its job at the vendor; "" before there is one.
        progress: percent as the vendor last told it, 0 to 100; None where it has told none.
        seconds: since its job was made, as far as known; before that, since its turn came.
        stalled: whether nothing has moved for so long that somebody should know.
    """

    key: str
    target: str
    stage: Stage
    job_id: str = ""
    progress: int | None = None
    seconds: float = 0.0
    stalled: bool = False


class Board:
    """The entries at work, in the order in which their turn came or their jobs were made.

    Args:
        flying: the jobs in flight, as the batch follows them.
    """

    def __init__(self, flying: Mapping[tuple[str, str], Following]) -> None:
        self._flying = flying
        self._turns: dict[tuple[str, str], float] = {}

    def submitting(self, request: Request, now: float) -> None:
        """The turn of a request's languages has come."""
        for target in request.targets:
            self._turns[key_of(request, target), target] = now

    def submitted(self, request: Request) -> None:
        """A POST has come to its end: what has no job by now has none at work."""
        for target in request.targets:
            self._turns.pop((key_of(request, target), target), None)

    def waits(self, flight: Flight) -> None:
        """An entry has its job."""
        self._turns.pop((flight.key, flight.target), None)

    def read(self, now: float) -> tuple[AtWork, ...]:
        """Give them all, as they are at the moment `now`."""
        turns = [
            AtWork(key=key, target=target, stage=Stage.SUBMITTING, seconds=max(now - since, 0.0))
            for (key, target), since in self._turns.items()
        ]
        jobs = [_job(one.flight, one.watch, now) for one in self._flying.values() if one.watch is not None]
        return tuple(sorted((*turns, *jobs), key=lambda one: -one.seconds))


def _job(flight: Flight, watch: Watch, now: float) -> AtWork:
    seen = watch.observation
    return AtWork(
        key=flight.key,
        target=flight.target,
        stage=_stage(seen),
        job_id=flight.job_id,
        progress=None if seen.snapshot is None else seen.snapshot.progress,
        seconds=max(now - seen.created, 0.0),
        stalled=seen.stalled(now),
    )


def _stage(seen: Observation) -> Stage:
    if seen.snapshot is None:
        return Stage.WAITING
    if seen.verdict is Verdict.COMPLETED:
        return Stage.SAVING
    return _STAGES.get(seen.snapshot.status, Stage.WAITING)
