"""The life of an entry, top to bottom, in two halves that meet at "poll until terminal".

`submit` takes the languages of one POST from the source to the vendor, `finish` takes one job from its end to
its outcome. In between a job is not a task but a small record in the poll scheduler: there may be very many.
Resume enters at the step that the journal names: `Resumer` starts a known job at "poll until terminal".
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Final

import anyio
import attrs
from anyio.abc import TaskStatus

from akool_async._batch.callbacks import WebhookCoordinator
from akool_async._batch.entry import BatchEntry, outcome_from_journal
from akool_async._batch.limits import StopCause, WeightedSemaphore
from akool_async._batch.post import AnswerRecorder, Post
from akool_async._batch.resume import Resumer
from akool_async._batch.saving import RETRY_NEXT_RUN, FileNames, ResultSaver
from akool_async._batch.state import CANCELLED, BatchState
from akool_async._download import GONE_STATUSES, SavedResult
from akool_async._model.errors import (
    AkoolError,
    InvalidRequestError,
    JobNotFoundError,
    JournalError,
)
from akool_async._model.events import SavedEvent, TerminalEvent
from akool_async._model.requests import Request, private_inputs, with_inputs, with_targets
from akool_async._model.responses import (
    EXPIRED_UNSAVED,
    JobFailed,
    Snapshot,
    result_expiry,
    surely_expired,
)
from akool_async._model.states import State
from akool_async._polling.poll_state import PollState, PollVerdict
from akool_async._polling.scheduler import PolledJob
from akool_async._retry import AimdRateLimiter

logger = logging.getLogger("akool_async")
_MAX_ATTEMPTS: Final = 1_000_000
"""An outage makes a batch wait as long as the policy waits for a rate limit; it uses up no entries."""


class EntryLife:
    """Takes the entries of a batch through all their steps; `start_submit` runs `submit` in another task."""

    def __init__(
        self,
        state: BatchState,
        resumer: Resumer,
        callbacks: WebhookCoordinator,
        saver: ResultSaver,
        *,
        max_submits: int,
        retry_transient: int,
        start_submit: Callable[[list[BatchEntry]], None],
    ) -> None:
        self._state = state
        self._session = state.session
        self._clock = state.clock
        self._journal = state.journal
        self._report = state.observers.report
        self._resumer = resumer
        self._callbacks = callbacks
        self._saver = saver
        self._retry_transient = retry_transient
        self._start_submit = start_submit
        self._posts = WeightedSemaphore(max_submits)
        self._rate = AimdRateLimiter()
        self._answers = AnswerRecorder(state, callbacks, self._rate)
        retry = state.session.retry
        self._retry = attrs.evolve(retry, attempts=_MAX_ATTEMPTS, deadline=retry.throttle_deadline)

    async def admit(self, request: Request) -> list[BatchEntry]:
        """Return the languages of a POST that have to be submitted; the others are on their way, or ended."""
        entries = []
        for target in request.targets:
            entry = BatchEntry(request=request, target=target, retries_left=self._retry_transient)
            try:
                if await self._resumer.needs_submission(entry):  # duplicate? what does the journal know?
                    entries.append(entry)
            except JournalError as error:
                self._state.abandon(error, entry)
        # Looked at after the journal was asked, which may have taken long.
        if not self._state.stopped:
            return entries
        self._state.emit_stopped(entries)
        return []

    async def inspect_and_submit(
        self, entries: list[BatchEntry], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Inspect the video first, where that is wanted: some ahead of the slots, several at once.

        What is inspected is in no journal: a crash meanwhile loses nothing, the source has it again.
        """
        preflight = self._state.preflight
        if preflight is None:
            return await self.submit(entries, task_status=task_status)
        async with preflight.turn:  # held until it is sent, so that the source is not pulled far ahead
            task_status.started()
            # What the vendor would refuse takes no slot and no POST here.
            refusal = await preflight.find_refusal(entries[0].request)
            if refusal:
                return self._state.emit_not_submitted(entries, refusal)
            if self._state.stopped:
                return self._state.emit_stopped(entries)
            return await self.submit(entries)

    async def submit(
        self, entries: list[BatchEntry], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Take the languages of one POST from the source to the vendor: the first half.

        Args:
            entries: what was admitted, all of one request.
            task_status: started once the source may be pulled again.
        """
        request = entries[0].request
        private = bool(private_inputs(request))
        await self._state.take_slots(entries)
        permit = await self._posts.acquire_one()
        # Only now is the next request pulled: what is pulled and not sent is not in the journal yet.
        task_status.started()
        began, failures = self._clock.monotonic(), 0
        shown = entries  # all of them, however few are sent again
        self._state.board.start_submit(shown, began)
        try:
            # A loop: what surely made no job is sent again, and only for the languages concerned.
            while entries:
                names = [entry.name for entry in entries] if private else []
                try:  # before credits are reserved: it may take long
                    if private:
                        await self._state.take_step(partial(self._state.inputs.upload, request, names))
                except InvalidRequestError as error:
                    return self._state.emit_not_submitted(entries, str(error))
                async with self._clearance(entries[0]) as refusal:
                    if refusal:
                        return self._state.emit_stopped(entries, refusal)
                    post = Post(entries[0].request, entries, permit)
                    try:
                        await self._attempt(post, names)
                    except JournalError as error:
                        # Raised by reading, before any entry of the POST was polled or ended.
                        self._state.abandon(error, *post.entries)
                        post.again = []
                if entries := post.again:
                    await permit.renew()
                if entries and not post.rate_limited:  # a rate limit already slows down `_wait_for_turn`
                    failures += 1
                    wait = self._retry.delay(failures, self._clock.monotonic() - began)
                    if wait is None:
                        return self._state.emit_not_submitted(
                            entries, "The vendor could not be reached for too long."
                        )
                    await self._state.take_step(partial(self._sleep_until, self._clock.monotonic() + wait))
        finally:
            self._state.board.end_submit(shown)
            permit.release()
        return None

    async def _attempt(self, post: Post, private: list[tuple[str, str]]) -> None:
        """Send a POST in its turn, unless it must not be sent; `private` names those with inputs to sign."""
        if not await self._wait_for_turn(post):
            return None
        # Before the intent: a result without a name to be saved under is money lost.
        try:
            sign = partial(self._state.inputs.sign, post.request, private)
            signed = await self._state.take_step(sign) if private else {}
            if signed is None:
                return self._state.emit_stopped(post.entries)
            files, saved = await self._saver.candidate_names(post.entries)
        except InvalidRequestError as error:
            return self._state.emit_not_submitted(post.entries, str(error))
        if saved:
            self._skip_saved(post, saved)
        return await self._send(post, files, signed)

    async def _send(self, post: Post, names: FileNames, signed: Mapping[str, str]) -> None:
        """Commit the intent, send the POST, commit its ids, poll: no step before the one above it."""
        if self._state.withdrawals.undecided:
            await self._state.withdrawals.wait_decided(entry.name for entry in post.entries)
        if self._callbacks.keeping:
            await self._callbacks.wait_kept(post.entries)
        if self._state.stopped:  # while it waited for its turn
            self._state.emit_stopped(post.entries)
            return
        self._skip_resolved(post)
        if self._state.withdrawals.done:
            self._skip_withdrawn(post)
        if not post.entries:
            return
        post.request = post.entries[0].request  # a URL may have been signed anew meanwhile
        # Shielded: a cancellation between the POST and its ids would lose a job that is paid.
        with (
            anyio.CancelScope(shield=True),
            self._callbacks.submission(post.request) as (post.token, addressed),
        ):
            post.sent, post.sent_at = self._clock.monotonic(), self._clock.now()
            with post.reported(self._state.observers) as traceparent:
                # From here on a crash leaves a doubt, never a second POST.
                try:
                    await self._journal.intend(
                        post.request, token=post.token, names=names, traceparent=traceparent
                    )
                except JournalError as error:  # so nothing is sent
                    self._state.stop(error.message, error)
                    self._state.emit_stopped(post.entries, error.message)
                    return
                self._state.count_resubmissions(post.entries)
                try:  # signed for sending alone: the journal has no signature
                    submission = await self._session.submit_once(with_inputs(addressed, signed))
                except AkoolError as error:
                    post.record_error(error)
                else:
                    post.permit.release()  # the next POST need not wait until these ids are durable
                    self._rate.succeeded()
                    post.record_submission(submission, self._session)
                self._answers.count(post)
                unrecorded = None
                try:
                    await self._answers.commit(post)
                except JournalError as error:
                    unrecorded = error
            if unrecorded is None:
                self._answers.follow(post)
        if unrecorded is not None:
            await self._answers.record(post, unrecorded)

    async def finish(self, entry: BatchEntry, job: PolledJob) -> None:
        """Take one terminal job to its outcome: the second half. Its slot was released when it ended.

        Raises:
            AkoolError: polling became impossible, or the journal can't be written.
        """
        # Polling has stopped for good: how the job ended is not known, so nothing is recorded about it.
        if job.error is not None:
            raise job.error
        snapshot = job.state.snapshot
        if job.state.verdict is not PollVerdict.COMPLETED or snapshot is None:
            return await self._finish_failed(entry, job.state)
        # COMPLETED is committed before the download, so that a crash in it costs no second job.
        now = self._clock.now()
        name, done = entry.event_fields, entry.completed(snapshot, None, now)
        completed = entry.update(State.COMPLETED, snapshot=snapshot, ended_at=now)
        ended = TerminalEvent(**name, completed=True, credits_used=snapshot.credits_used)
        if self._saver.folder is None:  # nothing happens between the two states
            await self._journal.record(completed, entry.update(State.DELIVERED))
            self._report(ended)
            return self._state.emit(entry, done)
        await self._journal.record(completed)
        self._report(ended)
        self._state.budget.settle(entry.name, snapshot.credits_used)
        try:
            saved = await self._saver.save(entry, done)
        except RETRY_NEXT_RUN as error:
            return await self._finish_unsaved(entry, snapshot, error)
        await self._journal.record(entry.update(State.DELIVERED, files=saved.files, reason=saved.shortfall))
        self._report(SavedEvent(**name, video=str(saved.video)))
        return self._state.emit(entry, attrs.evolve(done, saved=saved))

    async def finish_all(self) -> None:
        """Finish terminal jobs one after the other, without end; what expires soonest comes first."""
        while True:
            entry, job = await self._state.finished.get()
            try:
                await self.finish(entry, job)
            except AkoolError as error:
                self._state.abandon_job(entry, error)

    # The steps of the first half.

    @asynccontextmanager
    async def _clearance(self, entry: BatchEntry) -> AsyncIterator[str]:
        """Wait until credits and clear answers allow a POST, and reserve both until its result is counted.

        Yield why nothing is submitted any more, or "".
        """
        # Both may wait long, so what stops the batch is looked at before, between and after them.
        budget, breaker = self._state.budget, self._state.breaker
        if self._state.stopped:
            yield self._state.stopped
            return
        # With `max_credits` a POST is for one language, so this entry's price is that of all that is sent.
        price = self._state.price(entry.request)
        refusal = await budget.reserve(entry.name, None if price is None else price.most)
        if refusal:
            unknown = budget.cost_unknown
            self._state.stop(refusal, cause=StopCause.COST_UNKNOWN if unknown else StopCause.BUDGET)
            yield refusal
            return
        try:
            await breaker.acquire()
            try:
                yield self._state.stopped
            finally:
                breaker.release()
        finally:
            budget.release()

    async def _wait_for_turn(self, post: Post) -> bool:
        """Wait for the pace that all POSTs share and for a token; False if the entries have ended instead."""
        now = self._clock.monotonic()
        wait = self._rate.reserve(now)
        try:
            if wait > 0:
                await self._state.take_step(partial(self._sleep_until, now + wait))
            await self._state.take_step(self._session.wait_ready)
        except AkoolError as error:
            post.fail(post.entries, error)
            self._answers.end_failed(post)
            return False
        # At once: if submitting is resumed later, what the stop cut short has still not been waited for.
        if self._state.stopped:
            self._state.emit_stopped(post.entries)
            return False
        return True

    async def _sleep_until(self, moment: float) -> None:
        if (wait := moment - self._clock.monotonic()) > 0:
            await self._clock.sleep(wait)

    def _skip_resolved(self, post: Post) -> None:
        """Take out entries for which a callback named a job since they were to be sent."""
        known, doubted = {}, self._callbacks.doubted_again
        for entry in post.entries:
            again = bool(doubted) and entry.name in doubted
            if again or self._state.previous_doubt(entry) is not None:
                recorded = self._journal.get(*entry.name)
                if recorded is not None and (again or recorded.state is State.SUBMITTED):
                    known[entry.target] = recorded
        if not known:
            return
        resolved = [entry for entry in post.entries if entry.target in known]
        post.select([entry for entry in post.entries if entry.target not in known])
        for entry in resolved:
            recorded = known[entry.target]
            if recorded.state is State.SUBMITTED:
                entry.resume_job(recorded)
                self._state.poll(entry, None)
            elif recorded.state is State.IN_DOUBT:
                self._callbacks.hold_resumed(entry, recorded, again=None)
            else:
                self._state.emit(entry, outcome_from_journal(recorded, entry.request))

    def _skip_withdrawn(self, post: Post) -> None:
        """End entries that the caller has withdrawn; nothing is awaited between this and their intent."""
        names = self._state.withdrawals.done
        withdrawn = [entry for entry in post.entries if entry.name in names]
        if withdrawn:
            post.select([entry for entry in post.entries if entry.name not in names])
            self._state.emit_not_submitted(withdrawn, CANCELLED)

    def _skip_saved(self, post: Post, saved: Mapping[tuple[str, str], SavedResult]) -> None:
        """End entries whose results are in the folder, though the journal does not know of any payment."""
        for entry in [entry for entry in post.entries if entry.name in saved]:
            result = saved[entry.name]
            post.select([other for other in post.entries if other is not entry])
            reason = (
                f"It is paid already: {result.manifest.name} says that job {result.job_id} is saved, which "
                "the journal does not know. Use its files, or the journal that does, or pay again with "
                "pay_again=True (--pay-again)."
            )
            unsent = self._state.not_submitted_outcome(entry, reason, already_saved=True)
            self._state.emit(entry, unsent)

    # The ends of the second half that are no saved result.

    async def _finish_failed(self, entry: BatchEntry, seen: PollState) -> None:
        error = seen.failure()
        recorded = self._journal.get(*entry.name)
        if recorded is not None and recorded.state is State.COMPLETED:  # an earlier run saw its result
            return await self._finish_unsaved(entry, recorded.known_snapshot, error)
        if not error.confirmed:
            return await self._finish_unknown(entry, error)
        now = self._clock.now()
        change = entry.update(
            State.FAILED,
            reason=error.message,
            code=error.error_code,
            snapshot=seen.snapshot,
            ended_at=now,
        )
        await self._journal.record(change)
        self._report(TerminalEvent(**entry.event_fields, completed=False, reason=error.message))
        outcome = entry.failed(error.message, seen.snapshot, now)
        # Paid once more only if its failure may pass, and no earlier POST may have made another job.
        retry = entry.retries_left and outcome.may_pass and not self._state.stopped
        if not retry or self._journal.find_named_post(*entry.name) is not None:
            return self._state.emit(entry, outcome)
        request, left = with_targets(entry.request, (entry.target,)), entry.retries_left - 1
        again = BatchEntry(request=request, target=entry.target, retries_left=left, failure=outcome)
        # Since its failure is in the journal, the same work may have been submitted under another key.
        if not self._resumer.claim_work(again):
            return self._state.emit(entry, outcome)
        self._state.replace_job(entry, outcome)
        return self._start_submit([again])

    async def _finish_unsaved(self, entry: BatchEntry, snapshot: Snapshot, error: AkoolError) -> None:
        """Leave the result for the next run, unless it has expired at the vendor."""
        if snapshot.created_at is None and entry.job is not None:
            snapshot = attrs.evolve(snapshot, created_at=entry.job.created_at)
        gone = isinstance(error, JobFailed | JobNotFoundError) or error.http_status in GONE_STATUSES
        if gone and await self._finish_expired(entry, snapshot.expires_at):
            return
        # So that `list` can say later why a paid result is not saved; the step that saves it clears this.
        await self._journal.record(entry.update(State.COMPLETED, reason=str(error)))
        done = entry.completed(snapshot, None, self._clock.now(), reason=str(error))
        self._state.emit(entry, done)

    async def _finish_unknown(self, entry: BatchEntry, error: JobFailed) -> None:
        """End a job for this run that the vendor does not know, or shows no result of.

        It is not over: with the key of another account it would look the same, and a result may still come.
        So the journal keeps it as submitted, and each run asks for it until its time is over.
        """
        made = None if entry.job is None else entry.job.created_at
        if await self._finish_expired(entry, result_expiry(made or entry.submitted_at)):
            return
        await self._journal.record(entry.update(State.SUBMITTED, reason=str(error)))
        self._report(TerminalEvent(**entry.event_fields, completed=False, reason=error.message))
        self._state.emit(entry, entry.failed(str(error), error.snapshot, self._clock.now()))

    async def _finish_expired(self, entry: BatchEntry, expires_at: datetime | None) -> bool:
        """End an entry that is saved after all, or has surely expired; False if it may still be there."""
        now, done = self._clock.now(), await self._saver.recover_saved(entry)
        if done is not None:
            self._state.emit(entry, done)
            return True
        if not surely_expired(expires_at, entry.submitted_at, now=now, vendor_now=self._session.server_now()):
            return False
        await self._journal.record(entry.update(State.EXPIRED, reason=EXPIRED_UNSAVED, ended_at=now))
        self._state.emit(entry, entry.expired(EXPIRED_UNSAVED, now))
        return True
