"""Commands without a terminal: in pipes that somebody closes, under nohup, in a cron job."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.vendor import Vendor, served

KEY = "canary-4f9c1b7e2a"
ROOT = str(Path(__file__).resolve().parents[2])
COMMAND = [sys.executable, "-m", "tests.cli.quick"]

Start = Callable[..., Any]

pytestmark = pytest.mark.thorough


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with served(KEY) as vendor:
        yield vendor


@pytest.fixture
def start(vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Give a function that starts a command in a folder with a catalog of 6 translations."""
    rows = [f'https://example.com/{number}.mp4,"ja,fr",video-{number}' for number in range(3)]
    (tmp_path / "videos.csv").write_text("\n".join(["url,languages,key", *rows]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    path = os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"AKOOL_API_KEY": KEY, "AKOOL_API_HOST": vendor.base_url, "PYTHONPATH": path}

    @contextmanager
    def started(
        *arguments: str, before: tuple[str, ...] = (), **streams: Any
    ) -> Iterator[subprocess.Popen[str]]:
        told = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
        with subprocess.Popen([*before, *COMMAND, *arguments], env=environment, text=True, **told) as command:
            try:
                yield command
            finally:
                command.kill()

    return started


def until_paid(vendor: Vendor, jobs: int) -> None:
    """Wait until so many jobs were made."""
    end = time.monotonic() + 120
    while len(vendor.ledger()["jobs"]) < jobs:
        assert time.monotonic() < end
        time.sleep(0.02)


def until_noted(jobs: int) -> None:
    """Wait until the journal has so many jobs that were made."""
    end = time.monotonic() + 120
    with closing(sqlite3.connect("results/jobs.sqlite3")) as journal:
        while journal.execute("SELECT count(*) FROM entry WHERE state = 'submitted'").fetchone() != (jobs,):
            assert time.monotonic() < end
            time.sleep(0.02)


def finish(vendor: Vendor, command: subprocess.Popen[str]) -> int:
    """Let time pass for the vendor until the command has ended; give its exit code."""
    end = time.monotonic() + 120
    while command.poll() is None:
        assert time.monotonic() < end, "it does not end"
        vendor.let_jobs_end()
        time.sleep(0.02)
    return command.returncode


def test_a_plan_whose_reader_goes_away_ends_quietly(start: Start) -> None:
    rows = [f"https://example.com/{number}.mp4,ja,video-{number}" for number in range(5000)]
    Path("long.csv").write_text("\n".join(["url,languages,key", *rows]), encoding="utf-8")
    with start("plan", "long.csv", "--offline") as plan:
        assert plan.stdout.readline().startswith("video-0\tja\tnew")
        plan.stdout.close()
        said = plan.stderr.read()
        assert plan.wait(120) == 0
    assert "Traceback" not in said
    assert "Broken" not in said


def test_a_run_whose_reader_goes_away_brings_home_what_is_paid(vendor: Vendor, start: Start) -> None:
    with start("run", "videos.csv", "--yes", "--json") as run:
        assert json.loads(run.stdout.readline())["event"] == "planned"
        run.stdout.close()
        assert finish(vendor, run) == 0
        said = run.stderr.read()
    assert "Traceback" not in said
    assert "Events can't be written: Broken pipe. The run continues" in said
    assert len(list(Path("results").glob("*.mp4"))) == 6


def test_a_run_whose_listener_goes_away_brings_home_what_is_paid(vendor: Vendor, start: Start) -> None:
    with start("run", "videos.csv", "--yes", stdout=subprocess.DEVNULL) as run:
        run.stderr.readline()
        run.stderr.close()
        assert finish(vendor, run) == 0
    assert len(list(Path("results").glob("*.mp4"))) == 6


def test_a_reader_that_does_not_read_holds_up_no_job_that_is_paid(vendor: Vendor, start: Start) -> None:
    rows = [f"https://example.com/{number}.mp4,ja,{'long-' * 30}{number}" for number in range(160)]
    Path("long.csv").write_text("\n".join(["url,languages,key", *rows]), encoding="utf-8")
    with start("run", "long.csv", "--yes", "--json", "--in-flight", "20", stderr=subprocess.DEVNULL) as run:
        saved = made = still = 0
        while saved < 40 or still < 20:  # the pipe is full when nothing more is saved
            vendor.let_jobs_end()
            time.sleep(0.05)
            before, saved, made = (
                saved,
                len(list(Path("results").glob("*.mp4"))),
                len(vendor.ledger()["jobs"]),
            )
            still = still + 1 if before == saved == made else 0
            assert run.poll() is None
        reader = threading.Thread(target=run.stdout.read)
        reader.start()
        assert finish(vendor, run) == 0
        reader.join()
    assert 40 <= saved == made < 160
    assert vendor.ledger()["paid_twice"] == []


def test_without_a_terminal_there_are_plain_lines(vendor: Vendor, start: Start) -> None:
    with start("run", "videos.csv", "--yes", "--no-timestamps") as run:
        until_paid(vendor, 6)
        assert finish(vendor, run) == 0
        out, said = run.stdout.read(), run.stderr.read()
    lines = said.splitlines()
    assert out == ""
    assert "\x1b" not in said
    assert "\r" not in said
    assert sum(line.startswith("saved      video-") and line.endswith(".mp4") for line in lines) == 6
    assert lines[-2].startswith("All 6 translations are saved in results; 24 credits used in this run (")


def test_under_nohup_a_run_outlives_its_terminal(vendor: Vendor, start: Start) -> None:
    with start("run", "videos.csv", "--yes", before=("nohup",), stdout=subprocess.DEVNULL) as run:
        until_paid(vendor, 6)
        run.send_signal(signal.SIGHUP)
        assert finish(vendor, run) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_being_told_to_end_brings_home_what_is_at_work(
    number: signal.Signals, vendor: Vendor, start: Start
) -> None:
    with start("run", "videos.csv", "--yes", "--in-flight", "2", "--no-timestamps") as run:
        until_paid(vendor, 2)
        run.send_signal(number)
        for line in run.stderr:
            if line.startswith("Stopping"):
                break
        assert finish(vendor, run) == 130
        said = run.stderr.read()
    assert "2 of 6 translations are saved" in said
    assert "To resume, run the same command again. What is paid is not paid again." in said
    assert len(vendor.ledger()["jobs"]) == 2


def test_a_terminal_that_is_closed_ends_resume_in_order(vendor: Vendor, start: Start) -> None:
    with start("run", "videos.csv", "--yes") as run:
        until_paid(vendor, 6)  # only then the journal is there
        until_noted(6)
        run.kill()
    with start("resume", "--json", "--no-timestamps") as resume:
        for line in resume.stdout:  # a run that tells how far it is listens to signals
            if json.loads(line)["event"] == "progress":
                break
        assert stop_by_hangup(resume) == "Stopping: Interrupted by SIGHUP."
        finish(vendor, resume)
    assert len(vendor.ledger()["jobs"]) == 6
    assert vendor.ledger()["paid_twice"] == []


def test_a_terminal_that_is_closed_ends_retry_in_order(vendor: Vendor, start: Start) -> None:
    vendor.fault(on="create", kind="code", code=1003, limit=3)
    with start("run", "videos.csv", "--yes") as run:
        assert finish(vendor, run) == 1
    with start("retry", "--failed", "--yes", "--in-flight", "1", "--no-timestamps") as retry:
        until_paid(vendor, 1)
        assert stop_by_hangup(retry) == "Stopping: Interrupted by SIGHUP."
        assert finish(vendor, retry) == 130
    assert len(vendor.ledger()["jobs"]) == len(list(Path("results").glob("*.mp4"))) < 6


def stop_by_hangup(command: subprocess.Popen[str]) -> str:
    """Send SIGHUP, and give what the command says when it stops."""
    command.send_signal(signal.SIGHUP)
    for line in command.stderr:
        if line.startswith("Stopping"):
            return line.partition(" What")[0]
    return ""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_may_be_closed(closed: str, vendor: Vendor, start: Start) -> None:
    shell = ("sh", "-c", f'exec "$@" {closed}', "sh")
    with start("run", "videos.csv", "--yes", "--json", before=shell) as run:
        until_paid(vendor, 6)
        assert finish(vendor, run) == 0
        assert "Traceback" not in run.stderr.read()
    assert len(list(Path("results").glob("*.mp4"))) == 6


def test_a_run_that_is_killed_goes_on_where_it_was(vendor: Vendor, start: Start) -> None:
    with start("run", "videos.csv", "--yes", stderr=subprocess.DEVNULL) as run:
        until_paid(vendor, 6)
        time.sleep(0.05)
        run.kill()
    with start("run", "videos.csv", "--yes") as again:
        code, said = finish(vendor, again), again.stderr.read()
    doubts = sum(map(int, re.findall(r"(\d+) in doubt: sent", said)))
    homes = len(list(Path("results").glob("*.mp4")))

    assert code == (6 if doubts else 0), said
    assert homes + doubts == 6
    assert vendor.ledger()["paid_twice"] == []
    assert len(vendor.ledger()["jobs"]) == 6
