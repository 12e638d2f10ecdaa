"""A command for each saved result: run once, without secrets, bounded, and never outliving the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import jsonschema
import pytest

from akool_async import cli
from akool_async.cli import on_saved
from akool_async.cli.events import SCHEMA
from akool_async.cli.on_saved import AT_ONCE
from akool_async.sandbox import Sandbox
from tests.cli.conftest import KEY, Command, TimesOut

pytestmark = pytest.mark.usefixtures("quick", "vendor")
ROOT = str(Path(__file__).resolve().parents[2])


@pytest.fixture
def films(tmp_path: Path) -> Path:
    path = tmp_path / "films.csv"
    rows = "".join(f'https://example.com/{number}.mp4,"ja,fr",film-{number}\n' for number in range(4))
    path.write_text(f"url,languages,key\n{rows}")
    return path


@pytest.fixture
def one_film(tmp_path: Path) -> Path:
    path = tmp_path / "film.csv"
    path.write_text("url,languages,key\nhttps://example.com/1.mp4,ja,film\n")
    return path


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """Give a function that writes a program."""

    def write(text: str) -> Path:
        path = tmp_path / "on saved.sh"  # the blank is no end of a word: no shell reads it
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return write


def notes(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def pids(tmp_path: Path) -> Iterator[Path]:
    """Where programs write their process ids; none of them outlives the test, however it ends."""
    path = tmp_path / "pids"
    yield path
    for pid in filter(alive, map(int, notes(path))):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def until(known: Callable[[], bool], *, what: str) -> None:
    end = time.monotonic() + 120
    while not known():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether it runs, and is one of these: a number may soon be another program's."""
    try:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return False
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return b"on saved.sh" in command or command == b"sleep\x00600\x00"


def test_each_saved_result_has_its_command_once(
    akool: Command, films: Path, out: Path, script: Callable[[str], Path], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    program = script(f'echo "$AKOOL_ENTRY_KEY $AKOOL_ENTRY_LANGUAGE $AKOOL_MANIFEST $1" >> "{log}"')
    words = ["run", films, "--out", out, "--yes", "--on-saved", f"'{program}' '; $HOME'"]
    first, again = akool(*words), akool(*words)
    lines = sorted(notes(log))

    assert (first.code, again.code) == (0, 0)
    assert lines == sorted(
        f"film-{number} {target} {out}/film-{number}.{target}.json ; $HOME"
        for number in range(4)
        for target in ("ja", "fr")
    )
    assert all(json.loads(Path(line.split()[2]).read_text())["key"] == line.split()[0] for line in lines)
    assert "on-saved" not in first.err + again.err


def test_no_command_is_given_a_secret(
    akool: Command,
    films: Path,
    out: Path,
    script: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AKOOL_CLIENT_SECRET", "canary-of-the-client-secret")
    monkeypatch.setenv("AKOOL_CLIENT_ID", "id-1")
    monkeypatch.setenv("MY_OWN_COPY", f"key={KEY}")
    monkeypatch.setenv("CMS_TOKEN", "for the upload")
    log = tmp_path / "log"
    told = akool("run", films, "--out", out, "--yes", "--on-saved", f"'{script(f'env >> {log}')}'")
    seen = log.read_text()

    assert told.code == 0
    assert KEY not in seen
    assert "id-1" not in seen
    assert "canary-of-the-client-secret" not in seen
    assert "CMS_TOKEN=for the upload" in seen


def test_a_command_that_fails_is_told_and_is_not_the_runs_failure(
    akool: Command, films: Path, out: Path, script: Callable[[str], Path], tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    program = script(
        f'test -e "{ready}" || [ "$AKOOL_ENTRY_LANGUAGE" = fr ] || '
        "{ printf 'no room\\033[31m at https://u:pass-word-1@cms.example/x?token=abcdef0123456789\\n'; "
        "exit 7; }"
    )
    words = ["run", films, "--out", out, "--yes", "--json", "--on-saved", f"'{program}'"]
    failed = akool(*words)
    ready.touch()
    mended, done = akool(*words), akool(*words)
    events = [
        [json.loads(line) for line in told.out.splitlines() if '"on_saved"' in line]
        for told in (failed, mended, done)
    ]

    assert (failed.code, mended.code, done.code) == (0, 0, 0)
    assert failed.err.count("--on-saved failed for film-") == 4
    assert "exit code 7: no room" in failed.err
    assert "\x1b" not in failed.err
    assert "abcdef0123456789" not in failed.err + failed.out
    assert "pass-word-1" not in failed.err + failed.out
    assert "4 commands of --on-saved failed. The next run of the same catalog runs them again." in failed.err
    assert [sorted({event["target"] for event in one}) for one in events] == [["fr", "ja"], ["ja"], []]
    assert [len([event for event in one if event["exit_code"]]) for one in events] == [4, 0, 0]
    schema = json.loads((Path(cli.__file__).parent / SCHEMA).read_text())
    for event in events[0]:
        jsonschema.validate(event, schema)


def test_a_command_that_takes_too_long_is_ended(
    akool: Command,
    one_film: Path,
    out: Path,
    script: Callable[[str], Path],
    pids: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = f"'{script(f'echo $$ >> {pids}; sleep 600')}'"
    # On a busy machine the time would be over before the shell has begun.
    monkeypatch.setattr(on_saved, "anyio", TimesOut(5.0, lambda: notes(pids)))
    told = akool("run", one_film, "--out", out, "--yes", "--on-saved", words, "--on-saved-timeout", "5s")

    assert told.code == 0
    assert told.err.count("it took longer than 5 s and was ended. The result is saved.") == 1
    (pid,) = map(int, notes(pids))
    until(lambda: not alive(pid), what="the command runs on")


@pytest.mark.thorough
def test_a_command_is_ended_also_where_the_machine_stands_still_meanwhile(
    akool: Command,
    one_film: Path,
    out: Path,
    script: Callable[[str], Path],
    pids: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    going_on: list[threading.Timer] = []

    def stop_its_guard() -> bool:
        if not notes(pids):
            return False
        (pid,) = map(int, notes(pids))
        guard = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(guard, signal.SIGSTOP)
        going_on.append(threading.Timer(9.0, os.kill, (guard, signal.SIGCONT)))
        going_on[0].start()
        return True

    monkeypatch.setattr(on_saved, "anyio", TimesOut(5.0, stop_its_guard))
    words = f"'{script(f'echo $$ >> {pids}; sleep 600')}'"
    told = akool("run", one_film, "--out", out, "--yes", "--on-saved", words, "--on-saved-timeout", "5s")

    going_on[0].join()

    assert told.code == 0
    (pid,) = map(int, notes(pids))
    assert not alive(pid)


def test_few_commands_run_at_once(
    akool: Command, films: Path, out: Path, script: Callable[[str], Path], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    program = script(f'echo + >> "{log}"; sleep 0.3; echo - >> "{log}"')
    told = akool("run", films, "--out", out, "--yes", "--on-saved", f"'{program}'")
    most = now = 0
    for line in notes(log):
        now += 1 if line == "+" else -1
        most = max(most, now)

    assert told.code == 0
    assert (len(notes(log)), now) == (16, 0)
    assert 1 <= most <= AT_ONCE


@pytest.mark.thorough
@pytest.mark.parametrize("how", [[signal.SIGKILL], [signal.SIGTERM, signal.SIGTERM]])
def test_no_command_outlives_its_run(
    how: list[signal.Signals], films: Path, out: Path, script: Callable[[str], Path], pids: Path
) -> None:
    program = script(f'sleep 600 & echo $! >> "{pids}"; echo $$ >> "{pids}"; wait')
    path = os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "tests.cli.quick", "run", str(films), "--out", str(out), "--yes"]
    with subprocess.Popen(
        [*command, "--on-saved", f"'{program}'"],
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stderr is not None
        try:
            until(lambda: len(notes(pids)) == 2 * AT_ONCE, what="the commands do not start")
            started = [int(line) for line in notes(pids)]
            assert all(map(alive, started))
            for number in how:
                run.send_signal(number)
                if number != signal.SIGKILL:
                    for line in run.stderr:
                        if "Stopping" in line:
                            break
            run.stderr.read()
            code = run.wait(120)
        finally:
            run.kill()

    until(lambda: not any(map(alive, started)), what="a command runs on")
    # All may have been saved before the first signal: then it is a success.
    assert code in ((-signal.SIGKILL,) if signal.SIGKILL in how else (130, 0))


@pytest.mark.parametrize("words", ["no-such-program-here x", "'unfinished", "", "/"])
def test_a_program_that_is_not_there_is_told_before_anything_is_sent(
    words: str, akool: Command, films: Path, out: Path, vendor: Sandbox
) -> None:
    told = akool("run", films, "--out", out, "--yes", "--on-saved", words)

    assert told.code == 2
    assert "--on-saved" in told.err
    assert vendor.audit.requests == {}
