"""One job at a time, without a batch: submitted, awaited and saved for a caller of the client.

Each step is reported to the observers as a batch reports its own.
"""

from __future__ import annotations

import logging
from datetime import datetime
from functools import partial
from typing import Final

import anyio

from akool_async._client.session import ClientSession, describe, submit_request
from akool_async._client.waiting import wait_completed
from akool_async._download import DownloadRequest
from akool_async._model.errors import AccountError, AkoolError, CallerError, SubmissionInDoubt
from akool_async._model.events import DoubtEvent, OutcomeEvent, SavedEvent, SubmittedEvent
from akool_async._model.fingerprint import entry_key
from akool_async._model.outcomes import Completed, Saved
from akool_async._model.requests import Request
from akool_async._model.responses import Job, JobFailed, Submission
from akool_async._model.states import State
from akool_async._model.validators import positive
from akool_async._observer import Observers, PostReport
from akool_async._polling.poll_state import PollSchedule
from akool_async._polling.scheduler import GuardedSchedule

logger = logging.getLogger("akool_async")
_OUTCOMES: Final = {State.FAILED: "Rejected", State.IN_DOUBT: "InDoubt", State.PLANNED: "NotSubmitted"}
"""How an entry ends, by the state that the error of its POST leaves it in."""


async def submit(session: ClientSession, request: Request, *, patient: bool) -> Submission:
    """Send one paid POST; `AkoolClient.submit` describes it."""
    return await _post(session, request, _report_of(request), patient=patient)


async def translate(
    session: ClientSession, request: Request, *, give_up_after: float | None, schedule: PollSchedule | None
) -> Completed:
    """Submit a request for one target and wait for its result; `AkoolClient.translate` describes it."""
    # Before the POST: a bad time-out that is found after it would leave a paid job that nobody waits for.
    positive.or_none.check("give_up_after", give_up_after)
    guarded = GuardedSchedule.guard(schedule or session.schedule)
    # Likewise: that the client is closed has to be found out before anything is paid.
    submitted_at, scheduler = session.clock.now(), session.opened.scheduler
    post = _report_of(request)
    ((key, target),) = post.entries
    try:
        job = single_job(await _post(session, request, post, patient=True), request)
    except AkoolError as error:
        _report_end(session, post, _OUTCOMES[error.disposition.state], submitted_at, reason=str(error))
        raise
    try:
        snapshot = await wait_completed(
            scheduler,
            session.clock,
            job,
            guarded,
            observers=session.observers,
            entry=(key, target),
            give_up_after=give_up_after,
            age=0.0,
        )
    except JobFailed as error:
        _report_end(session, post, "Failed", submitted_at, reason=error.message, job=job)
        raise
    except (anyio.get_cancelled_exc_class(), AccountError, CallerError):  # these name no job
        logger.warning(
            "No longer waiting for job %s of %s, which the vendor continues and bills.",
            job.id,
            describe(request),
        )
        raise
    done = Completed(
        key=key,
        request=request,
        target=job.target,
        job=job,
        snapshot=snapshot,
        submitted_at=submitted_at,
        ended_at=session.clock.now(),
        credits=job.credits_locked if snapshot.credits_used is None else snapshot.credits_used,
    )
    session.observers.report(OutcomeEvent.create(done, post.traceparent))
    return done


async def download(session: ClientSession, request: DownloadRequest) -> Saved:
    """Save a result; `AkoolClient.download` describes it."""
    done = request.done
    entry = {"key": "", "target": "", "job_id": request.job_id}
    if isinstance(done, Completed):
        entry |= {"key": done.key, "target": done.target}
    with session.observers.download(**entry):
        saved = await session.download(request)
    session.observers.report(SavedEvent(**entry, video=str(saved.video)))
    return saved


def single_job(submission: Submission, request: Request) -> Job:
    """Return the job of a request for one target.

    Raises:
        AkoolError: it was refused, or the answer does not mention it.
    """
    if submission.extra:
        logger.warning(
            "The answer for %s also names jobs that were not asked for; they may be billed: %s.",
            describe(request),
            ", ".join(job.id for job in submission.extra),
        )
    if submission.accepted:
        return submission.accepted[0]
    if submission.refused:
        raise submission.refused[0].error
    raise SubmissionInDoubt(_NOT_MENTIONED, job_ids=submission.job_ids, targets=request.targets)


_NOT_MENTIONED: Final = "The answer to a paid call does not say what became of it."


async def _post(session: ClientSession, request: Request, post: PostReport, *, patient: bool) -> Submission:
    """Send one paid POST; wait and repeat it where it surely made no job, confirm ids in doubt."""
    api, observers = session.opened.api, session.observers
    with observers.post(post):
        submission = Submission()
        try:
            submission = await submit_request(
                api, request, patient=patient, on_abandoned=partial(_report_answer, observers, request)
            )
        except SubmissionInDoubt as doubt:
            # In any case: the caller may be cancelled while the ids are confirmed.
            try:
                if patient and doubt.job_ids:
                    submission = await session.confirm_submission(doubt)
            finally:
                if not submission.accepted:
                    _report_answer(observers, request, doubt)
            if not submission.accepted:
                raise
        _report_answer(observers, request, submission)
        post.job_ids = submission.job_ids
    return submission


def _report_of(request: Request) -> PostReport:
    return PostReport(entries=tuple((entry_key(request, target), target) for target in request.targets))


def _report_answer(observers: Observers, request: Request, answer: Submission | AkoolError) -> None:
    """Report the jobs that a paid POST made, and the languages of which it is not known whether it did."""
    if isinstance(answer, Submission):
        # Without an answer of the vendor's about it, an id may be no job: it is in the doubts below.
        for job in (*answer.accepted, *(job for job in answer.extra if job.raw)):
            event = SubmittedEvent(
                key=entry_key(request, job.target),
                target=job.target,
                job_id=job.id,
                credits_locked=job.credits_locked,
            )
            observers.report(event)
        extra = tuple(job.id for job in answer.extra)
        doubts = dict.fromkeys(answer.missing, (_NOT_MENTIONED, extra))
    elif isinstance(answer, SubmissionInDoubt):
        own = answer.job_ids_by_target
        others = tuple(job_id for job_id in answer.job_ids if job_id not in own.values())
        doubts = {
            target: (str(answer), (own[target], *others) if target in own else others)
            for target in request.targets
        }
    else:
        return
    for target, (reason, ids) in doubts.items():
        key = entry_key(request, target)
        observers.report(DoubtEvent(key=key, target=target, reason=reason, doubt_ids=ids))


def _report_end(
    session: ClientSession,
    post: PostReport,
    outcome: str,
    submitted_at: datetime,
    *,
    reason: str,
    job: Job | None = None,
) -> None:
    """Report how an entry ended without a result."""
    ((key, target),) = post.entries
    event = OutcomeEvent(
        key=key,
        target=target,
        job_id="" if job is None else job.id,
        outcome=outcome,
        reason=reason,
        credits=None if job is None else job.credits_locked,
        submitted_at=submitted_at,
        ended_at=session.clock.now(),
        resumed=False,
        traceparent=post.traceparent,
    )
    session.observers.report(event)
