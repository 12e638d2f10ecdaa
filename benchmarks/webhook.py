"""P7: polls per job and how late ends are seen, with callbacks and without, over real sockets.

Three arms at the same time, for all that each does is wait: a batch that hears the vendor's webhooks through
the receiver (served by uvicorn), the same batch without, and a fixed poll every 5 s. Everything runs so many
times faster that a job takes seconds; times are told as if it did not, so what sockets and event loops take
counts as many times.

Run alone: `python benchmarks/webhook.py`.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import anyio
import attrs
import frame
import uvicorn
from frame import goal

from akool_async import AkoolClient, Completed, FixedSchedule, TranslationRequest, open_batch, open_journal
from akool_async.sandbox import Sandbox
from akool_async.webhook import WebhookReceiver

KEY: Final = "sandbox-key-of-24-letter"
CAP: Final = 20
HEARS, ALONE, FIVE = "learned, with callbacks", "learned, without", "fixed 5 s, without"


class FasterClock:
    """A clock on which everything is so many times faster."""

    def __init__(self, times: float) -> None:
        self._times = times
        self._began = datetime.now(UTC), time.monotonic()

    def monotonic(self) -> float:
        return anyio.current_time() * self._times

    def now(self) -> datetime:
        began, then = self._began
        return began + timedelta(seconds=(time.monotonic() - then) * self._times)

    def random(self) -> float:
        return 0.5

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(max(seconds, 0.0) / self._times)


@contextmanager
def served(app: WebhookReceiver) -> Iterator[str]:
    """Serve the receiver with uvicorn in a thread; give where the vendor shall call."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/akool"
    finally:
        server.should_exit = True
        thread.join()


@attrs.frozen
class Ran:
    """What one batch cost; seconds are the sandbox's."""

    polls: float
    lags: tuple[float, ...]

    @property
    def lag(self) -> float:
        return statistics.mean(self.lags)

    @property
    def late(self) -> float:
        return sorted(self.lags)[int(0.95 * len(self.lags))]


async def run(arm: str, jobs: int, times: float, url: str, receiver: WebhookReceiver) -> Ran:
    """Run one batch and compare with the sandbox's truth."""
    sandbox = Sandbox(api_key=KEY, media=False, max_jobs=CAP, time_scale=times, seed=1)
    told: dict[str, Any] = {"callbacks": receiver, "webhook_url": url} if arm == HEARS else {}
    schedule = FixedSchedule(interval=5.0) if arm == FIVE else None
    requests = (TranslationRequest(url=f"https://example.com/{n}.mp4", targets="ja") for n in range(jobs))
    async with (
        sandbox.serve() as server,
        AkoolClient(api_key=KEY, host=server.base_url, clock=FasterClock(times), schedule=schedule) as client,
        open_journal(":memory:") as journal,
        open_batch(client, requests, max_in_flight=CAP, journal=journal, **told) as batch,
    ):
        outcomes = [outcome async for outcome in batch]
    if len(outcomes) != jobs or not all(isinstance(outcome, Completed) for outcome in outcomes):
        raise RuntimeError("Not every job was brought home.")
    lags = tuple(sandbox.audit.polls(job.id)[-1] - job.ended for job in sandbox.audit.jobs)
    return Ran(sum(sandbox.audit.polled.values()) / jobs, lags)


async def measure(jobs: int, times: float) -> dict[str, Ran]:
    """Run the arms together."""
    found: dict[str, Ran] = {}

    async def keep(arm: str, url: str, receiver: WebhookReceiver) -> None:
        found[arm] = await run(arm, jobs, times, url, receiver)

    async with WebhookReceiver(client_id="sandbox-client-id", client_secret=KEY) as receiver:
        with served(receiver) as url:
            async with anyio.create_task_group() as arms:
                for arm in (HEARS, ALONE, FIVE):
                    arms.start_soon(keep, arm, url, receiver)
    return found


def main() -> None:
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--jobs", type=int, help="jobs in each batch")
        parser.add_argument("--times", type=float, help="how many times faster everything is")

    told = frame.arguments(__doc__, add)
    jobs = told.jobs or frame.extent(told, 4, 60, 120)
    times = told.times or frame.extent(told, 60.0, 8.0, 8.0)
    found = anyio.run(measure, jobs, times)
    hears, alone, five = found[HEARS], found[ALONE], found[FIVE]
    print(f"{jobs} jobs, cap {CAP}, over real sockets, everything {times:g} times faster:")
    frame.table(
        ("arm", "polls per job", "mean lag s", "p95 lag s"),
        [
            (arm, f"{each.polls:.2f}", f"{each.lag:.2f}", f"{each.late:.2f}")
            for arm, each in sorted(found.items(), key=lambda item: item[1].polls)
        ],
    )
    goals = [
        goal("polls per job with callbacks", hears.polls, 1.5),
        goal("mean lag with callbacks, seconds", hears.lag, 0.2),
        goal("polls / without", hears.polls / alone.polls, 1.0),
        goal("mean lag / without", hears.lag / alone.lag, 1.0),
        goal(f"polls / {FIVE}", hears.polls / five.polls, 0.1),
    ]
    frame.tell(goals, told.json)


if __name__ == "__main__":
    main()
