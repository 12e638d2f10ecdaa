"""A whole session on a real terminal: plan, run, watch, Ctrl-C, go on; with a vendor that is not well."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.cli.screen import CTRL_C, Terminal, terminal
from tests.cli.vendor import Vendor, served

KEY = "canary-4f9c1b7e2a"
ROOT = str(Path(__file__).resolve().parents[2])
pytestmark = pytest.mark.thorough

NAMES = ("first-light", "short-talk", "東京の夜", "ليلة في القاهرة", "harbour", "six", "seven", "eight")


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with served(KEY) as vendor:
        yield vendor


@pytest.fixture
def outside(vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of the commands, which run in a folder with a catalog."""
    rows = [f'https://example.com/{number}.mp4,"ja,fr",{name}' for number, name in enumerate(NAMES)]
    (tmp_path / "videos.csv").write_text("\n".join(["url,languages,key", *rows]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    path = os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])
    return {"AKOOL_API_KEY": KEY, "AKOOL_API_HOST": vendor.base_url, "PYTHONPATH": path}


def go_on(vendor: Vendor, run: Terminal, *wanted: str) -> None:
    """Let time pass for the vendor until all of this stands on the terminal."""
    end = time.monotonic() + 120
    while not all(one in run.look(0.2).replace("\n", " ") for one in wanted):
        assert time.monotonic() < end, f"{wanted} never stood on the screen:\n{run.whole}"
        vendor.let_jobs_end()


def fits(text: str, columns: int) -> bool:
    return all(cell_len(line) <= columns for line in text.splitlines())


def test_plan_run_interrupt_and_go_on(vendor: Vendor, outside: dict[str, str]) -> None:
    vendor.fault(on="status", kind="http", status=503, probability=0.2)
    vendor.fault(on="create", kind="refuse_language", language="fr", code=1203, nth=[2])
    vendor.fault(on="create", kind="reset_after", nth=[3])
    vendor.fault(on="cdn", kind="reset_mid", nth=[2])

    with terminal("plan", "videos.csv", environment=outside) as plan:
        assert plan.end() == 0
        plan.shot("1-plan")
        for told in (
            "東京の夜",
            "16  new: would be submitted and paid",
            "Cost: unknown for 16 new jobs",
            "Balance: 100,000",
        ):
            assert told in plan.text

    with terminal("run", "videos.csv", "--in-flight", "6", environment=outside) as run:
        run.until("Submit 16 new jobs for an unknown price? [y/N]")
        run.shot("2-question")
        assert vendor.ledger()["creates"] == []
        run.type("y\n")
        run.until("in progress", "1 refused", "2 in doubt", "in all", "0 of 16 saved")
        run.until("Ctrl-C submits nothing more and saves what is in progress.")
        run.shot("3-begun")
        vendor.advance(60)
        run.until_match(r"[1-9]\d? %")
        run.shot("4-progress")
        vendor.advance(45)
        run.until_match(r"(?s)saved     .*to go, until")
        run.shot("5-results-come")
        run.type(CTRL_C)
        run.until("Stopping: Interrupted by SIGINT.", "A second Ctrl-C or signal exits now")
        run.shot("6-stopping")
        vendor.advance(500)
        assert run.end() == 130
        run.shot("7-stopped")
        for told in (
            "Stopped: Interrupted by SIGINT.",
            "2 in doubt",
            "1 refused",
            "To resume, run the same command again",
        ):
            assert told in run.text
        assert KEY.encode() not in run.raw

    with terminal("run", "videos.csv", "--in-flight", "6", environment=outside) as again:
        again.until("[y/N]", "in doubt, perhaps paid", "saved: nothing to do")
        again.shot("8-again")
        again.type("y\n")
        again.until("in progress")
        go_on(vendor, again, "translations are saved")
        assert again.end() == 6
        again.shot("9-ended")
        assert "13 of 16 translations are saved" in again.text
        assert "akool-async resolve" in again.text

    ledger = vendor.ledger()
    assert ledger["paid_twice"] == []
    assert len(ledger["jobs"]) == 15
    assert len(list(Path("results").glob("*.mp4"))) == 13


@pytest.mark.parametrize("columns", [40, 62, 200])
def test_a_run_fits_a_terminal_of_any_width_and_has_no_colours_where_none_are_wanted(
    columns: int, vendor: Vendor, outside: dict[str, str]
) -> None:
    environment = outside | {"NO_COLOR": "1"}
    with terminal("run", "videos.csv", "--yes", environment=environment, columns=columns, lines=20) as run:
        run.until_match(r"8 in\s+progress")
        vendor.advance(60)
        run.until_match(r"[1-9]\d? %")
        seen = run.until("saved", "Ctrl-C")
        run.shot(f"width-{columns}")
        assert fits(seen, columns)
        go_on(vendor, run, "All 16 translations are saved")
        assert run.end() == 0
        run.shot(f"width-{columns}-ended")
        assert fits(run.whole, columns)
    assert not re.search(rb"\x1b\[[0-9;]*(3[0-9]|4[0-9]|9[0-7])m", run.raw)


def test_a_second_ctrl_c_leaves_and_what_is_paid_is_brought_home_later(
    vendor: Vendor, outside: dict[str, str]
) -> None:
    with terminal("run", "videos.csv", "--yes", environment=outside) as run:
        run.until("8 in progress", "32 locked")
        run.type(CTRL_C)
        run.until("A second Ctrl-C")
        run.type(CTRL_C)
        assert run.end() == 130
        run.shot("left")
        assert "8 in progress: they continue at the vendor and are billed" in run.text
        assert "\x1b[?25h" in run.raw[-2000:].decode()  # the cursor is there again
    with terminal("run", "videos.csv", environment=outside) as again:
        again.until("8  at the vendor, paid already", "[y/N]")
        again.type("y\n")
        go_on(vendor, again, "translations are saved")
        assert again.end() == 0
    assert vendor.ledger()["paid_twice"] == []
    assert len(vendor.ledger()["jobs"]) == 16


@pytest.mark.parametrize("answer", ["n\n", "\n", "\x04", CTRL_C, "yes please\n"])
def test_only_yes_spends(answer: str, vendor: Vendor, outside: dict[str, str]) -> None:
    with terminal("run", "videos.csv", environment=outside) as run:
        run.until("[y/N]")
        run.type(answer)
        assert run.end() == 130
        assert "Nothing was submitted and nothing was spent." in run.text
    assert vendor.ledger()["creates"] == []


def test_ctrl_c_at_the_question_spends_nothing(vendor: Vendor, outside: dict[str, str]) -> None:
    with terminal("run", "videos.csv", environment=outside) as run:
        run.until("[y/N]")
        run.type(CTRL_C)
        assert run.end() == 130
        assert "Traceback" not in run.text
    assert vendor.ledger()["creates"] == []


def test_a_key_that_is_missing_is_asked_for_and_not_shown(vendor: Vendor, outside: dict[str, str]) -> None:
    del outside["AKOOL_API_KEY"]
    with terminal("run", "videos.csv", environment=outside) as run:
        run.until("API key (it is not shown):")
        run.type(f"{KEY}\n")
        run.until("[y/N]")
        run.type("n\n")
        assert run.end() == 130
    assert KEY.encode() not in run.raw


def test_leaving_in_the_middle_of_a_paid_call_makes_no_doubt(vendor: Vendor, outside: dict[str, str]) -> None:
    vendor.fault(on="create", kind="delay", seconds=1)
    with terminal("run", "videos.csv", "--yes", environment=outside) as run:
        run.until("being sent")
        run.type(CTRL_C)
        run.until("A second Ctrl-C")
        assert vendor.ledger()["jobs"] == []
        run.type(CTRL_C)
        run.until("Paid calls under way: 1.")
        vendor.advance(1)
        assert run.end() == 130
        assert "Traceback" not in run.text
    jobs = len(vendor.ledger()["jobs"])
    with terminal("status", "--json", environment=outside) as status:
        assert status.end() == 0
        assert f'"submitted": {jobs}' in status.whole
        assert '"in_doubt": 0' in status.whole


@pytest.mark.parametrize("when", ["being sent", "processing"])
def test_closing_the_terminal_saves_what_is_paid_and_makes_no_doubt(
    when: str, vendor: Vendor, outside: dict[str, str]
) -> None:
    vendor.fault(on="create", kind="delay", seconds=1)
    with terminal("run", "videos.csv", "--yes", "--in-flight", "2", environment=outside) as run:
        run.until("being sent")
        if when == "being sent":
            run.close()
        vendor.advance(1)
        if when == "processing":
            run.until("processing")
            run.close()
        end = time.monotonic() + 120
        while run.process.poll() is None:
            assert time.monotonic() < end
            vendor.let_jobs_end()
            time.sleep(0.02)
        assert run.process.returncode == 130
    ledger = vendor.ledger()
    assert 1 <= len(ledger["jobs"]) <= 4
    assert len(list(Path("results").glob("*.mp4"))) == len(ledger["jobs"])
    with terminal("status", "--json", environment=outside) as status:
        assert status.end() == 0
        assert '"in_doubt": 0' in status.whole
