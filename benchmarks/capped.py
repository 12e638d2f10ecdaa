"""P4: how long 1,000 jobs take through `open_batch` when the account has ten at work at once.

The whole batch, journal included, against the sandbox's engine inside the process, in virtual time: a job
whose end is seen late keeps its place, and the next one waits. The lower bound is the same jobs in the
same order, each place taken again in the moment in which it becomes free. Then three schedules over real
sockets, with everything 60 times faster.

Run alone: `python benchmarks/capped.py`.
"""

from __future__ import annotations

import argparse
import heapq
import statistics
from collections.abc import Iterator, Sequence
from typing import Final

import anyio
import attrs
import frame
import httpx
import trio
import trio.testing
import virtual
from frame import Figures, Goal, goal

from akool_async import (
    AdaptiveSchedule,
    AkoolClient,
    Completed,
    PollContext,
    PollResult,
    PollSchedule,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async._polling.poll_state import NEW, UNKNOWN, append
from akool_async.sandbox import Sandbox
from akool_async.sandbox.settings import SandboxClock, ShapeName

CAP: Final = 10
ARMS: Final = (virtual.OURS, virtual.FIVE, virtual.PATIENT)
KEY: Final = "sandbox-test-key"
FASTER: Final = 60.0


@attrs.frozen
class Ran:
    """How one batch went."""

    makespan: float
    """Seconds until the last outcome, over those of the lower bound."""
    polls: float
    lag: float
    late: float


def least(spans: Sequence[float]) -> float:
    """Seconds that jobs of such lengths take, in this order, if each place is taken again at once."""
    ends = [0.0] * CAP
    for span in spans:
        heapq.heappush(ends, heapq.heappop(ends) + span)
    return max(ends)


def requests(jobs: int) -> Iterator[TranslationRequest]:
    return (TranslationRequest(url=f"https://example.com/{n}.mp4", targets="ja") for n in range(jobs))


def sandbox_of(seed: int, shape: ShapeName, **settings: SandboxClock | float) -> Sandbox:
    return Sandbox(api_key=KEY, media=False, seed=seed, max_jobs=CAP, progress=shape, **settings)


async def run(client: AkoolClient, sandbox: Sandbox, jobs: int) -> Ran:
    """Run the batch and compare with the sandbox's truth; times are the sandbox's."""
    began = sandbox.clock()
    async with (
        open_journal(":memory:") as journal,
        open_batch(client, requests(jobs), max_in_flight=CAP, journal=journal) as batch,
    ):
        outcomes = [outcome async for outcome in batch]
    took = sandbox.clock() - began
    made, polls = sandbox.audit.jobs, sandbox.audit.polled
    if len(outcomes) != jobs or not all(isinstance(outcome, Completed) for outcome in outcomes):
        raise RuntimeError("Not every job was brought home.")
    lags = sorted(sandbox.audit.polls(job.id)[-1] - job.ended for job in made)
    return Ran(
        took / least([job.ended - job.started for job in made]),
        sum(polls.values()) / jobs,
        statistics.mean(lags),
        lags[int(0.95 * jobs)],
    )


# In virtual time.


def in_no_time(name: str, shape: ShapeName, seed: int, jobs: int) -> Ran:
    """Run one batch on a clock that jumps."""

    async def main() -> Ran:
        start = virtual.EPOCH.timestamp()
        sandbox = sandbox_of(seed, shape, clock=lambda: start + trio.current_time())
        http = httpx.AsyncClient(transport=sandbox.http_transport(), trust_env=False)
        clock = virtual.VirtualClock(seed)
        async with (
            http,
            sandbox.client(http_client=http, clock=clock, schedule=virtual.schedule(name)) as client,
        ):
            return await run(client, sandbox, jobs)

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def measure(jobs: int, seeds: int) -> dict[tuple[str, str], list[Ran]]:
    """Run each schedule with progress as it is usual and with none, in turns."""
    found: dict[tuple[str, str], list[Ran]] = {}
    for seed in range(seeds):
        for shape in ("stall", "none"):
            for name in ARMS:
                if shape == "stall" or name == virtual.OURS:
                    found.setdefault((name, shape), []).append(in_no_time(name, shape, seed, jobs))
    return found


# In real time.


class Hurried:
    """A schedule in a world that is so many times faster."""

    def __init__(self, schedule: PollSchedule, times: float) -> None:
        self._schedule = schedule
        self._times = times

    def next_poll(self, facts: PollContext, spread: float) -> float:
        slow = attrs.evolve(facts, elapsed=facts.elapsed * self._times, stalled=facts.stalled * self._times)
        return self._schedule.next_poll(slow, spread) / self._times

    def learn(self, seen: PollResult) -> None:
        if isinstance(self._schedule, AdaptiveSchedule):
            trail = UNKNOWN
            for elapsed, progress in seen.reports:
                trail = append(trail, elapsed * self._times, progress) if elapsed else NEW
            self._schedule.learn(attrs.evolve(seen, elapsed=seen.elapsed * self._times, history=trail))


async def in_real_time(name: str, jobs: int, faster: float) -> Ran:
    """Run one batch over real sockets."""
    sandbox = sandbox_of(0, "stall", time_scale=faster)
    schedule = Hurried(virtual.schedule(name), faster)
    async with (
        sandbox.serve() as server,
        AkoolClient(api_key=KEY, host=server.base_url, schedule=schedule) as client,
    ):
        return await run(client, sandbox, jobs)


# How it is told.


def column(found: Sequence[Ran], name: str) -> Figures:
    return Figures(tuple(getattr(each, name) for each in found))


COLUMNS: Final = (("makespan", 3), ("polls", 1), ("lag", 2), ("late", 1))
HEAD: Final = ("schedule", "progress", "makespan / lower bound", "polls per job", "mean lag s", "p95 lag s")


def show(found: dict[tuple[str, str], list[Ran]]) -> None:
    frame.table(
        HEAD,
        [
            (name, shape, *(column(each, which).told(digits) for which, digits in COLUMNS))
            for (name, shape), each in found.items()
        ],
    )


def goals(found: dict[tuple[str, str], list[Ran]]) -> list[Goal]:
    ours, even, patient = (found[name, "stall"] for name in ARMS)
    makespan, blind = column(ours, "makespan"), column(found[virtual.OURS, "none"], "makespan")
    return [
        goal("makespan / lower bound", makespan, 1.02),
        goal("makespan / lower bound, no progress", blind, 1.02),
        goal(f"makespan / {virtual.PATIENT}", makespan.over(column(patient, "makespan")), 0.92),
        goal(f"makespan / {virtual.FIVE}", makespan.over(column(even, "makespan")), 1.0),
        goal(f"polls / {virtual.FIVE}", column(ours, "polls").over(column(even, "polls")), 0.25),
    ]


def main() -> None:
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--jobs", type=int, help="jobs in each batch in virtual time")
        parser.add_argument("--seeds", type=int, help="batches of each schedule")

    told = frame.arguments(__doc__, add)
    jobs = told.jobs or frame.extent(told, 20, 150, 1000)
    seeds = told.seeds or frame.extent(told, 1, 1, 3)
    found = measure(jobs, seeds)
    print(f"{jobs:,} jobs, cap {CAP}, in virtual time; medians of {seeds} seeds (smallest-largest):")
    show(found)
    few, faster = frame.extent(told, (2, 1000.0), (15, FASTER), (40, FASTER))
    real = {(name, "stall"): [anyio.run(in_real_time, name, few, faster)] for name in ARMS}
    print(f"\n{few} jobs over real sockets, everything {faster:g} times faster, times as if it were not:")
    show(real)
    frame.tell(goals(found), told.json)


if __name__ == "__main__":
    main()
