"""Doubts that a callback may resolve: held for a while, confirmed by asking the API, never just believed.

A callback names a job for the entry whose token it came to. The entry is given that job only if the
account has it, it was made after the entry's intent, and no other entry owns it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import anyio
import attrs
from anyio.abc import TaskGroup

from akool_async._batch.entry import BatchEntry
from akool_async._batch.state import BatchState
from akool_async._clock import Clock
from akool_async._journal import Entry
from akool_async._model.errors import (
    AccountError,
    AkoolError,
    IllegalTransitionError,
    JobNotFoundError,
    JournalError,
)
from akool_async._model.responses import Snapshot
from akool_async._model.states import State

logger = logging.getLogger("akool_async")
SKEW: Final = timedelta(minutes=2)
"""How far the vendor's clock may be behind ours, besides what it says itself: a job made longer than this
before the intent is not its."""

LATEST: Final = timedelta(days=1)
"""A job that was made this long after the intent is not its either."""

_MOST_NAMED: Final = 8
"""Jobs that are polled for one doubt: an honest vendor names one."""

_TRIES: Final = 8
"""Times that an unknown job is polled: right after its creation the vendor may not know it yet."""

_NO_SUCH_JOB: Final = "the account has no such job."
_NOT_ASKED: Final = "the API could not be polled it."


@attrs.define(eq=False)
class _Doubt:
    """One entry in doubt.

    Attributes:
        token: what its callbacks come with.
        batch_entry: the entry, once this run has come to it.
        until: how long its outcome is held back.
        unresolved: what is done when nothing has cleared it up by then.
        named: the jobs that callbacks named, in order.
        tried: how many of them were polled.
    """

    token: str
    batch_entry: BatchEntry | None = None
    until: float = 0.0
    unresolved: Callable[[], None] | None = None
    named: list[str] = attrs.field(factory=list)
    tried: int = 0
    news: anyio.Event = attrs.field(factory=anyio.Event)

    def name(self, job_id: str) -> None:
        if job_id not in self.named and len(self.named) < _MOST_NAMED:
            self.named.append(job_id)
            self.news.set()

    async def next_named(self, clock: Clock) -> str | None:
        """Return the next job to look up; None when the time is over."""
        while self.tried == len(self.named):
            until, self.news = self.until, anyio.Event()
            with anyio.move_on_after(max(until - clock.monotonic(), 0.0)) as waiting:
                await self.news.wait()
            if waiting.cancelled_caught and self.until == until:  # it was not held back meanwhile
                break
        if self.tried == len(self.named):
            return None
        self.tried += 1
        return self.named[self.tried - 1]


class DoubtResolver:
    """The doubts of a batch that have a token.

    Args:
        state: the batch's.
        answers: waits until the POSTs that are under way have said which jobs are theirs.
    """

    def __init__(self, state: BatchState, answers: Callable[[], Awaitable[None]]) -> None:
        self._state = state
        self._session = state.session
        self._clock = state.clock
        self._journal = state.journal
        self._answers = answers
        self._doubts: dict[str, _Doubt] = {}
        self._owners: dict[str, str] = {}
        self._refused: set[tuple[str, str]] = set()
        self._tasks: TaskGroup | None = None

    def __contains__(self, token: str) -> bool:
        """Whether something is being done about this doubt."""
        return token in self._doubts

    @property
    def waiting_keys(self) -> tuple[str, ...]:
        """The keys of entries whose outcome is held back."""
        return tuple(
            doubt.batch_entry.key for doubt in self._doubts.values() if doubt.batch_entry is not None
        )

    def open(self, tasks: TaskGroup) -> None:
        """Run in this group from now on."""
        self._tasks = tasks

    def add_candidate(self, token: str, job_id: str) -> None:
        """Record that a callback names a job for an entry in doubt."""
        if self._owners.setdefault(job_id, token) != token:
            self._owners[job_id] = ""  # two entries claim it: it is given to neither
        self._doubt(token).name(job_id)

    def hold(self, batch_entry: BatchEntry, *, seconds: float, unresolved: Callable[[], None]) -> None:
        """Keep back the outcome of an entry in doubt, which has a slot.

        Args:
            batch_entry: the entry, with its token.
            seconds: for which its callback is awaited; jobs that were named by then are polled.
            unresolved: what is done then, if nothing has cleared it up.
        """
        doubt = self._doubt(batch_entry.token)
        doubt.batch_entry, doubt.unresolved = batch_entry, unresolved
        doubt.until = self._clock.monotonic() + seconds

    def _doubt(self, token: str) -> _Doubt:
        doubt = self._doubts.get(token)
        if doubt is None:
            assert self._tasks is not None  # noqa: S101 - the batch is open
            doubt = self._doubts[token] = _Doubt(token)
            self._tasks.start_soon(self._resolve, doubt)
        return doubt

    async def _resolve(self, doubt: _Doubt) -> None:
        """Poll each job that is named, until one is the entry's or the time is over."""
        found: Snapshot | None = None
        try:
            while found is None:
                job_id = await doubt.next_named(self._clock)
                if job_id is None:
                    break
                found = await self._confirmed(doubt.token, job_id)
        except JournalError as error:
            del self._doubts[doubt.token]
            self._state.abandon(error, *([] if doubt.batch_entry is None else [doubt.batch_entry]))
            return
        del self._doubts[doubt.token]  # unless the batch is left meanwhile
        if found is not None:
            self._state.track_resolved(doubt.batch_entry, found)
        elif doubt.unresolved is not None:
            doubt.unresolved()

    async def _confirmed(self, token: str, job_id: str) -> Snapshot | None:
        """Return the entry of a token this job, if it is its; give what the API says of it then.

        Raises:
            JournalError: the journal can't be read or written.
        """
        if (token, job_id) in self._refused:
            return None
        seen = await self._fetch_status(job_id)
        await self._answers()
        entries = self._journal.with_token(token)
        if len(entries) != 1 or entries[0].state is not State.IN_DOUBT:
            return None
        mismatch = seen if isinstance(seen, str) else self._mismatch(entries[0], seen)
        if isinstance(seen, Snapshot) and not mismatch:
            try:
                await self._journal.resolve(entries[0].key, entries[0].target, job_id=job_id, snapshot=seen)
            except IllegalTransitionError as error:
                mismatch = error.message
            else:
                logger.info("A callback resolved the doubt about %s: it is job %s.", entries[0].key, job_id)
                return seen
        if mismatch != _NOT_ASKED:
            self._refused.add((token, job_id))
        logger.warning("A callback names job %s for %s, but %s", job_id, entries[0].key, mismatch)
        return None

    async def _fetch_status(self, job_id: str) -> Snapshot | str:
        """Return what the API says of a job, or why there is nothing."""
        retry = attrs.evolve(self._session.retry, attempts=_TRIES)
        began, tries = self._clock.monotonic(), 0
        while True:
            tries += 1
            try:
                return await self._session.status(job_id)
            except AccountError:
                return _NOT_ASKED
            except AkoolError as error:
                gone = isinstance(error, JobNotFoundError) and not error.during_auth
                nothing = _NO_SUCH_JOB if gone else _NOT_ASKED
                wait = retry.delay(tries, self._clock.monotonic() - began)
            if wait is None:
                return nothing
            await self._clock.sleep(wait)

    def _mismatch(self, entry: Entry, seen: Snapshot) -> str:
        """Say why this job is not the entry's, or ""."""
        if self._owners.get(seen.job_id) == "":
            return "it was named for another entry, too."
        if self._journal.find_job(seen.job_id) is not None:
            return "it belongs to another entry."
        sent, made = entry.submitted_at, seen.created_at
        fast = max(self._clock.now() - self._session.server_now(), timedelta())  # how far ours is ahead
        if sent is None or made is None or not sent - fast - SKEW <= made <= sent + LATEST:
            return "it was not made when the entry was sent."
        return ""
