"""What a series of polls says about a job: each answer or error in, a new observation out.

Decides when a job has ended for us. A poll that fails is a poll missed and never a job failed; a
status that is not known keeps waiting; what was seen never goes back.
"""

from __future__ import annotations

import enum
from functools import lru_cache
from typing import Final

import attrs

from akool_async._core.errors import AkoolError, JobFailed, JobGone
from akool_async._core.models import AudioSplits, Snapshot, Status
from akool_async._core.requests import EMPTY
from akool_async._core.schedule import PollFacts, PollSchedule, Sighting
from akool_async._core.trail import NEW, UNKNOWN, longer

URL_GRACE: Final = 15 * 60.0
"""Seconds for which a completed job without a URL is asked again."""

YOUNG: Final = 60.0
"""Seconds after its creation in which an unknown job may only not be known yet."""

GONE_POLLS: Final = 3
GONE_SPAN: Final = 10 * 60.0
"""A job is taken for gone when it was unknown this often, over at least this many seconds."""

STALLED_AFTER: Final = 30 * 60.0
"""Seconds without any change after which a job counts as stalled."""

STALLED_POLL: Final = 120.0
"""Seconds between polls of a stalled job, at least."""

MOST_MISSED: Final = 4
"""Missed polls that stretch the wait further; each adds the wait once more."""


class Verdict(enum.Enum):
    """Whether a job has ended, as far as its polls say."""

    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    NO_RESULT = "completed without a result"
    GONE = "unknown to the vendor"


@attrs.frozen(kw_only=True, weakref_slot=False)
class Observation:
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
    verdict: Verdict = Verdict.WAITING
    urlless_since: float | None = None
    gone_since: float | None = None
    gone_polls: int = 0
    aged: bool = True
    trail: bytes = UNKNOWN

    @classmethod
    def begin(cls, job_id: str, now: float, *, age: float | None = 0.0) -> Observation:
        """Begin to observe a job that was made `age` seconds ago: 0 for just now, None for unknown."""
        return cls(
            job_id=job_id,
            created=now - age if age and age > 0 else now,
            changed=now,
            aged=age is not None,
            trail=NEW if age == 0 else UNKNOWN,
        )

    def born(self, age: float, now: float) -> Observation:
        """Take in the age of a job of which it was not known."""
        return attrs.evolve(self, created=now - max(age, 0.0), aged=True)

    @property
    def ended(self) -> bool:
        """Whether no more polls are needed."""
        return self.verdict is not Verdict.WAITING

    def stalled(self, now: float) -> bool:
        """Whether nothing has changed for so long that somebody should know."""
        return not self.ended and now - self.changed >= STALLED_AFTER

    def failure(self) -> JobFailed:
        """Give the error that says why a job that has ended has no result."""
        snapshot = self.snapshot
        if self.verdict is Verdict.FAILED and snapshot is not None:
            return _failed(self.job_id, snapshot)
        return JobFailed(
            _WHY.get(self.verdict, "Job {id} ended without a result.").format(id=self.job_id),
            money="It may have been billed.",
            advice="Ask the vendor about it, with the id.",
            job_id=self.job_id,
            snapshot=snapshot,
        )

    def facts(self, now: float) -> PollFacts:
        """Give what the poll schedule wants to know."""
        return PollFacts(
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
        if self.gone_polls:
            return max(wait, 1.01 * GONE_SPAN / (GONE_POLLS - 1))  # a little more, so that three are enough
        if self.urlless_since is not None:
            return min(max(wait, URL_GRACE / 60), URL_GRACE / 15)
        if self.stalled(now):
            return max(wait, STALLED_POLL)
        return wait * (1 + min(self.missed, MOST_MISSED))

    def answered(self, snapshot: Snapshot, now: float, *, slim: bool = False) -> Observation:
        """Take in the answer of a poll.

        Args:
            snapshot: the answer.
            now: the present moment.
            slim: whether only status and progress are kept of it while the job goes on.
        """
        if self.ended:
            return self
        seen = _never_back(self.snapshot, snapshot)
        moved = self.snapshot is None or _place(seen) != _place(self.snapshot)
        verdict, urlless_since = self._judged(seen, now)
        if slim and verdict is Verdict.WAITING and not seen.url:
            seen = _outline(seen.status, seen.raw_status, seen.progress)
        return attrs.evolve(
            self,
            verdict=verdict,
            urlless_since=urlless_since,
            snapshot=seen,
            polls=self.polls + 1,
            missed=0,
            changed=now if moved else self.changed,
            gone_since=None,
            gone_polls=0,
            trail=self._longer(seen, now),
        )

    def _longer(self, seen: Snapshot, now: float) -> bytes:
        if seen.status.terminal or not self.aged:
            return self.trail
        return longer(self.trail, now - self.created, seen.progress)

    def sighting(self, before: Observation, now: float, *, hinted: bool) -> Sighting | None:
        """Give what the answer of just now teaches about jobs like this; None once the end was told.

        Args:
            before: the observation before that answer.
            now: the present moment.
            hinted: whether a hint made the poll come when it did.
        """
        ended_before = before.snapshot is not None and before.snapshot.status.terminal
        if self.snapshot is None or ended_before:
            return None
        return Sighting(
            elapsed=now - self.created, status=self.snapshot.status, trail=before.trail, hinted=hinted
        )

    def _judged(self, seen: Snapshot, now: float) -> tuple[Verdict, float | None]:
        if seen.status is Status.FAILED:
            return Verdict.FAILED, None
        if seen.status is not Status.COMPLETED:
            return Verdict.WAITING, None
        if seen.url:
            return Verdict.COMPLETED, None
        since = now if self.urlless_since is None else self.urlless_since
        return (Verdict.NO_RESULT if now - since >= URL_GRACE else Verdict.WAITING), since

    def errored(self, error: AkoolError, now: float) -> Observation:
        """Take in the error of a poll."""
        if self.ended:
            return self
        missed = attrs.evolve(self, missed=self.missed + 1)
        if not isinstance(error, JobGone) or error.for_token or now - self.created < YOUNG:
            return missed
        since = now if self.gone_since is None else self.gone_since
        polls = self.gone_polls + 1
        over = polls >= GONE_POLLS and now - since >= GONE_SPAN
        counted = attrs.evolve(missed, gone_since=since, gone_polls=polls)
        if not over:
            return counted
        last = self.snapshot and attrs.evolve(self.snapshot, job_id=self.job_id)  # an outline names no job
        return attrs.evolve(counted, verdict=Verdict.GONE, snapshot=last)


def _place(snapshot: Snapshot) -> tuple[Status, int | None]:
    return snapshot.status, snapshot.progress


@lru_cache(maxsize=1024)
def _outline(status: Status, raw_status: str, progress: int | None) -> Snapshot:
    """Give what is kept of an answer, one for all jobs that are so far: very many may be waited for."""
    return Snapshot(job_id="", status=status, raw_status=raw_status, progress=progress, raw=EMPTY)


def _never_back(before: Snapshot | None, now: Snapshot) -> Snapshot:
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
    Verdict.GONE: "The vendor no longer knows job {id}.",
    Verdict.NO_RESULT: "Job {id} is completed, but the vendor gave no URL for its result.",
}


def _failed(job_id: str, snapshot: Snapshot) -> JobFailed:
    number = "" if snapshot.error_code is None else f" (error {snapshot.error_code})"
    said = f' The vendor says: "{snapshot.error_reason}"' if snapshot.error_reason else ""
    return JobFailed(
        f"Job {job_id} failed{number}.{said}",
        money="Whether its credits come back is the vendor's decision; look at the balance.",
        advice="Submit it again if you want to pay for another try.",
        job_id=job_id,
        snapshot=snapshot,
        error_code=snapshot.error_code,
    )
