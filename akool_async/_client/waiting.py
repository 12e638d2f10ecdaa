"""Waiting for one job, by the scheduler that all jobs of a client share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

import anyio

from akool_async._client.session import read_job_id
from akool_async._clock import Clock, wait_event
from akool_async._model.errors import InvalidRequestError, WaitTimeout
from akool_async._model.events import TerminalEvent
from akool_async._model.responses import Job, Snapshot
from akool_async._model.validators import positive
from akool_async._observer import Observers
from akool_async._polling.poll_state import PollSchedule, PollVerdict
from akool_async._polling.scheduler import PolledJob, PollScheduler


def job_age(created_at: datetime | None, now: datetime) -> float | None:
    """Return the seconds since a job was made, 0 or more; None where that is unknown."""
    if created_at is None:
        return None
    if not isinstance(created_at, datetime) or created_at.utcoffset() is None:
        said = f"created_at must be an aware datetime, not {created_at!r:.60}."
        raise InvalidRequestError(said, impact="The job was not asked for.")
    return max((now - created_at).total_seconds(), 0.0)


async def wait_completed(
    scheduler: PollScheduler,
    clock: Clock,
    job: Job | str,
    schedule: PollSchedule,
    *,
    observers: Observers,
    entry: tuple[str, str] = ("", ""),
    give_up_after: float | None,
    age: float | None,
) -> Snapshot:
    """Wait until a job is completed, and report its end; `entry` is the key and the language, if known."""
    job_id = read_job_id(job)
    positive.or_none.check("give_up_after", give_up_after)
    over = anyio.Event()

    def changed(watch: PolledJob) -> None:
        if watch.is_terminal:
            over.set()

    watch = scheduler.watch(job_id, schedule, changed, age=age)
    # The scope is around the wait alone, so that running out of time never tears a poll that others share.
    try:
        await wait_event(over, clock, give_up_after)
    finally:
        scheduler.unwatch(watch, changed)
    # After the scope: a job that ended in the last moment counts as ended, not as timed out.
    if watch.error is not None:
        raise watch.error
    state = watch.state
    if not state.is_terminal:
        raise _timeout(job_id, give_up_after)
    _report_end(observers, watch, entry)
    if state.verdict is PollVerdict.COMPLETED and state.snapshot is not None:
        return state.snapshot
    raise state.failure()


def _timeout(job_id: str, give_up_after: float | None) -> WaitTimeout:
    return WaitTimeout(f"Job {job_id} was not done within {give_up_after:g} s.", job_id=job_id)


async def watch_snapshots(
    scheduler: PollScheduler,
    clock: Clock,
    job: Job | str,
    schedule: PollSchedule,
    *,
    observers: Observers,
    give_up_after: float | None,
    age: float | None,
) -> AsyncIterator[Snapshot]:
    """Return a job's snapshots as they change, and report its end; `AkoolClient.watch` describes it."""
    job_id = read_job_id(job)
    news = anyio.Event()

    def changed(_: PolledJob) -> None:
        news.set()

    watch = scheduler.watch(job_id, schedule, changed, age=age)
    given: Snapshot | None = None
    ends = None if give_up_after is None else clock.monotonic() + give_up_after
    try:
        while True:
            left = None if ends is None else max(ends - clock.monotonic(), 0.0)
            if not await wait_event(news, clock, left):
                raise _timeout(job_id, give_up_after)
            # A new event before the state is read: a poll that comes between the two is not overlooked.
            news = anyio.Event()
            seen, over = watch.state.snapshot, watch.is_terminal
            if over and watch.error is None:  # before it is given: the loop may be left with the last one
                _report_end(observers, watch, ("", ""))
            if seen is not None and seen != given:
                given = seen
                yield seen
            if over:
                break
    finally:
        scheduler.unwatch(watch, changed)
    if watch.error is not None:
        raise watch.error
    # These have no snapshot that says so: without an error the loop would end as if all were well.
    if watch.state.verdict in (PollVerdict.NOT_FOUND, PollVerdict.NO_RESULT):
        raise watch.state.failure()


def _report_end(observers: Observers, watch: PolledJob, entry: tuple[str, str]) -> None:
    """Report how a job ended, once for all that wait for it."""
    if watch.end_reported:
        return
    watch.end_reported = True
    state, (key, target) = watch.state, entry
    event = TerminalEvent(
        key=key,
        target=target,
        job_id=watch.job_id,
        completed=state.verdict is PollVerdict.COMPLETED,
        reason="" if state.verdict is PollVerdict.COMPLETED else state.failure().message,
        credits_used=None if state.snapshot is None else state.snapshot.credits_used,
    )
    observers.report(event)
