"""A small catalog, whole: what people write by hand, next to a batch.

Each arm submits every video, waits for each job and has its result's URL at the end; at most 20 jobs at
the vendor at once. By hand: httpx, a semaphore and a fixed sleep; aiometer over httpx; a pool of threads
with requests, as the vendor's samples do. None of them records what was paid, repeats what fails or
brings home what a crash left; the batch has its journal on disk.

Run alone: `python benchmarks/by_hand.py`.
"""

from __future__ import annotations

import asyncio
import functools
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

import aiometer
import attrs
import frame
import httpx
import requests
from frame import Figures, goal

from akool_async import AkoolClient, Completed, TranslationRequest, open_batch, open_journal
from akool_async._clock import SystemClock

OURS, SEMAPHORE, AIOMETER, THREADS = (
    "akool_async batch, journal on disk",
    "httpx + semaphore + fixed sleep",
    "aiometer + httpx",
    "threads + requests",
)
SLOTS = 20
SLEEP = 5.0
"""Seconds between polls that people write; here divided by how much faster than real jobs these are."""
FASTER = 30.0
SECONDS = 120.0 / FASTER
KEY = {"x-api-key": "k" * 20}
CREATE = "/api/open/v3/content/video/createbytranslate"
STATUS = "/api/open/v3/content/video/infobymodelid"


def body(number: int) -> dict[str, object]:
    url = f"https://example.com/{number}.mp4"
    return {"url": url, "source_language": "DEFAULT", "language": "ja", "lipsync": False}


async def one_by_httpx(client: httpx.AsyncClient, number: int) -> str:
    made = (await client.post(CREATE, json=body(number))).json()["data"]["_id"]
    while True:
        await asyncio.sleep(SLEEP / FASTER)
        seen = (await client.get(STATUS, params={"video_model_id": made})).json()["data"]
        if seen["video_status"] == 3:
            return str(seen["video"])


async def by_semaphore(origin: str, jobs: int) -> int:
    limit = asyncio.Semaphore(SLOTS)
    async with httpx.AsyncClient(base_url=origin, headers=KEY) as client:

        async def one(number: int) -> str:
            async with limit:
                return await one_by_httpx(client, number)

        return len(await asyncio.gather(*map(one, range(jobs))))


async def by_aiometer(origin: str, jobs: int) -> int:
    async with httpx.AsyncClient(base_url=origin, headers=KEY) as client:
        calls = [functools.partial(one_by_httpx, client, number) for number in range(jobs)]
        return len(await aiometer.run_all(calls, max_at_once=SLOTS))


def one_by_requests(origin: str, local: threading.local, number: int) -> str:
    if not hasattr(local, "session"):
        local.session = requests.Session()
        local.session.headers.update(KEY)
    made = local.session.post(origin + CREATE, json=body(number)).json()["data"]["_id"]
    while True:
        time.sleep(SLEEP / FASTER)
        seen = local.session.get(origin + STATUS, params={"video_model_id": made}).json()["data"]
        if seen["video_status"] == 3:
            return str(seen["video"])


async def by_threads(origin: str, jobs: int) -> int:
    local = threading.local()
    with ThreadPoolExecutor(SLOTS) as pool:
        one = functools.partial(one_by_requests, origin, local)
        return len(await asyncio.to_thread(lambda: list(pool.map(one, range(jobs)))))


class FastClock(SystemClock):
    """Time that goes so much faster, so that the package's own schedule is used as it is."""

    def monotonic(self) -> float:
        return super().monotonic() * FASTER

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / FASTER)


async def by_batch(origin: str, jobs: int) -> int:
    requests_ = (
        TranslationRequest(url=f"https://example.com/{number}.mp4", targets="ja") for number in range(jobs)
    )
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        client = await stack.enter_async_context(
            AkoolClient(api_key=KEY["x-api-key"], host=origin, clock=FastClock())
        )
        journal = await stack.enter_async_context(open_journal(folder / "jobs.sqlite3"))
        batch = await stack.enter_async_context(
            open_batch(client, requests_, max_in_flight=SLOTS, journal=journal)
        )
        return sum([isinstance(outcome, Completed) async for outcome in batch])


ARMS: dict[str, Callable[[str, int], Awaitable[int]]] = {
    OURS: by_batch,
    SEMAPHORE: by_semaphore,
    AIOMETER: by_aiometer,
    THREADS: by_threads,
}


@attrs.frozen
class Round:
    """One arm, once."""

    cpu: float
    seconds: float
    polls: float


async def one_round(arm: str, jobs: int) -> Round:
    options = ("--seconds", str(SECONDS), "--sigma", "0.6")
    with frame.vendor(*options) as origin:
        begin, used = time.perf_counter(), frame.cpu()
        home = await ARMS[arm](origin, jobs)
        used, seconds = frame.cpu() - used, time.perf_counter() - begin
        counts = (await asyncio.to_thread(requests.get, f"{origin}/counts")).json()
    assert home == counts["made"] == jobs, (arm, home, counts)
    return Round(used / jobs * 1e3, seconds, counts["polls"] / jobs)


async def measure(jobs: int, rounds: int) -> dict[str, list[Round]]:
    found: dict[str, list[Round]] = {arm: [] for arm in ARMS}
    for _ in range(rounds):
        for arm, done in found.items():
            done.append(await one_round(arm, jobs))
    return found


def figures(rounds: list[Round], name: str) -> Figures:
    return Figures(tuple(getattr(each, name) for each in rounds))


def main() -> None:
    told = frame.arguments(__doc__)
    frame.pin()
    jobs, rounds = frame.extent(told, (4, 1), (40, 1), (100, 2))
    found = asyncio.run(measure(jobs, rounds))
    print(
        f"{jobs} videos, {SLOTS} at the vendor at once, jobs of {SECONDS:g} s (median) instead of 120 s,"
        f" polls in proportion: by hand every {SLEEP / FASTER:g} s instead of every {SLEEP:g} s:"
    )
    rows = [
        (
            arm,
            figures(each, "cpu").told(1),
            figures(each, "polls").told(1),
            figures(each, "seconds").told(1),
        )
        for arm, each in found.items()
    ]
    frame.table(("way", "CPU ms a video", "polls a video", "seconds for all"), rows)
    ours, peer = found[OURS], found[SEMAPHORE]
    goals = [
        goal("polls: batch / httpx + fixed sleep", figures(ours, "polls").over(figures(peer, "polls")), 0.6),
        goal(
            "wall time: batch / httpx + fixed sleep",
            figures(ours, "seconds").over(figures(peer, "seconds")),
            1.1,
        ),
        goal("CPU: batch / httpx + fixed sleep", figures(ours, "cpu").over(figures(peer, "cpu")), 1.0),
    ]
    frame.tell(goals, told.json)


if __name__ == "__main__":
    main()
