"""Captions: both formats as they are found in the wild, and text that looks translated."""

from __future__ import annotations

import math
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akool_async.sandbox.captions import Caption, format_srt, parse, transcript
from akool_async.sandbox.pseudo import pseudo_localise

SRT = """1
00:00:00,500 --> 00:00:02,000
Good morning.

2
00:00:02,000 --> 00:01:03,250
Two lines
of text.
"""
SRT_CAPTIONS = (Caption(0.5, 2.0, "Good morning."), Caption(2.0, 63.25, "Two lines\nof text."))

ASS = r"""[Script Info]
; made for a test
Title: no event: here
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname
Style: Default,Arial

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Comment: 0,0:00:00.00,0:00:09.00,Default,,0,0,0,,not shown
Dialogue: 0,0:00:02.00,0:01:03.25,Default,,0,0,0,,Two lines\Nof {\i1}text{\i0}.
Dialogue: 0,0:00:00.50,0:00:02.00,Default,,0,0,0,,{\an8\fad(100,0)}Good\hmorning.
"""


def test_srt_is_read() -> None:
    assert parse(SRT) == SRT_CAPTIONS


@pytest.mark.parametrize("line_end", ["\r\n", "\r", "\n"])
@pytest.mark.parametrize("mark", ["\ufeff", ""])
@pytest.mark.parametrize("source", [SRT, ASS], ids=["srt", "ass"])
def test_line_ends_and_marks_make_no_difference(source: str, mark: str, line_end: str) -> None:
    assert parse(mark + source.replace("\n", line_end)) == SRT_CAPTIONS


@pytest.mark.parametrize(
    "source",
    [
        SRT.replace(",", "."),
        re.sub(r"(?m)^\d\n", "", SRT),
        SRT.replace("\n\n", "\n"),
        re.sub(r"(?m)^\d\n", "", SRT).replace("\n\n", "\n"),
        SRT.replace("\n\n", "\n \n\t\n\n"),
        SRT.replace("2,000 -->", "2 -->"),
        SRT.replace(" --> ", "-->").replace("00:00:00,500", "0:0:0,5"),
        SRT.replace("00:00:0", "00:0"),
        SRT.replace("02,000\n", "02,000  X1:10 X2:20 Y1:1 Y2:2\n"),
        "\n\n" + SRT + "\n\n\n",
        "\n\n".join(reversed(SRT.split("\n\n"))),
    ],
    ids=[
        "dots",
        "no indices",
        "no blank lines",
        "neither",
        "many blanks",
        "no fraction",
        "no spaces",
        "no hours",
        "positions",
        "padding",
        "unsorted",
    ],
)
def test_srt_is_read_as_it_is_found(source: str) -> None:
    assert parse(source) == SRT_CAPTIONS


def test_a_text_of_digits_is_no_index() -> None:
    assert parse("00:00 --> 00:01\n42\n\n00:01 --> 00:02\n43\n") == (Caption(0, 1, "42"), Caption(1, 2, "43"))


def test_a_cue_may_be_empty() -> None:
    assert parse("1\n00:00:01,000 --> 00:00:02,000\n\n") == (Caption(1, 2, ""),)


@pytest.mark.parametrize("text", ["", "\ufeff", "\n\n", "[Script Info]\nTitle: x\n"])
def test_no_captions_are_no_mistake(text: str) -> None:
    assert parse(text) == ()


def test_ass_fields_may_stand_in_another_order() -> None:
    text = "[Events]\nFormat: End, Start, Text\nDialogue: 0:00:02.00,0:00:01.00,a, b and {c}d\n"

    assert parse(text) == (Caption(1, 2, "a, b and d"),)


def test_ass_drawings_are_not_text() -> None:
    fields = "0,0:00:01.00,0:00:02.00,Default,,0,0,0,,"

    assert parse(rf"Dialogue: {fields}a{{\p1}}m 0 0 l 9 9{{\p0}}b") == (Caption(1, 2, "ab"),)
    assert parse(rf"Dialogue: {fields}{{\pos(1,2)}}kept") == (Caption(1, 2, "kept"),)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("nonsense", 1),
        ("WEBVTT\n\n00:01 --> 00:02\nhi", 1),
        (SRT + "\nstray words\n", 10),
        ("1\n00:00:61,000 --> 00:00:62,000\nhi", 2),
        ("1\n00:61:00,000 --> 00:62:00,000\nhi", 2),
        ("1\n00:00:03,000 --> 00:00:02,000\nhi", 2),
        ("1\n00:00:03,000 -> 00:00:04,000\nhi", 2),
        ("7", 1),
        (ASS + "garbage\n", 15),
        (ASS + "Dialogue: 0,0:00:01.00,0:00:02.00,too few\n", 15),
        (ASS + "Dialogue: 0,soon,0:00:02.00,,,,,,,x\n", 15),
        (ASS + "Dialogue: 0,0:00:03.00,0:00:02.00,,,,,,,x\n", 15),
        ("[Events]\nFormat: Layer, Text\n", 2),
        ("[Events]\nFormat: Start, End, Text, Name\n", 2),
    ],
)
def test_nonsense_names_its_line(text: str, line: int) -> None:
    with pytest.raises(ValueError, match=rf"^line {line} of"):
        parse(text)


@settings(deadline=None)
@given(st.text())
def test_any_text_gives_captions_or_a_line_number(text: str) -> None:
    try:
        captions = parse(text)
    except ValueError as error:
        message = str(error)
    else:
        message = f"line 1 of {captions!r}"

    assert re.match(r"line \d+ of", message)


cue_lines = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
texts = st.lists(cue_lines, max_size=3).map("\n".join)
moments = st.integers(0, 360_000_000)


@settings(deadline=None)
@given(st.lists(st.tuples(moments, moments, texts), max_size=8))
def test_what_is_written_as_srt_is_read_again(cues: list[tuple[int, int, str]]) -> None:
    captions = tuple(
        Caption(min(one, two) / 1000, max(one, two) / 1000, text.replace("-->", "→"))
        for one, two, text in cues
    )

    assert parse(format_srt(captions)) == tuple(sorted(captions, key=lambda each: (each.start, each.end)))


def test_srt_is_written_as_players_want_it() -> None:
    captions = (Caption(0.5, 2, "Good morning."), Caption(3661.0006, 3662, "a\n\n --> b\r\n"))

    assert format_srt(captions) == (
        "1\n00:00:00,500 --> 00:00:02,000\nGood morning.\n\n2\n01:01:01,001 --> 01:01:02,000\na\n→ b\n\n"
    )


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (2, 1), (0, math.inf), (math.nan, 1), (0, math.nan)])
def test_a_caption_has_a_start_before_its_end(start: float, end: float) -> None:
    with pytest.raises(ValueError, match="can't last"):
        Caption(start, end, "")


SAMPLE = "Take 3 of 14: Hello, World!\nCafé quizzes vex the big fjord."


@pytest.mark.parametrize(
    ("language", "script"),
    [
        ("ja", "KATAKANA"),
        ("ja-JP", "KATAKANA"),
        ("ru", "CYRILLIC"),
        ("ar", "ARABIC"),
        ("hi", "DEVANAGARI"),
        ("zh", "CJK UNIFIED"),
        ("zh-CN-shandong", "CJK UNIFIED"),
        ("ko", "HANGUL"),
        ("el", "GREEK"),
        ("he", "HEBREW"),
        ("th", "THAI"),
        ("bn", "BENGALI"),
        ("ta", "TAMIL"),
        ("te", "TELUGU"),
    ],
)
def test_other_scripts_replace_every_letter(language: str, script: str) -> None:
    shown = pseudo_localise(SAMPLE, language)

    assert all(unicodedata.name(each).startswith(script) for each in shown if each.isalpha())
    assert [each for each in shown if not each.isalpha()] == [each for each in SAMPLE if not each.isalpha()]


@pytest.mark.parametrize("language", ["fr", "pt-BR", "fil", "xx"])
def test_latin_languages_get_accents_and_their_tag(language: str) -> None:
    shown = pseudo_localise(SAMPLE, language)

    assert shown.startswith(f"[{language}] ")
    assert not re.search(r"[A-Za-z]", shown.removeprefix(f"[{language}]"))
    assert len(shown.splitlines()) == 2


def test_german_becomes_longer() -> None:
    assert len(pseudo_localise(SAMPLE, "de")) >= 1.3 * len(SAMPLE)


@settings(deadline=None)
@given(st.text(), st.sampled_from(("fr", "de", "ja", "ru", "ar", "hi", "zh", "ko", "th")))
def test_digits_stay_and_the_same_text_looks_the_same(text: str, language: str) -> None:
    shown = pseudo_localise(text, language)

    assert [each for each in shown if each.isdigit()] == [each for each in text if each.isdigit()]
    assert shown == pseudo_localise(text, language)
    assert shown != text or not re.search("[A-Za-z]", text)


@settings(deadline=None)
@given(st.floats(0, 600), st.integers())
def test_a_transcript_covers_the_whole_video(seconds: float, seed: int) -> None:
    captions = transcript(seconds, seed)

    assert captions == transcript(seconds, seed)
    assert [each.start for each in captions] == [0.0, *(each.end for each in captions)][: len(captions)]
    assert not captions or captions[-1].end == seconds
    assert all(each.text and each.end - each.start <= 5 for each in captions)


def test_another_seed_says_other_things() -> None:
    assert len({transcript(30, seed) for seed in range(20)}) == 20


@pytest.mark.parametrize("seconds", [-1, math.inf, math.nan])
def test_a_video_without_a_length_has_no_transcript(seconds: float) -> None:
    with pytest.raises(ValueError, match="long"):
        transcript(seconds, 0)
