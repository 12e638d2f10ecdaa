"""P2: what a job in flight costs: memory of a batch that waits for N jobs, its journal open on disk.

Against one anyio task per job, which is what a task group and a sleep make: each holds its request and
the id of its job and sleeps until its next poll. The batch's client is real; only its exchanges with the
vendor are answered in this process. Every job was asked about once when memory is read.
Then 10,000 jobs without a cap against a vendor in a process of its own, over real connections.

Run alone: `python benchmarks/waiting.py`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import tempfile
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import aiohttp
import anyio
import anyio.lowlevel
import attrs
import frame
import vendor
from frame import goal

from akool_async import (
    AkoolClient,
    Batch,
    Completed,
    FixedSchedule,
    PollContext,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async._clock import SystemClock
from akool_async._http import ApiCall
from akool_async._polling.scheduler import LONGEST_WAIT
from akool_async._wire import Envelope, read_envelope

BATCH, TASKS = "akool_async batch", "an anyio task per job"
HOURS = 1e6
FEW = 10
TRACED = 10_000
"""Jobs up to which Python's own objects are counted; above, the memory of the process is."""


T = TypeVar("T")


class Answers:
    """The vendor, within this process: it gives bodies as they come over the wire."""

    def __init__(self) -> None:
        self.jobs = vendor.Jobs(HOURS, 0.0)
        self.asked = 0
        self.server_time = SystemClock()

    async def wait_ready(self) -> None:
        """Nothing to wait for."""

    def close(self) -> None:
        """Nothing to close."""

    async def send_paid(self, call: ApiCall) -> Envelope:
        await anyio.lowlevel.checkpoint()
        target, sent = call.path, b""
        if call.payload is None:
            self.asked += 1
            target = f"?video_model_id={call.query['video_model_id']}"
        else:
            sent = json.dumps(dict(call.payload)).encode()
        answer = self.jobs.answer(target, sent)
        self.jobs.asked.clear()  # what the vendor keeps of a job is not what a job in flight costs
        return read_envelope(json.dumps(answer).encode())

    async def call(self, call: ApiCall, read: Callable[[Envelope], T]) -> T:
        return read(await self.send_paid(call))


@attrs.frozen
class Once:
    """Asks about each job once, soon, and then not for a long time."""

    first: float

    def next_poll(self, context: PollContext, rand: float) -> float:
        return LONGEST_WAIT if context.polls else self.first


def requests(jobs: int) -> Iterator[TranslationRequest]:
    for number in range(jobs):
        url = f"https://example.com/talks/{number}.mp4"
        yield TranslationRequest(url=url, targets="ja", key=f"video-{number}")


@asynccontextmanager
async def waiting_batch(jobs: int) -> AsyncIterator[None]:
    """A batch with so many jobs in flight, each asked about once."""
    answers = Answers()
    with tempfile.TemporaryDirectory() as folder:
        async with (
            AkoolClient(api_key="k" * 20, host="http://127.0.0.1:1", schedule=Once(0.5)) as client,
            open_journal(Path(folder) / "jobs.sqlite3") as journal,
        ):
            client.session.connections = attrs.evolve(client.session.opened, api=answers)
            async with open_batch(
                client, requests(jobs), max_in_flight=jobs, journal=journal, max_submits=50
            ) as batch:
                while answers.asked < jobs:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.05)
                # Were some asked about twice, others would be missing, and each would seem to need less.
                assert batch.statistics().in_flight == answers.asked == jobs
                yield


@asynccontextmanager
async def waiting_tasks(jobs: int) -> AsyncIterator[None]:
    """So many tasks, each of which holds a request and the id of its job, and sleeps."""

    async def follow(request: TranslationRequest, job_id: str) -> None:
        while True:
            await anyio.sleep(HOURS)
            print(request, job_id)

    async with anyio.create_task_group() as tasks:
        for number, request in enumerate(requests(jobs)):
            tasks.start_soon(follow, request, f"{number:024x}")
        await asyncio.sleep(0.05)
        yield
        tasks.cancel_scope.cancel()


ARMS = {BATCH: waiting_batch, TASKS: waiting_tasks}


async def held(arm: str, jobs: int) -> float:
    """Bytes that each further job takes, when there are some already."""
    gc.collect()
    traced = jobs <= TRACED
    sizes = []
    for number in (FEW, jobs):
        async with ARMS[arm](FEW):  # what is imported and cached once is there before
            pass
        gc.collect()
        if traced:
            tracemalloc.start()
        before = frame.memory()
        async with ARMS[arm](number):
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0] if traced else frame.memory() - before)
        tracemalloc.stop()
    return (sizes[1] - sizes[0]) / (jobs - FEW)


def apart(arm: str, jobs: int) -> float:
    """The same in a process of its own, where nothing was freed before."""
    return float(frame.alone(__file__, "--arm", arm, "--jobs", jobs))


@attrs.frozen
class Run:
    """A whole run with very many in flight."""

    jobs: int
    most: int
    completed: int
    cpu: float
    seconds: float
    polls: float
    memory: float


async def really(origin: str, jobs: int, interval: float) -> Run:
    """Bring home so many jobs, none of them held back."""
    begin, cpu, memory = asyncio.get_running_loop().time(), frame.cpu(), frame.memory()
    most = completed = 0
    with tempfile.TemporaryDirectory() as folder:
        async with (
            AkoolClient(api_key="k" * 20, host=origin, schedule=FixedSchedule(interval=interval)) as client,
            open_journal(Path(folder) / "jobs.sqlite3") as journal,
            open_batch(client, requests(jobs), max_in_flight=jobs, journal=journal, max_submits=16) as batch,
        ):
            async for outcome in batch:
                most = max(most, in_flight(batch) + 1)
                completed += isinstance(outcome, Completed)
            used = frame.memory() - memory
    seconds = asyncio.get_running_loop().time() - begin
    async with aiohttp.ClientSession() as session, session.get(f"{origin}/counts") as answer:
        polls = (await answer.json())["polls"]
    return Run(jobs, most, completed, frame.cpu() - cpu, seconds, polls / jobs, used / jobs)


def in_flight(batch: Batch) -> int:
    return batch.statistics().in_flight


def add(parser: object) -> None:
    parser.add_argument("--arm", help="measure this one alone, here")  # type: ignore[attr-defined]
    parser.add_argument("--jobs", type=int, default=1000)  # type: ignore[attr-defined]


def main() -> None:
    told = frame.arguments(__doc__, add)
    frame.pin()
    if told.arm:
        print(asyncio.run(held(told.arm, told.jobs)))
        return
    sizes = frame.extent(told, (20, 40), (1000, 3000), (1000, 10_000, 100_000))
    found = {arm: {jobs: apart(arm, jobs) for jobs in sizes} for arm in ARMS}
    print("Bytes per waiting job (up to 10,000 jobs Python's objects, above the memory of the process):")
    rows = [(arm, *(f"{each[jobs]:,.0f}" for jobs in sizes)) for arm, each in found.items()]
    frame.table(("way", *(f"{jobs:,} jobs" for jobs in sizes)), rows)

    jobs = frame.extent(told, 10, 300, 10_000)
    with frame.vendor("--seconds", frame.extent(told, "0.1", "5", "300")) as origin:
        interval = frame.extent(told, 0.5, 20.0, 20.0)
        run = asyncio.run(really(origin, jobs, interval))
    print(f"\n{jobs:,} jobs over real connections, none held back, polled every {interval:g} s:")
    head = ("most in flight", "completed", "seconds", "CPU ms a job", "polls a job", "KiB a job, all told")
    cost = f"{run.cpu / jobs * 1e3:.1f}"
    told_run = (f"{run.most:,}", f"{run.completed:,}", f"{run.seconds:.0f}", cost, f"{run.polls:.1f}")
    frame.table(head, [(*told_run, f"{run.memory / 1024:.1f}")])

    goals = [goal(f"KiB of a job in flight, {jobs:,} jobs", found[BATCH][jobs] / 1024, 1.5) for jobs in sizes]
    goals += [
        goal(f"batch / {TASKS}, {jobs:,} jobs", found[BATCH][jobs] / found[TASKS][jobs], 0.35)
        for jobs in sizes
    ]
    goals.append(goal(f"of {jobs:,} without a cap: not completed", float(jobs - run.completed), 0))
    frame.tell(goals, told.json)
    if told.plot is not None:
        frame.draw(told.plot, "Memory of a waiting job", "jobs in flight", "bytes a job", found)


if __name__ == "__main__":
    main()
