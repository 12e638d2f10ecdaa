"""Names of files: safe on every system, told apart on every system, made as the template says."""

from __future__ import annotations

import ntpath
import unicodedata
from itertools import islice
from pathlib import PurePosixPath, PureWindowsPath

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from akool_async import InvalidRequestError, LipSyncRequest, TranslationRequest, fingerprint
from akool_async._model.filenames import (
    LONGEST,
    NameTemplate,
    collision_key,
    is_safe_filename,
    is_safe_path,
    parse_templates,
    safe_filename,
    video_stem,
)
from akool_async._model.outcomes import ENDINGS, MANIFEST

USUAL = NameTemplate("{stem}.{language}")

EVIL = [
    *[
        "..",
        ".",
        "",
        "/",
        "\\",
        "../../etc/passwd",
        "..\\..\\windows",
        "/etc/passwd",
        "C:\\x",
        "C:x",
        "\\\\host\\x",
    ],
    *[
        "a/b",
        "a\\b",
        "a:b",
        "a\0b",
        "a\nb",
        "a\x1bb",
        "~root",
        "-rf",
        "--",
        "...",
        ". .",
        "a.",
        "a ",
        "a. .",
        " a",
    ],
    *[
        "con",
        "CON",
        "con.ja",
        "nul",
        "NUL.txt",
        "com1",
        "COM¹",
        "lpt9",
        "LPT³.x",
        "aux",
        "prn",
        "conin$",
        "CLOCK$",
    ],
    *[
        "a" * 300,
        "語" * 300,
        "e\u0301" * 200,
        "👩‍👩‍👧" * 50,
        "\u202egpj.exe",
        "a\u200bb",
        "\ufeffa",
        "\ud800",
        '*?<>|"',
    ],
    *["%2e%2e%2f", "%00", "$(rm)", "`id`", "a;b", "a'b", "\u2028", "CON ", "con .x", "a\u0000.mp4", "．．／"],
]


def _is_device(name: str) -> bool:
    if hasattr(ntpath, "isreserved"):
        return ntpath.isreserved(name)
    return PureWindowsPath(name).is_reserved()


def _is_harmless(name: str) -> bool:
    windows, posix = PureWindowsPath(name), PurePosixPath(name)
    return (
        windows.name == name == posix.name
        and not windows.drive
        and not _is_device(name)
        and name == unicodedata.normalize("NFC", name)
        and len(name.encode()) <= LONGEST
        and name.strip(" .") == name
        and not set('<>:"/\\|?*') & set(name)
        and all(unicodedata.category(char)[0] != "C" for char in name)
    )


@pytest.mark.parametrize("text", EVIL)
def test_evil_texts_become_harmless_names(text: str) -> None:
    assert _is_harmless(safe_filename(text))
    assert is_safe_filename(safe_filename(text))


@given(st.text())
def test_any_text_becomes_a_harmless_name(text: str) -> None:
    assert _is_harmless(safe_filename(text))


@pytest.mark.parametrize(
    "text", [text for text in EVIL if text not in ("~root", "-rf", "--", "a;b", "a'b", " a")]
)
def test_what_a_caller_names_is_refused_rather_than_changed(text: str) -> None:
    fine = {"%2e%2e%2f", "%00", "$(rm)", "`id`"}

    assert is_safe_filename(text) == (text in fine)


@pytest.mark.parametrize(
    ("url", "stem"),
    [
        ("https://e.com/talk.mp4", "talk"),
        ("https://e.com/talk.mp4?token=x#y", "talk"),
        (
            "https://e.com/a/b/My%20Talk%20(final).mov",
            "My-Talk-final",
        ),
        ("https://e.com/%E6%97%A5%E6%9C%AC.mp4", "日本"),
        ("https://e.com/%E0%A4%B9%E0%A4%BF%E0%A4%82.mp4", "हिं"),
        ("https://e.com/..%2f..%2fetc%2fpasswd", "passwd"),
        ("https://e.com/..%5c..%5cwin.ini", "win"),
        ("https://e.com/", "video"),
        ("https://e.com", "video"),
        ("https://e.com/.mp4", "mp4"),
        ("https://e.com/CON.mp4", "_CON"),
        ("https://e.com/noending", "noending"),
    ],
)
def test_the_stem_is_the_videos_name(url: str, stem: str) -> None:
    assert video_stem(TranslationRequest(url=url, targets="ja")) == stem


def test_a_template_makes_the_name() -> None:
    request = TranslationRequest(url="https://e.com/talk.mp4", targets="zh-CN", key="Week 1/intro")
    sync = LipSyncRequest(video_url="https://e.com/v.mp4", audio_url="https://e.com/a.wav")

    assert USUAL.name(request, "zh-CN") == "talk.zh-CN"
    assert NameTemplate("{key}_{language}").name(request, "zh-CN") == "Week-1-intro_zh-CN"
    assert NameTemplate("{fingerprint}").name(request, "zh-CN") == fingerprint(request, "zh-CN")
    assert USUAL.name(sync, "") == "v.lipsync"


@pytest.mark.parametrize(
    "text",
    [
        *[
            "",
            "same",
            "{",
            "}",
            "{stem",
            "{}",
            "{0}",
            "{other}",
            "{stem.x}",
            "{stem[0]}",
            "{stem!r}",
            "{stem:>9}",
        ],
        *["/{stem}", "{stem}/", "a//{stem}", "../{stem}", "{language}/../{stem}", "./{stem}", "~/{stem}"],
        *["/" * 9 + "{stem}", "a/" * 9 + "{stem}", "a/. ./{stem}"],
        *["..\\{stem}", "{stem}\0", "{stem}\n", "c:{stem}", "{stem}*", 5, None],
    ],
)
def test_a_bad_template_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="names"):
        NameTemplate(text)


def _is_key(text: str) -> bool:
    try:
        TranslationRequest(url="https://e.com/talk.mp4", targets="ja", key=text)
    except InvalidRequestError:
        return False
    return True


@pytest.mark.parametrize("key", [*filter(_is_key, EVIL)])
def test_no_key_leads_out_of_the_folders_that_a_template_names(key: str) -> None:
    request = TranslationRequest(url="https://e.com/talk.mp4", targets="ja", key=key)
    template = NameTemplate("{language}/{key}/{stem}")

    for name in islice(template.names(request, "ja"), 4):
        parts = name.split("/")
        assert [len(parts), parts[0]] == [3, "ja"]
        assert all(map(_is_harmless, parts))
        assert is_safe_path(name)


def test_a_folder_is_never_called_as_a_file_of_a_result_or_as_a_folder_of_the_program() -> None:
    def name(text: str, key: str) -> str:
        return NameTemplate(text).name(
            TranslationRequest(url="https://e.com/v.mp4", targets="ja", key=key), "ja"
        )

    assert name("{key}/{stem}", "talk.mp4") == "talk-mp4/v"
    assert name("{key}/{stem}", "TALK.JSON") == "TALK-JSON/v"
    assert name("{key}/{stem}", "jobs.sqlite3-wal") == "jobs-sqlite3-wal/v"
    assert name("{key}/{stem}", "v1.2") == "v1.2/v"
    assert name("{key}/{stem}", "Report") == "_Report/v"
    assert name("a/{key}/{stem}", "report") == "a/report/v"
    assert name("{key}/{stem}", "con") == "_con/v"


@pytest.mark.parametrize(
    "text", ["../a", "/a", "a/", "a//b", "a/../b", "~/a/..", "a/./b", "a\\b", "x/" * 9 + "y"]
)
def test_a_name_that_leads_elsewhere_is_refused(text: str) -> None:
    assert not is_safe_path(text)


def test_a_template_may_be_told_for_each_key() -> None:
    request = TranslationRequest(url="https://e.com/talk.mp4", targets="ja,fr", key="first")
    other = TranslationRequest(url="https://e.com/walk.mp4", targets="ja")
    names = parse_templates({"first": "First light.{language}", fingerprint(other, "ja"): "{stem}!"})

    assert next(names.names(request, "fr")) == "First-light.fr"
    assert next(names.names(other, "ja")) == "walk"
    assert next(names.names(attrs.evolve(request, key="second"), "ja")) == "talk.ja"
    with pytest.raises(InvalidRequestError, match="names"):
        parse_templates({"first": "{stem}", "second": "../{stem}"})


def test_a_template_for_a_key_and_a_language_goes_before_the_one_for_the_key() -> None:
    request = TranslationRequest(url="https://e.com/talk.mp4", targets="ja,fr,de", key="first")
    dubbed = LipSyncRequest(video_url="https://e.com/talk.mp4", audio_url="https://e.com/a.mp3", key="first")
    names = parse_templates(
        {("first", "fr"): "{key}!{language}", ("first", ""): "{key}-moved", "first": "all_{key}"}
    )

    told = [next(names.names(request, target)) for target in request.targets]
    assert told == ["all_first", "first-fr", "all_first"]
    assert next(names.names(dubbed, "")) == "first-moved"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *[
            ("Talk.ja", "talk.JA"),
            ("straße", "STRASSE"),
            ("e\u0301", "\u00e9"),
            ("ﬁlm", "film"),
            ("İ", "i̇"),
            ("ı", "I"),
        ],
        *[("talk.ja", "talk.ja.original"), ("talk.ja", "talk.ja.captionless"), ("Σ", "ς"), ("K", "\u212a")],
        ("a.original.captionless", "A"),
        ("JA/Talk", "ja/talk"),
        ("ja/talk", "JA/talk.original"),
    ],
)
def test_names_whose_files_could_meet_are_one(one: str, other: str) -> None:
    assert collision_key(one) == collision_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("talk.ja", "talk.fr"),
        ("talk", "talk-1"),
        ("a.b", "a"),
        ("x", "y"),
        ("ja/x", "x"),
        ("a.original/x", "a/x"),
    ],
)
def test_other_names_stay_apart(one: str, other: str) -> None:
    assert collision_key(one) != collision_key(other)


ENDS = [*ENDINGS.values(), MANIFEST]
WORDS = st.lists(
    st.sampled_from(["a", "A", ".original", ".captionless", ".srt", ".mp4", ".json"]), min_size=1
)


@given(WORDS, WORDS)
def test_names_that_are_told_apart_share_no_file(one: list[str], other: list[str]) -> None:
    first, second = safe_filename("".join(one)), safe_filename("".join(other))
    files = [{(name + end).casefold() for end in ENDS} for name in (first, second)]

    if collision_key(first) != collision_key(second):
        assert not files[0] & files[1]


def test_more_names_are_offered_than_can_be_taken() -> None:
    request = TranslationRequest(url=f"https://e.com/{'x' * 300}.mp4", targets="ja,fr")
    names = list(islice(USUAL.names(request, "ja"), 20))

    assert len({collision_key(name) for name in names}) == 20
    assert all(_is_harmless(name) for name in names)
    assert fingerprint(request, "ja")[:8] in names[1]
    assert names[1] != next(islice(USUAL.names(request, "fr"), 1, None))


PERSIAN = "می\u200cخواهم"
HINDI = "क्\u200dष"
GRADUATE = "👩\u200d🎓 lesson"


@pytest.mark.parametrize("key", [PERSIAN, HINDI, GRADUATE, "👨🏽\u200d🚀", "👩\ufe0f\u200d🎓"])
def test_a_joiner_between_letters_is_a_letter_of_a_key(key: str) -> None:
    request = TranslationRequest(url="https://e.com/a.mp4", targets="ja", key=key)

    assert request.key == key


@pytest.mark.parametrize("key", ["\u200ca", "a\u200c", "a \u200db", "a\u200c\u200db", "a\u200b", "1\u200d2"])
def test_a_joiner_that_joins_nothing_is_refused_as_invisible(key: str) -> None:
    with pytest.raises(InvalidRequestError, match="printable"):
        TranslationRequest(url="https://e.com/a.mp4", targets="ja", key=key)


def test_a_joiner_between_letters_stays_in_a_name() -> None:
    assert safe_filename(PERSIAN) == PERSIAN
    assert safe_filename(HINDI) == HINDI
    assert safe_filename(GRADUATE) == "lesson"
    assert safe_filename("a\u200c-b\u200d") == "a-b"
    assert is_safe_filename(PERSIAN)
    assert NameTemplate(PERSIAN + "{key}").text
    assert not is_safe_filename("a\u200c")


def test_names_that_differ_in_joiners_only_meet_on_some_systems() -> None:
    assert collision_key(PERSIAN) == collision_key(PERSIAN.replace("\u200c", ""))


def test_a_name_that_is_cut_does_not_end_with_a_joiner() -> None:
    for length in range(150, 170):
        assert is_safe_filename(safe_filename("x" * length + "\u0645\u200c\u062e"))
