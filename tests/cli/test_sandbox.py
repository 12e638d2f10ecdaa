"""The sandbox on the command line: what it prints works, faults by name, a log, and no door left open."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from akool_async.cli import app
from tests.sandbox.conftest import CREATE, CREDIT, STATUS, URL

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("AKOOL_")}

PLAIN: dict[str, Any] = {"trust_env": False, "timeout": 120.0}


class Running:
    """A command that has said that it is ready."""

    def __init__(self, process: subprocess.Popen[str], until: str) -> None:
        assert process.stderr is not None
        self.process = process
        self.said = ""
        while until not in self.said:
            line = process.stderr.readline()
            assert line, self.said
            self.said += line

    def stop(self) -> str:
        """Interrupt it and return all that it has said."""
        self.process.send_signal(signal.SIGINT)
        self.said += self.process.communicate(timeout=120)[1]
        return self.said

    @property
    def url(self) -> str:
        return re.findall(r"http://[^\s,]+", self.said)[0]


@contextmanager
def started(*command: object, until: str, environment: dict[str, str] | None = None) -> Iterator[Running]:
    with subprocess.Popen(
        [sys.executable, "-m", "akool_async", *map(str, command)],
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT | (environment or {}),
    ) as process:
        try:
            yield Running(process, until)
        finally:
            process.kill()


@contextmanager
def sandbox(*options: object) -> Iterator[tuple[Running, httpx.Client]]:
    with started("sandbox", "--port", 0, "--no-media", *options, until="Press Ctrl-C") as running:
        key = re.findall(r"AKOOL_API_KEY=(\S+)", running.said)[0]
        with httpx.Client(base_url=running.url, headers={"x-api-key": key}, **PLAIN) as http:
            yield running, http


def printed_environment(said: str, command: str) -> dict[str, str]:
    """Return the variables of a command line that was printed."""
    (line,) = [line for line in said.splitlines() if line.endswith(command)]
    return dict(word.partition("=")[::2] for word in shlex.split(line.removesuffix(command)))


@pytest.mark.thorough
@pytest.mark.parametrize("options", [[], ["--api-key", "short", "--client-id", "a client's id"]])
def test_what_it_prints_works_with_webhook_serve_and_the_client(options: list[str], tmp_path: Path) -> None:
    with sandbox("--fast", *options) as (running, http):
        receiving = printed_environment(running.said, "akool-async webhook serve")
        calling = printed_environment(running.said, "akool-async credit")
        serve = ("webhook", "serve", "--port", 0, "--out", tmp_path)
        with started(*serve, until="Listening", environment=receiving) as receiver:
            http.post(CREATE, json={"url": URL, "language": "fr", "webhookUrl": receiver.url})
            end = time.monotonic() + 120
            while running.said.count("webhook of job") < 2 and time.monotonic() < end:
                assert running.process.stderr is not None
                running.said += running.process.stderr.readline()
            said = receiver.stop()
        asked = subprocess.run(
            [sys.executable, "-m", "akool_async", "credit"],
            env=ENVIRONMENT | calling,
            capture_output=True,
            text=True,
            check=False,
        )

    assert "accepted 2" in said
    assert asked.stdout == "99996\n"


def test_faults_are_named_on_the_command_line_and_every_request_is_logged() -> None:
    with sandbox("--fault", "create:reset:nth=2", "--fault", "credit:http:status=503") as (running, http):
        for _ in range(2):
            with suppress(httpx.ReadError):
                http.post(CREATE, json={"url": f"{URL}?signature=canary", "language": "fr"})
        http.get(CREDIT, headers={"authorization": "Bearer canary"})
        said = running.stop().splitlines()

    assert said[-3:] == [
        f"POST {CREATE} 200, code 1000",
        f"POST {CREATE} no answer, code 1000, fault reset_after",
        f"GET {CREDIT} 503, fault http",
    ]
    assert "canary" not in "".join(said)
    assert running.process.returncode == 0


def test_its_audit_can_be_read_by_the_command_that_it_prints() -> None:
    with sandbox("--control") as (running, http):
        http.post(CREATE, json={"url": URL, "language": "fr"})
        (command,) = re.findall(r"What was made and paid: curl (\S+)", running.said)
        found = httpx.get(command, **PLAIN).json()

    assert [job["url"] for job in found["jobs"]] == [URL]


def test_without_control_its_audit_is_not_served() -> None:
    with sandbox() as (running, _):
        (results,) = re.findall(r"results (\S+)", running.said)

        assert httpx.get(f"{results}/_sandbox/audit", **PLAIN).status_code == 404


def test_without_log_nothing_is_said_of_requests() -> None:
    with sandbox("--no-log") as (running, http):
        http.get(CREDIT)

        assert running.stop().endswith("Press Ctrl-C to stop it.\n")


def test_in_the_fast_mode_a_job_is_over_at_once() -> None:
    with sandbox("--fast") as (_, http):
        job = http.post(CREATE, json={"url": URL, "language": "fr"}).json()["data"]["_id"]
        end = time.monotonic() + 50
        while (data := http.get(STATUS, params={"video_model_id": job}).json()["data"])["video_status"] < 3:
            assert time.monotonic() < end

    assert data["video"]


def test_other_machines_are_served_by_consent_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["sandbox", "--host", "0.0.0.0", "--api-key", "own-key"]) == 2
    assert "--allow-remote" in capsys.readouterr().err
    assert app.run(["sandbox", "--host", "0.0.0.0", "--allow-remote", "sandbox.test"]) == 2
    assert "--api-key" in capsys.readouterr().err

    options = ("--host", "0.0.0.0", "--allow-remote", "sandbox.test", "--api-key", "own-key")
    with started("sandbox", "--port", 0, *options, until="Press Ctrl-C") as running:
        port, key = httpx.URL(running.url).port, {"x-api-key": "own-key"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=key, **PLAIN) as http:
            known = http.get(CREDIT, headers={"host": f"sandbox.test:{port}"})
            unknown = http.get(CREDIT, headers={"host": "attacker.example"})

    assert "serves other machines" in running.said
    assert "https" in running.said
    assert "AKOOL_API_HOST=" not in running.said
    assert running.url == f"http://sandbox.test:{port}"
    assert (known.json()["code"], unknown.status_code) == (1000, 421)


@pytest.mark.parametrize(
    ("text", "says"),
    [("create:rest", "reset_after"), ("nowhere:reset", "cdn"), ("create:reset:nht=2", "nth")],
)
def test_a_misspelt_fault_is_refused_with_what_there_is(
    text: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["sandbox", "--fault", text]) == 2

    said = capsys.readouterr().err
    assert text in said
    assert says in said
