"""P9: what a download costs, by client and by how many files are downloaded at a time.

CPU time of the downloading process per MiB: `AkoolClient.download` (checked addresses, resumable part,
complete MP4, SHA-256, fsync, manifest) against bare clients that hash, write and fsync what comes, 256 KiB at
a time, and against curl, which only writes. One bare client also gives each file its name and a manifest, and
syncs both, which is what any program has to do that may not lose a file. What a file costs, however small it
is, is told apart: from the same bytes in 16 files and in one. The file host is another process, in which the
system sends a file by itself. The most memory that a client needs is measured in processes of their own.

Run alone: `python benchmarks/download.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import attrs
import frame
import httpx
from frame import Figures, Goal, goal

from akool_async import AkoolClient, Snapshot, Status

OURS, RAW, HTTPX, CURL = "akool_async", "raw aiohttp", "httpx as it comes", "curl"
DURABLE = "raw aiohttp, names and a manifest synced"
AT_A_TIME = (1, 4, 16)
BLOCK = 256 * 1024
MIB = 1024 * 1024

Save = Callable[[Path], Awaitable[object]]
"""Downloads the file to a path that does not exist."""


@attrs.frozen
class Clients:
    """The arms, open, of one file host."""

    arms: dict[str, Save]

    @classmethod
    async def open(cls, origin: str, stack: AsyncExitStack) -> Clients:
        url = f"{origin}/film.mp4"
        ours = await stack.enter_async_context(AkoolClient(api_key="k" * 20, host=origin))
        plain = await stack.enter_async_context(httpx.AsyncClient(timeout=60))
        raw = await stack.enter_async_context(aiohttp.ClientSession())

        async def by_ours(path: Path) -> object:
            done = Snapshot(job_id=path.stem, status=Status.COMPLETED, url=url)
            return await ours.download(done, into=path.parent)

        async def by_raw(path: Path) -> object:
            async with raw.get(url) as answer:
                with path.open("wb") as file:
                    digest = hashlib.sha256()
                    async for chunk in answer.content.iter_chunked(BLOCK):
                        digest.update(chunk)
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
            return digest.hexdigest()

        async def by_durable(path: Path) -> object:
            part = path.with_suffix(".part")
            digest = await by_raw(part)
            await asyncio.to_thread(publish, part, path)
            about = path.with_suffix(".about")
            about.write_text(json.dumps({"url": url, "sha256": digest}), encoding="utf-8")
            await asyncio.to_thread(sync, about)
            return await asyncio.to_thread(publish, about, path.with_suffix(".json"))

        async def by_httpx(path: Path) -> object:
            async with plain.stream("GET", url) as answer:
                with path.open("wb") as file:
                    digest = hashlib.sha256()
                    async for chunk in answer.aiter_bytes(BLOCK):
                        digest.update(chunk)
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
            return digest.hexdigest()

        async def by_curl(path: Path) -> object:
            process = await asyncio.create_subprocess_exec("curl", "-s", "-o", str(path), url)
            return await process.wait()

        arms: dict[str, Save] = {OURS: by_ours, RAW: by_raw, DURABLE: by_durable, HTTPX: by_httpx}
        return cls(arms | ({CURL: by_curl} if shutil.which("curl") else {}))


def sync(path: Path) -> None:
    """Make a file or a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(part: Path, path: Path) -> None:
    """Give a file its name, so that both survive a power cut."""
    part.rename(path)
    sync(path.parent)


@attrs.frozen
class Cost:
    """One round of one arm: CPU milliseconds per MiB, and seconds in all."""

    cpu: float
    seconds: float


def cpu() -> float:
    """Seconds that this process and those that it has waited for have used."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return frame.cpu() + children.ru_utime + children.ru_stime


async def cost(save: Save, size: int, at_a_time: int, folder: Path) -> Cost:
    """What it costs to download as many files at a time."""
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        paths = [Path(inside) / f"{number}.mp4" for number in range(at_a_time)]
        begin, used = time.perf_counter(), cpu()
        async with asyncio.TaskGroup() as tasks:
            for path in paths:
                tasks.create_task(save(path))
        found = Cost((cpu() - used) / (size * at_a_time / MIB) * 1000, time.perf_counter() - begin)
        assert {path.stat().st_size for path in paths} == {size}
    return found


Found = dict[int, dict[str, tuple[Figures, Figures]]]
"""By how many at a time and by client: CPU milliseconds per MiB, and seconds."""


async def measure(whole: int, rounds: int, folder: Path) -> Found:
    """Measure all arms; each round of each downloads `whole` bytes."""
    found: Found = {}
    wall: dict[str, list[float]] = {}
    for at_a_time in AT_A_TIME:
        size = whole // at_a_time
        with frame.vendor("--file", str(size)) as origin:
            async with AsyncExitStack() as stack:
                arms = (await Clients.open(origin, stack)).arms
                wall.update((name, []) for name in arms)

                def arm(name: str, save: Save, size: int = size, at: int = at_a_time) -> frame.Arm:
                    async def once() -> float:
                        seen = await cost(save, size, at, folder)
                        wall[name].append(seen.seconds)
                        return seen.cpu

                    return once

                figures = await frame.in_turns({name: arm(name, save) for name, save in arms.items()}, rounds)
        found[at_a_time] = {
            name: (figures[name], Figures(tuple(wall[name][1:]))) for name in figures
        }  # the first round only warms up
    return found


def memory(origin: str, name: str, folder: Path) -> float:
    """MiB that a new process has held at most, once it has downloaded one file."""
    return float(frame.alone(__file__, "--one", name, "--of", origin, "--into", folder))


async def one(name: str, origin: str, folder: Path) -> None:
    """Download one file, and print the most memory that this process has held, in MiB."""
    async with AsyncExitStack() as stack:
        save = (await Clients.open(origin, stack)).arms[name]
        with tempfile.TemporaryDirectory(dir=folder) as inside:
            await save(Path(inside) / "one.mp4")
    print(frame.peak_memory() / MIB)


def show(found: Found, held: dict[str, Figures], whole: int) -> None:
    print(f"{whole // MIB} MiB; CPU milliseconds per MiB, by how many files they are, all at a time:")
    names = [*found[1]]
    head = ("client", *(f"{at} at a time" for at in found), "ms a file", "seconds, 1 at a time", "MiB held")
    rows = [
        (
            name,
            *(each[name][0].told(2) for each in found.values()),
            fixed(found, name, whole).told(1),
            found[1][name][1].told(2),
            held[name].told(1) if name in held else "-",
        )
        for name in names
    ]
    frame.table(head, rows)


def fixed(found: Found, name: str, whole: int) -> Figures:
    """CPU milliseconds that each file costs beyond its bytes: 16 files against one with as many bytes."""
    few, many = min(found), max(found)
    pairs = zip(found[many][name][0].values, found[few][name][0].values, strict=True)
    return Figures(tuple((a - b) * whole / MIB / (many - few) for a, b in pairs))


def goals(found: Found, held: dict[str, Figures]) -> list[Goal]:
    used = {at: each[OURS][0].over(each[RAW][0]) for at, each in found.items()}
    durable = found[max(found)][OURS][0].over(found[max(found)][DURABLE][0])
    wall = found[1][OURS][1].over(found[1][RAW][1])
    more = Figures(tuple(a - b for a, b in zip(held[OURS].values, held[RAW].values, strict=True)))
    return [
        *(
            goal(f"CPU of a download / raw aiohttp, {at} at a time", ratio, 1.15)
            for at, ratio in used.items()
        ),
        goal(f"CPU of a download / {DURABLE}, {max(found)} at a time", durable, 1.15),
        goal("wall time of a download / raw aiohttp", wall, 1.1),
        goal("MiB held more than by raw aiohttp", more, 8),
    ]


def main() -> None:
    told = frame.arguments(
        __doc__,
        lambda parser: [parser.add_argument(option) for option in ("--one", "--of", "--into")],
    )
    frame.pin()
    if told.one:
        asyncio.run(one(told.one, told.of, Path(told.into)))
        return
    size, rounds = frame.extent(told, (MIB, 1), (512 * MIB, 3), (512 * MIB, 5))
    with tempfile.TemporaryDirectory() as name:
        found = asyncio.run(measure(size, rounds, Path(name)))
        with frame.vendor("--file", str(size)) as origin:
            held = {
                arm: Figures(tuple(memory(origin, arm, Path(name)) for _ in range(rounds)))
                for arm in (OURS, RAW, HTTPX)
            }
    show(found, held, size)
    frame.tell(goals(found, held), told.json)


if __name__ == "__main__":
    main()
