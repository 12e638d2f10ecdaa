"""What the journal says: truly, in words and as JSON, while somebody writes it, and without writing it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from akool_async import State
from tests.cli.conftest import Book, Command
from tests.cli.terminal import on_terminal
from tests.journal.test_lock import another_run

NOW = datetime.now(UTC)


@pytest.fixture
def full(book: Book) -> Book:
    """Entries in every state that a journal at rest can have."""
    book.enter(*((state.value, state) for state in State if state is not State.SUBMITTING))
    return book


def test_counts_credits_and_ways_to_go_on_are_told(akool: Command, full: Book) -> None:
    full.enter(("soon", State.COMPLETED), created_at=NOW - timedelta(days=6, hours=1), credits_locked=4.0)
    full.enter(("later", State.SUBMITTED), created_at=NOW - timedelta(hours=1), credits_locked=2.5)

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
        for words in ("collect", "resolve", "resume", "retry --failed")
    ]


def test_people_get_the_same_in_words(akool: Command, full: Book) -> None:
    full.enter(("日本語 العربية", State.COMPLETED), created_at=NOW - timedelta(days=6, minutes=1))
    full.enter(("dead", State.COMPLETED), created_at=NOW - timedelta(days=8, hours=2))
    told = akool("status", "--out", full.out)

    assert (told.code, told.err) == (0, "")
    assert "9 entries" in told.out
    assert "  dead ja: done, not saved yet, expired 1 d 2 h ago\n" in told.out
    assert "  日本語 العربية ja: done, not saved yet, expires in 23 h 5" in told.out
    assert f"akool-async resume --out {full.out}" in told.out


def test_all_home_is_said(akool: Command, book: Book) -> None:
    book.enter(("a", State.DELIVERED), ("b", State.DELIVERED))
    told = akool("status", "--out", book.out)

    assert told.out.rstrip().endswith("Everything that was submitted is saved.")
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
    full.enter(("later", State.SUBMITTED), created_at=NOW - timedelta(hours=1))
    told = on_terminal("status", "--out", full.out, columns=40)
    lines = told.text.splitlines()

    assert told.code == 0
    assert all(len(line) <= 40 for line in lines if not line.startswith("    ") and str(full.out) not in line)
    assert "  1  in doubt: sent, or maybe sent, the" in [line.rstrip() for line in lines]
