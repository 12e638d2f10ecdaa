"""One paid POST of a batch: intent, POST, ids, each committed before the next step is taken."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Final

import anyio
import attrs

from akool_async._batch.callbacks import Callbacks
from akool_async._batch.fate import Fate, fate_of
from akool_async._batch.flight import Flight
from akool_async._batch.hall import Hall
from akool_async._batch.naming import Naming
from akool_async._batch.slots import Place
from akool_async._batch.stopping import StopCause
from akool_async._core.errors import AkoolError, JournalError, SubmissionInDoubt, Throttled
from akool_async._core.lifecycle import State
from akool_async._core.models import Submission
from akool_async._core.outcomes import Outcome
from akool_async._core.pace import Pace
from akool_async._core.requests import Request, only
from akool_async._journal import Change

logger = logging.getLogger("akool_async")

_CAUSES: Final = {Fate.NO_CREDITS: StopCause.CREDITS, Fate.STOP: StopCause.FAILURE}
_MOST_TRIES: Final = 1_000_000
"""An outage makes a batch wait, for as long as the policy waits for a throttled call; it burns no entries."""


@attrs.define
class _Try:
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
    place: Place
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
        hall: Hall,
        callbacks: Callbacks,
        naming: Naming,
    ) -> None:
        self._hall = hall
        self._client = hall.client
        self._clock = hall.clock
        retry = hall.client._retry
        self._patience = attrs.evolve(retry, attempts=_MOST_TRIES, deadline=retry.throttle_deadline)
        self._journal = hall.journal
        self._budget = hall.budget
        self._callbacks = callbacks
        self._naming = naming
        self._pace = Pace()

    async def submit(self, request: Request, place: Place) -> None:
        """See the languages of one request submitted or ended; each holds a place in flight.

        Args:
            request: what is to be submitted.
            place: lets one POST be under way; freed when the vendor has taken the request.
        """
        began, tries = self._clock.monotonic(), 0
        part = request
        while True:
            if not await self._reserved(len(part.targets)):
                return self._not_submitted(part, self._hall.stopped)
            attempt = await self._attempt(part, place)
            if not attempt.left:
                return None
            part = only(part, tuple(attempt.left))
            tries += not attempt.throttled
            wait = (
                0.0 if attempt.throttled else self._patience.retry_in(tries, self._clock.monotonic() - began)
            )
            if wait is None:
                return self._not_submitted(part, "The vendor could not be reached for too long.")
            await self._clock.sleep(wait)

    async def _reserved(self, jobs: int) -> bool:
        """Set credits aside; False where nothing is submitted any more."""
        if self._hall.stopped:
            return False
        if not await self._budget.reserve(jobs):
            told = f"max_credits ({self._budget.most:g}) would be exceeded."
            self._hall.stop(told, cause=StopCause.BUDGET)
            return False
        if self._hall.stop_cause is not None:  # meanwhile; who waits for what was set aside goes on
            self._budget.settle(jobs)
            return False
        return True

    async def _attempt(self, part: Request, place: Place) -> _Try:
        attempt = _Try(part, place)
        try:
            wait = self._pace.turn(self._clock.monotonic())
            if wait > 0:
                await self._clock.sleep(wait)
            await self._send(attempt)
        except JournalError as error:
            self._hall.in_flight.give(len(attempt.part.targets))
            self._hall.lost(len(attempt.part.targets), error)
        finally:
            self._budget.settle(len(part.targets), costs=attempt.costs, doubts=attempt.doubts)
        return attempt

    async def _send(self, attempt: _Try) -> None:
        """Commit the intent, send, commit what came of it.

        From the intent on it is not torn by cancellation; each of these steps has a deadline of its own.

        Raises:
            JournalError: what has to be durable can't be written.
        """
        part = attempt.part
        try:
            await self._client._ready()
        except AkoolError as error:
            self._after_error(attempt, part.targets, error, fate_of(error))
            return
        names = await self._naming.offered(part)
        if self._hall.stopped:  # while it waited for its turn
            self._not_submitted(part, self._hall.stopped)
            return
        cleared_up = {target: found for target in part.targets if (found := self._cleared_up(part, target))}
        for flight in cleared_up.values():
            self._hall.follow(flight, None)
        left = tuple(target for target in part.targets if target not in cleared_up)
        if not left:
            return
        part = attempt.part = only(part, left)
        with anyio.CancelScope(shield=True):
            attempt.sent, attempt.sent_at = self._clock.monotonic(), self._clock.now()
            with self._callbacks.sent(part) as (attempt.token, addressed):
                await self._journal.intend(part, token=attempt.token, names=names)
                self._hall.sends(part)
                try:
                    submission = await self._client._submit_now(addressed)
                except AkoolError as error:
                    await self._journal.record(*self._changes(part, error))
                    self._after_error(attempt, part.targets, error, fate_of(error))
                else:
                    attempt.place.free()  # the next POST does not wait until this one's ids are durable
                    await self._take_in(attempt, submission)

    def _cleared_up(self, part: Request, target: str) -> Flight | None:
        """Give an entry that was to be paid again, with its job, if a callback named that meanwhile."""
        flight = Flight(request=part, target=target)
        if self._hall.doubted(flight) is None:
            return None
        entry = self._journal.get(flight.key, target)
        return flight.going_on(entry) if entry is not None and entry.state is State.SUBMITTED else None

    def _changes(self, part: Request, error: AkoolError) -> list[Change]:
        ids = error.job_ids if isinstance(error, SubmissionInDoubt) else None
        return [self._change(part, target, error, ids) for target in part.targets]

    def _change(
        self, part: Request, target: str, error: AkoolError, ids: tuple[str, ...] | None = None
    ) -> Change:
        flight = Flight(request=part, target=target)
        state = fate_of(error).state
        doubt = None if state is State.IN_DOUBT else self._hall.doubted(flight)
        if doubt is not None:  # what this POST did not make, an earlier one may have made
            refused = state is State.FAILED
            return flight.change(
                State.IN_DOUBT,
                reason=_refused_again(error) if refused else doubt.reason,
                code=error.code if refused else doubt.code,
                submitted_at=doubt.submitted_at,
                token=doubt.token,
            )
        ended_at = self._clock.now() if state is State.FAILED else None
        doubted = self._all_ids(flight, ids or ()) if state is State.IN_DOUBT else None
        return flight.change(state, reason=str(error), code=error.code, doubt_ids=doubted, ended_at=ended_at)

    def _all_ids(self, flight: Flight, ids: tuple[str, ...]) -> tuple[str, ...]:
        """Give ids in doubt with those of the POST before, which may be jobs, too."""
        doubt = self._hall.doubted(flight)
        return ids if doubt is None else tuple(dict.fromkeys((*doubt.doubt_ids, *ids)))

    async def _take_in(self, attempt: _Try, submission: Submission) -> None:
        part = attempt.part
        extra = tuple(job.id for job in submission.extra)
        flights = [
            Flight(
                request=part,
                target=job.target,
                job=job.slim(),
                submitted_at=attempt.sent_at,
                token=attempt.token,
            )
            for job in submission.accepted
        ]
        errors = {refusal.target: refusal.error for refusal in submission.refused}
        errors |= {target: _missing(target) for target in submission.missing}
        changes = [self._submitted(flight) for flight in flights]
        changes += [self._change(part, target, error, extra) for target, error in errors.items()]
        if extra and not submission.missing:
            first = Flight(request=part, target=changes[0].target)
            changes[0] = attrs.evolve(changes[0], doubt_ids=self._all_ids(first, extra))
        await self._journal.record(*changes)
        if extra:
            ids = ", ".join(extra)
            logger.warning("The vendor made jobs that were not asked for; they may be billed: %s.", ids)
        attempt.costs = [job.credits_locked or 0.0 for job in submission.accepted]
        self._pace.succeeded()
        for flight in flights:
            over = self._callbacks.ended_early(attempt.token, flight.job_id)
            self._hall.follow(flight, None if over else 0.0)
        for target, error in errors.items():
            self._after_error(attempt, (target,), error, fate_of(error))

    def _submitted(self, flight: Flight) -> Change:
        job = flight.job
        assert job is not None  # noqa: S101 - it was accepted
        return flight.change(
            State.SUBMITTED, job_id=job.id, credits_locked=job.credits_locked, created_at=job.created_at
        )

    def _after_error(self, attempt: _Try, targets: tuple[str, ...], error: AkoolError, fate: Fate) -> None:
        """End what has ended by an error, and note what is to be sent again."""
        if fate is Fate.AGAIN:
            attempt.left += targets
            if isinstance(error, Throttled):
                attempt.throttled = True
                self._pace.throttled(sent=attempt.sent, now=self._clock.monotonic())
            return
        if fate in (Fate.NO_CREDITS, Fate.STOP):
            self._hall.stop(str(error), error if fate is Fate.STOP else None, cause=_CAUSES[fate])
        if fate is Fate.DOUBT:
            attempt.doubts += len(targets)
        sent_at = attempt.sent_at if fate in (Fate.DOUBT, Fate.REFUSED) else None
        for target in targets:
            flight = Flight(request=attempt.part, target=target, submitted_at=sent_at, token=attempt.token)
            if fate is Fate.DOUBT and self._callbacks.hold(flight, str(error)):
                continue
            self._hall.end_unsent(self._ended(flight, fate, error))

    def _ended(self, flight: Flight, fate: Fate, error: AkoolError) -> Outcome:
        now = self._clock.now()
        if fate is Fate.DOUBT:
            return flight.in_doubt(str(error), now)
        if fate is Fate.REFUSED and self._hall.doubted(flight) is not None:
            return attrs.evolve(self._hall.unsent(flight, ""), reason=_refused_again(error))
        if fate is Fate.REFUSED:
            return flight.rejected(str(error), error.code, now)
        return self._hall.unsent(flight, str(error))

    def _not_submitted(self, part: Request, reason: str) -> None:
        for target in part.targets:
            self._hall.end_unsent(self._hall.unsent(Flight(request=part, target=target), reason))


def _missing(target: str) -> SubmissionInDoubt:
    return SubmissionInDoubt(f"The answer to a paid call does not mention {target!r}.", targets=(target,))


def _refused_again(error: AkoolError) -> str:
    """Say why an entry is still in doubt: that it was refused now says nothing of the POST before."""
    return f"Sent once more, it was refused: {error.what} Whether the POST before made a job is not known."
