"""What the server says about a catalog: one question that it can't answer hides nothing of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from akool_async.sandbox import Fault, Sandbox
from tests.cli.conftest import Command, Told

URL = "https://example.com"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def plan(akool: Command, rows: str, *command: str) -> Told:
    Path("films.csv").write_text(f"url,languages,voices\n{rows}")
    return akool(*(command or ["plan"]), "films.csv", "--no-check")


@pytest.mark.parametrize("kind", ["wrong_type", "http"])
def test_without_a_balance_languages_and_their_voices_are_checked(
    akool: Command, vendor: Sandbox, kind: str
) -> None:
    vendor.faults.add(Fault(on="credit", kind=kind))
    told = plan(akool, f"{URL}/a.mp4,af-ZA,\n{URL}/b.mp4,tlh,\n", "run", "--yes")

    assert told.code == 2
    assert "films.csv:2: languages (B2): 'af-ZA' needs a voice" in told.err
    assert "films.csv:3: languages (B3): The server has no language 'tlh'." in told.err
    assert vendor.audit.creates == ()


def test_a_balance_that_can_not_be_read_is_named_and_nothing_else(akool: Command, vendor: Sandbox) -> None:
    vendor.faults.add(Fault(on="credit", kind="wrong_type"))
    told = plan(akool, f"{URL}/a.mp4,ja,ja=none-such\n")

    assert told.code == 0
    assert "The balance could not be checked. " in told.err
    assert "films.csv:2: The server lists no voice none-such for ja" in told.err
    assert "anguages" not in told.err


@pytest.mark.parametrize("fault", [Fault(on="languages", kind="http"), Fault(on="languages", kind="code")])
def test_without_languages_the_balance_is_told(akool: Command, vendor: Sandbox, fault: Fault) -> None:
    vendor.faults.add(fault)
    told = plan(akool, f"{URL}/a.mp4,ja,\n")

    assert told.code == 0
    assert "Languages and voices could not be checked. " in told.err
    assert "Balance: " in told.err


def test_a_list_without_any_language_is_no_check(akool: Command, vendor: Sandbox) -> None:
    vendor.faults.add(Fault(on="languages", kind="wrong_type", value=[]))
    told = plan(akool, f"{URL}/a.mp4,ja,\n")

    assert told.code == 0
    assert "Languages and voices could not be checked. The server listed no languages." in told.err


def test_voices_of_one_language_that_can_not_be_listed_hide_no_other(akool: Command, vendor: Sandbox) -> None:
    vendor.faults.add(Fault(on="voices", kind="code", nth=1))
    told = plan(akool, f"{URL}/a.mp4,ja,ja=none-such\n{URL}/b.mp4,fr,fr=neither\n")

    assert told.code == 0
    assert "The voices for ja could not be checked. " in told.err
    assert "films.csv:3: The server lists no voice neither for fr" in told.err
    assert "Languages" not in told.err
