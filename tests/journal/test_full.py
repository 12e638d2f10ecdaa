"""A disk that is full or can't be written: nothing is half written, and the caller is told."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from akool_async._journal import Journal, open_journal
from akool_async._journal import database as file
from akool_async._model.errors import JournalError, JournalWriteError
from akool_async._model.states import State
from tests.journal.conftest import bring_to, step, video


@contextmanager
def full(journal: Journal) -> Iterator[None]:
    """Let the file grow no more."""
    connection = journal._opened.store._writing
    assert connection is not None
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        connection.execute("PRAGMA max_page_count = 1000000")


async def test_what_does_not_fit_is_not_written_and_everyone_is_told(path: Path) -> None:
    told: list[str] = []

    async def work(journal: Journal, number: int) -> None:
        try:
            await journal.intend(video(f"talk-{number}", ("ja", "fr"), no_translate_words=["x" * 9000]))
            told.append("done")
        except JournalWriteError as error:
            told.append(str(error))

    async with open_journal(path) as journal:
        await bring_to(journal, State.SUBMITTED)
        with full(journal):
            async with anyio.create_task_group() as tasks:
                for number in range(20):
                    tasks.start_soon(work, journal, number)
            there = [entry.key async for entry in journal.entries()]

            assert len(told) == 20
            assert all("full" in words and "submit nothing more" in words for words in told)
            assert there == ["talk"]
            assert journal.counts()[State.SUBMITTING] == 0
            await journal.record(step(State.COMPLETED))  # needs no new page
        await journal.intend(video("later"))

        assert journal.counts()[State.COMPLETED] == 1
        assert journal.counts()[State.SUBMITTING] == 1


async def test_the_last_room_is_for_the_ids_of_what_is_paid(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_journal(path) as journal:
        await journal.intend(video("paid"))
        free = [1 << 19]
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free[0]))
        told = []
        async with anyio.create_task_group() as tasks:  # one commit for all
            for number in range(3):

                async def refused(key: str = f"new-{number}") -> None:
                    with pytest.raises(JournalWriteError, match="is full, with 524,288 bytes left") as error:
                        await journal.intend(video(key))
                    told.append(error.value)

                tasks.start_soon(refused)
            tasks.start_soon(journal.record, step(State.SUBMITTED, "paid"))
        there = [(entry.key, entry.state) async for entry in journal.entries()]
        free[0] = 1 << 20
        await journal.intend(video("new-0"))

        assert there == [("paid", State.SUBMITTED)]
        assert len({*map(id, told)}) == 3
        assert journal.counts()[State.SUBMITTING] == 1


GROW = """
import os, resource, sys, anyio
from akool_async._model.errors import JournalWriteError
from akool_async._model.states import State
from akool_async._model.requests import TranslationRequest
from akool_async._journal import EntryUpdate, open_journal

def video(key):
    url = "https://e.com/" + "v" * 300
    return TranslationRequest(url=url, targets=("ja", "fr"), key=key)

sys.dont_write_bytecode = True  # the bound would cut off what is compiled from here on

async def main():
    async with open_journal(sys.argv[1]) as journal:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), hard))
        number = 0
        while True:
            try:
                await journal.intend(video(f"talk-{number}"))
            except JournalWriteError as error:
                print("FAILED", number, error, flush=True)
                assert journal.get(f"talk-{number}", "ja") is None
                break
            print(f"talk-{number}", flush=True)
            number += 1
        try:
            await journal.intend(video("again"))
        except JournalWriteError:
            print("FAILED again", flush=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        if sys.argv[3] == "kill":
            os.kill(os.getpid(), 9)
        await journal.intend(video("later"))
        print("later", flush=True)

anyio.run(main)
"""


@pytest.mark.parametrize("limit", [150_000, 400_000, 1_500_000])
@pytest.mark.parametrize("end", ["go on", "kill"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_full_disk_loses_nothing_that_was_confirmed(path: Path, limit: int, end: str) -> None:
    """The system's own limit of a file's size, hit in the log and in the file itself."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", GROW, str(path), str(limit), end]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=250)
    assert done.returncode == (0 if end == "go on" else -9), done.stderr
    lines = done.stdout.splitlines()
    confirmed = [line for line in lines if not line.startswith("FAILED")]
    assert len(lines) >= len(confirmed) + 1, lines[-3:]

    async with open_journal(path) as journal:
        found = {(entry.key, entry.target) async for entry in journal.entries()}
    keys = {key for key, _ in found}
    assert set(confirmed) <= keys
    assert found == {(key, target) for key in keys for target in ("ja", "fr")}
    assert (
        len(keys) - len(confirmed) <= 2
    )  # a commit that failed may still be found after a crash: as a doubt


class Stuck:
    """A connection that can neither commit nor go back."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.tried: list[str] = []

    @property
    def in_transaction(self) -> bool:
        return self.connection.in_transaction

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        if statement in ("COMMIT", "ROLLBACK"):
            self.tried.append(statement)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        return self.connection.execute(statement, *values)

    def close(self) -> None:
        self.connection.close()


async def test_a_commit_that_can_not_even_be_taken_back_is_an_error_of_the_journal(path: Path) -> None:
    async with open_journal(path) as journal:
        await bring_to(journal, State.SUBMITTED)
        store = journal._opened.store
        connection, store._writing = store._writing, Stuck(store._writing)
        for number in range(2):
            with pytest.raises(JournalWriteError):
                await journal.intend(video(f"later-{number}"))
        tried, store._writing = store._writing.tried, connection

        assert tried == ["COMMIT", "ROLLBACK", "ROLLBACK"]
        assert journal.counts()[State.SUBMITTING] == 0
    async with open_journal(path) as journal:
        assert [entry.state async for entry in journal.entries()] == [State.SUBMITTED]


async def test_a_disk_that_can_not_be_read_is_an_error_of_the_journal(path: Path) -> None:
    async with open_journal(path) as journal:
        await bring_to(journal, State.SUBMITTED)
        connection = journal._opened.reading
        connection.close()
        with pytest.raises(JournalError):
            journal.get("talk", "ja")


async def test_a_journal_held_by_a_shell_of_sqlite_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "BUSY", 0.05)
    async with open_journal(path) as journal:
        await journal.intend(video())
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalWriteError, match="locked"):
            await journal.record(step(State.SUBMITTED))
        other.execute("ROLLBACK")
        other.close()
        await journal.record(step(State.SUBMITTED))

        assert journal.counts()[State.SUBMITTED] == 1


async def test_a_lock_that_can_not_be_made_is_an_error(path: Path) -> None:
    path.with_name("jobs.sqlite3.lock").mkdir()
    with pytest.raises(JournalWriteError, match=r"lock .* can't be opened"):
        async with open_journal(path):
            pass

    assert not path.exists()


@pytest.mark.parametrize("refused", ["jobs.sqlite3", "jobs.sqlite3-wal"])
async def test_a_file_that_the_system_refuses_is_an_error_of_the_journal(
    path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """As for a journal on a read-only mount, or a log that is gone in the moment of opening."""
    async with open_journal(path):
        pass
    system = Path.stat

    def stat(self: Path, **options: Any) -> os.stat_result:
        caller = sys._getframe(1).f_code.co_name
        if self.name == refused and caller in ("claim", "watch"):
            raise PermissionError(13, "Permission denied", str(self))
        return system(self, **options)

    with monkeypatch.context() as patch, pytest.raises(JournalWriteError, match="Permission denied"):
        patch.setattr(Path, "stat", stat)
        async with open_journal(path):
            pass
    async with open_journal(path):  # the lock is free again
        pass


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root can't write")
async def test_a_folder_that_can_not_be_written_is_an_error() -> None:
    with pytest.raises(JournalWriteError) as caught:
        async with open_journal("/proc/jobs.sqlite3"):
            pass

    assert "/proc/jobs.sqlite3" in str(caught.value)
    assert "permissions" in caught.value.advice


async def test_a_journal_in_a_folder_that_can_not_be_written_can_be_read(path: Path) -> None:
    """Where SQLite can't make the files beside it that it wants even for reading."""
    async with open_journal(path) as journal:
        await bring_to(journal, State.SUBMITTED)
    path.with_name("jobs.sqlite3-shm").mkdir()

    async with open_journal(path, read_only=True) as journal:
        assert [entry.state async for entry in journal.entries()] == [State.SUBMITTED]
    with pytest.raises(JournalWriteError, match="could not be"):
        async with open_journal(path):
            pass
