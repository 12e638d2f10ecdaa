"""The demo: three real videos, two languages each, through real HTTP on this machine, checked.

It uses the public client and batch; only the vendor is imitated. Interrupted, it saves what is in progress;
started again, it resumes.

It writes only into folders that it has marked as its own while they were empty, and never deletes or
overwrites a journal: one that it can't resume is left as it is, and it starts afresh in a folder beside it.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import anyio
from rich.console import Console
from rich.table import Table

from akool_async._batch import open_batch
from akool_async._client import AkoolClient
from akool_async._download import find_file
from akool_async._journal import Entry, open_journal
from akool_async._media.inspection import inspect_file
from akool_async._model.errors import InvalidRequestError, JournalCorruptedError, JournalVersionError
from akool_async._model.media import MediaError
from akool_async._model.outcomes import Completed, NotSubmitted, Outcome, Saved
from akool_async._model.requests import CaptionType, TranslationRequest, video_url
from akool_async._model.states import State
from akool_async._polling.schedules import FixedSchedule
from akool_async._signals import ending_signals
from akool_async.cli.console import is_terminal
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.options import JOURNAL
from akool_async.cli.progress import ProgressSnapshot, RunProgress
from akool_async.cli.run_summary import OutcomeCounts
from akool_async.sandbox import Sandbox
from akool_async.sandbox.media import sample_video

TITLES: Final = ("first-light", "short-talk", "long-goodbye")
TARGETS: Final = ("ja", "fr")
KEY: Final = "sandbox-key-of-the-demo"
POLL: Final = FixedSchedule(interval=0.3)
MARKER: Final = "made-by-the-demo.txt"
MARK: Final = "`akool-async demo` made what is in this folder. Nothing in it was paid for.\n"
_ADVICE: Final = "Name a new folder with --out."


def run_demo(out: Path, *, minutes: float, talk: Console) -> int:
    """Run the demo; return 0 if every file is saved and plays, 130 if it was interrupted, else 1.

    Raises:
        InvalidRequestError: the folder, or the journal in it, is not the demo's.
        JournalError: the journal can't be used, or another demo is writing it.
    """
    try:
        out, port = _folder_and_port(out)
    except OSError as error:
        message = f"The folder {out} can't be made or written: {error.strerror}. {_ADVICE}"
        talk.print(message, markup=False, soft_wrap=True)
        return ExitCode.FAILED
    talk.print(f"Three videos into {' and '.join(TARGETS)}, against a sandbox on this machine.")
    with tempfile.TemporaryDirectory() as folder, _video_host(Path(folder), port) as videos:
        outcomes = anyio.run(functools.partial(_translate_all, videos, out, minutes=minutes, talk=talk))
    table = Table(title=f"Results in {out}/", title_justify="left")
    for column in ("file", "size", "what is in it"):
        table.add_column(column, overflow="fold")
    wanted, good, interrupted = len(TITLES) * len(TARGETS), 0, False
    for outcome in sorted(outcomes, key=lambda outcome: (outcome.key, outcome.target)):
        size, fine = "-", False
        if isinstance(outcome, Completed) and outcome.saved is not None:
            size = f"{outcome.saved.video.stat().st_size / 1024:.0f} KiB"
            verdict, fine = _check(outcome.saved)
        elif isinstance(outcome, NotSubmitted):
            verdict = outcome.reason
            interrupted |= verdict.startswith("Interrupted")
        else:
            verdict = f"no result: {outcome.reason}"
        good += fine
        table.add_row(f"{outcome.key}.{outcome.target}.mp4", size, verdict, style=None if fine else "red")
    talk.print(table)
    if good == wanted == len(outcomes):
        talk.print(f"All {wanted} results are in {out}/ and play.", markup=False, soft_wrap=True)
        return ExitCode.OK
    # Without an outcome, a second Ctrl-C ended the run; the reason tells of the first.
    if interrupted or len(outcomes) < wanted:
        talk.print(
            f"Interrupted with {good} of {wanted} results saved. Run the same command again to resume."
        )
        return ExitCode.INTERRUPTED
    talk.print(f"[red]{wanted - good} of {wanted} results are missing or broken.[/]")
    return ExitCode.FAILED


def _folder_and_port(out: Path) -> tuple[Path, int]:
    """Return the folder of this run, and the port for its videos; port 0 starts afresh.

    The first run uses `out` itself. A run that can't resume the last one gets a new folder in it.
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
        try:
            entries = anyio.run(_entries, last / JOURNAL)
        except (JournalCorruptedError, JournalVersionError):  # like one whose jobs are gone
            entries = []
        # The last run's sandbox is gone, and the jobs in it: only a run without any job left can be resumed.
        # The URLs of its videos have the port in them, so the same work needs the same port.
        over = {entry.state for entry in entries} <= {State.DELIVERED, State.PLANNED}
        port = urlsplit(video_url(entries[0].request)).port if entries else None
        files = [find_file(file, last, entry.name) for entry in entries for file in entry.files]
        if port and over and all(map(Path.exists, files)):
            return last, port
    _mark(out / f"run-{number}")
    return out / f"run-{number}", 0


def _mark(folder: Path) -> None:
    """Mark a new or empty folder as the demo's own; a marked one is left as it is.

    Raises:
        InvalidRequestError: it is not empty and not marked.
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
    """Return the entries of an earlier run.

    Raises:
        InvalidRequestError: it has jobs that are not the demo's.
        JournalError: it can't be read, or another demo is writing it.
    """
    async with open_journal(path, read_only=True) as journal:
        if (holder := journal.find_lock_holder()) is not None:
            raise holder
        entries = [entry async for entry in journal.entries()]
    for url in (video_url(entry.request) for entry in entries):
        if urlsplit(url).hostname != "127.0.0.1" or _title(url) not in TITLES:
            raise InvalidRequestError(
                f"The journal {path} names jobs that are not the demo's and may be paid.",
                impact="Nothing in it was changed.",
                advice=_ADVICE,
            )
    return entries


@contextlib.contextmanager
def _video_host(folder: Path, port: int) -> Iterator[list[str]]:
    """Make the videos and serve them on loopback, at `port` or a free one for 0; yield their URLs."""
    for number, title in enumerate(TITLES):
        (folder / f"{title}.mp4").write_bytes(sample_video(seconds=3.0 + number, seed=number))
    handler = functools.partial(_VideoHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, name="videos", daemon=True)
    thread.start()
    try:
        origin = f"http://127.0.0.1:{server.server_port}"
        yield [f"{origin}/{title}.mp4" for title in TITLES]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _VideoHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing about requests."""


async def _translate_all(videos: list[str], out: Path, *, minutes: float, talk: Console) -> list[Outcome]:
    sandbox = Sandbox(
        api_key=KEY, max_jobs=4, median_seconds=minutes * 60, sigma=0.4, time_scale=minutes * 60 / 4
    )
    requests = [
        TranslationRequest(url=url, targets=TARGETS, caption_type=CaptionType.TRANSLATED, key=_title(url))
        for url in videos
    ]
    outcomes: list[Outcome] = []
    counts = OutcomeCounts(expected=len(TITLES) * len(TARGETS))
    progress = RunProgress({}, drawn=is_terminal(talk))
    async with (
        # First: in the task groups of the others its errors would be wrapped in an ExceptionGroup.
        open_journal(out / JOURNAL) as journal,
        sandbox.serve() as server,
        AkoolClient(api_key=KEY, host=server.base_url, schedule=POLL) as client,
        open_batch(
            client,
            requests,
            max_in_flight=4,
            journal=journal,
            download_to=out,
            drain_signals=ending_signals(),
        ) as batch,
        progress.watching(lambda: ProgressSnapshot.of_batch(batch, counts)),
    ):
        async for outcome in batch:
            outcomes.append(outcome)
            counts.add(outcome, batch.statistics().seconds)
            state = outcome.reason
            if isinstance(outcome, Completed):
                state = "saved by an earlier run, not paid again" if outcome.resumed else "saved"
            talk.print(f"{outcome.key}.{outcome.target}: {state}", markup=False)
    return outcomes


def _title(url: str) -> str:
    return url.rpartition("/")[2].removesuffix(".mp4")


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
