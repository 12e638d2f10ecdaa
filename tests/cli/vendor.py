"""A sandbox in a process of its own, whose time stands still: `python -m tests.cli.vendor KEY`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import attrs

from akool_async.sandbox import FakeClock, Fault, Sandbox, api
from akool_async.sandbox.fault_effects import wait_and_date
from akool_async.sandbox.faults import FaultKind
from akool_async.sandbox.http import HttpExchange


@attrs.frozen
class Vendor:
    """The way to steer it."""

    base_url: str
    cdn_url: str

    def advance(self, seconds: float) -> None:
        """Let time pass for its jobs."""
        self._call("POST", "advance", {"seconds": seconds})

    def let_jobs_end(self) -> None:
        """Let time pass if a job is at work: without one, results would expire while a busy machine waits."""
        if any(job["ended"] is None for job in self.ledger()["jobs"]):
            self.advance(1_000)

    def fault(self, **fields: Any) -> None:
        """Make something go wrong."""
        self._call("POST", "faults", fields)

    def ledger(self) -> dict[str, Any]:
        """What really happened."""
        return self._call("GET", "audit", None)

    def _call(self, method: str, path: str, fields: dict[str, Any] | None) -> dict[str, Any]:
        body = None if fields is None else json.dumps(fields).encode()
        request = urllib.request.Request(f"{self.cdn_url}/_sandbox/{path}", data=body, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)


@contextmanager
def served(key: str, **settings: Any) -> Iterator[Vendor]:
    """Run one until the block is left."""
    command = [sys.executable, "-m", "tests.cli.vendor", key, json.dumps(settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            assert said, "the vendor's process has ended"
            yield Vendor(*said.split())
        finally:
            process.kill()


async def wait_in_its_time(exchange: HttpExchange, faults: Iterable[Fault], now: float) -> None:
    """Take a call that a fault delays up when its clock was moved so far: its time is the only one."""
    delays, others = [], []
    for fault in faults:
        (delays if fault.kind is FaultKind.DELAY else others).append(fault)
    while clock() < now + sum(fault.seconds for fault in delays):
        await anyio.sleep(0.005)
    await wait_and_date(exchange, others, now)


if __name__ == "__main__":
    clock = FakeClock(time.time())
    api.wait_and_date = wait_in_its_time  # type: ignore[attr-defined]
    told = {"media": False, "sigma": 0.3, "progress": "linear"} | json.loads(sys.argv[2])
    Sandbox(api_key=sys.argv[1], control=True, clock=clock, **told).run(
        port=0, ready=lambda server: print(server.base_url, server.cdn_url, flush=True)
    )
