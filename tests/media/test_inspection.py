"""Videos inspected on this machine and over real sockets: few bytes, few requests, no trust."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import attrs
import av
import httpx
import pytest
from av.stream import Disposition
from hypothesis import given, settings
from hypothesis import strategies as st

from akool_async._media.inspection import inspect_file, inspect_url
from akool_async._model.media import READ_LIMIT, MediaError, MediaFacts, MediaProblem
from akool_async.sandbox.media import sample_video
from tests.threads import serve_in_thread

FILM = sample_video(2.0, width=64, height=48)
FACTS = MediaFacts(
    container="mp4",
    bytes=len(FILM),
    seconds=2.0,
    width=64,
    height=48,
    fps=24.0,
    video_codec="h264",
    audio_codec="aac",
    has_subtitles=False,
)
INDEX = FILM.index(b"moov") - 4
LARGE = 300 * 2**20


def copied(data: bytes, container: str, keep: tuple[str, ...] = ("video", "audio"), **options: str) -> bytes:
    buffer = io.BytesIO()
    with (
        av.open(io.BytesIO(data), "r") as source,
        av.open(buffer, "w", format=container, container_options=options) as out,
    ):
        streams = [each for each in source.streams if each.type in keep]
        copies = {each.index: out.add_stream_from_template(each, opaque=True) for each in streams}
        for packet in source.demux(streams):
            if packet.size:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    return buffer.getvalue()


def song_with_cover() -> bytes:
    buffer = io.BytesIO()
    with av.open(io.BytesIO(FILM), "r") as source, av.open(buffer, "w", format="mp4") as out:
        cover: Any = out.add_stream("mjpeg", 1, width=64, height=48, pix_fmt="yuvj420p")
        cover.disposition = Disposition.attached_pic
        song = out.add_stream_from_template(source.streams.audio[0], opaque=True)
        picture = av.VideoFrame(64, 48, "yuvj420p")
        picture.pts = 0
        out.mux([*cover.encode(picture), *cover.encode(None)])
        for packet in source.demux(audio=0):
            if packet.size:
                packet.stream = song
                out.mux(packet)
    return buffer.getvalue()


def problem(data: bytes) -> MediaProblem:
    with pytest.raises(MediaError) as caught:
        inspect_file(data)
    return caught.value.problem


def test_a_file_on_this_machine_is_inspected(tmp_path: Path) -> None:
    (tmp_path / "talk.mp4").write_bytes(FILM)

    assert inspect_file(tmp_path / "talk.mp4") == inspect_file(FILM) == FACTS
    assert FACTS.has_audio


@pytest.mark.parametrize(
    ("container", "options", "name"),
    [
        ("mov", {}, "mp4"),
        ("mp4", {"movflags": "frag_keyframe+empty_moov"}, "mp4"),
        ("matroska", {}, "matroska"),
        ("matroska", {"live": "1"}, "matroska"),
        ("mpegts", {"output_ts_offset": "3600"}, "mpegts"),
        ("flv", {}, "flv"),
    ],
)
def test_containers_are_known_and_their_length_is_measured_where_they_do_not_say_it(
    container: str, options: dict[str, str], name: str
) -> None:
    facts = inspect_file(copied(FILM, container, **options))

    assert (facts.container, facts.video_codec, facts.audio_codec) == (name, "h264", "aac")
    assert facts.seconds == pytest.approx(2.0, abs=0.15)
    assert facts.fps == pytest.approx(24, rel=0.05)


def test_silence_and_an_encoding_that_nobody_knows_are_facts_not_errors() -> None:
    assert not inspect_file(copied(FILM, "mp4", keep=("video",))).has_audio
    assert inspect_file(FILM.replace(b"avc1", b"zz99")).video_codec == "unknown"


ZEROED = FILM[: FILM.index(b"mdat") + 4] + bytes(INDEX - FILM.index(b"mdat") - 4) + FILM[INDEX:]
WAVE = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\0\0\0\0"


@pytest.mark.parametrize(
    ("data", "expected", "words"),
    [
        (b"", MediaProblem.EMPTY, "empty"),
        (b"<!DOCTYPE html><title>Log in</title>", MediaProblem.NOT_VIDEO, "a web page"),
        (b"\n <html>", MediaProblem.NOT_VIDEO, "a web page"),
        (b"%PDF-1.7\n%\xe2\xe3", MediaProblem.NOT_VIDEO, "a PDF document"),
        (b'{"error": 1}', MediaProblem.NOT_VIDEO, "a JSON document"),
        (b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n", MediaProblem.NOT_VIDEO, "a playlist"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", MediaProblem.NOT_VIDEO, "a playlist"),
        (b"<?xml version='1.0'?><MPD/>", MediaProblem.NOT_VIDEO, "an XML document"),
        (bytes(5000), MediaProblem.NOT_VIDEO, "not a video"),
        (WAVE, MediaProblem.NOT_VIDEO, "not a video"),
        (copied(FILM, "mp4", keep=("audio",)), MediaProblem.NOT_VIDEO, "only audio"),
        (song_with_cover(), MediaProblem.NOT_VIDEO, "only audio"),
        (ZEROED, MediaProblem.NOT_VIDEO, "can be decoded"),
        (FILM[:INDEX], MediaProblem.TRUNCATED, "cut short"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else str(value)[:30],
)
def test_what_is_not_a_video_is_named(data: bytes, expected: MediaProblem, words: str) -> None:
    with pytest.raises(MediaError, match=words) as caught:
        inspect_file(data)

    assert caught.value.problem is expected
    assert "nothing was spent" in str(caught.value)


def test_a_list_of_files_that_are_really_there_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "private.mp4").write_bytes(FILM)
    listed = b"ffconcat version 1.0\nfile private.mp4\n"
    with av.open(io.BytesIO(listed), "r") as followed:
        assert len(followed.streams) == 2

    assert problem(listed) is MediaProblem.NOT_VIDEO


@pytest.mark.parametrize("container", ["mp4", "matroska"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_file_that_ends_too_early_is_cut_short(container: str, kept: float) -> None:
    data = copied(FILM, container)

    assert problem(data[: round(len(data) * kept)]) is MediaProblem.TRUNCATED


@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_file_with_its_index_in_front_that_ends_too_early_is_cut_short(kept: float) -> None:
    data = FILM[:32] + FILM[INDEX:] + FILM[32:INDEX]
    shift = len(FILM) - INDEX

    assert problem(moved(data, shift)[: round(len(data) * kept)]) is MediaProblem.TRUNCATED


def moved(data: bytes, by: int) -> bytes:
    """Correct the places of the chunks in an MP4 whose content has moved."""
    out, at = bytearray(data), data.find(b"stco")
    while at > 0:
        for entry in range(at + 12, at + 12 + 4 * int.from_bytes(data[at + 8 : at + 12], "big"), 4):
            out[entry : entry + 4] = (int.from_bytes(data[entry : entry + 4], "big") + by).to_bytes(4, "big")
        at = data.find(b"stco", at + 4)
    return bytes(out)


@given(
    places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=30),
    kept=st.just(1.0) | st.floats(0, 1),
)
@settings(deadline=None, max_examples=100)
def test_any_damage_gives_facts_or_a_media_error(places: list[tuple[float, int]], kept: float) -> None:
    data = bytearray(FILM)
    for place, value in places:
        data[int(place * len(data))] = value

    try:
        found: object = inspect_file(bytes(data[: round(len(data) * kept)]))
    except MediaError as error:
        found = error

    assert isinstance(found, MediaFacts | MediaError)


@attrs.define
class Host:
    """A file host: how it answers, and what it was asked and has sent."""

    answer: Callable[[BaseHTTPRequestHandler], None]
    url: str = ""
    asked: list[tuple[str, str]] = attrs.field(factory=list)
    sent: int = 0


def with_ranges(size: int, read: Callable[[int, int], bytes], host: Host) -> Callable[[Any], None]:
    """Serve a file of `size` bytes in the ranges that are asked for."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last) + 1, size)
        body = read(start, end)
        host.sent += len(body)
        request.send_response(206)
        request.send_header("content-range", f"bytes {start}-{end - 1}/{size}")
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


def whole(body: bytes, status: int = 200, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"content_length": str(len(body)), **headers}.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(bytes(64 * 1024))


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what is wanted here."""


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host(whole(FILM))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.asked.append((self.path, self.headers["range"]))
            host.answer(self)

        def do_HEAD(self) -> None:
            raise AssertionError("a presigned GET must not be asked with HEAD")

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with serve_in_thread(QuietServer(("127.0.0.1", 0), Handler)) as url:
        host.url = f"{url}/talk.mp4?signature=secret"
        yield host


async def inspected(url: str, **options: Any) -> MediaFacts:
    async with httpx.AsyncClient(trust_env=False, timeout=120) as http:
        facts = (await inspect_url(url, http=http, **options)).facts
    assert facts is not None
    return facts


async def refused(url: str, **options: Any) -> MediaError:
    with pytest.raises(MediaError) as caught:
        await inspected(url, **options)
    assert "secret" not in str(caught.value)
    return caught.value


both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@both
@pytest.mark.parametrize("padding", [b"mdat", b"free"])
async def test_300_mib_with_the_index_at_the_end_take_few_requests(host: Host, padding: bytes) -> None:
    head, index = FILM[:INDEX], FILM[INDEX:]
    size = len(head) + LARGE + len(index)
    box = LARGE.to_bytes(4, "big") + padding

    def read(start: int, end: int) -> bytes:  # the padding is never held in memory
        sparse = ((0, head + box), (len(head) + LARGE, index))
        out = bytearray(end - start)
        for at, data in sparse:
            low, high = max(start, at), min(end, at + len(data))
            if low < high:
                out[low - start : high - start] = data[low - at : high - at]
        return bytes(out)

    host.answer = with_ranges(size, read, host)

    facts = await inspected(host.url)

    assert facts == attrs.evolve(FACTS, bytes=size)
    assert len(host.asked) <= 4
    assert host.sent < 2**20


@both
async def test_what_can_not_be_told_from_8_mib_is_given_up(host: Host) -> None:
    # An index of 100 MiB: FFmpeg would read all of it.
    size = 32 + 100 * 2**20
    head = FILM[:32] + (size - 32).to_bytes(4, "big") + b"moov" + (size - 40).to_bytes(4, "big") + b"udta"
    names = (64).to_bytes(4, "big") + b"\xa9nam" + (56).to_bytes(2, "big") + bytes(54)
    content = head + names * (READ_LIMIT * 2 // 64)
    host.answer = with_ranges(size, lambda start, end: content[start:end].ljust(end - start, b"\0"), host)

    error = await refused(host.url)

    assert error.problem is MediaProblem.READ_LIMIT
    assert host.sent <= READ_LIMIT


@both
async def test_a_server_that_ignores_ranges_is_read_from_the_start(host: Host) -> None:
    assert await inspected(host.url) == FACTS
    assert host.asked == [("/talk.mp4?signature=secret", "bytes=0-131071")]


@pytest.mark.parametrize("answer", [endless, whole(b"", content_length=str(LARGE))], ids=["endless", "large"])
async def test_a_body_without_ranges_is_not_read_beyond_the_limit(host: Host, answer: Any) -> None:
    host.answer = answer

    assert (await refused(host.url)).problem is MediaProblem.READ_LIMIT
    assert len(host.asked) == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (whole(b"denied", 403), MediaProblem.REFUSED),
        (whole(b"gone", 410), MediaProblem.REFUSED),
        (whole(b"broken", 503), MediaProblem.UNREACHABLE),
        (whole(b"", 416), MediaProblem.EMPTY),
        (whole(b"", 200), MediaProblem.EMPTY),
        (whole(FILM, 206, content_range="bytes 5-9/100"), MediaProblem.UNREACHABLE),
        (whole(FILM[:1], 206, content_range=f"bytes 0-0/{len(FILM)}"), MediaProblem.UNREACHABLE),
        (whole(FILM, 206), MediaProblem.UNREACHABLE),
        (whole(FILM, 200, content_encoding="gzip"), MediaProblem.UNREACHABLE),
        (whole(FILM, 200, content_length=str(len(FILM) + 9)), MediaProblem.UNREACHABLE),
        (whole(b"", 302, location="file:///etc/passwd"), MediaProblem.UNREACHABLE),
        (whole(b"", 302, location="/talk.mp4"), MediaProblem.UNREACHABLE),
        (whole(b"<html>Sign in</html>"), MediaProblem.NOT_VIDEO),
        (whole(b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n"), MediaProblem.NOT_VIDEO),
    ],
)
async def test_answers_that_are_no_video(host: Host, answer: Any, expected: MediaProblem) -> None:
    host.answer = answer

    assert (await refused(host.url)).problem is expected


async def test_a_file_that_changes_while_it_is_read_is_refused(host: Host) -> None:
    sizes = iter([LARGE, LARGE + 1])
    head = FILM[: FILM.index(b"mdat") - 4] + (LARGE - 100).to_bytes(4, "big") + b"mdat"
    host.answer = lambda request: with_ranges(
        next(sizes), lambda start, end: head[start:end].ljust(end - start, b"\0"), host
    )(request)

    error = await refused(host.url)

    assert error.problem is MediaProblem.UNREACHABLE
    assert "changed" in str(error)


async def test_a_redirect_is_followed_once(host: Host) -> None:
    ranges = with_ranges(len(FILM), lambda start, end: FILM[start:end], host)
    redirect = whole(b"", 302, location="/real.mp4")
    host.answer = lambda request: (redirect if "talk" in request.path else ranges)(request)

    assert await inspected(host.url) == FACTS
    assert [path for path, _ in host.asked] == ["/talk.mp4?signature=secret", "/real.mp4"]


async def test_no_address_is_reached_but_through_the_callers_client(host: Host) -> None:
    def policy(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("this address is private")

    async with httpx.AsyncClient(transport=httpx.MockTransport(policy)) as http:
        with pytest.raises(MediaError, match="ConnectError"):
            await inspect_url(host.url, http=http)

    assert host.asked == []
    assert (await refused("http://")).problem is MediaProblem.UNREACHABLE


@both
@pytest.mark.parametrize("answered", [0, 1])
async def test_a_server_that_stops_is_given_up_and_a_cancelled_caller_gets_free(
    host: Host, answered: int
) -> None:
    gone = threading.Event()
    head = FILM[: FILM.index(b"mdat") - 4] + (LARGE - 100).to_bytes(4, "big") + b"mdat"
    ranges = with_ranges(LARGE, lambda start, end: head[start:end].ljust(end - start, b"\0"), host)
    host.answer = lambda request: ranges(request) if len(host.asked) <= answered else gone.wait(120)

    try:
        error = await refused(host.url, timeout=0.3)
        host.asked.clear()
        with anyio.move_on_after(0.3) as scope:
            await inspected(host.url)
    finally:
        gone.set()

    assert error.problem is MediaProblem.UNREACHABLE
    assert scope.cancelled_caught
