"""One paid POST of a batch: its entries, what an error of it means for them, and how its answer is recorded.

Nothing here decides whether a POST is sent; `life` does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import chain
from typing import Final, TypeAlias

import anyio
import attrs

from akool_async._batch.callbacks import WebhookCoordinator
from akool_async._batch.entry import BatchEntry
from akool_async._batch.limits import Permit
from akool_async._batch.state import BatchState
from akool_async._client import ClientSession
from akool_async._journal import Entry, EntryUpdate
from akool_async._journal.table import JobTakenError
from akool_async._model.codes import CodeKind, lookup
from akool_async._model.dispositions import Disposition
from akool_async._model.errors import (
    AccountError,
    AkoolError,
    CallerError,
    DuplicateJobError,
    JournalError,
    JournalReplacedError,
    JournalWriteError,
    RateLimitError,
    SubmissionInDoubt,
    VendorError,
)
from akool_async._model.events import DoubtEvent, SubmittedEvent
from akool_async._model.outcomes import Outcome
from akool_async._model.requests import Request, with_targets
from akool_async._model.responses import Job, Submission
from akool_async._model.states import State
from akool_async._observer import Observers, PostReport
from akool_async._retry import AimdRateLimiter

logger = logging.getLogger("akool_async")

PreviousDoubt: TypeAlias = Callable[[BatchEntry], Entry | None]


@attrs.frozen
class PostFailure:
    """An entry for which a POST made no known job."""

    entry: BatchEntry
    error: AkoolError
    disposition: Disposition


@attrs.define
class Post:
    """One attempt to submit entries, and its result.

    Attributes:
        permit: allows its POST to be under way.
        submitted: the entries that have a job now, each with it.
        failures: the others.
        again: entries that are sent again.
        own_ids: by language the job that an unusable answer names for it.
        taken_ids: by language the job that the answer names for it, and that another POST made.
        other_ids: jobs in the answer that may be an entry's, or were not asked for.
        extra: those of a clear answer that were not asked for.
        sent: when it was sent, in seconds of the clock.
        token: the unguessable part of its webhook URL, or "".
    """

    request: Request
    entries: list[BatchEntry]
    permit: Permit
    submitted: list[tuple[BatchEntry, Job]] = attrs.field(factory=list)
    failures: list[PostFailure] = attrs.field(factory=list)
    again: list[BatchEntry] = attrs.field(factory=list)
    own_ids: dict[str, str] = attrs.field(factory=dict)
    taken_ids: dict[str, str] = attrs.field(factory=dict)
    other_ids: tuple[str, ...] = ()
    extra: tuple[Job, ...] = ()
    sent: float = 0.0
    sent_at: datetime | None = None
    token: str = ""

    def __attrs_post_init__(self) -> None:
        """Narrow the request down to the languages that are sent."""
        self.select(self.entries)

    def select(self, entries: list[BatchEntry]) -> None:
        """Send these entries only."""
        self.entries = entries
        if 0 < len(entries) < len(self.request.targets):
            self.request = with_targets(self.request, tuple(entry.target for entry in entries))
        for entry in entries:
            entry.request = self.request

    def doubt_ids(self, entry: BatchEntry) -> tuple[str, ...]:
        """Return the ids in an unusable answer that a person has to look at for this entry."""
        named = (ids.get(entry.target) for ids in (self.own_ids, self.taken_ids))
        return (*filter(None, named), *self.other_ids)

    def candidate_ids(self, entry: BatchEntry) -> tuple[str, ...]:
        """Return those that the API is asked for: the job of this language, or all if none is named."""
        own = self.own_ids.get(entry.target)
        return self.other_ids if own is None else (own,)

    def candidates(self, entry: BatchEntry) -> tuple[str, ...]:
        """Return the ids in an unusable answer that can only be this entry's job."""
        # The only language of a POST owns whatever its answer names; one of several only what names it.
        owns = len(self.entries) == 1 or entry.target in self.own_ids
        return self.candidate_ids(entry) if owns else ()

    @contextmanager
    def reported(self, observers: Observers) -> Iterator[str]:
        """Report when it begins and ends; return what is stored with its intent, for traces."""
        if not (observers.detailed or logger.isEnabledFor(logging.DEBUG)):
            yield ""
            return
        post = PostReport(entries=tuple(entry.name for entry in self.entries))
        with observers.post(post):
            for entry in self.entries:
                entry.traceparent = post.traceparent
            try:
                yield post.traceparent
            finally:
                post.job_ids = tuple(job.id for _, job in self.submitted)
                post.error = str(self.failures[0].error) if self.failures else ""

    def record_error(self, error: AkoolError) -> None:
        """Note that the POST failed, and which jobs its answer names."""
        # Kept in the POST: they are committed before any of them is polled.
        if isinstance(error, SubmissionInDoubt):
            self.own_ids = error.job_ids_by_target
            own = frozenset(self.own_ids.values())
            self.other_ids = tuple(job_id for job_id in error.job_ids if job_id not in own)
        self.fail(self.entries, error)

    def record_submission(self, submission: Submission, session: ClientSession) -> None:
        """Note for each entry the job, or the error and what it means."""
        self.extra = submission.extra
        self.other_ids = tuple(job.id for job in submission.extra)
        if self.other_ids:
            ids = ", ".join(self.other_ids)
            logger.warning("The vendor made jobs that were not asked for; they may be billed: %s.", ids)
        entries = {entry.target: entry for entry in self.entries}
        for job in submission.accepted:
            # By this machine's clock, which may be wrong, a job could expire while it runs.
            if job.created_at is None and session.knows_server_time:
                job = attrs.evolve(job, created_at=session.server_now())
            self.submitted.append((entries[job.target].submitted(job, self.sent_at, self.token), job))
        for refusal in submission.refused:
            self.fail([entries[refusal.target]], refusal.error)
        for target in submission.missing:
            reason = f"The answer to a paid call does not mention {target!r}."
            self.fail([entries[target]], SubmissionInDoubt(reason, targets=(target,)))

    def give_up_job(self, taken: JobTakenError) -> tuple[BatchEntry, Job]:
        """Put an entry in doubt, because the answer names the job of another POST for it; return both."""
        name, job_id = taken.entry, taken.job_id
        (made,) = (one for one in self.submitted if one[0].name == name)
        self.submitted.remove(made)
        entry = made[0]
        self.taken_ids[entry.target], entry.job = job_id, None
        owner = "it had before it was paid again" if taken.owner == name else "another entry has"
        reason = f"The answer to a paid call names job {job_id}, which {owner}."
        logger.warning("%s That for %s (%s) may have made another job.", reason, *name)
        self.fail([entry], SubmissionInDoubt(reason, targets=(entry.target,)))
        return made

    @property
    def answered(self) -> bool:
        """Whether the vendor said what became of an entry."""
        # A clear refusal shows that the host works, as much as a job does: it ends a run of doubts.
        return bool(self.submitted) or any(
            isinstance(failure.error, AccountError | CallerError | VendorError) for failure in self.failures
        )

    @property
    def doubts(self) -> list[BatchEntry]:
        """The entries that are in doubt now."""
        return [failure.entry for failure in self.failures if failure.disposition.state is State.IN_DOUBT]

    @property
    def surplus(self) -> tuple[Job, ...]:
        """The jobs that were not asked for, without those that doubts are counted for."""
        return self.extra[len(self.doubts) :]

    @property
    def rate_limited(self) -> bool:
        """Whether the vendor answered that there are too many calls."""
        return any(isinstance(failure.error, RateLimitError) for failure in self.failures)

    def changes(self, previous_doubt: PreviousDoubt, now: datetime) -> list[EntryUpdate]:
        """Return what the journal has to know of the result, all of it."""
        changed: list[tuple[BatchEntry, EntryUpdate]] = []
        for entry, job in self.submitted:
            change = entry.update(
                State.SUBMITTED,
                job_id=job.id,
                credits_locked=job.credits_locked,
                created_at=job.created_at,
            )
            changed.append((entry, change))
        for failure in self.failures:
            changed.append((failure.entry, self._failure_change(failure, previous_doubt, now)))
        # They may be billed, so some entry has to name them, and to count what they cost.
        if self.other_ids:
            entry, change = changed[0]
            doubt_ids = change.doubt_ids if self.doubts else self.other_ids
            changed[0] = (entry, attrs.evolve(change, doubt_ids=doubt_ids, extra_jobs=self.surplus))
        return [change for _, change in changed]

    def _failure_change(
        self, failure: PostFailure, previous_doubt: PreviousDoubt, now: datetime
    ) -> EntryUpdate:
        entry, error, state = failure.entry, failure.error, failure.disposition.state
        doubt = previous_doubt(entry)
        if doubt is not None and state is not State.IN_DOUBT:
            # What this POST did not make, an earlier one may have made.
            refused = state is State.FAILED
            return entry.update(
                State.IN_DOUBT,
                reason=still_in_doubt(error) if refused else doubt.reason,
                code=error.code if refused else doubt.code,
                submitted_at=doubt.submitted_at,
                token=doubt.token,
                candidate_ids=doubt.candidate_ids,
            )
        in_doubt = state is State.IN_DOUBT
        return entry.update(
            state,
            reason=str(error),
            code=error.code,
            doubt_ids=self.doubt_ids(entry) if in_doubt else None,
            candidate_ids=self.candidate_ids(entry) if in_doubt else None,
            ended_at=now if state is State.FAILED else None,
        )

    def fail(self, entries: list[BatchEntry], error: AkoolError) -> None:
        """Judge an error, once, for these entries."""
        judged = error.disposition
        # The vendor has no capacity now: refused, and nothing charged, but worth another try.
        busy = judged is Disposition.REJECTED and lookup(error.code).kind is CodeKind.BUSY
        for entry in entries:
            again = busy and entry.retries_left > 0
            if again:
                entry.retries_left -= 1
            self.failures.append(PostFailure(entry, error, Disposition.RETRY if again else judged))


def still_in_doubt(error: AkoolError) -> str:
    """Say why an entry is still in doubt: the refusal now says nothing about the POST before."""
    if isinstance(error, DuplicateJobError):
        return (
            f"Sent once more, it was refused: {error.message} So the POST before made a job, which is "
            "billed; its id is not known."
        )
    return f"Sent once more, it was refused: {error.message} Whether the POST before made a job is not known."


# What is done with the answer to a paid POST: counted, recorded, then acted on.

FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 5.0
RECORD_WITHIN: Final = 30.0
"""Seconds between tries to record an answer, and until its entries end without that."""


class AnswerRecorder:
    """Counts what the vendor answered, commits it as long as the batch lives, and acts on it."""

    def __init__(self, state: BatchState, callbacks: WebhookCoordinator, rate: AimdRateLimiter) -> None:
        self._state = state
        self._clock = state.clock
        self._report = state.observers.report
        self._callbacks = callbacks
        self._rate = rate

    def count(self, post: Post) -> None:
        """Count what the POST cost, before anything can fail: the next one must know."""
        for entry, job in post.submitted:
            self._state.budget.count_job(entry.name, job.credits_locked)
            self._state.learn_price(entry.request, job.credits_locked)
        for entry in post.doubts:
            self._state.budget.count_unknown(entry.name)
        for job in post.surplus:
            self._state.budget.count_extra(post.entries[0].name, job.credits_locked)

    async def commit(self, post: Post) -> None:
        """Commit all that the answer says in one write, before it is reported or acted on.

        Raises:
            JournalError: it is not recorded.
        """
        while True:
            changes = post.changes(self._state.previous_doubt, self._clock.now())
            try:
                return await self._state.journal.record(*changes)
            # Seen in the write itself: the answer that names the same job may be on its way, too.
            except JobTakenError as error:
                entry, job = post.give_up_job(error)
                if job.credits_locked:  # else it is counted as unknown
                    self._state.budget.count_unknown(entry.name)

    def follow(self, post: Post) -> None:
        """Poll the jobs that a POST made, and end its other entries, once all of it is in the journal."""
        if post.answered:
            self._state.breaker.count_answer()
        for entry, job in post.submitted:
            self._report(SubmittedEvent(**entry.event_fields, credits_locked=job.credits_locked))
            finished = self._callbacks.finished_before_response(post.token, job.id)
            self._state.poll(entry, None if finished else 0.0)
        if post.failures:
            self.end_failed(post)

    def end_failed(self, post: Post) -> None:
        """End the entries that an error ended, and keep those that are sent again."""
        resolvable = []
        if post.rate_limited:
            self._rate.rate_limited(sent=post.sent, now=self._clock.monotonic())
        for failure in post.failures:
            entry, error, disposition = failure.entry, failure.error, failure.disposition
            if disposition is Disposition.RETRY:
                post.again.append(entry)
                continue
            if disposition.stops:
                if isinstance(error, AccountError):
                    self._state.stop_for_account(error)
                else:
                    self._state.stop(str(error), error)
            entry.token = post.token
            # What was not sent has no moment: a later doubt about it would count from a POST that never was.
            entry.submitted_at = None if disposition.state is State.PLANNED else post.sent_at
            earlier = self._state.previous_doubt(entry)
            ids = tuple(dict.fromkeys((*(earlier.doubt_ids if earlier else ()), *post.doubt_ids(entry))))
            if disposition.state is State.IN_DOUBT:
                self._report(DoubtEvent(**entry.event_fields, reason=str(error), doubt_ids=ids))
            candidates = post.candidates(entry)
            if disposition.state is State.IN_DOUBT and self._callbacks.hold(
                entry, str(error), doubt_ids=ids, candidates=candidates
            ):
                self._state.budget.follow(entry.name)
                resolvable.append(entry.name)
                continue  # its outcome waits for the callback, and it keeps its slot
            self._state.emit(entry, self._failure_outcome(failure, ids))
        if any(failure.disposition.state is State.IN_DOUBT for failure in post.failures):
            self._state.breaker.count_doubt(resolvable)

    def _failure_outcome(self, failure: PostFailure, doubt_ids: tuple[str, ...]) -> Outcome:
        entry, error, now = failure.entry, failure.error, self._clock.now()
        if failure.disposition.state is State.IN_DOUBT:
            return entry.in_doubt(str(error), now, doubt_ids)
        if failure.disposition.state is State.PLANNED:
            return self._state.not_submitted_outcome(entry, str(error), stopped=failure.disposition.stops)
        if self._state.previous_doubt(entry) is not None:
            unsent = self._state.not_submitted_outcome(entry, "")
            return attrs.evolve(unsent, reason=still_in_doubt(error))
        return entry.rejected(str(error), error.code, now)

    async def record(self, post: Post, error: JournalError) -> None:
        """Try again to commit the changes of a POST, which is not followed until that succeeds.

        The ids are in the log from now on. If they can't be written soon, the entries end as in doubt, with
        their ids, and nothing more is submitted; the tries continue.
        """
        # With its language: by hand, each may have to be given to its entry.
        named = {job.id: f" ({job.target})" if job.target else "" for _, job in post.submitted}
        doubtful = chain.from_iterable(post.doubt_ids(failure.entry) for failure in post.failures)
        for job_id in (*doubtful, *post.other_ids):
            named.setdefault(job_id, "")
        ids = ", ".join(f"{job_id}{language}" for job_id, language in named.items()) or "none"
        names = ", ".join(
            f"{entry.key} ({entry.target})" if entry.target else entry.key for entry in post.entries
        )
        logger.warning(
            "The answer to the paid call for %s could not be recorded, which is tried again; the jobs in it "
            "are: %s. %s",
            names,
            ids,
            error.message,
        )
        # Another program may hold the file for a moment, or free some space; a lost file rarely comes back.
        brief = isinstance(error, JournalWriteError) and not isinstance(error, JournalReplacedError)
        wait, left_to_wait = FIRST_WAIT, RECORD_WITHIN if brief else 0.0
        gave_up = recorded = False
        while not recorded:
            if left_to_wait <= 0 and not gave_up:
                self._end_unrecorded(post, error)
                gave_up = True
            leaving = True
            try:
                await self._clock.sleep(wait)
                leaving = False
            finally:  # also when the batch is left: it is the last chance
                with anyio.CancelScope(shield=True):
                    try:
                        await self.commit(post)
                        recorded = True
                    except JournalError as again:
                        error = again
                if recorded and not gave_up:
                    self.follow(post)
                elif leaving and not gave_up:
                    self._end_unrecorded(post, error)
            left_to_wait, wait = left_to_wait - wait, min(2 * wait, LONGEST_WAIT)
        logger.warning("The answer to the paid call for %s is recorded now.", names)

    def _end_unrecorded(self, post: Post, error: JournalError) -> None:
        """End entries whose jobs the journal does not know: for the next run they are in doubt, and paid."""
        self._state.stop(error.message, error)
        self._state.board.end_submit(post.entries)  # though the tries continue
        for entry, job in post.submitted:
            reason = f"Job {job.id} is paid, but could not be recorded. {error.message}"
            self._state.emit(entry, entry.in_doubt(reason, self._clock.now(), (job.id,)))
        self.end_failed(post)
