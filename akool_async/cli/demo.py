"""The demo: three real videos, two languages each, through real HTTP on this machine, checked.

Everything that it does to the vendor goes through the public client and batch; only the vendor is
imitated. Interrupted, it brings home what is at work; started again, it goes on where it stopped.

It writes only into folders that it has marked as its own while they were empty, and never deletes or
overwrites a journal: what it can't go on with stays, and it begins anew in a folder beside it.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import signal
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import anyio
import attrs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from akool_async._batch import Batch, open_batch
from akool_async._client import AkoolClient
from akool_async._journal import Entry, open_journal
from akool_async._media import MediaError, inspect_file
from akool_async._model.errors import InvalidRequestError, JournalCorruptedError, JournalVersionError
from akool_async._model.outcomes import Completed, NotSubmitted, Outcome, Saved
from akool_async._model.requests import CaptionType, TranslationRequest, video_url
from akool_async._model.states import State
from akool_async._polling.schedules import FixedSchedule
from akool_async.cli.options import JOURNAL
from akool_async.sandbox import Sandbox
from akool_async.sandbox.media import sample_video

TITLES: Final = ("first light", "short talk", "long goodbye")
TARGETS: Final = ("ja", "fr")
KEY: Final = "sandbox-key-of-the-demo"
POLL: Final = FixedSchedule(interval=0.3)
MARKER: Final = "made-by-the-demo.txt"
MARK: Final = "`akool-async demo` made what is in this folder. Nothing in it was paid for.\n"
INTERRUPTED: Final = 130
_ADVICE: Final = "Name a new folder with --out."


@attrs.frozen
class Row:
    """One result in the table at the end.

    Attributes:
        name: of the file.
        saved: the files, if they came home.
        verdict: what was found in them.
        good: whether everything that was asked for is there.
    """

    name: str
    saved: Saved | None
    verdict: str
    good: bool


def run_demo(out: Path, *, minutes: float, talk: Console) -> int:
    """Run the demo; give 0 if every file is there and plays, 130 if it was interrupted, else 1.

    Raises:
        InvalidRequestError: the folder, or the journal in it, is not the demo's.
        JournalError: the journal can't be used, or another demo is writing it.
    """
    try:
        out, port = _folder_and_port(out)
    except OSError as error:
        talk.print(
            f"The folder {out} can't be made or written: {error.strerror}. {_ADVICE}",
            markup=False,
            soft_wrap=True,
        )
        return 1
    talk.print(f"Three videos into {' and '.join(TARGETS)}, against a sandbox on this machine.")
    with tempfile.TemporaryDirectory() as folder, _video_host(Path(folder), port) as videos:
        outcomes = anyio.run(functools.partial(_translate_all, videos, out, minutes=minutes, talk=talk))
    return _told([_row(outcome) for outcome in outcomes], out, talk)


def _told(rows: list[Row], out: Path, talk: Console) -> int:
    talk.print(_table(sorted(rows, key=lambda row: row.name), out))
    wanted = len(TITLES) * len(TARGETS)
    good = sum(row.good for row in rows)
    if good == wanted == len(rows):
        talk.print(f"All {wanted} results are in {out}/ and play.", markup=False, soft_wrap=True)
        return 0
    if any(row.verdict.startswith("Interrupted") for row in rows) or len(rows) < wanted:
        talk.print(f"Interrupted with {good} of {wanted} results home. Run the same again to go on.")
        return INTERRUPTED
    talk.print(f"[red]{wanted - good} of {wanted} results are missing or broken.[/]")
    return 1


def _folder_and_port(out: Path) -> tuple[Path, int]:
    """Return the folder of this run, and the port for its videos: 0 for a run that begins anew.

    The first run has `out` itself. One that can't go on where the last one stopped gets a folder in it.
    """
    _mark(out)
    last, number = out, 2
    while os.path.lexists(out / f"run-{number}"):
        last = out / f"run-{number}"
        _mark(last)
        number += 1
    if {path.name for path in last.iterdir()} == {MARKER}:
        return last, 0
    if os.path.lexists(last / JOURNAL):
        port = _port_of_earlier_run(anyio.run(_entries, last / JOURNAL))
        if port is not None:
            return last, port
    _mark(out / f"run-{number}")
    return out / f"run-{number}", 0


def _mark(folder: Path) -> None:
    """Mark a new or empty folder as the demo's own; one that is marked stays as it is.

    Raises:
        InvalidRequestError: it holds something and is not marked.
        OSError: it can't be made, read or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / MARKER
    if not any(folder.iterdir()):
        with marker.open("xb") as file:
            file.write(MARK.encode())
    elif not marker.is_file() or marker.read_bytes() != MARK.encode():
        raise InvalidRequestError(
            f"The folder {folder} is not empty, and the demo did not make it.",
            impact="Nothing in it was changed.",
            advice=_ADVICE,
        )


async def _entries(path: Path) -> list[Entry]:
    """Return what an earlier run wrote down.

    Raises:
        InvalidRequestError: it names jobs of somebody else.
        JournalError: it can't be read, or another demo is writing it.
    """
    try:
        async with open_journal(path, read_only=True) as journal:
            if journal.lock_holder is not None:
                raise journal.lock_holder
            entries = [entry async for entry in journal.entries()]
    except (JournalCorruptedError, JournalVersionError) as error:
        raise type(error)(error.message, advice=_ADVICE) from error
    if not all(_is_own(entry) for entry in entries):
        raise InvalidRequestError(
            f"The journal {path} names jobs that are not the demo's and may be paid.",
            impact="Nothing in it was changed.",
            advice=_ADVICE,
        )
    return entries


def _is_own(entry: Entry) -> bool:
    url = video_url(entry.request)
    return urlsplit(url).hostname == "127.0.0.1" and _title(url) in {_file_name(title) for title in TITLES}


def _port_of_earlier_run(entries: list[Entry]) -> int | None:
    """Give the port at which an earlier run that can be gone on with had its videos, else None.

    Its sandbox is gone with what was at work in it: then there is nothing to go on with.
    """
    over = {State.DELIVERED, State.PLANNED}
    there = all(Path(file).exists() for entry in entries for file in entry.files)
    if not entries or not there or not {entry.state for entry in entries} <= over:
        return None
    return urlsplit(video_url(entries[0].request)).port


@contextlib.contextmanager
def _video_host(folder: Path, port: int) -> Iterator[list[str]]:
    """Make the videos and serve them on loopback, at `port` or a free one for 0; give their URLs."""
    for number, title in enumerate(TITLES):
        (folder / f"{_file_name(title)}.mp4").write_bytes(sample_video(seconds=3.0 + number, seed=number))
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, name="videos", daemon=True)
    thread.start()
    try:
        origin = f"http://127.0.0.1:{server.server_port}"
        yield [f"{origin}/{_file_name(title)}.mp4" for title in TITLES]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing about requests."""


async def _translate_all(videos: list[str], out: Path, *, minutes: float, talk: Console) -> list[Outcome]:
    sandbox = Sandbox(
        api_key=KEY, max_jobs=4, median_seconds=minutes * 60, sigma=0.4, time_scale=minutes * 60 / 4
    )
    requests = [
        TranslationRequest(url=url, targets=TARGETS, caption_type=CaptionType.TRANSLATED, key=_title(url))
        for url in videos
    ]
    outcomes: list[Outcome] = []
    async with (
        open_journal(
            out / JOURNAL
        ) as journal,  # first: in the sandbox's tasks its errors would come in a group
        sandbox.serve() as server,
        AkoolClient(api_key=KEY, host=server.base_url, schedule=POLL) as client,
        open_batch(
            client,
            requests,
            max_in_flight=4,
            journal=journal,
            download_to=out,
            drain_signals=(signal.SIGINT, signal.SIGTERM),
        ) as batch,
        _shown(batch, talk),
    ):
        async for outcome in batch:
            outcomes.append(outcome)
            talk.print(f"{outcome.key}.{outcome.target}: {_state(outcome)}", markup=False)
    return outcomes


def _file_name(title: str) -> str:
    return title.replace(" ", "-")


def _title(url: str) -> str:
    return url.rpartition("/")[2].removesuffix(".mp4")


def _state(outcome: Outcome) -> str:
    if not isinstance(outcome, Completed):
        return outcome.reason
    return "home from an earlier run, not paid again" if outcome.resumed else "home"


@contextlib.asynccontextmanager
async def _shown(batch: Batch, talk: Console) -> AsyncIterator[None]:
    """Show a bar on a terminal; elsewhere the lines about each outcome are enough."""
    if not talk.is_terminal:
        yield
        return
    columns = (
        TextColumn("{task.fields[at_work]} at work"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=talk) as progress:
        bar = progress.add_task("", total=len(TITLES) * len(TARGETS), at_work=0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_refresh, batch, progress, bar)
            yield
            _update(batch, progress, bar)
            tasks.cancel_scope.cancel()


async def _refresh(batch: Batch, progress: Progress, bar: TaskID) -> None:
    while True:
        _update(batch, progress, bar)
        await anyio.sleep(0.1)


def _update(batch: Batch, progress: Progress, bar: TaskID) -> None:
    seen = batch.statistics()
    done = seen.completed + seen.failed + seen.rejected
    progress.update(bar, completed=done, at_work=seen.in_flight)


def _row(outcome: Outcome) -> Row:
    name = f"{outcome.key}.{outcome.target}.mp4"
    if not isinstance(outcome, Completed) or outcome.saved is None:
        reason = outcome.reason
        return Row(
            name, None, reason if isinstance(outcome, NotSubmitted) else f"no result: {reason}", good=False
        )
    verdict, good = _check(outcome.saved)
    return Row(name, outcome.saved, verdict, good)


def _check(saved: Saved) -> tuple[str, bool]:
    """Open the video, decode from it, and look for subtitles in it and beside it."""
    try:
        facts = inspect_file(saved.video)
    except MediaError as error:
        return error.message, False
    beside = [path for path in (saved.original_srt, saved.translated_srt) if path is not None]
    kinds = {
        "video": True,
        "audio": facts.has_audio,
        "subtitles": facts.has_subtitles,
        "2 SRT": len(beside) == 2,
    }
    found = [name for name, there in kinds.items() if there]
    return f"{facts.seconds or 0:.1f} s: {', '.join(found)}", len(found) == len(kinds)


def _table(rows: list[Row], out: Path) -> Table:
    table = Table(title=f"Results in {out}/", title_justify="left")
    for column in ("file", "size", "what is in it"):
        table.add_column(column, overflow="fold")
    for row in rows:
        size = "-" if row.saved is None else f"{row.saved.video.stat().st_size / 1024:.0f} KiB"
        table.add_row(row.name, size, row.verdict, style=None if row.good else "red")
    return table
