"""Requests that are submitted to an open batch one by one: in the journal first, then worked on.

The journal is the queue. What was submitted and is not sent yet takes a row of it and no memory, and a batch
that is opened on it later begins with what is left.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final

import anyio
import attrs

from akool_async._batch.entry import outcome_from_journal
from akool_async._batch.limits import RESUMABLE, Changes
from akool_async._batch.resume import known_as, why_other_work, why_replaced
from akool_async._batch.state import CANCELLED, BatchState
from akool_async._journal import IN_PROGRESS, Entry
from akool_async._journal.operations import display_name
from akool_async._model.errors import BatchClosedError, InvalidRequestError, JournalError
from akool_async._model.fingerprint import CompactSet, entry_key, fingerprint, is_other_work
from akool_async._model.outcomes import Completed, InDoubt, NotSubmitted, Outcome
from akool_async._model.requests import Request, private_inputs, with_targets
from akool_async._model.states import ENDED, WITHOUT_RESULT, State

logger = logging.getLogger("akool_async")
NOT_MADE: Final = "Its doubt was resolved: no job was made. Submit it again to have it sent."


@attrs.define(eq=False)
class _OutcomeWaiter:
    """One task that waits for the outcome of an entry."""

    outcome: Outcome | None = None
    ended: anyio.Event = attrs.field(factory=anyio.Event)


@attrs.define(eq=False)
class _PendingEntry:
    """Entries of a request on their way into the journal; nothing is sent until it is sure that they stay.

    Attributes:
        requests: one for each language of a request.
        new: those that the journal does not have.
        undecided: what lets them go.
        written: whether they were in the journal.
    """

    requests: dict[tuple[str, str], Request]
    new: list[tuple[str, str]]
    undecided: list[Callable[[], None]]
    written: bool = False

    def let_go(self) -> None:
        """It is decided."""
        undecided, self.undecided = self.undecided, []
        for decided in undecided:
            decided()


@attrs.frozen(eq=False)
class Ticket:
    """A request that is in the journal, and that this run or the next works on.

    Attributes:
        names: key and language of each of its entries, for `Batch.outcome` after a restart.
    """

    names: tuple[tuple[str, str], ...]
    _outcome: Callable[[str, str], Awaitable[Outcome]] = attrs.field(repr=False)

    async def outcome(self) -> Outcome:
        """Wait for the outcome of a request for one language.

        A cancelled wait changes nothing: the entry is still worked on, and may be waited for again.

        Raises:
            InvalidRequestError: the request is for several languages; use `outcomes`.
            BatchClosedError: the batch was closed first; the next run on the same journal continues.
        """
        if len(self.names) != 1:
            said = f"The request is for {len(self.names)} languages; use outcomes()."
            raise InvalidRequestError(said, impact="The batch works on them.")
        return await self._outcome(*self.names[0])

    async def outcomes(self) -> tuple[Outcome, ...]:
        """Wait for the outcomes of all languages, in the order of the request.

        Raises:
            BatchClosedError: as in `outcome`.
        """
        return tuple([await self._outcome(*name) for name in self.names])


class SubmittedRequests(AsyncIterator[Request]):
    """The source of a batch that is given its requests one by one, and what waits for their outcomes.

    Args:
        start_saved_check: checks, in a task of its own, whether the files of an entry are there, and has
            `record_outcome` called; None where results are not downloaded.
        resume_planned: whether what earlier runs did not send is sent before it is submitted again.
    """

    def __init__(
        self,
        state: BatchState,
        *,
        start_saved_check: Callable[[Entry, Request], None] | None,
        resume_planned: bool,
    ) -> None:
        self._state = state
        self._start_saved_check = start_saved_check
        self._journal = state.journal
        self._ahead: AsyncIterator[Entry] | None = None
        self._states = IN_PROGRESS | {State.IN_DOUBT}  # at first what earlier runs left, then what is new
        self._pulled: set[tuple[str, str]] = set()  # in the hands of the batch, until their outcome
        # What may be sent of what is PLANNED: submitted in this run; None for all, of earlier runs, too.
        self._given: set[tuple[str, str]] | None = None if resume_planned else set()
        self._signed: dict[tuple[str, str], Request] = {}  # with what the journal leaves out of a URL
        self._open_ended: dict[tuple[str, str], Outcome] = {}  # ended for this run alone
        self._again: dict[tuple[str, str], Request] = {}  # submitted once more, in that order
        self._resolved: deque[Request] = deque()  # in doubt until their job was named
        self._works = CompactSet()  # fingerprints of all that was submitted
        self._checked = CompactSet()  # results whose files this run has checked or saved
        self._withdrawn_works: set[tuple[str, str]] = set()  # those of `_works` that nobody wants any more
        self._withdrawn_names: dict[tuple[str, str], str] = {}  # the fingerprint that each had
        self._superseded: set[tuple[str, str]] = set()  # submitted again while the task before still runs
        self._enter_lock = anyio.Lock()
        self._waiters: dict[tuple[str, str], list[_OutcomeWaiter]] = {}
        self._closed = ""
        self._news = True
        self._changed = Changes()

    # What comes in.

    async def submit(self, request: Request) -> tuple[tuple[str, str], ...]:
        """Enter a request in the journal, return its names; `Batch.submit` describes it."""
        if self._closed or (self._state.stopped and self._state.stop_cause not in RESUMABLE):
            raise BatchClosedError(f"The request was not taken. {self._state.stopped or self._closed}")
        request = await self._state.inputs.identify(request)
        names = tuple((entry_key(request, target), target) for target in request.targets)
        async with self._enter_lock:  # two tasks with one key must not both find it free
            for decided in tuple(self._state.withdrawals.undecided):  # it may be this work, under another key
                await decided.wait()
            await self._state.withdrawals.wait_decided(names)
            new = [name for name in names if self._journal.get(*name) is None]
            for name in names:
                self._check(request, *name)
            requests = {name: with_targets(request, (name[1],)) for name in names}
            # Before the rows are there: the journal leaves out what signs a URL, and may be read at once.
            self._signed |= {name: requests[name] for name in new}
            pending = _PendingEntry(requests, new, [self._state.withdrawals.begin(name) for name in new])
            # All languages in one write: a ticket for half a request would be a promise that nobody keeps.
            try:
                await self._journal.enter(
                    *(requests[name] for name in new), then=partial(self._end_entry, pending)
                )
            except Exception:  # whatever it is, nobody may wait for these entries any more
                self._end_entry(pending, False)
                raise
            self._take_in(pending)
        return names

    def _take_in(self, pending: _PendingEntry) -> None:
        """Work on entries that are in the journal."""
        pending.let_go()
        if self._given is not None:
            self._given.update(pending.requests)
        for name in pending.new:
            self._enter_again(name)
        for name, request in pending.requests.items():
            mark = (fingerprint(request, name[1]), name[1])
            self._works.add(*mark)
            self._withdrawn_works.discard(mark)
            self._give(request, *name, new=name in pending.new)
        self.wake()

    def _end_entry(self, pending: _PendingEntry, done: bool) -> None:
        """Learn whether the journal took entries; what it did not take, or has given back, ends here."""
        if done:
            pending.written = True
            return
        if not pending.undecided:
            return
        with self._state.stop_on_journal_error():
            # What could not be withdrawn, for a caller that was cancelled, is worked on at once.
            if pending.written and any(self._journal.get(*name) is not None for name in pending.new):
                self._take_in(pending)
                return
        for name in pending.new:
            self._signed.pop(name, None)
            if pending.written:  # it may have been pulled meanwhile
                self._state.mark_withdrawn(name)
                self._withdrawn_names[name] = fingerprint(pending.requests[name], name[1])
        pending.let_go()

    def _check(self, request: Request, key: str, target: str) -> None:
        """Refuse what would be paid for twice, before it is in the journal: it would be paid by a later run.

        Raises:
            InvalidRequestError: the key names other work, or the work is known under another key or query.
        """
        entry, mark = self._journal.get(key, target), fingerprint(request, target)
        asks = not (request.key or request.url_is_public)
        if entry is not None:
            if is_other_work(entry.fingerprint, request, target):
                raise InvalidRequestError(why_other_work(entry, request))
            if entry.state not in WITHOUT_RESULT and (reason := why_replaced(entry, request)):
                raise InvalidRequestError(reason)
        # The task of the work before may still wait for its turn, and would send that under this key.
        elif (key, target) in self._pulled and is_other_work(
            self._withdrawn_names.get((key, target), mark), request, target
        ):
            raise InvalidRequestError(
                f"The work that {key} named before is still being taken back; use another key."
            )
        elif known := self._journal.find_work(mark, target, key, any_query=asks, planned=True):
            raise InvalidRequestError(known_as(known, mark, request))
        elif self._works.contains(mark, target) and (mark, target) not in self._withdrawn_works:
            raise InvalidRequestError("The same work was submitted under another key; each would be paid.")

    def _enter_again(self, name: tuple[str, str]) -> None:
        """Let an entry be sent that was withdrawn, if it was, and was submitted since."""
        if name not in self._withdrawn_names:
            return
        if name in self._pulled and name in self._state.withdrawals.done:
            self._superseded.add(name)  # its task still has the request that was withdrawn
            return
        self._superseded.discard(name)
        self._state.withdrawals.done.discard(name)
        self._state.not_submitted.add(name)  # so that it is not taken for a duplicate

    def _give(self, request: Request, key: str, target: str, *, new: bool) -> None:
        """Let the batch look at an entry again that was submitted again, unless it is at it."""
        name, entry = (key, target), self._journal.get(key, target)
        if entry is None:
            return
        # Not by way of the source, which waits for slots: what is saved has nothing to wait for.
        if entry.state is State.DELIVERED:
            if self._start_saved_check is not None and name not in self._pulled:
                self._open_ended.pop(name, None)
                self._pulled.add(name)
                self._start_saved_check(entry, request)
            return
        if entry.url_redacted and entry.state is State.PLANNED:
            self._signed[name] = request
        else:
            self._signed.pop(name, None)
        ended = self._open_ended.pop(name, None) is not None
        if new or (name in self._pulled and not ended):
            self._renew(request, name)
            return
        self._pulled.add(name)
        self._state.not_submitted.add(name)  # so that it is not taken for a duplicate
        self._again[name] = request

    def _renew(self, request: Request, name: tuple[str, str]) -> None:
        """Have an entry that waits to be sent as it was submitted last: its URL may be signed anew."""
        if name in self._again:
            self._again[name] = request
        payers, work = self._state.payers, (fingerprint(request, name[1]), name[1])
        # Few to look at. One with inputs that are uploaded or signed here may have them already.
        for claimed, waiting in [] if private_inputs(request) else list(payers.items()):
            if waiting.name != name:
                continue
            if claimed != work:
                # The URL may have become that of another entry: it would be paid for twice.
                if work in payers or self._journal.find_work(*work, name[0], any_query=False, planned=True):
                    return
                payers[work], waiting.work = payers.pop(claimed), work
            waiting.request = request

    async def cancel(self, key: str, target: str) -> bool:
        """Withdraw an entry that was not sent; `Batch.cancel` describes it."""
        entry, name = self._journal.get(key, target), (key, target)
        if entry is None:
            raise InvalidRequestError(f"The journal has no entry {display_name(key, target)}.", impact="")
        # A POST whose intent was handed in before this finds the entry SUBMITTING there, and it is not
        # withdrawn; one that comes later waits for what the journal says.
        decided = self._state.withdrawals.begin(name)
        try:
            # What follows does not depend on this caller, who may be cancelled when the entry is gone.
            end = partial(self._end_withdrawal, entry, decided)
            return await self._journal.withdraw(key, target, then=end)
        except JournalError:
            decided()
            raise

    def _end_withdrawal(self, entry: Entry, decided: Callable[[], None], withdrawn: bool) -> None:
        name = (entry.key, entry.target)
        decided()
        if not withdrawn:
            return
        self._state.mark_withdrawn(name)
        self._superseded.discard(name)
        self._withdrawn_works.add((entry.fingerprint, entry.target))
        self._withdrawn_names[name] = entry.fingerprint
        self._signed.pop(name, None)
        # Kept for a ticket that is asked later: the journal no longer knows the entry.
        self._open_ended[name] = NotSubmitted(
            key=entry.key, request=entry.request_for_target, target=entry.target, reason=CANCELLED
        )
        self._set_outcome(self._open_ended[name])

    def wake(self) -> None:
        """Read the journal again from its beginning, once the present reading has ended."""
        self._news = True
        self._changed.notify()

    # What goes to the batch.

    async def __anext__(self) -> Request:
        """Return the next request for one language, in the order in which they were submitted."""
        while True:
            if self._state.stopped and self._state.stop_cause not in RESUMABLE:
                raise StopAsyncIteration
            if self._resolved:  # they have jobs, which need no POST
                return self._resolved.popleft()
            if not self._state.stopped and self._again:
                return self._again.pop(next(iter(self._again)))
            if self._state.stopped or (self._ahead is None and not self._news):
                await self._changed.wait()  # until something is submitted, or `resume_submitting`
                continue
            if self._ahead is None:  # from the beginning: what a stop gave back is there
                self._ahead, self._news = self._journal.entries(states=self._states), False
            entry = await anext(self._ahead, None)
            if entry is None:
                self._ahead, self._states = None, frozenset({State.PLANNED})
                continue
            name = (entry.key, entry.target)
            if name in self._pulled or name in self._open_ended or name in self._state.withdrawals.done:
                continue
            if entry.state is State.PLANNED and self._given is not None and name not in self._given:
                continue
            request = self._signed.get(name)
            if request is None and entry.url_redacted and entry.state in (State.PLANNED, State.IN_DOUBT):
                self._end_unsendable(entry)
                continue
            self._pulled.add(name)
            return request or entry.request_for_target

    def _end_unsendable(self, entry: Entry) -> None:
        """End an entry that an earlier run was given, and whose URL only its caller knows."""
        request = entry.request_for_target
        outcome: Outcome = outcome_from_journal(entry, request)
        if entry.state is State.PLANNED:
            reason = "Its URL was signed, and the journal keeps no signature: submit it again."
            logger.warning("%s can't be sent. %s", entry.key, reason)
            outcome = NotSubmitted(key=entry.key, request=request, target=entry.target, reason=reason)
        self.record_outcome(outcome)
        self._open_ended[entry.key, entry.target] = outcome

    # What comes out.

    def record_outcome(self, outcome: Outcome) -> None:
        """An entry has ended for this run."""
        name = (outcome.key, outcome.target)
        self._pulled.discard(name)
        # It is not in the journal any more, and its waiters know. To keep it as not submitted would make a
        # batch that resumes after a stop for credits send, and pay for, what was withdrawn.
        if name in self._state.withdrawals.done:
            if name in self._superseded:
                self._enter_again(name)
                self.wake()
            return
        if isinstance(outcome, NotSubmitted) and self._state.stop_cause in RESUMABLE:
            entry = self._journal.get(*name)
            if entry is not None and entry.state is not State.PLANNED:  # it was given again
                self._pulled.add(name)
                self._again[name] = outcome.request
            return  # it is submitted after `resume_submitting`
        self._signed.pop(name, None)
        unsaved = False
        if isinstance(outcome, Completed) and self._start_saved_check is not None:
            self._checked.add(*name)
            unsaved = outcome.saved is None
        if unsaved or isinstance(outcome, InDoubt | NotSubmitted):
            # The journal's state does not say that this run is done with it, until it is submitted again.
            self._open_ended[name] = outcome
        self._set_outcome(outcome)
        if isinstance(outcome, InDoubt) and not self._state.stopped:
            self._read_doubt_again(outcome)  # it may have been resolved while this was on its way

    def doubt_resolved(self, key: str) -> None:
        """Look again at entries of this key that this run has called in doubt."""
        for outcome in list(self._open_ended.values()):
            if isinstance(outcome, InDoubt) and outcome.key == key:
                self._read_doubt_again(outcome)

    def _read_doubt_again(self, outcome: InDoubt) -> None:
        name = (outcome.key, outcome.target)
        with self._state.stop_on_journal_error():
            entry = self._journal.get(*name)
            if entry is not None and entry.state is State.PLANNED:
                # Not sent at once: who says that no job was made may not want one any more.
                self._open_ended[name] = NotSubmitted(
                    key=outcome.key, request=outcome.request, target=outcome.target, reason=NOT_MADE
                )
            elif entry is not None and entry.state is State.SUBMITTED:
                del self._open_ended[name]
                self._pulled.add(name)
                self._state.not_submitted.add(name)  # so that it is not taken for a duplicate
                self._resolved.append(outcome.request)
                self._changed.notify()

    def _set_outcome(self, outcome: Outcome) -> None:
        for waiter in self._waiters.pop((outcome.key, outcome.target), ()):
            waiter.outcome = outcome
            waiter.ended.set()

    async def outcome(self, key: str, target: str) -> Outcome:
        """Wait for an entry's outcome; `Batch.outcome` describes it."""
        name = (key, target)
        await self._state.withdrawals.wait_decided([name])
        if name in self._open_ended:
            return self._open_ended[name]
        entry = self._journal.get(key, target)
        if entry is None:
            raise InvalidRequestError(f"The journal has no entry {display_name(key, target)}.", impact="")
        if entry.state in ENDED and name not in self._pulled:
            request = entry.request_for_target
            works = not self._closed and (not self._state.stopped or self._state.stop_cause in RESUMABLE)
            if entry.state is State.DELIVERED and works and not self._checked.contains(*name):
                self._give(request, key, target, new=False)
            if name not in self._pulled:
                return outcome_from_journal(entry, request)
        if self._closed:
            raise BatchClosedError(self._closed)
        waiter = _OutcomeWaiter()
        self._waiters.setdefault(name, []).append(waiter)
        try:
            await waiter.ended.wait()
        finally:
            if waiter in self._waiters.get(name, ()):
                self._waiters[name].remove(waiter)
        if waiter.outcome is None:
            raise BatchClosedError(self._closed)
        return waiter.outcome

    def close(self) -> None:
        """Wake what still waits: its entry will not end in this run."""
        self._closed = "The batch was closed before the entry ended. The next run on this journal continues."
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.ended.set()
        self.wake()
