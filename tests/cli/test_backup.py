"""Journals that are copied, missing, restored or older: nothing is paid again unasked."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from akool_async import State
from akool_async.sandbox import Fault, Sandbox
from tests.cli.conftest import Book, Command
from tests.journal.test_lock import another_run

pytestmark = pytest.mark.usefixtures("quick")
RUN = ["translate", "https://example.com/talk.mp4", "--to", "ja", "--yes"]


@pytest.fixture
def paid(akool: Command, vendor: Sandbox, book: Book) -> Book:
    assert akool(*RUN, "--out", book.out).code == 0
    return book


def test_a_journal_is_copied_whole_and_nothing_is_overwritten(
    akool: Command, paid: Book, tmp_path: Path
) -> None:
    to = tmp_path / "copies"
    to.mkdir()
    told = akool("backup", paid.out, to)
    again = akool("backup", paid.path, to)
    copy = to / "jobs.sqlite3"

    assert told.code == 0, told.err
    assert f"{copy}: 1 entry of {paid.path}." in told.err
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert akool("list", copy, "--json").out == akool("list", paid.path, "--json").out
    assert again.code == 1
    assert f"{copy} exists already" in again.err
    assert akool("backup", tmp_path / "none", to / "x").code == 2
    for missing in (to / "no" / "x", f"{to}/no/"):  # a file called "no" is not what was meant
        refused = akool("backup", paid.out, missing)
        assert refused.code == 1
        assert f"The folder {to / 'no'} for the copy is not there." in refused.err
        assert "submit nothing" not in refused.err
    assert not (to / "no").exists()


def test_a_journal_is_copied_while_a_run_is_writing_it(akool: Command, book: Book, tmp_path: Path) -> None:
    book.enter(("a", State.DELIVERED))
    with another_run(book.path):
        told = akool("backup", book.out, tmp_path / "copy")

    assert told.code == 0
    assert {one["key"] for one in json.loads(akool("list", tmp_path / "copy", "--json").out)} == {"a", "talk"}


@pytest.mark.parametrize("how", ["missing", "older"])
def test_a_journal_that_is_missing_or_older_is_told_before_paying(
    how: str, akool: Command, paid: Book, vendor: Sandbox, tmp_path: Path
) -> None:
    if how == "missing":
        paid.path.unlink()
    else:
        akool("backup", paid.out, tmp_path / "old")
        assert akool(*RUN[:3], "fr", "--yes", "--out", paid.out).code == 0
        shutil.copy(tmp_path / "old", paid.path)
    posts = len(vendor.audit.creates)
    order = [*RUN[:3], "de", "--out", paid.out]
    refused, resumed = akool(*order, "--yes"), akool("resume", "--out", paid.out)
    status = akool("status", "--out", paid.out)
    (paid.out / "one.csv").write_text("url,languages\nhttps://example.com/talk.mp4,de\n")
    plan = akool("plan", paid.out / "one.csv", "--out", paid.out)

    for told in (refused, resumed) if how == "missing" else (refused,):
        assert told.code == 1
        assert "--accept-older-journal" in told.err
    assert "paid again" in plan.err
    assert "paid again" in status.out + status.err
    assert len(vendor.audit.creates) == posts

    accepted = akool(*order, "--yes", "--accept-older-journal")
    assert accepted.code == 0, accepted.err
    assert len(vendor.audit.creates) == posts + 1
    assert akool("status", "--out", paid.out).code == 0


def test_a_backup_on_a_new_machine_is_read_at_once_and_written_once_that_is_accepted(
    akool: Command, paid: Book, vendor: Sandbox, tmp_path: Path
) -> None:
    akool("backup", paid.out, tmp_path / "nightly.sqlite3")
    assert akool(*RUN[:3], "fr", "--yes", "--out", paid.out).code == 0  # the backup does not know this one
    out = tmp_path / "new machine"
    out.mkdir()
    shutil.copy(tmp_path / "nightly.sqlite3", out / "jobs.sqlite3")
    posts = len(vendor.audit.creates)
    order = [*RUN[:3], "fr", "--out", out]
    refused, status = akool(*order, "--yes"), akool("status", out)
    said = " ".join(refused.err.split())

    assert refused.code == 1
    assert "is a copy that `backup` made on" in said
    assert "the account's usage" in said
    assert "--accept-older-journal" in said
    assert (status.code, akool("list", out).code, akool("export", out).code) == (0, 0, 0)
    assert "is a copy" in " ".join((status.out + status.err).split())
    assert "is a copy" in json.loads(akool("status", out, "--json").out)["older"]
    assert len(vendor.audit.creates) == posts

    assert akool(*order, "--yes", "--accept-older-journal").code == 0
    assert len(vendor.audit.creates) == posts + 1
    assert akool(*order, "--yes").code == 0
    assert json.loads(akool("status", out, "--json").out)["older"] is None


def test_a_doubt_is_not_resolved_in_an_older_journal_unasked(
    akool: Command, book: Book, tmp_path: Path
) -> None:
    book.enter(("a", State.IN_DOUBT))
    akool("backup", book.out, tmp_path / "old")
    book.enter(("b", State.SUBMITTED))
    shutil.copy(tmp_path / "old", book.path)
    refused = akool("resolve", "a", "--not-made", "--out", book.out)
    accepted = akool("resolve", "a", "--not-made", "--out", book.out, "--accept-older-journal")

    assert (refused.code, accepted.code) == (1, 0)
    assert book.states() == {"a": "planned"}


def test_results_that_another_journal_paid_for_are_not_paid_again_unasked(
    akool: Command, paid: Book, vendor: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "films.csv").write_text("url,languages\nhttps://example.com/talk.mp4,ja fr\n")
    order = [tmp_path / "films.csv", "--out", paid.out, "--journal", tmp_path / "other.sqlite3"]
    plan = json.loads(akool("plan", *order, "--json").out)
    run = akool("run", *order, "--yes", "--json")
    posts = len(vendor.audit.creates)
    again = akool("run", *order, "--yes", "--pay-again")

    assert (plan["actions"]["found"], plan["actions"]["new"], plan["new_jobs"]) == (1, 1, 1)
    assert run.code == 1
    assert "--pay-again" in run.out
    said = " ".join(run.err.split())
    assert "Of 1 the results are in the folder and paid; this journal has no such jobs." in said
    assert f"or its newest backup, in the place of {tmp_path / 'other.sqlite3'} and run again" in said
    assert "To resume, run the same command again" not in said  # which would find the same
    assert posts == 2
    assert again.code == 0, again.err
    assert len(vendor.audit.creates) == 3


def test_what_was_retried_since_the_backup_is_not_paid_again(
    akool: Command, serve: Callable[..., Sandbox], quick: None, book: Book, tmp_path: Path
) -> None:
    """The copy has a job that failed; the one that was paid after it is saved."""
    vendor = serve(faults=[Fault(on="create", kind="job_fails", nth=1)])
    where = ["--yes", "--out", book.out]
    akool("translate", "https://example.com/talk.mp4", "--to", "ja", "--key", "talk", *where)
    akool("backup", book.out, tmp_path / "old")
    akool("retry", "talk", *where)
    for path in book.out.glob("jobs.sqlite3*"):
        path.unlink()
    shutil.copy(tmp_path / "old", book.path)
    told = akool("retry", "--failed", *where, "--accept-older-journal")
    paid = len(vendor.audit.creates)
    again = akool("retry", "--failed", *where, "--pay-again")

    assert paid == 2
    assert "in the folder, paid but not in this journal" in told.err
    assert again.code == 0, again.err
    assert len(vendor.audit.creates) == 3


@pytest.mark.parametrize("ending", ["-wal", "-journal", ".lock", ".runs", ".on-saved", ".media"])
def test_no_file_gets_a_name_that_belongs_beside_a_journal(
    akool: Command, paid: Book, vendor: Sandbox, tmp_path: Path, ending: str
) -> None:
    name = tmp_path / f"talks.sqlite3{ending}"
    posts = len(vendor.audit.creates)
    (paid.out / "one.csv").write_text("url,languages\nhttps://example.com/talk.mp4,de\n")
    for order in (
        ("backup", paid.out, name),
        ("export", paid.out, "--to", name),
        ("run", paid.out / "one.csv", "--yes", "--journal", name, "--out", paid.out),
        ("plan", paid.out / "one.csv", "--journal", name, "--out", paid.out),
    ):
        told = akool(*order)
        assert told.code != 0, order
        assert "is that of a file that is kept beside talks.sqlite3" in " ".join(told.err.split())
        assert not name.exists()

    assert len(vendor.audit.creates) == posts
