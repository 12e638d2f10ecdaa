"""Jobs that are named for an entry in doubt: each is asked for, often enough, before it is paid again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import attrs
import pytest

from akool_async import (
    Completed,
    InDoubt,
    JobNotFoundError,
    NetworkError,
    Outcome,
    Snapshot,
    State,
    Status,
)
from akool_async._journal import BatchJournal, EntryUpdate
from akool_async._model.requests import Request
from akool_async._model.responses import Callback
from tests.batch.seam import START, Seam, Telling, made, opened, video

LATER = 400.0
"""Seconds after a POST at which the vendor surely knows its job, if its servers agree."""


@attrs.define(eq=False)
class Lagging(Seam):
    """A vendor that does not know its jobs at first, and then can't be asked for some time."""

    unknown_times: int = 0
    silent_times: int = 0
    on_unknown: Callable[[], object] = lambda: None
    asked: Counter[str] = attrs.field(factory=Counter)
    moments: list[float] = attrs.field(factory=list)

    async def status(self, job_id: str) -> Snapshot:
        self.asked[job_id] += 1
        self.moments.append(self.clock.monotonic())
        if self.unknown_times < self.asked[job_id] <= self.unknown_times + self.silent_times:
            raise NetworkError("The network is down.")
        if self.asked[job_id] <= self.unknown_times or job_id not in self.known:
            self.on_unknown()
            raise JobNotFoundError(f"No {job_id}.")
        return self.known[job_id]


def job(job_id: str) -> Snapshot:
    return Snapshot(job_id=job_id, status=Status.PROCESSING, created_at=START)


async def lose(journal: BatchJournal, request: Request, *ids: str, earlier: tuple[str, ...] = ()) -> None:
    """Leave a request as a run leaves it whose POST was answered by something that names these ids."""
    await journal.intend(request, token="a" * 32)
    for target in request.targets:
        await journal.record(
            EntryUpdate(
                key=request.key,
                target=target,
                state=State.IN_DOUBT,
                reason="Lost.",
                doubt_ids=(*earlier, *ids),
                candidate_ids=ids,
            )
        )


async def pay_again(seam: Seam, journal: BatchJournal, request: Request) -> list[Outcome]:
    async with opened(seam, request, journal=journal, on_in_doubt="resubmit") as (batch, _):
        return [outcome async for outcome in batch]


def numbered(*numbers: int) -> tuple[str, ...]:
    return tuple(f"{number:024x}" for number in numbers)


async def test_each_of_many_ids_is_asked_for() -> None:
    ids = numbered(*range(100))
    seam = Lagging([made("ja")], known={ids[-1]: job(ids[-1])})
    async with BatchJournal(":memory:", now=seam.clock.now) as journal:
        await lose(journal, video(), *ids)
        seam.clock.advance(LATER)
        (outcome,) = await pay_again(seam, journal, video())

    assert isinstance(outcome, Completed)
    assert outcome.job is not None
    assert outcome.job.id == ids[-1]
    assert seam.posts == []


async def test_the_last_job_that_no_entry_has_is_that_of_the_last_language() -> None:
    targets = ("ja", "fr", "de", "es", "it", "ko", "pt", "hi", "zh")
    ids = numbered(*range(len(targets)))
    request = video(targets=",".join(targets))
    seam = Lagging([made("zh")], known={job_id: job(job_id) for job_id in ids})
    async with BatchJournal(":memory:", now=seam.clock.now) as journal:
        await lose(journal, request, *ids)
        for target, job_id in zip(targets[:-1], ids, strict=False):
            await journal.resolve(request.key, target, job_id=job_id)
        seam.clock.advance(LATER)
        await pay_again(seam, journal, request)
        entry = journal.get(request.key, "zh")

    assert entry is not None
    assert entry.job_id == ids[-1]
    assert seam.posts == []
    assert seam.asked == {ids[-1]: 1}


async def test_a_doubt_for_which_callbacks_name_too_many_jobs_is_not_paid_again() -> None:
    seam = Lagging([made("ja")])
    async with BatchJournal(":memory:", now=seam.clock.now) as journal:
        await lose(journal, video())
        source = Telling(*(Callback(job_id=one, token="a" * 32) for one in numbered(*range(50))))
        seam.clock.advance(LATER)
        async with opened(seam, video(), journal=journal, on_in_doubt="resubmit", callbacks=source) as (
            batch,
            _,
        ):
            (outcome,) = [outcome async for outcome in batch]

    assert isinstance(outcome, InDoubt)
    assert len(seam.asked) == 8
    assert seam.posts == []


@pytest.mark.parametrize("named", ["by the answer", "by an earlier answer", "by a callback"])
@pytest.mark.parametrize("unknown_times", [1, 2])
async def test_a_job_that_the_vendor_does_not_know_at_first_is_not_paid_again(
    unknown_times: int, named: str
) -> None:
    (job_id,) = numbered(1)
    seam = Lagging([made("ja")], known={job_id: job(job_id)}, unknown_times=unknown_times)
    async with BatchJournal(":memory:", now=seam.clock.now) as journal:
        ids = (job_id,) if named == "by the answer" else ()
        await lose(journal, video(), *ids, earlier=(job_id,) if named == "by an earlier answer" else ())
        seam.clock.advance(LATER)
        told = [Callback(job_id=job_id, token="a" * 32)] if named == "by a callback" else []
        async with opened(
            seam, video(), journal=journal, on_in_doubt="resubmit", callbacks=Telling(*told)
        ) as (batch, _):
            (outcome,) = [outcome async for outcome in batch]

    assert isinstance(outcome, InDoubt if named == "by an earlier answer" else Completed)
    assert seam.posts == []


async def test_an_entry_is_paid_again_once_its_job_was_unknown_for_ten_minutes() -> None:
    seam = Lagging([made("ja")])
    async with BatchJournal(":memory:", now=seam.clock.now) as journal:
        await lose(journal, video(), *numbered(1, 2))
        seam.clock.advance(LATER)
        (outcome,) = await pay_again(seam, journal, video())

    assert isinstance(outcome, Completed)
    assert len(seam.posts) == 1
    assert list(seam.asked.values()) == [3, 3]
    assert seam.times[0] - seam.moments[0] >= 600.0


async def test_a_job_that_could_not_be_asked_for_again_is_not_paid_again() -> None:
    seam = Lagging([made("ja")], unknown_times=2, silent_times=10**6)
    async with BatchJournal(":memory:", now=seam.clock.now) as journal:
        await lose(journal, video(), *numbered(1))
        seam.clock.advance(LATER)
        (outcome,) = await pay_again(seam, journal, video())

    assert isinstance(outcome, InDoubt)
    assert seam.posts == []


async def test_a_batch_that_stops_does_not_ask_again() -> None:
    seam = Lagging([made("ja")])
    async with BatchJournal(":memory:", now=seam.clock.now) as journal:
        await lose(journal, video(), *numbered(1))
        seam.clock.advance(LATER)
        async with opened(seam, video(), journal=journal, on_in_doubt="resubmit") as (batch, _):
            seam.on_unknown = batch.drain
            (outcome,) = [outcome async for outcome in batch]

    assert isinstance(outcome, InDoubt)
    assert seam.posts == []
    assert seam.clock.monotonic() < LATER + 300


async def test_without_paying_again_an_unknown_job_is_asked_for_once() -> None:
    seam = Lagging([made("ja")])
    async with BatchJournal(":memory:", now=seam.clock.now) as journal:
        await lose(journal, video(), *numbered(1))
        seam.clock.advance(LATER)
        async with opened(seam, video(), journal=journal) as (batch, _):
            (outcome,) = [outcome async for outcome in batch]

    assert isinstance(outcome, InDoubt)
    assert list(seam.asked.values()) == [1]
