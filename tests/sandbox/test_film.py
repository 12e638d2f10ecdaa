"""Real videos from a local server: taken or refused truthfully, and turned into files that play."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from akool_async.sandbox import MediaLimits
from akool_async.sandbox.captions import parse
from akool_async.sandbox.playback import probe
from akool_async.sandbox.samples import sample_video

from .conftest import LIPSYNC, Visitor, plain_client, visiting

pytestmark = pytest.mark.anyio

SRT = "1\n00:00:00,000 --> 00:00:00,900\nHello from the hill.\n"


@cache
def film(**options: Any) -> bytes:
    return sample_video(1.0, width=64, height=36, **options)


class Shelf:
    """Files on a local server, and how often each was fetched."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.fetched: list[str] = []
        self.url = ""

    def __call__(self, name: str) -> str:
        return f"{self.url}/{name}"


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    shelf = Shelf({"talk.mp4": film(), "talk.srt": SRT.encode(), "page.html": b"<html>no video</html>"})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            shelf.fetched.append(name)
            body = shelf.files.get(name, b"")
            self.send_response(200 if body else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        shelf.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield shelf
        server.shutdown()
        thread.join()


@asynccontextmanager
async def filming(**options: Any) -> AsyncIterator[Visitor]:
    async with visiting(media=True, **options) as visitor:
        yield visitor


async def fetched(url: str) -> bytes:
    async with plain_client() as http:
        return (await http.get(url)).raise_for_status().content


async def test_results_play_and_carry_captions_in_the_target_language(shelf: Shelf) -> None:
    async with filming() as visitor:
        done = await visitor.finished(
            "fr", url=shelf("talk.mp4"), caption_url=shelf("talk.srt"), caption_type=3
        )
        video = probe(await fetched(done["video"]))
        plain = probe(await fetched(done["audio_splits"]["no_caption_video_url"]))
        original = parse((await fetched(done["audio_splits"]["original_srt_url"])).decode())
        translated = parse((await fetched(done["audio_splits"]["translated_srt_url"])).decode())

    assert (video.video, video.audio, video.subtitles) == (1, 1, 1)
    assert (plain.video, plain.audio, plain.subtitles) == (1, 1, 0)
    assert original == parse(SRT)
    assert [(one.start, one.end) for one in translated] == [(0.0, 0.9)]
    assert translated[0].text != original[0].text
    assert [one.text for one in video.captions] == [one.text for one in translated]


@pytest.mark.parametrize(("caption_type", "tracks"), [(0, 0), (1, 1)])
async def test_captions_are_shown_only_when_asked_for(shelf: Shelf, caption_type: int, tracks: int) -> None:
    async with filming() as visitor:
        done = await visitor.finished(
            "fr", url=shelf("talk.mp4"), caption_url=shelf("talk.srt"), caption_type=caption_type
        )
        video = probe(await fetched(done["video"]))

    assert video.subtitles == tracks
    assert [one.text for one in video.captions] == ["Hello from the hill."] * tracks


async def test_without_captions_some_are_invented(shelf: Shelf) -> None:
    async with filming() as visitor:
        done = await visitor.finished("ja", url=shelf("talk.mp4"))
        original = parse((await fetched(done["audio_splits"]["original_srt_url"])).decode())

    assert original
    assert original[-1].end <= 1.1


async def test_the_true_length_is_locked_and_paid(shelf: Shelf) -> None:
    shelf.files["long.mp4"] = sample_video(13.0, width=64, height=36, fps=5)
    async with filming() as visitor:
        created = await visitor.create("fr", url=shelf("long.mp4"))

    assert created["data"]["video_lock_duration"] == pytest.approx(13.0, abs=0.2)
    assert created["data"]["deduction_lock_duration"] == 3


async def test_a_video_is_fetched_once_for_all_its_jobs(shelf: Shelf) -> None:
    async with filming() as visitor:
        for languages in ("fr,ja", "hi"):
            await visitor.create(languages, url=shelf("talk.mp4"))

    assert shelf.fetched == ["talk.mp4"]


async def test_a_result_is_the_same_every_time(shelf: Shelf) -> None:
    async with filming() as visitor, plain_client() as http:
        done = await visitor.finished("fr", url=shelf("talk.mp4"))
        whole = await http.get(done["video"])
        part = await http.get(
            done["video"], headers={"range": "bytes=100-", "if-range": whole.headers["etag"]}
        )

    assert re.fullmatch(r'"[0-9a-f]{32}"', whole.headers["etag"])
    assert (part.status_code, part.content) == (206, whole.content[100:])


@pytest.mark.parametrize(
    ("name", "limits", "code"),
    [
        ("silent.mp4", {}, 1203),
        ("talk.mp4", {"max_seconds": 0.5}, 1204),
        ("talk.mp4", {"max_bytes": 1000}, 1207),
        ("page.html", {}, 1208),
        ("nothing.mp4", {}, 1208),
        ("talk.mp4", {"codecs": frozenset({"hevc"})}, 1209),
        ("talk.mp4", {"max_fps": 10}, 1210),
    ],
)
async def test_what_the_vendor_would_not_take_is_refused(
    shelf: Shelf, name: str, limits: dict[str, Any], code: int
) -> None:
    shelf.files["silent.mp4"] = film(audio=False)
    async with filming(limits=MediaLimits(**limits)) as visitor:
        answer = await visitor.create("fr,ja", url=shelf(name))

        assert (answer["code"], answer["data"]) == (code, None)
        assert visitor.sandbox.audit.jobs == ()
        assert visitor.sandbox.audit.credits.locked == 0


async def test_a_refused_video_is_looked_at_again_next_time(shelf: Shelf) -> None:
    async with filming() as visitor:
        before = (await visitor.create(url=shelf("late.mp4")))["code"]
        shelf.files["late.mp4"] = film()
        after = (await visitor.create(url=shelf("late.mp4")))["code"]

    assert (before, after) == (1208, 1000)


async def test_an_address_where_nobody_is(shelf: Shelf) -> None:
    async with filming() as visitor:
        assert (await visitor.create(url="http://127.0.0.1:9/talk.mp4"))["code"] == 1208


@pytest.mark.parametrize("captions", ["nothing.srt", "broken.srt", "binary.srt"])
async def test_captions_that_are_none_are_refused(shelf: Shelf, captions: str) -> None:
    shelf.files["broken.srt"] = b"1\n00:00:05,000 --> 00:00:01,000\nbackwards\n"
    shelf.files["binary.srt"] = b"\xff\xfe\x00"
    async with filming() as visitor:
        answer = await visitor.create(url=shelf("talk.mp4"), caption_url=shelf(captions))

    assert answer["code"] == 1003


async def test_a_lipsync_is_made_of_the_real_video_too(shelf: Shelf) -> None:
    async with filming() as visitor:
        fields = {"video_url": shelf("talk.mp4"), "audio_url": "https://example.com/a.wav"}
        created = await visitor.post(LIPSYNC, fields)
        visitor.clock.advance(100_000)
        done = (await visitor.status(created["data"]["_id"]))["data"]

        assert probe(await fetched(done["video"])).video == 1
