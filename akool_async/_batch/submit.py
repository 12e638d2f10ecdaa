"""One paid POST of a batch: intent, POST, ids, each committed before the next step is taken."""

from __future__ import annotations

import enum
import logging
from datetime import datetime
from typing import Final

import anyio
import attrs

from akool_async._batch.callbacks import WebhookCoordinator
from akool_async._batch.entry import BatchEntry
from akool_async._batch.finish import FileNames
from akool_async._batch.queues import Permit
from akool_async._batch.state import BatchState, StopCause
from akool_async._journal import EntryUpdate
from akool_async._model.errors import (
    AccountError,
    AkoolError,
    CallerError,
    ConnectError,
    ConnectionLostError,
    JournalError,
    OutOfCredits,
    ProtocolError,
    RateLimitError,
    SubmissionInDoubt,
    VendorError,
)
from akool_async._model.outcomes import Outcome
from akool_async._model.requests import Request, with_targets
from akool_async._model.responses import Submission
from akool_async._model.states import State
from akool_async._retry import AimdRateLimiter

# What becomes of an entry, and of the batch, when its paid POST brought an error: one table.


class Disposition(enum.Enum):
    """What is done about it; the value is the state that the entry goes to."""

    IN_DOUBT = State.IN_DOUBT
    """It was sent, or may have been: never again by itself."""
    REJECTED = State.FAILED
    """The vendor did not make the job: rejected, the others go on."""
    RETRY = "planned: surely not made, send it again later"
    OUT_OF_CREDITS = "planned: submit nothing more, bring home what runs"
    ABORT = "planned: submit nothing more, and tell the caller at the end"

    @property
    def state(self) -> State:
        """Where the entry stands then."""
        return self.value if isinstance(self.value, State) else State.PLANNED


def disposition_for(error: AkoolError) -> Disposition:
    """Give what becomes of an entry whose POST, or the token for it, ended with `error`."""
    fate = _fate_of(error)
    if fate is not Disposition.REJECTED or not error.during_auth:
        return fate
    # That is no refusal of the entry: it made no job, and the vendor was not asked for it.
    return Disposition.RETRY if isinstance(error, VendorError) else Disposition.ABORT


def _fate_of(error: AkoolError) -> Disposition:
    match error:
        case SubmissionInDoubt():
            return Disposition.IN_DOUBT
        case RateLimitError() | ConnectError() | ConnectionLostError() | ProtocolError():
            # The last two come from fetching a token: a paid POST that was sent would be in doubt.
            return Disposition.RETRY
        case OutOfCredits():
            return Disposition.OUT_OF_CREDITS
        case AccountError():
            return Disposition.ABORT
        case CallerError():
            return Disposition.REJECTED
        case VendorError(code=int()):
            return Disposition.REJECTED
        case VendorError():
            return Disposition.RETRY
    return Disposition.ABORT


logger = logging.getLogger("akool_async")
_CAUSES: Final = {Disposition.OUT_OF_CREDITS: StopCause.CREDITS, Disposition.ABORT: StopCause.FAILURE}
_MOST_TRIES: Final = 1_000_000
"""An outage makes a batch wait, for as long as the policy waits for a throttled call; it burns no entries."""


@attrs.define
class SubmitAttempt:
    """One POST and what came of it.

    Attributes:
        part: what is sent.
        place: lets its POST be under way.
        costs: credits locked for each job that was made.
        doubts: languages that are in doubt.
        left: languages that are to be sent again.
        throttled: whether that is because the vendor said "too often".
        sent: when it was sent, in seconds of the clock.
        sent_at: the same, aware.
        token: the unguessable part of its webhook URL, or "".
    """

    part: Request
    place: Permit
    costs: list[float] = attrs.field(factory=list)
    doubts: int = 0
    left: list[str] = attrs.field(factory=list)
    throttled: bool = False
    sent: float = 0.0
    sent_at: datetime | None = None
    token: str = ""


class Submitter:
    """Submits for a batch, at a pace that all its submissions share."""

    def __init__(
        self,
        state: BatchState,
        callbacks: WebhookCoordinator,
        naming: FileNames,
    ) -> None:
        self._state = state
        self._client = state.client
        self._clock = state.clock
        retry = state.client.retry
        self._patience = attrs.evolve(retry, attempts=_MOST_TRIES, deadline=retry.throttle_deadline)
        self._journal = state.journal
        self._budget = state.budget
        self._callbacks = callbacks
        self._naming = naming
        self._pace = AimdRateLimiter()

    async def submit(self, request: Request, place: Permit) -> None:
        """See the languages of one request submitted or ended; each holds a place in batch_entry.

        Args:
            request: what is to be submitted.
            place: lets one POST be under way; freed when the vendor has taken the request.
        """
        began, tries = self._clock.monotonic(), 0
        part = request
        while True:
            if not await self._reserved(len(part.targets)):
                return self._not_submitted(part, self._state.stopped)
            attempt = await self._attempt(part, place)
            if not attempt.left:
                return None
            part = with_targets(part, tuple(attempt.left))
            tries += not attempt.throttled
            wait = 0.0 if attempt.throttled else self._patience.delay(tries, self._clock.monotonic() - began)
            if wait is None:
                return self._not_submitted(part, "The vendor could not be reached for too long.")
            await self._clock.sleep(wait)

    async def _reserved(self, jobs: int) -> bool:
        """Set credits aside; False where nothing is submitted any more."""
        if self._state.stopped:
            return False
        if not await self._budget.reserve(jobs):
            told = f"max_credits ({self._budget.most:g}) would be exceeded."
            self._state.stop(told, cause=StopCause.BUDGET)
            return False
        if self._state.stop_cause is not None:  # meanwhile; who waits for what was set aside goes on
            self._budget.settle(jobs)
            return False
        return True

    async def _attempt(self, part: Request, place: Permit) -> SubmitAttempt:
        attempt = SubmitAttempt(part, place)
        try:
            wait = self._pace.reserve(self._clock.monotonic())
            if wait > 0:
                await self._clock.sleep(wait)
            await self._send(attempt)
        except JournalError as error:
            self._state.in_flight.release(len(attempt.part.targets))
            self._state.abandon(len(attempt.part.targets), error)
        finally:
            self._budget.settle(len(part.targets), costs=attempt.costs, doubts=attempt.doubts)
        return attempt

    async def _send(self, attempt: SubmitAttempt) -> None:
        """Commit the intent, send, commit what came of it.

        From the intent on it is not torn by cancellation; each of these steps has a deadline of its own.

        Raises:
            JournalError: what has to be durable can't be written.
        """
        part = attempt.part
        try:
            await self._client.wait_ready()
        except AkoolError as error:
            self._after_error(attempt, part.targets, error, disposition_for(error))
            return
        names = await self._naming.candidates(part)
        if self._state.stopped:  # while it waited for its turn
            self._not_submitted(part, self._state.stopped)
            return
        cleared_up = {target: found for target in part.targets if (found := self._cleared_up(part, target))}
        for batch_entry in cleared_up.values():
            self._state.track(batch_entry, None)
        left = tuple(target for target in part.targets if target not in cleared_up)
        if not left:
            return
        part = attempt.part = with_targets(part, left)
        with anyio.CancelScope(shield=True):
            attempt.sent, attempt.sent_at = self._clock.monotonic(), self._clock.now()
            with self._callbacks.submission(part) as (attempt.token, addressed):
                await self._journal.intend(part, token=attempt.token, names=names)
                self._state.count_resubmissions(part)
                try:
                    submission = await self._client.submit_once(addressed)
                except AkoolError as error:
                    await self._journal.record(*self._changes(part, error))
                    self._after_error(attempt, part.targets, error, disposition_for(error))
                else:
                    attempt.place.release()  # the next POST does not wait until this one's ids are durable
                    await self._record_submission(attempt, submission)

    def _cleared_up(self, part: Request, target: str) -> BatchEntry | None:
        """Give an entry that was to be paid again, with its job, if a callback named that meanwhile."""
        batch_entry = BatchEntry(request=part, target=target)
        if self._state.previous_doubt(batch_entry) is None:
            return None
        entry = self._journal.get(batch_entry.key, target)
        return (
            batch_entry.with_job_from(entry) if entry is not None and entry.state is State.SUBMITTED else None
        )

    def _changes(self, part: Request, error: AkoolError) -> list[EntryUpdate]:
        ids = error.job_ids if isinstance(error, SubmissionInDoubt) else None
        return [self._change(part, target, error, ids) for target in part.targets]

    def _change(
        self, part: Request, target: str, error: AkoolError, ids: tuple[str, ...] | None = None
    ) -> EntryUpdate:
        batch_entry = BatchEntry(request=part, target=target)
        state = disposition_for(error).state
        doubt = None if state is State.IN_DOUBT else self._state.previous_doubt(batch_entry)
        if doubt is not None:  # what this POST did not make, an earlier one may have made
            refused = state is State.FAILED
            return batch_entry.update(
                State.IN_DOUBT,
                reason=_resubmit_rejected_reason(error) if refused else doubt.reason,
                code=error.code if refused else doubt.code,
                submitted_at=doubt.submitted_at,
                token=doubt.token,
            )
        ended_at = self._clock.now() if state is State.FAILED else None
        doubted = self._merge_doubt_ids(batch_entry, ids or ()) if state is State.IN_DOUBT else None
        return batch_entry.update(
            state, reason=str(error), code=error.code, doubt_ids=doubted, ended_at=ended_at
        )

    def _merge_doubt_ids(self, batch_entry: BatchEntry, ids: tuple[str, ...]) -> tuple[str, ...]:
        """Give ids in doubt with those of the POST before, which may be jobs, too."""
        doubt = self._state.previous_doubt(batch_entry)
        return ids if doubt is None else tuple(dict.fromkeys((*doubt.doubt_ids, *ids)))

    async def _record_submission(self, attempt: SubmitAttempt, submission: Submission) -> None:
        part = attempt.part
        extra = tuple(job.id for job in submission.extra)
        flights = [
            BatchEntry(
                request=part,
                target=job.target,
                job=job.without_raw(),
                submitted_at=attempt.sent_at,
                token=attempt.token,
            )
            for job in submission.accepted
        ]
        errors = {refusal.target: refusal.error for refusal in submission.refused}
        errors |= {target: _missing(target) for target in submission.missing}
        changes = [self._submitted(batch_entry) for batch_entry in flights]
        changes += [self._change(part, target, error, extra) for target, error in errors.items()]
        if extra and not submission.missing:
            first = BatchEntry(request=part, target=changes[0].target)
            changes[0] = attrs.evolve(changes[0], doubt_ids=self._merge_doubt_ids(first, extra))
        await self._journal.record(*changes)
        if extra:
            ids = ", ".join(extra)
            logger.warning("The vendor made jobs that were not asked for; they may be billed: %s.", ids)
        attempt.costs = [job.credits_locked or 0.0 for job in submission.accepted]
        self._pace.succeeded()
        for batch_entry in flights:
            over = self._callbacks.finished_before_response(attempt.token, batch_entry.job_id)
            self._state.track(batch_entry, None if over else 0.0)
        for target, error in errors.items():
            self._after_error(attempt, (target,), error, disposition_for(error))

    def _submitted(self, batch_entry: BatchEntry) -> EntryUpdate:
        job = batch_entry.job
        assert job is not None  # noqa: S101 - it was accepted
        return batch_entry.update(
            State.SUBMITTED, job_id=job.id, credits_locked=job.credits_locked, created_at=job.created_at
        )

    def _after_error(
        self, attempt: SubmitAttempt, targets: tuple[str, ...], error: AkoolError, fate: Disposition
    ) -> None:
        """End what has ended by an error, and note what is to be sent again."""
        if fate is Disposition.RETRY:
            attempt.left += targets
            if isinstance(error, RateLimitError):
                attempt.throttled = True
                self._pace.rate_limited(sent=attempt.sent, now=self._clock.monotonic())
            return
        if fate in (Disposition.OUT_OF_CREDITS, Disposition.ABORT):
            self._state.stop(str(error), error if fate is Disposition.ABORT else None, cause=_CAUSES[fate])
        if fate is Disposition.IN_DOUBT:
            attempt.doubts += len(targets)
        sent_at = attempt.sent_at if fate in (Disposition.IN_DOUBT, Disposition.REJECTED) else None
        for target in targets:
            batch_entry = BatchEntry(
                request=attempt.part, target=target, submitted_at=sent_at, token=attempt.token
            )
            if fate is Disposition.IN_DOUBT and self._callbacks.hold(batch_entry, str(error)):
                continue
            self._state.release_and_emit(self._ended(batch_entry, fate, error))

    def _ended(self, batch_entry: BatchEntry, fate: Disposition, error: AkoolError) -> Outcome:
        now = self._clock.now()
        if fate is Disposition.IN_DOUBT:
            return batch_entry.in_doubt(str(error), now)
        if fate is Disposition.REJECTED and self._state.previous_doubt(batch_entry) is not None:
            return attrs.evolve(
                self._state.not_submitted_outcome(batch_entry, ""), reason=_resubmit_rejected_reason(error)
            )
        if fate is Disposition.REJECTED:
            return batch_entry.rejected(str(error), error.code, now)
        return self._state.not_submitted_outcome(batch_entry, str(error))

    def _not_submitted(self, part: Request, reason: str) -> None:
        for target in part.targets:
            self._state.release_and_emit(
                self._state.not_submitted_outcome(BatchEntry(request=part, target=target), reason)
            )


def _missing(target: str) -> SubmissionInDoubt:
    return SubmissionInDoubt(f"The answer to a paid call does not mention {target!r}.", targets=(target,))


def _resubmit_rejected_reason(error: AkoolError) -> str:
    """Say why an entry is still in doubt: that it was refused now says nothing of the POST before."""
    return f"Sent once more, it was refused: {error.message} Whether the POST before made a job is not known."
