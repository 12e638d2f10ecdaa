"""Options of what is to be made: every option of a request, names of languages, what `plan` takes."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from akool_async import TranslationRequest
from akool_async.cli.commands import catalog as commands
from akool_async.sandbox import Sandbox
from tests.cli.conftest import Command

pytestmark = pytest.mark.usefixtures("quick")
URL = "https://media.example.org/talk.mp4"


def test_plan_takes_every_option_of_run() -> None:
    of_run, of_plan = (inspect.signature(one).parameters for one in (commands.run, commands.plan))

    assert of_run.keys() - of_plan.keys() == set()


def test_translate_sends_every_option_of_a_request(akool: Command, out: Path, vendor: Sandbox) -> None:
    said = akool(
        *("translate", URL, "--to", "Japanese", "--from", "English", "--key", "talk", "--no-check", "--yes"),
        *("--caption", "translated", "--caption-url", "https://media.example.org/talk.srt"),
        *("--keep-words", "Akool; Bob", "--fixed-words", "Paris=Paname", "--pronounced-words", "NASA=nassa"),
        *("--style", "calm", "--speakers", "2", "--remove-bgm", "--dynamic-duration", "--url-is-public"),
        "--out",
        str(out),
    )

    (create,) = vendor.audit.creates
    assert "Japanese is ja" in said.err
    sent = str(create)
    for word in ("talk.srt", "Akool", "Bob", "Paname", "nassa", "calm"):
        assert word in sent, word


def test_the_options_of_translate_are_those_of_a_request(akool: Command) -> None:
    shown = akool("translate", "--help").out
    named = {"targets": "to", "source_language": "from", "caption_type": "caption", "voices_map": "voice"}
    named |= {"speaker_num": "speakers", "no_translate_words": "keep-words"}

    for field in set(TranslationRequest.__annotations__) - {"url"}:
        assert f"--{named.get(field, field).replace('_', '-')}" in shown, field


def test_a_language_that_only_the_vendor_knows_by_name_is_looked_up(
    akool: Command, out: Path, vendor: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "films.csv"
    path.write_text(f'url,languages,voices\n{URL},"Chinese (Jilu Mandarin, Simplified)",zh-CN-shandong=V1\n')

    said = akool("plan", str(path), "--out", str(out), "--no-check")
    assert said.code == 0, said.err
    assert "Chinese (Jilu Mandarin, Simplified) is zh-CN-shandong" in said.err
    offline = akool("plan", str(path), "--out", str(out), "--offline")
    assert offline.code == 2
    assert not vendor.audit.creates


@pytest.mark.usefixtures("vendor")
def test_options_that_no_row_uses_are_told_before_anything_is_paid(
    akool: Command, out: Path, tmp_path: Path
) -> None:
    """Who gave `--to fr` for a catalog with languages of its own would pay for others."""
    films, words = tmp_path / "films.csv", tmp_path / "words.csv"
    films.write_text(f"url,languages\n{URL},ja\n")
    words.write_text("word\nAkool\n")
    unfit = ("--to", "fr", "--voice", "fr=V1", "--glossary", f"jp={words}")
    fit = ("--from", "en", "--voice", "ja=V2", "--glossary", f"JA={words}")

    told = akool("plan", str(films), "--out", str(out), "--no-check", *unfit, *fit).err
    assert "No row uses --to: the catalog sets that itself." in told
    assert "--voice: No row is translated into fr." in told
    assert f"{words}: Its words are for jp, and nothing is translated into that." in told
    assert told.count("No row") == 2
    assert told.count("Its words") == 1

    films.write_text(f"url,languages\n{URL},ja\n{URL}?2,\n")
    told = akool("plan", str(films), "--out", str(out), "--no-check", "--to", "fr", "--voice", "fr=V1").err
    assert "No row" not in told


@pytest.mark.usefixtures("vendor")
def test_defaults_of_the_file_precede_options_and_that_is_told(
    akool: Command, out: Path, tmp_path: Path
) -> None:
    films = tmp_path / "films.yaml"
    films.write_text(f'defaults: {{targets: ja}}\nvideos:\n- {{url: "{URL}"}}\n')

    told = akool("plan", str(films), "--out", str(out), "--no-check", "--to", "fr").err
    assert "No row uses --to" in told


def test_an_unknown_source_language_is_refused_before_anything_is_sent(
    akool: Command, out: Path, vendor: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "films.csv"
    path.write_text(f"url,languages,from\n{URL},ja,xx\nhttps://media.example.org/b.mp4,ja,en-AU\n")

    said = akool("run", str(path), "--out", str(out), "--no-check", "--yes")
    assert said.code == 2, said.err
    assert "films.csv:2: from (C2): The server has no language 'xx'." in said.err
    assert "films.csv:3" not in said.err
    assert not vendor.audit.creates


def test_a_plan_names_the_options_of_new_jobs_that_may_cost_extra(
    akool: Command, out: Path, vendor: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "films.csv"
    path.write_text(
        f'url,languages,key,lipsync,caption\n{URL},"ja,de",a,yes,translated\n{URL},fr,b,,target\n{URL},es,c,,\n'
    )
    planned = akool("plan", path, "--out", out, "--no-check")
    path.write_text(f"url,languages,key\n{URL},es,c\n")
    plain = akool("plan", path, "--out", out, "--no-check")

    extras = "lip-sync for 2, captions (translated) for 2, captions (target) for 1"
    assert f"Options that may cost extra: {extras}.\n" in planned.err
    assert "may cost extra" not in plain.err
