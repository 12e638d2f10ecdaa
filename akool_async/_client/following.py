"""Waiting for one job, by the scheduler that all jobs of a client share."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Final

import anyio

from akool_async._core.errors import InvalidRequest, WaitTimeout
from akool_async._core.models import Snapshot
from akool_async._core.observation import Observation, Verdict
from akool_async._core.schedule import PollSchedule
from akool_async._waiting import Waiting, Watch

_JOB_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,128}")


def check_id(job_id: str) -> None:
    """Refuse what can't be an id.

    Raises:
        InvalidRequest: it can't.
    """
    if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
        raise InvalidRequest(f"{job_id!r:.60} is not a job id.")


def check_patience(give_up_after: float | None) -> None:
    """Refuse what is no time to wait.

    Raises:
        InvalidRequest: it is none.
    """
    if give_up_after is None:
        return
    if not isinstance(give_up_after, int | float) or not give_up_after > 0:
        raise InvalidRequest(f"give_up_after must be a positive number of seconds, not {give_up_after!r}.")


async def ended(
    waiting: Waiting, job_id: str, schedule: PollSchedule, *, give_up_after: float | None, age: float | None
) -> Observation:
    """Wait until a job has ended.

    Raises:
        InvalidRequest: the id or the time is none.
        WaitTimeout: it was not done in time.
        AkoolError: asking became impossible.
    """
    check_id(job_id)
    check_patience(give_up_after)
    over = anyio.Event()

    def changed(watch: Watch) -> None:
        if watch.ended:
            over.set()

    watch = waiting.add(job_id, schedule, changed, age=age)
    try:
        with anyio.move_on_after(give_up_after):
            await over.wait()
    finally:
        waiting.leave(watch, changed)
    if watch.error is not None:
        raise watch.error
    if not watch.observation.ended:
        raise WaitTimeout(f"Job {job_id} was not done within {give_up_after:g} s.", job_id=job_id)
    return watch.observation


def result(seen: Observation) -> Snapshot:
    """Give the completed snapshot of a job that has ended.

    Raises:
        JobFailed: it ended without a result.
    """
    if seen.verdict is Verdict.COMPLETED and seen.snapshot is not None:
        return seen.snapshot
    raise seen.failure()


async def snapshots(waiting: Waiting, job_id: str, schedule: PollSchedule) -> AsyncIterator[Snapshot]:
    """Give a job's snapshots as they change.

    Raises:
        JobFailed: the job vanished, or ended without a URL.
        AkoolError: asking became impossible.
    """
    check_id(job_id)
    news = anyio.Event()

    def changed(_: Watch) -> None:
        news.set()

    watch = waiting.add(job_id, schedule, changed)
    given: Snapshot | None = None
    try:
        while True:
            await news.wait()
            news = anyio.Event()
            seen, over = watch.observation.snapshot, watch.ended
            if seen is not None and seen != given:
                given = seen
                yield seen
            if over:
                break
    finally:
        waiting.leave(watch, changed)
    if watch.error is not None:
        raise watch.error
    if watch.observation.verdict in (Verdict.GONE, Verdict.NO_RESULT):
        raise watch.observation.failure()
