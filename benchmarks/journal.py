"""P6: durable rows a second with 50 writers, how long the loop stands still, what 200 submits a second cost.

Three arms over the same schema and the same statements, interleaved in rounds: the journal, one commit
per row inline in the event loop, one commit per row in a thread. Each arm runs on this machine's disk as
it is, and with a modelled disk whose commits cost some milliseconds more (a solid-state disk without a
protected cache takes 1 to 5 ms for an fsync, a turning one 8 to 17).

The last question is asked of a whole batch: eight POSTs under way at once, each takes 20 to 60 ms, are
200 submits a second. All that the journal waits for stands in the way of the next POST then, so that
the wall time with a journal on disk and without one says what it costs.

Run alone: `python benchmarks/journal.py`.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import anyio
import attrs
import frame
from anyio.to_thread import run_sync
from catalog import Instant, InstantSession
from frame import Figures, Goal, goal

import akool_async._journal.journal as journal_module
from akool_async import Submission, open_batch
from akool_async._journal import EntryUpdate, Journal, open_journal
from akool_async._journal.operations import RecordUpdates
from akool_async._journal.store import PendingOperation, Store
from akool_async._model.requests import Request, TranslationRequest
from akool_async._model.states import State

WRITERS = 50
TICK = 0.001
POST, POSTS, SLOTS = 0.04, 8, 50
"""Seconds of a POST, POSTs at once, jobs in flight: 200 submits a second."""
JOURNAL, INLINE, THREAD = (
    "journal (group commit)",
    "one commit per row, inline",
    "one commit per row, in a thread",
)
USUAL = 2.0
"""Milliseconds more per commit on the modelled disk that the goals are about."""
Write = Callable[[EntryUpdate], Awaitable[None]]


class SlowStore(Store):
    """A store on a disk whose commits cost more."""

    extra = 0.0

    def commit(self, operations: Sequence[PendingOperation]) -> None:
        super().commit(operations)
        if self.extra:
            time.sleep(self.extra)


@attrs.frozen
class Round:
    """What one arm did in one round."""

    rate: float
    cpu: float
    stalls: list[float]


def fsync_ms(folder: Path, times: int = 300) -> float:
    """Median milliseconds of an fsync after a page was written."""
    path = folder / "fsync"
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    took = []
    for number in range(times):
        os.pwrite(descriptor, b"x" * 4096, number * 4096)
        begin = time.perf_counter()
        os.fsync(descriptor)
        took.append(time.perf_counter() - begin)
    os.close(descriptor)
    path.unlink()
    return statistics.median(took) * 1000


def request_of(number: int) -> TranslationRequest:
    return TranslationRequest(url=f"https://example.com/{number}.mp4", targets="ja", key=f"video-{number}")


def change_of(number: int) -> EntryUpdate:
    return EntryUpdate(
        key=f"video-{number}",
        target="ja",
        state=State.SUBMITTED,
        job_id=f"job-{number:08}",
        credits_locked=1.5,
    )


async def tick(stalls: list[float]) -> None:
    """Measure how late the loop is; ends when cancelled."""
    while True:
        begin = time.perf_counter()
        await anyio.sleep(TICK)
        stalls.append(max(time.perf_counter() - begin - TICK, 0.0))


async def idle(seconds: float) -> float:
    """How late a loop is that has nothing else to do: what the machine adds to every figure, p99, in ms."""
    stalls = list[float]()
    with anyio.move_on_after(seconds):
        await tick(stalls)
    return percentile(stalls, 0.99) * 1e3


async def drive(write: Write, seconds: float) -> Round:
    """Let 50 writers record as fast as they can."""
    rows, stalls = 0, list[float]()
    until = time.perf_counter() + seconds

    async def writer(number: int) -> None:
        nonlocal rows
        while time.perf_counter() < until:
            await write(change_of(number))
            rows += 1

    async with anyio.create_task_group() as measuring:
        measuring.start_soon(tick, stalls)
        begin, cpu = time.perf_counter(), time.process_time()
        async with anyio.create_task_group() as writing:
            for number in range(WRITERS):
                writing.start_soon(writer, number)
        wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
        measuring.cancel_scope.cancel()
    return Round(rows / wall, cpu / rows * 1e6, stalls)


def store_of(journal: Journal) -> Store:
    return journal._opened.store


async def grouped(journal: Journal, seconds: float) -> Round:
    return await drive(journal.record, seconds)


async def inline(journal: Journal, seconds: float) -> Round:
    store = store_of(journal)

    async def write(change: EntryUpdate) -> None:
        store.commit([PendingOperation(RecordUpdates((change,), journal._now()))])
        await anyio.lowlevel.checkpoint()

    return await drive(write, seconds)


async def hop(journal: Journal, seconds: float) -> Round:
    store, limiter = store_of(journal), anyio.CapacityLimiter(1)

    async def write(change: EntryUpdate) -> None:
        await run_sync(
            store.commit, [PendingOperation(RecordUpdates((change,), journal._now()))], limiter=limiter
        )

    return await drive(write, seconds)


ARMS = {JOURNAL: grouped, INLINE: inline, THREAD: hop}


@contextmanager
def slow_disk(extra: float):
    SlowStore.extra, original = extra, journal_module.Store
    journal_module.Store = SlowStore
    try:
        yield
    finally:
        journal_module.Store = original


async def one(arm: str, folder: Path, seconds: float) -> Round:
    """Run one arm on a fresh journal."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        async with open_journal(Path(place) / "jobs.sqlite3") as journal:
            await journal.intend(*map(request_of, range(WRITERS)))
            return await ARMS[arm](journal, seconds)


class SlowSession(InstantSession):
    """The steps of a client whose POSTs take their time, each its own, and whose jobs are done at once."""

    chance = random.Random(1)

    async def submit_once(self, request: Request) -> Submission:
        await anyio.sleep(POST * (0.5 + self.chance.random()))
        return Submission(accepted=tuple(map(self.job, request.targets)))


class Slow(Instant):
    """A client with such steps."""

    steps = SlowSession


@attrs.frozen
class Run:
    """What a batch took: seconds, and seconds of CPU."""

    wall: float
    cpu: float


async def batch(folder: Path, jobs: int, *, journaled: bool) -> Run:
    """Bring jobs through a batch that submits 200 a second at most."""
    async with AsyncExitStack() as stack:
        journal = None
        if journaled:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
            journal = await stack.enter_async_context(open_journal(place / "jobs.sqlite3"))
        client = Slow()
        begin, cpu = time.perf_counter(), frame.cpu()
        wanted = map(request_of, range(jobs))
        async with open_batch(
            client, wanted, max_in_flight=SLOTS, max_submits=POSTS, journal=journal
        ) as running:
            async for _ in running:
                pass
        return Run(time.perf_counter() - begin, frame.cpu() - cpu)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)] if values else 0.0


@attrs.frozen
class Compared:
    """All rounds of all arms on one disk."""

    rounds: dict[str, list[Round]]

    def rates(self, arm: str) -> Figures:
        return Figures(tuple(each.rate for each in self.rounds[arm]))

    def stalls(self, arm: str) -> Figures:
        """Milliseconds by which the loop is late, p99 of each round."""
        return Figures(tuple(percentile(each.stalls, 0.99) * 1e3 for each in self.rounds[arm]))

    def row(self, arm: str) -> tuple[str, ...]:
        worst = max((late for each in self.rounds[arm] for late in each.stalls), default=0.0)
        cost = statistics.median(each.cpu for each in self.rounds[arm])
        more = self.rates(arm).over(self.rates(INLINE)).told(1)
        return (
            arm,
            self.rates(arm).told(),
            more,
            f"{cost:.0f}",
            self.stalls(arm).told(1),
            f"{worst * 1e3:.1f}",
        )


def compare(folder: Path, extra: float, rounds: int, seconds: float, backend: str) -> Compared:
    done: dict[str, list[Round]] = {arm: [] for arm in ARMS}
    with slow_disk(extra):
        for _ in range(rounds):
            for arm in ARMS:
                done[arm].append(anyio.run(one, arm, folder, seconds, backend=backend))
    compared = Compared(done)
    title = "this disk as it is" if not extra else f"modelled disk: {extra * 1000:g} ms more per commit"
    print(f"\n{title} ({backend}, {WRITERS} writers, {rounds} rounds of {seconds:g} s):")
    head = ("arm", "rows/s", "times inline", "CPU µs a row", "loop late p99 ms", "worst ms")
    frame.table(head, [compared.row(arm) for arm in ARMS])
    return compared


@attrs.frozen
class Share:
    """What a journal adds to a batch, in waiting and in CPU time, each as a share of the wall time."""

    wall: Figures
    cpu: Figures

    @classmethod
    def of(cls, folder: Path, extra: float, rounds: int, seconds: float) -> Share:
        jobs, walls, cpus = int(seconds * POSTS / POST), [], []
        with slow_disk(extra):
            for number in range(rounds):
                found = {
                    journaled: asyncio.run(batch(folder, jobs, journaled=journaled))
                    for journaled in (number % 2 > 0, number % 2 == 0)
                }
                plain, kept = found[False], found[True]
                walls.append(kept.wall / plain.wall - 1)
                cpus.append((kept.cpu - plain.cpu) / kept.wall)
        return cls(Figures(tuple(walls)), Figures(tuple(cpus)))


def goals(usual: Compared, plain: Compared, share: Share) -> list[Goal]:
    return [
        goal(
            f"rows/s: one commit per row / journal, {USUAL:g} ms more per commit",
            usual.rates(INLINE).over(usual.rates(JOURNAL)),
            0.05,
        ),
        goal("loop late p99 ms, this disk", plain.stalls(JOURNAL), 3),
        goal(f"loop late p99 ms, {USUAL:g} ms more per commit", usual.stalls(JOURNAL), 3),
        goal("share of a batch's wall time at 200 submits a second, this disk", share.wall, 0.05),
    ]


def add(parser) -> None:
    where = Path(tempfile.gettempdir())
    parser.add_argument("--folder", type=Path, default=where, help="where the files are put")
    parser.add_argument("--backend", default="asyncio", help="or trio")


def main() -> None:
    told = frame.arguments(__doc__, add)
    rounds, seconds = frame.extent(told, (1, 0.1), (2, 0.3), (5, 1.0))
    print(f"fsync of a page in {told.folder}: {fsync_ms(told.folder):.2f} ms (median)")
    print(f"a loop with nothing to do is late by {anyio.run(idle, 3 * seconds):.1f} ms (p99)")
    found = {
        extra: compare(told.folder, extra / 1000, rounds, seconds, told.backend)
        for extra in frame.extent(told, (0.0, USUAL), (0.0, USUAL), (0.0, USUAL, 5.0))
    }
    shares = {extra: Share.of(told.folder, extra / 1000, 2 * rounds, 3 * seconds) for extra in found}
    print("\nA journal's share in the wall time of a batch at 200 submits a second:")
    rows = [(f"{extra:g}", each.wall.told(3), each.cpu.told(3)) for extra, each in shares.items()]
    frame.table(("ms more per commit", "waited for", "CPU time"), rows)
    frame.tell(goals(found[USUAL], found[0.0], shares[0.0]), told.json)


if __name__ == "__main__":
    main()
