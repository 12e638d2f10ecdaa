"""A key that names other work in the journal: what differs is named, the free remedy first."""

from __future__ import annotations

from pathlib import Path

import pytest

from akool_async.cli.catalog import CatalogError, Issue, SourceLocation
from akool_async.sandbox import Sandbox
from tests.cli.conftest import Command, Told

pytestmark = pytest.mark.usefixtures("in_a_folder", "quick")
URL = "https://sandbox.invalid/v"
ROWS = f"url,to,key\n{URL}/1.mp4,ja fr,one\n{URL}/2.mp4,ja,two\n"


def run(akool: Command, rows: str, *options: str, command: str = "run") -> Told:
    Path("films.csv").write_text(rows)
    return akool(command, "films.csv", *(["--yes"] if command == "run" else []), *options)


def test_an_option_that_was_forgotten_is_named_and_nothing_is_paid(akool: Command, vendor: Sandbox) -> None:
    first = run(akool, ROWS, "--style", "calm", "--lipsync")
    paid = len(vendor.audit.creates)
    forgotten = run(akool, ROWS, "--lipsync")
    other = run(akool, ROWS.replace("/2.mp4", "/3.mp4"), "--style", "sad", "--lipsync", "--speakers", "2")
    again = run(akool, ROWS, "--style", "calm", "--lipsync")

    assert first.code == again.code == 0, first.err + again.err
    assert (forgotten.code, other.code) == (2, 2)
    rows = [line.split(": In")[0].strip() for line in forgotten.err.splitlines() if "other work" in line]
    assert rows == ["films.csv:2: key (C2)", "films.csv:3: key (C3)"]
    assert (
        "names other work into 'ja', 'fr': --style was 'calm' and is not set now. Set that as it was, and "
        "nothing is paid again; under another key, or with another --out, it is paid for as a new job."
    ) in forgotten.err
    assert "--style was 'calm' and is 'sad' now; --speakers was not set and is 2 now" in other.err or (
        "--speakers was not set and is 2 now; --style was 'calm' and is 'sad' now" in other.err
    )
    assert f"url was {URL}/2.mp4 and is {URL}/3.mp4 now" in other.err
    assert len(vendor.audit.creates) == paid


def test_an_option_is_named_as_the_column_that_sets_it(akool: Command, vendor: Sandbox) -> None:
    header = "url,to,key,Speaking Style,voice,keep_words\n"
    before = f"{header}{URL}/1.mp4,ja,one,calm,ja=v1,Akool\n"
    now = f"{header}{URL}/1.mp4,ja,one,sad,ja=v2,Bob\n"
    options = ("--column", "style=Speaking Style")
    first = run(akool, before, *options)
    paid = len(vendor.audit.creates)
    told = run(akool, now, *options)

    assert first.code == 0, first.err
    assert told.code == 2
    assert "Speaking Style was 'calm' and is 'sad' now" in told.err
    assert "voice was 'v1' and is 'v2' now" in told.err
    assert "keep_words differs" in told.err
    assert len(vendor.audit.creates) == paid


def test_a_key_that_was_changed_is_told_what_costs_nothing_first(akool: Command, vendor: Sandbox) -> None:
    first = run(akool, ROWS)
    paid = len(vendor.audit.creates)
    told = run(akool, ROWS.replace("two", "second"))

    assert first.code == 0, first.err
    assert told.code == 2
    assert (
        "is in the journal as 'two', and would be paid again. Use that key, and it is paid once; with "
        "another --out it is paid for again."
    ) in told.err
    assert len(vendor.audit.creates) == paid


def test_a_note_of_the_same_video_names_the_options_that_differ(akool: Command, vendor: Sandbox) -> None:
    row = f"url,to\n{URL}/1.mp4,ja\n"
    first = run(akool, row, "--style", "calm")
    told = run(akool, row, command="plan")

    assert first.code == 0, first.err
    assert "with other options (--style was 'calm' and is not set now). This one is paid, too" in told.err


def test_mistakes_are_shown_in_the_order_of_the_rows() -> None:
    def issue(line: int, text: str) -> Issue:
        return Issue(SourceLocation("films.csv", line, field="key"), text)

    mistakes = [issue(line, text) for line in (2, 3) for text in ("b", "a")]
    mistakes += [issue(line, "many") for line in (1, 4, 5, 6)]

    assert str(CatalogError(mistakes)).splitlines() == [
        "films.csv:1,4-6: key: many",
        "films.csv:2: key: a",
        "films.csv:2: key: b",
        "films.csv:3: key: a",
        "films.csv:3: key: b",
    ]
