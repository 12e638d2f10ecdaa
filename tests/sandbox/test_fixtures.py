"""Real videos from a local server: taken or refused truthfully, and turned into files that play."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import pytest
from pysubs2 import SSAFile

from akool_async._media.inspection import inspect_file
from akool_async.sandbox import MediaLimits
from akool_async.sandbox.media import sample_video
from tests.threads import serve_in_thread

from .conftest import LIPSYNC, Visitor, plain_client, visiting

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

    with serve_in_thread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as shelf.url:
        yield shelf


def remuxed(data: bytes, container: str, keep: tuple[str, ...] = ("video", "audio")) -> bytes:
    """Copy the streams of some kinds into another container."""
    buffer = io.BytesIO()
    with av.open(io.BytesIO(data), "r") as source, av.open(buffer, "w", format=container) as out:
        streams = [each for each in source.streams if each.type in keep]
        copies = {each.index: out.add_stream_from_template(each, opaque=True) for each in streams}
        for packet in source.demux(streams):
            if packet.size:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    return buffer.getvalue()


def packets(data: bytes, kind: str) -> list[bytes]:
    with av.open(io.BytesIO(data), "r") as container:
        streams = [each for each in container.streams if each.type == kind]
        return [bytes(packet) for packet in container.demux(streams) if packet.size] if streams else []


def subtitles(data: bytes) -> list[str]:
    """Read the texts of the subtitle track: each is its length and its bytes."""
    return [text[2:].decode() for text in packets(data, "subtitle") if len(text) > 2]


async def srt(url: str) -> list[tuple[int, int, str]]:
    cues = SSAFile.from_string((await fetched(url)).decode(), format_="srt")
    return [(cue.start, cue.end, cue.text) for cue in cues]


@asynccontextmanager
async def filming(**options: Any) -> AsyncIterator[Visitor]:
    async with visiting(media=True, **options) as visitor:
        yield visitor


async def fetched(url: str) -> bytes:
    async with plain_client() as http:
        return (await http.get(url)).raise_for_status().content


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska", "mpegts"])
async def test_a_result_is_a_copy_with_subtitles_marked_with_the_target_language(
    shelf: Shelf, container: str
) -> None:
    original = remuxed(film(), container)
    shelf.files["talk.mp4"] = original
    async with filming() as visitor:
        done = await visitor.finished(
            "fr", url=shelf("talk.mp4"), caption_url=shelf("talk.srt"), caption_type=3
        )
        video = await fetched(done["video"])
        plain = await fetched(done["audio_splits"]["no_caption_video_url"])
        source = await srt(done["audio_splits"]["original_srt_url"])
        translated = await srt(done["audio_splits"]["translated_srt_url"])

    facts, before = inspect_file(video), inspect_file(original)
    assert facts.seconds == pytest.approx(before.seconds, abs=0.1)
    assert (facts.container, facts.audio_codec, facts.has_subtitles) == ("mp4", "aac", True)
    assert not inspect_file(plain).has_subtitles
    assert inspect_file(plain).has_audio
    assert len(packets(video, "video")) == len(packets(original, "video")) == 24
    if container != "mpegts":  # which frames its packets in another way
        assert [packets(video, kind) for kind in ("video", "audio")] == [
            packets(original, kind) for kind in ("video", "audio")
        ]
    assert source == [(0, 900, "Hello from the hill.")]
    assert translated == [(0, 900, "[fr] Hello from the hill.")]
    assert subtitles(video) == ["[fr] Hello from the hill."]


async def test_every_picture_and_all_sound_of_a_result_can_be_decoded(shelf: Shelf) -> None:
    async with filming() as visitor:
        done = await visitor.finished("ja", url=shelf("talk.mp4"), caption_type=3)
        video = await fetched(done["video"])

    with av.open(io.BytesIO(video), "r") as container:
        assert sum(1 for _ in container.decode(video=0)) == 24
    with av.open(io.BytesIO(video), "r") as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) >= 24_000


@pytest.mark.parametrize(("caption_type", "texts"), [(0, []), (1, ["Hello from the hill."])])
async def test_captions_are_shown_only_when_asked_for(
    shelf: Shelf, caption_type: int, texts: list[str]
) -> None:
    async with filming() as visitor:
        done = await visitor.finished(
            "fr", url=shelf("talk.mp4"), caption_url=shelf("talk.srt"), caption_type=caption_type
        )
        video = await fetched(done["video"])

    assert inspect_file(video).has_subtitles == bool(texts)
    assert subtitles(video) == texts


async def test_captions_may_be_ass_overlap_and_reach_beyond_the_end(shelf: Shelf) -> None:
    shelf.files["talk.ass"] = (
        b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name\nStyle: Default\n\n[Events]\n"
        b"Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        b"Dialogue: 0,0:00:00.40,0:00:30.00,Default,,0,0,0,,{\\i1}Two\\Nlines\n"
        b"Dialogue: 0,0:00:00.00,0:00:00.80,Default,,0,0,0,,One\n"
        b"Dialogue: 0,0:00:20.00,0:00:30.00,Default,,0,0,0,,Never\n"
    )
    async with filming() as visitor:
        done = await visitor.finished(
            "fr", url=shelf("talk.mp4"), caption_url=shelf("talk.ass"), caption_type=2
        )
        video = await fetched(done["video"])

    assert subtitles(video) == ["[fr] One", "[fr] Two\nlines"]
    assert inspect_file(video).seconds == pytest.approx(1.0, abs=0.1)


async def test_without_captions_some_are_invented(shelf: Shelf) -> None:
    async with filming() as visitor:
        done = await visitor.finished("ja", url=shelf("talk.mp4"), caption_type=3)
        original = await srt(done["audio_splits"]["original_srt_url"])
        video = await fetched(done["video"])

    assert [(start, end) for start, end, _ in original] == [(0, 1000)]
    assert subtitles(video) == [f"[ja] {original[0][2]}"]


async def test_the_true_length_is_locked_and_paid(shelf: Shelf) -> None:
    shelf.files["long.mp4"] = sample_video(13.0, width=64, height=36, fps=5)
    async with filming() as visitor:
        created = await visitor.create("fr", url=shelf("long.mp4"))

    assert created["data"]["video_lock_duration"] == pytest.approx(13.0, abs=0.2)
    assert created["data"]["deduction_lock_duration"] == 4


async def test_a_video_is_downloaded_once_for_all_its_results(shelf: Shelf) -> None:
    async with filming() as visitor:
        done = [await visitor.finished(language, url=shelf("talk.mp4")) for language in ("fr", "ja")]
        looked_at = len(shelf.fetched)
        results = {await fetched(one["video"]) for one in done}

    assert len(results) == 2
    assert shelf.fetched[looked_at:] == ["talk.mp4"]


async def test_a_result_whose_source_is_gone_is_not_found(shelf: Shelf) -> None:
    async with filming() as visitor, plain_client() as http:
        done = await visitor.finished(url=shelf("talk.mp4"))
        del shelf.files["talk.mp4"]
        gone = await http.get(done["video"])

    assert gone.status_code == 404


async def test_a_list_of_files_in_the_place_of_a_source_is_not_followed(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "private.mp4").write_bytes(film())
    async with filming() as visitor, plain_client() as http:
        done = await visitor.finished(url=shelf("talk.mp4"))
        shelf.files["talk.mp4"] = b"ffconcat version 1.0\nfile private.mp4\n"
        withheld = await http.get(done["video"])

    assert withheld.status_code == 404


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
        ("cut.mp4", {}, 1208),
        ("audio.mp4", {}, 1208),
        ("playlist.mp4", {}, 1208),
        ("unknown.mp4", {}, 1209),
        ("talk.mp4", {"codecs": frozenset({"hevc"})}, 1209),
        ("talk.mp4", {"max_fps": 10}, 1210),
    ],
)
async def test_what_the_vendor_would_not_take_is_refused(
    shelf: Shelf, name: str, limits: dict[str, Any], code: int
) -> None:
    shelf.files |= {
        "silent.mp4": film(audio=False),
        "cut.mp4": film()[:-2000],
        "audio.mp4": remuxed(film(), "mp4", keep=("audio",)),
        "playlist.mp4": b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n",
        "unknown.mp4": film().replace(b"avc1", b"zz99"),
    }
    async with filming(limits=MediaLimits(**limits)) as visitor:
        answer = await visitor.create("fr,ja", url=shelf(name))

        assert (answer["code"], "data" in answer) == (code, False)
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


def test_the_default_limits_are_the_documented_ones() -> None:
    limits = MediaLimits()

    assert (limits.max_seconds, limits.max_bytes, limits.max_fps) == (60.0, 300 * 2**20, 30.0)
    assert limits.codecs == {"h264", "hevc", "vp9", "mpeg4", "av1"}


@pytest.mark.parametrize("change", [{"max_seconds": 0}, {"max_bytes": 0}, {"max_fps": -1}])
def test_limits_that_let_nothing_in_are_a_mistake(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="max_"):
        MediaLimits(**change)


@pytest.mark.parametrize(("fps", "code"), [(30, 1000), (31, 1210)])
async def test_exactly_as_many_frames_as_are_allowed_are_taken(shelf: Shelf, fps: int, code: int) -> None:
    shelf.files["fast.mkv"] = remuxed(film(fps=fps), "matroska")
    async with filming() as visitor:
        assert (await visitor.create(url=shelf("fast.mkv")))["code"] == code


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

        assert inspect_file(await fetched(done["video"])).has_audio
