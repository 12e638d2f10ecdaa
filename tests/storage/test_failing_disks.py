"""Files that can be opened and not read, as on a share whose server is gone: their entries alone fail."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from akool_async import Completed, Limits, NotSubmitted, Storage, StorageError, open_batch, open_journal
from akool_async._storage.spool import Spool
from tests.batch.test_batch import run
from tests.client.conftest import Open, video
from tests.storage.conftest import TestBucket
from tests.storage.test_command_line import command
from tests.storage.test_inputs import reasons, translation
from tests.storage.test_results import LARGE

UNREADABLE = Path("/sys/devices/software/power/autosuspend_delay_ms")
"""Linux has it as a file of 4,096 bytes, and answers every read of it with EIO."""


def is_unreadable() -> bool:
    try:
        UNREADABLE.read_bytes()
    except OSError as error:
        return error.errno == errno.EIO
    return False


needs_it = pytest.mark.skipif(not is_unreadable(), reason="no file here fails when it is read")


class Gone(io.FileIO):
    """A file whose server is gone."""

    def readinto(self, _: Any, /) -> int:
        raise OSError(errno.ESTALE, "Stale file handle")


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "talk.mp4"
    path.write_bytes(os.urandom(LARGE))
    return path


@pytest.mark.parametrize("opening", [1, 2], ids=["hashed", "uploaded"])
async def test_a_file_that_can_not_be_read_is_the_failure_of_its_entry_alone(
    fast_house: Open, bucket: TestBucket, talk: Path, monkeypatch: pytest.MonkeyPatch, opening: int
) -> None:
    fdopen, opened = os.fdopen, list[int]()

    def failing(descriptor: int, *args: Any, **options: Any) -> Any:
        if os.path.samestat(os.fstat(descriptor), talk.stat()):
            opened.append(descriptor)
            if len(opened) == opening:
                return io.BufferedReader(Gone(descriptor))
        return fdopen(descriptor, *args, **options)

    monkeypatch.setattr(os, "fdopen", failing)
    requests = [video(1), translation(talk), video(2)]
    async with fast_house() as home:
        outcomes = await run(await home.client(), requests, storage=Storage(share=bucket.url))

        assert len(home.sandbox.audit.creates) == 2
    assert sorted(type(outcome).__name__ for outcome in outcomes) == [
        "Completed",
        "Completed",
        "NotSubmitted",
    ]
    (reason,) = reasons([outcome for outcome in outcomes if isinstance(outcome, NotSubmitted)])
    assert reason.startswith(f"{talk} can't be read: Stale file handle. Nothing was sent")
    assert bucket.names == []
    assert bucket.unfinished_uploads == 0


@pytest.mark.parametrize("looked_at", [1, 2, 3])
async def test_a_file_that_can_not_be_looked_at_is_the_failure_of_its_entry_alone(
    fast_house: Open, bucket: TestBucket, talk: Path, monkeypatch: pytest.MonkeyPatch, looked_at: int
) -> None:
    fstat, asked = os.fstat, list[int]()

    def failing(descriptor: int) -> os.stat_result:
        found = fstat(descriptor)
        if os.path.samestat(found, talk.stat()):
            asked.append(descriptor)
            if len(asked) == looked_at:
                raise OSError(errno.ESTALE, "Stale file handle")
        return found

    monkeypatch.setattr(os, "fstat", failing)
    async with fast_house() as home:
        outcomes = await run(await home.client(), [translation(talk)], storage=Storage(share=bucket.url))

        assert home.sandbox.audit.creates == ()
    assert f"{talk} can't be read: Stale file handle." in reasons(outcomes)[0]


@needs_it
async def test_a_service_refuses_a_file_that_can_not_be_read(
    fast_house: Open, bucket: TestBucket, tmp_path: Path
) -> None:
    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house() as home:
        client = await home.client()
        async with open_batch(client, journal=journal, storage=Storage(share=bucket.url)) as batch:
            with pytest.raises(ValueError, match="can't be read: Input/output error"):
                await batch.submit(translation(UNREADABLE))
            ticket = await batch.submit(video(1))
            assert isinstance(await ticket.outcome(), Completed)


@needs_it
async def test_preflight_leaves_a_file_that_can_not_be_read_to_its_turn(
    fast_house: Open, bucket: TestBucket
) -> None:
    options = {"storage": Storage(share=bucket.url), "preflight": Limits()}
    async with fast_house() as home:
        outcomes = await run(await home.client(), [video(1), translation(UNREADABLE)], **options)

        assert len(home.sandbox.audit.creates) == 1
    (reason,) = reasons([outcome for outcome in outcomes if isinstance(outcome, NotSubmitted)])
    assert "can't be read: Input/output error" in reason


@pytest.mark.thorough
@needs_it
@pytest.mark.timeout(600)
async def test_a_catalog_with_a_file_that_can_not_be_read_is_planned_and_run(
    fast_house: Open, bucket: TestBucket, tmp_path: Path
) -> None:
    (tmp_path / "gone.mp4").symlink_to(UNREADABLE)
    (tmp_path / "videos.csv").write_text("url\nhttps://example.com/1.mp4\n./gone.mp4\n")
    options = ["--to", "ja", "--out", "out", "--share", bucket.url]
    async with fast_house() as home:
        planned = await command(home, "plan", "videos.csv", *options, "--json", cwd=tmp_path)
        ran = await command(home, "run", "videos.csv", *options, "--yes", cwd=tmp_path)

        assert len(home.sandbox.audit.creates) == 1
    jobs = json.loads(planned.stdout)["jobs"]
    assert [job["action"] for job in jobs] == ["new", "refused"]
    assert "can't be read: Input/output error" in jobs[1]["reason"]
    assert "Traceback" not in planned.stderr + ran.stderr
    assert [path.name for path in tmp_path.rglob("*.ja.mp4")] == ["1.ja.mp4"]


@pytest.mark.parametrize("size", [5_000, LARGE])
async def test_a_result_that_can_not_be_read_on_its_way_into_a_bucket_waits_for_the_next_run(
    fast_house: Open, bucket: TestBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    opened = Path.open

    def failing(path: Path, *args: Any, **options: Any) -> Any:
        return io.BufferedReader(Gone(path)) if path.name == "1.ja.mp4" else opened(path, *args, **options)

    async with open_journal(tmp_path / "j.sqlite3") as journal, fast_house(result_bytes=size) as home:
        client = await home.client()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Path, "open", failing)
            outcomes = await run(client, [video(1), video(2)], journal=journal, download_to=bucket.url)
        (again, _) = await run(client, [video(1), video(2)], journal=journal, download_to=bucket.url)

        assert len(home.sandbox.audit.creates) == 2
    ends = {outcome.request.url[-5:]: outcome for outcome in outcomes}
    assert ends["1.mp4"].saved is None
    assert "1.ja.mp4 can't be read, so it was not sent: Stale file handle." in ends["1.mp4"].reason
    assert ends["2.mp4"].saved is not None
    assert again.saved is not None


async def test_a_manifest_that_can_not_be_read_does_not_end_the_batch(
    fast_house: Open, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_bytes = Path.read_bytes

    def failing(path: Path) -> bytes:
        if path.name == "1.ja.json":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    async with fast_house() as home:
        (outcome,) = await run(await home.client(), [video(1)], download_to=bucket.url)

    assert "1.ja.json can't be read, so it was not sent: Input/output error." in outcome.reason


async def test_a_spool_that_can_not_be_looked_at_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(shutil, "disk_usage", failing)
    with pytest.raises(StorageError, match=r"spool .* can't be looked at: Input/output error"):
        async with Spool(tmp_path, tmp_path / "bucket", 1).reserve("one"):
            pass
