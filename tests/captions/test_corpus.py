"""Every fault of the faulty files is found, alone and in its place; the good files cause no alarm."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from akool_async.captions import GUIDES, CaptionLimits, FaultType, Terms, check_cues, limits_for, read_cues
from akool_async.captions.check import CaptionFault
from tests.cli.conftest import Command

CORPUS = Path(__file__).with_name("corpus")
TERMS = Terms(kept=("Akool",), fixed={"dashboard": "tableau de bord"})
GERMAN = Terms(fixed={"dashboard": "Dashboard"})

FAULTY = {
    "speed.en.srt": (FaultType.SPEED, 2),
    "speed.ja.srt": (FaultType.SPEED, 2),
    "speed.zh-CN.srt": (FaultType.SPEED, 2),
    "speed.ar.vtt": (FaultType.SPEED, 2),
    "overlap.en.srt": (FaultType.OVERLAP, 2),
    "overlap.fr.ass": (FaultType.OVERLAP, 2),
    "overlap-by-one-frame.en.srt": (FaultType.OVERLAP, 2),
    "line.de.srt": (FaultType.LINE_LENGTH, 2),
    "line.ja.srt": (FaultType.LINE_LENGTH, 2),
    "line.ko.srt": (FaultType.LINE_LENGTH, 2),
    "lines.en.srt": (FaultType.LINES, 2),
    "lines.es.vtt": (FaultType.LINES, 2),
    "empty.en.srt": (FaultType.EMPTY, 2),
    "only-tags.en.srt": (FaultType.EMPTY, 2),
    "only-invisible.en.srt": (FaultType.EMPTY, 2),
    "too-short.en.srt": (FaultType.TOO_SHORT, 2),
    "too-long.en.srt": (FaultType.TOO_LONG, 2),
    "flicker.en.srt": (FaultType.GAP, 2),
    "kept-term.fr.srt": (FaultType.TERM, 2),
    "fixed-term.de.srt": (FaultType.TERM, 2),
    "backwards.en.srt": (FaultType.TIMES, 2),
    "not-in-order.en.srt": (FaultType.TIMES, 2),
}
GOOD = sorted(path.name for path in (CORPUS / "good").iterdir() if ".original." not in path.name)


def found_in(path: Path, limits: CaptionLimits | None = None) -> list[CaptionFault]:
    target = path.suffixes[0].removeprefix(".")
    beside = path.with_name(f"{path.stem}.original.srt")
    return check_cues(
        read_cues(path),
        limits or limits_for(target),
        target=target,
        spoken=read_cues(beside) if beside.exists() else (),
        terms=GERMAN if target == "de" else TERMS,
    )


def test_the_corpus_is_large_enough() -> None:
    there = {path.name for path in (CORPUS / "faulty").iterdir() if ".original." not in path.name}

    assert there == {*FAULTY}
    assert len(FAULTY) >= 20
    assert len(GOOD) >= 20
    assert {fault for fault, _ in FAULTY.values()} == {*FaultType}


@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_is_found_and_nothing_else(name: str) -> None:
    found = [(one.fault, one.number) for one in found_in(CORPUS / "faulty" / name)]

    assert found == [FAULTY[name]]


@pytest.mark.parametrize("name", GOOD)
def test_a_good_file_causes_no_alarm(name: str) -> None:
    assert found_in(CORPUS / "good" / name) == []


@pytest.mark.parametrize("name", [name for name in FAULTY if FAULTY[name][0] is not FaultType.TERM])
def test_each_limit_can_be_switched_off(name: str) -> None:
    off = attrs.evolve(CaptionLimits(), **dict.fromkeys(attrs.asdict(CaptionLimits())))
    always = {FaultType.EMPTY, FaultType.OVERLAP, FaultType.TIMES}

    assert bool(found_in(CORPUS / "faulty" / name, off)) is (FAULTY[name][0] in always)


def test_the_guides_differ_and_languages_have_limits_of_their_own() -> None:
    assert limits_for("en", "bbc") == GUIDES["bbc"]
    assert limits_for("en").max_speed != limits_for("en", "bbc").max_speed
    assert limits_for("ja-JP") == limits_for("ja")
    assert limits_for("ja").max_line == 13


def test_the_command_finds_the_same(akool: Command, tmp_path: Path) -> None:
    glossary = tmp_path / "words.csv"
    glossary.write_text(
        "word,translation,languages\nAkool,,\ndashboard,tableau de bord,fr\ndashboard,Dashboard,de\n"
    )
    faulty = [CORPUS / "faulty" / name for name in FAULTY]
    good = [CORPUS / "good" / name for name in GOOD]
    told = akool("captions", "check", *faulty, "--json", "--glossary", glossary)
    quiet = akool("captions", "check", *good, "--glossary", glossary)

    assert [(Path(row["file"]).name, row["fault"], row["cue"]) for row in json.loads(told.out)] == [
        (name, fault.value, number) for name, (fault, number) in FAULTY.items()
    ]
    assert told.code == 1
    assert (quiet.code, quiet.out) == (0, "")
    assert "nothing was found" in quiet.err


@pytest.mark.parametrize(
    ("option", "name"),
    [
        (["--max-speed", "100"], "speed.en.srt"),
        (["--max-line", "60"], "line.de.srt"),
        (["--max-lines", "3"], "lines.en.srt"),
        (["--min-seconds", "0.4"], "too-short.en.srt"),
        (["--max-seconds", "10"], "too-long.en.srt"),
        (["--min-gap", "0"], "flicker.en.srt"),
    ],
)
def test_every_limit_is_an_option(akool: Command, option: list[str], name: str) -> None:
    assert akool("captions", "check", CORPUS / "faulty" / name).code == 1
    assert akool("captions", "check", CORPUS / "faulty" / name, *option).code == 0


def test_the_limits_of_the_bbc_are_others(akool: Command) -> None:
    gap = CORPUS / "good" / "plain.en.srt"  # half a second between its cues

    assert akool("captions", "check", gap).code == 0
    assert "0.50 s after the cue before" in akool("captions", "check", gap, "--guide", "bbc").out
