"""What a command writes where there is no terminal: plain lines with their time, and JSON."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from akool_async import State
from akool_async.cli import app
from akool_async.sandbox import Sandbox
from tests.cli.conftest import Book, Command
from tests.journal.test_lock import another_run

ROOT = str(Path(__file__).resolve().parents[2])
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  +\S")


@pytest.fixture
def films(tmp_path: Path) -> Path:
    path = tmp_path / "films.csv"
    path.write_text('url,languages,key\nhttps://example.com/a.mp4,"ja,fr",talk\n')
    return path


def piped(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose output goes to pipes."""
    path = os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "tests.cli.quick", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path} | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_each_line_of_a_log_has_its_time(
    films: Path, out: Path, vendor: Sandbox, quick: None, capfd: pytest.CaptureFixture[str]
) -> None:
    def said(*words: object) -> list[str]:
        capfd.readouterr()
        assert app.run([str(word) for word in words]) == 0
        return capfd.readouterr().err.splitlines()

    first = said("run", films, "--out", out, "--yes")
    again = said("run", films, "--out", out, "--yes", "--no-timestamps")
    listed = said("doctor", "--out", out) + said("verify", "--out", out)

    assert len(first) >= 6
    assert all(map(STAMP.match, first)), first
    assert not any(map(STAMP.match, again + listed))


@pytest.mark.parametrize("words", [["none.csv"], ["none.csv", "--nonsense"], ["none.csv", "--key-file", "x"]])
def test_an_error_at_the_start_has_its_time_too(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert app.run(["run", *words]) == 2
    assert all(STAMP.match(line) for line in capfd.readouterr().err.splitlines())
    assert app.run(["run", *words, "--no-timestamps"]) == 2
    assert not any(STAMP.match(line) for line in capfd.readouterr().err.splitlines())


def test_every_command_whose_lines_can_have_the_time_gives_it_to_them(
    capfd: pytest.CaptureFixture[str],
) -> None:
    names = [name for commands in app.COMMANDS.values() for name in commands]
    timed = [name for name in names if app.accepts_option(name, "--timestamps") and name != "plan"]
    for name in timed:
        assert app.run([*name.split(), "--nonsense"]) == 2
        said = capfd.readouterr().err.splitlines()

        assert said, name
        assert all(map(STAMP.match, said)), name
    assert set(timed) == app.STAMPED


def test_colours_that_are_forced_into_a_pipe_draw_nothing_there(
    films: Path, out: Path, vendor: Sandbox
) -> None:
    ended = piped(
        "run", films, "--out", out, "--yes", FORCE_COLOR="1", TTY_COMPATIBLE="1", TTY_INTERACTIVE="1"
    )

    assert ended.returncode == 0
    assert not re.search(r"\x1b\[[0-9;?]*[A-HJKlh]|\r", ended.stderr), "the cursor was moved"
    assert sum("saved      talk" in line for line in ended.stderr.splitlines()) == 2


def test_a_start_that_fails_is_an_event(
    films: Path, out: Path, book: Book, vendor: Sandbox, akool: Command, quick: None, tmp_path: Path
) -> None:
    blocked, wrong = tmp_path / "file", tmp_path / "wrong.csv"
    blocked.touch()
    wrong.write_text("url,languages\nnonsense,q\n")
    book.enter(("talk", State.FAILED))
    starts: list[tuple[list[object], int]] = [
        (["run", tmp_path / "none.csv"], 2),
        (["run", tmp_path], 2),
        (["run", wrong], 2),
        (["run", films, "--nonsense"], 2),
        (["run", films, "--in-flight", "none"], 2),
        (["run", films, "--out", blocked / "x", "--yes"], 2),
        (["run", films, "--key-file", tmp_path / "none"], 2),
        (["run", films, "--host", "http://127.0.0.1:1/path"], 2),
        (["run", films, "--host", "http://127.0.0.1:1", "--yes"], 1),
        (["run", films], 2),
        (["resume", "--journal", tmp_path / "none"], 2),
        (["retry", "--out", out], 2),
        (["list", "--out", tmp_path / "none"], 2),
        (["nonsense"], 2),
    ]
    for words, code in starts:
        told = akool(*words, "--json")
        event = json.loads(told.out.splitlines()[-1])

        assert (told.code, event["event"], event["exit_code"]) == (code, "error", code), words
        assert event["message"], words
        assert "Traceback" not in told.err
    with another_run(book.path):
        locked = json.loads(akool("retry", "--failed", "--out", out, "--json").out.splitlines()[-1])
    assert (locked["event"], locked["exit_code"]) == ("error", 1)


def test_a_question_that_is_answered_with_no_is_an_event(
    films: Path, out: Path, vendor: Sandbox, akool: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("akool_async.cli.console.can_ask", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO("no\n"))
    told = akool("run", films, "--out", out, "--json")
    event = json.loads(told.out.splitlines()[-1])

    assert (told.code, event["event"], event["exit_code"]) == (130, "error", 130)
    assert event["impact"] == "Nothing was submitted and nothing was spent."
    assert not vendor.audit.jobs


def test_an_error_that_nobody_expected_is_an_event_and_a_traceback(
    films: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("akool_async.cli.catalog_options.read_catalog", 1)

    with pytest.raises(TypeError):
        app.run(["run", str(films), "--json"])

    event = json.loads(capfd.readouterr().out)
    assert (event["event"], event["exit_code"]) == ("error", 1)
    assert "TypeError" in event["message"]
