"""P1: what one poll costs, by client and by how many are asked at a time.

CPU time of the asking process per poll: `AkoolClient.status` (typed answer, retries, deadline,
credentials) against bare clients that decode JSON and know nothing else. The answers are ready-made bytes
from bare sockets, so that none of the clients waits for the vendor, which would hide what it costs. Then
1,000 at once: what fails, and how long it takes.

Run alone: `python benchmarks/poll.py`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp
import attrs
import frame
import httpx
from frame import Figures, Goal, goal
from httpx_aiohttp import AiohttpTransport

from akool_async import AkoolClient
from akool_async._http.clients import MAX_FAST_CONNECTIONS

OURS, HTTPX, OVER, RAW = "akool_async", "httpx as it comes", "httpx + httpx-aiohttp", "raw aiohttp"
AT_A_TIME = (1, 10, 100, 1000)
COLLAPSED = 100
"""More at a time than this, httpx as it comes fails: it is asked 1,000 at once only once, at the end."""
MANY = 1000
SLOW = 0.05
KEY = {"x-api-key": "k" * 20}
PATH = "/api/open/v3/content/video/infobymodelid"

Ask = Callable[[str], Awaitable[object]]


@attrs.frozen
class Clients:
    """The arms, open, of one vendor."""

    arms: dict[str, Ask]

    @classmethod
    async def open(cls, origin: str, stack: AsyncExitStack) -> Clients:
        url = f"{origin}{PATH}"
        ours = await stack.enter_async_context(AkoolClient(api_key=KEY["x-api-key"], host=origin))
        plain = await stack.enter_async_context(httpx.AsyncClient(headers=KEY))
        over = await stack.enter_async_context(httpx.AsyncClient(headers=KEY, transport=AiohttpTransport()))
        raw = await stack.enter_async_context(aiohttp.ClientSession(headers=KEY))

        async def by_raw(job_id: str) -> object:
            async with raw.get(url, params={"video_model_id": job_id}) as answer:
                return await answer.json()

        def by(client: httpx.AsyncClient) -> Ask:
            async def ask(job_id: str) -> object:
                return (await client.get(url, params={"video_model_id": job_id})).json()

            return ask

        return cls({OURS: ours.status, HTTPX: by(plain), OVER: by(over), RAW: by_raw})


JOB = f"{int(time.time() * 1000):012x}ffffff000000"
"""The id of a job that began just now and takes hours."""


async def cost(ask: Ask, polls: int, at_a_time: int) -> float:
    """CPU microseconds per poll."""
    left = iter(range(polls))

    async def worker() -> None:
        for _ in left:
            await ask(JOB)

    begin = frame.cpu()
    async with asyncio.TaskGroup() as workers:
        for _ in range(at_a_time):
            workers.create_task(worker())
    return (frame.cpu() - begin) / polls * 1e6


async def all_at_once(ask: Ask) -> tuple[float, int]:
    """Seconds for 1,000 polls begun together, and how many failed."""
    begin = time.perf_counter()
    came = await asyncio.gather(*(ask(JOB) for _ in range(MANY)), return_exceptions=True)
    return time.perf_counter() - begin, sum(isinstance(each, BaseException) for each in came)


Costs = dict[int, dict[str, Figures]]


def arm(ask: Ask, at_a_time: int, polls: int) -> frame.Arm:
    return lambda: cost(ask, max(polls, at_a_time), at_a_time)


async def costs(clients: Clients, polls: int, rounds: int) -> Costs:
    arms = {
        (name, at_a_time): arm(ask, at_a_time, polls)
        for at_a_time in AT_A_TIME
        for name, ask in clients.arms.items()
        if name != HTTPX or at_a_time <= COLLAPSED
    }
    found = await frame.in_turns(arms, rounds)
    return {
        at_a_time: {name: figures for (name, at), figures in found.items() if at == at_a_time}
        for at_a_time in AT_A_TIME
    }


@attrs.frozen
class Crowd:
    """1,000 at once, of one client: the wall time of each round, and failures of all rounds together."""

    seconds: Figures
    failed: int


async def crowds_of(arms: dict[str, Ask], rounds: int) -> dict[str, Crowd]:
    """Let the clients take turns, so that a machine with other work on it delays all of them."""
    seen: dict[str, list[tuple[float, int]]] = {name: [] for name in arms}
    for number in range(rounds):
        names = [*arms]
        for name in names[number % len(names) :] + names[: number % len(names)]:
            seen[name].append(await all_at_once(arms[name]))
    return {
        name: Crowd(Figures(tuple(seconds for seconds, _ in each)), sum(failed for _, failed in each))
        for name, each in seen.items()
    }


async def measure(
    polls: int, rounds: int, crowds: int, *, collapse: bool
) -> tuple[Costs, dict[str, Crowd], dict[str, Crowd]]:
    with frame.vendor("--fixed", JOB) as origin, frame.vendor("--delay", str(SLOW)) as slow:
        async with AsyncExitStack() as stack:
            clients = await Clients.open(origin, stack)
            found = await costs(clients, polls, rounds)
            arms = clients.arms
            at_once = await crowds_of({name: arms[name] for name in (OURS, OVER, RAW)}, crowds)
            if collapse:
                at_once |= await crowds_of({HTTPX: arms[HTTPX]}, 1)
        async with AsyncExitStack() as stack:
            clients = await Clients.open(slow, stack)
            late = await crowds_of({name: clients.arms[name] for name in (OURS, OVER, RAW)}, crowds)
    return found, at_once, late


def show(found: Costs, at_once: dict[str, Crowd], late: dict[str, Crowd]) -> None:
    names = [*found[1]]
    print("CPU microseconds of the asking process per poll, by how many are asked at a time:")
    rows = [
        (name, *(each[name].told() if name in each else "see below" for each in found.values()))
        for name in names
    ]
    frame.table(("client", *(f"{at_a_time:,} at a time" for at_a_time in found)), rows)
    print(f"\n{MANY:,} asked at once; the vendor answers at once, or takes {SLOW * 1000:g} ms:")
    rows = [
        (
            name,
            at_once[name].seconds.told(2) if name in at_once else "-",
            f"{at_once[name].failed}" if name in at_once else "-",
            late[name].seconds.told(2) if name in late else "-",
        )
        for name in names
    ]
    frame.table(("client", "seconds", "failed", f"seconds at {SLOW * 1000:g} ms"), rows)


def goals(found: Costs, at_once: dict[str, Crowd], late: dict[str, Crowd]) -> list[Goal]:
    ours = {at_a_time: each[OURS] for at_a_time, each in found.items()}
    flat = max((ours[at_a_time].over(ours[10]) for at_a_time in (100, 1000)), key=lambda ratio: ratio.median)
    over = {at_a_time: ours[at_a_time].over(found[at_a_time][OVER]) for at_a_time in AT_A_TIME}
    waves = math.ceil(MANY / MAX_FAST_CONNECTIONS) * SLOW
    wall = at_once[OURS].seconds.over(at_once[OVER].seconds)
    slow = Figures(tuple(seconds / waves for seconds in late[OURS].seconds.values))
    failed = at_once[OURS].failed + late[OURS].failed
    return [
        goal("status / httpx as it comes, 10 at a time", ours[10].over(found[10][HTTPX]), 0.38),
        goal("status / httpx as it comes, 100 at a time", ours[100].over(found[100][HTTPX]), 0.165),
        *(
            goal(f"status / httpx + httpx-aiohttp, {at:,} at a time", ratio, 1.0)
            for at, ratio in over.items()
        ),
        goal("status, 100 or 1,000 at a time / 10 at a time", flat, 1.15),
        goal("1,000 at once: failed", float(failed), 0),
        goal(f"1,000 at once: wall time / {OVER}", wall, 1.0),
        goal(
            f"1,000 at once, 50 ms each: wall time / full use of {MAX_FAST_CONNECTIONS} connections", slow, 3
        ),
    ]


def main() -> None:
    told = frame.arguments(__doc__)
    frame.pin()
    polls, rounds, crowds = frame.extent(told, (10, 1, 1), (300, 3, 2), (300, 15, 5))
    collapse = not (told.quick or told.smallest)
    found, at_once, late = asyncio.run(measure(polls, rounds, crowds, collapse=collapse))
    show(found, at_once, late)
    frame.tell(goals(found, at_once, late), told.json)
    if told.plot is not None:
        names = [*found[1]]
        lines = {
            name: {at: each[name].median for at, each in found.items() if name in each} for name in names
        }
        frame.draw(told.plot, "CPU of one poll", "polls at a time", "CPU µs per poll", lines)


if __name__ == "__main__":
    main()
