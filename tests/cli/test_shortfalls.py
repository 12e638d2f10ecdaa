"""What was saved only in part, or paid and not saved, is in every command after the run, with its reason."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from akool_async import State, open_journal
from akool_async._journal import EntryUpdate
from akool_async.cli.options import OutputOptions
from akool_async.cli.pages import collect_report
from akool_async.report.model import find_causes
from akool_async.sandbox import Fault, Sandbox
from tests.cli.conftest import Book, Command, Told

pytestmark = pytest.mark.usefixtures("quick")
VIDEO = ["translate", "https://example.com/talk.mp4", "--key", "talk", "--yes", "--to"]
RUN = [*VIDEO, "ja,fr,de,it,es"]
"""With the faults below: whole, not verified and without subtitles, each of the two, and not saved at all."""

FAULTS = (
    Fault(on="cdn", kind="truncated", language="fr", keep=0.5),
    Fault(on="cdn", kind="http", status=500, language="de", nth=range(2, 1000)),
    Fault(on="cdn", kind="truncated", language="it", keep=0.5, nth=range(1, 12)),  # its video
    Fault(on="cdn", kind="http", status=500, language="es"),
)
STATES = {"ja": "saved", "fr": "unverified", "de": "saved", "it": "unverified", "es": "done"}


@pytest.fixture
def told(akool: Command, vendor: Sandbox, book: Book) -> Told:
    """A run against a host that damages files."""
    vendor.faults.add(*FAULTS)
    return akool(*RUN, "--out", book.out, "--json")


def events(told: Told, name: str) -> list[dict[str, Any]]:
    return [event for event in map(json.loads, told.out.splitlines()) if event["event"] == name]


def listed(akool: Command, book: Book) -> dict[str, dict[str, Any]]:
    return {row["target"]: row for row in json.loads(akool("list", "--json", "--out", book.out).out)}


def counts(akool: Command, book: Book) -> tuple[dict[str, int], int]:
    seen = json.loads(akool("status", "--json", "--out", book.out).out)
    return {word: number for word, number in seen["counts"].items() if number}, seen["incomplete"]


def set_reasons(book: Book, reason: str) -> None:
    async def write() -> None:
        async with open_journal(book.path) as journal:
            async for entry in journal.entries(states={State.DELIVERED}):
                await journal.record(
                    EntryUpdate(key=entry.key, target=entry.target, state=entry.state, reason=reason)
                )

    anyio.run(write)


def test_list_says_what_each_result_lacks_and_how_to_have_it(akool: Command, told: Told, book: Book) -> None:
    ended = {event["target"]: event for event in events(told, "ended")}
    rows = listed(akool, book)

    assert {target: row["state"] for target, row in rows.items()} == STATES
    assert rows["ja"]["reason"] == rows["ja"]["advice"] == ""
    assert rows["es"]["reason"] == ended["es"]["reason"] != ""
    assert rows["fr"]["reason"].startswith("Not verified and incomplete: video: ")
    assert rows["de"]["reason"].startswith("Incomplete: ")
    assert rows["it"]["reason"].startswith("Not verified: video: ")
    for target in ("fr", "de", "it"):
        lacking = [*ended[target]["unverified"].values(), *ended[target]["missing"].values()]
        assert lacking
        assert all(why.removesuffix(".") in rows[target]["reason"] for why in lacking)
    for target in ("fr", "de", "it", "es"):
        assert f"akool-async collect --out {book.out}" in rows[target]["advice"]


def test_status_counts_what_the_run_counted(akool: Command, told: Told, book: Book) -> None:
    seen = akool("status", "--out", book.out)

    assert counts(akool, book) == ({"saved": 2, "unverified": 2, "done": 1}, 2)
    assert json.loads(told.out.splitlines()[-1])["outcomes"] == {"saved": 2, "unverified": 2, "not saved": 1}
    assert "2  saved, but could not be verified" in seen.out
    assert "2  of the saved without a file of the video, such as subtitles" in seen.out
    assert "3 entries not verified or without a file" in seen.out
    assert "Everything that was submitted is saved." not in seen.out


def test_the_report_shows_each_with_its_reason(akool: Command, told: Told, book: Book) -> None:
    report = anyio.run(collect_report, OutputOptions(out=book.out))
    rows = listed(akool, book)
    groups = {group.anchor: group for group in find_causes(report)}

    assert {entry.target: entry.reason for entry in report.entries} == {
        target: row["reason"] for target, row in rows.items()
    }
    assert report.counts["unverified"] == 2
    assert groups["shortfalls"].number == 3
    assert akool("report", "--out", book.out).code == 0
    page = (book.out / "report" / "index.html").read_text()
    assert "Saved, but not verified or without a file" in page
    assert "Not verified: video: " in page


def test_what_is_saved_whole_later_is_not_marked_any_more(
    akool: Command, vendor: Sandbox, told: Told, book: Book
) -> None:
    vendor.faults.clear()
    again = akool("collect", "--out", book.out)
    rows = listed(akool, book)

    assert told.code == 1
    assert again.code == 0, again.err
    assert {row["state"] for row in rows.values()} == {"saved"}
    assert {row["reason"] for row in rows.values()} == {row["advice"] for row in rows.values()} == {""}
    assert counts(akool, book) == ({"saved": 5}, 0)
    assert akool("verify", "--out", book.out).code == 0
    assert len(vendor.audit.jobs) == 5


def test_what_is_not_whole_after_another_run_is_counted_again(akool: Command, told: Told, book: Book) -> None:
    again = akool(*RUN, "--out", book.out, "--json")

    assert again.code == told.code == 1
    assert json.loads(again.out.splitlines()[-1])["outcomes"] == {"saved": 3, "unverified": 1, "not saved": 1}
    assert counts(akool, book) == ({"saved": 3, "unverified": 1, "done": 1}, 2)


@pytest.mark.parametrize("at_vendor", [True, False])
def test_a_journal_without_reasons_is_read_and_has_them_after_a_run(
    akool: Command, vendor: Sandbox, told: Told, book: Book, at_vendor: bool
) -> None:
    before = listed(akool, book)
    set_reasons(book, "")
    if not at_vendor:
        vendor.faults.add(Fault(on="status", kind="vanish"))

    assert told.code == 1
    assert counts(akool, book) == ({"saved": 4, "done": 1}, 0)
    akool(*(RUN if at_vendor else ["verify", "--fix"]), "--out", book.out)
    expected = STATES | ({"it": "saved"} if at_vendor else {})
    assert {target: row["state"] for target, row in listed(akool, book).items()} == expected
    assert listed(akool, book)["fr"]["reason"] == before["fr"]["reason"]


def test_a_whole_result_is_not_called_unverified_because_the_journal_once_did(
    akool: Command, vendor: Sandbox, book: Book
) -> None:
    run = [*VIDEO, "ja", "--out", book.out, "--json"]
    akool(*run)
    set_reasons(book, "Not verified: video: it ended early.")
    before = listed(akool, book)["ja"]["state"]
    again = akool(*run)

    assert before == "unverified"
    assert again.code == 0
    assert [event["outcome"] for event in events(again, "ended")] == ["saved"]
    assert (listed(akool, book)["ja"]["state"], listed(akool, book)["ja"]["reason"]) == ("saved", "")
    assert len(vendor.audit.jobs) == 1


def test_without_its_manifest_a_result_stays_what_the_journal_calls_it(
    akool: Command, told: Told, book: Book
) -> None:
    rows = listed(akool, book)
    (book.out / "talk.fr.json").write_text("{}")  # which names no job
    (book.out / "talk.de.json").write_text("{}")
    again = akool(*RUN, "--out", book.out, "--json")
    ended = {event["target"]: event["outcome"] for event in events(again, "ended")}

    assert again.code == told.code == 1
    assert {target: ended[target] for target in ("fr", "de")} == {"fr": "unverified", "de": "saved"}
    assert listed(akool, book)["fr"]["reason"] == rows["fr"]["reason"]
    assert counts(akool, book) == ({"saved": 3, "unverified": 1, "done": 1}, 2)
