"""Real video files: measured, refused with the right code, rendered, and played again.

Every file is made here; the random ones are mutations of small films, with the seed printed by hypothesis.
"""

from __future__ import annotations

import functools
import io
import math
import random
import time
from array import array
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import av
import pytest
from av.stream import Disposition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from akool_async.sandbox.captions import Caption
from akool_async.sandbox.containers import InvalidMediaError
from akool_async.sandbox.encoders import encoder
from akool_async.sandbox.inspection import MediaFacts, MediaLimits, inspect
from akool_async.sandbox.iso639 import iso_639_2
from akool_async.sandbox.jobs import ApiRejection
from akool_async.sandbox.playback import probe
from akool_async.sandbox.rendering import render
from akool_async.sandbox.samples import sample_video
from akool_async.sandbox.timedtext import one_after_another

LIMITS = MediaLimits()
ANY = MediaLimits(
    max_seconds=1e9,
    max_fps=1e9,
    codecs=frozenset({"av1", "h264", "hevc", "mjpeg", "mpeg4", "vp8", "vp9"}),
)
KINDS = (
    ("h264", "mp4"),
    ("h264", "mov"),
    ("h264", "mkv"),
    ("h264", "ts"),
    ("h264", "avi"),
    ("mpeg4", "mp4"),
    ("mpeg4", "avi"),
    ("hevc", "mp4"),
    ("vp9", "webm"),
    ("vp9", "mkv"),
    ("vp8", "webm"),
    ("mjpeg", "mov"),
)
CAPTIONS = (Caption(0.1, 0.5, "Guten Tag"), Caption(0.6, 0.9, "こんにちは\n{\\i1}<b>zwei</b>"))


@functools.cache
def small(codec: str = "h264", container: str = "mp4", seconds: float = 1.0, audio: bool = True) -> bytes:
    return sample_video(seconds, codec=codec, container=container, width=64, height=48, audio=audio)


def refused(data: bytes, limits: MediaLimits = LIMITS) -> int:
    with pytest.raises(InvalidMediaError) as caught:
        inspect(data, limits)
    assert caught.value.reason
    return caught.value.code


def remuxed(data: bytes, container: str, keep: Sequence[str] = ("video", "audio"), **options: str) -> bytes:
    """Copy the streams of some kinds into another container."""
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


def filmed(
    moments: Iterable[float],
    *,
    container: str = "mp4",
    codec: str = "libx264",
    audio: str = "aac",
    size: tuple[int, int] = (64, 48),
    layout: str = "mono",
    pixels: str = "yuv420p",
) -> bytes:
    """Make a film whose pictures are shown at these moments, with a second of silence."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        video: Any = out.add_stream(codec, rate=30, width=size[0], height=size[1])
        video.pix_fmt, video.codec_context.time_base = pixels, Fraction(1, 1000)
        sound: Any = out.add_stream(audio, rate=24_000, layout=layout)
        for moment in moments:
            picture = av.VideoFrame(*size, pixels)
            for plane in picture.planes:
                plane.update(random.Random(moment).randbytes(plane.buffer_size))
            picture.pts, picture.time_base = round(moment * 1000), Fraction(1, 1000)
            out.mux(video.encode(picture))
        silence = av.AudioFrame("s16", layout, 24_000)
        silence.sample_rate, silence.pts, silence.time_base = 24_000, 0, Fraction(1, 24_000)
        silence.planes[0].update(bytes(silence.planes[0].buffer_size))
        out.mux(sound.encode(silence))
        out.mux(video.encode(None))
        out.mux(sound.encode(None))
    return buffer.getvalue()


@pytest.mark.parametrize(("codec", "container"), KINDS)
def test_a_real_file_is_measured(codec: str, container: str) -> None:
    facts = inspect(small(codec, container, 2.0), ANY)

    sounds = {"webm": "opus", "avi": "mp3"}
    assert (facts.video_codec, facts.width, facts.height) == (codec, 64, 48)
    assert facts.audio_codec == sounds.get(container, "aac")
    assert facts.seconds == pytest.approx(2.0, abs=0.15)
    assert facts.fps == pytest.approx(24, rel=0.05)


@given(
    seconds=st.floats(0.2, 2.5),
    fps=st.sampled_from((1, 7, 24, 25, 30, 60)),
    container=st.sampled_from(("mp4", "mkv")),
)
@settings(deadline=None, max_examples=15)
def test_length_and_rate_are_what_was_filmed(seconds: float, fps: int, container: str) -> None:
    data = sample_video(seconds, fps=fps, width=32, height=32, codec="mpeg4", container=container)

    facts = inspect(data, ANY)

    assert facts.seconds == pytest.approx(max(seconds, math.ceil(seconds * fps) / fps), abs=0.08)
    assert facts.fps == pytest.approx(fps, rel=0.02)


@pytest.mark.parametrize("container", ["mp4", "matroska", "mov"])
def test_a_varying_frame_rate_is_averaged(container: str) -> None:
    moments = [0, 0.02, 0.04, 0.06, 0.5, 0.9, 0.95, 1.0]

    facts = inspect(filmed(moments, container=container), LIMITS)

    assert facts.fps == pytest.approx(7.0, rel=0.01)
    assert 1.0 <= facts.seconds <= 1.2


def test_a_length_that_the_container_does_not_know_is_counted() -> None:
    streamed = remuxed(small("h264", "mp4", 2.0), "matroska", live="1")
    with av.open(io.BytesIO(streamed), "r") as container:
        assert container.duration is None

    assert inspect(streamed, LIMITS).seconds == pytest.approx(2.0, abs=0.1)


def test_a_fragmented_file_is_counted() -> None:
    fragments = remuxed(small("h264", "mp4", 2.0), "mp4", movflags="frag_keyframe+empty_moov")

    facts = inspect(fragments, LIMITS)

    assert facts.seconds == pytest.approx(2.0, abs=0.1)
    assert facts.fps == pytest.approx(24, rel=0.01)


def test_a_film_that_begins_late_is_not_longer_for_it() -> None:
    late = remuxed(small("h264", "mp4", 1.0), "mpegts", muxdelay="0", output_ts_offset="3600")

    assert inspect(late, LIMITS).seconds == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("container", ["mp4", "mkv", "webm"])
def test_1203_a_film_without_sound(container: str) -> None:
    codec = "vp9" if container == "webm" else "h264"

    assert refused(small(codec, container, audio=False)) == 1203


def test_1203_a_sound_track_with_nothing_in_it() -> None:
    buffer = io.BytesIO()
    with av.open(io.BytesIO(small()), "r") as source, av.open(buffer, "w", format="matroska") as out:
        film, _ = (out.add_stream_from_template(each, opaque=True) for each in source.streams)
        for packet in source.demux():
            if packet.size and packet.stream.type == "video":
                packet.stream = film
                out.mux(packet)

    assert refused(buffer.getvalue()) == 1203


def test_1204_a_film_that_is_too_long() -> None:
    data = small("h264", "mp4", 2.0)

    assert refused(data, MediaLimits(max_seconds=1.5)) == 1204
    assert inspect(data, MediaLimits(max_seconds=2.0)).seconds == pytest.approx(2.0, abs=0.1)


def test_1204_also_where_the_container_does_not_know_its_length() -> None:
    streamed = remuxed(small("h264", "mp4", 2.0), "matroska", live="1")

    assert refused(streamed, MediaLimits(max_seconds=1.5)) == 1204


def test_1207_a_file_that_is_too_large() -> None:
    data = small()

    assert refused(data, MediaLimits(max_bytes=len(data) - 1)) == 1207
    assert inspect(data, MediaLimits(max_bytes=len(data))).width == 64


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 5000,
        b"not a video at all",
        b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
        b"#EXTM3U\n#EXTINF:10,\nfile:///etc/hostname\n",
        b"ffconcat version 1.0\nfile 'other.mp4'\n",
        b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\0\0\0\0",
    ],
    ids=["empty", "zeros", "text", "only a header", "image", "playlist", "list of files", "sound only"],
)
def test_1208_what_is_no_video(data: bytes) -> None:
    assert refused(data) == 1208


def test_1208_a_list_of_files_that_exist_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "private.mp4").write_bytes(small())

    assert refused(b"ffconcat version 1.0\nfile private.mp4\n") == 1208


def test_1208_sound_without_pictures() -> None:
    assert refused(remuxed(small(), "mp4", keep=("audio",))) == 1208


def test_1208_a_cover_image_is_no_film() -> None:
    buffer = io.BytesIO()
    with av.open(io.BytesIO(small("mjpeg", "mov")), "r") as source, av.open(buffer, "w", format="mp4") as out:
        cover, song = (out.add_stream_from_template(each, opaque=True) for each in source.streams)
        cover.disposition = Disposition.attached_pic
        first = True
        for packet in source.demux():
            if not packet.size or (packet.stream.type == "video" and not first):
                continue
            first = first and packet.stream.type != "video"
            packet.stream = cover if packet.stream.type == "video" else song
            out.mux(packet)

    assert refused(buffer.getvalue(), ANY) == 1208


@pytest.mark.parametrize(
    ("codec", "container"), [("h264", "mp4"), ("h264", "mkv"), ("vp9", "webm"), ("mpeg4", "avi")]
)
@pytest.mark.parametrize("kept", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_1208_a_file_that_ends_too_early(codec: str, container: str, kept: float) -> None:
    data = small(codec, container)

    assert refused(data[: math.ceil(len(data) * kept) - 1], ANY) == 1208


@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_1208_a_file_with_its_index_in_front_that_ends_too_early(kept: float) -> None:
    data = render(small(), (), language="fr", caption_type=0).video
    index = data.index(b"mdat")

    assert refused(data[: index + round((len(data) - index) * kept)]) == 1208


def test_1208_an_index_without_pictures() -> None:
    data = bytearray(render(small(), (), language="fr", caption_type=0).video)
    content = data.index(b"mdat") + 4
    data[content:] = bytes(len(data) - content)

    assert refused(bytes(data)) == 1208


def test_1209_an_encoding_that_is_not_taken() -> None:
    assert refused(small("vp8", "webm")) == 1209
    assert refused(small("h264", "mp4"), MediaLimits(codecs=frozenset({"vp9"}))) == 1209


def test_1209_an_encoding_that_nobody_knows() -> None:
    assert refused(small().replace(b"avc1", b"zz99")) == 1209


def test_1210_too_many_frames_a_second() -> None:
    fast = sample_video(1, fps=60, width=64, height=48)

    assert refused(fast) == 1210
    assert inspect(fast, MediaLimits(max_fps=60)).fps == pytest.approx(60, rel=0.01)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_exactly_as_many_frames_as_are_allowed_are_taken(container: str) -> None:
    data = sample_video(11 / 30, fps=30, width=64, height=48, container=container)

    assert inspect(data, LIMITS).fps == pytest.approx(30, rel=0.01)


def test_the_default_limits_are_the_documented_ones() -> None:
    assert (LIMITS.max_seconds, LIMITS.max_bytes, LIMITS.max_fps) == (60.0, 300 * 2**20, 30.0)
    assert {"h264", "hevc", "vp9", "mpeg4", "av1"} == LIMITS.codecs


@pytest.mark.parametrize("change", [{"max_seconds": 0}, {"max_bytes": 0}, {"max_fps": -1}])
def test_limits_that_let_nothing_in_are_a_mistake(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="max_"):
        attrs.evolve(LIMITS, **change)


def test_a_refusal_of_a_video_is_a_refusal() -> None:
    with pytest.raises(ApiRejection, match=r"the file is empty \(code 1208\)"):
        inspect(b"", LIMITS)


@given(
    st.binary(max_size=400),
    st.sampled_from((b"", b"\x1a\x45\xdf\xa3", b"RIFF\xff\0\0\0AVI LIST", b"\0\0\0\x14ftypisom")),
)
@settings(deadline=None)
def test_no_bytes_do_anything_but_be_refused(data: bytes, magic: bytes) -> None:
    assert refused(magic + data, ANY) in {1203, 1208, 1209}


@given(
    kind=st.sampled_from(KINDS),
    places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=30),
    header=st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), max_size=6),
    kept=st.just(1.0) | st.floats(0, 1),
)
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_any_damage_gives_facts_or_a_refusal(
    kind: tuple[str, str], places: list[tuple[float, int]], header: list[tuple[int, int]], kept: float
) -> None:
    data = bytearray(small(*kind))
    for place, value in [*((int(share * len(data)), value) for share, value in places), *header]:
        data[place] = value
    damaged = bytes(data[: math.ceil(len(data) * kept)])

    try:
        code = 0 if isinstance(inspect(damaged, ANY), MediaFacts) else None
    except InvalidMediaError as refusal:
        code = refusal.code

    assert code in {0, 1203, 1204, 1208, 1209, 1210}
    if code == 0:
        _render_or_refuse(damaged)


def _render_or_refuse(data: bytes) -> None:
    try:
        result = render(data, CAPTIONS, language="ja", caption_type=2)
    except InvalidMediaError as refusal:
        code = refusal.code
    else:
        code = 1208 if probe(result.video).video == 1 else 0

    assert code == 1208


@pytest.mark.parametrize(("codec", "container"), KINDS)
def test_a_result_plays_and_has_its_captions(codec: str, container: str) -> None:
    data = small(codec, container)

    result = render(data, CAPTIONS, language="ja-JP", caption_type=2)

    with_captions, without = probe(result.video), probe(result.no_caption_video)
    assert with_captions.captions == CAPTIONS
    assert (with_captions.video, with_captions.audio, with_captions.subtitles) == (1, 1, 1)
    assert (with_captions.languages, with_captions.audio_languages) == (("jpn",), ("jpn",))
    assert (without.video, without.audio, without.subtitles, without.captions) == (1, 1, 0, ())
    assert with_captions.seconds == pytest.approx(without.seconds)
    assert without.seconds == pytest.approx(inspect(data, ANY).seconds, abs=0.1)


@pytest.mark.parametrize(("codec", "container"), KINDS)
def test_no_picture_and_no_sound_is_lost(codec: str, container: str) -> None:
    data = small(codec, container)

    result = render(data, CAPTIONS, language="fr", caption_type=1).video

    assert _counted(result)[0] == _counted(data)[0]
    assert _counted(result)[1] == pytest.approx(_counted(data)[1], abs=0.1)


def _counted(data: bytes) -> tuple[int, float]:
    """Decode everything: how many pictures, and how many seconds of sound."""
    with av.open(io.BytesIO(data), "r") as film:
        pictures = sum(1 for _ in film.decode(video=0))
    with av.open(io.BytesIO(data), "r") as film:
        return pictures, sum(frame.samples / frame.sample_rate for frame in film.decode(audio=0))


@pytest.mark.parametrize(
    ("codec", "container"), [("h264", "mkv"), ("vp9", "webm"), ("mpeg4", "avi"), ("hevc", "mp4")]
)
def test_what_fits_is_copied_and_not_encoded_anew(codec: str, container: str) -> None:
    data = small(codec, container)

    result = render(data, CAPTIONS, language="fr", caption_type=1).video

    assert [bytes(packet) for packet in _packets(result)] == [bytes(packet) for packet in _packets(data)]


def test_pictures_whose_decoding_times_are_missing_get_some_that_rise() -> None:
    data = small("h264", "mkv")
    assert _packets(data)[0].dts is None

    packets = _packets(render(data, (), language="fr", caption_type=0).video)

    assert all((one.dts or 0) < (two.dts or 0) for one, two in pairwise(packets))
    assert min(packet.pts or 0 for packet in packets) == 0


def _packets(data: bytes) -> list[Any]:
    with av.open(io.BytesIO(data), "r") as film:
        return [packet for packet in film.demux(video=0) if packet.size]


def test_pictures_keep_their_moments_when_they_are_encoded_anew() -> None:
    moments = [0, 0.02, 0.04, 0.06, 0.5, 0.9, 0.95, 1.0]
    data = filmed(moments, container="matroska", codec="mjpeg", pixels="yuvj420p")

    result = render(data, (), language="fr", caption_type=0).video

    with av.open(io.BytesIO(result), "r") as film:
        shown = [float(frame.time or 0) for frame in film.decode(video=0)]
    assert shown == pytest.approx(moments, abs=0.001)


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
def test_sound_that_does_not_fit_is_encoded_anew(layout: str) -> None:
    data = filmed([0, 0.5, 1.0], container="mov", audio="pcm_s16le", layout=layout)

    facts = inspect(render(data, (), language="fr", caption_type=0).video, LIMITS)

    assert (facts.video_codec, facts.audio_codec) == ("h264", "aac")


def test_odd_sides_are_cut_to_even_ones() -> None:
    data = filmed(
        [0, 0.5, 1.0], container="avi", codec="mjpeg", audio="mp3", size=(65, 47), pixels="yuvj420p"
    )

    facts = inspect(render(data, (), language="fr", caption_type=0).video, LIMITS)

    assert (facts.video_codec, facts.width, facts.height) == ("h264", 64, 46)


@pytest.mark.parametrize(
    ("captions", "caption_type"),
    [((), 2), (CAPTIONS, 0), ((Caption(0, 1, ""),), 3)],
    ids=["no captions", "not asked for", "nothing in them"],
)
def test_without_captions_both_results_are_the_same(captions: Sequence[Caption], caption_type: int) -> None:
    result = render(small(), captions, language="ja", caption_type=caption_type)

    assert result.video == result.no_caption_video
    assert probe(result.video).subtitles == 0


def test_the_index_lies_in_front_so_that_a_result_plays_while_it_loads() -> None:
    result = render(small(), CAPTIONS, language="ja", caption_type=4)

    for data in (result.video, result.no_caption_video):
        assert data.index(b"moov") < data.index(b"mdat")


def test_captions_beyond_the_end_are_cut_off() -> None:
    captions = (Caption(0.5, 99, "long"), Caption(50, 60, "never seen"))

    tracks = probe(render(small(), captions, language="ja", caption_type=2).video)

    assert [caption.text for caption in tracks.captions] == ["long"]
    assert tracks.seconds == pytest.approx(1.0, abs=0.1)


def test_a_caption_longer_than_a_packet_can_say_is_cut_between_two_characters() -> None:
    captions = (Caption(0, 1, "語" * 30_000),)

    tracks = probe(render(small(), captions, language="ja", caption_type=2).video)

    assert tracks.captions[0].text == "語" * (0xFFFF // 3)


intervals = st.tuples(st.integers(0, 60), st.integers(0, 60), st.sampled_from("abc"))


@settings(deadline=None)
@given(st.lists(intervals, max_size=8))
def test_overlapping_captions_are_shown_together(cues: list[tuple[int, int, str]]) -> None:
    captions = [Caption(min(one, two) / 1000, max(one, two) / 1000, text) for one, two, text in cues]

    pieces = list(one_after_another(captions, 50))

    assert all(before[1] <= after[0] for before, after in pairwise(pieces))
    for moment in range(61):
        expected = sorted(
            each.text for each in captions if each.start * 1000 <= moment < min(each.end * 1000, 50)
        )
        shown = [text for start, end, text in pieces if start <= moment < end]
        assert sorted("\n".join(shown).split()) == expected


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("ja", "jpn"),
        ("ja-JP", "jpn"),
        ("zh-CN-shandong", "zho"),
        ("de_AT", "deu"),
        ("FR", "fra"),
        ("fil", "fil"),
        ("xx", "und"),
        ("", "und"),
        ("english", "und"),
    ],
)
def test_languages_are_named_as_mp4_names_them(language: str, code: str) -> None:
    assert iso_639_2(language) == code


def test_an_unknown_language_is_rendered_all_the_same() -> None:
    tracks = probe(render(small(), CAPTIONS, language="tlh-x-ünïcode", caption_type=2).video)

    assert tracks.languages == ("tlh",)


def test_rendering_is_quick() -> None:
    data = sample_video(5, width=320, height=240)
    began = time.perf_counter()

    render(data, CAPTIONS, language="ja", caption_type=2)

    assert time.perf_counter() - began < 1.0


def test_what_does_not_play_is_not_proven() -> None:
    broken = bytearray(small())
    content = broken.index(b"mdat") + 4
    broken[content : broken.index(b"moov") - 4] = bytes(broken.index(b"moov") - 4 - content)

    for data in (b"", bytes(broken), remuxed(small(), "mp4", keep=("audio",))):
        with pytest.raises(InvalidMediaError) as caught:
            probe(data)
        assert caught.value.code == 1208


def test_captions_in_other_containers_are_read_too() -> None:
    buffer = io.BytesIO()
    with av.open(io.BytesIO(small()), "r") as source, av.open(buffer, "w", format="matroska") as out:
        copies = {each.index: out.add_stream_from_template(each, opaque=True) for each in source.streams}
        track = out.add_mux_stream("subrip", time_base=Fraction(1, 1000))
        track.metadata["language"] = "fra"
        text: Any = av.Packet("Bonjour\nà <i>tous</i>".encode())
        text.stream, text.time_base, text.pts, text.dts, text.duration = (
            track,
            Fraction(1, 1000),
            200,
            200,
            500,
        )
        out.mux(text)
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)

    tracks = probe(buffer.getvalue())

    assert [each.text for each in tracks.captions] == ["Bonjour\nà tous"]
    assert tracks.captions[0].start == pytest.approx(0.2, abs=0.05)
    assert tracks.captions[0].end == pytest.approx(0.7, abs=0.05)
    assert tracks.languages == ("fra",)


def test_the_same_arguments_give_the_same_film_and_another_seed_another_one() -> None:
    films = [sample_video(0.5, seed=seed, width=64, height=48) for seed in range(6)]

    assert len(set(films)) == 6
    assert sample_video(0.5, seed=3, width=64, height=48) == films[3]


def test_a_sample_can_be_seen_and_heard() -> None:
    with av.open(io.BytesIO(sample_video(1, seed=7, container="mov")), "r") as film:
        pictures = [bytes(frame.planes[0]) for frame in film.decode(video=0)]
    with av.open(io.BytesIO(sample_video(1, seed=7, container="mov")), "r") as film:
        heard = array("f", b"".join(bytes(frame.planes[0]) for frame in film.decode(audio=0)))

    assert len(set(pictures)) == len(pictures) == 24
    assert max(pictures[0]) - min(pictures[0]) > 60
    assert 0.05 < max(heard) < 1
    assert 0.01 < math.sqrt(sum(each * each for each in heard) / len(heard)) < 0.5


@pytest.mark.parametrize(
    "arguments",
    [
        {"seconds": 0},
        {"seconds": math.inf},
        {"seconds": math.nan},
        {"fps": 0},
        {"fps": 241},
        {"width": 33},
        {"height": 8},
        {"container": "gif"},
        {"codec": "theora"},
    ],
)
def test_a_sample_that_cannot_be_made_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"video lasts|sides must|container must|no encoder"):
        sample_video(**arguments)


def test_a_build_without_the_best_encoder_uses_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    assert encoder("h264").name == "libx264"
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264", "libopenh264"})

    assert encoder("h264").name == "mpeg4"
    assert inspect(small.__wrapped__("h264", "mp4"), LIMITS).video_codec == "mpeg4"
