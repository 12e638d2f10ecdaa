"""A disk that is full or can't be written: nothing half under a name, a clear word, and on it goes later."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from akool_async import (
    AkoolClient,
    Completed,
    DownloadError,
    InvalidRequestError,
    NotSubmitted,
    Snapshot,
    Status,
    StorageError,
    open_batch,
    open_journal,
)
from akool_async._download.files import Part
from akool_async._download.network import MIB
from akool_async._download.verify import Digest
from akool_async.sandbox import Sandbox
from tests.client.conftest import OFTEN, video
from tests.download.conftest import QUICK, downloads, fetch, film, names
from tests.download.host import Host, hosting, part

AS_ROOT = pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root may mount")
NOT_AS_ROOT = pytest.mark.skipif(os.name == "nt", reason="permissions mean something else there")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@AS_ROOT
@pytest.mark.parametrize("looked", [True, False])
async def test_a_full_disk_is_told_before_or_while_it_fills(small_disk: Path, looked: bool) -> None:
    content = film(600_000)
    async with hosting(lambda asked: part(content, asked, chunked=not looked and not asked.first)) as host:
        with pytest.raises(StorageError, match="run the same again") as caught:
            await fetch(downloads(min_free_bytes=0), f"{host.url}/a.mp4", small_disk / "a.mp4")
        assert names(small_disk) in ([], ["a.mp4.part", "a.mp4.part.about"])
        assert len(host.asked) == 1
        if looked:
            assert "600" in str(caught.value)
            assert names(small_disk) == []
        subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
        await fetch(downloads(min_free_bytes=0), f"{host.url}/a.mp4", small_disk / "a.mp4")

    assert (small_disk / "a.mp4").read_bytes() == content


@AS_ROOT
async def test_a_disk_that_fills_while_a_part_is_there_keeps_what_is_sure(small_disk: Path) -> None:
    content = film(600_000)
    downloader = downloads(min_free_bytes=0, sync_every=64 * 1024)
    async with hosting(lambda asked: part(content, asked, chunked=not asked.first)) as host:
        with pytest.raises(StorageError):
            await fetch(downloader, f"{host.url}/a.mp4", small_disk / "a.mp4")
        assert content.startswith((small_disk / "a.mp4.part").read_bytes())
        subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
        await fetch(downloader, f"{host.url}/a.mp4", small_disk / "a.mp4")

    assert (small_disk / "a.mp4").read_bytes() == content


async def test_what_a_full_disk_took_half_of_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = film(4_000_000)  # more than is written at a time
    write, rooms = os.write, iter((250_000, 0))

    def full_for_a_moment(descriptor: int, data: bytes | memoryview) -> int:
        room = next(rooms, None) if len(data) > 100_000 else None  # less is none of the film
        if room == 0:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        return write(descriptor, data[:room])

    monkeypatch.setattr(os, "write", full_for_a_moment)
    async with hosting(lambda asked: part(content, asked)) as host:
        with pytest.raises(StorageError):
            await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")
        assert (tmp_path / "a.mp4.part").read_bytes() == content[:250_000]
        await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert [asked.first for asked in host.asked] == [0, 250_000]
    assert (tmp_path / "a.mp4").read_bytes() == content


@AS_ROOT
async def test_a_read_only_disk_is_told(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    async with hosting(lambda asked: part(film(), asked)) as host:
        with pytest.raises(StorageError, match="Read-only file system"):
            await fetch(downloads(), f"{host.url}/a.mp4", small_disk / "a.mp4")

    assert host.asked == []


@AS_ROOT
async def test_a_batch_on_a_full_disk_pays_no_more_and_saves_all_later(small_disk: Path) -> None:
    sandbox = Sandbox(media=False, time_scale=2000.0, sigma=0.1, result_bytes=300_000, result_days=1e6)
    requests = [video(number) for number in range(4)]
    # Room enough to begin with, and not for a result.
    subprocess.run(["mount", "-o", "remount,size=1200k", str(small_disk)], check=True)
    async with (
        sandbox.serve() as server,
        AkoolClient(api_key="sandbox-test-key", host=server.base_url, retry=QUICK, schedule=OFTEN) as client,
        open_journal(":memory:") as journal,
    ):
        options = {"journal": journal, "download_to": small_disk, "max_in_flight": 1, "max_downloads": 1}
        with anyio.fail_after(200):
            async with open_batch(client, requests, **options) as batch:
                full = [outcome async for outcome in batch]
            assert names(small_disk) == []
            subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
            async with open_batch(client, requests, **options) as batch:
                home = [outcome async for outcome in batch]

        assert len(sandbox.audit.jobs) == 4
    paid = [outcome for outcome in full if isinstance(outcome, Completed)]
    assert paid
    assert all(outcome.saved is None and "no space left" in outcome.reason for outcome in paid)
    # The file of one is not named as if it were the file of each.
    assert (
        sum("Nothing more is downloaded in this run." in outcome.reason for outcome in paid) >= len(paid) - 1
    )
    unsent = [outcome for outcome in full if isinstance(outcome, NotSubmitted)]
    assert len(paid) + len(unsent) == 4
    assert all("A result could not be saved." in outcome.reason for outcome in unsent)
    assert all(outcome.saved.video.stat().st_size == 300_000 for outcome in home)


LIMITED = """
import resource, sys
import anyio
from pathlib import Path
from akool_async import DownloadError
from tests.download.conftest import downloads, fetch

sys.dont_write_bytecode = True  # the bound would cut off what is compiled from here on
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

async def main():
    try:
        await fetch(downloads(), sys.argv[1], Path(sys.argv[2]))
    except DownloadError as error:
        print(type(error).__name__, error)

anyio.run(main)
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no such bound there")
async def test_a_file_that_the_system_will_not_let_grow_fails_alone(tmp_path: Path) -> None:
    async with hosting(lambda asked: part(film(600_000), asked)) as host:
        command = [sys.executable, "-c", LIMITED, f"{host.url}/a.mp4", str(tmp_path / "a.mp4")]
        with anyio.fail_after(200):
            done = await anyio.run_process(command)

    assert done.stdout.decode().startswith("DownloadError ")
    assert "File too large" in done.stdout.decode()
    assert "a.mp4" not in names(tmp_path)


@NOT_AS_ROOT
async def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir(mode=0o500)
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    async with hosting(lambda asked: part(film(), asked)) as host:
        with pytest.raises(StorageError, match="Permission denied"):
            await fetch(downloads(), f"{host.url}/a.mp4", folder / "a.mp4")


@pytest.mark.parametrize("place", ["a file", "below a file"])
async def test_what_is_no_folder_is_told(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    folder = tmp_path / "file" if place == "a file" else tmp_path / "file" / "below"
    async with (
        hosting(lambda asked: part(film(), asked)) as host,
        AkoolClient(api_key="key", host=host.url, retry=QUICK) as client,
    ):
        with pytest.raises(StorageError, match="Not a directory"):
            await client.download(_seen(host), into=folder)

    assert (tmp_path / "file").read_text() == "mine"


async def test_a_file_in_the_way_of_one_name_is_not_the_disks_fault(tmp_path: Path) -> None:
    (tmp_path / "a.mp4.part").mkdir()
    async with hosting(lambda asked: part(film(), asked)) as host:
        with pytest.raises(DownloadError) as caught:
            await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert not isinstance(caught.value, StorageError)


@pytest.mark.parametrize("where", ["lock", "folder"])
async def test_a_file_system_without_locks_or_folders_that_sync_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    synced = os.fsync

    def refuse(descriptor: int, *_: object) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def sync(descriptor: int) -> None:
        (refuse if stat.S_ISDIR(os.fstat(descriptor).st_mode) else synced)(descriptor)

    if where == "lock":
        monkeypatch.setattr("fcntl.flock", refuse)
    else:
        monkeypatch.setattr(os, "fsync", sync)
    async with hosting(lambda asked: part(film(), asked)) as host:
        await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert (tmp_path / "a.mp4").read_bytes() == film()


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
async def test_a_file_system_without_second_names_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    async with hosting(lambda asked: part(film(), asked)) as host:
        await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4")
        with pytest.raises(InvalidRequestError, match="already exists"):
            await fetch(downloads(), f"{host.url}/a.mp4", tmp_path / "a.mp4", owner="job-2")

    assert names(tmp_path) == ["a.mp4"]


async def test_room_is_kept_for_others(tmp_path: Path) -> None:
    async with hosting(lambda asked: part(film(), asked)) as host:
        with pytest.raises(StorageError, match="no space left"):
            await fetch(downloads(min_free_bytes=10**9 * MIB), f"{host.url}/a.mp4", tmp_path / "a.mp4")

    assert names(tmp_path) == []


def _seen(host: Host) -> Snapshot:
    return Snapshot(job_id="job-1", status=Status.COMPLETED, url=f"{host.url}/a.mp4")


def test_the_hash_of_a_part_is_that_of_the_file_whoever_wrote_it(tmp_path: Path) -> None:
    def hash_of(content: bytes) -> Digest:
        return Digest(len(content), hashlib.sha256(content).hexdigest())

    part = Part(tmp_path / "a.mp4", "job-1", "https://files.example/a.mp4")
    part.open()
    part.begin('"1"', 6)
    part.write(b"abc")
    part.write(b"def")
    assert part.digest() == hash_of(b"abcdef")

    part.path.write_bytes(b"abcdeF")
    os.utime(part.path, ns=(1, 1))  # the clock of files is coarse
    assert part.digest() == hash_of(b"abcdeF")

    part.begin('"3"', 6)
    part.write(b"abc")
    part.path.write_bytes(b"abC")
    os.utime(part.path, ns=(2, 2))
    part.write(b"def")  # its time of change is the file's from here on
    assert part.digest() == hash_of(b"abCdef")

    part.begin('"2"', 2)
    part.write(b"gh")
    assert part.digest() == hash_of(b"gh")
    part.suspend()
    again = Part(tmp_path / "a.mp4", "job-1", "https://files.example/a.mp4")
    again.open()
    again.write(b"ij")
    assert again.digest() == hash_of(b"ghij")
    again.discard()
