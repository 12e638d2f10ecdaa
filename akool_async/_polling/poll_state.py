"""What a series of polls says about a job: each answer or error in, a new observation out.

Decides when a job has ended for us. A poll that fails is a poll missed and never a job failed; a
status that is not known keeps waiting; what was seen never goes back.
"""

from __future__ import annotations

import enum
from functools import lru_cache
from typing import Final

import attrs

from akool_async._model.errors import AkoolError, JobNotFoundError
from akool_async._model.requests import EMPTY
from akool_async._model.responses import AudioSplits, JobFailed, Snapshot, Status
from akool_async._polling.schedules import NEW, UNKNOWN, PollContext, PollResult, PollSchedule, append

URL_GRACE: Final = 15 * 60.0
"""Seconds for which a completed job without a URL is asked again."""

NOT_FOUND_GRACE: Final = 60.0
"""Seconds after its creation in which an unknown job may only not be known yet."""

NOT_FOUND_POLLS: Final = 3
NOT_FOUND_SPAN: Final = 10 * 60.0
"""A job is taken for gone when it was unknown this often, over at least this many seconds."""

STALLED_AFTER: Final = 30 * 60.0
"""Seconds without any change after which a job counts as stalled."""

STALLED_POLL: Final = 120.0
"""Seconds between polls of a stalled job, at least."""

MOST_MISSED: Final = 4
"""Missed polls that stretch the wait further; each adds the wait once more."""


class PollVerdict(enum.Enum):
    """Whether a job has ended, as far as its polls say."""

    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    NO_RESULT = "completed without a result"
    NOT_FOUND = "unknown to the vendor"


@attrs.frozen(kw_only=True, weakref_slot=False)
class PollState:
    """What is known about one waiting job.

    Attributes:
        job_id: the job.
        created: when the job was made, in seconds of the clock that all moments here are of; when waiting
            for it began where that is not known.
        snapshot: the last answer that moved it on.
        polls: polls that brought an answer.
        missed: polls in a row that did not.
        changed: when status or progress last changed.
        verdict: whether it has ended.
        aged: whether `created` is known.
        trail: what its polls said of its progress, see `trail`; kept only while its age is known.
    """

    job_id: str
    created: float
    snapshot: Snapshot | None = None
    polls: int = 0
    missed: int = 0
    changed: float = 0.0
    verdict: PollVerdict = PollVerdict.WAITING
    no_url_since: float | None = None
    not_found_since: float | None = None
    not_found_polls: int = 0
    age_known: bool = True
    history: bytes = UNKNOWN

    @classmethod
    def begin(cls, job_id: str, now: float, *, age: float | None = 0.0) -> PollState:
        """Begin to observe a job that was made `age` seconds ago: 0 for just now, None for unknown."""
        return cls(
            job_id=job_id,
            created=now - age if age and age > 0 else now,
            changed=now,
            age_known=age is not None,
            history=NEW if age == 0 else UNKNOWN,
        )

    def with_age(self, age: float, now: float) -> PollState:
        """Take in the age of a job of which it was not known."""
        return attrs.evolve(self, created=now - max(age, 0.0), age_known=True)

    @property
    def is_terminal(self) -> bool:
        """Whether no more polls are needed."""
        return self.verdict is not PollVerdict.WAITING

    def stalled(self, now: float) -> bool:
        """Whether nothing has changed for so long that somebody should know."""
        return not self.is_terminal and now - self.changed >= STALLED_AFTER

    def failure(self) -> JobFailed:
        """Give the error that says why a job that has ended has no result."""
        snapshot = self.snapshot
        if self.verdict is PollVerdict.FAILED and snapshot is not None:
            return _failed(self.job_id, snapshot)
        return JobFailed(
            _WHY.get(self.verdict, "Job {id} ended without a result.").format(id=self.job_id),
            impact="It may have been billed.",
            advice="Ask the vendor about it, with the id.",
            job_id=self.job_id,
            snapshot=snapshot,
        )

    def facts(self, now: float) -> PollContext:
        """Give what the poll schedule wants to know."""
        return PollContext(
            polls=self.polls,
            elapsed=now - self.created,
            progress=None if self.snapshot is None else self.snapshot.progress,
            stalled=now - self.changed,
        )

    def next_poll(self, schedule: PollSchedule, now: float, spread: float) -> float:
        """Give the seconds until this job is asked about again.

        Args:
            schedule: the rule for a job that goes on as it should.
            now: the present moment.
            spread: a random number from 0 up to 1, from which jitter is made.
        """
        wait = schedule.next_poll(self.facts(now), spread)
        if self.not_found_polls:
            return max(
                wait, 1.01 * NOT_FOUND_SPAN / (NOT_FOUND_POLLS - 1)
            )  # a little more, so that three are enough
        if self.no_url_since is not None:
            return min(max(wait, URL_GRACE / 60), URL_GRACE / 15)
        if self.stalled(now):
            return max(wait, STALLED_POLL)
        return wait * (1 + min(self.missed, MOST_MISSED))

    def after_snapshot(self, snapshot: Snapshot, now: float, *, slim: bool = False) -> PollState:
        """Take in the answer of a poll.

        Args:
            snapshot: the answer.
            now: the present moment.
            slim: whether only status and progress are kept of it while the job goes on.
        """
        if self.is_terminal:
            return self
        seen = _merge_monotonic(self.snapshot, snapshot)
        moved = self.snapshot is None or _place(seen) != _place(self.snapshot)
        verdict, urlless_since = self._judged(seen, now)
        if slim and verdict is PollVerdict.WAITING and not seen.url:
            seen = _compact(seen.status, seen.raw_status, seen.progress)
        return attrs.evolve(
            self,
            verdict=verdict,
            no_url_since=urlless_since,
            snapshot=seen,
            polls=self.polls + 1,
            missed=0,
            changed=now if moved else self.changed,
            not_found_since=None,
            not_found_polls=0,
            history=self._longer(seen, now),
        )

    def _longer(self, seen: Snapshot, now: float) -> bytes:
        if seen.status.terminal or not self.age_known:
            return self.history
        return append(self.history, now - self.created, seen.progress)

    def poll_result(self, before: PollState, now: float, *, hinted: bool) -> PollResult | None:
        """Give what the answer of just now teaches about jobs like this; None once the end was told.

        Args:
            before: the observation before that answer.
            now: the present moment.
            hinted: whether a hint made the poll come when it did.
        """
        ended_before = before.snapshot is not None and before.snapshot.status.terminal
        if self.snapshot is None or ended_before:
            return None
        return PollResult(
            elapsed=now - self.created, status=self.snapshot.status, history=before.history, hinted=hinted
        )

    def _judged(self, seen: Snapshot, now: float) -> tuple[PollVerdict, float | None]:
        if seen.status is Status.FAILED:
            return PollVerdict.FAILED, None
        if seen.status is not Status.COMPLETED:
            return PollVerdict.WAITING, None
        if seen.url:
            return PollVerdict.COMPLETED, None
        since = now if self.no_url_since is None else self.no_url_since
        return (PollVerdict.NO_RESULT if now - since >= URL_GRACE else PollVerdict.WAITING), since

    def after_error(self, error: AkoolError, now: float) -> PollState:
        """Take in the error of a poll."""
        if self.is_terminal:
            return self
        missed = attrs.evolve(self, missed=self.missed + 1)
        if (
            not isinstance(error, JobNotFoundError)
            or error.during_auth
            or now - self.created < NOT_FOUND_GRACE
        ):
            return missed
        since = now if self.not_found_since is None else self.not_found_since
        polls = self.not_found_polls + 1
        over = polls >= NOT_FOUND_POLLS and now - since >= NOT_FOUND_SPAN
        counted = attrs.evolve(missed, not_found_since=since, not_found_polls=polls)
        if not over:
            return counted
        last = self.snapshot and attrs.evolve(self.snapshot, job_id=self.job_id)  # an outline names no job
        return attrs.evolve(counted, verdict=PollVerdict.NOT_FOUND, snapshot=last)


def _place(snapshot: Snapshot) -> tuple[Status, int | None]:
    return snapshot.status, snapshot.progress


@lru_cache(maxsize=1024)
def _compact(status: Status, raw_status: str, progress: int | None) -> Snapshot:
    """Give what is kept of an answer, one for all jobs that are so far: very many may be waited for."""
    return Snapshot(job_id="", status=status, raw_status=raw_status, progress=progress, raw=EMPTY)


def _merge_monotonic(before: Snapshot | None, now: Snapshot) -> Snapshot:
    """Keep the furthest status, the highest progress and what now leaves out; take the rest from now."""
    if before is None:
        return now
    status = before.status if before.status.terminal else max(before.status, now.status)
    known = [value for value in (before.progress, now.progress) if value is not None]
    return attrs.evolve(
        now,
        status=status,
        progress=max(known, default=None),
        url=now.url or before.url,
        created_at=now.created_at or before.created_at,
        audio_splits=before.audio_splits if now.audio_splits == AudioSplits() else now.audio_splits,
    )


_WHY: Final = {
    PollVerdict.NOT_FOUND: "The vendor no longer knows job {id}.",
    PollVerdict.NO_RESULT: "Job {id} is completed, but the vendor gave no URL for its result.",
}


def _failed(job_id: str, snapshot: Snapshot) -> JobFailed:
    number = "" if snapshot.error_code is None else f" (error {snapshot.error_code})"
    said = f' The vendor says: "{snapshot.error_reason}"' if snapshot.error_reason else ""
    return JobFailed(
        f"Job {job_id} failed{number}.{said}",
        impact="Whether its credits come back is the vendor's decision; look at the balance.",
        advice="Submit it again if you want to pay for another try.",
        job_id=job_id,
        snapshot=snapshot,
        error_code=snapshot.error_code,
    )
