"""One run writes a journal; the second stops at once and names the first."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from akool_async._journal import open_journal
from akool_async._journal.lock import JournalLock
from akool_async._model.errors import JournalLockedError
from akool_async._model.states import State
from tests.journal.conftest import StillClock, video

pytestmark = pytest.mark.anyio

HOLD = """
import sys, anyio
from akool_async._model.requests import TranslationRequest
from akool_async._journal import open_journal

async def main():
    async with open_journal(sys.argv[1]) as journal:
        await journal.intend(TranslationRequest(url="https://e.com/v.mp4", targets="ja", key="talk"))
        print("held", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)

anyio.run(main)
"""


@contextmanager
def another_run(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes the journal until its input ends."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


async def test_a_second_process_stops_at_once_and_names_the_first(path: Path) -> None:
    with another_run(path) as first:
        with pytest.raises(JournalLockedError) as caught:
            async with open_journal(path):
                pass

        assert caught.value.pid == first.pid
        assert caught.value.host == socket.gethostname()
        assert str(first.pid) in str(caught.value)
        assert caught.value.since in str(caught.value)
        async with open_journal(path, read_only=True) as journal:
            assert journal.counts()[State.SUBMITTING] == 1


async def test_the_lock_is_free_when_its_holder_was_killed(path: Path) -> None:
    with another_run(path) as first:
        first.kill()
        first.wait()
        async with open_journal(path) as journal:
            assert journal.recovered_count == 1


async def test_the_lock_is_free_when_its_holder_has_ended(path: Path) -> None:
    with another_run(path) as first:
        assert first.stdin is not None
        first.stdin.close()
        assert first.wait() == 0
        async with open_journal(path) as journal:
            assert journal.counts()[State.IN_DOUBT] == 1


async def test_a_second_opening_in_one_process_stops_too(path: Path, clock: StillClock) -> None:
    async with open_journal(path, now=clock.now) as journal:
        with pytest.raises(JournalLockedError) as caught:
            async with open_journal(str(path)):
                pass
        await journal.intend(video())

        assert caught.value.pid == os.getpid()
        assert caught.value.since == "2026-03-01T12:00:00+00:00"
    async with open_journal(path):
        pass


async def test_a_reader_is_told_who_writes_and_takes_nothing_away(path: Path) -> None:
    async with open_journal(path):
        pass
    async with open_journal(path, read_only=True) as journal:
        assert journal.lock_holder is None
        with another_run(path) as first:
            held = journal.lock_holder
        first.wait()

        assert held is not None
        assert held.pid == first.pid
        assert str(first.pid) in held.message
        assert journal.lock_holder is None
    async with open_journal(path) as journal:
        assert journal.lock_holder is None


async def test_somebody_who_only_looks_does_not_stop_a_run(path: Path) -> None:
    async with open_journal(path):
        pass
    looks = anyio.Event()

    def look() -> None:
        for _ in range(3000):
            JournalLock(path).holder()

    async def keep_looking() -> None:
        await anyio.to_thread.run_sync(look)
        looks.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep_looking)
        while not looks.is_set():
            async with open_journal(path):
                pass


async def test_a_link_to_a_journal_is_the_same_journal(path: Path) -> None:
    link = path.with_name("link.sqlite3")
    link.symlink_to(path)
    async with open_journal(path):
        with pytest.raises(JournalLockedError):
            async with open_journal(link):
                pass


@pytest.mark.parametrize(
    "text", [b"", b"\x00\xff", b"[1]", b'{"pid": "x\\u001b[31m", "host": 7, "since": null}']
)
async def test_a_lock_file_with_nonsense_in_it_says_nothing(path: Path, text: bytes) -> None:
    async with open_journal(path):
        path.with_name("jobs.sqlite3.lock").write_bytes(text)
        with pytest.raises(JournalLockedError) as caught:
            async with open_journal(path):
                pass

    assert caught.value.pid is None
    assert "\x1b" not in str(caught.value)


async def test_files_are_the_owners_alone_from_the_first_moment(path: Path) -> None:
    mask = os.umask(0)
    try:
        async with open_journal(path) as journal:
            await journal.intend(video())
            files = sorted(path.parent.iterdir())
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in files}
    finally:
        os.umask(mask)

    names = ["jobs.sqlite3", "jobs.sqlite3-shm", "jobs.sqlite3-wal", "jobs.sqlite3.lock"]
    assert modes == dict.fromkeys(names, 0o600)
    assert sorted(file.name for file in path.parent.iterdir()) == ["jobs.sqlite3", "jobs.sqlite3.lock"]
