"""The command line: what people see, and the exit codes that scripts rely on."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest

from akool_async import AkoolClient, AuthenticationError, ConnectError, State, TranslationRequest
from akool_async._media.inspection import inspect_file
from akool_async._model.requests import video_url
from akool_async.cli import app
from tests.cli.conftest import Book
from tests.client.conftest import OFTEN


@pytest.mark.thorough
def test_the_demo_brings_six_playable_results_home(tmp_path: Path, capsys) -> None:
    code = app.run(["demo", "--out", str(tmp_path / "out"), "--minutes", "1"])

    videos = sorted(path.name for path in (tmp_path / "out").glob("*.mp4"))
    assert code == 0
    assert len(videos) == 6
    assert len(list((tmp_path / "out").glob("*.srt"))) == 12
    for path in (tmp_path / "out").glob("*.mp4"):
        facts = inspect_file(path)
        assert (facts.has_audio, facts.has_subtitles) == (True, True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert all(name in shown.err for name in videos)


def test_the_demo_fails_loudly_when_results_can_not_be_written(tmp_path: Path, capsys) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")

    assert app.run(["demo", "--out", str(tmp_path / "out"), "--minutes", "1"]) == 1
    assert "can't be made" in capsys.readouterr().err


SIGNALLED = """
import os
from akool_async import State
from akool_async._journal import BatchJournal
from akool_async.cli import main

record = BatchJournal.record

async def record_and_signal(journal, *changes):
    await record(journal, *changes)
    if any(change.state is State.SUBMITTED for change in changes):
        BatchJournal.record = record
        os.kill(os.getpid(), {number})

BatchJournal.record = record_and_signal
main()
"""
"""The command line; as soon as the journal has the first job, it gets a signal: no job is done by then."""


def _demo(out: Path, number: signal.Signals | None = None) -> subprocess.CompletedProcess[str]:
    program = ["-m", "akool_async"] if number is None else ["-c", SIGNALLED.format(number=number.value)]
    command = [sys.executable, *program, "demo", "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@contextmanager
def _reserved_port_of(out: Path) -> Iterator[None]:
    """Let no other program take the port that a demo has to have again."""
    (url, *_) = (video_url(entry.request) for entry in Book(out).read().values())
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", urlsplit(url).port or 0))
        yield


@pytest.mark.thorough
def test_the_demo_is_interrupted_gone_on_with_and_then_pays_for_nothing_more(tmp_path: Path) -> None:
    stopped = _demo(tmp_path, signal.SIGINT)
    saved = len(list(tmp_path.glob("*.mp4")))
    with _reserved_port_of(tmp_path):
        again, once_more = _demo(tmp_path), _demo(tmp_path)

    assert stopped.returncode == 130, stopped.stderr
    assert "Run the same command again" in stopped.stderr
    assert saved in (2, 4)  # what was at the vendor: one video or two
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("not paid again") == saved
    assert once_more.returncode == 0, once_more.stderr
    assert once_more.stderr.count("not paid again") == 6


@pytest.mark.thorough
def test_the_demo_starts_over_when_its_sandbox_died_with_jobs_at_work(tmp_path: Path) -> None:
    assert _demo(tmp_path, signal.SIGKILL).returncode == -signal.SIGKILL
    assert State.SUBMITTED.value in Book(tmp_path).states().values()
    left = {path: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".sqlite3-shm"}

    assert _demo(tmp_path).returncode == 0
    assert len(list((tmp_path / "run-2").glob("*.mp4"))) == 6
    assert {path: path.read_bytes() for path in left} == left


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["demo", "--minutes", "0"],
        ["demo", "--what"],
        ["sandbox", "--port", "70000"],
        ["sandbox", "--seed", "x"],
    ],
)
def test_wrong_usage_is_told_on_stderr_and_exits_with_2(arguments: list[str], capsys) -> None:
    assert app.run(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err


def test_help_names_the_commands(capsys) -> None:
    assert app.run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "demo" in shown
    assert "sandbox" in shown


@pytest.mark.parametrize(
    ("raised", "code"),
    [(KeyboardInterrupt(), 130), (AuthenticationError("No."), 3), (ConnectError("No [route]."), 1)],
)
def test_errors_become_exit_codes(raised: BaseException, code: int, monkeypatch, capsys) -> None:
    def fails(*_: object, **__: object) -> int:
        raise raised

    monkeypatch.setattr("akool_async.sandbox.Sandbox.run", fails)

    assert app.run(["sandbox"]) == code
    assert str(raised) in capsys.readouterr().err


@contextmanager
def _served(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "akool_async", "sandbox", "--port", "0", *options]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as server:
        assert server.stdout is not None
        for line in server.stdout:
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found:
                break
        try:
            yield server, found.group()
        finally:
            server.kill()


def test_the_sandbox_serves_other_processes_until_interrupted() -> None:
    with _served("--no-media", "--time-scale", "5000", "--api-key", "another-key") as (server, url):

        async def translate() -> str:
            async with AkoolClient(api_key="another-key", host=url, schedule=OFTEN) as client:
                request = TranslationRequest(url="https://example.com/a.mp4", targets="ja")
                return (await client.translate(request, give_up_after=100)).snapshot.status.name

        assert anyio.run(translate) == "COMPLETED"

        server.send_signal(signal.SIGINT)
        assert server.wait(120) == 0


def test_a_port_that_is_taken_is_told_by_the_sandbox() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "akool_async", "sandbox", "--no-media", "--port", number]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert ended.returncode == 1
    assert f"Can't listen at 127.0.0.1 port {number}" in ended.stderr
    assert "--port" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    """Without cyclopts the command says what to install, and shows no traceback."""
    (tmp_path / "cyclopts.py").write_text("raise ModuleNotFoundError('gone', name='cyclopts')")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    }
    command = [sys.executable, "-m", "akool_async"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    assert ended.returncode == 1
    assert "akool-async[cli]" in ended.stderr
    assert "Traceback" not in ended.stderr
