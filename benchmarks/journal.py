"""P6: durable rows a second with 50 writers, how long the loop stands still, and what 200 jobs a second cost.

Three arms over the same schema and the same statements, interleaved in rounds: the journal, one commit
per row inline in the event loop, one commit per row in a thread. Each arm runs on this machine's disk as
it is, and with a modelled disk whose commits cost some milliseconds more (a solid-state disk without a
protected cache takes 1 to 5 ms for an fsync, a turning one 8 to 17).

Run alone: `python benchmarks/journal.py`.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import anyio
import attrs
import frame
from anyio.to_thread import run_sync
from frame import Figures, Goal, goal

import akool_async._journal.journal as journal_module
from akool_async._core.lifecycle import State
from akool_async._core.requests import TranslationRequest
from akool_async._journal import Change, Journal, open_journal
from akool_async._journal.record import Record
from akool_async._journal.store import Store, Ticket

WRITERS = 50
TICK = 0.001
JOURNAL, INLINE, THREAD = (
    "journal (group commit)",
    "one commit per row, inline",
    "one commit per row, in a thread",
)
USUAL = 2.0
"""Milliseconds more per commit on the modelled disk that the goals are about."""
Write = Callable[[Change], Awaitable[None]]


class SlowStore(Store):
    """A store on a disk whose commits cost more."""

    extra = 0.0

    def commit(self, tickets: Sequence[Ticket]) -> None:
        super().commit(tickets)
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


def change_of(number: int) -> Change:
    return Change(
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

    async def write(change: Change) -> None:
        store.commit([Ticket(Record((change,), journal._now()))])
        await anyio.lowlevel.checkpoint()

    return await drive(write, seconds)


async def hop(journal: Journal, seconds: float) -> Round:
    store, limiter = store_of(journal), anyio.CapacityLimiter(1)

    async def write(change: Change) -> None:
        await run_sync(store.commit, [Ticket(Record((change,), journal._now()))], limiter=limiter)

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


async def paced(folder: Path, seconds: float, *, journaled: bool, rate: int = 200) -> tuple[float, float]:
    """Four states a job, `rate` jobs a second: share of a core, and seconds waited for commits per job."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        async with open_journal(Path(place) / "jobs.sqlite3") as journal, anyio.create_task_group() as jobs:
            waited = list[float]()

            async def job(number: int) -> None:
                begin = time.perf_counter()
                request = request_of(number)
                name = {"key": request.key, "target": "ja"}
                steps = (
                    Change(**name, state=State.COMPLETED, credits_used=1.5),
                    Change(**name, state=State.DELIVERED, files=("out/a.mp4",)),
                )
                if journaled:
                    await journal.intend(request)
                    await journal.record(change_of(number))
                    await journal.record(steps[0])
                    await journal.record(steps[1])
                waited.append(time.perf_counter() - begin)

            begin, cpu = time.perf_counter(), frame.cpu()
            for number in range(int(seconds * rate)):
                jobs.start_soon(job, number)
                await anyio.sleep(max(begin + (number + 1) / rate - time.perf_counter(), 0))
            cpu = frame.cpu() - cpu
    return cpu / seconds, statistics.median(waited)


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


def share_of_core(folder: Path, rounds: int, seconds: float, backend: str) -> tuple[Figures, float]:
    """What the journal takes of a core at 200 jobs a second, and milliseconds that a job waits for it."""
    shares, waits = [], []
    for _ in range(rounds):
        found = {
            journaled: anyio.run(partial(paced, folder, seconds, journaled=journaled), backend=backend)
            for journaled in (False, True)
        }
        shares.append(found[True][0] - found[False][0])
        waits.append(found[True][1] * 1e3)
    return Figures(tuple(shares)), statistics.median(waits)


def goals(usual: Compared, plain: Compared, share: Figures) -> list[Goal]:
    return [
        goal(
            f"rows/s: one commit per row / journal, {USUAL:g} ms more per commit",
            usual.rates(INLINE).over(usual.rates(JOURNAL)),
            0.05,
        ),
        goal("loop late p99 ms, this disk", plain.stalls(JOURNAL), 3),
        goal(f"loop late p99 ms, {USUAL:g} ms more per commit", usual.stalls(JOURNAL), 3),
        goal("share of the wall time at 200 submits a second", share, 0.05),
    ]


def add(parser) -> None:
    where = Path(tempfile.gettempdir())
    parser.add_argument("--folder", type=Path, default=where, help="where the files are put")
    parser.add_argument("--backend", default="asyncio", help="or trio")


def main() -> None:
    told = frame.arguments(__doc__, add)
    rounds, seconds = (2, 0.3) if told.quick else (5, 1.0)
    print(f"fsync of a page in {told.folder}: {fsync_ms(told.folder):.2f} ms (median)")
    print(f"a loop with nothing to do is late by {anyio.run(idle, 3 * seconds):.1f} ms (p99)")
    found = {
        extra: compare(told.folder, extra / 1000, rounds, seconds, told.backend)
        for extra in ((0.0, USUAL) if told.quick else (0.0, USUAL, 5.0))
    }
    share, wait = share_of_core(told.folder, rounds, 3 * seconds, told.backend)
    print(f"\n200 jobs a second, 4 states each: {share.told(3)} of a core, {wait:.1f} ms waited per job")
    frame.tell(goals(found[USUAL], found[0.0], share), told.json)


if __name__ == "__main__":
    main()
