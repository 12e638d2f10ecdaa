"""The demo: three real videos, two languages each, through real HTTP on this machine, checked.

Everything that it does to the vendor goes through the public client; only the vendor is imitated.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

import anyio
import attrs
from anyio.abc import TaskGroup
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from akool_async._client import AkoolClient
from akool_async._core.errors import AkoolError
from akool_async._core.models import Job
from akool_async._core.outcomes import Saved
from akool_async._core.requests import CaptionType, TranslationRequest
from akool_async._core.schedule import FixedSchedule
from akool_async.sandbox import Sandbox
from akool_async.sandbox.media import probe, sample_video

TITLES: Final = ("first light", "short talk", "long goodbye")
TARGETS: Final = ("ja", "fr")
KEY: Final = "sandbox-key-of-the-demo"
POLL: Final = FixedSchedule(interval=0.3)


@attrs.frozen
class Row:
    """One result in the table at the end.

    Attributes:
        name: of the files, without ending.
        target: the language.
        saved: the files, if they came home.
        verdict: what was found in them.
        good: whether everything that was asked for is there.
    """

    name: str
    target: str
    saved: Saved | None
    verdict: str
    good: bool


def run_demo(out: Path, *, minutes: float, talk: Console) -> int:
    """Run the demo; give 0 if every file is there and plays, else 1."""
    talk.print(f"Three videos into {' and '.join(TARGETS)}, against a sandbox on this machine.")
    with tempfile.TemporaryDirectory() as folder, _video_host(Path(folder)) as videos:
        rows = anyio.run(functools.partial(_translate_all, videos, out, minutes=minutes, talk=talk))
    talk.print(_table(rows, out))
    bad = sum(not row.good for row in rows)
    if bad or len(rows) != len(TITLES) * len(TARGETS):
        talk.print(f"[red]{bad} of {len(rows)} results are missing or broken.[/]")
        return 1
    talk.print(f"All {len(rows)} results are in {out}/ and play.")
    return 0


@contextlib.contextmanager
def _video_host(folder: Path) -> Iterator[list[str]]:
    """Make the videos and serve them on a free loopback port; give their URLs."""
    for number, title in enumerate(TITLES):
        name = title.replace(" ", "-")
        (folder / f"{name}.mp4").write_bytes(sample_video(seconds=3.0 + number, seed=number))
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, name="videos", daemon=True)
    thread.start()
    try:
        origin = f"http://127.0.0.1:{server.server_port}"
        yield [f"{origin}/{title.replace(' ', '-')}.mp4" for title in TITLES]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing about requests."""


async def _translate_all(videos: list[str], out: Path, *, minutes: float, talk: Console) -> list[Row]:
    sandbox = Sandbox(
        api_key=KEY, max_jobs=4, median_seconds=minutes * 60, sigma=0.4, time_scale=minutes * 60 / 4
    )
    rows: list[Row] = []
    async with (
        sandbox.serve() as server,
        AkoolClient(api_key=KEY, host=server.base_url, schedule=POLL) as client,
        _shown(talk) as show,
        anyio.create_task_group() as tasks,
    ):
        for url in videos:
            tasks.start_soon(_translate, client, url, out, show, tasks, rows)
    return sorted(rows, key=lambda row: (row.name, row.target))


async def _translate(
    client: AkoolClient, url: str, out: Path, show: _Show, tasks: TaskGroup, rows: list[Row]
) -> None:
    request = TranslationRequest(url=url, targets=TARGETS, caption_type=CaptionType.TRANSLATED)
    stem = url.rpartition("/")[2].removesuffix(".mp4")
    submission = await client.submit(request)
    for job in submission.accepted:
        tasks.start_soon(_bring_home, client, job, f"{stem}.{job.target}", out, show, rows)
    for refusal in submission.refused:
        rows.append(Row(f"{stem}.{refusal.target}", refusal.target, None, str(refusal.error), good=False))


async def _bring_home(
    client: AkoolClient, job: Job, name: str, out: Path, show: _Show, rows: list[Row]
) -> None:
    update = show(name)
    try:
        async for seen in client.watch(job.id):
            update(seen.progress or 0, seen.status.name.lower())
        saved = await client.download(await client.status(job.id), into=out, name=name, overwrite=True)
        update(100, "checking")
        verdict, good = await anyio.to_thread.run_sync(_check, saved)
        update(100, "home" if good else "broken")
    except AkoolError as error:
        update(0, "failed")
        rows.append(Row(name, job.target, None, str(error), good=False))
    else:
        rows.append(Row(name, job.target, saved, verdict, good))


def _check(saved: Saved) -> tuple[str, bool]:
    """Open the video, decode from it, and look for subtitles in it and beside it."""
    tracks = probe(saved.video.read_bytes())
    beside = sum(path.stat().st_size > 0 for path in saved.files[1:])
    kinds = {
        "video": tracks.video,
        "audio": tracks.audio,
        "subtitles": tracks.subtitles,
        "2 SRT": beside == 2,
    }
    found = [name for name, there in kinds.items() if there]
    return f"{tracks.seconds:.1f} s: {', '.join(found)}", len(found) == len(kinds)


_Show = Callable[[str], Callable[[int, str], None]]


@contextlib.asynccontextmanager
async def _shown(talk: Console) -> AsyncIterator[_Show]:
    """Give a function that shows one more job: as a bar on a terminal, else as a line for each change."""
    if not talk.is_terminal:
        yield functools.partial(_lines, talk)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=talk) as progress:
        yield functools.partial(_bar, progress)


def _bar(progress: Progress, name: str) -> Callable[[int, str], None]:
    bar: TaskID = progress.add_task(name, total=100, state="queueing")
    return lambda percent, state: progress.update(bar, completed=percent, state=state)


def _lines(talk: Console, name: str) -> Callable[[int, str], None]:
    said: list[str] = []

    def say(percent: int, state: str) -> None:
        if said[-1:] != [state]:
            said.append(state)
            talk.print(f"{name}: {state} ({percent}%)")

    return say


def _table(rows: list[Row], out: Path) -> Table:
    table = Table(title=f"Results in {out}/", title_justify="left")
    for column in ("file", "size", "what is in it"):
        table.add_column(column, overflow="fold")
    for row in rows:
        size = "-" if row.saved is None else f"{row.saved.video.stat().st_size / 1024:.0f} KiB"
        table.add_row(f"{row.name}.mp4", size, row.verdict, style=None if row.good else "red")
    return table
