"""An environment that can't be used gives one sentence, in every command and in the doctor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from akool_async import State
from akool_async.cli.app import COMMANDS, LEDGER_COMMANDS
from tests.cli.conftest import KEY, Book, Command

HOST = "https://openapi.akool.invalid"
ROOT = str(Path(__file__).parents[2])
URL = "https://example.com/a.mp4"

CASES = [
    ({"ALL_PROXY": "socks://127.0.0.1:1080"}, ["ALL_PROXY names a proxy of the kind 'socks'", "socks5://"]),
    ({"HTTPS_PROXY": "socks5://127.0.0.1:1080"}, ["HTTPS_PROXY names a SOCKS proxy", "socksio"]),
    ({"HTTPS_PROXY": "http://[::1"}, ["HTTPS_PROXY is not the URL of a proxy"]),
    ({"SSL_CERT_FILE": "/nope.pem"}, ["SSL_CERT_FILE names /nope.pem"]),
    ({"SSL_CERT_FILE": "GARBAGE"}, ["SSL_CERT_FILE names", "no certificates"]),
    ({"AKOOL_API_HOST": "127.0.0.1:8321"}, ["AKOOL_API_HOST", "http://127.0.0.1:8321"]),
    ({"AKOOL_API_HOST": "http://example.com"}, ["AKOOL_API_HOST", "plain http"]),
]
"""Variables, and what the sentence has to name."""

ASKING = {
    "plan": ["plan", "CATALOG"],
    "run": ["run", "CATALOG", "--yes"],
    "translate": ["translate", URL, "--to", "ja", "--yes"],
    "lipsync": ["lipsync", URL, "https://example.com/a.mp3", "--yes"],
    "resume": ["resume"],
    "collect": ["collect"],
    "resolve": ["resolve", "doubt", "--job-id", "0123456789abcdef01234567"],
    "retry": ["retry", "--failed", "--yes"],
    "languages": ["languages"],
    "voices": ["voices"],
    "credit": ["credit"],
    "login": ["login", "--key-file", "KEY"],
    "doctor": ["doctor"],
}
WITHOUT_API = {
    *(
        "backup",
        "status",
        "list",
        "export",
        "report",
        "verify",
        "demo",
        "sandbox",
        "webhook serve",
        "logout",
        "inspect",
        "completion",
        "man",
        "mcp",
        "captions pull",
        "captions check",
        "captions push",  # only after a result was saved
        *(name for name in LEDGER_COMMANDS),
        *("enqueue", "worker", "workers"),  # only after a database answered
    ),
}


@pytest.fixture
def words(book: Book, tmp_path: Path) -> dict[str, list[str]]:
    """The commands, each with a journal that gives it something to do."""
    book.enter(("waiting", State.SUBMITTED), ("failed", State.FAILED), ("doubt", State.IN_DOUBT))
    catalog = tmp_path / "films.csv"
    catalog.write_text(f"url,languages,key\n{URL},ja,new\n")
    (tmp_path / "garbage.pem").write_text("garbage")
    (tmp_path / "key").write_text(KEY)
    files = ["--out", str(book.out)]
    named = {"CATALOG": str(catalog), "KEY": str(tmp_path / "key")}
    return {
        name: [
            *(named.get(word, word) for word in command),
            *(files if name not in ("languages", "voices", "credit", "login") else []),
        ]
        for name, command in ASKING.items()
    }


def test_every_command_is_tried_here() -> None:
    assert set(ASKING) | WITHOUT_API == {name for names in COMMANDS.values() for name in names}


@pytest.mark.parametrize(("variables", "named"), CASES, ids=[f"{next(iter(case))}" for case, _ in CASES])
def test_every_command_names_what_is_wrong(
    variables: dict[str, str],
    named: list[str],
    akool: Command,
    words: dict[str, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in ({"AKOOL_API_HOST": HOST, "AKOOL_API_KEY": KEY} | variables).items():
        monkeypatch.setenv(name, value.replace("GARBAGE", str(tmp_path / "garbage.pem")))
    for name, command in words.items():
        ended = akool(*command)
        shown = ended.out if name == "doctor" else ended.err

        assert ended.code == (1 if name == "doctor" else 2), (name, ended)
        sentence = next(line for line in shown.splitlines() if named[0] in line)
        assert all(word in sentence for word in named), name


@pytest.mark.parametrize(
    "command", ["run", *(pytest.param(other, marks=pytest.mark.thorough) for other in ("credit", "doctor"))]
)
@pytest.mark.parametrize(
    ("variables", "named"),
    [CASES[0], *(pytest.param(*case, marks=pytest.mark.thorough) for case in CASES[1:5])],
    ids=[str(number) for number in range(5)],
)
def test_a_process_of_its_own_shows_no_traceback(
    variables: dict[str, str], named: list[str], command: str, words: dict[str, list[str]], tmp_path: Path
) -> None:
    told = {"AKOOL_API_HOST": HOST, "AKOOL_API_KEY": KEY, "PYTHONPATH": ROOT} | variables
    told = {name: value.replace("GARBAGE", str(tmp_path / "garbage.pem")) for name, value in told.items()}
    ended = subprocess.run(
        [sys.executable, "-m", "akool_async", *words[command]],
        env=os.environ | told,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == (1 if command == "doctor" else 2)
    assert "Traceback" not in ended.stderr
    assert all(word in ended.stdout + ended.stderr for word in named)
    assert len(ended.stderr.splitlines()) <= 1


def test_no_proxy_may_name_addresses(akool: Command, vendor: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "[::1],fd00::/8")

    assert akool("credit").code == 0
    assert akool("doctor").code == 0


def test_a_proxy_that_is_not_there_is_named_and_not_the_host(
    akool: Command, quick: None, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AKOOL_API_HOST", HOST)
    monkeypatch.setenv("AKOOL_API_KEY", KEY)
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:canary@127.0.0.1:{free_port}")
    asked, examined = akool("credit"), akool("doctor")

    assert (asked.code, examined.code) == (1, 1)
    for shown in (asked.err, examined.out):
        assert f"by the proxy http://127.0.0.1:{free_port} (HTTPS_PROXY)" in shown
        assert "connection refused" in shown
        assert "canary" not in shown
        assert "unset HTTPS_PROXY" in shown


@pytest.mark.parametrize(
    ("host", "cause"),
    [("https://nowhere.invalid", "the name has no address"), ("http://127.0.0.1:9", "connection refused")],
)
def test_a_host_that_is_not_there_is_named_with_the_cause(
    host: str, cause: str, akool: Command, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AKOOL_API_KEY", KEY)
    asked, examined = akool("credit", "--host", host), akool("doctor", "--host", host)

    assert (asked.code, examined.code) == (1, 1)
    assert all(host in shown and cause in shown for shown in (asked.err, examined.out))


def test_without_a_home_or_a_name_for_the_user_it_works(vendor: object, out: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "USER")}
    command = [sys.executable, "-m", "akool_async", "doctor", "--out", str(out)]
    ended = subprocess.run(
        command,
        env=environment | {"PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
