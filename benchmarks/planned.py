"""Memory of a service while a million orders are planned, and while it works on them.

Orders go in by `batch.submit`, 200 at a time, and jobs are made of the first ones meanwhile. The vendor is a
process of its own. Measured is the resident memory of this one.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import frame

from akool_async import AkoolClient, FixedSchedule, State, TranslationRequest, open_batch, open_journal

TASKS = 200
JOBS = 20
"""Jobs that are made after everything is planned; those made meanwhile come on top."""
MIB = 2**20


async def measure(host: str, orders: int) -> float:
    """Plan orders, work on the first ones, and return the MiB that were added after the first tenth."""
    numbers, began, first = iter(range(orders)), time.monotonic(), 0.0
    schedule = FixedSchedule(interval=1.0)
    with TemporaryDirectory() as folder:
        async with (
            AkoolClient(api_key="a-key-of-the-benchmark", host=host, schedule=schedule) as client,
            open_journal(Path(folder) / "jobs.sqlite3") as journal,
            open_batch(client, journal=journal, max_in_flight=8) as batch,
        ):

            def say(said: str) -> float:
                held, seconds = frame.memory() / MIB, time.monotonic() - began
                print(f"{said:<20} {held:7.1f} MiB {seconds:7.0f} s {frame.cpu():7.0f} s of CPU", flush=True)
                return held

            async def plan() -> None:
                nonlocal first
                for number in numbers:
                    url = f"https://example.com/video-{number}.mp4"
                    await batch.submit(TranslationRequest(url=url, targets="ja"))
                    if (number + 1) % (orders // 10) == 0:
                        held = say(f"{number + 1:,} planned")
                        first = first or held

            say("nothing planned")
            async with anyio.create_task_group() as tasks:
                for _ in range(TASKS):
                    tasks.start_soon(plan)
            most = batch.statistics().completed + JOBS
            async for _ in batch:
                if batch.statistics().completed >= most:
                    break
            return say(f"{journal.counts()[State.PLANNED]:,} left") - first


def main() -> None:
    """Measure as the command line says."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--orders", type=int, help="orders that are planned, at least 10")

    told = frame.arguments(__doc__, add)
    orders = told.orders or frame.extent(told, 100, 20_000, 1_000_000)
    with frame.vendor("--seconds", "1") as origin:
        added = anyio.run(measure, origin, orders)
    frame.tell([frame.goal("MiB that 9 tenths of the orders add", added, 40)], told.json)


if __name__ == "__main__":
    main()
