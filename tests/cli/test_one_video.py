"""One video on the command line: asked before credits are spent, written down before, never paid twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from akool_async.sandbox import FakeClock, Fault, Sandbox
from tests.cli.conftest import Book, Command, GiveUp, at_vendor
from tests.cli.terminal import on_terminal

pytestmark = pytest.mark.usefixtures("quick")

VIDEO = "https://example.com/talk.mp4?X-Amz-Signature=canary-4f9c1b7e2a"
AUDIO = "https://example.com/voice.wav"
COMMANDS = (["translate", VIDEO, "--to", "ja,fr"], ["lipsync", VIDEO, AUDIO])


def test_a_video_comes_home_in_every_language_and_is_not_paid_again(
    akool: Command, out: Path, vendor: Sandbox
) -> None:
    told = akool(*COMMANDS[0], "--lipsync", "--caption", "translated", "--yes", "--out", out)
    again = akool(*COMMANDS[0], "--lipsync", "--caption", "translated", "--out", out)

    assert (told.code, told.out, again.code) == (0, "", 0)
    assert sorted(path.name for path in out.glob("*.mp4")) == ["talk.fr.mp4", "talk.ja.mp4"]
    (create,) = vendor.audit.creates
    assert create.payload["lipsync"] is True
    assert create.payload["caption_type"] == 4
    assert "canary" not in told.err + again.err


def test_a_lip_sync_comes_home_and_is_not_paid_again(akool: Command, out: Path, vendor: Sandbox) -> None:
    told = akool(*COMMANDS[1], "--key", "mouth", "--yes", "--out", out)
    again = akool(*COMMANDS[1], "--key", "mouth", "--out", out)

    assert (told.code, again.code) == (0, 0)
    assert "1 lip-sync" in told.err
    assert "It is saved" in told.err
    assert [path.name for path in out.glob("*.mp4")] == ["mouth.lipsync.mp4"]
    assert len(vendor.audit.creates) == 1


def test_voices_and_glossaries_are_taken(akool: Command, tmp_path: Path, out: Path, vendor: Sandbox) -> None:
    glossary = tmp_path / "words.csv"
    glossary.write_text("word,translation\nAkool,アクール\n", encoding="utf-8")
    voice = json.loads(akool("voices", "--language", "ja", "--json").out)[0]["voice_id"]
    command = ["translate", VIDEO, "--to", "ja,fr", "--voice", f"ja={voice}", "--glossary", f"ja={glossary}"]
    told = akool(*command, "--yes", "--out", out)

    assert told.code == 0
    bodies = {create.payload["language"]: create.payload for create in vendor.audit.creates}
    assert bodies["ja"]["voices_map"] == {"ja": {"voice_id": voice}}
    assert bodies["ja"]["studio_voice"]["fixed_words"] == {"Akool": "アクール"}
    assert "studio_voice" not in bodies["fr"]


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_spent_where_nobody_can_be_asked(
    command: list[str], akool: Command, out: Path, vendor: Sandbox
) -> None:
    told = akool(*command, "--out", out)

    assert told.code == 2
    assert "--yes" in told.err
    assert vendor.audit.creates == ()


@pytest.mark.parametrize("command", [COMMANDS[0], pytest.param(COMMANDS[1], marks=pytest.mark.thorough)])
@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 130)])
def test_on_a_terminal_it_is_asked(
    command: list[str], answer: str, code: int, out: Path, vendor: Sandbox
) -> None:
    told = on_terminal(*command, "--out", out, columns=60, answers=[("[y/N]", answer)])

    assert told.code == code, told.text
    assert len(vendor.audit.creates) == (answer == "y")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["translate", VIDEO], "--to"),
        (["translate", "talk.mp4", "--to", "ja"], "the name of a file"),
        (["translate", VIDEO, "--to", "ja", "--caption", "x"], "--caption"),
        (["translate", VIDEO, "--to", "klingon"], "klingon"),
        (["translate", VIDEO, "--to", "ja", "--voice", "fr=x"], "--voice"),
        (["translate", VIDEO, "--to", "ja", "--voice", "ja="], "--voice: names no voice for 'ja'"),
        (["lipsync", "./film.mp4", AUDIO], "VIDEO_URL: This is a file of this machine"),
        (["lipsync", VIDEO, "./voice.wav"], "AUDIO_URL: This is a file of this machine"),
        (
            ["translate", VIDEO, "--to", "ja", "--caption-url", "./a.srt"],
            "--caption-url: This is a file of this machine",
        ),
        (["translate", "./film.mp4", "--to", "ja"], "URL: This is a file of this machine"),
        (["translate", VIDEO, "--to", "zh-CN-shandong"], "needs a voice"),
        (["lipsync", VIDEO], "AUDIO"),
        (["lipsync", VIDEO, "voice.wav"], "AUDIO_URL"),
        (["lipsync", VIDEO, AUDIO, "--give-up-after", "soon"], "give-up-after"),
        (["lipsync", VIDEO, AUDIO, "--give-up-after", "0s"], "longer than 0"),
        (["lipsync", VIDEO, AUDIO, "--give-up-after", "-5m"], "longer than 0"),
        (["lipsync", VIDEO, AUDIO, "--on-saved", "true", "--on-saved-timeout", "0s"], "longer than 0"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_sent(
    arguments: list[str], word: str, akool: Command, out: Path, vendor: Sandbox
) -> None:
    told = akool(*arguments, "--yes", "--out", out)

    assert (told.code, told.out) == (2, "")
    assert word in told.err
    assert vendor.audit.creates == ()
    assert not out.exists()


def test_a_lost_answer_is_a_doubt_that_the_journal_knows(akool: Command, book: Book, vendor: Sandbox) -> None:
    vendor.faults.add(Fault(on="create", kind="http", status=502, nth=(1,)))
    told = akool("translate", VIDEO, "--to", "ja", "--key", "talk", "--yes", "--out", book.out)
    again = akool("translate", VIDEO, "--to", "ja", "--key", "talk", "--yes", "--out", book.out)

    assert (told.code, again.code) == (6, 6)
    assert "akool-async resolve" in told.err
    assert book.states() == {"talk": "in_doubt"}
    assert len(vendor.audit.creates) == 1


def test_a_job_that_was_not_waited_for_is_gone_on_with(
    akool: Command, book: Book, serve: Callable[..., Sandbox], give_up: GiveUp
) -> None:
    vendor = serve(clock=FakeClock(time.time()))
    give_up(at_vendor(1))
    gone = akool("translate", VIDEO, "--to", "ja", "--yes", "--give-up-after", "1h", "--out", book.out)
    vendor.clock.advance(50_000)
    back = akool("resume", "--out", book.out)

    assert (gone.code, back.code) == (4, 0)
    assert set(book.states().values()) == {"delivered"}
    assert len(vendor.audit.creates) == 1


def test_what_failed_is_paid_again_only_if_that_is_said(
    akool: Command, out: Path, serve: Callable[..., Sandbox]
) -> None:
    serve(failure_rate=1.0)
    failed = akool(*COMMANDS[1], "--yes", "--out", out)
    vendor = serve()
    told = akool(*COMMANDS[1], "--yes", "--out", out)
    assert vendor.audit.creates == ()
    again = akool(*COMMANDS[1], "--yes", "--retry-failed", "--out", out)

    assert [failed.code, told.code, again.code] == [1, 1, 0]
    assert len(vendor.audit.creates) == 1


def test_no_credits_and_a_bound_on_them_have_an_exit_code(
    akool: Command, out: Path, serve: Callable[..., Sandbox]
) -> None:
    serve(credits=1)
    assert akool(*COMMANDS[1], "--yes", "--out", out).code == 5
