"""The entries of a journal, one by one: what is asked for, as people and programs read it."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.cells import cell_len

from akool_async import State
from akool_async.sandbox import Sandbox
from tests.cli.conftest import Book, Command
from tests.cli.terminal import on_terminal
from tests.journal.test_lock import another_run

NOW = datetime.now(UTC)
FIELDS = "key language state reason code job_id credits submitted_at ended_at expires_at files".split()


@pytest.fixture
def full(book: Book) -> Book:
    """Entries in every state that a journal at rest can have, and some in French."""
    book.enter(*((state.value, state) for state in State if state is not State.SUBMITTING))
    book.enter(("soon", State.COMPLETED), created_at=NOW - timedelta(days=6, hours=1), credits_locked=4.0)
    book.enter(("later", State.SUBMITTED), created_at=NOW - timedelta(hours=1), credits_locked=2.5)
    book.enter(("a-1", State.FAILED), ("a-2", State.DELIVERED), target="fr", reason="No voice.", code=1003)
    return book


def keys(akool: Command, *arguments: object) -> list[str]:
    told = akool("list", "--json", *arguments)
    assert (told.code, told.err) == (0, "")
    return [one["key"] for one in json.loads(told.out)]


def test_everything_is_listed_in_the_order_of_the_journal(akool: Command, full: Book) -> None:
    told = akool("list", "--out", full.out)
    lines = [line.split("\t") for line in told.out.splitlines()]
    found = {one["key"]: one for one in json.loads(akool("list", "--out", full.out, "--json").out)}

    assert (told.code, told.err) == (0, "")
    assert all(len(line) == len(FIELDS) for line in lines)
    assert [line[0] for line in lines] == [key for key, _ in full.read()]
    assert {key: one["state"] for key, one in found.items()} == {
        "planned": "not submitted",
        "submitted": "at the vendor",
        "completed": "done",
        "failed": "refused",
        "delivered": "saved",
        "in_doubt": "in doubt",
        "expired": "expired",
        "soon": "done",
        "later": "at the vendor",
        "a-1": "refused",
        "a-2": "saved",
    }
    assert found["a-1"]["reason"] == "No voice."
    assert found["soon"]["credits"] == 4.0
    assert found["soon"]["job_id"] == full.read()["soon", "ja"].job_id


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--failed"], ["failed", "expired", "a-1"]),
        (["--in-doubt"], ["in_doubt"]),
        (["--failed", "--in-doubt"], ["failed", "in_doubt", "expired", "a-1"]),
        (["--expiring", "2d"], ["soon"]),
        (["--expiring", "30d"], ["soon", "later"]),
        (["--expiring", "2d", "--in-doubt"], ["in_doubt", "soon"]),
        (["--language", "fr"], ["a-1", "a-2"]),
        (["--language", "fr,de", "--failed"], ["a-1"]),
        (["--language", "French, de", "--failed"], ["a-1"]),
        (["--key", "a*"], ["a-1", "a-2"]),
        (["--key", "a*", "--language", "ja"], []),
        (["--key", "[a]-?", "--sort", "key", "--reverse"], ["a-2", "a-1"]),
        (["--sort", "credits", "--key", "[sla]*"], ["later", "soon", "submitted", "a-1", "a-2"]),
        (["--sort", "credits", "--reverse", "--key", "[sl]*"], ["soon", "later", "submitted"]),
        (["--sort", "expires", "--expiring", "30d"], ["soon", "later"]),
        (["--sort", "expires", "--reverse", "--expiring", "30d"], ["later", "soon"]),
        (["--sort", "code", "--failed"], ["a-1", "failed", "expired"]),
    ],
)
def test_what_is_asked_for_is_listed(
    arguments: list[str], expected: list[str], akool: Command, full: Book
) -> None:
    found = keys(akool, "--out", full.out, *arguments)

    assert (found if "--sort" in arguments else sorted(found)) == (
        expected if "--sort" in arguments else sorted(expected)
    )


def test_a_journal_or_a_folder_may_be_named(akool: Command, full: Book) -> None:
    every = [key for key, _ in full.read()]

    assert keys(akool, full.out) == keys(akool, full.path) == keys(akool, "--journal", full.path) == every
    assert akool("list", full.out / "none").code == 2


def test_an_intent_that_a_dead_run_left_is_a_doubt_too(akool: Command, book: Book) -> None:
    book.enter(("a", State.DELIVERED))
    with another_run(book.path) as run:
        alive = keys(akool, book.out, "--in-doubt")
        run.kill()
        run.wait()

    assert alive == []
    assert keys(akool, book.out, "--in-doubt") == ["talk"]


def test_csv_is_whole_and_runs_nothing_in_a_spreadsheet(akool: Command, book: Book) -> None:
    evil = ['=HYPERLINK("http://x")', "+1", "-1+2", "@SUM(A1)", 'quote",comma', "日本語"]
    for key in evil:
        book.enter((key, State.FAILED), reason="=cmd|' /C calc'!A0\nline", credits_used=1234.5)
    told = akool("list", book.out, "--csv")
    rows = list(csv.DictReader(io.StringIO(told.out)))

    assert list(rows[0]) == FIELDS
    assert [row["key"] for row in rows] == [f"'{key}" if key[0] in "=+-@" else key for key in evil]
    assert {row["reason"] for row in rows} == {"'=cmd|' /C calc'!A0 line"}
    assert {row["credits"] for row in rows} == {"1234.5"}
    assert {row["state"] for row in rows} == {"refused"}


@pytest.mark.parametrize(
    "columns", [40, 80, *(pytest.param(wide, marks=pytest.mark.thorough) for wide in (120, 200))]
)
def test_a_terminal_gets_what_it_has_room_for(columns: int, full: Book) -> None:
    for key, target in full.read():
        full.enter_again(key, target=target, files=())  # their length depends on the machine
    told = on_terminal("list", full.out, columns=columns)
    lines = [line.rstrip() for line in told.text.splitlines() if str(full.out) not in line]

    assert told.code == 0
    assert all(cell_len(line) <= columns for line in lines if not line.startswith("    "))
    assert all(any(line.startswith(key) for line in lines) for key, _ in full.read())
    assert ("Job" in lines[0]) == (columns >= 120)
    assert any("No voice." in line for line in lines)
    assert any(line.startswith("11 of 11 entries") for line in lines)


def test_escapes_in_a_journal_are_not_obeyed(akool: Command, book: Book) -> None:
    book.enter(("a", State.FAILED), reason="\x1b[31mred\x1b]0;t\x07\u202e")
    shown = on_terminal("list", book.out)

    assert "\x1b]0" not in shown.raw
    assert all("\x1b" not in akool("list", book.out, *how).out for how in ([], ["--csv"], ["--json"]))


def test_nothing_is_written(akool: Command, full: Book) -> None:
    before = full.path.read_bytes(), full.read()
    akool("list", full.out)

    assert (full.path.read_bytes(), full.read()) == before


@pytest.mark.parametrize(
    "columns", [40, *(pytest.param(wide, marks=pytest.mark.thorough) for wide in (80, 120))]
)
def test_a_long_reason_takes_one_line_on_a_terminal(columns: int, book: Book) -> None:
    reason = "The vendor refused the call: the audio can't be read. " * 9
    book.enter(*((f"talk-{number}", State.FAILED) for number in range(5)), reason=reason, code=1203)
    told = on_terminal("list", book.out, columns=columns)
    lines = [line.rstrip() for line in told.text.splitlines()]

    assert sum("the audio can" in line for line in lines) == 5
    assert max(cell_len(line) for line in lines if not line.startswith("    ")) <= columns
    assert len(lines) <= 5 * (1 if columns >= 80 else 2) + 9
    assert any("--json" in line for line in lines)


def test_an_export_has_what_the_list_has(akool: Command, full: Book, tmp_path: Path) -> None:
    listed = json.loads(akool("list", full.out, "--json").out)
    lines = akool("export", full.out).out.splitlines()
    table = akool("export", full.out, "--to", tmp_path / "all.csv")
    rows = list(csv.DictReader((tmp_path / "all.csv").read_text("utf-8-sig").splitlines()))
    again = akool("export", full.out, "--to", tmp_path / "all.csv", "--failed")

    assert [json.loads(line) for line in lines] == listed
    assert table.code == 0
    assert [row["key"] for row in rows] == [one["key"] for one in listed]
    assert [row["advice"] for row in rows] == [one["advice"] for one in listed]
    assert again.code == 1
    assert "Nothing was overwritten" in again.err


@pytest.mark.parametrize(
    "arguments",
    [[], ["--failed"], ["--expiring", "30d"], ["--in-doubt", "--expiring", "30d"], ["--key", "[!sla]*"]],
)
def test_an_export_has_the_filters_of_the_list(arguments: list[str], akool: Command, full: Book) -> None:
    exported = [json.loads(line)["key"] for line in akool("export", full.out, *arguments).out.splitlines()]

    assert exported == keys(akool, full.out, *arguments)


@pytest.mark.parametrize("command", ["status", "list", "export", "verify", "resume", "collect"])
def test_a_folder_may_be_the_first_argument(
    command: str, akool: Command, book: Book, vendor: Sandbox
) -> None:
    book.enter(("talk", State.DELIVERED))
    told = akool(command, book.out)

    assert told.code == 0, told.err
    assert "argument too many" in akool(command, book.out, book.out).err


def test_an_entry_without_a_name_of_its_own_is_listed_with_its_video(book: Book) -> None:
    key = "0123456789abcdef" * 2
    book.enter((key, State.SUBMITTED), ("mine", State.SUBMITTED))
    lines = on_terminal("list", book.out, columns=120).text.splitlines()
    named, unnamed = (next(line for line in lines if line.startswith(start)) for start in ("mine", key))

    assert ".mp4" in unnamed
    assert ".mp4" not in named


@pytest.mark.parametrize("ending", [".xml", ".xlsx", ".pdf"])
def test_an_export_names_its_formats_where_an_ending_is_none_of_them(
    akool: Command, full: Book, tmp_path: Path, ending: str
) -> None:
    told = akool("export", full.out, "--to", tmp_path / f"all{ending}")

    assert told.code == 2
    assert f"all{ending} ends in {ending!r}, which is no format of an export." in told.err
    assert ".csv, for a spreadsheet, or in .jsonl" in told.err
    assert not (tmp_path / f"all{ending}").exists()


def test_the_video_of_what_failed_is_named_beside_the_reason(book: Book) -> None:
    key = "0123456789abcdef" * 2
    book.enter((key, State.FAILED), reason="The vendor refused the call: no audio in it at all.", code=1203)
    shown = on_terminal("list", book.out, columns=125).text

    assert ".mp4" in shown
    assert "no audio in it" in shown
