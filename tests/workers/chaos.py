"""Workers in processes of their own that are killed, over a Postgres that is restarted; and what came of it.

`python -m tests.workers.chaos KILLS VIDEOS WORKERS` runs it by hand and prints what it found.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
from anyio.from_thread import start_blocking_portal

from akool_async import Entry, State, TranslationRequest
from akool_async.ledger import open_ledger
from akool_async.sandbox import Fault, Sandbox
from akool_async.workers.dbos import enqueue
from tests.postgres import new_database, restart_server

KEY = "canary-chaos-81"
ROOT = Path(__file__).resolve().parents[2]


@attrs.define
class Fleet:
    """Workers by name, each a process."""

    database: str
    host: str
    out: Path
    options: tuple[str, ...] = ()
    running: dict[str, subprocess.Popen[bytes]] = attrs.field(factory=dict)

    def start(self, name: str) -> None:
        environment = {
            **os.environ,
            "AKOOL_API_KEY": KEY,
            "AKOOL_API_HOST": self.host,
            "AKOOL_LEDGER": self.database,
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-W", "ignore", "-m", "akool_async", "worker", "--name", name]
        with (self.out.parent / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [*command, "--out", str(self.out), *self.options], env=environment, stderr=log, stdout=log
            )

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def log(self, name: str) -> str:
        return (self.out.parent / f"{name}.log").read_text()

    def stop(self) -> dict[str, int]:
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        return {name: process.wait(60) for name, process in self.running.items()}


@attrs.frozen
class Found:
    """What the vendor made and what the ledger says."""

    jobs: dict[str, str]
    entries: list[Entry]
    most_in_flight: int

    @property
    def paid_twice(self) -> list[str]:
        return [url for url, jobs in Counter(self.jobs.values()).items() if jobs > 1]

    @property
    def lost(self) -> list[str]:
        """Jobs that are neither an entry's nor covered by a declared doubt."""
        known = {entry.job_id for entry in self.entries}
        doubted = {entry.request.url for entry in self.entries if entry.state is State.IN_DOUBT}  # type: ignore[union-attr]
        return [job for job, url in self.jobs.items() if job not in known and url not in doubted]

    @property
    def false_doubts(self) -> int:
        made = set(self.jobs.values())
        doubts = [entry for entry in self.entries if entry.state is State.IN_DOUBT]
        return sum(entry.request.url not in made for entry in doubts)  # type: ignore[union-attr]

    @property
    def states(self) -> Counter[str]:
        return Counter(entry.state.value for entry in self.entries)


@contextmanager
def fleet(
    videos: int, *, cap: int, budget: float | None = None, **settings: Any
) -> Iterator[tuple[Fleet, Any]]:
    """Enqueue videos in a new ledger, and serve a sandbox for it; no worker is started."""
    told = {"api_key": KEY, "media": False, "time_scale": 60.0, "max_jobs": 10_000} | settings
    sandbox, database = Sandbox(**told), new_database()
    with (
        tempfile.TemporaryDirectory() as folder,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(sandbox.serve()) as server,
    ):

        async def plan() -> None:
            async with open_ledger(database, max_in_flight=cap, max_credits=budget) as ledger:
                urls = {f"v{number}": f"https://media.example/{number}.mp4" for number in range(videos)}
                await ledger.plan(
                    TranslationRequest(url=url, targets="ja", key=key) for key, url in urls.items()
                )
                await enqueue(ledger)

        anyio.run(plan)
        workers = Fleet(database, server.base_url, Path(folder) / "out")
        try:
            yield workers, sandbox
        finally:
            for process in workers.running.values():
                process.kill()
                process.wait()


def look(workers: Fleet, sandbox: Sandbox) -> Found:
    async def read() -> list[Entry]:
        async with open_ledger(workers.database) as ledger:
            return [entry async for entry in ledger.entries()]

    jobs = {job.id: job.url for job in sandbox.audit.jobs}
    moments = sorted(
        moment
        for job in sandbox.audit.jobs
        for moment in ((job.created, 1), (float("inf") if job.ended is None else job.ended, -1))
    )
    now = most = 0
    for _, step in moments:
        now += step
        most = max(most, now)
    return Found(jobs, anyio.run(read), most)


OVER = {State.DELIVERED, State.IN_DOUBT, State.FAILED, State.EXPIRED}


def wait_until_over(workers: Fleet, sandbox: Sandbox, seconds: float = 120.0) -> Found:
    deadline = time.monotonic() + seconds
    while True:
        found = look(workers, sandbox)
        if all(entry.state in OVER for entry in found.entries):
            return found
        assert time.monotonic() < deadline, (
            found.states,
            {name: workers.log(name)[-800:] for name in workers.running},
        )
        time.sleep(0.5)


def chaos(*, kills: int, videos: int, names: tuple[str, ...], restarts: int, seed: int) -> Found:
    """Kill workers at random moments until all is over."""
    chance = random.Random(seed)
    with fleet(videos, cap=8, time_scale=40.0) as (workers, sandbox):
        sandbox.faults.add(Fault(on="create", kind="delay", seconds=0.3, probability=0.5))
        for name in names:
            workers.start(name)
        moments = {round(kills * (number + 1) / (restarts + 1)) for number in range(restarts)}
        for kill in range(kills):
            time.sleep(chance.uniform(0.2, 1.6))
            name = chance.choice(names)
            workers.kill(name)
            if kill in moments:
                restart_server()
            workers.start(name)
        found = wait_until_over(workers, sandbox)
        workers.stop()
    print(
        f"seed {seed}: {kills} kills, {len(found.jobs)} jobs, {dict(found.states)},"
        f" paid twice {len(found.paid_twice)}, lost {len(found.lost)}, false doubts {found.false_doubts},"
        f" at most {found.most_in_flight} in flight"
    )
    return found


if __name__ == "__main__":
    kills, videos, workers = map(int, sys.argv[1:4])
    chaos(
        kills=kills,
        videos=videos,
        names=tuple(f"w{n}" for n in range(workers)),
        restarts=2,
        seed=int(time.time()),
    )
