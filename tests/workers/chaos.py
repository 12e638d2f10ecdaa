"""Workers in processes of their own that are killed, over a Postgres that is restarted; and what came of it.

`python -m tests.workers.chaos STRIKES VIDEOS WORKERS` runs it by hand and prints what it found: once with
callbacks, once without, and once judged by the vendor on plain sockets.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import attrs
from anyio.from_thread import start_blocking_portal

from akool_async import Entry, State, TranslationRequest
from akool_async.ledger import open_ledger
from akool_async.sandbox import Fault, Sandbox
from akool_async.workers.dbos import enqueue
from tests.postgres import new_database, restart_server
from tests.vendor import faults as wire
from tests.vendor.server import Vendor

KEY = "canary-chaos-81"
CAP = 8
PRICE = 4.0
"""What a job costs, in the sandbox and at the vendor on plain sockets."""
ROOT = Path(__file__).resolve().parents[2]


@attrs.define
class Fleet:
    """Workers by name, each a process."""

    database: str
    host: str
    out: Path
    options: tuple[str, ...] = ()
    program: str = "akool_async"
    running: dict[str, subprocess.Popen[bytes]] = attrs.field(factory=dict)

    def start(self, name: str) -> None:
        environment = {
            **os.environ,
            "AKOOL_API_KEY": KEY,
            "AKOOL_API_HOST": self.host,
            "AKOOL_LEDGER": self.database,
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-W", "ignore", "-m", self.program, "worker", "--name", name]
        with (self.out.parent / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [*command, "--out", str(self.out), *self.options], env=environment, stderr=log, stdout=log
            )

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def freeze(self, name: str) -> None:
        self.running[name].send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        self.running[name].send_signal(signal.SIGCONT)

    def log(self, name: str) -> str:
        return (self.out.parent / f"{name}.log").read_text()

    def stop(self) -> dict[str, int]:
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        return {name: process.wait(250) for name, process in self.running.items()}


@attrs.frozen
class Found:
    """What the vendor made and what the ledger says."""

    jobs: dict[str, str]
    entries: list[Entry]
    most_in_flight: int
    spent: float = 0.0

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


@attrs.frozen
class PlainVendor:
    """The vendor on plain sockets, as far as a sandbox is asked here."""

    vendor: Vendor

    @property
    def audit(self) -> Any:
        jobs = [
            SimpleNamespace(
                id=job.id,
                url=job.url,
                created=job.made_at,
                ended=job.made_at + job.seconds,
                credits=job.cost,
            )
            for job in [*self.vendor.jobs.values()]
        ]
        return SimpleNamespace(jobs=jobs)


@contextmanager
def fleet(
    videos: int,
    *,
    cap: int,
    budget: float | None = None,
    callbacks: bool = False,
    plain: bool = False,
    **settings: Any,
) -> Iterator[tuple[Fleet, Any]]:
    """Enqueue videos in a new ledger, and serve a vendor for it; no worker is started.

    With `callbacks` a receiver serves, which any machine could be; with `plain` the vendor is the one on
    plain sockets.
    """
    usual = {"api_key": KEY, "media": False, "time_scale": 60.0, "max_jobs": 10_000} | settings
    database = new_database()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        portal = stack.enter_context(start_blocking_portal())
        if plain:
            vendor = stack.enter_context(Vendor(Path(folder), key=KEY, seconds=2.0))
            sandbox: Any = PlainVendor(vendor)
            host = vendor.url
        else:
            sandbox = Sandbox(**usual)
            host = stack.enter_context(portal.wrap_async_context_manager(sandbox.serve())).base_url

        async def plan() -> None:
            async with open_ledger(database, max_in_flight=cap, max_credits=budget) as ledger:
                urls = {f"v{number}": f"https://media.example/{number}.mp4" for number in range(videos)}
                await ledger.plan(
                    TranslationRequest(url=url, targets="ja", key=key) for key, url in urls.items()
                )
                await enqueue(ledger)

        anyio.run(plan)
        workers = Fleet(database, host, Path(folder) / "out")
        if callbacks:
            workers.options += ("--webhook-url", serve_receiver(workers, sandbox))
        try:
            yield workers, sandbox
        finally:
            for process in workers.running.values():
                process.kill()
                process.wait()


def serve_receiver(workers: Fleet, sandbox: Sandbox) -> str:
    """Start the receiver that any machine may run beside workers; return its URL once it listens."""
    access = sandbox.settings
    environment = {
        **os.environ,
        "AKOOL_CLIENT_ID": access.client_id,
        "AKOOL_CLIENT_SECRET": access.webhook_secret,
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-W", "ignore", "-m", "akool_async", "webhook", "serve", "--port", "0"]
    options = ["--ledger", workers.database, "--max-clock-skew", "100d"]
    with (workers.out.parent / "receiver.log").open("ab") as log:
        workers.running["receiver"] = subprocess.Popen(
            [*command, *options], env=environment, stderr=log, stdout=log
        )
    deadline = time.monotonic() + 300
    while (said := re.search(r"Listening at (http\S+?),", workers.log("receiver"))) is None:
        assert time.monotonic() < deadline, workers.log("receiver")
        time.sleep(0.1)
    return said[1]


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
    spent = sum(job.credits or 0.0 for job in sandbox.audit.jobs)
    return Found(jobs, anyio.run(read), most, spent)


OVER = {State.DELIVERED, State.IN_DOUBT, State.FAILED, State.EXPIRED}


def is_over(found: Found, budget: float | None) -> bool:
    """Whether nothing more will happen: what the budget has no room for stays planned."""
    begun = [entry for entry in found.entries if entry.state is not State.PLANNED]
    full = budget is not None and (len(begun) + 1) * PRICE > budget
    return all(entry.state in OVER or (full and entry.state is State.PLANNED) for entry in found.entries)


def wait_until_over(
    workers: Fleet, sandbox: Any, seconds: float = 600.0, budget: float | None = None
) -> Found:
    deadline = time.monotonic() + seconds
    while True:
        found = look(workers, sandbox)
        if is_over(found, budget):
            return found
        assert time.monotonic() < deadline, (
            found.states,
            {name: workers.log(name)[-800:] for name in workers.running},
        )
        time.sleep(0.5)


def wait_until_recorded(workers: Fleet, number: int, seconds: float = 300.0) -> None:
    """Wait until the ledger knows so many jobs: killed after that, a worker has to finish them."""

    async def read() -> int:
        async with open_ledger(workers.database) as ledger:
            return len([entry async for entry in ledger.entries() if entry.job_id])

    deadline = time.monotonic() + seconds
    while anyio.run(read) < number:
        assert time.monotonic() < deadline, {name: workers.log(name)[-800:] for name in workers.running}
        time.sleep(0.1)


def take_time() -> bool:
    """Let a POST be under way for so long that a kill can meet it."""
    time.sleep(0.2)
    return True


def chaos(
    *,
    strikes: int,
    videos: int,
    names: tuple[str, ...],
    restarts: int,
    seed: int,
    budget: float | None = None,
    callbacks: bool = False,
    plain: bool = False,
    recorded: int = 0,
) -> Found:
    """Kill and freeze workers at random moments, restart the database, until all is over.

    Nobody is struck before so many jobs are recorded.
    """
    chance = random.Random(seed)
    frozen: str | None = None
    with fleet(videos, cap=CAP, budget=budget, callbacks=callbacks, plain=plain, time_scale=40.0) as (
        workers,
        sandbox,
    ):
        if plain:
            sandbox.vendor.faults.append(wire.Fault(times=None, until=take_time))
        else:
            sandbox.faults.add(Fault(on="create", kind="delay", seconds=0.3, probability=0.5))
            sandbox.faults.add(Fault(on="create", kind="reset_after", probability=0.05, limit=videos // 3))
        for name in names:
            workers.start(name)
        wait_until_recorded(workers, recorded)
        moments = {round(strikes * (number + 1) / (restarts + 1)) for number in range(restarts)}
        for strike in range(strikes):
            time.sleep(chance.uniform(0.2, 1.6))
            if frozen is not None:
                workers.thaw(frozen)
                frozen = None
            name = chance.choice(names)
            if chance.random() < 0.2:
                workers.freeze(name)
                frozen = name
                continue
            workers.kill(name)
            if strike in moments:
                restart_server()
            workers.start(name)
        if frozen is not None:
            workers.thaw(frozen)
        found = wait_until_over(workers, sandbox, budget=budget)
        workers.stop()
    print(
        f"seed {seed}: {strikes} strikes, {len(found.jobs)} jobs, {dict(found.states)},"
        f" paid twice {len(found.paid_twice)}, lost {len(found.lost)}, false doubts {found.false_doubts},"
        f" at most {found.most_in_flight} in flight, {found.spent:g} spent of {budget}"
    )
    return found


if __name__ == "__main__":
    strikes, videos, workers = map(int, sys.argv[1:4])
    for form in ({"callbacks": True}, {"budget": videos * PRICE * 0.8}, {"plain": True}):
        print(form, flush=True)
        chaos(
            strikes=strikes,
            videos=videos,
            names=tuple(f"w{n}" for n in range(workers)),
            restarts=2,
            seed=int(time.time()),
            **form,  # type: ignore[arg-type]
        )
