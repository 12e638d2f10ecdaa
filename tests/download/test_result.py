"""The files of one result: the video decides, and whatever is wrong with another file is named."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import attrs
import pytest

from akool_async import AkoolClient, FileBusyError, Saved, Snapshot, Status
from akool_async._download import DownloadRequest
from akool_async._model.responses import AudioSplits
from tests.client.moments import until
from tests.download.conftest import QUICK, SRT, film, names
from tests.download.host import Asked, Host, Reply, hosting, part

VTT = b"WEBVTT\n\n00:01.000 --> 00:02.000\nHello\n"
ASS = b"[Script Info]\nTitle: x\n\n[Events]\nDialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,Hi\n"


@asynccontextmanager
async def vendor(answer: Callable[[Asked], Reply]) -> AsyncIterator[tuple[Host, AkoolClient, Snapshot]]:
    """A file host that is the API too, and a job whose files it has: /v, /t and /o."""

    def both(asked: Asked) -> Reply:
        return part(film(), asked) if asked.path == "/v" else answer(asked)

    async with hosting(both) as host, AkoolClient(api_key="key", host=host.url, retry=QUICK) as client:
        splits = AudioSplits(translated_srt_url=f"{host.url}/t", original_srt_url=f"{host.url}/o")
        done = Snapshot(job_id="job-1", status=Status.COMPLETED, url=f"{host.url}/v", audio_splits=splits)
        yield host, client, done


async def save(client: AkoolClient, done: Snapshot, folder: Path) -> Saved:
    request = DownloadRequest(done=done, stem=folder / "a")
    return await client.session.download(request)


READABLE = {
    "SRT": (SRT, ".srt"),
    "an arrow in the text": (b"1\n00:00:00,000 --> 00:00:02,000\nA --> B", ".srt"),
    "a last cue without text": (SRT + b"\n3\n00:00:04,000 --> 00:00:05,000\n\n", ".srt"),
    "UTF-16 without a mark": (SRT.decode().encode("utf-16-le"), ".srt"),
    "UTF-16 the other way round": (SRT.decode().encode("utf-16-be"), ".srt"),
    "Latin-1": (SRT.replace(b"hello", b"gr\xfc\xdfe"), ".srt"),
    "WebVTT": (VTT, ".vtt"),
    "WebVTT with a mark": (b"\xef\xbb\xbf" + VTT, ".vtt"),
    "ASS": (ASS, ".ass"),
    "ASS in UTF-16": (ASS.decode().encode("utf-16"), ".ass"),
}


@pytest.mark.parametrize("how", READABLE)
async def test_subtitles_that_can_be_read_are_saved_under_the_ending_of_their_format(
    tmp_path: Path, how: str
) -> None:
    content, ending = READABLE[how]
    async with vendor(lambda _: Reply(body=content)) as (host, client, done):
        saved = await save(client, done, tmp_path)
        asked = len(host.asked)
        again = await save(client, done, tmp_path)

    assert saved.translated_srt == tmp_path / f"a{ending}"
    assert saved.original_srt == tmp_path / f"a.original{ending}"
    assert saved.translated_srt.read_bytes() == content
    assert again == saved
    assert Saved.from_paths([str(path) for path in saved.files]) == saved
    assert len(host.asked) == asked


REFUSED = {
    "empty": (Reply(body=b""), "empty"),
    "blank": (Reply(body=b"\xef\xbb\xbf\r\n"), "empty"),
    "no times": (Reply(body=b"no times here\n"), "a text"),
    "a page": (Reply(body=b"<html>00:00:00,000 --> 00:00:02,000"), "a page"),
    "compressed": (Reply(headers={"content-encoding": "gzip"}, body=gzip.compress(SRT)[:-9]), "gzip"),
    "a video": (Reply(body=film()), "unknown format"),
    "half a line of times": (Reply(body=SRT[:60]), "is missing"),
    "HTTP 400": (Reply(status=400), "400"),
    "HTTP 402": (Reply(status=402), "402"),
    "HTTP 403": (Reply(status=403), "403"),
    "HTTP 404": (Reply(status=404), "404"),
    "HTTP 500": (Reply(status=500), "500"),
    "a redirect to nowhere": (Reply(status=302), "redirect"),
    "a redirect to another network": (
        Reply(status=302, headers={"location": "https://user@files.example/"}),
        "user name",
    ),
    "a broken connection": (Reply(body=SRT, keep=5), "broke"),
    "too large": (Reply(headers={"content-length": str(2**40)}, body=b"1"), "larger"),
}


@pytest.mark.parametrize("how", REFUSED)
async def test_a_bad_subtitle_file_never_keeps_a_whole_video_from_its_name(tmp_path: Path, how: str) -> None:
    reply, words = REFUSED[how]
    good = False

    def answer(asked: Asked) -> Reply:
        if asked.path == "/o" or (good and asked.path == "/t"):
            return Reply(body=SRT)
        return reply  # the status of the job, too: no fresh URL can be had

    async with vendor(answer) as (host, client, done):
        saved = await save(client, done, tmp_path)
        listed = json.loads((tmp_path / "a.json").read_text())
        assert (tmp_path / "a.mp4").read_bytes() == film()
        assert names(tmp_path) == ["a.json", "a.mp4", "a.original.srt"]
        assert (saved.translated_srt, saved.original_srt) == (None, tmp_path / "a.original.srt")
        assert words in saved.missing["translated_srt"]
        assert listed["missing"] == saved.missing
        good = True
        host.asked.clear()
        later = await save(client, done, tmp_path)

    assert later.translated_srt == tmp_path / "a.srt"
    assert later.missing == {}
    assert {asked.path for asked in host.asked} == {"/t"}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
@pytest.mark.parametrize("which", ["/v", "/t", "/o"])
async def test_an_expired_url_is_replaced_by_a_fresh_one_once(
    tmp_path: Path, status: int, which: str
) -> None:
    files = {"/v": film(), "/t": SRT, "/o": SRT + b"\n"}

    def answer(asked: Asked) -> Reply:
        path, _, fresh = asked.path.partition("?")
        if path.startswith("/api"):
            splits = {"translated_srt_url": f"{host.url}/t?new", "original_srt_url": f"{host.url}/o?new"}
            data = {"_id": "job-1", "video_status": 3, "video": f"{host.url}/v?new", "audio_splits": splits}
            body = json.dumps({"code": 1000, "msg": "OK", "data": data}).encode()
            return Reply(headers={"content-type": "application/json"}, body=body)
        return Reply(status=status) if path == which and not fresh else part(files[path], asked)

    async with hosting(answer) as host, AkoolClient(api_key="key", host=host.url, retry=QUICK) as client:
        splits = AudioSplits(translated_srt_url=f"{host.url}/t", original_srt_url=f"{host.url}/o")
        done = Snapshot(job_id="job-1", status=Status.COMPLETED, url=f"{host.url}/v", audio_splits=splits)
        saved = await client.download(done, into=tmp_path, name="a")

    assert len(saved.files) == 4
    assert saved.missing == {}
    assert [asked.path.startswith("/api") for asked in host.asked].count(True) == 1


async def test_a_video_that_can_not_be_verified_is_told_and_tried_again_by_a_later_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = film()[:9000]

    async with (
        hosting(lambda asked: part(content, asked)) as host,
        AkoolClient(api_key="key", host=host.url, retry=QUICK) as client,
    ):
        done = Snapshot(job_id="job-1", status=Status.COMPLETED, url=f"{host.url}/v")
        saved = await save(client, done, tmp_path)
        (listed,) = json.loads((tmp_path / "a.json").read_text())["files"]
        still = await save(client, done, tmp_path)
        host.answer = lambda _: Reply(status=500)
        kept = await save(client, done, tmp_path)
        host.answer = lambda asked: part(film(), asked, etag='"two"')
        whole = await save(client, done, tmp_path)

    assert not saved.verified
    assert "9,000 bytes" in saved.unverified["video"]
    assert (listed["verified"], listed["reason"]) == (False, saved.unverified["video"])
    assert "could not be verified" in caplog.text
    assert still.unverified == kept.unverified == saved.unverified
    assert whole.verified
    assert (tmp_path / "a.mp4").read_bytes() == film()


async def test_a_video_that_its_owner_changed_is_not_replaced_though_it_was_not_verified(
    tmp_path: Path,
) -> None:
    async with (
        hosting(lambda asked: part(film()[:9000], asked)) as host,
        AkoolClient(api_key="key", host=host.url, retry=QUICK) as client,
    ):
        done = Snapshot(job_id="job-1", status=Status.COMPLETED, url=f"{host.url}/v")
        await save(client, done, tmp_path)
        (tmp_path / "a.mp4").write_text("mine")
        with pytest.raises(ValueError, match="already exists"):
            await save(client, done, tmp_path)

    assert (tmp_path / "a.mp4").read_text() == "mine"


async def test_the_video_without_captions_is_one_that_may_be_missing(tmp_path: Path) -> None:
    async with vendor(lambda _: Reply(status=500)) as (host, client, done):
        splits = AudioSplits(no_caption_video_url=f"{host.url}/n")
        request = DownloadRequest(
            done=attrs.evolve(done, audio_splits=splits), stem=tmp_path / "a", without_captions=True
        )
        saved = await client.session.download(request)

    assert list(saved.missing) == ["without_captions"]
    assert saved.video.exists()


# Several that download one result at the same time.


async def test_tasks_that_download_one_result_into_one_folder_share_the_download(tmp_path: Path) -> None:
    async with vendor(lambda _: Reply(body=SRT)) as (host, client, done):
        saved = []

        async def download() -> None:
            saved.append(await client.download(done, into=tmp_path, name="a"))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(download)
        asked = [asked.path for asked in host.asked]
        alone = await client.download(done, into=tmp_path / "alone")

    assert saved == [saved[0]] * 5
    assert saved[0].video.read_bytes() == alone.video.read_bytes() == film()
    assert asked == [asked.path for asked in host.asked[len(asked) :]]


async def test_where_the_first_of_them_is_cancelled_the_next_one_downloads(tmp_path: Path) -> None:
    saved = []
    async with hosting(lambda asked: part(film(), asked, keep=5000, hang=True)) as host:
        done = Snapshot(job_id="job-1", status=Status.COMPLETED, url=f"{host.url}/v")
        async with (
            AkoolClient(api_key="key", host=host.url, retry=QUICK) as client,
            anyio.create_task_group() as waiting,
        ):

            async def download() -> None:
                saved.append(await client.download(done, into=tmp_path, name="a"))

            async with anyio.create_task_group() as first:
                first.start_soon(download)
                await until(lambda: host.asked)
                waiting.start_soon(download)
                await anyio.wait_all_tasks_blocked()
                host.answer = lambda asked: part(film(), asked)
                first.cancel_scope.cancel()

    assert [one.video.read_bytes() for one in saved] == [film()]


async def test_the_result_of_another_job_is_refused_while_the_first_is_downloaded(tmp_path: Path) -> None:
    """To wait for it would be in vain: its name is taken in any case."""
    async with hosting(lambda asked: part(film(), asked, keep=5000, hang=True)) as host:
        one, other = (
            Snapshot(job_id=job_id, status=Status.COMPLETED, url=f"{host.url}/v")
            for job_id in ("job-1", "job-2")
        )
        async with (
            AkoolClient(api_key="key", host=host.url, retry=QUICK) as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(lambda: client.download(one, into=tmp_path, name="a"))
            await until(lambda: host.asked)
            with pytest.raises(FileBusyError, match="use another name"):
                await client.download(other, into=tmp_path, name="a")
            tasks.cancel_scope.cancel()
