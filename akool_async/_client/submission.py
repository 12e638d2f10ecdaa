"""The paid POST as a verb: a request in, the jobs that it made out, or a doubt."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from akool_async import _wire as wire
from akool_async._http import ApiCall, ApiSession
from akool_async._model.errors import AkoolError, ProtocolError, SubmissionInDoubt
from akool_async._model.requests import Request
from akool_async._model.responses import Job, Snapshot, Submission

logger = logging.getLogger("akool_async")


async def submit_request(
    api: ApiSession, request: Request, status: Callable[[str], Awaitable[Snapshot]], *, may_wait: bool
) -> Submission:
    """Send one paid POST.

    Args:
        api: sends it.
        request: what is asked for.
        status: looks a job up.
        may_wait: whether it waits and tries again where that is safe; else it raises at once.

    Raises:
        SubmissionInDoubt: it was sent, or may have been, and its answer is not known.
        AkoolError: it was refused as a whole or never sent.
    """
    call = ApiCall(
        method="POST",
        path=wire.create_path(request),
        payload=wire.create_payload(request),
        job_count=len(request.targets),
        may_wait=may_wait,
        on_abandoned=_log_abandoned(request),
    )
    try:
        return _read(await api.send(call), request)
    except SubmissionInDoubt as doubt:
        doubt.targets = request.targets
        return await _confirmed(doubt, request, status)


async def _confirmed(
    doubt: SubmissionInDoubt, request: Request, status: Callable[[str], Awaitable[Snapshot]]
) -> Submission:
    """Resolve the doubt if one id could be read for one target and the vendor knows it."""
    if len(doubt.job_ids) != 1 or len(request.targets) != 1:
        raise doubt
    try:
        snapshot = await status(doubt.job_ids[0])
    except AkoolError as error:
        raise doubt from error
    except anyio.get_cancelled_exc_class():
        logger.warning("The paid call of a cancelled caller is in doubt; it names job %s.", doubt.job_ids[0])
        raise
    job = Job(
        id=snapshot.job_id,
        target=request.targets[0],
        status=snapshot.status,
        created_at=snapshot.created_at,
        video_id=snapshot.video_id,
        raw=snapshot.raw,
    )
    return Submission(accepted=(job,))


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


def _read(envelope: wire.Envelope, request: Request) -> Submission:
    """Read the answer of a paid POST; one that can't be understood is a doubt."""
    try:
        return wire.read_submission(envelope, request)
    except ProtocolError as error:
        raise SubmissionInDoubt(
            f"A paid call was answered in a way that is not understood. {error.message}",
            job_ids=error.job_ids,
            targets=request.targets,
        ) from error


def _log_abandoned(request: Request) -> Callable[[Any], None]:
    """Return what is called if nobody waits for the answer of a paid POST any more."""

    def log(result: wire.Envelope | Exception) -> None:
        try:
            if isinstance(result, Exception):
                raise result
            ids = ", ".join(_read(result, request).job_ids) or "none"
        except AkoolError as error:
            logger.warning("The paid call of a cancelled caller ended: %s", error)
        else:
            logger.warning("The paid call of a cancelled caller made these jobs, which are billed: %s.", ids)

    return log
