"""How many files a reader enters to follow one job through the package.

One translation goes through `open_batch` with a journal on disk and `download_to`, against the sandbox over
a real socket. Every call of a function of the package is recorded in order; a coroutine or generator that is
resumed is not entered again. The sandbox, and everything outside the package, is left out. A change of file
is a call into another file than the call before it.

The goals concern the event loop's thread, where the order of the steps is decided. What worker threads do
(SQLite, files) is counted in the second row.

Run alone: `python benchmarks/life.py`; `--list` prints the calls in order.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, pairwise
from pathlib import Path
from types import FrameType

import anyio
import attrs
import frame
from frame import goal

import akool_async
from akool_async import (
    AkoolClient,
    Completed,
    FixedSchedule,
    PollSchedule,
    TranslationRequest,
    open_batch,
    open_journal,
)
from akool_async.sandbox import Sandbox

PACKAGE = Path(akool_async.__file__).parent
KEY = "sandbox-test-key"
TIME_SCALE = 18.0
"""How much faster than real the sandbox is: the job ends 9 s after its POST, between two polls that come, as
no progress is reported, after about 7 and 11 s. So each run has two polls, and the counts can be compared."""
TIMEOUT = 45.0
"""Seconds after which a run is given up."""
MAX_FILES, MAX_CHANGES = 45, 400


@attrs.frozen
class Call:
    """One call of a function of the package."""

    file: str
    function: str
    line: int
    """Where the function begins: two functions of a file may have the same name."""
    on_loop: bool
    """Whether it ran in the thread of the event loop."""


@attrs.frozen
class Counts:
    """What a list of calls amounts to."""

    files: int
    changes: int
    functions: int

    @classmethod
    def from_calls(cls, calls: Sequence[Call]) -> Counts:
        """Count files, changes of file between one call and the next, and functions."""
        return cls(
            files=len({call.file for call in calls}),
            changes=sum(before.file != after.file for before, after in pairwise(calls)),
            functions=len({(call.file, call.function, call.line) for call in calls}),
        )


class Trace:
    """The calls of the package's functions while it is recording, in all threads."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._loop_thread = threading.get_ident()
        self._recording = False
        self._entered: dict[int, FrameType] = {}  # keeps the frames alive: the id of a dead one is used again
        self._files: dict[str, str | None] = {}

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Profile this thread and all that are started inside: a worker thread may be older than the job."""
        threading.setprofile(self._on_event)
        sys.setprofile(self._on_event)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]  # as its documentation allows

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the calls made inside; threads that outlive it record nothing more."""
        self._recording = True
        try:
            yield
        finally:
            self._recording = False
            self._entered.clear()

    def _on_event(self, entered: FrameType, event: str, _: object) -> None:
        if event != "call" or not self._recording or id(entered) in self._entered:
            return
        code = entered.f_code
        if code.co_filename not in self._files:
            self._files[code.co_filename] = package_file(code.co_filename)
        file = self._files[code.co_filename]
        if file is not None:
            self._entered[id(entered)] = entered
            on_loop = threading.get_ident() == self._loop_thread
            self.calls.append(Call(file, code.co_qualname, code.co_firstlineno, on_loop))


def package_file(name: str) -> str | None:
    """Return a file's path below the package, or None if it belongs to the sandbox or to another package."""
    path = Path(name)
    if not path.is_relative_to(PACKAGE) or path.is_relative_to(PACKAGE / "sandbox"):
        return None
    return path.relative_to(PACKAGE).as_posix()


async def translate(client: AkoolClient, folder: Path) -> None:
    """Take one video from its request to its saved file, as the README does."""
    request = TranslationRequest(url="https://example.com/talk.mp4", targets="ja")
    async with (
        open_journal(folder / "jobs.sqlite3") as journal,
        open_batch(client, [request], journal=journal, download_to=folder / "results") as batch,
    ):
        (outcome,) = [outcome async for outcome in batch]
    if not isinstance(outcome, Completed) or outcome.saved is None:
        raise RuntimeError(f"The job was not completed and saved: {outcome}")


async def run(schedule: PollSchedule | None, time_scale: float) -> list[Call]:
    """Trace one job; the sandbox and the client are opened before and closed after it."""
    trace = Trace()
    with tempfile.TemporaryDirectory() as folder, anyio.fail_after(TIMEOUT), trace.installed():
        async with (
            Sandbox(api_key=KEY, media=False, time_scale=time_scale, progress="none").serve() as server,
            AkoolClient(api_key=KEY, host=server.base_url, schedule=schedule) as client,
        ):
            with trace.recording():
                await translate(client, Path(folder))
    return trace.calls


def show(calls: Sequence[Call]) -> None:
    """Print the calls in order, under the name of each file that is changed to."""
    for file, group in groupby(calls, key=lambda call: call.file):
        print(f"{file}: {' '.join(call.function for call in group)}")
    print()


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--list", action="store_true", help="print the calls in order")


def main() -> None:
    options = frame.arguments(__doc__, add_options)
    schedule = FixedSchedule(interval=0.1) if options.smallest else None
    calls = anyio.run(run, schedule, frame.extent(options, 1000, TIME_SCALE, TIME_SCALE))
    on_loop = [call for call in calls if call.on_loop]
    if options.list:
        show(on_loop)
    print("One job, from the open journal to the saved file:")
    rows = []
    for where, trace in (("event loop", on_loop), ("with worker threads", calls)):
        counts = Counts.from_calls(trace)
        rows.append((where, counts.files, counts.changes, counts.functions))
    frame.table(("thread", "files entered", "changes of file", "functions"), rows)
    counts = Counts.from_calls(on_loop)
    goals = [
        goal("files entered", counts.files, MAX_FILES),
        goal("changes of file", counts.changes, MAX_CHANGES),
    ]
    frame.tell(goals, options.json)


if __name__ == "__main__":
    main()
