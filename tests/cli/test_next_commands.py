"""What a command says to run next can be pasted into a shell, and is understood."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from akool_async.cli import app
from akool_async.sandbox import Fault, Sandbox
from tests.cli.conftest import Command, Told

EVERY = [name for modules in app.COMMANDS.values() for name in modules]
PUBLISHED = "https://example.com/published.srt"


def commands_in(told: Told) -> list[str]:
    """Return the commands that a command printed: on a line of their own, or in a sentence."""
    said = told.out + told.err
    own = re.findall(r"^ {4,6}(akool-async .+)$", said, flags=re.MULTILINE)
    return [*own, *re.findall(r"`(akool-async [^`]+)`", said)]


def leave_all_kinds_of_open_ends(akool: Command, folder: Path) -> tuple[Path, list[Told]]:
    """Run a catalog and what follows, in a folder whose name a shell would read otherwise."""
    out, catalog = folder / "it's all; mine", folder / "my films.csv"
    rows = "".join(f"https://example.com/{number}.mp4,ja,film {number}\n" for number in range(6))
    catalog.write_text(f"url,languages,key\n{rows}")
    where = ["--out", out]
    run = ["run", catalog, *where, "--yes", "--in-flight", "1"]
    told = [akool(*run, "--max-credits", "10"), akool(*run), akool("plan", catalog, *where)]
    told += [akool(*words, *where) for words in (["status"], ["resolve"], ["captions", "pull"])]
    first, *_ = sorted(path for path in (out / "captions").glob("*.srt") if ".original." not in path.name)
    whole = first.read_text(encoding="utf-8")
    first.write_text(whole.replace("00:00:02,000", "00:00:09,000", 1), encoding="utf-8")
    told.append(akool("captions", "check", *where))
    first.write_text("1\n00:00:00,000 --> 00:00:02,000\n短い\n\n", encoding="utf-8")
    for path in (out / "captions").glob("*"):
        if path != first:
            path.unlink()
    told.append(akool("captions", "check", out, "--max-speed", "100", "--max-line", "100"))
    key = first.name.removesuffix(".ja.srt").replace("-", " ")
    told.append(akool("captions", "push", key, "--file", first, *where))
    next(iter(sorted(out.glob("*.mp4")))).unlink()
    told += [akool(*words, *where) for words in (["verify"], ["status"], ["retry", "nothing"])]
    return out, told


def test_every_command_that_is_printed_works_when_it_is_pasted(
    akool: Command, serve: Callable[..., Sandbox], quick: None, tmp_path: Path
) -> None:
    serve(
        faults=[
            Fault(on="create", kind="job_fails", value="no speech", nth=1),
            Fault(on="create", kind="reset_after", nth=2),
            Fault(on="create", kind="code", code=1203, nth=3),
        ]
    )
    out, told = leave_all_kinds_of_open_ends(akool, tmp_path)
    found = [*dict.fromkeys(command for one in told for command in commands_in(one))]

    for words in (
        *("run", "resolve", "list", "list --failed", "retry --failed", "verify --fix", "collect"),
        *("captions check", "captions pull", "captions push"),
    ):
        assert any(command.startswith(f"akool-async {words} ") for command in found), (words, found)
    for command in found:
        values = {"URL": PUBLISHED, "CREDITS": "1000"}
        given = [values.get(word, word) for word in shlex.split(command)[1:]]
        if "ID" in given:
            continue
        assert str(out) in given, command
        again = akool(*given)
        asks = "--yes" in again.err  # there is nobody to be asked here
        assert again.code != 2 or asks, (command, again.err)


@pytest.mark.parametrize("name", EVERY)
def test_every_command_tells_programs_that_it_was_called_wrongly(name: str, akool: Command) -> None:
    told = akool(*name.split(), "--json", "--no-such-option")

    event = json.loads(told.out.splitlines()[-1])
    assert (event["event"], event["exit_code"], told.code) == ("error", 2, 2)
    assert event["message"]
