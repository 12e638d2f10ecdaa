"""What is said of a command line that is wrong: in the words of the help, with the option that was meant."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import get_args

import pytest
from cyclopts import App

from akool_async.cli import app
from akool_async.cli.options import Duration

COMMANDS = [name for names in app.COMMANDS.values() for name in names]


def wrong(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert app.run(arguments) == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_no_value_is_refused_in_the_words_of_python(name: str, capsys) -> None:
    command = reduce(App.__getitem__, name.split(), app.app)
    arguments = [argument for argument in command.assemble_argument_collection() if argument.parse]
    needed = [f"{one.name}=x" if one.name.startswith("--") else "x" for one in arguments if one.required]
    for argument in arguments:
        kinds = {argument.hint, *get_args(argument.hint)}
        if argument.name.startswith("--") and kinds & {int, float, bool, Duration}:
            told = wrong(capsys, *name.split(), *needed, f"{argument.name}=?bad")
            assert f"{argument.name} must be " in told
            assert "not '?bad'." in told
            for word in ("timedelta", "float", " int", "bool", "convert", "Duration", "_"):
                assert word not in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "run v.csv --give-up-after 90",
            "--give-up-after must be a length of time longer than 0, such as 90s, 2h or 7d",
        ),
        ("run v.csv --give-up-after 0s", "--give-up-after must be a length of time longer than 0"),
        ("run v.csv --max-credits ten", "--max-credits must be a number, not 'ten'."),
        ("run v.csv --in-flight many", "--in-flight must be a whole number, not 'many'."),
        ("run v.csv --in-flight 0", "--in-flight must be >= 1, not '0'."),
        ("run v.csv --in-flight", "--in-flight needs a value."),
        *(
            (f"plan v.csv {option} {number}", f"{option} must be a number above 0, not '{number}'.")
            for option in ("--max-credits", "--max-seconds", "--max-megabytes", "--max-fps")
            for number in ("inf", "nan", "0", "-1")
        ),
        ("run", "CATALOG is missing."),
        ("enqueue v.csv", "--ledger is missing."),
        ("list --sort nam", 'Choose from: "key"'),
    ],
)
def test_a_wrong_value_is_told_with_the_name_of_the_option(arguments: str, said: str, capsys) -> None:
    told = wrong(capsys, *arguments.split())

    assert said in told
    assert f"`akool-async {arguments.split()[0]} --help` shows what there is." in told


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        *((f"translate u {option} ja", "--to") for option in ("--targets", "--lang", "--language")),
        ("run v.csv --languages=ja", "--to"),
        ("list --lang ja", "--language"),
        ("list --to ja", "--language"),
        ("list --state failed", "--failed or --in-doubt or --expiring"),
        ("ledger list --ledger x --stat failed", "--state"),
        ("run v.csv -o films", "--out"),
        ("run v.csv --max-credit 3", "--max-credits"),
        ("run v.csv --budget 3", "--max-credits"),
        ("run v.csv --caption-type target", "--caption"),
        ("translate https://example.com/talk.mp4 Japanese", "--to Japanese"),
    ],
)
def test_the_option_that_was_meant_is_named(arguments: str, meant: str, capsys) -> None:
    assert f"Did you mean {meant}?" in wrong(capsys, *arguments.split())


def test_no_option_is_proposed_that_only_looks_a_little_like_it(capsys) -> None:
    assert "Did you mean" not in wrong(capsys, "run", "v.csv", "--sleep", "3")


def test_a_key_in_the_wrong_place_is_not_repeated(capsys) -> None:
    key = "sk7Pq2Vx9Lm4Rt8Zw1"

    assert key not in wrong(capsys, "run", "v.csv", "--api-key", key)
    assert key not in wrong(capsys, "run", "v.csv", f"--{key}")
    assert key not in wrong(capsys, "run", "v.csv", "--max-credits", key)
    assert key not in wrong(capsys, "run", "v.csv", "--give-up-after", key)


@pytest.mark.parametrize(
    ("length", "typed"),
    [(Duration(minutes=10), "10m"), (Duration(hours=24), "1d"), (Duration(seconds=90), "90s")],
)
def test_a_length_of_time_is_shown_as_it_is_typed(length: Duration, typed: str) -> None:
    assert str(length) == typed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("plan v.csv --share ftp://x", "akool-async: --share must be a bucket such as s3://bucket/prefix"),
        ("plan v.csv --share-expires 5m", "--share-expires must be from 15m to 7d, not 5m."),
        ("lipsync foo https://example.com/b.wav", "VIDEO_URL: must be an absolute"),
        ("lipsync https://example.com/a.mp4 foo", "AUDIO_URL: must be an absolute"),
        ("lipsync https://example.com/a.mp4 https://example.com/b.wav --key \t", "--key: must be 1 to 200"),
        ("translate https://example.com/a.mp4 --to ja --key \t", "--key: must be 1 to 200"),
        (
            "translate https://example.com/a.mp4 --to ja --caption-url foo",
            "--caption-url: must be an absolute",
        ),
    ],
)
def test_a_setting_is_called_by_the_name_of_its_option(
    arguments: str, said: str, capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("v.csv").write_text("url,to\nhttps://example.com/a.mp4,ja\n")
    told = wrong(capsys, *arguments.split(" "))

    assert said in told
    assert "_url" not in told


@pytest.mark.parametrize(
    ("arguments", "mistakes"),
    [
        ("translate https://example.com/a.mp4 --to Japanes", 1),
        ("translate https://example.com/a.mp4 --to ja,Japanes --voice fr=2", 1),
        ("run videos.csv --to Japanes", 1),
        ("translate foo --to Japanes --speakers -1", 3),
    ],
)
def test_one_wrong_language_is_one_mistake(
    arguments: str, mistakes: int, capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("videos.csv").write_text("url,key\nhttps://example.com/a.mp4,a\nhttps://example.com/b.mp4,b\n")
    told = wrong(capsys, *arguments.split())

    assert f"{mistakes} mistake{'s' * (mistakes > 1)}." in told
    assert "not 'Japanes'. Did you mean 'Japanese'?" in told
    assert "languages are missing" not in told


def test_subtitles_that_are_not_there_are_no_fault_of_subtitles(capsys, tmp_path: Path) -> None:
    assert f"There is no file {tmp_path}/nope.srt." in wrong(
        capsys, "captions", "check", f"{tmp_path}/nope.srt"
    )


def test_a_catalog_is_no_video_to_look_into(capsys) -> None:
    told = wrong(capsys, "inspect", "https://example.com/a.mp4", "films.csv")

    assert "films.csv is a catalog, not a video." in told
    assert "`akool-async plan films.csv` looks into its videos." in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--in-flight 2 run films.csv", "--in-flight comes before the command 'run'."),
        ("--out=x status", "Options come after the command: akool-async status ... --out"),
        ("translate films.csv --to ja", "films.csv is a catalog, not a video."),
        ("translate films.xlsx", "`akool-async run films.xlsx` translates its videos."),
        (
            "status s3://bucket/results",
            "s3://bucket/results is in a bucket, and the journal is a file of this",
        ),
        ("list s3://bucket/results", "Name the journal"),
    ],
)
def test_what_is_in_the_wrong_place_is_told_its_place(arguments: str, said: str, capsys) -> None:
    assert said in wrong(capsys, *arguments.split())


@pytest.mark.parametrize(("word", "meant"), [("Japanisch", "Japanese"), ("Spansh", "Spanish")])
def test_a_language_is_meant_by_its_first_letter_too(word: str, meant: str, capsys) -> None:
    said = wrong(
        capsys, "translate", "https://example.com/a.mp4", "--to", word, "--host", "http://127.0.0.1:1"
    )
    assert f"Did you mean '{meant}'?" in said
