"""Subtitles go out to reviewers and come back, in files that people really save."""

from __future__ import annotations

import csv
import io
import shlex
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook

from akool_async import CaptionType, State, TranslationRequest, open_journal
from akool_async.captions import (
    CaptionFileError,
    Cue,
    first_version,
    lay_out,
    pair_cues,
    parse_cues,
    read_cues,
    read_translation,
    to_srt,
    to_vtt,
)
from akool_async.captions.cues import LARGEST
from akool_async.sandbox import Sandbox
from tests.cli.conftest import Book, Command, walk
from tests.media.file_host import serve_files
from tests.storage.conftest import TestBucket

SPOKEN = (Cue(0, 1900, "Good morning."), Cue(2000, 3900, "=1+1 is two."), Cue(5000, 6900, "Goodbye."))
TRANSLATED = (
    Cue(0, 1900, "おはよう。\n皆さん。"),
    Cue(2000, 3900, "=1+1 は2。"),
    Cue(7000, 8900, "- では。"),
)
ALL = ("srt", "csv", "xlsx", "bilingual")

TEXTS = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp"), blacklist_characters="\x85\ufeff"),
    min_size=1,
    max_size=40,
).filter(lambda text: text.strip() == text and text)


@given(texts=st.lists(TEXTS, min_size=1, max_size=6))
def test_what_is_written_as_srt_is_read_again(texts: list[str]) -> None:
    plain = [text.replace("{\\", "").replace("<", "‹").replace("\\", "/") for text in texts]
    cues = tuple(Cue(n * 2000, n * 2000 + 1500, text) for n, text in enumerate(plain))

    assert [cue for cue in parse_cues(to_srt(cues).encode()) if cue.text] == [cue for cue in cues if cue.text]


def test_what_is_written_as_webvtt_is_read_again() -> None:
    cues = (Cue(0, 1500, "a < b & c --> d\n<script>"), Cue(2000, 2000, "never shown"), Cue(3000, 4000, " "))

    assert parse_cues(to_vtt(cues).encode()) == cues[:1]


@pytest.mark.parametrize(
    "content",
    [
        b"<html>00:00:01,000 --> 00:00:02,000</html>",
        b"no subtitles",
        b"\x1f\x8b\x08",
        b"1\n00:00:01,000 -->\n\xff",
    ],
)
def test_what_is_no_subtitle_file_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.srt").write_bytes(content)

    with pytest.raises(CaptionFileError, match=r"a\.srt"):
        read_cues(tmp_path / "a.srt")


def test_a_file_that_is_too_large_or_missing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_bytes(b"1" * (LARGEST + 1))

    with pytest.raises(CaptionFileError, match="8 MiB"):
        read_cues(tmp_path / "a.srt")
    with pytest.raises(CaptionFileError, match="No such file"):
        read_cues(tmp_path / "b.srt")


def test_cues_are_paired_by_time_where_they_differ() -> None:
    pairs = pair_cues(SPOKEN, TRANSLATED)
    merged = pair_cues(
        (Cue(0, 1000, "a"), Cue(1000, 2000, "b"), Cue(9000, 9500, "c")), (Cue(100, 2100, "ab"),)
    )

    assert [(pair.original, pair.translated) for pair in pairs] == [
        (SPOKEN[0], TRANSLATED[0]),
        (SPOKEN[1], TRANSLATED[1]),
        (SPOKEN[2], None),
        (None, TRANSLATED[2]),
    ]
    assert [(pair.original, pair.translated) for pair in merged] == [
        (Cue(0, 2000, "a\nb"), Cue(100, 2100, "ab")),
        (Cue(9000, 9500, "c"), None),
    ]


def test_a_line_that_is_shown_all_the_time_takes_no_other_cues_partner() -> None:
    credit, lines = Cue(0, 99_000, "by me"), [Cue(n * 1000, n * 1000 + 900, str(n)) for n in range(99)]

    pairs = pair_cues(lines, (credit, *lines))

    assert [pair.translated for pair in pairs if pair.original is not None] == lines
    assert [pair.original for pair in pair_cues((credit, *lines), lines)][1:] == lines[1:]


CUES = st.lists(
    st.builds(lambda start, length: Cue(start, start + length, "x"), st.integers(0, 60), st.integers(1, 20)),
    max_size=12,
)


@given(original=CUES, translated=CUES)
def test_each_cue_goes_to_the_one_that_it_shares_most_time_with(
    original: list[Cue], translated: list[Cue]
) -> None:
    def shared(one: Cue, other: Cue) -> int:
        return min(one.end, other.end) - max(one.start, other.start)

    original = sorted({cue.start: cue for cue in original}.values(), key=lambda cue: cue.start)
    pairs = pair_cues(original, [*translated, Cue(1000, 1001, "other length")])
    alone = [pair.original for pair in pairs if pair.translated is None]

    for cue in original:
        most = max((shared(cue, other) for other in translated), default=0)
        assert (cue in alone) == (most <= 0)
        # It became a part of the cue that stands beside its partner.
        found = [
            pair.translated
            for pair in pairs
            if pair.original and pair.translated and pair.original.start <= cue.start and cue not in alone
        ]
        assert most <= 0 or any(shared(cue, other) == most for other in found)


@pytest.mark.parametrize("last", [False, True], ids=["all to the end", "all from the beginning"])
def test_a_file_whose_cues_are_all_shown_at_once_is_paired_in_few_steps(last: bool) -> None:
    class Counted(list[Cue]):
        looked_at = 0

        def __getitem__(self, place: Any) -> Any:
            self.looked_at += 1
            return super().__getitem__(place)

    cues = Counted(Cue(0, 1000 + n, "x") if last else Cue(n, 10**6, "x") for n in range(3000))
    pair_cues([*cues[:-1]], cues)

    assert cues.looked_at < 150 * len(cues)


def test_tables_hold_both_languages_and_run_nothing(tmp_path: Path) -> None:
    lay_out(tmp_path, "talk.ja", SPOKEN, TRANSLATED, ALL)
    rows = [*csv.DictReader(io.StringIO((tmp_path / "talk.ja.csv").read_bytes().decode("utf-8-sig")))]
    book = load_workbook(tmp_path / "talk.ja.xlsx")
    sheet = book["subtitles"]

    assert [row["original"] for row in rows] == ["Good morning.", "'=1+1 is two.", "Goodbye.", ""]
    assert [row["translation"] for row in rows] == ["おはよう。\n皆さん。", "'=1+1 は2。", "", "'- では。"]
    assert sheet["D3"].value == "=1+1 is two."
    assert {cell.data_type for row in sheet.iter_rows(min_row=2, min_col=2) for cell in row} <= {
        "s",
        "inlineStr",
        "n",
    }
    assert "おはよう。\n皆さん。\nGood morning." in (tmp_path / "talk.ja.bilingual.srt").read_text(
        encoding="utf-8"
    )
    for name in ("talk.ja.srt", "talk.ja.csv", "talk.ja.xlsx"):
        assert read_translation(tmp_path / name) == TRANSLATED


def test_a_table_runs_nothing_that_a_japanese_keyboard_writes_either(tmp_path: Path) -> None:
    cues = tuple(
        Cue(n * 2000, n * 2000 + 1000, text) for n, text in enumerate(("\uff1d1", "\uff0bx", "'- a"))
    )
    lay_out(tmp_path, "talk.ja", cues, cues, ["csv"])
    rows = [*csv.DictReader(io.StringIO((tmp_path / "talk.ja.csv").read_bytes().decode("utf-8-sig")))]

    assert [row["original"] for row in rows] == ["'\uff1d1", "'\uff0bx", "''- a"]
    assert read_translation(tmp_path / "talk.ja.csv") == cues


def test_what_a_reviewer_has_begun_is_never_overwritten(tmp_path: Path) -> None:
    lay_out(tmp_path, "talk.ja", SPOKEN, TRANSLATED, ALL)
    (tmp_path / "talk.ja.srt").write_text("mine")
    (tmp_path / "talk.ja.csv").unlink()
    written, kept = lay_out(tmp_path, "talk.ja", SPOKEN, TRANSLATED, ALL)

    assert (tmp_path / "talk.ja.srt").read_text() == "mine"
    assert [path.name for path in written] == ["talk.ja.csv"]
    assert len(kept) == 4


def test_a_table_that_a_spreadsheet_saved_is_read(tmp_path: Path) -> None:
    saved = (
        "Number;Start;End;Original;Translation;Comment\r\n1;0:00:01,5;00:00:02.25;Hi;Salut;ok\r\n;;;;;\r\n"
    )
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + saved.replace(";;;;;\r\n", "").encode())

    assert read_translation(tmp_path / "a.csv") == (Cue(1500, 2250, "Salut"),)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"start,end\n1,2\n", "no columns start, end and translation"),
        ("a.csv", b"start,end,translation\n0.5,00:00:02.0,x\n", "row 2: start and end must be times"),
        ("a.csv", b"start,end,translation\n\xff", "CSV UTF-8"),
        ("a.xlsx", b"PK\x03\x04 no workbook", "no workbook of Excel"),
        ("a.xlsx", b"", "no workbook of Excel"),
    ],
)
def test_a_table_that_can_not_be_read_says_why(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(CaptionFileError) as caught:
        read_translation(tmp_path / name)
    assert said in str(caught.value)


# The commands.


@pytest.fixture
def talk(akool: Command, vendor: Sandbox, quick: None, out: Path) -> Path:
    """Two languages of a talk, saved, with their subtitles laid out."""
    words = ["https://example.com/talk.mp4", "--to", "ja,fr", "--key", "talk", "--caption", "target"]
    assert akool("translate", *words, "--out", out, "--yes").code == 0
    assert akool("captions", "pull", "--out", out).code == 0
    return out


def correct(path: Path, old: str = "/talk.mp4", new: str = "Phrase 1") -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_pull_lays_out_all_or_what_is_asked_for(akool: Command, talk: Path) -> None:
    names = {path.name for path in (talk / "captions").iterdir()}
    again = akool("captions", "pull", "--out", talk)
    some = akool(
        "captions", "pull", "ta*", "--language", "fr", "--out", talk, "--to", talk / "x", "--bilingual"
    )
    wrong = akool("captions", "pull", "tour", "--out", talk)
    named = akool("captions", "pull", talk)
    assert named.code == 0, named.err

    assert names == {
        f"talk.{target}.{ending}" for target in ("ja", "fr") for ending in ("srt", "original.srt", "csv")
    }
    assert (again.code, again.out) == (0, "")
    assert "6 files left alone" in again.err
    assert {path.name for path in (talk / "x").iterdir()} == {
        *("talk.fr.srt", "talk.fr.original.srt", "talk.fr.csv", "talk.fr.bilingual.srt")
    }
    assert some.code == 0
    assert (wrong.code, "'tour' is saved with subtitles" in wrong.err) == (2, True)


def test_a_folder_that_can_not_be_written_is_told_and_nothing_is_said_of_downloads(
    akool: Command, talk: Path
) -> None:
    (talk / "file").write_text("no folder")
    told = akool("captions", "pull", "--out", talk, "--to", talk / "file")

    assert told.code != 0
    assert "can't be written" in told.err
    assert "name another folder with --to" in told.err
    assert "download" not in told.err


def test_check_looks_at_what_was_corrected(akool: Command, talk: Path) -> None:
    relaxed = ["--max-speed", "100", "--max-line", "100", "--out", talk]
    before = akool("captions", "check", *relaxed)
    correct(talk / "captions" / "talk.fr.srt", "00:00:00,000 -->", "00:00:09,000 -->")
    after = akool("captions", "check", *relaxed)
    (talk / "captions" / "talk.ja.csv").write_text("nothing")
    broken = akool("captions", "check", *relaxed)

    assert before.code == 0
    assert (after.code, after.out.split("\t")[3]) == (1, "times")
    assert "unreadable" in broken.out


def test_a_journal_alone_leads_to_the_folder_with_the_corrections(
    akool: Command, talk: Path, vendor: Sandbox
) -> None:
    journal = ["--journal", talk / "jobs.sqlite3"]
    relaxed = ["--max-speed", "100", "--max-line", "100", *journal]
    pulled = akool("captions", "pull", "--bilingual", *journal)
    correct(talk / "captions" / "talk.fr.srt", "00:00:00,000 -->", "00:00:09,000 -->")
    checked = akool("captions", "check", *relaxed)
    pushed = akool("captions", "push", "talk", "--language", "fr", *journal)

    assert pulled.code == 0
    assert f"2 files written to {talk / 'captions'}." in pulled.err
    assert (checked.code, checked.out.split("\t")[3]) == (1, "times")
    assert str(talk / "captions") in pushed.err
    assert not Path("results").exists()
    assert len(vendor.audit.creates) == 1


def test_push_without_a_url_writes_the_file_and_sends_nothing(
    akool: Command, talk: Path, vendor: Sandbox
) -> None:
    jobs = len(vendor.audit.jobs)
    unchanged = akool("captions", "push", "talk", "--language", "fr", "--out", talk)
    correct(talk / "captions" / "talk.fr.csv", "[fr] /talk.mp4", "[fr] Phrase 1")
    several = akool("captions", "push", "talk", "--out", talk)
    told = akool("captions", "push", "talk", "--language", "fr", "--out", talk)
    made = talk / "captions" / "talk.fr.captions-2.srt"

    assert (unchanged.code, "No file for talk.fr was changed" in unchanged.err) == (2, True)
    assert (several.code, "saved in ja, fr" in several.err) == (2, True)
    assert told.code == 1
    assert str(made) in told.err
    assert "Phrase 1" in made.read_text(encoding="utf-8")
    assert len(vendor.audit.jobs) == jobs


def test_push_names_a_command_that_asks_for_the_same(
    akool: Command, talk: Path, vendor: Sandbox, book: Book
) -> None:
    correct(talk / "captions" / "talk.fr.srt")
    order = ["captions", "push", "talk", "--language", "fr", "--caption", "replace", "--max-credits", "9"]
    order += ["--out", talk, "--url", "https://example.com/talk.mp4", "--no-check"]
    told = akool(*order, "--yes")
    (line,) = [line for line in told.err.splitlines() if line.startswith("    akool-async captions push")]
    again = [word.replace("URL", "https://example.com/fr.srt") for word in shlex.split(line)[1:]]
    jobs = len(vendor.audit.jobs)
    bounded = akool(*again, "--yes")
    assert len(vendor.audit.jobs) == jobs
    paid = akool(*[{"9": "12"}.get(word, word) for word in again], "--yes")
    request = book.read()["talk.captions-2", "fr"].request

    assert again == [*map(str, order), "--caption-url", "https://example.com/fr.srt"]
    assert (bounded.code, paid.code) == (5, 0)
    assert isinstance(request, TranslationRequest)
    assert request.caption_type == CaptionType.REPLACE


def test_push_names_its_command_without_what_signs_the_url(akool: Command, talk: Path) -> None:
    correct(talk / "captions" / "talk.fr.srt")
    url = "https://example.com/talk.mp4?sig=5ecre7"
    told = akool("captions", "push", "talk", "--language", "fr", "--out", talk, "--url", url, "--yes")

    assert "5ecre7" not in told.err
    assert "with the URLs as they were" in told.err
    assert "--yes" not in told.err


@pytest.mark.parametrize("shared", [False, True])
def test_push_overwrites_no_file_that_was_edited(
    shared: bool, akool: Command, talk: Path, vendor: Sandbox
) -> None:
    correct(talk / "captions" / "talk.fr.srt")
    order = ["captions", "push", "talk", "--language", "fr", "--out", talk]
    akool(*order)
    made = talk / "captions" / "talk.fr.captions-2.srt"
    same = akool(*order)
    correct(made, "Phrase 1", "Phrase 2")
    told = akool(*order, *(["--share", "s3://bucket/films", "--yes"] if shared else []))
    named = akool(*order, "--file", made)

    assert str(made) in same.err
    assert (told.code, "nothing was overwritten" in told.err) == (2, True)
    assert named.code == 1
    assert "Phrase 2" in made.read_text(encoding="utf-8")
    assert len(vendor.audit.creates) == 1


def test_push_pays_once_asks_first_and_is_linked_to_the_first_entry(
    akool: Command, talk: Path, vendor: Sandbox, book: Book
) -> None:
    correct(talk / "captions" / "talk.fr.srt")
    order = ["captions", "push", "talk", "--language", "fr", "--out", talk]
    order += ["--caption-url", "https://example.com/fr.srt?sig=5ecre7"]
    jobs = len(vendor.audit.jobs)
    asked = akool(*order)
    bounded = akool(*order, "--yes", "--max-credits", "0.5")
    assert len(vendor.audit.jobs) == jobs
    paid = akool(*order, "--yes")
    again = akool(*order, "--yes")
    entry = book.read()["talk.captions-2", "fr"]

    assert (asked.code, "needs your consent" in asked.err) == (2, True)
    assert bounded.code == 5
    assert paid.code == 0
    assert len(vendor.audit.jobs) == jobs + 1
    assert (again.code, "saved already, as 'talk.captions-2'" in again.err) == (2, True)
    assert isinstance(entry.request, TranslationRequest)
    assert entry.request.caption_url == "https://example.com/fr.srt"
    assert (talk / "talk.captions-2.fr.mp4").exists()
    assert (talk / "talk.fr.mp4").exists()
    akool("report", talk)
    (page,) = [path.read_text() for path in (talk / "report").glob("video-*.html")]
    assert 'id="in-fr-2"' in page
    assert "corrected 1" in page
    assert "5ecre7" not in page
    assert vendor.audit.paid_twice() == ()


def test_push_pays_for_no_subtitles_that_the_vendor_can_not_fetch(
    akool: Command, talk: Path, vendor: Sandbox
) -> None:
    correct(talk / "captions" / "talk.fr.srt")
    order = ["captions", "push", "talk", "--language", "fr", "--out", talk, "--yes"]
    jobs = len(vendor.audit.jobs)

    with serve_files() as files:
        missing = akool(*order, "--caption-url", f"{files.base_url}/fr.srt")
        assert len(vendor.audit.jobs) == jobs
        paid = akool(*order, "--caption-url", f"{files.base_url}/fr.srt", "--no-check")

    assert (missing.code, "Captions: The server answered HTTP 404" in missing.err) == (1, True)
    assert paid.code == 0
    assert len(vendor.audit.jobs) == jobs + 1


def test_push_saves_what_no_run_has_downloaded(
    akool: Command, talk: Path, vendor: Sandbox, book: Book
) -> None:
    correct(talk / "captions" / "talk.fr.srt")
    order = ["captions", "push", "talk", "--language", "fr", "--out", talk, "--yes"]
    order += ["--caption-url", "https://example.com/fr.srt"]
    akool(*order)
    for path in talk.glob("talk.captions-2.*"):
        path.unlink()
    book.enter_again("talk.captions-2", target="fr", files=())
    jobs = len(vendor.audit.jobs)

    assert akool(*order).code == 0
    assert (talk / "talk.captions-2.fr.mp4").exists()
    assert len(vendor.audit.jobs) == jobs


def test_push_shares_the_subtitles_from_a_bucket(
    akool: Command, talk: Path, vendor: Sandbox, book: Book, bucket: TestBucket
) -> None:
    correct(talk / "captions" / "talk.fr.srt")
    order = ["captions", "push", "talk", "--language", "fr", "--out", talk, "--yes", "--share", bucket.url]
    both = akool(*order, "--caption-url", "https://example.com/fr.srt")
    jobs = len(vendor.audit.jobs)
    told = akool(*order)
    again = akool(*order)
    entry = book.read()["talk.captions-2", "fr"]
    sent = (vendor.audit.creates[-1].payload or {})["caption_url"]

    assert (both.code, "exclude each other" in both.err) == (2, True)
    assert (told.code, len(vendor.audit.jobs)) == (0, jobs + 1)
    assert bucket.name in sent
    assert "Signature=" in sent
    assert (again.code, "saved already" in again.err) == (2, True)
    assert isinstance(entry.request, TranslationRequest)
    assert entry.request.caption_url is not None
    assert "talk.fr.captions-2.srt?sha256=" in entry.request.caption_url
    assert bucket.names == []
    assert b"Signature=" not in book.path.read_bytes()


def test_a_second_correction_gets_the_next_number(akool: Command, talk: Path, book: Book) -> None:
    correct(talk / "captions" / "talk.fr.srt")
    order = ["captions", "push", "talk", "--language", "fr", "--out", talk, "--yes", "--caption-url"]
    akool(*order, "https://example.com/1.srt")
    correct(talk / "captions" / "talk.fr.srt", "Phrase 1", "Ligne 1")
    akool(*order, "https://example.com/2.srt")

    assert {key for key, _ in book.read()} == {"talk", "talk.captions-2", "talk.captions-3"}


@pytest.mark.parametrize("public", [(), ("--url-is-public",)], ids=["private", "public"])
def test_a_query_says_which_subtitles_are_pushed_unless_it_signs_them(
    akool: Command, vendor: Sandbox, quick: None, out: Path, book: Book, public: tuple[str, ...]
) -> None:
    video = ["translate", "https://example.com/talk.mp4", "--to", "fr", "--key", "talk"]
    akool(*video, "--out", out, "--yes", *public)
    akool("captions", "pull", "--out", out)
    correct(out / "captions" / "talk.fr.srt")
    order = ["captions", "push", "talk", "--out", out, "--yes", "--caption-url"]
    url = "https://example.com/get"
    first = akool(*order, f"{url}?id=1", "--give-up-after", "0.001s")
    early = akool(*order, f"{url}?id=2") if first.code else None
    pushed = [akool(*order, f"{url}?id={number}") for number in (1, 2, 2)]
    signed = [akool(*order, f"https://example.com/fr.srt?X-Amz-Signature={number}") for number in (7, 8)]

    assert first.code in (0, 4)
    # While the first ones are at the vendor, it may be these, signed anew.
    assert early is None or (early.code, "has subtitles from the same URL" in early.err) == (2, True)
    assert pushed[0].code in (0, 2)
    assert pushed[1].code == 0
    assert (pushed[2].code, "saved already, as 'talk.captions-3'" in pushed[2].err) == (2, True)
    assert [told.code for told in signed] == [0, 2]
    assert {key for key, _ in book.read()} == {"talk", *(f"talk.captions-{number}" for number in (2, 3, 4))}
    assert len(vendor.audit.jobs) == 4
    sent = [(create.payload or {}).get("caption_url") for create in vendor.audit.creates[1:]]
    assert sent == [f"{url}?id=1", f"{url}?id=2", "https://example.com/fr.srt?X-Amz-Signature=7"]


def test_subtitles_that_can_not_be_told_from_those_that_are_paid_are_not_pushed(
    akool: Command, vendor: Sandbox, quick: None, out: Path
) -> None:
    video = "https://example.com/talk.mp4?token="
    akool("translate", f"{video}1", "--to", "fr", "--key", "talk", "--out", out, "--yes")
    akool("captions", "pull", "--out", out)
    correct(out / "captions" / "talk.fr.srt")
    order = ["captions", "push", "talk", "--out", out, "--yes", "--caption-url"]
    first = akool(*order, "https://example.com/get?id=1", "--url", f"{video}2")
    again = akool(*order, "https://example.com/get?id=1", "--url", f"{video}2")
    unclear = [
        akool(*order, f"https://example.com/get?id={number}", "--url", f"{video}3") for number in (1, 2)
    ]

    assert first.code == 0
    assert (again.code, "saved already" in again.err) == (2, True)
    for told in unclear:
        assert (told.code, "'talk.captions-2' has subtitles from the same URL" in told.err) == (2, True)
    assert len(vendor.audit.jobs) == 2


def test_a_push_that_gave_up_is_resumed_and_not_paid_again(
    akool: Command, talk: Path, vendor: Sandbox, book: Book
) -> None:
    correct(talk / "captions" / "talk.fr.srt")
    jobs = len(vendor.audit.jobs)
    order = ["captions", "push", "talk", "--language", "fr", "--out", talk, "--yes"]
    order += ["--caption-url", "https://example.com/fr.srt"]
    first = akool(*order, "--give-up-after", "0.001s")
    second = akool(*order)

    assert first.code in (0, 4)
    assert second.code in (0, 2)
    assert len(vendor.audit.jobs) == jobs + 1
    assert {key for key, _ in book.read()} == {"talk", "talk.captions-2"}


def test_a_signed_url_has_to_be_named_and_be_of_the_same_video(
    akool: Command, vendor: Sandbox, quick: None, out: Path
) -> None:
    url = "https://example.com/talk.mp4?X-Amz-Signature=abc"
    akool("translate", url, "--to", "fr", "--key", "talk", "--out", out, "--yes")
    akool("captions", "pull", "--out", out)
    correct(out / "captions" / "talk.fr.srt")
    order = ["captions", "push", "talk", "--out", out, "--yes", "--caption-url", "https://example.com/fr.srt"]
    jobs = len(vendor.audit.jobs)
    missing = akool(*order)
    other = akool(*order, "--url", "https://example.com/other.mp4")
    assert len(vendor.audit.jobs) == jobs
    right = akool(*order, "--url", url)

    assert (missing.code, "keeps no signatures" in missing.err) == (2, True)
    assert (other.code, "names another video" in other.err) == (2, True)
    assert right.code == 0
    assert len(vendor.audit.jobs) == jobs + 1


@pytest.mark.parametrize(
    ("changed", "number"),
    [
        ({}, 2),
        ({"caption_url": None}, 1),
        ({"url": "https://example.com/other.mp4"}, 1),
        ({"key": "tour.captions-2"}, 1),
        ({"key": "talk.captions-02"}, 1),
        ({"targets": "ja"}, 1),
    ],
)
def test_a_correction_is_known_by_its_key_its_video_and_its_subtitles(
    changed: dict[str, Any], number: int
) -> None:
    first = TranslationRequest(url="https://example.com/talk.mp4", targets="fr", key="talk")
    later = attrs.evolve(
        first, **{"key": "talk.captions-2", "caption_url": "https://example.com/a.srt"} | changed
    )

    async def look() -> tuple[str, int]:
        async with open_journal(":memory:") as journal:
            for request in (first, later):
                await walk(journal, request, State.DELIVERED)
            entry = journal.get(later.key or "", later.targets[0])
            assert entry is not None
            return first_version(entry, journal)

    assert anyio.run(look) == (("talk", 2) if number == 2 else (later.key, 1))


def test_a_key_that_only_looks_like_a_correction_is_its_own_video(
    akool: Command, vendor: Sandbox, quick: None, out: Path
) -> None:
    for name, key in (("a", "talk"), ("b", "talk.captions-2")):
        akool(
            "translate", f"https://example.com/{name}.mp4", "--to", "fr", "--key", key, "--out", out, "--yes"
        )
    akool("report", out)

    assert len([*(out / "report").glob("video-*.html")]) == 2
