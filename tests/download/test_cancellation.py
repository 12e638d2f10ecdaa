"""A download cancelled at any step: no name that is not whole, a part to go on with, nothing left open."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import anyio
from anyio.lowlevel import checkpoint

from akool_async import AkoolClient, Snapshot, Status
from akool_async._download import DownloadRequest
from akool_async._model.responses import AudioSplits
from akool_async.sandbox import Fault, Sandbox
from tests.client.conftest import OFTEN, video
from tests.client.moments import until
from tests.download.conftest import QUICK, SRT, downloads, fetch, film
from tests.download.host import Asked, Reply, hosting, part

STEPS = int(os.environ.get("AKOOL_TEST_DOWNLOADS", "24"))
"""How far apart the steps are at which a download is cancelled: 24 looks at a few, 500 at nearly all."""


def steps(last: int) -> list[int]:
    return list(range(0, last, max(last // STEPS, 1)))


def _open_files() -> set[str]:
    place = Path("/proc/self/fd")
    if not place.exists():
        return set()
    links = []
    for entry in place.iterdir():
        try:
            links.append(str(entry.readlink()))
        except OSError:
            continue
    return {link for link in links if ".part" in link}


def check(folder: Path, whole: dict[str, bytes]) -> None:
    """Nothing half stands under a name, and every part is the beginning of its file."""
    if not folder.exists():
        return
    for path in folder.iterdir():
        if path.name in whole:
            assert path.read_bytes() == whole[path.name]
        elif path.suffix == ".part" and path.name.removesuffix(".part") in whole:
            assert whole[path.name.removesuffix(".part")].startswith(path.read_bytes())
        else:
            assert path.suffix == ".about" or path.name == "a.json", f"{path} was left behind"
    assert _open_files() == set()


async def _cancelled_after(steps: int, work, *arguments) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work, *arguments)
        for _ in range(steps):
            await checkpoint()
        tasks.cancel_scope.cancel()


async def test_one_file_is_gone_on_with_after_any_step(tmp_path: Path) -> None:
    content = film(700_000)

    def answer(asked: Asked) -> Reply:
        return part(content, asked, keep=None if asked.first else 350_000)

    async with hosting(answer) as host:
        for number in steps(260):
            folder = tmp_path / str(number)
            folder.mkdir()
            await _cancelled_after(number, fetch, downloads(), f"{host.url}/a.mp4", folder / "a.mp4")
            check(folder, {"a.mp4": content})
            there = (folder / "a.mp4.part").stat().st_size if (folder / "a.mp4.part").exists() else 0
            if not (folder / "a.mp4").exists():
                host.asked.clear()
                await fetch(downloads(), f"{host.url}/a.mp4", folder / "a.mp4")
                assert host.asked[0].first == there
            check(folder, {"a.mp4": content})
            assert (folder / "a.mp4").exists()


async def test_a_result_is_brought_home_once_after_any_step(tmp_path: Path) -> None:
    whole = {"a.mp4": film(30_000), "a.srt": SRT, "a.original.srt": SRT * 2}
    files = {"/v": whole["a.mp4"], "/t": SRT, "/o": SRT * 2}
    threads = threading.active_count()
    async with hosting(lambda asked: part(files[asked.path], asked, etag=f'"{asked.path}"')) as host:
        splits = AudioSplits(original_srt_url=f"{host.url}/o", translated_srt_url=f"{host.url}/t")
        seen = Snapshot(job_id="job-1", status=Status.COMPLETED, url=f"{host.url}/v", audio_splits=splits)
        async with AkoolClient(api_key="key", host=host.url, retry=QUICK) as client:
            for number in steps(200):
                folder = tmp_path / str(number)

                async def bring(folder: Path = folder) -> None:
                    await client.session.download(DownloadRequest(done=seen, stem=folder / "a"))

                await _cancelled_after(number, bring)
                check(folder, whole)
                saved = await client.session.download(DownloadRequest(done=seen, stem=folder / "a"))
                assert sorted(path.name for path in folder.iterdir()) == sorted([*whole, "a.json"])
                assert len(saved.files) == 4
                check(folder, whole)
                host.asked.clear()
                await client.session.download(DownloadRequest(done=seen, stem=folder / "a"))
                assert host.asked == []
    assert threading.active_count() <= threads + 45  # the event loop's own workers


async def test_nothing_that_is_home_is_fetched_again_after_a_cancellation(tmp_path: Path) -> None:
    files = {"/v": film(), "/t": SRT}

    def answer(asked: Asked) -> Reply:
        hang = asked.path == "/t" and patient
        return part(files[asked.path], asked, keep=10 if hang else None, hang=hang)

    patient = True
    async with hosting(answer) as host:
        splits = AudioSplits(translated_srt_url=f"{host.url}/t")
        seen = Snapshot(job_id="job-1", status=Status.COMPLETED, url=f"{host.url}/v", audio_splits=splits)
        async with AkoolClient(api_key="key", host=host.url, retry=QUICK) as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: client.download(seen, into=tmp_path, name="a"))
                await until(lambda: len(host.asked) == 2)
                tasks.cancel_scope.cancel()
            patient = False
            await client.download(seen, into=tmp_path, name="a")

    assert [asked.path for asked in host.asked].count("/v") == 1
    assert (tmp_path / "a.srt").read_bytes() == SRT


async def test_a_client_goes_on_downloading_after_many_cancellations(tmp_path: Path) -> None:
    """A pool that keeps a place for each cancelled connection would be full by then."""
    sandbox = Sandbox(media=False, time_scale=100_000.0, sigma=0.0, result_days=1e6)
    sandbox.faults.add(Fault(on="cdn", kind="delay", seconds=0.02))
    async with (
        sandbox.serve() as server,
        AkoolClient(api_key="sandbox-test-key", host=server.base_url, retry=QUICK, schedule=OFTEN) as client,
    ):
        done = await client.translate(video(), give_up_after=120)
        for number in range(60):
            with anyio.move_on_after(0.002 * (number % 8)):
                await client.download(done, into=tmp_path / "x", overwrite=True)
        with anyio.fail_after(120):
            saved = await client.download(done, into=tmp_path / "y")

    assert len(saved.files) == 4
