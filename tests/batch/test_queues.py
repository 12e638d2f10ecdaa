"""What a batch keeps between two steps: terminal jobs by their expiry, and recovered jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs

from akool_async import JournalError, NotSubmitted, TranslationRequest
from akool_async._batch.entry import BatchEntry, FinishedQueue, RecoveredJobs
from akool_async._model.responses import Snapshot, Status
from akool_async._polling.poll_state import PollState
from akool_async._polling.scheduler import PolledJob
from akool_async._polling.schedules import FixedSchedule
from tests.client.conftest import video

NOW = datetime(2026, 1, 8, tzinfo=UTC)


def ended(key: str, *, url: str = "https://files.example/a.mp4", made: datetime | None = NOW) -> BatchEntry:
    seen = Snapshot(job_id=key, status=Status.COMPLETED, url=url, created_at=made)
    WATCHES[key] = PolledJob(PollState.begin(key, 0.0).after_snapshot(seen, 1.0), FixedSchedule(interval=1.0))
    return BatchEntry(request=video(1, key=key), target="ja")


WATCHES: dict[str, PolledJob] = {}


async def order_of(*entries: BatchEntry) -> list[str]:
    queue = FinishedQueue()
    for entry in entries:
        queue.put(entry, WATCHES[entry.key])
    return [(await queue.get())[0].key for _ in entries]


async def test_what_expires_first_is_fetched_first() -> None:
    order = await order_of(
        ended("unknown", made=None),
        ended("young"),
        ended("old", made=NOW - timedelta(days=6)),
        ended("nothing to fetch", url=""),
        ended("middle", made=NOW - timedelta(days=3)),
    )
    assert order == ["nothing to fetch", "old", "middle", "young", "unknown"]


async def test_what_expires_together_is_fetched_in_its_order() -> None:
    assert await order_of(ended("one"), ended("two"), ended("three")) == ["one", "two", "three"]


async def test_what_is_not_known_is_behind_all_that_is() -> None:
    late = ended("late", made=NOW + timedelta(days=3650))
    assert await order_of(ended("unknown", made=None), late) == ["late", "unknown"]


def entry(request: TranslationRequest, *, retries_left: int = 0) -> BatchEntry:
    return BatchEntry(request=attrs.evolve(request, key="a"), target="ja", retries_left=retries_left)


def test_a_recovered_job_comes_out_with_the_request_that_asked_for_it() -> None:
    jobs, stored = RecoveredJobs(), NotSubmitted(key="a", request=video(1), target="ja")
    asked = attrs.evolve(video(2), key="a")

    found = entry(video(1))
    jobs.adopt(found)
    assert ("a", "ja") in jobs
    assert jobs.claim(entry(asked, retries_left=2)) is None  # still at the vendor
    assert (found.request, found.retries_left) == (asked, 2)
    assert ("a", "ja") not in jobs
    assert jobs.complete(stored) == NotSubmitted(key="a", request=asked, target="ja")
    assert jobs.complete(stored) == stored  # once

    jobs.adopt(entry(video(1)))
    assert jobs.complete(stored) is None  # nobody has asked
    assert jobs.claim(entry(asked)) == NotSubmitted(key="a", request=asked, target="ja")


def test_why_a_recovered_job_has_no_outcome_is_kept_until_it_is_asked_for() -> None:
    jobs, error = RecoveredJobs(), JournalError("The disk is full.")
    assert jobs.fail(("a", "ja"), error)  # it was not recovered, so somebody waits for it

    jobs.adopt(entry(video(1)))
    assert not jobs.fail(("a", "ja"), error)
    assert jobs.claim(entry(video(2))) is error
