"""P10: a finished catalog run again: opening its journal, and telling every entry from it.

Each arm is a process of its own. "raw" reads the same rows with sqlite3 alone, one by one, by key and
language. What making the requests costs is measured apart and taken off. Memory is what the process holds
beyond what it held before the journal was opened, at each tenth of the run.

Run alone: `python benchmarks/resume.py`; `--rows N` for a journal of another size, such as 1,000,000.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import frame
from anyio.to_thread import run_sync
from catalog import MADE, SLOTS, Instant, request
from frame import Figures, goal

from akool_async import Snapshot, Status, open_batch, open_journal
from akool_async._journal import EntryUpdate
from akool_async._model.states import State

RAW, RUN, OPEN, ALONE = "raw sqlite3, row by row", "resume", "open and close", "requests alone"
CALLS = "resume, profiled"
AT_ONCE = 500


async def fill(path: Path, rows: int) -> None:
    """Make the journal of a catalog of which everything was saved."""
    async with open_journal(path) as journal:
        for first in range(0, rows, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, rows))
            await journal.intend(*map(request, numbers))
            await journal.record(*(change for number in numbers for change in life(number)))


def life(number: int) -> tuple[EntryUpdate, ...]:
    """What happens to one entry after its intent."""
    key, job_id = f"video-{number}", f"{number:024x}"
    snapshot = Snapshot(
        job_id=job_id,
        status=Status.COMPLETED,
        url=f"https://cdn.example.com/{job_id}.mp4",
        created_at=MADE,
        credits_used=4.0,
    )
    made = EntryUpdate(key=key, target="ja", state=State.SUBMITTED, job_id=job_id, created_at=MADE)
    done = EntryUpdate(key=key, target="ja", state=State.COMPLETED, snapshot=snapshot, ended_at=MADE)
    return made, done, EntryUpdate(key=key, target="ja", state=State.DELIVERED, files=(f"/out/{key}.mp4",))


# The arms, each in a process of its own.


def raw(path: Path, rows: int) -> dict[str, list[float]]:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    began = frame.cpu()
    for number in range(rows):
        found = connection.execute(
            "SELECT * FROM entry WHERE key = ? AND target = ?", (f"video-{number}", "ja")
        )
        assert found.fetchone() is not None
    used = frame.cpu() - began
    connection.close()
    return {"cpu": [used]}


def alone(_: Path, rows: int) -> dict[str, list[float]]:
    began = frame.cpu()
    for number in range(rows):
        request(number)
    return {"cpu": [frame.cpu() - began]}


async def opening(path: Path) -> dict[str, list[float]]:
    async with open_journal(":memory:"):  # what is imported and started once is there before
        await run_sync(frame.cpu)
    began, begin = frame.cpu(), time.perf_counter()
    async with open_journal(path) as journal:
        wall = time.perf_counter() - begin
        journal.counts()
    return {"cpu": [frame.cpu() - began], "wall": [wall]}


async def resume(path: Path, rows: int) -> dict[str, list[float]]:
    before, grown, taken = frame.memory(), [], 0
    async with open_journal(path) as journal:
        began = frame.cpu()
        source = map(request, range(rows))
        async with open_batch(Instant(), source, max_in_flight=SLOTS, journal=journal) as batch:
            async for outcome in batch:
                assert outcome.resumed
                taken += 1
                if taken % max(rows // 10, 1) == 0:
                    grown.append((frame.memory() - before) / 2**20)
    assert taken == rows
    return {"cpu": [frame.cpu() - began], "MiB": grown}


async def calls(path: Path, rows: int) -> dict[str, list[float]]:
    """Count calls of functions in the loop's thread: the same on every machine, whatever else runs there."""
    profile = cProfile.Profile()
    async with open_journal(path) as journal:
        source = map(request, range(rows))
        async with open_batch(Instant(), source, max_in_flight=SLOTS, journal=journal) as batch:
            profile.enable()
            taken = [outcome.resumed async for outcome in batch]
            profile.disable()
    assert taken == [True] * rows
    return {"calls": [pstats.Stats(profile).total_calls / rows]}


ARMS: dict[str, Callable[[Path, int], dict[str, list[float]]]] = {
    RAW: raw,
    ALONE: alone,
    OPEN: lambda path, _: asyncio.run(opening(path)),
    RUN: lambda path, rows: asyncio.run(resume(path, rows)),
    CALLS: lambda path, rows: asyncio.run(calls(path, rows)),
}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, help="entries in the journal")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)


def main() -> None:
    told = frame.arguments(__doc__, options)
    frame.pin()
    if told.arm is not None:
        print(json.dumps(ARMS[told.arm](told.path, told.rows)))
        return
    rows = told.rows or frame.extent(told, 40, 10_000, 200_000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "jobs.sqlite3"
        asyncio.run(fill(path, rows))
        rounds = frame.extent(told, 1, 3, 3)
        found = frame.in_processes(__file__, ARMS, rounds, "--path", path, "--rows", rows)

    def figures(arm: str, what: str = "cpu", scale: float = 1.0) -> Figures:
        return Figures(tuple(one[what][-1] * scale for one in found[arm]))

    each = {arm: figures(arm, scale=1e6 / rows) for arm in (RAW, ALONE, RUN)}
    pairs = zip(each[RUN].values, each[ALONE].values, strict=True)
    runner = Figures(tuple(run - requests for run, requests in pairs))
    print(f"A finished catalog of {rows:,}, resumed; CPU microseconds an entry:")
    frame.table(("arm", "CPU µs"), [(arm, values.told(1)) for arm, values in each.items()])
    print("\nMiB beyond the start, at each tenth of the run:")
    print(", ".join(f"{grown:.1f}" for grown in found[RUN][-1]["MiB"]))
    print(f"\nOpening: {figures(OPEN, 'wall', 1000).told()} ms, CPU {figures(OPEN, scale=1000).told()} ms.")
    goals = [
        goal("CPU of resuming an entry, requests taken off / raw sqlite3", runner.over(each[RAW]), 4),
        goal("CPU of opening / raw sqlite3 reading every row", figures(OPEN).over(figures(RAW)), 0.05),
        goal("calls of functions an entry, its request included", figures(CALLS, "calls"), 400),
        goal("MiB more at the end of a resumed run", figures(RUN, "MiB"), 16),
    ]
    frame.tell(goals, told.json)


if __name__ == "__main__":
    main()
