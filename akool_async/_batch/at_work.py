"""Which entries a batch has at work and how far each is, pulled when somebody wants to know.

Told by the batch at each step; decides nothing.
"""

from __future__ import annotations

import enum
from typing import Final

import attrs

from akool_async._core.fingerprint import key_of
from akool_async._core.models import Status
from akool_async._core.observation import Observation, Verdict
from akool_async._core.requests import Request


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


@attrs.define
class _Line:
    since: float
    job_id: str = ""
    seen: Observation | None = None


class Board:
    """The entries at work, in the order in which their turn came."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], _Line] = {}

    def submitting(self, request: Request, now: float) -> None:
        """The turn of a request's languages has come."""
        for target in request.targets:
            self._lines[key_of(request, target), target] = _Line(now)

    def submitted(self, request: Request) -> None:
        """A POST has come to its end: what has no job by now has none at work."""
        for target in request.targets:
            name = key_of(request, target), target
            if name in self._lines and not self._lines[name].job_id:
                del self._lines[name]

    def waits(self, key: str, target: str, job_id: str, since: float) -> None:
        """A job made at the moment `since` is waited for."""
        self._lines[key, target] = _Line(since, job_id)

    def polled(self, key: str, target: str, seen: Observation) -> None:
        """A job was asked about."""
        if (key, target) in self._lines:
            self._lines[key, target].seen = seen

    def ended(self, key: str, target: str) -> None:
        """An entry is not at work any more."""
        self._lines.pop((key, target), None)

    def read(self, now: float) -> tuple[AtWork, ...]:
        """Give them all, as they are at the moment `now`."""
        return tuple(_value(*name, line, now) for name, line in self._lines.items())


def _value(key: str, target: str, line: _Line, now: float) -> AtWork:
    seen = line.seen
    snapshot = None if seen is None else seen.snapshot
    return AtWork(
        key=key,
        target=target,
        stage=_stage(line),
        job_id=line.job_id,
        progress=None if snapshot is None else snapshot.progress,
        seconds=max(now - line.since, 0.0),
        stalled=seen is not None and seen.stalled(now),
    )


def _stage(line: _Line) -> Stage:
    if not line.job_id:
        return Stage.SUBMITTING
    if line.seen is None or line.seen.snapshot is None:
        return Stage.WAITING
    if line.seen.verdict is Verdict.COMPLETED:
        return Stage.SAVING
    return _STAGES.get(line.seen.snapshot.status, Stage.WAITING)
