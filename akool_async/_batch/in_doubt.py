"""Doubts that may be resolved: by a callback, or by an id that was read in the answer to the POST.

Neither is believed. The API is asked for the job, and the entry is given it only if the account has it and no
other entry claims it; a job that a callback names must also have been made after the entry's intent.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import timedelta
from typing import Final, TypeAlias

import anyio
import attrs
from anyio.abc import TaskGroup

from akool_async._batch.entry import BatchEntry
from akool_async._batch.state import BatchState
from akool_async._clock import Clock, wait_event
from akool_async._journal import Entry
from akool_async._model.errors import (
    AccountError,
    AkoolError,
    IllegalTransitionError,
    JobNotFoundError,
    JournalError,
)
from akool_async._model.proofs import is_of_its_time
from akool_async._model.responses import Snapshot
from akool_async._model.states import State

logger = logging.getLogger("akool_async")
_MOST_CANDIDATES: Final = 8
"""Jobs that the API is asked for because of one doubt: an honest vendor names one."""

_TRIES: Final = 8
"""Times that the API is asked for an unknown job: right after its creation the vendor may not know it yet."""

_JUST_SENT: Final = timedelta(minutes=5)

_NO_SUCH_JOB: Final = "the account has no such job."
_NOT_ASKED: Final = "the API could not be asked."
_OF_SEVERAL: Final = "it was named for another entry, too."
_OTHER_TIME: Final = "it was not made when the entry was sent, by the clock of this machine then."
_NO_PROOF: Final = frozenset({_NOT_ASKED, _OF_SEVERAL, _OTHER_TIME})
"""What does not prove that a job is not an entry's, so that the entry is not free to be paid again. The clock
may have been wrong when the entry was sent."""

Unresolved: TypeAlias = Callable[[bool], None]
"""What is done with an entry whose doubt was not resolved; True if none of its candidates can be its job."""


@attrs.frozen
class _Candidate:
    """A job that may be an entry's.

    Attributes:
        job_id: the vendor's id.
        called: whether a callback names it, which can be forged; otherwise the answer to the POST does.
    """

    job_id: str
    called: bool


@attrs.define(eq=False)
class _Doubt:
    """One entry in doubt.

    Attributes:
        key: the entry's.
        target: the entry's.
        token: what its callbacks come with, or "".
        batch_entry: the entry, once this run has come to it.
        until: how long its outcome is held back.
        unresolved: what is done when nothing has resolved it by then.
        candidates: the jobs that may be its, in the order in which they were named.
        tried: for how many of them the API was asked.
    """

    key: str
    target: str
    token: str
    batch_entry: BatchEntry | None = None
    until: float = 0.0
    unresolved: Unresolved | None = None
    candidates: list[_Candidate] = attrs.field(factory=list)
    tried: int = 0
    news: anyio.Event = attrs.field(factory=anyio.Event)

    def add(self, candidate: _Candidate) -> None:
        known = any(candidate.job_id == one.job_id for one in self.candidates)
        if not known and len(self.candidates) < _MOST_CANDIDATES:
            self.candidates.append(candidate)
            self.news.set()

    async def next_candidate(self, clock: Clock) -> _Candidate | None:
        """Return the next job to ask for; None when the time is over."""
        while self.tried == len(self.candidates):
            # A new event before the wait: a candidate that is added meanwhile wakes it.
            until, self.news = self.until, anyio.Event()
            heard = await wait_event(self.news, clock, max(until - clock.monotonic(), 0.0))
            if not heard and self.until == until:  # it was not held back meanwhile
                break
        if self.tried == len(self.candidates):
            return None
        self.tried += 1
        return self.candidates[self.tried - 1]


class DoubtResolver:
    """The doubts of a batch for which there may be a job.

    Args:
        state: the batch's.
        answers: waits until the POSTs that are under way have said which jobs are theirs.
        tasks: the batch's, in which doubts are worked on.
    """

    def __init__(self, state: BatchState, answers: Callable[[], Awaitable[None]], tasks: TaskGroup) -> None:
        self._state = state
        self._session = state.session
        self._clock = state.clock
        self._journal = state.journal
        self._answers = answers
        self._doubts: dict[tuple[str, str], _Doubt] = {}
        self._owners: dict[str, tuple[str, str] | None] = {}
        self._refused: set[tuple[str, str, str]] = set()
        self._unproven: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
        self._tasks = tasks

    def may_have_job(self, entry: Entry) -> bool:
        """Whether a job that was named for an entry in doubt may be its: paying again might pay twice."""
        return bool(self._unproven.get((entry.key, entry.target, entry.token)))

    def is_pending(self, key: str, target: str) -> bool:
        """Whether something is being done about the doubt of an entry."""
        return (key, target) in self._doubts

    @property
    def waiting_keys(self) -> tuple[str, ...]:
        """The keys of entries whose outcome is held back."""
        return tuple(doubt.key for doubt in self._doubts.values() if doubt.batch_entry is not None)

    def add_called(self, entry: Entry, job_id: str) -> None:
        """Record that a callback names a job for an entry in doubt."""
        self._add(self._doubt(entry.key, entry.target, entry.token), job_id, called=True)

    def hold(
        self,
        batch_entry: BatchEntry,
        *,
        seconds: float,
        candidates: Iterable[str],
        unresolved: Unresolved,
        shared: Collection[str] = (),
    ) -> None:
        """Keep back the outcome of an entry in doubt, which has a slot.

        Args:
            batch_entry: the entry, with its token.
            seconds: for which its callback is awaited; jobs that were named by then are asked for.
            candidates: ids in the answer to its POST; they are in the journal.
            unresolved: what is done then, if nothing has resolved the doubt.
            shared: those of the ids that may be the job of another entry as well.
        """
        doubt = self._doubt(*batch_entry.name, batch_entry.token)
        doubt.batch_entry, doubt.unresolved = batch_entry, unresolved
        doubt.until = self._clock.monotonic() + seconds
        for job_id in candidates:
            self._add(doubt, job_id, called=False)
            if job_id in shared:
                self._owners[job_id] = None

    def _add(self, doubt: _Doubt, job_id: str, *, called: bool) -> None:
        name = (doubt.key, doubt.target)
        if self._owners.setdefault(job_id, name) != name:
            self._owners[job_id] = None  # two entries claim it: it is given to neither
        doubt.add(_Candidate(job_id, called))

    def _doubt(self, key: str, target: str, token: str) -> _Doubt:
        doubt = self._doubts.get((key, target))
        if doubt is None:
            doubt = self._doubts[key, target] = _Doubt(key, target, token)
            self._tasks.start_soon(self._resolve, doubt)
        return doubt

    async def _resolve(self, doubt: _Doubt) -> None:
        """Ask for each job that is named, until one is the entry's or the time is over."""
        found: Snapshot | None = None
        try:
            while found is None:
                candidate = await doubt.next_candidate(self._clock)
                if candidate is None:
                    break
                found = await self._confirmed(doubt, candidate)
            if found is None:
                found = self._resolved_by_caller(doubt)
        except JournalError as error:
            del self._doubts[doubt.key, doubt.target]
            self._state.abandon(error, *([] if doubt.batch_entry is None else [doubt.batch_entry]))
            return
        del self._doubts[doubt.key, doubt.target]  # unless the batch is left meanwhile
        if found is not None:
            self._state.track_resolved(doubt.batch_entry, found)
        elif doubt.unresolved is not None:
            doubt.unresolved(not self._unproven.get((doubt.key, doubt.target, doubt.token)))

    def _resolved_by_caller(self, doubt: _Doubt) -> Snapshot | None:
        """Return what the journal has of the job of a held entry whose doubt the caller has resolved."""
        entry = None if doubt.batch_entry is None else self._journal.get(doubt.key, doubt.target)
        if entry is None or entry.state is not State.SUBMITTED or entry.token != doubt.token:
            return None
        return entry.snapshot or Snapshot(job_id=entry.job_id, created_at=entry.created_at)

    async def _confirmed(self, doubt: _Doubt, candidate: _Candidate) -> Snapshot | None:
        """Assign this job to the entry if it is its; return what the API says of it then.

        Raises:
            JournalError: the journal can't be read or written.
        """
        job_id = candidate.job_id
        if (doubt.key, doubt.target, job_id) in self._refused:
            return None
        seen = await self._fetch_status(doubt, job_id)
        # The job may be that of a POST whose answer is on its way: given away, one of two paid jobs is lost.
        await self._answers()
        entry = self._journal.get(doubt.key, doubt.target)
        # Read again after the waits: the caller, or another candidate, may have resolved it.
        if entry is None or entry.state is not State.IN_DOUBT or entry.token != doubt.token:
            return None
        mismatch = seen if isinstance(seen, str) else self._mismatch(entry, candidate, seen)
        if isinstance(seen, Snapshot) and not mismatch:
            try:
                await self._journal.resolve(entry.key, entry.target, job_id=job_id, snapshot=seen)
            except IllegalTransitionError as error:
                mismatch = error.message
            else:
                logger.info("The doubt about %s is resolved: the API has its job %s.", entry.key, job_id)
                return seen
        # Kept beyond this doubt: its entry may not have come to its turn in this run.
        unproven = self._unproven[doubt.key, doubt.target, doubt.token]
        if mismatch in _NO_PROOF:
            unproven.add(job_id)
        else:
            unproven.discard(job_id)
        if mismatch not in (_NOT_ASKED, _OF_SEVERAL):  # these may change
            self._refused.add((doubt.key, doubt.target, job_id))
        who = "A callback names" if candidate.called else "The answer to a paid call names"
        logger.warning("%s job %s for %s, but %s", who, job_id, entry.key, mismatch)
        return None

    async def _fetch_status(self, doubt: _Doubt, job_id: str) -> Snapshot | str:
        """Return what the API says of a job, or why there is nothing."""
        entry = self._journal.get(doubt.key, doubt.target)
        sent = None if entry is None else entry.submitted_at
        fresh = sent is None or self._clock.now() - sent < _JUST_SENT
        began, tries = self._clock.monotonic(), 0
        while True:
            tries += 1
            try:
                return await self._session.status(job_id)
            except AccountError:
                return _NOT_ASKED
            except AkoolError as error:
                gone = isinstance(error, JobNotFoundError) and not error.during_auth
            # The client has repeated what failed; only a new job, or a doubt with time left, is worth more.
            waits = fresh if gone else self._clock.monotonic() < doubt.until
            retry = attrs.evolve(self._session.retry, attempts=_TRIES if waits else 1)
            wait = retry.delay(tries, self._clock.monotonic() - began)
            if wait is None:
                return _NO_SUCH_JOB if gone else _NOT_ASKED
            await self._clock.sleep(wait)

    def _mismatch(self, entry: Entry, candidate: _Candidate, seen: Snapshot) -> str:
        """Say why this job is not the entry's, or ""."""
        if self._owners.get(seen.job_id) is None:
            return _OF_SEVERAL
        # Two entries with one job would save one video twice, and report the second as paid for.
        if self._journal.find_job(seen.job_id) is not None:
            return "it belongs to another entry."
        # An id that the answer itself named needs no further proof: nobody else could have put it there.
        if not candidate.called:
            return ""
        ahead = self._clock.now() - self._session.server_now()
        return "" if is_of_its_time(seen.created_at, entry.submitted_at, ahead=ahead) else _OTHER_TIME
