"""A worker that can't save results pays for nothing more, and says so."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from akool_async import ConfigurationError, State
from akool_async._download import files as disk
from akool_async.workers.dbos import Worker, WorkerSettings, enqueue
from tests.client.moments import until
from tests.ledger.conftest import Bench, video

access = os.access


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for better days looks often."""
    monkeypatch.setattr("akool_async.workers.dbos._AGAIN", (0.05, 1.0, 0.05))
    monkeypatch.setattr("akool_async.workers.admission._STOPPED", 0.05)
    monkeypatch.setattr("akool_async.workers.admission._FIRST", 0.05)


def read_only(folder: Path) -> Callable[[Path, int], bool]:
    """Return `os.access` as it is for somebody who must not write into a folder."""
    return lambda path, mode: Path(path) != folder and access(path, mode)


async def test_a_worker_does_not_begin_where_nothing_can_be_saved(
    quick: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await quick.ledger.plan([video(1)])
    await enqueue(quick.ledger)
    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "access", read_only(tmp_path))
    for folder, reason in ((tmp_path / "file", "is not a folder"), (tmp_path / "new", "is read-only")):
        worker = Worker(quick.ledger, quick.client, WorkerSettings(name="one", into=folder))
        with pytest.raises(ConfigurationError, match=reason):
            await worker.run(on_ready=worker.stop)

    assert not quick.sandbox.audit.creates
    assert not await quick.ledger.workers()


async def test_nothing_is_paid_while_the_folder_is_read_only(
    quick: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await quick.ledger.plan(video(number) for number in range(3))
    worker = Worker(quick.ledger, quick.client, WorkerSettings(name="one", into=tmp_path))
    async with anyio.create_task_group() as tasks:
        with monkeypatch.context() as remounted:
            remounted.setattr(os, "access", read_only(tmp_path))
            for number in range(3):
                tasks.start_soon(worker._finish, f"video-{number}", "ja", 0, None)
            await until(lambda: worker._admission._misses > 3)
            assert not quick.sandbox.audit.creates

    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert (await quick.ledger.counts())[State.DELIVERED] == 3
    assert ["Nothing more is submitted" in record.getMessage() for record in warnings] == [True]


async def test_a_full_disk_stops_submissions_until_results_are_saved_again(
    quick: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0

    def full(*_: object) -> None:
        nonlocal tried
        tried += 1
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    await quick.ledger.plan(video(number) for number in range(6))
    worker = Worker(quick.ledger, quick.client, WorkerSettings(name="one", into=tmp_path))
    async with anyio.create_task_group() as tasks:
        with monkeypatch.context() as broken:
            broken.setattr(disk, "ensure_free_space", full)
            tasks.start_soon(worker._finish, "video-0", "ja", 0, None)
            await until(lambda: tried > 1)
            for number in range(1, 6):
                tasks.start_soon(worker._finish, f"video-{number}", "ja", 0, None)
            before = tried
            await until(lambda: tried > before + 3)
            assert len(quick.sandbox.audit.jobs) == 1

    assert (await quick.ledger.counts())[State.DELIVERED] == 6
    assert len(quick.sandbox.audit.jobs) == 6


async def test_what_ends_unsaved_keeps_nothing_from_being_submitted(quick: Bench, tmp_path: Path) -> None:
    """As a result that expired while there was no room for it."""
    await quick.ledger.plan([video(1)])
    worker = Worker(quick.ledger, quick.client, WorkerSettings(name="one", into=tmp_path))
    worker._unsaved["video-0", "ja"] = "no room"
    await worker._finish("video-0", "ja", 0, None)  # no entry of the ledger any more

    assert await worker._finish("video-1", "ja", 0, None) is State.DELIVERED
