"""The client under test in processes of its own, forked from one that has imported everything already."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import anyio
import trio._core._run  # imported once, in the server that the processes are forked from

from akool_async import (
    AkoolClient,
    Completed,
    FixedSchedule,
    Outcome,
    RetryPolicy,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async._http import aiohttp_sender  # noqa: F401 - for the same reason
from akool_async.cli import main
from akool_async.cli.commands import catalog, resolve  # noqa: F401 - for the same reason
from akool_async.cli.options import ConnectionOptions
from akool_async.cli.run_summary import outcome_label
from tests.vendor.judge import Told, told_by_events
from tests.vendor.server import Vendor

POLICY = RetryPolicy(
    initial_delay=0.005, max_delay=0.05, throttle_initial_delay=0.005, deadline=60.0, throttle_deadline=60.0
)
OFTEN = FixedSchedule(interval=0.02)
"""A test does not wait minutes for a job, nor seconds between two attempts."""

CLIENT_SETTINGS = (
    "api_key",
    "client_id",
    "client_secret",
    "host",
    "timeout",
    "create_timeout",
    "transport",
    "retry",
)
"""Options of a batch in these tests that are its client's."""

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(["tests.vendor.program"])
_usual_client = ConnectionOptions.client


def _quick_client(connection: ConnectionOptions, **options: Any) -> AkoolClient:
    return _usual_client(connection, **{"retry": POLICY, "schedule": OFTEN} | options)


def _enter(environment: dict[str, str], stdout: Path, stderr: Path) -> None:
    """Make this process look as if it had been started from a shell, which ignores no signal."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.environ.update(environment)
    for path, number in ((stdout, 1), (stderr, 2)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, number)
        os.close(descriptor)


def command(arguments: list[str], environment: dict[str, str], stdout: Path, stderr: Path) -> None:
    """Run the command line."""
    _enter(environment, stdout, stderr)
    ConnectionOptions.client = _quick_client  # type: ignore[method-assign, assignment]
    sys.argv = ["akool-async", *arguments]
    main()


def shell(arguments: list[str], environment: dict[str, str], stdout: Path, stderr: Path) -> None:
    """Run the command line as people do, with its own pace."""
    _enter(environment, stdout, stderr)
    os.execv(sys.executable, [sys.executable, "-m", "akool_async", *arguments])


def batch(
    backend: str,
    requests: list[dict[str, Any]],
    folder: Path,
    options: dict[str, Any],
    environment: dict[str, str],
    stdout: Path,
    stderr: Path,
) -> None:
    """Run a batch, and print each outcome as the command line's events do."""
    _enter(environment, stdout, stderr)
    _sleep_through_stops(options.pop("asleep", 0.0))
    anyio.run(_translate, requests, folder, options, lambda event: print(event, flush=True), backend=backend)


def _sleep_through_stops(seconds: float) -> None:
    """Let so much time have passed whenever this process goes on after it was stopped."""
    slept, monotonic, perf_counter = 0.0, time.monotonic, time.perf_counter

    def sleep(*_: object) -> None:
        nonlocal slept
        slept += seconds

    if seconds:
        signal.signal(signal.SIGCONT, sleep)
        time.monotonic = lambda: monotonic() + slept
        trio._core._run.perf_counter = lambda: perf_counter() + slept  # type: ignore[attr-defined]


async def _translate(
    requests: list[dict[str, Any]], folder: Path, options: dict[str, Any], say: Callable[[str], None]
) -> None:
    settings = {name: options.pop(name) for name in CLIENT_SETTINGS if name in options}
    async with (
        AkoolClient(**{"retry": POLICY, "schedule": OFTEN} | settings) as client,
        open_journal(folder / "jobs.sqlite3") as journal,
        open_batch(
            client,
            [TranslationRequest(**request) for request in requests],
            journal=journal,
            download_to=folder,
            **options,
        ) as running,
    ):
        async for outcome in running:
            say(json.dumps(_event(outcome)))


def _event(outcome: Outcome) -> dict[str, Any]:
    return {
        "event": "ended",
        "at": datetime.now(UTC).isoformat(),
        "key": outcome.key,
        "target": outcome.target,
        "outcome": outcome_label(outcome),
        "job_id": None if outcome.job is None else outcome.job.id,
        "reason": outcome.reason,
        "earlier_run": isinstance(outcome, Completed) and outcome.resumed,
    }


class LogText(logging.Handler):
    """Keeps what the client logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def video(number: int, languages: str = "ja") -> dict[str, Any]:
    """Return the fields of a request."""
    return {"url": f"https://media.example/{number}.mp4", "targets": languages, "key": f"video-{number}"}


@dataclass
class Customer:
    """Runs the client again and again with one folder, and remembers all that it was told.

    Attributes:
        folder: holds the catalog, and in `out` the results and the journal.
        told: every outcome of every run.
        shown: everything that was printed.
    """

    vendor: Vendor
    folder: Path
    key: str
    told: list[Told] = field(default_factory=list)
    shown: str = ""
    runs: int = 0

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def journal(self) -> Path:
        return self.out / "jobs.sqlite3"

    def catalog(self, videos: int, *, languages: str = "ja", more: str = "") -> Path:
        """Write a catalog of so many videos, each in these languages."""
        path = self.folder / "catalog.csv"
        rows = [
            f'https://media.example/{number}.mp4,"{languages}",video-{number}' for number in range(videos)
        ]
        path.write_text("\n".join(["url,to,key", *rows, more]))
        return path

    def start(self, *arguments: object) -> Run:
        """Start the command line."""
        return self._start(command, ([str(one) for one in arguments],))

    def start_shell(self, *arguments: object) -> Run:
        """Start `python -m akool_async`."""
        return self._start(shell, ([str(one) for one in arguments],))

    def start_batch(self, backend: str, requests: list[dict[str, Any]], **options: Any) -> Run:
        self.out.mkdir(exist_ok=True)
        return self._start(batch, (backend, requests, self.out, options))

    def batch(self, *requests: dict[str, Any], backend: str = "asyncio", **options: Any) -> list[Told]:
        """Run a batch in this process; return its outcomes."""
        self.vendor.latest = None
        self.out.mkdir(exist_ok=True)
        lines: list[str] = []
        client = {"host": self.vendor.url} | ({} if "client_id" in options else {"api_key": self.key})
        log, logger = LogText(), logging.getLogger("akool_async")
        logger.addHandler(log)
        try:
            anyio.run(_translate, list(requests), self.out, client | options, lines.append, backend=backend)
        finally:
            logger.removeHandler(log)
            told = told_by_events("\n".join(lines))
            self.told += told
            self.shown += "\n".join([*lines, *log.lines])
        return told

    def _start(self, work: Any, arguments: tuple[Any, ...]) -> Run:
        self.runs += 1
        stdout, stderr = (self.folder / f"run-{self.runs}.{name}" for name in ("out", "err"))
        environment = {"AKOOL_API_HOST": self.vendor.url, "AKOOL_API_KEY": self.key}
        process = _FORKED.Process(target=work, args=(*arguments, environment, stdout, stderr))
        with self.vendor.starting:
            process.start()
            self.vendor.victim = self.vendor.latest = process.pid
            self.vendor.ledger.note("began", pid=process.pid)
        return Run(self, process, stdout, stderr)

    def run(self, *arguments: object) -> Run:
        """Run the command line to its end."""
        return self.start(*arguments).wait()


@dataclass
class Run:
    """One process of the client."""

    customer: Customer
    process: ForkServerProcess
    stdout: Path
    stderr: Path
    code: int = -1

    def wait(self, seconds: float = 200.0) -> Run:
        """Wait for its end, and take down what it said."""
        self.process.join(seconds)
        stuck = self.process.exitcode is None
        if stuck:
            self.process.kill()
            self.process.join()
        self.code = self.process.exitcode or 0
        self.customer.vendor.settle()
        self.customer.vendor.victim = None
        self.customer.vendor.ledger.note("ended", pid=self.process.pid, code=self.code)
        self.process.close()
        self.customer.told += told_by_events(self.out)
        self.customer.shown += self.out + self.err
        assert not stuck, f"the client did not end within {seconds:g} s:\n{self.err}"
        return self

    @property
    def out(self) -> str:
        return self.stdout.read_text() if self.stdout.exists() else ""

    @property
    def err(self) -> str:
        return self.stderr.read_text() if self.stderr.exists() else ""
