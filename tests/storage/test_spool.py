"""What waits in the spool on its way into a bucket is bounded, and never deleted to make room."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import obstore
import pytest
from anyio.lowlevel import checkpoint

from akool_async import Completed, Saved, Storage, StorageError, open_journal
from akool_async._storage.spool import Spool
from tests.batch.test_batch import run
from tests.client.conftest import Open, video
from tests.storage.conftest import TestBucket
from tests.storage.test_results import spooled

both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
MIB = 2**20


def put(root: Path, job: str, size: int) -> None:
    """Leave a part of a result, as a run that was killed does."""
    place = root / "bucket" / job
    place.mkdir(parents=True, exist_ok=True)
    (place / "1.ja.mp4.part").write_bytes(bytes(size))


@both
async def test_a_result_waits_until_another_was_sent(tmp_path: Path) -> None:
    spool = Spool(tmp_path, tmp_path / "bucket", 130 * MIB)
    order: list[str] = []
    may_leave = [anyio.Event() for _ in range(3)]
    two_are_in = anyio.Event()

    async def save(number: int) -> None:
        async with spool.reserve(str(number)):
            order.append(f"in {number}")
            if len(order) == 2:
                two_are_in.set()
            await may_leave[number].wait()
            order.append(f"out {number}")

    with anyio.fail_after(100):
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(save, number)
                await checkpoint()
            await two_are_in.wait()
            for number in range(3):
                may_leave[number].set()

    assert sorted(order[:2]) == ["in 0", "in 1"]
    assert order.index("in 2") > order.index("out 0")


async def test_one_result_may_be_larger_than_the_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path, tmp_path / "bucket", 1)

    async with spool.reserve("one") as place:
        assert place == tmp_path / "bucket" / "one"


async def test_what_an_earlier_run_left_counts_and_is_admitted(tmp_path: Path) -> None:
    put(tmp_path, "one", 2 * MIB)
    spool = Spool(tmp_path, tmp_path / "bucket", MIB)
    async with spool.reserve("two"):  # alone, as long as the bucket is not known to take nothing
        pass
    spool.refused()

    with pytest.raises(StorageError, match=r"holds 2,097,152 bytes .* may hold 1,048,576"):
        async with spool.reserve("two"):
            pass
    async with spool.reserve("one"):
        pass
    spool.sent(1)
    async with spool.reserve("two"):
        pass
    assert (tmp_path / "bucket" / "one" / "1.ja.mp4.part").stat().st_size == 2 * MIB


async def test_a_disk_without_room_is_told_before_a_result_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def usage(path: Path) -> SimpleNamespace:
        asked.append(path)
        return SimpleNamespace(free=70 * MIB)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    spool = Spool(tmp_path / "new" / "spool", tmp_path / "new" / "spool" / "bucket", 10**12)
    async with spool.reserve("one"):
        pass
    spool.sent(80 * MIB)

    with pytest.raises(StorageError, match="73,400,320 bytes free"):
        async with spool.reserve("two"):
            pass
    assert set(asked) == {tmp_path}


async def test_a_bucket_that_takes_nothing_does_not_fill_the_disk_and_loses_nothing(
    fast_house: Open, bucket: TestBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [video(number) for number in range(4)]
    options = {"download_to": bucket.url, "storage": Storage(spool_bytes=4 * MIB)}
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        with pytest.MonkeyPatch.context() as patched:

            def refuse(*_: Any, **__: Any) -> None:
                raise OSError("the line to the bucket is down")

            patched.setattr(obstore, "put", refuse)
            outcomes = await run(client, wanted, journal=journal, max_downloads=1, **options)
        waiting = {path.name for path in spooled(tmp_path) if path.suffix == ".mp4"}
        again = await run(client, wanted, journal=journal, max_downloads=1, **options)

        assert len(home.sandbox.audit.creates) == 4
    assert all(isinstance(outcome, Completed) and outcome.saved is None for outcome in outcomes)
    assert sum("results that were not sent yet" in outcome.reason for outcome in outcomes) == 3
    assert len(waiting) == 1
    assert [type(outcome.saved) for outcome in again] == [Saved] * 4
    assert len([name for name in bucket.names if name.endswith(".mp4")]) == 4
    assert spooled(tmp_path) == []
