"""A journal that is named without --out: its results are looked for where it says that they were saved."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from akool_async import State
from akool_async.sandbox import Sandbox
from tests.cli.conftest import Book, Command

pytestmark = pytest.mark.usefixtures("quick")
RUN = ["translate", "https://example.com/talk.mp4", "--key", "talk", "--to", "ja,fr", "--yes", "--no-report"]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, where nothing was ever saved."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def assert_found(akool: Command, journal: object, folder: Path) -> None:
    """Each command finds the two results of a journal in a folder, and makes nothing where it was started."""
    verified = akool("verify", journal, "--json")
    listed = json.loads(akool("list", journal, "--json").out)
    shown = akool("report", journal)

    assert verified.code == 0, verified.err
    assert {Path(row["path"]).parent.resolve() for row in json.loads(verified.out)} == {folder}
    assert [one["state"] for one in listed] == ["saved", "saved"]
    index = Path(shown.out.strip())
    assert index.resolve() == folder / "report" / "index.html"
    assert any("talk.ja.mp4" in page.read_text(encoding="utf-8") for page in index.parent.rglob("*.html"))
    assert not Path("results").exists()


@pytest.mark.parametrize("journal", ["jobs.sqlite3", "../journals/films.sqlite3"])
def test_results_are_found_where_they_were_saved(
    akool: Command, vendor: Sandbox, tmp_path: Path, elsewhere: Path, journal: str
) -> None:
    (tmp_path / "journals").mkdir()
    place = tmp_path / "films" / journal
    assert akool(*RUN, "--out", tmp_path / "films", "--journal", place).code == 0

    assert_found(akool, place, tmp_path / "films")


def test_results_in_a_folder_beside_their_journal_are_found(
    akool: Command, vendor: Sandbox, tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a Python program has them that names both by relative paths."""
    films = tmp_path / "films"
    films.mkdir()
    monkeypatch.chdir(films)
    assert akool(*RUN, "--out", "out", "--journal", "jobs.sqlite3").code == 0
    monkeypatch.chdir(elsewhere)

    assert_found(akool, films / "jobs.sqlite3", films / "out")
    assert "not there" not in akool("status", films / "jobs.sqlite3").out


def test_results_that_were_moved_with_their_journal_are_found_beside_it(
    akool: Command, vendor: Sandbox, tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert akool(*RUN, "--out", "films").code == 0
    (tmp_path / "films").rename(tmp_path / "archive")
    monkeypatch.chdir(elsewhere)

    assert_found(akool, "../archive/jobs.sqlite3", tmp_path / "archive")


def test_what_was_deleted_is_saved_again_where_the_rest_is(
    akool: Command, vendor: Sandbox, tmp_path: Path, elsewhere: Path
) -> None:
    films = tmp_path / "films"
    journal = films / "jobs.sqlite3"
    assert akool(*RUN, "--out", films).code == 0
    (films / "talk.ja.mp4").unlink()
    damaged = akool("verify", journal)
    fixed = akool("verify", "--fix", journal)
    (films / "talk.fr.mp4").unlink()
    collected = akool("collect", journal)

    assert (damaged.code, fixed.code, collected.code) == (1, 0, 0), fixed.err
    assert f"akool-async verify --fix --out {films} --journal {journal}" in damaged.err
    assert {"talk.ja.mp4", "talk.fr.mp4"} <= {path.name for path in films.iterdir()}
    assert not Path("results").exists()


def test_a_job_that_is_waited_for_is_saved_beside_its_journal(
    akool: Command, vendor: Sandbox, book: Book, elsewhere: Path
) -> None:
    book.enter(("later", State.PLANNED))

    assert akool("resume", book.path, "--yes").code == 0
    assert (book.out / "later.ja.mp4").exists()
    assert not Path("results").exists()


def test_where_nothing_tells_the_folder_the_error_says_so(
    akool: Command, vendor: Sandbox, tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert akool(*RUN, "--out", "films", "--journal", "jobs.sqlite3").code == 0
    akool("backup", "jobs.sqlite3", elsewhere / "copy.sqlite3")
    monkeypatch.chdir(elsewhere)
    unknown = [akool(command, "copy.sqlite3") for command in ("verify", "report")]

    assert akool("status", "copy.sqlite3").code == 0
    for told in unknown:
        assert told.code == 2
        assert "copy.sqlite3 names the folder of its results as films" in told.err
        assert "--out" in told.err
    assert sorted(path.name for path in elsewhere.iterdir() if not path.name.startswith("copy")) == []
    assert akool("verify", "copy.sqlite3", "--out", "../films").code == 0


def test_a_folder_that_is_named_is_the_one(akool: Command, vendor: Sandbox, tmp_path: Path) -> None:
    assert akool(*RUN, "--out", tmp_path / "films").code == 0
    (tmp_path / "empty").mkdir()

    told = akool("verify", tmp_path / "films" / "jobs.sqlite3", "--out", tmp_path / "empty", "--json")
    assert json.loads(told.out)


@pytest.mark.parametrize("option", ["", "--journal"], ids=["named", "as an option"])
@pytest.mark.parametrize("command", ["verify", "report", "status", "list", "export", "resume", "collect"])
def test_a_name_of_nothing_is_an_error_that_names_it(
    akool: Command, vendor: Sandbox, elsewhere: Path, command: str, option: str
) -> None:
    assert akool(*RUN).code == 0
    assert akool("verify").code == 0
    told = akool(command, *filter(None, [option]), "resluts")

    assert told.code == 2
    assert told.out == ""
    assert re.search(r"There is no (journal )?\S*resluts\.", told.err), told.err
    assert sorted(path.name for path in elsewhere.iterdir()) == ["results"]


def test_a_journal_that_is_gone_but_for_its_lock_is_called_gone(
    akool: Command, vendor: Sandbox, elsewhere: Path
) -> None:
    assert akool(*RUN).code == 0
    Path("results/jobs.sqlite3").unlink()
    told = [akool(command, "results/jobs.sqlite3") for command in ("status", "list", "report")]

    assert {one.code for one in told} == {1}
    assert all("older" in one.err for one in told), told[0].err


@pytest.mark.parametrize(("languages", "told"), [("ja,fr,de,es,it", True), ("ja,fr,de", False)])
def test_a_journal_that_is_not_there_is_said_before_many_jobs_are_paid(
    akool: Command, vendor: Sandbox, tmp_path: Path, elsewhere: Path, languages: str, *, told: bool
) -> None:
    """As where the folder of the results was moved, or the run is started in another one."""
    (elsewhere / "talks.csv").write_text(f'url,languages\nhttps://example.com/1.mp4,"{languages}"\n')
    begins = (
        "No journal at results/jobs.sqlite3 yet: a new one begins, and knows of nothing that was paid before."
    )
    plan, as_json = akool("plan", "talks.csv"), akool("plan", "talks.csv", "--json")
    declined = akool("run", "talks.csv", "--no-report")
    run = akool("run", "talks.csv", "--yes", "--no-report", "--json")
    again = akool("run", "talks.csv", "--yes", "--no-report", "--pay-again", "--retry-failed")

    assert (begins in str(json.loads(as_json.out)["notes"])) is told
    assert (begins in str(json.loads(run.out.splitlines()[0])["notes"])) is told
    for one in (plan, declined, run):
        assert (begins in " ".join(one.err.split())) is told
    assert "No journal at" not in again.err
    assert len(vendor.audit.jobs) == len(languages.split(","))


@pytest.mark.parametrize("command", ["verify", "report", "status", "list", "export", "resume", "resolve"])
def test_a_file_that_is_no_journal_is_called_so_and_not_to_be_replaced(
    akool: Command, vendor: Sandbox, elsewhere: Path, command: str
) -> None:
    films = {"films.csv": b"url,languages\nhttps://example.com/1.mp4,ja\n" * 20, "film.mp4": bytes(4000)}
    for name, content in films.items():
        (elsewhere / name).write_bytes(content)
    named = [(option, name) for name in films for option in ("--journal", "")]
    told = [akool(command, *filter(None, words)) for words in named if command != "resolve" or words[0]]

    for one in told:
        assert one.code == 1
        assert re.search(r"films?\.\w+ is not a journal\. It was left as it is", one.err), one.err
        assert "Name the journal, or the folder with the results." in one.err
        assert "backup" not in one.err
    assert {path.name: path.read_bytes() for path in elsewhere.iterdir()} == films


def test_a_journal_that_was_overwritten_is_to_be_replaced_by_a_backup(
    akool: Command, vendor: Sandbox, elsewhere: Path
) -> None:
    assert akool(*RUN, "--journal", "mine.db").code == 0
    Path("mine.db").write_bytes(b"something else" * 500)
    told = akool("status", "--journal", "mine.db")

    assert told.code == 1
    assert "mine.db is damaged or is not a journal" in told.err
    assert "Put a backup in its place" in told.err


@pytest.mark.parametrize("name", ["jobs.sqlite3", "my-jobs-2026.sqlite3", "old2/journal.sqlite3"])
def test_a_journal_that_is_not_there_is_named(akool: Command, elsewhere: Path, name: str) -> None:
    assert f"There is no {name}." in akool("list", name).err


@pytest.mark.parametrize(
    "options", [(), ("--out", "other"), ("--journal", "other.sqlite3", "--out", "other")]
)
def test_another_journal_that_knows_of_the_work_is_named_before_it_is_paid_again(
    akool: Command, vendor: Sandbox, elsewhere: Path, options: tuple[str, ...]
) -> None:
    (elsewhere / "talks.csv").write_text("url,languages\nhttps://example.com/1.mp4,ja\n")
    first = akool("run", "talks.csv", "--yes", "--out", "talks")
    planned = akool("plan", "talks.csv", *options)
    (elsewhere / "talks.csv").write_text("url,languages\nhttps://example.com/2.mp4,ja\n")
    new = akool("plan", "talks.csv", *options)

    assert first.code == 0, first.err
    assert "No journal at " in planned.err
    assert (
        "The journal talks/jobs.sqlite3 has some of this as paid, or maybe paid: with --out talks"
        in planned.err
    )
    assert ("and without --journal" in planned.err) is ("--journal" in options)
    assert "The journal" not in new.err
    assert "No journal" not in new.err


def test_another_journal_for_results_that_are_there_names_theirs_and_leaves_their_report(
    akool: Command, vendor: Sandbox, elsewhere: Path
) -> None:
    (elsewhere / "talks.csv").write_text("url,languages\nhttps://example.com/1.mp4,ja\n")
    first = akool("run", "talks.csv", "--yes")
    report = {
        path: path.read_bytes() for path in (elsewhere / "results" / "report").rglob("*") if path.is_file()
    }
    told = akool("run", "talks.csv", "--yes", "--journal", "other.sqlite3")

    assert first.code == 0, first.err
    assert "The journal results/jobs.sqlite3 has some of this as paid" in told.err
    assert "The journal results/jobs.sqlite3 lies beside the results: run again without --journal" in told.err
    assert report
    assert {path: path.read_bytes() for path in report} == report
    assert len(vendor.audit.jobs) == 1
