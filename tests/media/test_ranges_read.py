"""How much of a video is read to look into it, over real sockets: requests, bytes and never HEAD."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from akool_async import MediaFacts, inspect
from tests.media.file_host import FileHost, Part, film

LARGE = 300 * 10**6


LENGTH = 20.0


def remuxed(folder: Path, container: str, **options: str) -> bytes:
    """Return a video in another layout; FFmpeg moves an index to the front in a file only."""
    path = folder / "remuxed"
    with (
        av.open(io.BytesIO(film(LENGTH, fps=25, width=160, height=90)), "r") as source,
        av.open(str(path), "w", format=container, container_options=options) as out,
    ):
        streams = [*source.streams.video, *source.streams.audio]
        copies = {each.index: out.add_stream_from_template(each, opaque=True) for each in streams}
        for packet in source.demux(streams):
            if packet.size:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    return path.read_bytes()


def webm(folder: Path) -> bytes:
    """Return a VP8 video of noise, which takes some space, with Opus sound."""
    path, noise = folder / "film.webm", random.Random(1)
    with av.open(str(path), "w", format="webm") as out:
        picture: Any = out.add_stream("libvpx", 5, width=160, height=90, pix_fmt="yuv420p")
        picture.options, picture.bit_rate = {"deadline": "realtime", "cpu-used": "8"}, 4_000_000
        sound: Any = out.add_stream("libopus", 48_000, layout="mono")
        for number in range(round(LENGTH * 5)):
            frame = av.VideoFrame(160, 90, "yuv420p")
            for plane in frame.planes:
                plane.update(noise.randbytes(plane.buffer_size))
            frame.pts = number
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        silence = av.AudioFrame("s16", "mono", 960)
        silence.sample_rate = 48_000
        silence.planes[0].update(bytes(silence.planes[0].buffer_size))
        for number in range(round(LENGTH * 50)):
            silence.pts = number * 960
            out.mux(sound.encode(silence))
        out.mux(sound.encode(None))
    return path.read_bytes()


def grown(files: FileHost, path: str, data: bytes, *, index_first: bool) -> str:
    """Serve an MP4 that is 300 MB larger by a box of zeros, at its end or before its index."""
    box = LARGE.to_bytes(4, "big") + b"free"
    if index_first:
        return files.add_sparse(path, len(data) + LARGE, Part(0, data + box))
    at = data.rindex(b"moov") - 4
    parts = Part(0, data[:at] + box), Part(at + LARGE, data[at:])
    return files.add_sparse(path, len(data) + LARGE, *parts)


async def looked_into(files: FileHost, url: str) -> tuple[MediaFacts, int, int]:
    facts = await inspect(url, allow_private=True)
    assert {method for method, *_ in files.asked} == {"GET"}
    print(f"\n{url.rpartition('/')[2]}: {len(files.asked)} GETs, {files.sent:,} of {facts.bytes:,} bytes")
    return facts, len(files.asked), files.sent


FAST = {"movflags": "faststart"}
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}


@pytest.mark.parametrize(
    ("name", "make", "gets", "read"),
    [
        ("index-first.mp4", lambda folder: remuxed(folder, "mp4", **FAST), 3, 2**20),
        ("index-last.mp4", lambda folder: remuxed(folder, "mp4"), 4, 2**20),
        ("fragmented.mp4", lambda folder: remuxed(folder, "mp4", **FRAGMENTED), 6, 3 * 2**20),
        ("film.webm", webm, 4, 2**20),
        ("film.mkv", lambda folder: remuxed(folder, "matroska"), 4, 2**20),
    ],
)
async def test_a_small_video_takes_a_few_requests(
    files: FileHost, tmp_path: Path, name: str, make: Callable[[Path], bytes], gets: int, read: int
) -> None:
    facts, asked, sent = await looked_into(files, files.add(name, make(tmp_path)))

    assert facts.has_audio
    assert facts.seconds == pytest.approx(LENGTH, abs=0.3)
    assert asked <= gets
    assert sent <= read


@pytest.mark.parametrize("index_first", [True, False])
async def test_300_mb_take_no_more_than_a_small_video(
    files: FileHost, tmp_path: Path, *, index_first: bool
) -> None:
    data = remuxed(tmp_path, "mp4", **(FAST if index_first else {}))
    url = grown(files, f"large-{'first' if index_first else 'last'}.mp4", data, index_first=index_first)

    facts, asked, sent = await looked_into(files, url)

    assert facts.bytes > LARGE
    assert facts.seconds == pytest.approx(LENGTH, abs=0.3)
    assert asked <= 5
    assert sent <= 2**20
