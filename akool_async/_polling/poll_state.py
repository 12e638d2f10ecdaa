"""What the polls of a job have shown: an answer or error and the state before it give the new state.

Decides when a job has ended. A failed poll is a missed poll, never a failed job; an unknown status keeps
waiting; status and progress never move backwards.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, Protocol, runtime_checkable

import attrs

from akool_async._model.errors import AkoolError, JobNotFoundError
from akool_async._model.requests import EMPTY
from akool_async._model.responses import AudioSplits, JobFailed, Snapshot, Status

URL_GRACE: Final = 15 * 60.0
"""Seconds for which a completed job without a URL is polled again."""

NOT_FOUND_GRACE: Final = 60.0
"""Seconds after its creation in which the vendor may not know a job yet."""

NOT_FOUND_POLLS: Final = 3
NOT_FOUND_SPAN: Final = 10 * 60.0
"""A job counts as lost when the vendor did not know it this often, over at least this many seconds."""

STALLED_AFTER: Final = 30 * 60.0
"""Seconds without any change after which a job counts as stalled."""

STALLED_POLL: Final = 120.0
"""Seconds between polls of a stalled job, at least."""

MAX_MISSED: Final = 4
"""Missed polls that lengthen the wait; each adds the wait once more."""


class PollVerdict(enum.Enum):
    """Whether a job has ended, as far as its polls say."""

    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    NO_RESULT = "completed without a result"
    NOT_FOUND = "unknown to the vendor"


# The poll history of a job is packed into bytes, five for each poll, because every job in flight carries one.
_POINT: Final = struct.Struct("<fb")
_MAX_POINTS: Final = 24
"""Points that a history holds; a longer one loses every second."""

UNKNOWN: Final = b""
"""The history of a job that no poll has seen running yet."""

NEW: Final = _POINT.pack(0.0, -1)
"""The history of a job that was created just now."""


def append(history: bytes, elapsed: float, progress: int | None) -> bytes:
    """Add that the job was running at the age of `elapsed` seconds, and the percentage it reported."""
    # Thinned out instead of cut: the early reports say most about how percentages go with time.
    if len(history) >= _MAX_POINTS * _POINT.size:
        points = range(0, len(history), 2 * _POINT.size)
        history = b"".join(history[start : start + _POINT.size] for start in points)
    percent = progress if progress is not None and 0 <= progress <= 100 else -1
    return history + _POINT.pack(min(max(elapsed, 0.0), 1e30), percent)


def iter_points(history: bytes) -> Iterator[tuple[float, int]]:
    """Return the age and the percentage of each poll that is kept; -1 where none was reported."""
    return _POINT.iter_unpack(history)


def last_seen_running(history: bytes) -> float | None:
    """Return the age at which the job was last known to be running; None if it never was."""
    return float(_POINT.unpack(history[-_POINT.size :])[0]) if history else None


@attrs.frozen(kw_only=True, weakref_slot=False)
class PollState:
    """What is known about one waiting job.

    Attributes:
        job_id: the job.
        created: when the job was created, on the caller's monotonic clock like all moments here; when waiting
            began where that is unknown.
        snapshot: the last answer, merged with those before.
        polls: polls that were answered.
        missed: polls in a row that were not.
        changed: when status or progress last changed.
        verdict: whether it has ended.
        no_url_since: when the vendor first said that it is completed, without a URL; None if it has not.
        not_found_since: when the first of `not_found_polls` was answered; None without any.
        not_found_polls: polls in a row to which the vendor said that it knows no such job.
        age_known: whether `created` is known.
        history: the progress that its polls reported, packed; kept only while its age is known.
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
        """Return the first state of a job created `age` seconds ago: 0 for just now, None for unknown."""
        return cls(
            job_id=job_id,
            created=now - age if age and age > 0 else now,
            changed=now,
            age_known=age is not None,
            history=NEW if age == 0 else UNKNOWN,
        )

    @property
    def is_terminal(self) -> bool:
        """Whether no more polls are needed."""
        return self.verdict is not PollVerdict.WAITING

    def stalled(self, now: float) -> bool:
        """Return whether nothing has changed for so long that the user should know."""
        return not self.is_terminal and now - self.changed >= STALLED_AFTER

    def failure(self) -> JobFailed:
        """Return the error that says why a job that has ended has no result."""
        snapshot = self.snapshot
        if self.verdict is PollVerdict.FAILED and snapshot is not None:
            number = "" if snapshot.error_code is None else f" (error {snapshot.error_code})"
            reason = f' The vendor says: "{snapshot.error_reason}"' if snapshot.error_reason else ""
            return JobFailed(
                f"Job {self.job_id} failed{number}.{reason}",
                impact="Whether its credits come back is the vendor's decision; look at the balance.",
                advice="Submit it again if you want to pay for another try.",
                job_id=self.job_id,
                snapshot=snapshot,
                error_code=snapshot.error_code,
            )
        return JobFailed(
            {
                PollVerdict.NOT_FOUND: f"The vendor no longer knows job {self.job_id}.",
                PollVerdict.NO_RESULT: f"Job {self.job_id} is completed, but the vendor returned no URL for "
                "its result.",
            }.get(self.verdict, f"Job {self.job_id} ended without a result."),
            impact="It may have been billed.",
            advice="Look whether the key is of the account that made it, and the host the right one; if so, "
            "ask the vendor about it, with the id.",
            job_id=self.job_id,
            snapshot=snapshot,
        )

    def context(self, now: float) -> PollContext:
        """Return what a poll schedule needs to know."""
        return PollContext(
            polls=self.polls,
            elapsed=now - self.created,
            progress=None if self.snapshot is None else self.snapshot.progress,
            stalled=now - self.changed,
        )

    def next_poll(self, schedule: PollSchedule, now: float, rand: float) -> float:
        """Return the seconds until the next poll; `schedule` is the rule for a job that proceeds normally."""
        wait = schedule.next_poll(self.context(now), rand)
        if self.not_found_polls:
            # A little more than the even share, so that rounding does not make a fourth poll necessary.
            return max(wait, 1.01 * NOT_FOUND_SPAN / (NOT_FOUND_POLLS - 1))
        if self.no_url_since is not None:
            return min(max(wait, URL_GRACE / 60), URL_GRACE / 15)
        if self.stalled(now):
            return max(wait, STALLED_POLL)
        return wait * (1 + min(self.missed, MAX_MISSED))

    def after_snapshot(self, snapshot: Snapshot, now: float, *, slim: bool = False) -> PollState:
        """Return the state after a poll was answered.

        With `slim`, only status and progress of the answer are kept while the job runs.
        """
        # An answer that was on its way when the job ended: it must not bring an ended job back.
        if self.is_terminal:
            return self
        seen = _merge_monotonic(self.snapshot, snapshot)
        before = self.snapshot
        moved = before is None or (seen.status, seen.progress) != (before.status, before.progress)
        verdict, no_url_since = self._judge(seen, now)
        # A URL is kept even while the status says "running": later answers may lack it.
        if slim and verdict is PollVerdict.WAITING and not seen.url:
            seen = compact_snapshot(seen.status, seen.raw_status, seen.progress)
        history = self.history
        if self.age_known and not seen.status.terminal:
            history = append(history, now - self.created, seen.progress)
        return attrs.evolve(
            self,
            verdict=verdict,
            no_url_since=no_url_since,
            snapshot=seen,
            polls=self.polls + 1,
            missed=0,
            changed=now if moved else self.changed,
            not_found_since=None,
            not_found_polls=0,
            history=history,
        )

    def poll_result(self, before: PollState, now: float, *, hinted: bool) -> PollResult | None:
        """Return what the answer after `before` teaches; None once the end has been reported."""
        ended_before = before.snapshot is not None and before.snapshot.status.terminal
        if self.snapshot is None or ended_before:
            return None
        return PollResult(
            elapsed=now - self.created, status=self.snapshot.status, history=before.history, hinted=hinted
        )

    def _judge(self, seen: Snapshot, now: float) -> tuple[PollVerdict, float | None]:
        # The URL is the result: "completed" without one is not final, since a paid video may still get it.
        if seen.status is Status.FAILED:
            return PollVerdict.FAILED, None
        if seen.status is not Status.COMPLETED:
            return PollVerdict.WAITING, None
        if seen.url:
            return PollVerdict.COMPLETED, None
        since = now if self.no_url_since is None else self.no_url_since
        return (PollVerdict.NO_RESULT if now - since >= URL_GRACE else PollVerdict.WAITING), since

    def after_error(self, error: AkoolError, now: float) -> PollState:
        """Return the state after a poll failed."""
        if self.is_terminal:
            return self
        missed = attrs.evolve(self, missed=self.missed + 1)
        # "Not found" while a token is fetched is about the account, and a new job may not be visible
        # yet: neither may end the wait for a job that was paid for.
        young = now - self.created < NOT_FOUND_GRACE
        if young or not isinstance(error, JobNotFoundError) or error.during_auth:
            return missed
        since = now if self.not_found_since is None else self.not_found_since
        polls = self.not_found_polls + 1
        counted = attrs.evolve(missed, not_found_since=since, not_found_polls=polls)
        if polls < NOT_FOUND_POLLS or now - since < NOT_FOUND_SPAN:
            return counted
        last = self.snapshot and attrs.evolve(self.snapshot, job_id=self.job_id)  # compact ones have no id
        return attrs.evolve(counted, verdict=PollVerdict.NOT_FOUND, snapshot=last)


@lru_cache(maxsize=1024)
def compact_snapshot(status: Status, raw_status: str, progress: int | None) -> Snapshot:
    """Return a small snapshot, shared by all jobs with the same progress: thousands may be in flight."""
    return Snapshot(job_id="", status=status, raw_status=raw_status, progress=progress, raw=EMPTY)


def _merge_monotonic(before: Snapshot | None, now: Snapshot) -> Snapshot:
    """Keep the furthest status, the highest progress and what `now` omits; take the rest from `now`."""
    if before is None:
        return now
    # Servers behind a balancer answer from different moments: an older answer must not undo a newer one.
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


# What a poll schedule knows.


@attrs.frozen(kw_only=True)
class PollContext:
    """What is known about a waiting job when its next poll is planned.

    Attributes:
        polls: polls answered so far.
        elapsed: seconds since waiting began, or since the job was created where that is known.
        progress: percent, None where the server sends none.
        stalled: seconds since progress or status last changed.
    """

    polls: int = 0
    elapsed: float = 0.0
    progress: int | None = None
    stalled: float = 0.0


class PollSchedule(Protocol):
    """A rule for the wait before the next poll."""

    def next_poll(self, context: PollContext, rand: float) -> float:
        """Return the seconds until the next poll.

        Args:
            context: what is known about the job.
            rand: a random number from 0 up to 1, from which jitter is made.
        """


@attrs.frozen(kw_only=True)
class PollResult:
    """One poll that was answered, as a schedule learns from it.

    Attributes:
        elapsed: the job's age in seconds, or seconds since waiting began where that is not known.
        status: the status in the answer; after a terminal one there are no more results.
        history: the earlier polls, packed; `since` and `reports` read it.
        hinted: whether a hint, such as a callback, caused the poll; then an end is only moments old.
        since: the age at which the job was last known to be running; None if it never was.
    """

    elapsed: float
    status: Status
    history: bytes = attrs.field(default=UNKNOWN, repr=False)
    hinted: bool = False
    since: float | None = attrs.field(init=False)

    @since.default
    def _last_seen(self) -> float | None:
        return last_seen_running(self.history)

    @property
    def reports(self) -> Iterator[tuple[float, int]]:
        """Age and percentage of earlier polls, not always of all; -1 where none was reported."""
        return iter_points(self.history)


@runtime_checkable
class AdaptiveSchedule(PollSchedule, Protocol):
    """A poll schedule that learns from the results of polls."""

    def learn(self, seen: PollResult) -> None:
        """Learn from an answered poll, before the next one is planned."""
