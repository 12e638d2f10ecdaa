"""What the journal says: truly, in words and as JSON, while somebody writes it, and without writing it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from akool_async import State
from akool_async.cli.console import counted
from akool_async.sandbox import Fault, Sandbox
from tests.cli.conftest import Book, Command
from tests.cli.terminal import on_terminal
from tests.journal.test_lock import another_run

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def full(book: Book) -> Book:
    """Entries in every state that a journal at rest can have."""
    book.enter(*((state.value, state) for state in State if state is not State.SUBMITTING))
    return book


def ago(**time: int) -> datetime:
    """A moment of the past, seen from now: the module may have been imported long before its tests run."""
    return datetime.now(UTC) - timedelta(**time)


def test_counts_credits_and_ways_to_go_on_are_told(akool: Command, full: Book) -> None:
    full.enter(("soon", State.COMPLETED), created_at=ago(days=6, hours=1), credits_locked=4.0)
    full.enter(("later", State.SUBMITTED), created_at=ago(hours=1), credits_locked=2.5)

    seen = json.loads(akool("status", "--out", full.out, "--json").out)

    assert seen["states"] == dict.fromkeys(map(str, State), 1) | {
        "submitting": 0,
        "completed": 2,
        "submitted": 2,
    }
    assert seen["credits"] == {"used": 0, "locked": 6.5}
    assert seen["lock_holder"] is None
    assert [entry["key"] for entry in seen["expiring"]] == ["soon", "later"]
    assert [(entry["key"], entry["target"]) for entry in seen["in_doubt"]] == [("in_doubt", "ja")]
    assert seen["expiring_within_2_days"] == 1
    assert seen["next_steps"] == [
        f"akool-async {words} --out {full.out}"
        for words in ("collect", "resolve", "resume", "resume", "retry --failed")
    ]


def test_a_job_that_was_named_besides_that_of_an_entry_is_told(akool: Command, full: Book) -> None:
    ids = tuple(f"{number:024x}" for number in range(7))
    full.enter(("talk", State.SUBMITTED), doubt_ids=ids)
    seen = json.loads(akool("status", "--out", full.out, "--json").out)["with_other_jobs"]
    words = akool("status", "--out", full.out).out

    assert [(entry["key"], tuple(entry["doubt_ids"])) for entry in seen] == [("talk", ids)]
    assert "named another job, too, which may be billed besides" in words
    assert all(job_id in words for job_id in ids[:5])
    assert "and 2 more" in words
    assert seen[0]["job_id"] in words


def test_people_get_the_same_in_words(akool: Command, full: Book) -> None:
    full.enter(("日本語 العربية", State.COMPLETED), created_at=ago(days=6, minutes=1))
    full.enter(("dead", State.COMPLETED), created_at=ago(days=8, hours=2))
    told = akool("status", "--out", full.out)

    assert (told.code, told.err) == (0, "")
    assert "9 entries" in told.out
    assert "  dead ja: done, not saved yet, expired 26 hours ago\n" in told.out
    assert "  日本語 العربية ja: done, not saved yet, expires in 24 hours\n" in told.out
    assert "Interrupted: 1 translation not submitted yet.\n" in told.out
    assert f"akool-async resume --out {full.out}" in told.out


def test_all_home_is_said(akool: Command, book: Book) -> None:
    book.enter(("a", State.DELIVERED), ("b", State.DELIVERED))
    told = akool("status", "--out", book.out)

    assert "Everything that was submitted is saved." in told.out
    assert told.out.endswith(f"    akool-async list --out {book.out}\n")
    assert "Next:" not in told.out


def test_a_url_that_only_the_catalog_has_is_told(akool: Command, book: Book) -> None:
    book.enter_signed("signed")

    seen = json.loads(akool("status", "--out", book.out, "--json").out)
    assert (seen["needs_catalog"], seen["next_steps"]) == (1, ["run the catalog again"])


def test_a_run_that_writes_is_named_and_not_disturbed(akool: Command, book: Book) -> None:
    book.enter(("a", State.SUBMITTED))
    with another_run(book.path) as run:
        told = akool("status", "--out", book.out)
        seen = json.loads(akool("status", "--journal", book.path, "--json").out)

    assert f"by process {run.pid}" in told.out
    assert "Next:" not in told.out
    assert seen["lock_holder"]["pid"] == run.pid
    assert seen["states"]["submitting"] == 1


def test_nothing_is_written(akool: Command, full: Book) -> None:
    before = full.path.read_bytes(), full.read()
    akool("status", "--out", full.out)

    assert (full.path.read_bytes(), full.read()) == before


def test_no_journal_and_a_broken_one_are_told_and_left_alone(akool: Command, out: Path) -> None:
    none = akool("status", "--out", out)
    out.mkdir()
    empty = akool("status", "--out", out)
    (out / "jobs.sqlite3").write_text("this is no journal, but it is long enough to look at" * 20)
    broken = akool("status", "--out", out)

    assert [told.code for told in (none, empty, broken)] == [2, 2, 1]
    assert [told.out for told in (none, empty, broken)] == ["", "", ""]
    assert all("There is no journal" in told.err and "--out" in told.err for told in (none, empty))
    assert "damaged or is not a journal" in broken.err
    assert sorted(path.name for path in out.iterdir()) == ["jobs.sqlite3"]


def test_a_narrow_terminal_gets_whole_words(full: Book) -> None:
    full.enter(("later", State.SUBMITTED), created_at=ago(hours=1))
    told = on_terminal("status", "--out", full.out, columns=40)
    lines = told.text.splitlines()

    assert told.code == 0
    assert all(len(line) <= 40 for line in lines if not line.startswith("    ") and str(full.out) not in line)
    assert "  1  in doubt: sent or maybe sent, the" in [line.rstrip() for line in lines]


def test_what_failed_is_told_with_reasons_and_what_to_do(akool: Command, book: Book) -> None:
    book.enter(("lost", State.SUBMITTED))
    book.enter_again("lost", state=State.FAILED, reason="The voice \x1b[31mbroke.", code=1112)
    book.enter(("gone", State.EXPIRED), reason="It expired.")
    with_job = book.read()["lost", "ja"].job_id
    for number in range(11):
        book.enter((f"more-{number}", State.FAILED), code=1204)
    told = akool("status", "--out", book.out)
    seen = json.loads(akool("status", "--out", book.out, "--json").out)

    assert with_job
    assert "  lost ja: failed. The voice [31mbroke. Try again later" in told.out
    assert "  gone ja: expired. It expired. Only sending it again makes a new result" in told.out
    assert "  more-0 ja; more-1 ja; more-2 ja; more-3 ja; more-4 ja and 6 more: refused." in told.out
    assert "  Each of them:\n" in told.out
    assert f"    akool-async list --failed --out {book.out}\n" in told.out
    assert [one["key"] for one in seen["without_result"]][:2] == ["lost", "gone"]
    assert len(seen["without_result"]) == 13
    assert seen["without_result"][0]["reason"] == "The voice \x1b[31mbroke."
    assert seen["without_result"][0]["advice"].startswith("Try again later")


def test_a_bound_that_stopped_a_run_is_told_with_what_is_used_of_it(
    akool: Command, vendor: Sandbox, book: Book, tmp_path: Path
) -> None:
    catalog = tmp_path / "films.csv"
    catalog.write_text("url,to\nhttps://example.com/1.mp4,ja\nhttps://example.com/2.mp4,ja\n")
    akool("run", catalog, "--out", book.out, "--yes", "--max-credits=6", "--no-check")
    told = akool("status", "--out", book.out)

    assert "run the catalog again, which costs credits (of --max-credits 6, 4 are used):\n" in told.out


def test_jobs_that_failed_for_one_reason_are_one_cause(akool: Command, book: Book) -> None:
    book.enter(("other", State.FAILED), reason="Bad URL.")
    for key, target in (("a", "ja"), ("a", "fr"), ("b", "ja")):
        book.enter((key, State.SUBMITTED), target=target)
        job_id = book.read()[key, target].job_id
        book.enter_again(
            key, target=target, state=State.FAILED, reason=f'Job {job_id} failed. The vendor says: "mute"'
        )
    told = akool("status", "--out", book.out)

    causes = told.out.partition("Without a result:\n")[2].partition("\n\n")[0].splitlines()
    assert causes[0].startswith('  a ja, fr; b ja: failed. The job failed. The vendor says: "mute". Send it')
    assert causes[1].startswith("  other ja: refused. Bad URL. ")
    assert len(causes) == 2


def test_the_most_frequent_causes_are_told(akool: Command, book: Book) -> None:
    for number in range(12):
        book.enter((f"film-{number}", State.FAILED), reason=f"Reason {number}.")
    book.enter(("again", State.FAILED), reason="Reason 11.")
    told = akool("status", "--out", book.out)

    causes = told.out.partition("Without a result:\n")[2].partition("\n\n")[0].splitlines()
    assert causes[0].startswith("  film-11 ja; again ja: refused. Reason 11. ")
    assert len(causes) == 12
    assert causes[10:] == [
        "  and 2 for other reasons:",
        f"    akool-async list --failed --out {book.out}",
    ]


def test_two_calls_for_one_video_are_told_apart(akool: Command, book: Book) -> None:
    for target in ("ja", "fr"):
        book.enter(("talk", State.IN_DOUBT), target=target, reason="No answer.")
    told = akool("status", "--out", book.out)

    assert told.out.count(" sent 20") == 2


def test_rows_that_an_interrupted_run_did_not_submit_are_counted(
    akool: Command, vendor: Sandbox, book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = tmp_path / "films.csv"
    rows = "".join(f"https://example.com/{number}.mp4,ja,film-{number}\n" for number in range(6))
    catalog.write_text(f"url,languages,key\n{rows}")
    vendor.faults.add(Fault(on="create", kind="code", code=1104, nth=3))
    run = ["run", catalog, "--out", book.out, "--yes", "--in-flight", "1"]
    stopped = akool(*run)
    told = akool("status", "--out", book.out)
    seen = json.loads(akool("status", "--out", book.out, "--json").out)
    listed = json.loads(akool("list", "--out", book.out, "--json").out)

    assert stopped.code == 5
    assert "  4  not submitted yet\n" in told.out
    assert "Interrupted: 4 translations not submitted yet.\n" in told.out
    assert f"    akool-async run {catalog} --out {book.out} --in-flight 1\n" in told.out
    assert (seen["not_submitted"], seen["counts"]["saved"]) == (4, 2)
    assert [one["key"] for one in listed if one["state"] == "not submitted"] == [
        f"film-{number}" for number in range(2, 6)
    ]
    resumed = akool("resume", "--out", book.out, "--yes")  # what the journal has: the one that was refused
    nothing = akool("resume", "--out", book.out)
    assert "It is saved" in resumed.err
    assert f"Nothing is in progress in {book.path}." in nothing.err
    assert "3 entries not submitted yet: run the catalog again, which costs credits:\n" in resumed.err
    for told in (resumed, nothing):
        assert f"    akool-async run {catalog} --out {book.out} --in-flight 1\n" in told.err

    assert akool(*run).code == 0
    assert json.loads(akool("status", "--out", book.out, "--json").out)["not_submitted"] == 0


YOUTUBE = "https://youtu.be/dQw4w9WgXc"


def test_rows_that_were_refused_before_they_were_sent_stay_known(
    akool: Command, vendor: Sandbox, book: Book, tmp_path: Path
) -> None:
    catalog = tmp_path / "links.csv"
    good = "".join(f"https://example.com/{number}.mp4,ja\n" for number in range(2))
    catalog.write_text("url,languages\n" + good + "".join(f"{YOUTUBE}{end},ja\n" for end in "QRS"))
    run = ["run", catalog, "--out", book.out, "--yes"]
    ended = akool(*run)
    told = akool("status", "--out", book.out)
    seen = json.loads(akool("status", "--out", book.out, "--json").out)
    listed = json.loads(akool("list", "--out", book.out, "--json").out)

    assert ended.code == 1
    assert "  3 refused before they were sent, not charged: correct them\n" in ended.err
    assert "not submitted" not in ended.err
    assert "To resume" not in ended.err
    assert f"Correct them in {catalog}, and run it again." in ended.err
    assert "  3  refused before they were sent, not charged: their rows have to be corrected\n" in told.out
    assert "  dQw4w9WgXcQ ja: This is a page of YouTube, not a video." in told.out
    assert f"  3 entries to be corrected in {catalog}: then run it again" in told.out
    assert f"    akool-async run {catalog} --out {book.out}\n" in told.out
    assert "Everything that was submitted is saved." not in told.out
    assert seen["to_correct_of_catalogs"] == {str(catalog): 3}
    assert (seen["not_submitted"], seen["counts"]["to correct"]) == (0, 3)
    wrong = [one for one in listed if one["state"] == "to correct"]
    assert len(wrong) == 3
    assert all("YouTube" in one["reason"] and str(catalog) in one["advice"] for one in wrong)
    assert "a page of YouTube" in "".join(path.read_text() for path in (book.out / "report").glob("*.html"))

    catalog.write_text("url,languages\n" + good + "https://example.com/2.mp4,ja\n")
    assert akool(*run).code == 0
    assert "Everything that was submitted is saved." in akool("status", "--out", book.out).out


def test_one_refused_video_is_not_to_be_run_again_as_it_was(
    akool: Command, vendor: Sandbox, book: Book
) -> None:
    ended = akool("translate", f"{YOUTUBE}Q", "--to", "ja", "--out", book.out, "--yes")

    assert "1 refused before they were sent, not charged: correct them" in ended.err
    assert "Correct what the reasons name, and run again." in ended.err
    assert "same command" not in ended.err


@pytest.mark.parametrize(
    "content",
    [
        "a journal",
        '{"made_by": "akool-async runs", "pending": 3}',
        '{"made_by": "akool-async runs", "names": {"a": [[], 3]}}',
        "[" * 10**5,
    ],
)
def test_a_list_of_runs_that_is_broken_or_foreign_harms_nothing(
    content: str, akool: Command, vendor: Sandbox, book: Book
) -> None:
    book.enter(("b", State.DELIVERED))
    history = book.path.with_name("jobs.sqlite3.runs")
    history.write_text(content)
    run = akool("translate", "https://example.com/a.mp4", "--to", "ja", "--yes", "--out", book.out)

    assert run.code == 0, run.err
    assert akool("status", "--out", book.out).code == 0
    if "made_by" not in content:
        assert history.read_text() == content
        assert f"{history} is not a list of earlier runs and was left alone" in run.err


@pytest.mark.parametrize("trap", ["symlink", "pipe"])
def test_what_was_planted_in_the_place_of_the_list_of_runs_is_left_alone(
    trap: str, akool: Command, vendor: Sandbox, book: Book, tmp_path: Path
) -> None:
    book.out.mkdir()
    victim, history = tmp_path / "victim", book.out / "jobs.sqlite3.runs"
    victim.write_text("precious")
    history.symlink_to(victim) if trap == "symlink" else os.mkfifo(history)
    run = akool("translate", "https://example.com/a.mp4", "--to", "ja", "--yes", "--out", book.out)

    assert run.code == 0, run.err
    assert "was left alone" in run.err
    assert victim.read_text() == "precious"
    assert akool("status", "--out", book.out).code == 0


@pytest.mark.parametrize(
    ("number", "what", "told"),
    [(1, "day", "1 day"), (7, "day", "7 days"), (2, "entry", "2 entries"), (1_200, "job", "1,200 jobs")],
)
def test_numbers_of_things_are_told_in_words(number: int, what: str, told: str) -> None:
    assert counted(number, what) == told
