"""What the steps of a batch share: slots, jobs in flight, outcomes, and why it stopped submitting."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Final, Protocol, TypeVar

import anyio

from akool_async._batch.callback_polling import CallbackPolling
from akool_async._batch.entry import (
    BatchEntry,
    FinishedQueue,
    OutcomeQueue,
    ProgressBoard,
    RecoveredJobs,
    TrackedJob,
    outcome_from_journal,
)
from akool_async._batch.limits import (
    RESUMABLE,
    CreditBudget,
    DoubtBreaker,
    StopCause,
    WeightedSemaphore,
    Withdrawals,
)
from akool_async._batch.preflight import Preflight
from akool_async._client import ClientSession
from akool_async._journal import BatchJournal, Entry
from akool_async._model.errors import (
    AccountError,
    AkoolError,
    ClientClosedError,
    JournalError,
    JournalReplacedError,
    OutOfCredits,
)
from akool_async._model.events import FollowedEvent, OutcomeEvent, StoppedEvent
from akool_async._model.outcomes import Failed, NotSubmitted, Outcome, Rejected
from akool_async._model.requests import Request
from akool_async._model.responses import Job, Snapshot
from akool_async._model.tariff import JobKind, Price, PriceModel
from akool_async._polling.poll_state import PollSchedule
from akool_async._polling.scheduler import PolledJob
from akool_async._storage import SharedInputs

CANCELLED: Final = "It was cancelled before it was submitted."
_KEPT_OUTCOMES: Final = 1000
"""Outcomes that a batch without requests keeps for an iteration."""

T = TypeVar("T")
logger = logging.getLogger("akool_async")


class OutcomeListener(Protocol):
    """What learns of every outcome, besides the caller's iteration."""

    def record_outcome(self, outcome: Outcome) -> None:
        """An entry has ended for this run."""

    def wake(self) -> None:
        """The batch has stopped submitting, or submits again."""

    def close(self) -> None:
        """Nothing will end any more."""


class BatchState:
    """What all steps of a batch share; jobs are polled by `polling`, or without callbacks by `schedule`."""

    def __init__(
        self,
        session: ClientSession,
        journal: BatchJournal,
        polling: CallbackPolling | None,
        inputs: SharedInputs,
        *,
        schedule: PollSchedule,
        max_in_flight: int,
        backlog: int,
        max_credits: float | None,
        max_doubts: int,
    ) -> None:
        self.session = session
        self.observers = session.observers
        self.clock = session.clock
        self.journal = journal
        self.inputs = inputs
        self.in_flight = WeightedSemaphore(max_in_flight)
        self.backlog = WeightedSemaphore(backlog)
        self.budget = CreditBudget(max_credits, lambda: sum(journal.credits()))
        self.preflight: Preflight | None = None
        self.breaker = DoubtBreaker(max_doubts, self._stop_for_doubts)
        self.withdrawals = Withdrawals()
        self.payers: dict[tuple[str, str], BatchEntry] = {}
        self.recovered = RecoveredJobs()
        self.finished = FinishedQueue()
        self.outcomes = OutcomeQueue()
        self.counts: Counter[str] = Counter()
        self.replaced: list[Failed] = []
        self.pending = 0
        self.listener: OutcomeListener | None = None
        self.stopped = ""
        self.stop_cause: StopCause | None = None
        self.failure: BaseException | None = None
        self._callback_polling = polling
        self._schedule = schedule
        self._tracked: dict[BatchEntry, TrackedJob] = {}
        self._on_job_ended = self._job_ended  # bound once, not for each job
        self.board = ProgressBoard(self._tracked)
        self._all_admitted = False
        self.not_submitted: set[tuple[str, str]] = set()
        self._doubted: dict[tuple[str, str], Entry] = {}
        self._resubmitted: set[tuple[str, str]] = set()
        self._refused_polls: list[tuple[BatchEntry, AccountError]] = []
        self._steps: set[anyio.CancelScope] = set()

    @cached_property
    def _prices(self) -> PriceModel:
        return PriceModel()

    # What comes in.

    def count_pulled(self, entries: int) -> None:
        """Entries were pulled; each is to be ended once."""
        self.pending += entries
        self.counts["pulled"] += entries

    def source_exhausted(self) -> None:
        """Nothing more will be pulled."""
        self._all_admitted = True
        self._close_if_done()

    def stop(
        self, reason: str, failure: BaseException | None = None, *, cause: StopCause = StopCause.FAILURE
    ) -> None:
        """Submit nothing more; the rest of the source comes out as not submitted.

        Args:
            reason: what the outcomes say. The first stop gives reason and cause, unless the caller can resume
                from it and not from this one.
            failure: what is raised after the last outcome.
            cause: the machine-readable reason.
        """
        # Else `resume_submitting` would let POSTs out after, say, the account was refused.
        is_new = not self.stopped or (self.stop_cause in RESUMABLE and cause not in RESUMABLE)
        if is_new:
            self.stopped, self.stop_cause = reason or "The batch was asked to stop.", cause
        final = self.stop_cause not in RESUMABLE
        self.failure = self.failure or failure
        # Those that wait for the breaker see that the batch has stopped, instead of waiting for ever.
        self.breaker.disable()
        for scope in self._steps:
            scope.cancel()
        if self.listener is not None:
            self.listener.wake()
            if is_new and not final:
                # A caller that waits for a ticket hears nothing else, and may have set up no logging.
                logger.warning("Submitted requests wait for batch.resume_submitting(): %s", reason)
        if is_new:  # after all of the above: an observer may let the batch submit again
            self.observers.report(StoppedEvent(cause=cause.value, reason=self.stopped))
        if final:  # nothing polls these jobs again in this run
            refused, self._refused_polls = self._refused_polls, []
            for batch_entry, error in refused:
                self.abandon_job(batch_entry, error)

    async def take_step(self, step: Callable[[], Awaitable[T]]) -> T | None:
        """Take a step of an entry; return its result, or None once nothing is submitted any more.

        A stop cuts the step short. If submitting was resumed before that was noticed, it is taken again.
        """
        while not self.stopped:
            with anyio.CancelScope() as scope:
                self._steps.add(scope)
                try:
                    return await step()
                finally:
                    self._steps.discard(scope)
        return None

    def stop_for_account(self, error: AccountError) -> None:
        """Submit nothing more until the account's owner has done something about it."""
        if isinstance(error, OutOfCredits):
            self.stop(str(error), cause=StopCause.CREDITS)
        else:
            self.stop(str(error), error, cause=StopCause.CREDENTIALS)

    def _stop_for_doubts(self) -> None:
        self.stop(
            f"{self.breaker.limit} paid calls in a row got no clear answer; each may have made a billed job.",
            cause=StopCause.DOUBTS,
        )

    def resume_submitting(self) -> None:
        """Submit again after a stop that the caller could do something about."""
        if self.stop_cause is not None and self.stop_cause not in RESUMABLE:
            raise RuntimeError(f"This batch can't submit any more: {self.stopped}")
        self.stopped, self.stop_cause, self.failure = "", None, None
        self.breaker.reset()
        refused, self._refused_polls = self._refused_polls, []
        for batch_entry, _ in refused:
            self.take_slot_of_job(batch_entry)
            self.poll(batch_entry, None)
        if self.listener is not None:
            self.listener.wake()

    # What a job costs.

    def price(self, request: Request) -> Price | None:
        """Return what a job of a request may cost; None without `max_credits`, or if that is not known."""
        if self.budget.most is None:
            return None
        return self._prices.price(JobKind.for_request(request), self._known_seconds(request))

    def learn_price(self, request: Request, cost: float | None) -> None:
        """Learn what a job of a request did cost."""
        if self.budget.most is not None:
            self._prices.observe(JobKind.for_request(request), self._known_seconds(request), cost)

    def _known_seconds(self, request: Request) -> float | None:
        return None if self.preflight is None else self.preflight.known_seconds(request)

    # Doubts that are paid for once more.

    def mark_resubmission(self, entry: Entry) -> None:
        """An entry in doubt is to be submitted once more; if that makes no job, it is in doubt as before."""
        self._doubted[entry.key, entry.target] = entry

    def count_resubmissions(self, entries: Iterable[BatchEntry]) -> None:
        """A POST is about to be sent; each entry of it that was in doubt counts as paid again, once."""
        for entry in entries if self._doubted else ():
            if entry.name in self._doubted and entry.name not in self._resubmitted:
                self._resubmitted.add(entry.name)
                self.counts["resubmitted"] += 1

    def previous_doubt(self, batch_entry: BatchEntry) -> Entry | None:
        """Return what the journal said of an entry that was in doubt; None where it was not."""
        return self._doubted.get(batch_entry.name) if self._doubted else None

    def not_submitted_outcome(
        self, batch_entry: BatchEntry, reason: str, *, stopped: bool = False, already_saved: bool = False
    ) -> Outcome:
        """Return the outcome of an entry for which this run sent nothing."""
        entry = self.previous_doubt(batch_entry)
        if entry is not None:
            return outcome_from_journal(entry, batch_entry.request)
        return batch_entry.failure or batch_entry.not_submitted(
            reason, self.clock.now(), stopped=stopped, already_saved=already_saved
        )

    def emit_not_submitted(self, entries: Iterable[BatchEntry], reason: str) -> None:
        """End entries that are not sent for a reason of their own."""
        for entry in entries:
            self.emit(entry, self.not_submitted_outcome(entry, reason))

    def emit_stopped(self, entries: Iterable[BatchEntry], reason: str = "") -> None:
        """End entries that are not sent because the batch has stopped, by default for the reason of that."""
        reason = reason or self.stopped  # an observer may let the batch submit again meanwhile
        for entry in entries:
            self.emit(entry, self.not_submitted_outcome(entry, reason, stopped=True))

    # What is at the vendor.

    async def take_slots(self, entries: list[BatchEntry]) -> None:
        """Wait until all these entries may have a job in flight; each carries its slot from then on."""
        await self.in_flight.acquire(len(entries))
        for entry in entries:
            entry.slots = self.in_flight
            if entry.name in self.withdrawals.done:  # while it waited
                entry.release_slot()

    def mark_withdrawn(self, name: tuple[str, str]) -> None:
        """An entry was withdrawn: its task may wait long for its turn to see that, and needs no slot."""
        self.withdrawals.done.add(name)
        for waiting in self.payers.values():
            if waiting.name == name:
                waiting.release_slot()

    def take_slot_of_job(self, batch_entry: BatchEntry) -> None:
        """Let an entry carry the slot of a job that exists already, even above the cap.

        It is at the vendor whether it is asked for or not. If it waited for a slot, jobs that don't end
        would keep finished results from being saved until they expire.
        """
        self.in_flight.acquire_over_limit()
        batch_entry.slots = self.in_flight

    def poll(self, batch_entry: BatchEntry, age: float | None) -> None:
        """Poll until a job, made `age` seconds ago, is terminal; None polls at once."""
        self._release_work(batch_entry)  # the journal has its job
        tracked = self._tracked[batch_entry] = TrackedJob(batch_entry, self._on_job_ended)
        self.budget.follow(batch_entry.name)
        self.board.start_wait(batch_entry)
        if self.observers.detailed or logger.isEnabledFor(logging.DEBUG):
            self.observers.report(FollowedEvent(**batch_entry.event_fields))
        schedule = self._schedule
        if self._callback_polling is not None:
            schedule = self._callback_polling.schedule(batch_entry)
        try:
            tracked.watch = self.session.watch(batch_entry.job_id, tracked, schedule=schedule, age=age)
        # Its ids are in the journal: the next run polls it, and nothing of it is lost.
        except ClientClosedError as error:
            self.abandon_job(batch_entry, error)

    def _job_ended(self, batch_entry: BatchEntry, watch: PolledJob) -> None:
        """Record that a job in flight has ended."""
        if self._callback_polling is not None:
            self._callback_polling.job_ended(watch.state.job_id)
        batch_entry.release_slot()
        self.finished.put(batch_entry, watch)

    def replace_job(self, batch_entry: BatchEntry, failed: Failed) -> None:
        """A job failed, and its entry is submitted again instead of being emitted."""
        self.replaced.append(failed)
        self._tracked.pop(batch_entry, None)
        # Its reservation is free for the next attempt; if it was charged all the same, the journal has that.
        self.budget.settle(batch_entry.name, None, charged=False)

    def track_resolved(self, batch_entry: BatchEntry | None, seen: Snapshot) -> None:
        """Follow the job of an entry that was in doubt, if this run awaits it: then it holds a place."""
        self.counts["doubts_resolved"] += 1
        if batch_entry is not None:
            self.breaker.settle(batch_entry.name, resolved=True)
            batch_entry.job = Job(
                id=seen.job_id, target=batch_entry.target, status=seen.status, created_at=seen.created_at
            )
            self.poll(batch_entry, None)

    def stop_tracking(self) -> None:
        """Stop waiting: jobs at the vendor continue without us."""
        for tracked in self._tracked.values():
            if tracked.watch is not None:
                self.session.unwatch(tracked.watch, tracked)
        self._close()

    @property
    def unfinished_jobs(self) -> tuple[str, ...]:
        """The jobs at the vendor whose end was not emitted."""
        return tuple(dict.fromkeys(tracked.batch_entry.job_id for tracked in self._tracked.values()))

    # What goes out.

    def emit(self, entry: BatchEntry, outcome: Outcome, *, repeated: bool = False) -> None:
        """Hand out how an entry ended, once the source has named it.

        With `repeated` it was refused, and what has its name may be in progress: nothing of that is settled.
        """
        asked = outcome if repeated else self._settle(entry, outcome)
        # A recovered job that the source has not named yet: its outcome waits until it does.
        if asked is None:
            return
        self.counts[type(asked).__name__] += 1
        self.counts["resumed"] += asked.resumed
        self.pending -= 1
        if self.observers.detailed or logger.isEnabledFor(logging.DEBUG):
            self.observers.report(OutcomeEvent.create(asked, entry.traceparent))
        self.outcomes.put(asked)
        if self.listener is not None:
            self.listener.record_outcome(asked)
            self.backlog.release(1)  # nobody may be iterating
            # The journal has them all; a service that never iterates must not fill the memory.
            if len(self.outcomes) > _KEPT_OUTCOMES:
                self.outcomes.drop_oldest()
        self._close_if_done()

    def _settle(self, entry: BatchEntry, outcome: Outcome) -> Outcome | None:
        """Free what is held in the name of an entry; return the outcome if it is asked for."""
        self._release_work(entry)
        entry.release_slot()
        name = entry.name
        if self.inputs.shares:
            self.inputs.release(entry.request, name, outcome)
        # A doubt stays charged: until it is resolved its job may exist, and count against `max_credits`.
        # So does a job that the vendor does not call failed.
        failed = isinstance(outcome, Failed) and outcome.confirmed
        uncharged = failed or isinstance(outcome, Rejected)
        self.budget.settle(name, outcome.credits, charged=not uncharged)
        self.breaker.settle(name, resolved=False)
        if isinstance(outcome, NotSubmitted):
            self.not_submitted.add(name)
        self._tracked.pop(entry, None)
        return self.recovered.complete(outcome)

    def _release_work(self, entry: BatchEntry) -> None:
        work, entry.work = entry.work, None
        if work is not None and self.payers.get(work) is entry:  # not if it was withdrawn, and another has it
            del self.payers[work]

    def abandon_job(self, batch_entry: BatchEntry, error: AkoolError) -> None:
        """Continue without a job whose end is unknown; as far as is known it is still at the vendor."""
        name = batch_entry.name
        if isinstance(error, JournalError):
            reason = (
                f"Job {batch_entry.job_id} is paid, but how it ended could not be recorded. {error.message}"
            )
            logger.warning("%s (%s): %s", *name, reason)
            if isinstance(error, JournalReplacedError):  # no later run will find the job in the journal
                self.stop(error.message, error)
                self.emit(batch_entry, batch_entry.in_doubt(reason, self.clock.now(), (batch_entry.job_id,)))
                return
        # The job stays listed, so that leaving the batch names it as one that is still billed.
        self._tracked[batch_entry].watch = None
        batch_entry.release_slot()
        resumable = self.stop_cause is None or self.stop_cause in RESUMABLE
        if isinstance(error, AccountError) and self.listener is not None and resumable:
            # A service may be given another key: then the job is polled again, and its ticket still waits.
            self._refused_polls.append((batch_entry, error))
            self.stop_for_account(error)
            return
        self.budget.settle(name, None)
        self.abandon(error, *([batch_entry] if self.recovered.fail(name, error) else ()))

    @contextmanager
    def stop_on_journal_error(self, *entries: BatchEntry) -> Iterator[None]:
        """Submit nothing more if the journal can't read or write these entries; continue without them."""
        try:
            yield
        except JournalError as error:
            self.abandon(error, *entries)

    def abandon(self, error: AkoolError, *entries: BatchEntry) -> None:
        """Continue without entries whose outcome is unknown, and raise `error` after the last outcome."""
        if isinstance(error, AccountError) and not isinstance(error, OutOfCredits):
            self.stop_for_account(error)
        else:
            self.stop(error.message, error)
        for entry in entries:
            entry.release_slot()
            self._release_work(entry)
            self.budget.settle(entry.name, None)
            self.breaker.settle(entry.name, resolved=False)
        self.pending -= len(entries)
        self.backlog.release(len(entries))  # nobody will take an outcome of theirs
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._all_admitted and not self.pending:
            self._close()

    def _close(self) -> None:
        self.outcomes.close()
        if self.listener is not None:
            self.listener.close()
