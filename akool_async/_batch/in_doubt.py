"""Doubts that may be resolved: by a callback, or by an id that was read in the answer to this very POST.

Neither is believed. The API is asked for the job, and the entry is given it only if the account has it and no
other entry claims it; a job that a callback names must also have been made after the entry's intent. One "no
such job" is not believed either: an entry is paid again only after several, over ten minutes.
"""

from __future__ import annotations

import enum
import logging
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import timedelta
from functools import partial
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
from akool_async._polling.poll_state import NOT_FOUND_POLLS, NOT_FOUND_SPAN

logger = logging.getLogger("akool_async")
MOST_FROM_CALLBACKS: Final = 8
"""Jobs that the API is asked for because callbacks name them for one doubt: an honest vendor names one."""

_MOST_FROM_ANSWERS: Final = 1000
"""Jobs that the API is asked for because answers name them for one doubt; what is named beyond them keeps the
entry from being paid again without a person."""

_TRIES: Final = 8
"""Times that the API is asked for an unknown job: right after its creation the vendor may not know it yet."""

_JUST_SENT: Final = timedelta(minutes=5)

_BETWEEN_ROUNDS: Final = 1.01 * NOT_FOUND_SPAN / (NOT_FOUND_POLLS - 1)
"""Seconds before unknown jobs are asked for once more, where their entry is to be paid again."""


class Mismatch(enum.Enum):
    """Why a job that was named for an entry in doubt is not given to it; each ends a sentence of the log."""

    UNKNOWN = "the account does not know it."
    NO_SUCH_JOB = "the account has no such job."
    NOT_ASKED = "the API could not be asked."
    NAMED_TWICE = "it was named for another entry, too."
    OTHER_ENTRY = "it belongs to another entry."
    OTHER_TIME = "it was not made when the entry was sent, by the clock of this machine then."
    EARLIER_POST = "it was named for an earlier call."
    NOT_RECORDED = "the journal does not take it:"

    @property
    def is_proof(self) -> bool:
        """Whether the job is surely not the entry's: without that, paying again might pay twice."""
        # The clock may have been wrong when the entry was sent.
        unsure = (Mismatch.OTHER_TIME, Mismatch.EARLIER_POST)
        return not self.may_change and self not in unsure

    @property
    def may_change(self) -> bool:
        """Whether the same question may be answered otherwise later in this run."""
        return self in (Mismatch.UNKNOWN, Mismatch.NOT_ASKED, Mismatch.NAMED_TWICE)


Unresolved: TypeAlias = Callable[[bool], None]
"""What is done with an entry whose doubt was not resolved; True if none of the candidates can be its job."""


@attrs.frozen
class _Candidate:
    """A job that may be an entry's.

    Attributes:
        job_id: the vendor's id.
        from_callback: whether a callback names it, which can be forged, or else the answer to the POST.
        earlier: whether that was the answer to a POST before the last one; it is never given to the entry.
    """

    job_id: str
    from_callback: bool
    earlier: bool = False


@attrs.define(eq=False)
class _Doubt:
    """One entry in doubt.

    Attributes:
        token: what its callbacks come with, or "".
        batch_entry: the entry, once this run has come to it.
        until: how long its outcome is held back.
        unresolved: what is done when nothing has resolved it by then.
        pays_again: whether that is to pay for it again, if none of the candidates can be its job.
        candidates: the jobs that may be the entry's.
        named_by_callbacks: how many of them callbacks have named.
        queue: those for which the API is to be asked, in the order in which they were named.
    """

    key: str
    target: str
    token: str
    batch_entry: BatchEntry | None = None
    until: float = 0.0
    unresolved: Unresolved | None = None
    pays_again: bool = False
    candidates: dict[str, _Candidate] = attrs.field(factory=dict)
    named_by_callbacks: int = 0
    queue: deque[_Candidate] = attrs.field(factory=deque)
    news: anyio.Event = attrs.field(factory=anyio.Event)

    def add(self, candidate: _Candidate) -> bool:
        """Add a job that is to be asked for; False if too many were named."""
        if candidate.job_id in self.candidates:
            return True
        most = MOST_FROM_CALLBACKS if candidate.from_callback else _MOST_FROM_ANSWERS
        named = self.named_by_callbacks if candidate.from_callback else len(self.candidates)
        if named >= most:
            return False
        self.named_by_callbacks += candidate.from_callback
        self.candidates[candidate.job_id] = candidate
        self.queue.append(candidate)
        self.news.set()
        return True

    async def next_candidate(self, clock: Clock) -> _Candidate | None:
        """Return the next job to ask for; None when the time is over."""
        while not self.queue:
            # A new event before the wait: a candidate that is added meanwhile wakes it.
            until, self.news = self.until, anyio.Event()
            heard = await wait_event(self.news, clock, max(until - clock.monotonic(), 0.0))
            if not heard and self.until == until:  # it was not held back meanwhile
                break
        return self.queue.popleft() if self.queue else None


class DoubtResolver:
    """The doubts of a batch for which there may be a job.

    Args:
        answers: waits until the POSTs that are under way have said which jobs are theirs.
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
        self._unknown: dict[tuple[str, str, str], tuple[float, int]] = {}
        self._tasks = tasks

    def may_have_job(self, entry: Entry) -> bool:
        """Whether a job that was named for an entry in doubt may be its own: paying again might pay twice."""
        return bool(self._unproven.get((entry.key, entry.target, entry.token)))

    def is_pending(self, key: str, target: str) -> bool:
        """Whether something is being done about the doubt of an entry."""
        return (key, target) in self._doubts

    @property
    def waiting_keys(self) -> tuple[str, ...]:
        """The keys of entries whose outcome is held back."""
        return tuple(doubt.key for doubt in self._doubts.values() if doubt.batch_entry is not None)

    def add_from_callback(self, entry: Entry, job_id: str) -> None:
        """Record that a callback names a job for an entry in doubt."""
        self._add(self._doubt(entry.key, entry.target, entry.token), job_id, from_callback=True)

    def hold(
        self,
        batch_entry: BatchEntry,
        *,
        seconds: float,
        candidates: Iterable[str],
        unresolved: Unresolved,
        shared: Collection[str] = (),
        earlier: Iterable[str] = (),
        pays_again: bool = False,
    ) -> None:
        """Keep back the outcome of an entry in doubt, which has a slot.

        Args:
            batch_entry: the entry, with its token.
            seconds: for which its callback is awaited; jobs that were named by then are asked for.
            candidates: ids in the answer to its POST; they are in the journal.
            unresolved: what is done then, if nothing has resolved the doubt.
            shared: those of the ids that may be the job of another entry as well.
            earlier: ids in answers to POSTs before; one that is a job of no entry forbids to pay again.
            pays_again: whether `unresolved` is to pay for the entry again.
        """
        doubt = self._doubt(*batch_entry.name, batch_entry.token)
        doubt.batch_entry, doubt.unresolved, doubt.pays_again = batch_entry, unresolved, pays_again
        doubt.until = self._clock.monotonic() + seconds
        for job_id in candidates:
            self._add(doubt, job_id, from_callback=False)
            if job_id in shared:
                self._owners[job_id] = None
        for job_id in earlier:
            self._owners.setdefault(job_id, batch_entry.name)
            self._ask_for(doubt, _Candidate(job_id, from_callback=False, earlier=True))

    def _add(self, doubt: _Doubt, job_id: str, *, from_callback: bool) -> None:
        name = (doubt.key, doubt.target)
        if self._owners.setdefault(job_id, name) != name:
            self._owners[job_id] = None  # two entries claim it: it is given to neither
        self._ask_for(doubt, _Candidate(job_id, from_callback))

    def _ask_for(self, doubt: _Doubt, candidate: _Candidate) -> None:
        if not doubt.add(candidate):
            # Not asked for, so that nothing proves that it is not the entry's.
            self._unproven[doubt.key, doubt.target, doubt.token].add(candidate.job_id)

    def _doubt(self, key: str, target: str, token: str) -> _Doubt:
        doubt = self._doubts.get((key, target))
        if doubt is None:
            doubt = self._doubts[key, target] = _Doubt(key, target, token)
            self._tasks.start_soon(self._resolve, doubt)
        return doubt

    async def _resolve(self, doubt: _Doubt) -> None:
        """Ask for each job that is named, until one is the entry's or the time is over."""
        try:
            found = await self._ask(doubt)
            while found is None and await self._next_round(doubt):
                found = await self._ask(doubt)
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

    async def _ask(self, doubt: _Doubt) -> Snapshot | None:
        while (candidate := await doubt.next_candidate(self._clock)) is not None:
            if (found := await self._confirmed(doubt, candidate)) is not None:
                return found
        return None

    async def _next_round(self, doubt: _Doubt) -> bool:
        """Wait until unknown jobs are asked for again, before the entry is paid again; False without any."""
        entry = self._journal.get(doubt.key, doubt.target) if doubt.pays_again else None
        if entry is None or entry.state is not State.IN_DOUBT or entry.token != doubt.token:
            return False
        name = (doubt.key, doubt.target)
        unknown = [one for one in doubt.candidates.values() if (*name, one.job_id) in self._unknown]
        if unknown:
            logger.info("%s is paid again only if its job stays unknown for ten minutes.", doubt.key)
            # A callback that comes meanwhile may name another job.
            wait = partial(wait_event, doubt.news, self._clock, _BETWEEN_ROUNDS)
            if await self._state.take_step(wait) is None:
                return False  # the batch has stopped, so that nothing is paid again
            doubt.queue.extend(unknown)
        return bool(unknown)

    def _resolved_by_caller(self, doubt: _Doubt) -> Snapshot | None:
        """Return what the journal has of the job of a held entry whose doubt the caller has resolved."""
        entry = None if doubt.batch_entry is None else self._journal.get(doubt.key, doubt.target)
        if entry is None or entry.state is not State.SUBMITTED or entry.token != doubt.token:
            return None
        return entry.known_snapshot

    async def _confirmed(self, doubt: _Doubt, candidate: _Candidate) -> Snapshot | None:
        """Assign this job to the entry if it belongs to it; return what the API says of it then.

        Raises:
            JournalError: the journal can't be read or written.
        """
        job_id = candidate.job_id
        if (doubt.key, doubt.target, job_id) in self._refused:
            return None
        seen: Snapshot | Mismatch = Mismatch.OTHER_ENTRY
        if self._journal.find_job(job_id) is None:
            seen = await self._fetch_status(doubt, job_id)
        # The job may be that of a POST whose answer is on its way: given away, one of two paid jobs is lost.
        await self._answers()
        entry = self._journal.get(doubt.key, doubt.target)
        # Read again after the waits: the caller, or another candidate, may have resolved it.
        if entry is None or entry.state is not State.IN_DOUBT or entry.token != doubt.token:
            return None
        detail = ""
        if seen is Mismatch.UNKNOWN and self._is_unknown_for_long(doubt, job_id):
            seen = Mismatch.NO_SUCH_JOB
        if seen is not Mismatch.UNKNOWN:
            self._unknown.pop((doubt.key, doubt.target, job_id), None)
        if isinstance(seen, Mismatch):
            mismatch = seen
        elif (found := self._mismatch(entry, candidate, seen)) is not None:
            mismatch = found
        else:
            try:
                await self._journal.resolve(entry.key, entry.target, job_id=job_id, snapshot=seen, seen=entry)
            except IllegalTransitionError as error:
                mismatch, detail = Mismatch.NOT_RECORDED, f" {error.message}"
            else:
                logger.info("The doubt about %s is resolved: the API has its job %s.", entry.key, job_id)
                return seen
        # Kept beyond this doubt: its entry may not have come to its turn in this run.
        unproven = self._unproven[doubt.key, doubt.target, doubt.token]
        if mismatch.is_proof:
            unproven.discard(job_id)
        else:
            unproven.add(job_id)
        if not mismatch.may_change:
            self._refused.add((doubt.key, doubt.target, job_id))
        who = "A callback names" if candidate.from_callback else "The answer to a paid call names"
        logger.warning("%s job %s for %s, but %s%s", who, job_id, entry.key, mismatch.value, detail)
        return None

    def _is_unknown_for_long(self, doubt: _Doubt, job_id: str) -> bool:
        """Count that the API does not know a job; return whether that proves that the account has none."""
        name, now = (doubt.key, doubt.target, job_id), self._clock.monotonic()
        since, times = self._unknown.get(name, (now, 0))
        self._unknown[name] = (since, times + 1)
        # One such answer may come from a server that lags behind: an ended poll asks for no less.
        return times + 1 >= NOT_FOUND_POLLS and now - since >= NOT_FOUND_SPAN

    async def _fetch_status(self, doubt: _Doubt, job_id: str) -> Snapshot | Mismatch:
        """Return what the API says of a job, or why it says nothing."""
        entry = self._journal.get(doubt.key, doubt.target)
        sent = None if entry is None else entry.submitted_at
        fresh = sent is None or self._clock.now() - sent < _JUST_SENT
        began, tries = self._clock.monotonic(), 0
        while True:
            tries += 1
            try:
                return await self._session.status(job_id)
            except AccountError:
                return Mismatch.NOT_ASKED
            except AkoolError as error:
                gone = isinstance(error, JobNotFoundError) and not error.during_auth
            # The client has repeated what failed; only a new job, or a doubt with time left, is worth more.
            waits = fresh if gone else self._clock.monotonic() < doubt.until
            retry = attrs.evolve(self._session.retry, attempts=_TRIES if waits else 1)
            wait = retry.delay(tries, self._clock.monotonic() - began)
            if wait is None:
                return Mismatch.UNKNOWN if gone else Mismatch.NOT_ASKED
            await self._clock.sleep(wait)

    def _mismatch(self, entry: Entry, candidate: _Candidate, seen: Snapshot) -> Mismatch | None:
        """Return why this job is not given to the entry; None if it is."""
        if self._owners.get(seen.job_id) is None:
            return Mismatch.NAMED_TWICE
        # Two entries with one job would save one video twice, and report the second as paid for.
        if self._journal.find_job(seen.job_id) is not None:
            return Mismatch.OTHER_ENTRY
        # Another language's, perhaps, or one that nobody asked for.
        if candidate.earlier:
            return Mismatch.EARLIER_POST
        # An id that the answer itself named needs no further proof: nobody else could have put it there.
        if not candidate.from_callback:
            return None
        ahead = self._clock.now() - self._session.server_now()
        made, sent = seen.created_at, entry.submitted_at
        return None if is_of_its_time(made, sent, ahead=ahead) else Mismatch.OTHER_TIME
