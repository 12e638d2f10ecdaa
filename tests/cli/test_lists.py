"""Languages, voices and credit: data on stdout, for people, for programs, and never a control character."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import attrs
import pytest
from rich.cells import cell_len

from akool_async.sandbox import Sandbox
from akool_async.sandbox.fixtures import LANGUAGES, SandboxLanguage, SandboxVoice, invent_voices
from tests.cli.conftest import Command
from tests.cli.terminal import on_terminal

COMMAND = [sys.executable, "-m", "akool_async"]


def test_languages_are_lines_of_fields_for_programs(akool: Command, vendor: Sandbox) -> None:
    told = akool("languages")

    assert (told.code, told.err) == (0, "")
    lines = [line.split("\t") for line in told.out.splitlines()]
    assert [code for code, _, _ in lines] == sorted(one.code for one in LANGUAGES)
    assert ["ja", "Japanese", "no"] in lines


def test_languages_are_json_when_asked_for(akool: Command, vendor: Sandbox) -> None:
    found = json.loads(akool("languages", "--json").out)

    assert {one["code"]: one["needs_voice"] for one in found} == {
        one.code: one.needs_voice for one in LANGUAGES
    }


def test_voices_come_from_all_pages_and_for_one_language(akool: Command, vendor: Sandbox) -> None:
    every, japanese = akool("voices", "--json"), akool("voices", "--language", "ja")

    assert len(json.loads(every.out)) == 8 * len(LANGUAGES) > 100
    assert len(japanese.out.splitlines()) == 8
    assert all(line.split("\t")[1:3] == ["ja", "Japanese"] for line in japanese.out.splitlines())


def test_no_voice_is_no_error_and_is_said(akool: Command, vendor: Sandbox) -> None:
    told = akool("voices", "--language", "xx")

    assert (told.code, told.out) == (0, "")
    assert "no voice for 'xx'" in told.err


def test_the_credit_is_a_number_for_programs(akool: Command, serve: Callable[..., Sandbox]) -> None:
    serve(credits=1234567.5)

    assert akool("credit").out == "1234567.5\n"
    assert json.loads(akool("credit", "--json").out) == {"credit": 1234567.5}


def _odd_voices(*names: str) -> list[SandboxVoice]:
    voices = invent_voices(LANGUAGES[:1], seed=1)
    return [attrs.evolve(voice, name=name) for voice, name in zip(voices, names, strict=False)]


def test_no_control_character_of_the_vendor_reaches_the_terminal(
    akool: Command, serve: Callable[..., Sandbox]
) -> None:
    serve(
        voices=_odd_voices("\x1b]0;owned\x07\x1b[31mred", "a\tb\nc\r\x9b2J", "\u202egnp.exe", "[b]x[/b]"),
        languages=[SandboxLanguage("ja", "\x1b[2J日本語"), SandboxLanguage("ar", "العربية")],
    )

    shown = [akool(*told) for told in (("voices",), ("voices", "--json"), ("languages",))]

    assert [told.code for told in shown] == [0, 0, 0]
    for told in shown:
        text = told.out.replace("\n", "").replace("\t", "")
        assert text.isprintable()
    assert all(line.count("\t") == 6 for line in shown[0].out.splitlines())
    assert "[b]x[/b]" in shown[0].out
    assert "ja\t[2J日本語\tno" in shown[2].out
    assert "ar\tالعربية\tno" in shown[2].out


def test_a_pipe_that_is_closed_early_is_no_error(vendor: Sandbox) -> None:
    with subprocess.Popen(
        [*COMMAND, "voices"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.close()
        said = command.stderr.read()

        assert command.wait(120) == 0
    assert said == ""


def test_what_stdout_can_not_encode_is_no_error(serve: Callable[..., Sandbox]) -> None:
    serve(languages=[SandboxLanguage("ja", "日本語")])
    ended = subprocess.run(
        [*COMMAND, "languages"],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (0, b"ja\t\\u65e5\\u672c\\u8a9e\tno\n")


@pytest.mark.parametrize("columns", [40, 100])
def test_a_terminal_gets_a_table_that_fits(columns: int, serve: Callable[..., Sandbox]) -> None:
    voices = _odd_voices("日本語の静かな語り手", "راوي هادئ", "\x1b[2J")
    serve(voices=voices)
    told = on_terminal("voices", columns=columns)

    shown = told.text
    assert told.code == 0
    assert "\x1b" not in shown
    assert all(cell_len(line) <= columns for line in shown.splitlines())
    assert all(voice.voice_id in shown and voice.name[:3] in shown for voice in voices[:2])


def test_voices_of_one_language_are_one_line_each(vendor: Sandbox) -> None:
    told = on_terminal("voices", "--language", "ja", columns=80)
    heading, *lines = (line.split() for line in told.text.splitlines() if line.strip())

    assert heading == ["Voice", "Gender", "Name", "Style"]
    assert all(len(line[0]) == 24 for line in lines)


@pytest.mark.parametrize("command", ["languages", "voices", "credit"])
def test_no_key_a_wrong_key_and_a_host_that_is_down_have_exit_codes(
    command: str, akool: Command, vendor: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AKOOL_API_KEY", "not-the-key")
    wrong = akool(command)
    monkeypatch.delenv("AKOOL_API_KEY")
    none = akool(command)

    assert (wrong.code, wrong.out) == (3, "")
    assert "1101" in wrong.err
    assert f"They come from AKOOL_API_KEY, and are sent to {os.environ['AKOOL_API_HOST']}." in wrong.err
    assert "not-the-key" not in wrong.err
    assert "They come from" not in none.err
    assert (none.code, none.out) == (3, "")
    assert "AKOOL_API_KEY" in none.err


def test_a_host_that_is_down_is_told(
    akool: Command, quick: None, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    monkeypatch.setenv("AKOOL_API_KEY", "any-key")
    told = akool("credit", "--host", f"http://127.0.0.1:{free_port}")

    assert (told.code, told.out) == (1, "")
    assert "could not be reached" in told.err
