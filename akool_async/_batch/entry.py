"""One entry of a batch, from the source to its outcome, and where it waits between two steps."""

from __future__ import annotations

import enum
import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final, TypedDict, Unpack

import anyio
import attrs
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from akool_async._batch.limits import Changes, WeightedSemaphore
from akool_async._journal import Entry, EntryUpdate, UpdateFields
from akool_async._model.errors import AkoolError
from akool_async._model.fingerprint import entry_key
from akool_async._model.outcomes import (
    Completed,
    Expired,
    Failed,
    InDoubt,
    NotSubmitted,
    Outcome,
    OutcomeFields,
    Rejected,
    Saved,
)
from akool_async._model.requests import EMPTY, Request
from akool_async._model.responses import Job, Snapshot, Status
from akool_async._model.states import State
from akool_async._polling.poll_state import PollVerdict
from akool_async._polling.scheduler import PolledJob


class EventFields(TypedDict):
    """What names an entry in an event, as keyword arguments."""

    key: str
    target: str
    job_id: str


@attrs.define(kw_only=True, weakref_slot=False, eq=False)
class BatchEntry:
    """One entry on its way; it learns of its job, and carries its slot.

    Attributes:
        request: what was asked for, with this and maybe other languages.
        token: what its callbacks come with, or "".
        traceparent: what an observer had stored with its intent, or "".
        slots: where it holds the right to a job in flight, from before its POST until the job is terminal.
        retries_left: times that it may be submitted again after a failure that may pass.
        failure: how its job before ended, where it is submitted again because of that.
        work: what it alone may pay for now, of all entries with this work; None once it has a job.
        key: the caller's name of the entry, or its fingerprint; made once, for that is a hash.
    """

    request: Request
    target: str
    job: Job | None = None
    submitted_at: datetime | None = None
    token: str = attrs.field(default="", repr=False)
    traceparent: str = ""
    slots: WeightedSemaphore | None = attrs.field(default=None, repr=False)
    retries_left: int = 0
    failure: Failed | None = None
    work: tuple[str, str] | None = attrs.field(default=None, init=False, repr=False)
    key: str = attrs.field(init=False, repr=False)

    @key.default
    def _key(self) -> str:
        return entry_key(self.request, self.target)

    @property
    def name(self) -> tuple[str, str]:
        """Its key and its language, which name it in the journal."""
        return self.key, self.target

    def identify(self, request: Request) -> None:
        """Take the request with the content of its inputs, by which it is named."""
        if request is not self.request:
            self.request, self.key = request, entry_key(request, self.target)

    @property
    def job_id(self) -> str:
        """The id of its job, or ""."""
        return "" if self.job is None else self.job.id

    @property
    def event_fields(self) -> EventFields:
        """What names it in a report to observers."""
        return {"key": self.key, "target": self.target, "job_id": self.job_id}

    def release_slot(self) -> None:
        """Let another entry have a job in flight; does nothing without a slot."""
        # Called at each end that an entry may come to: freeing a slot twice would exceed the cap.
        slots, self.slots = self.slots, None
        if slots is not None:
            slots.release(1)

    def submitted(self, job: Job, sent_at: datetime | None, token: str) -> BatchEntry:
        """Take over the job that the POST made."""
        # Without what nobody asks a job in flight for: it would be most of what it holds in memory.
        self.job = attrs.evolve(job, raw=EMPTY, video_id="", task_id="")
        self.submitted_at, self.token = sent_at, token
        return self

    def resume_job(self, entry: Entry) -> None:
        """Take over the job that the journal knows."""
        self.job = entry.job
        self.submitted_at, self.traceparent = entry.submitted_at, entry.traceparent

    def update(self, state: State, **changes: Unpack[UpdateFields]) -> EntryUpdate:
        """Return the journal's change to a state."""
        return EntryUpdate(key=self.key, target=self.target, state=state, **changes)

    def _fields(self, reason: str, now: datetime, cost: float | None) -> OutcomeFields:
        return {
            "key": self.key,
            "request": self.request,
            "target": self.target,
            "job": self.job,
            "reason": reason,
            "submitted_at": self.submitted_at,
            "ended_at": now,
            "credits": cost,
            "resumed": False,
        }

    @property
    def _locked(self) -> float | None:
        return None if self.job is None else self.job.credits_locked

    def completed(
        self, snapshot: Snapshot, saved: Saved | None, now: datetime, reason: str = ""
    ) -> Completed:
        """Return the outcome of a result that is there."""
        # What was deducted is the price; a lock is only what it could be at most.
        used = snapshot.credits_used
        price = self._locked if used is None else used
        return Completed(**self._fields(reason, now, price), snapshot=snapshot, saved=saved)

    def failed(self, reason: str, snapshot: Snapshot | None, now: datetime) -> Failed:
        """Return the outcome of a job without a result."""
        return Failed(**self._fields(reason, now, self._locked), snapshot=snapshot)

    def expired(self, reason: str, now: datetime) -> Expired:
        """Return the outcome of a result that expired."""
        return Expired(**self._fields(reason, now, self._locked))

    def rejected(self, reason: str, code: int | None, now: datetime) -> Rejected:
        """Return the outcome of a request that the vendor refused."""
        return Rejected(**self._fields(reason, now, 0.0), code=code)

    def in_doubt(self, reason: str, now: datetime, doubt_ids: tuple[str, ...]) -> InDoubt:
        """Return the outcome of a POST whose answer is unknown."""
        return InDoubt(**self._fields(reason, now, self._locked), doubt_ids=doubt_ids)

    def not_submitted(
        self, reason: str, now: datetime, *, stopped: bool = False, already_saved: bool = False
    ) -> NotSubmitted:
        """Return the outcome of an entry for which nothing was sent."""
        fields = self._fields(reason, now, 0.0)
        return NotSubmitted(**fields, stopped=stopped, already_saved=already_saved)


def outcome_from_journal(entry: Entry, request: Request) -> Outcome:
    """Return the outcome that an earlier run came to."""
    fields: OutcomeFields = {
        "key": entry.key,
        "request": request,
        "target": entry.target,
        "job": entry.job,
        "reason": "" if entry.files else entry.reason,  # what saved files lack, `saved` says
        "submitted_at": entry.submitted_at,
        "ended_at": entry.ended_at,
        "credits": entry.credits_locked if entry.credits_used is None else entry.credits_used,
        "resumed": True,
    }
    if entry.state in (State.DELIVERED, State.COMPLETED):
        saved = Saved.from_paths(entry.files, entry.reason)
        return Completed(**fields, snapshot=entry.known_snapshot, saved=saved)
    # Without a job it was refused, and cost nothing; with one it failed, and may have cost.
    if entry.state is State.FAILED and not entry.job_id:
        return Rejected(**fields, code=entry.code)
    if entry.state is State.FAILED:
        return Failed(**fields, snapshot=entry.snapshot)
    if entry.state is State.EXPIRED:
        return Expired(**fields)
    # Whatever else the journal says, SUBMITTING included: a POST may have been sent, so nothing is claimed.
    return InDoubt(**fields, doubt_ids=entry.doubt_ids)


# A job in flight, as the batch follows it: one small object, for there may be very many.


@attrs.define(eq=False, weakref_slot=False)
class TrackedJob:
    """Called after every poll of its job.

    Attributes:
        ended: called with the batch_entry and the watch when the job has ended.
        watch: what waits for the job and knows what its polls have said; None when nothing does any more.
    """

    batch_entry: BatchEntry
    ended: Callable[[BatchEntry, PolledJob], None]
    watch: PolledJob | None = None

    def __call__(self, watch: PolledJob) -> None:
        """Record what a poll said."""
        if watch.is_terminal:
            self.ended(self.batch_entry, watch)


# Outcomes that wait for the caller. Not a memory stream: that hands an item to a waiting task, and one that
# the event loop itself cancels just then (as `asyncio.wait_for` does) would take the outcome with it.


_TURN: Final = 16
"""Outcomes that are taken between two turns of the loop."""


class OutcomeQueue:
    """A queue whose items stay in it until they are really taken."""

    def __init__(self) -> None:
        self._outcomes: deque[Outcome] = deque()
        self._news = Changes()
        self.closed = False
        self._taken = 0

    @property
    def untaken(self) -> tuple[Outcome, ...]:
        """What was not taken."""
        return tuple(self._outcomes)

    def __len__(self) -> int:
        return len(self._outcomes)

    def drop_oldest(self) -> None:
        """Forget the outcome that has waited longest."""
        self._outcomes.popleft()

    def put(self, outcome: Outcome) -> None:
        """Add an outcome."""
        self._outcomes.append(outcome)
        self._news.notify()

    def close(self) -> None:
        """Say that there will be no more."""
        self.closed = True
        self._news.notify()

    async def get(self) -> Outcome | None:
        """Return the next outcome, None after the last one."""
        if self._outcomes or self.closed:
            # Not at each one: a turn of the loop costs as much as to tell a finished entry.
            self._taken += 1
            await (checkpoint if self._taken % _TURN == 0 else checkpoint_if_cancelled)()
        while not self._outcomes:
            if self.closed:
                return None
            await self._news.wait()
        return self._outcomes.popleft()


# Jobs that have ended and wait to be finished: what expires soonest is fetched first.


class FinishedQueue:
    """A queue ordered by when results expire; what has nothing to be fetched goes first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, BatchEntry, PolledJob]] = []
        self._order = itertools.count()
        self._waiting = anyio.Semaphore(0)

    def put(self, batch_entry: BatchEntry, watch: PolledJob) -> None:
        """Add a job that has ended."""
        snapshot = watch.state.snapshot
        expires = 0.0  # there is nothing to be fetched
        if snapshot is not None and snapshot.url:
            expires = math.inf if (at := snapshot.expires_at) is None else at.timestamp()
        heapq.heappush(self._heap, (expires, next(self._order), batch_entry, watch))
        self._waiting.release()

    async def get(self) -> tuple[BatchEntry, PolledJob]:
        """Wait for the next one."""
        await self._waiting.acquire()
        _, _, batch_entry, watch = heapq.heappop(self._heap)
        return batch_entry, watch


# Jobs that an earlier run left at the vendor, taken up before the source comes to them: it may do so late or
# never, and their results expire meanwhile.


class RecoveredJobs:
    """Jobs taken up from the journal before the source named them."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], BatchEntry | Outcome | AkoolError] = {}
        self._asked: dict[tuple[str, str], Request] = {}

    def __contains__(self, name: tuple[str, str]) -> bool:
        """Whether the job of this entry was taken up and not asked for yet."""
        return name in self._found

    def adopt(self, batch_entry: BatchEntry) -> None:
        """Take up a job that nobody has asked for yet."""
        self._found[batch_entry.name] = batch_entry

    def claim(self, asked: BatchEntry) -> Outcome | AkoolError | None:
        """Record that the source named such an entry; where it ended, return its outcome, or why it has none.

        Otherwise the entry continues as the one that was asked for.
        """
        found = self._found.pop(asked.name)
        if isinstance(found, BatchEntry):
            found.request, found.retries_left = asked.request, asked.retries_left
            self._asked[asked.name] = asked.request  # its outcome may be on its way, with the journal's
            return None
        return found if isinstance(found, AkoolError) else attrs.evolve(found, request=asked.request)

    def fail(self, name: tuple[str, str], error: AkoolError) -> bool:
        """Record why it is unknown how a job ended; return whether the source has named its entry."""
        if name not in self._found:
            return True
        self._found[name] = error
        return False

    def complete(self, outcome: Outcome) -> Outcome | None:
        """Record an outcome; return it if its entry was named by the source or not recovered."""
        name = (outcome.key, outcome.target)
        if name in self._found:
            self._found[name] = outcome
            return None
        request = self._asked.pop(name, None)
        return outcome if request is None else attrs.evolve(outcome, request=request)


# Which entries a batch has in progress and how far each is: recorded at each step, decides nothing.


class Stage(enum.StrEnum):
    """How far an entry in progress is."""

    SUBMITTING = "submitting"
    """Its POST is waiting for its turn, or is under way."""
    WAITING = "waiting"
    """Its job is at the vendor, and was not polled yet."""
    QUEUEING = "queueing"
    """The vendor has not begun with it."""
    PROCESSING = "processing"
    """The vendor is processing it."""
    SAVING = "saving"
    """The vendor is done; its result is being recorded and saved."""


_STAGES: Final = {
    Status.QUEUEING: Stage.QUEUEING,
    Status.PROCESSING: Stage.PROCESSING,
    Status.COMPLETED: Stage.PROCESSING,  # its URL is not there yet
}


@attrs.frozen(kw_only=True)
class EntryProgress:
    """One entry that a batch has in progress, at one moment.

    Attributes:
        key: the caller's name of the entry, or its fingerprint.
        target: the language; "" for lip-sync.
        stage: how far it is.
        job_id: its job at the vendor; "" before there is one.
        progress: percent as the vendor last reported it, 0 to 100; None where it reported none.
        seconds: since its job was made, as far as known; before that, since its turn came.
        stalled: whether progress has not changed for so long that the caller should know.
    """

    key: str
    target: str
    stage: Stage
    job_id: str = ""
    progress: int | None = None
    seconds: float = 0.0
    stalled: bool = False


class ProgressBoard:
    """The entries in progress, in the order in which their turn came or their jobs were made."""

    def __init__(self, jobs: Mapping[BatchEntry, TrackedJob]) -> None:
        self._jobs = jobs
        self._turns: dict[tuple[str, str], float] = {}

    def start_submit(self, entries: Iterable[BatchEntry], now: float) -> None:
        """The turn of these entries has come."""
        self._turns.update((entry.name, now) for entry in entries)

    def end_submit(self, entries: Iterable[BatchEntry]) -> None:
        """Their POST has ended; those without a job are not in progress any more."""
        for entry in entries:
            self._turns.pop(entry.name, None)

    def start_wait(self, batch_entry: BatchEntry) -> None:
        """An entry has its job."""
        self._turns.pop(batch_entry.name, None)

    def snapshot(self, now: float) -> tuple[EntryProgress, ...]:
        """Return them all, as they are at the moment `now`."""
        turns = [
            EntryProgress(key=key, target=target, stage=Stage.SUBMITTING, seconds=max(now - since, 0.0))
            for (key, target), since in self._turns.items()
        ]
        jobs = [_job(one.batch_entry, one.watch, now) for one in self._jobs.values() if one.watch is not None]
        return tuple(sorted((*turns, *jobs), key=lambda one: -one.seconds))


def _job(batch_entry: BatchEntry, watch: PolledJob, now: float) -> EntryProgress:
    seen, stage = watch.state, Stage.WAITING
    if seen.verdict is PollVerdict.COMPLETED:
        stage = Stage.SAVING
    elif seen.snapshot is not None:
        stage = _STAGES.get(seen.snapshot.status, Stage.WAITING)
    return EntryProgress(
        key=batch_entry.key,
        target=batch_entry.target,
        stage=stage,
        job_id=batch_entry.job_id,
        progress=None if seen.snapshot is None else seen.snapshot.progress,
        seconds=max(now - seen.created, 0.0),
        stalled=seen.stalled(now),
    )
