"""What a command says to run next can be pasted into a shell, and is understood."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from akool_async.cli import app
from akool_async.cli.next_commands import KEPT, CommandLine, quoted
from akool_async.cli.options import OutputOptions
from akool_async.sandbox import Fault, Sandbox
from akool_async.webhook.inbox import InboxFile
from tests.cli.conftest import KEY, Command, Told

EVERY = [name for modules in app.COMMANDS.values() for name in modules]
PUBLISHED = "https://example.com/published.srt"
PAYING = ("run", "translate", "lipsync", "resume", "retry", "captions push")
CONSENT = {"--yes", "--pay-again", "--retry-failed", "--no-retry-failed", "--accept-older-journal"}
"""Options that allow payments, each for the command that it is typed for."""
LOOKS = {"--json", "--timestamps", "--no-timestamps", "--report", "--no-report"}
OF_ONE_COMMAND = {"--out", "--journal", "--key", "--caption-url"}
"""Options that are named anew, or that say what is asked for and not how."""
OF_REQUESTS = {"--glossary", "--caption"}
"""Options of new requests: those that are sent again are in the journal."""


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


def films(folder: Path, *rows: str) -> Path:
    path = folder / "films.csv"
    path.write_text("url,languages,key\n" + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def line_with(words: str, told: Told) -> list[str]:
    """Return the words of the one command that a command printed with these."""
    (found,) = [one for one in commands_in(told) if one.startswith(f"akool-async {words}")]
    return shlex.split(found)[1:]


def test_a_command_that_pays_keeps_the_bounds_of_the_one_that_names_it(
    akool: Command, serve: Callable[..., Sandbox], quick: None, tmp_path: Path, out: Path
) -> None:
    vendor = serve(faults=[Fault(on="create", kind="job_fails", value="no speech", nth=1)])
    key_file = tmp_path / "my key"
    key_file.write_text(KEY)
    key_file.chmod(0o600)
    bounds = ["--max-credits", "5", f"--key-file={key_file}", "--in-flight", "1", "--no-check"]
    catalog = films(tmp_path, "https://example.com/1.mp4,ja,one", "https://example.com/2.mp4,ja,two")
    told = akool("run", catalog, "--out", out, "--yes", "--trial=0", "--names", "{key}", *bounds)
    again = line_with("retry", told)
    for rest in ("https://example.com/3.mp4,ja,three", "https://example.com/4.mp4,ja,four"):
        films(tmp_path, rest)
        akool("run", catalog, "--out", out, "--yes")
    jobs = len(vendor.audit.jobs)
    refused = akool(*again, "--yes")

    kept = ["--trial", "0", "--max-credits", "5", "--key-file", str(key_file)]
    assert again == ["retry", "--failed", "--out", str(out), *kept, "--in-flight", "1", "--no-check"]
    assert "--max-credits (5) would be exceeded" in refused.err
    assert len(vendor.audit.jobs) == jobs


def test_options_that_paying_commands_share_are_kept_unless_they_consent_to_pay() -> None:
    app.load_commands()
    known = KEPT.keys() | CONSENT | LOOKS | OF_ONE_COMMAND | OF_REQUESTS
    for name in PAYING:
        assert all(app.accepts_option(name, option) for option in ("--max-credits", "--key-file", "--host"))
    shared = {
        option
        for name in PAYING
        for option in app.options_of(name)
        if sum(app.accepts_option(other, option) for other in PAYING if other != name)
        and (app.accepts_option("resume", option) or app.accepts_option("retry", option))
    }
    assert shared <= known, shared - known
    assert not KEPT.keys() & CONSENT


def test_a_command_is_named_where_none_is_running() -> None:
    assert not [*CommandLine().kept_for("verify", {})]


def test_commands_that_only_read_are_named_without_the_options_that_they_do_not_have(
    akool: Command, serve: Callable[..., Sandbox], quick: None, tmp_path: Path, out: Path
) -> None:
    serve(faults=[Fault(on="create", kind="reset_after", nth=1)])
    bounds = ["--max-credits", "5", "--retry-transient", "1"]
    told = akool("run", films(tmp_path, "https://example.com/1.mp4,ja,one"), "--out", out, "--yes", *bounds)

    assert line_with("resolve", told) == ["resolve", "--out", str(out)]


def test_only_commands_that_use_callbacks_have_an_inbox(
    akool: Command, serve: Callable[..., Sandbox], quick: None, tmp_path: Path, out: Path
) -> None:
    serve(faults=[Fault(on="create", kind="code", code=1203, nth=1)])
    inbox = tmp_path / "callbacks.sqlite3"
    InboxFile(inbox).close()
    told = akool(
        "run", films(tmp_path, "https://example.com/a.mp4,ja,one"), "--out", out, "--yes", "--inbox", inbox
    )

    having = {name for name in EVERY if "--inbox" in app.options_of(name)}
    assert having == {"plan", *PAYING, "webhook serve"}
    assert "--inbox" not in line_with("list", told)
    retry = line_with("retry", told)
    assert retry[retry.index("--inbox") + 1] == str(inbox)


def test_a_doubt_of_unknown_price_is_to_be_resolved_and_the_bound_stays(
    akool: Command, serve: Callable[..., Sandbox], quick: None, tmp_path: Path, out: Path
) -> None:
    vendor = serve(faults=[Fault(on="create", kind="reset_before", nth=1)])
    rows = [f"https://example.com/{number}.mp4,ja,{number}" for number in range(3)]
    order = ["run", str(films(tmp_path, *rows)), "--yes", "--max-credits", "8", "--out", str(out)]
    told = akool(*order)
    doubt = line_with("resolve", told)
    unresolved = akool(*line_with("run", told))
    not_made = [line for line in commands_in(akool(*doubt)) if "--not-made" in line]
    assert vendor.audit.jobs == ()
    assert akool(*shlex.split(not_made[0])[1:]).code == 0
    resumed = akool(*line_with("run", told))

    for said in (told, unresolved):
        assert "whose cost is not known" in said.err
        assert "without --max-credits" not in said.err
        assert line_with("run", said) == order
    assert resumed.code == 5
    assert len(vendor.audit.jobs) == 2


def test_with_a_bound_yet_to_be_set_nothing_is_agreed_to(
    akool: Command, vendor: Sandbox, quick: None, tmp_path: Path, out: Path
) -> None:
    catalog = films(tmp_path, 'https://example.com/1.mp4,"ja,fr",one')
    told = akool("run", catalog, "--yes", "--max-credits=4", "--in-flight", "1", "--out", out)
    again = line_with("run", told)
    asked = akool(*["100" if word == "CREDITS" else word for word in again])

    assert told.code == 5
    assert again == ["run", str(catalog), "--in-flight", "1", "--out", str(out), "--max-credits", "CREDITS"]
    assert "needs your consent" in asked.err
    assert len(vendor.audit.jobs) == 1


def test_a_url_that_is_not_shown_whole_is_not_agreed_to_and_no_secret_is_shown(
    akool: Command, serve: Callable[..., Sandbox], quick: None, tmp_path: Path, out: Path
) -> None:
    refused = Fault(on="create", kind="code", code=1203, nth=1)
    serve(faults=[refused, Fault(on="create", kind="reset_before", nth=2)])
    hook = ["--on-saved", "echo https://example.com/hook?token=5ecre7"]
    first = akool("translate", "https://example.com/1.mp4", "--to", "ja", "--out", out, *hook, "--yes")
    order = ["--to", "ja,fr", "--max-credits", "8", "--out", tmp_path / "other", "--yes"]
    told = akool("translate", "https://example.com/2.mp4?sig=5ecre7", *order)

    assert "5ecre7" not in first.err + told.err
    assert line_with("retry", first)[-2:] == ["--on-saved", "VALUE"]
    assert akool(*line_with("retry", first), "--yes").code == 2
    assert "with the URLs as they were" in told.err
    assert "--yes" not in line_with("translate", told)


@pytest.mark.parametrize(
    "word",
    ["-x", "it's", "a; b", "a\nb", "a\u00a0b", "a\\b\t'c'", "\u200f$(x)", "two  spaces", "a\udcffb", ""],
)
def test_a_shell_reads_what_was_quoted_though_a_message_can_not_show_it(word: str) -> None:
    shown = quoted(word)
    read = subprocess.run(["bash", "-c", f"printf %s {shown}"], capture_output=True, check=True)

    assert shown.isprintable()
    assert read.stdout == word.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("name", ["-r", "a\tb", "two  spaces", "it's $HOME"])
def test_a_folder_is_found_again_by_the_commands_of_status(
    name: str,
    akool: Command,
    serve: Callable[..., Sandbox],
    quick: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    serve(faults=[Fault(on="create", kind="reset_after", acted=False, nth=1)])
    akool(
        "run",
        films(tmp_path, f"https://example.com/1.mp4,ja,{' '.join(name.split())}"),
        f"--out={name}",
        "--yes",
    )
    listed = [akool("status", f"--out={name}"), akool("resolve", f"--out={name}")]
    shown = [line for told in listed for line in commands_in(told) if "--job-id" not in line]
    typed = [words_of(line) for line in shown]

    assert [words[0] for words in typed] == ["resolve", "list", "resolve"]
    assert [akool(*words).code for words in typed] == [6, 0, 0]


def words_of(line: str) -> list[str]:
    """Return the words that a shell makes of a command."""
    script = f"printf '%s\\0' {line.removeprefix('akool-async ')}"
    said = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    return said.stdout.decode().split("\0")[:-1]


def test_what_begins_with_a_dash_is_no_option() -> None:
    output = OutputOptions(out=Path("-r"))

    assert output.command("resolve", "-x", language="-y") == (
        "akool-async resolve --language=-y --out=-r -- -x"
    )


def test_status_names_the_order_by_which_a_catalog_was_run(
    akool: Command, vendor: Sandbox, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "it's here").mkdir()
    monkeypatch.chdir(tmp_path / "it's here")
    films(Path(), *(f"https://example.com/{number}.mp4,ja,-{number}" for number in range(3)))
    options = ["--names", "{language}/{key}", "--caption", "target", "--in-flight", "1", "--max-credits", "4"]
    hook = "--webhook-url=https://example.com/hook?token=5ecre7"
    akool("run", "films.csv", *options, hook, "--yes", "--pay-again")
    here = akool("status")
    monkeypatch.chdir(tmp_path)
    elsewhere = akool("status", "it's here/results")
    (tmp_path / "it's here" / "results").rename(tmp_path / "moved")
    moved = akool("status", "moved")
    order = ["run", "films.csv", *options, "--webhook-url=VALUE"]

    assert line_with("run", here) == order
    (from_elsewhere,) = [line for line in elsewhere.out.splitlines() if line.startswith("    cd ")]
    (from_moved,) = [line for line in moved.out.splitlines() if line.startswith("    cd ")]
    before = ["cd", str(tmp_path / "it's here"), "&&", "akool-async"]
    assert shlex.split(from_elsewhere) == [*before, *order]
    assert shlex.split(from_moved) == [*before, *order, "--out", str(tmp_path / "moved")]
    assert "5ecre7" not in (tmp_path / "moved" / "jobs.sqlite3.runs").read_text(encoding="utf-8")
    assert akool(*line_with("run", here)).code == 2
