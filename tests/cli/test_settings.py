"""Settings that can't be used get one sentence before anything is sent: paths, key files, streams."""

from __future__ import annotations

import codecs
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from akool_async.cli import app
from akool_async.sandbox import Sandbox
from tests.cli.conftest import KEY, Book, Command
from tests.cli.terminal import on_terminal
from tests.cli.test_run import SCHEMA

RUN = ["translate", "https://example.com/a.mp4", "--to", "ja", "--yes"]


@pytest.mark.parametrize("option", ["--out", "--journal", "--inbox"])
@pytest.mark.parametrize("url", ["s3://bucket/results", "gs://bucket", "az://c/x", "file:///tmp/x"])
def test_storage_is_no_folder(
    option: str, url: str, akool: Command, vendor: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = akool(*RUN, f"{option}={url}")

    assert ended.code == 2
    if option == "--out" and not url.startswith("file:"):  # results may go there, the journal may not
        assert "the journal has to be a file of this machine" in ended.err
    else:
        assert f"{url.partition(':')[0]}:// names no file or folder of this machine" in ended.err
    assert list(tmp_path.iterdir()) == []
    assert vendor.audit.creates == ()


def test_a_tilde_after_an_equals_sign_is_the_home_folder(
    akool: Command, vendor: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "key").write_text(KEY)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AKOOL_API_KEY")
    ended = akool("doctor", "--out=~/films", "--key-file=~/key", "--json")

    found = {finding["check"]: finding["detail"] for finding in json.loads(ended.out)}
    assert found["folder"].startswith(f"{home}/films (--out) can be made")
    assert found["credentials"].startswith(f"The key file {home}/key") or "Others" in found["credentials"]
    assert akool("status", "--out=~nobody-of-this-name/x").code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("option", ["~/words.csv", "ja=~/words.csv"])
def test_a_glossary_may_be_in_the_home_folder(
    option: str, akool: Command, vendor: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.csv").write_text("word\nAkool\n")
    (tmp_path / "films.csv").write_text("url,languages\nhttps://example.com/a.mp4,ja\n")

    assert akool("plan", "films.csv", f"--glossary={option}").code == 0
    assert akool("plan", "films.csv", "--glossary=s3://bucket/words.csv").code == 2


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + KEY.encode(),
        KEY.encode("utf-16"),
        codecs.BOM_UTF16_BE + KEY.encode("utf-16-be"),
        KEY.encode() + b"\r\n",
    ],
)
def test_a_key_file_of_any_editor_is_read(
    content: bytes, akool: Command, vendor: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AKOOL_API_KEY")
    (tmp_path / "key").write_bytes(content)

    assert akool("credit", "--key-file", tmp_path / "key").code == 0


@pytest.mark.parametrize(
    "content", [b"", b" \n", b"\xff\xfe\x00", b"\xe9t\xe9", "schlüssel".encode(), b"two\nlines"]
)
@pytest.mark.parametrize("command", [["credit"], ["doctor"], RUN])
def test_a_key_file_without_a_key_is_named(
    content: bytes, command: list[str], akool: Command, vendor: Sandbox, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_bytes(content)
    ended = akool(*command, "--key-file", key)

    assert ended.code == (3 if command == ["doctor"] else 2)
    assert f"The key file {key} " in ended.out + ended.err
    assert len(ended.err.splitlines()) <= 1
    assert vendor.audit.creates == ()


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "missing.csv", "--json"],
        ["run", "--json"],
        ["run", "missing.csv", "--json", "--what"],
        ["resume", "--json", "--out", "/nowhere"],
        ["retry", "--json", "--failed", "--out", "/nowhere"],
        ["collect", "--json", "--out", "/nowhere"],
        ["status", "--json", "--out", "/nowhere"],
        [*RUN, "--json", "--key-file", "/nowhere"],
        [*RUN, "--json", "--out", "/proc/none"],
    ],
)
def test_what_fails_at_the_start_is_an_event_too(
    arguments: list[str], akool: Command, vendor: Sandbox
) -> None:
    ended = akool(*arguments)

    events = [json.loads(line) for line in ended.out.splitlines()]
    for event in events:
        jsonschema.validate(event, SCHEMA, format_checker=jsonschema.FormatChecker())
    assert events[-1]["event"] == "error"
    assert events[-1]["exit_code"] == ended.code == 2
    assert events[-1]["message"] in ended.err


def test_mistakes_in_a_catalog_are_in_the_event(akool: Command, vendor: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("url,languages\nno-url,ja\nhttps://example.com/a.mp4,j\n")
    event = json.loads(akool("run", tmp_path / "a.csv", "--json", "--yes").out)

    assert [mistake.split(":")[1] for mistake in event["mistakes"]] == ["2", "3"]


@pytest.mark.parametrize("typed", ["\x1b[31mred", "\x1b]0;title\x07", "\x9b2J", "\u202eevil", "\x7f"])
@pytest.mark.parametrize("place", ["{}", "run --{}", "run a.csv --in-flight {}", "webhook {}", "retry {}"])
def test_escapes_that_are_typed_are_not_obeyed(
    typed: str, place: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code = app.run([part.replace("{}", typed) for part in place.split(" ")])
    shown = capfd.readouterr()

    assert code == 2
    assert shown.err.isprintable() or shown.err.replace("\n", "").isprintable()
    assert len(shown.err.splitlines()) == 1


def test_colours_that_are_forced_draw_nothing_in_a_pipe(vendor: Sandbox, out: Path) -> None:
    command = [sys.executable, "-m", "tests.cli.quick", *RUN, "--out", str(out)]
    environment = os.environ | {"FORCE_COLOR": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)

    assert "\x1b[?25l" not in ended.stderr  # a live display hides the cursor
    assert "\x1b[2K" not in ended.stderr
    assert f"saved in {out}" in ended.stderr


@pytest.mark.parametrize(
    ("locale", "code"),
    [
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, 2),
        ({"LC_ALL": "C"}, 0),
        pytest.param({"LC_ALL": "POSIX", "LANG": "C"}, 0, marks=pytest.mark.thorough),
    ],
)
def test_a_name_that_the_system_can_not_write_is_found_before_anything_is_spent(
    locale: dict[str, str], code: int, vendor: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "films.csv").write_text("url,languages,key\nhttps://example.com/1.mp4,ja,東京\n", "utf-8")
    command = [sys.executable, "-m", "tests.cli.quick", "run", "films.csv", "--yes"]
    environment = os.environ | locale | {"PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )

    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ("can't be written in results" in ended.stderr) == (code == 2)
    assert bool(vendor.audit.creates) == (code == 0)


def test_a_folder_that_can_not_be_made_is_named(akool: Command, vendor: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = akool(*RUN, "--out", tmp_path / "file" / "out")

    assert ended.code == 2
    assert str(tmp_path / "file") in ended.err
    assert vendor.audit.creates == ()


def test_a_mistake_on_a_terminal_is_wrapped_between_words(book: Book) -> None:
    shown = on_terminal("status", "--out", book.out, "--nonsense", columns=40)

    assert shown.code == 2
    assert all(len(line) <= 40 for line in shown.text.splitlines())
