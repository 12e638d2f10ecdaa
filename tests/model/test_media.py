"""Which videos are submitted: the limits of the vendor's pages, as settings."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from akool_async import Limits, MediaFacts, MediaProblem

GOOD = MediaFacts(
    container="mp4",
    bytes=300 * 2**20,
    seconds=60.05,
    width=1920,
    height=1080,
    fps=30.1,
    video_codec="h264",
    audio_codec="aac",
    has_subtitles=False,
)


def test_a_video_at_every_limit_is_taken_without_a_warning() -> None:
    assert Limits().refusals(GOOD) == ()
    assert Limits().warnings(GOOD) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seconds": 61.0}, "61.00 s long, 60 s are allowed (code 1204)"),
        ({"bytes": 300 * 2**20 + 1}, "314,572,801 bytes, 314,572,800 are allowed (code 1207)"),
        ({"fps": 60.0}, "60.00 frames a second, 59 are allowed (code 1210)"),
        ({"audio_codec": None}, "there is no audio track (code 1203)"),
    ],
)
def test_what_the_vendor_would_refuse_is_named_with_its_code(change: dict[str, Any], words: str) -> None:
    assert Limits().refusals(attrs.evolve(GOOD, **change)) == (words,)


def test_every_reason_is_told_at_once() -> None:
    assert len(Limits().refusals(attrs.evolve(GOOD, seconds=99.0, audio_codec=None, fps=120.0))) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fps": 50.0}, "some plans allow 30"),
        ({"video_codec": "hevc"}, "the vendor recommends h264"),
        ({"seconds": None}, "length is not known"),
    ],
)
def test_what_may_be_refused_is_a_warning(change: dict[str, Any], words: str) -> None:
    facts = attrs.evolve(GOOD, **change)

    assert Limits().refusals(facts) == ()
    (warning,) = Limits().warnings(facts)
    assert words in warning


def test_limits_are_settings() -> None:
    long = attrs.evolve(GOOD, seconds=600.0, fps=50.0, audio_codec=None)

    assert Limits(max_seconds=600, needs_audio=False).refusals(long) == ()
    assert Limits(warn_fps=50, max_seconds=600).warnings(long) == ()


def test_one_codec_may_be_named_alone() -> None:
    assert Limits(advised_codecs=GOOD.video_codec).warnings(GOOD) == ()


def test_a_lip_sync_is_warned_of_more_than_25_frames_a_second() -> None:
    assert "25" in Limits().warnings(GOOD, follows_audio=True)[0]
    assert Limits().warnings(attrs.evolve(GOOD, fps=25.0), follows_audio=True) == ()


def test_only_what_the_vendor_would_meet_too_is_certain() -> None:
    unsure = {problem for problem in MediaProblem if not problem.is_certain}

    assert unsure == {MediaProblem.UNREACHABLE, MediaProblem.UNRESOLVED, MediaProblem.READ_LIMIT}
