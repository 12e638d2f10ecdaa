"""A hunt for canaries: the key, and what signs a URL, in everything that commands print, log and write."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from akool_async import open_batch
from akool_async.cli import run as run_module
from akool_async.sandbox import Fault, Sandbox
from tests.cli.conftest import KEY, Command

pytestmark = pytest.mark.usefixtures("quick")

SIGNATURE = "signature0f9e8d7c6b5a4938"
SIGNED = f"https://user:{SIGNATURE}@files.example/a.mp4?X-Amz-Expires=60&X-Amz-Signature={SIGNATURE}"
ECHO = f"can't read {SIGNED} with {KEY[:9]}\n{KEY[9:]}, nor with %63{KEY[1:]}"


def shows(text: str) -> list[str]:
    """Return what secret can be read in a text, also without what is between its letters."""
    solid = "".join(filter(str.isalnum, text)).lower()
    secrets = {"the key": KEY.replace("-", ""), "a signature": SIGNATURE}
    found = [name for name, secret in secrets.items() if secret in solid or secret[4:] in solid]
    return [*found, "a result's token"] if "token=" in text else found


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler, root = logging.StreamHandler(stream), logging.getLogger()
    handler.addFilter(lambda record: not record.name.startswith("uvicorn"))  # the sandbox's own
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def echo(**where: object) -> Fault:
    return Fault(kind="http", body=json.dumps({"code": 1003, "msg": ECHO}), **where)


@pytest.fixture
def hostile(serve: Callable[..., Sandbox]) -> Sandbox:
    """A vendor that repeats the key and signed URLs wherever it can."""
    return serve(
        faults=[
            Fault(on="create", kind="job_fails", value=ECHO, nth=1),
            echo(on="create", status=200, nth=2),
            echo(on="create", status=500, nth=3),
            Fault(on="create", kind="reset_after", nth=4),
            echo(on="status", status=500, nth=range(3, 6)),
            echo(on="cdn", status=403, nth=range(1, 4)),
            echo(on="languages", status=500, nth=range(1, 100)),
        ]
    )


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    rows = [SIGNED.replace("a.mp4", f"{number}.mp4") for number in range(8)]
    path = tmp_path / "videos.csv"
    path.write_text("\n".join(["url,languages,key", *(f"{row},ja,{at}" for at, row in enumerate(rows))]))
    return path


def test_no_command_prints_logs_or_writes_a_secret(
    akool: Command,
    hostile: Sandbox,
    catalog: Path,
    out: Path,
    logged: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Nobody calls back, and each command would wait two minutes for that.
    monkeypatch.setattr(run_module, "open_batch", partial(open_batch, webhook_grace=0.0))
    webhook = f"https://me.example/hook?token={SIGNATURE}"
    to = ["--out", out]
    commands: list[list[object]] = [
        ["plan", catalog, *to],
        ["plan", catalog, "--json", *to],
        ["run", catalog, "--yes", "--webhook-url", webhook, *to],
        ["run", catalog, "--yes", "--json", "--retry-failed", *to],
        ["status", *to],
        ["status", "--json", *to],
        ["list", *to],
        ["list", "--json", *to],
        ["list", "--csv", *to],
        ["resolve", *to],
        ["resolve", "--json", *to],
        ["retry", "--failed", "--yes", *to],
        ["resume", "--json", *to],
        ["collect", *to],
        ["collect", "--json", *to],
        ["languages"],
        ["credit", "--json"],
        ["doctor", *to],
        ["doctor", "--json", *to],
        ["translate", SIGNED, "--to", "ja", "--yes", "--json", *to],
        ["translate", SIGNED.replace("https", "ftp"), "--to", "ja", *to],
        ["run", catalog, "--webhook-url", webhook.replace("https", "ftp"), "--yes", *to],
        ["credit", "--host", f"https://user:{SIGNATURE}@api.example?{SIGNATURE}"],
    ]
    found = {}
    for command in commands:
        told = akool(*command)
        shown = shows(told.out + told.err)
        if shown:
            found[str(command[0])] = shown, told.out + told.err
    written = [file for file in out.rglob("*") if file.is_file()]
    for file in written:
        if shown := shows(file.read_bytes().decode("latin-1")):
            found[file.name] = shown, file.read_bytes().decode("latin-1")

    assert found == {}
    assert shows(logged.getvalue()) == []
    assert len(hostile.audit.jobs) > 5


MISPLACED = "sk-5ecreTkey"


@pytest.mark.parametrize(
    "order",
    [
        ["login", MISPLACED],
        ["credit", MISPLACED],
        ["credit", "--key-file", MISPLACED],
        ["doctor", "--key-file", MISPLACED],
        ["status", MISPLACED],
        ["status", f"https://u:{MISPLACED}@h.test/x"],
        ["verify", "--out", f"s3://id:{MISPLACED}@bucket/x"],
        ["plan", "videos.csv", "--out", f"s3://id:{MISPLACED}@bucket/x"],
        ["plan", "videos.csv", "--share", f"s3://id:{MISPLACED}@bucket/x"],
        ["plan", f"https://u:{MISPLACED}@h.test/x.csv?sig={MISPLACED}"],
        ["plan", MISPLACED],
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(
    order: list[str], akool: Command, vendor: Sandbox, catalog: Path
) -> None:
    told = akool(*order)

    assert told.code != 0
    assert told.err + told.out
    assert "5ecreT" not in told.err + told.out


def test_ordinary_words_in_the_wrong_place_are_repeated(akool: Command, vendor: Sandbox) -> None:
    assert "one argument too many: talk-2.mp4 German." in akool("credit", "talk-2.mp4", "German").err
    assert (
        "The key file keys/my-key.txt can't be read" in akool("credit", "--key-file", "keys/my-key.txt").err
    )
    assert "There is no results." in akool("status", "results").err


@pytest.mark.parametrize(
    "secret",
    [
        ["--on-saved", f"true --token {MISPLACED}"],
        ["--on-saved", f"true -H 'Authorization: Bearer {MISPLACED}'"],
        [f"--on-saved=true --password={MISPLACED}"],
        ["--on-saved", f"true -u bob:{MISPLACED}"],
        ["--on-saved", f"true --upload-as {MISPLACED}"],
        ["--on-saved", f"true -p{MISPLACED}"],
        ["--on-saved", f"env PW={MISPLACED} true"],
        ["--on-saved", f"true /srv/{MISPLACED}@host"],
        ["--host", MISPLACED],
    ],
)
def test_commands_that_are_shown_hold_no_secret_of_an_option(
    secret: list[str], akool: Command, vendor: Sandbox, tmp_path: Path, out: Path
) -> None:
    videos = tmp_path / "two.csv"
    videos.write_text("url,languages\nhttps://videos.example/1.mp4,ja\nhttps://videos.example/2.mp4,ja\n")
    told = akool("run", videos, "--out", out, "--yes", "--max-credits", "4", *secret)
    written = [path.read_text(errors="replace") for path in (*out.rglob("*.html"), *out.glob("*.runs"))]

    assert "akool-async run" in told.err
    assert "VALUE" in told.err
    assert not any("5ecreT" in text for text in (told.err, told.out, *written))
    assert "with VALUE as it was: it may hold a secret" in " ".join(told.err.split())
    assert all("--yes" not in line for line in told.err.splitlines() if "akool-async run" in line)


def test_commands_that_are_shown_keep_an_option_without_a_secret(
    akool: Command, vendor: Sandbox, tmp_path: Path, out: Path
) -> None:
    videos = tmp_path / "two.csv"
    videos.write_text("url,languages\nhttps://example.com/1.mp4,ja\nhttps://example.com/2.mp4,ja\n")
    told = akool(
        "run", videos, "--out", out, "--yes", "--max-credits", "4", "--on-saved", "true --to-cms $HOME /srv"
    )

    assert "--on-saved 'true --to-cms $HOME /srv'" in told.err
    assert "VALUE" not in told.err


@pytest.mark.parametrize("long", [["--key-file", "x" * 300], ["--on-saved", f"true --token {'x' * 300}"]])
def test_a_long_value_is_no_fault_of_the_program(
    long: list[str], akool: Command, vendor: Sandbox, catalog: Path, out: Path
) -> None:
    told = akool("run", catalog, "--out", out, "--yes", "--max-credits", "1", *long)

    assert told.code in (2, 5)
    assert "x" * 300 not in told.err or long[0] == "--key-file"
