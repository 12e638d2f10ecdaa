"""Durable rows a second with 50 writers: the journal's group commit against one commit per row.

Three arms over the same schema and the same statements, interleaved in rounds: the journal, one commit
per row inline in the event loop, one commit per row in a thread. Each arm runs on this machine's disk as
it is, and with a modelled disk whose commits cost some milliseconds more (a solid-state disk without a
protected cache takes 1 to 5 ms for an fsync, a turning one 8 to 17).

Run alone: `python benchmarks/journal.py`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio
import attrs
from anyio.to_thread import run_sync

import akool_async._journal.journal as journal_module
from akool_async._core.lifecycle import State
from akool_async._core.requests import TranslationRequest
from akool_async._journal import Change, Journal, open_journal
from akool_async._journal.record import Record
from akool_async._journal.store import Store, Ticket

WRITERS = 50
TICK = 0.001
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


ARMS = {
    "journal (group commit)": grouped,
    "one commit per row, inline": inline,
    "one commit per row, in a thread": hop,
}


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


async def paced(folder: Path, seconds: float, rate: int = 200) -> tuple[float, float]:
    """Four steps a job, `rate` jobs a second: CPU seconds and commits-awaited seconds per job."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        async with open_journal(Path(place) / "jobs.sqlite3") as journal, anyio.create_task_group() as jobs:
            waited = list[float]()

            async def job(number: int) -> None:
                begin = time.perf_counter()
                request = request_of(number)
                name = {"key": request.key, "target": "ja"}
                await journal.intend(request)
                await journal.record(change_of(number))
                await journal.record(Change(**name, state=State.COMPLETED, credits_used=1.5))
                await journal.record(Change(**name, state=State.DELIVERED, files=("out/a.mp4",)))
                waited.append(time.perf_counter() - begin)

            begin, cpu = time.perf_counter(), time.process_time()
            for number in range(int(seconds * rate)):
                jobs.start_soon(job, number)
                await anyio.sleep(max(begin + (number + 1) / rate - time.perf_counter(), 0))
            cpu = time.process_time() - cpu
    return cpu / seconds, statistics.median(waited)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)] if values else 0.0


def row(arm: str, rounds: list[Round], base: float) -> str:
    rates = [each.rate for each in rounds]
    rate, stall = (
        statistics.median(rates),
        percentile([late for each in rounds for late in each.stalls], 0.99),
    )
    worst = max((late for each in rounds for late in each.stalls), default=0.0)
    cpu = statistics.median(each.cpu for each in rounds)
    spread = f"{min(rates):,.0f}-{max(rates):,.0f}"
    late = f"{stall * 1e3:.1f} | {worst * 1e3:.1f}"
    return f"| {arm} | {rate:,.0f} | {spread} | {rate / base:.1f}x | {cpu:.0f} | {late} |"


def compare(folder: Path, extra: float, rounds: int, seconds: float, backend: str) -> None:
    done: dict[str, list[Round]] = {arm: [] for arm in ARMS}
    with slow_disk(extra):
        for _ in range(rounds):
            for arm in ARMS:
                done[arm].append(anyio.run(one, arm, folder, seconds, backend=backend))
    base = statistics.median(each.rate for each in done["one commit per row, inline"])
    title = "this disk as it is" if not extra else f"modelled disk: {extra * 1000:g} ms more per commit"
    print(f"\n### {title} ({backend}, {WRITERS} writers, {rounds} rounds of {seconds:g} s)\n")
    print("| arm | rows/s | spread | ratio | CPU µs/row | loop stall p99 ms | worst ms |")
    print("|---|---|---|---|---|---|---|")
    for arm, each in done.items():
        print(row(arm, each, base))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the files are put"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--extra-ms", type=float, nargs="*", default=[0.0, 2.0, 5.0])
    parser.add_argument("--backend", default="asyncio")
    told = parser.parse_args()
    print(f"fsync of a page in {told.folder}: {fsync_ms(told.folder):.2f} ms (median)")
    for extra in told.extra_ms:
        compare(told.folder, extra / 1000, told.rounds, told.seconds, told.backend)
    cpu, wait = anyio.run(paced, told.folder, 3.0, backend=told.backend)
    print(f"\n200 jobs a second, 4 steps each: {cpu:.1%} of a core, {wait * 1000:.1f} ms waited per job")


if __name__ == "__main__":
    main()
