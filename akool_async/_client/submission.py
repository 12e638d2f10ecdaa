"""The paid POST as a verb: a request in, the jobs that it made out, or a doubt."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import attrs

from akool_async import _wire as wire
from akool_async._http import ApiCall, ApiSession, CallInDoubt
from akool_async._model.codes import Failure
from akool_async._model.errors import AkoolError, ProtocolError, SubmissionInDoubt, detach
from akool_async._model.requests import Request
from akool_async._model.responses import Job, Snapshot, Submission

logger = logging.getLogger("akool_async")


async def submit_request(api: ApiSession, request: Request, *, may_wait: bool) -> Submission:
    """Send one paid POST; with `may_wait` it waits and tries again where that is safe.

    Raises:
        SubmissionInDoubt: it was sent, or may have been, and its answer is not known.
        AkoolError: it was refused as a whole or never sent.
    """

    def log_abandoned(result: wire.Envelope | Exception) -> None:
        """Log the end of a POST whose caller was cancelled: its ids would be lost otherwise."""
        try:
            ids = ", ".join(_read(result, request).job_ids) or "none"
        except AkoolError as error:
            logger.warning("The paid call of a cancelled caller ended: %s", error)
        else:
            logger.warning("The paid call of a cancelled caller made these jobs, which are billed: %s.", ids)

    call = ApiCall(
        method="POST",
        path=wire.create_path(request),
        payload=wire.create_payload(request),
        job_count=len(request.targets),
        may_wait=may_wait,
        on_abandoned=log_abandoned,
    )
    result: wire.Envelope | Exception
    try:
        result = await api.send(call)
    except CallInDoubt as failed:
        result = failed
    return _read(result, request)


def _read(result: wire.Envelope | Exception, request: Request) -> Submission:
    """Return the jobs of a paid POST; an answer that can't be used is a doubt, with every id in it."""
    cause: AkoolError
    answer: bytes | Mapping[str, Any]
    if isinstance(result, CallInDoubt):
        words, cause, answer = "was sent and its answer is not known", result.error, result.body
    elif isinstance(result, Exception):
        raise result
    else:
        try:
            return wire.read_submission(result, request)
        except ProtocolError as error:
            words, cause, answer = "was answered in a way that is not understood", error, result.raw
    jobs = wire.find_jobs(answer, request)
    del answer  # it may repeat the key, and a traceback with local variables would show it
    wrong_host = isinstance(result, CallInDoubt) and result.failure is Failure.NOT_UNDERSTOOD
    doubt = SubmissionInDoubt(
        f"A paid call {words}. {cause.message}",
        advice=f"{cause.advice} {SubmissionInDoubt.advice}" if wrong_host else None,
        job_ids=tuple(job.id for job in jobs),
        # Reversed, so that the first of several jobs of a language counts, as in a whole answer.
        job_ids_by_target={job.target: job.id for job in reversed(jobs) if job.target in request.targets},
        targets=request.targets,
        wrong_host=wrong_host,
        code=cause.code,
        http_status=cause.http_status,
        vendor_message=cause.vendor_message,
    )
    if jobs:
        logger.warning("The unusable answer to a paid call names these jobs: %s.", ", ".join(doubt.job_ids))
    raise doubt from detach(cause)


def confirmed_submission(
    doubt: SubmissionInDoubt, answers: Mapping[str, Snapshot | AkoolError]
) -> Submission:
    """Return what a doubt turned out to be.

    Args:
        doubt: the doubt.
        answers: what `ClientSession.confirm` returned about its ids.

    Returns:
        As `accepted` the languages whose job the vendor knows, as `missing` the others. Every other id is in
        `extra`, also one that could not be confirmed: none is lost.
    """
    jobs = {job_id: Job(id=job_id) for job_id in doubt.job_ids}
    for job_id, answer in answers.items():
        if isinstance(answer, Snapshot):
            jobs[job_id] = wire.read_job(answer)
    accepted = {}
    for target, job_id in doubt.job_ids_by_target.items():
        jobs[job_id] = attrs.evolve(jobs[job_id], target=target)
        if isinstance(answers.get(job_id), Snapshot):
            accepted[target] = jobs.pop(job_id)
    return Submission(
        accepted=tuple(accepted[target] for target in doubt.targets if target in accepted),
        missing=tuple(target for target in doubt.targets if target not in accepted),
        extra=tuple(jobs.values()),
    )


def single_job(submission: Submission, request: Request) -> Job:
    """Return the job of a request for one target.

    Raises:
        AkoolError: it was refused, or the answer does not mention it.
    """
    if submission.extra:
        ids = ", ".join(job.id for job in submission.extra)
        logger.warning("The vendor made jobs that were not asked for; they may be billed: %s.", ids)
    if submission.accepted:
        return submission.accepted[0]
    if submission.refused:
        raise submission.refused[0].error
    raise SubmissionInDoubt(
        "The answer to a paid call does not say what became of it.",
        job_ids=submission.job_ids,
        targets=request.targets,
    )
