"""P5: a catalog of 100,000 through a batch: memory, read-ahead, and CPU per item of the runner alone.

The client is a stub in this process that makes and ends each job at once, so what is measured is the
batch: pulling, admitting, its bookkeeping of what was paid, following, handing out. What making requests
and answers costs is measured without a batch and taken off.

Run alone: `python benchmarks/catalog.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import attrs
import frame
from frame import goal

from akool_async import (
    AkoolClient,
    Job,
    Snapshot,
    Status,
    Submission,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async._client import ClientSession
from akool_async._model.requests import Request
from akool_async._polling.poll_state import PollState
from akool_async._polling.scheduler import PolledJob

SLOTS = 50
GET = "for scale: one GET by raw aiohttp"
MADE = datetime(2026, 1, 1, tzinfo=UTC)


class InstantSession(ClientSession):
    """The steps of a client whose jobs are made and done at once, without a vendor."""

    made = 0

    async def wait_ready(self) -> None:
        await asyncio.sleep(0)

    async def submit_once(self, request: Request) -> Submission:
        await asyncio.sleep(0)
        return Submission(accepted=tuple(map(self.job, request.targets)))

    def job(self, target: str) -> Job:
        self.made += 1
        return Job(id=f"{self.made:024x}", target=target, created_at=MADE, credits_locked=4.0)

    def done(self, job_id: str) -> PolledJob:
        url = f"https://cdn.example.com/{job_id}.mp4"
        seen = Snapshot(job_id=job_id, status=Status.COMPLETED, url=url, created_at=MADE, credits_used=4.0)
        observation = PollState.begin(job_id, 0.0).after_snapshot(seen, 1.0)
        return PolledJob(observation, self.schedule)

    def watch(self, job_id: str, listener: Callable[[PolledJob], None], **_: object) -> PolledJob:  # type: ignore[override]
        watch = self.done(job_id)
        asyncio.get_running_loop().call_soon(listener, watch)
        return watch


class Instant(AkoolClient):
    """A client with such steps."""

    steps = InstantSession

    def __init__(self) -> None:
        super().__init__(api_key="k" * 20, host="http://127.0.0.1:1")
        own = self.session
        self.session = self.steps(
            clock=own.clock,
            retry=own.retry,
            schedule=own.schedule,
            observers=own.observers,
            create_timeout=own.create_timeout,
        )


def request(number: int) -> TranslationRequest:
    return TranslationRequest(url=f"https://example.com/{number}.mp4", targets="ja", key=f"video-{number}")


@attrs.define
class Source:
    """Makes requests when they are pulled and knows how far it was read ahead of what was taken."""

    items: int
    pulled: int = 0
    taken: int = 0
    most_ahead: int = 0

    def __iter__(self) -> Iterator[TranslationRequest]:
        for number in range(self.items):
            self.pulled += 1
            self.most_ahead = max(self.most_ahead, self.pulled - self.taken)
            yield request(number)


async def alone(items: int) -> float:
    """CPU microseconds an item for what is not the batch's: requests, jobs, answers."""
    stub, begin = Instant().session, frame.cpu()
    for one in Source(items):
        await stub.wait_ready()
        job = (await stub.submit_once(one)).accepted[0]
        stub.done(job.id)
    return (frame.cpu() - begin) / items * 1e6


@attrs.frozen
class Memory:
    """Bytes in use at one moment: of Python's objects, and of the whole process."""

    objects: int
    process: int

    @classmethod
    def now(cls) -> Memory:
        gc.collect()
        return cls(tracemalloc.get_traced_memory()[0], frame.memory())


Marks = dict[int, Memory]


async def through(
    items: int, *, on_disk: bool, at: tuple[int, ...] = (), slow: int = 0
) -> tuple[Source, Marks]:
    """Run a catalog through a batch; note the memory when as many outcomes as `at` says are out."""
    source, marks = Source(items), Marks()
    async with contextlib.AsyncExitStack() as stack:
        journal = None
        if on_disk:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            journal = await stack.enter_async_context(open_journal(folder / "jobs.sqlite3"))
        batch = await stack.enter_async_context(
            open_batch(Instant(), source, max_in_flight=SLOTS, journal=journal)
        )
        async for _ in batch:
            source.taken += 1
            for _ in range(slow):
                await asyncio.sleep(0)
            if source.taken in at:
                marks[source.taken] = Memory.now()
    return source, marks


async def cost(items: int, *, on_disk: bool) -> float:
    begin = frame.cpu()
    await through(items, on_disk=on_disk)
    return (frame.cpu() - begin) / items * 1e6


def growth(start: int, items: int, *, on_disk: bool, traced: bool) -> tuple[float, float]:
    """MiB by which objects and process grow between so many items and all of them."""
    if traced:
        tracemalloc.start()
    _, marks = asyncio.run(through(items, on_disk=on_disk, at=(start, items)))
    tracemalloc.stop()
    first, last = marks[start], marks[items]
    return (last.objects - first.objects) / 2**20, (last.process - first.process) / 2**20


async def get(origin: str, times: int) -> float:
    """CPU microseconds of one GET: how fast this machine is, and how fast now."""
    url = f"{origin}/api/open/v3/content/video/infobymodelid"
    begin = frame.cpu()
    async with aiohttp.ClientSession() as session:
        for number in range(times):
            async with session.get(url, params={"video_model_id": f"{0:012x}ffffff{number:06x}"}) as answer:
                await answer.json()
    return (frame.cpu() - begin) / times * 1e6


async def costs(items: int, rounds: int) -> dict[str, frame.Figures]:
    with frame.vendor() as origin:
        arms = {
            GET: lambda: get(origin, items // 4),
            "no batch": lambda: alone(items),
            "batch without a journal": lambda: cost(items, on_disk=False),
            "batch with a journal on disk": lambda: cost(items, on_disk=True),
        }
        return await frame.in_turns(arms, rounds)


def main() -> None:
    told = frame.arguments(__doc__)
    frame.pin()
    items, rounds = frame.extent(told, (40, 1), (600, 3), (2000, 7))
    found = asyncio.run(costs(items, rounds))
    print(f"CPU microseconds an item, {items:,} items, {SLOTS} in flight, no I/O but the journal's:")
    frame.table(("arm", "CPU µs an item"), [(name, figures.told()) for name, figures in found.items()])

    # What is kept of names has a part that does not grow; it is there before the first mark of each form.
    start, whole = frame.extent(told, (20, 200), (15_000, 30_000), (10_000, 100_000))
    ahead = asyncio.run(through(min(whole, 5000), on_disk=False, slow=3))[0].most_ahead
    print(f"\nA catalog of {whole:,}: how far memory grows from the {start:,}th item to the last:")
    objects, _ = growth(start, whole, on_disk=False, traced=True)
    _, process = growth(start, whole, on_disk=True, traced=False)
    rows = [("none", f"{objects:.2f} of Python's objects"), ("on disk", f"{process:.2f} of the process")]
    frame.table(("journal", "MiB"), rows)

    base = found["no batch"]
    runner = frame.Figures(
        tuple(b - a for a, b in zip(base.values, found["batch without a journal"].values, strict=True))
    )
    share = 90_000 / (whole - start)
    goals = [
        goal("MiB more at 100,000 items than at 10,000, without a journal", objects * share, 1),
        goal(f"items read ahead of those taken, {SLOTS} slots", float(ahead), 2 * SLOTS + 10),
        goal("CPU of the runner an item / one GET by raw aiohttp", runner.over(found[GET]), 1.1),
    ]
    frame.tell(goals, told.json)


if __name__ == "__main__":
    main()
