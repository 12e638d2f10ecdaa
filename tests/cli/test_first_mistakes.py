"""What people get wrong at first: files that are no catalogs, no bucket for files, an empty host, a trial."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from akool_async import ConfigurationError, MediaError, inspect
from akool_async._client import AkoolClient
from akool_async._environment import install_command
from akool_async.sandbox import Sandbox
from akool_async.sandbox.media import sample_video
from tests.cli.conftest import Command
from tests.cli.terminal import on_terminal
from tests.cli.test_preflight import Serve, catalog
from tests.media.file_host import film, serve_files

pytestmark = pytest.mark.usefixtures("in_a_folder", "quick")
SHEETS = Path(__file__).parent / "sheets"


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(("sheet", "ending"), [("films.xlsx", ".xlsx"), ("films.ods", ".ods")])
def test_a_renamed_spreadsheet_gets_its_ending_back(akool: Command, sheet: str, ending: str) -> None:
    Path("videos.csv").write_bytes((SHEETS / sheet).read_bytes())
    planned = akool("plan", "videos.csv", "--offline")

    assert planned.code == 2
    assert f"Rename it to videos{ending}." in planned.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "an old Excel file"),
        (b"\x1f\x8b\x08" + bytes(20), "a compressed file"),
        (b"\x89PNG\r\n\x1a\n", "a picture"),
        (b"SQLite format 3\0", "a database, perhaps a journal"),
        (b"url,\xff\0\0\0", "This is no text"),
        (b"PK\x03\x04broken", "an archive or a document"),
        (b"url,languages\nhttps://e.com/caf\xe9.mp4,ja\n", 'Save the file again as "CSV UTF-8"'),
    ],
)
@pytest.mark.parametrize("ending", [".csv", ".yaml", ".jsonl"])
def test_what_is_no_text_is_called_what_it_is(akool: Command, content: bytes, said: str, ending: str) -> None:
    Path(f"videos{ending}").write_bytes(content)
    planned = akool("plan", f"videos{ending}", "--offline")

    assert planned.code == 2
    assert said in planned.err


def test_a_word_document_is_no_spreadsheet(akool: Command) -> None:
    with ZipFile("videos.csv", "w") as archive:
        archive.writestr("word/document.xml", "<a/>")
    planned = akool("plan", "videos.csv", "--offline")

    assert "an archive or a document, not text" in planned.err


@pytest.mark.parametrize("ending", [".csv", ".xlsx", ".yaml"])
def test_a_pipe_is_refused_and_not_waited_for(akool: Command, ending: str) -> None:
    os.mkfifo(f"videos{ending}")
    planned = akool("plan", f"videos{ending}", "--offline")

    assert planned.code == 2
    assert "This is a pipe or a device, not a file" in planned.err


def test_a_folder_is_refused(akool: Command) -> None:
    Path("videos.csv").mkdir()

    assert "This is a folder, not a file" in akool("plan", "videos.csv", "--offline").err


def test_a_key_that_is_too_long_is_not_shown_whole(akool: Command) -> None:
    path = catalog(("k" * 600, "https://example.com/1.mp4"))
    planned = akool("plan", path, "--offline")

    assert "must be 1 to 200 printable characters, not 600: 'kkkkkkkkkkkkkkkkkkkk…'." in planned.err


@pytest.mark.parametrize("words_", [("plan",), ("run", "--yes")])
def test_files_without_a_bucket_are_a_mistake_of_the_command(
    akool: Command, vendor: Sandbox, words_: tuple[str, ...]
) -> None:
    Path("talk.mp4").write_bytes(sample_video(1.0, width=64, height=36))
    path = catalog(("one", "./talk.mp4"), ("two", "https://example.com/2.mp4"))
    told = akool(words_[0], path, *words_[1:])

    assert told.code == 2
    assert "videos.csv:2: url (A2): This is a file of this machine" in told.err
    assert "--share s3://bucket/prefix" in told.err
    assert "Storage(" not in told.err + told.out
    assert "would refuse" not in told.err
    assert vendor.audit.creates == ()


def test_a_bucket_is_named_in_any_case_and_a_short_name_is_told(akool: Command) -> None:
    path = catalog(("one", "https://example.com/1.mp4"))
    short = akool("plan", path, "--offline", "--share", "s3://x")
    loud = akool("plan", path, "--offline", "--out", "S3://bucket/out", "--journal", "j.sqlite3")
    unnamed = akool("plan", path, "--offline", "--out", "S3://bucket/out")

    assert short.code == 2
    assert "at least 3 letters" in short.err
    assert loud.code == 0, loud.err
    assert "Results go to s3://bucket/out" in unnamed.err


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_host_is_not_the_vendors(
    akool: Command, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    path = catalog(("one", "https://example.com/1.mp4"))
    monkeypatch.setenv("AKOOL_API_HOST", value)

    told = akool("run", path, "--yes")

    assert told.code == 2
    assert "AKOOL_API_HOST is set, and empty." in told.err
    with pytest.raises(ConfigurationError, match="AKOOL_API_HOST is set, and empty"):
        AkoolClient(api_key="k")
    assert "openapi.akool.com" in repr(AkoolClient(api_key="k", host="https://openapi.akool.com"))


async def test_a_name_server_that_is_down_is_not_blamed_on_the_video(
    monkeypatch: pytest.MonkeyPatch, anyio_backend_name: str
) -> None:
    async def no_answer(*args: object, **options: object) -> object:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr("anyio.getaddrinfo", no_answer)
    with pytest.raises(MediaError) as caught:
        await inspect("https://media.akool-videos.com/a.mp4")

    assert "finds no address" in caught.value.message
    assert "the name server of this machine" in caught.value.advice
    assert "whole file was uploaded" not in caught.value.advice


def test_what_a_trial_cost_is_in_the_sum_of_the_run(serve: Serve, akool: Command) -> None:
    vendor = serve(media=True)
    with serve_files() as files:
        rows = [
            (name, files.add(f"{name}.mp4", film(length, fps=1))) for name, length in (("a", 4), ("b", 35))
        ]
        ran = akool("run", catalog(*rows), "--trial", "1", "--yes")

    assert ran.code == 0, ran.err
    spent = sum(job.credits for job in vendor.audit.jobs)
    assert spent == 10
    assert f"{spent:g} credits used" in ran.err


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({}, "pip install 'akool-async[media]'"),
        ({"pyvenv.cfg": "home = /usr\nuv = 0.9.1\n"}, "uv pip install 'akool-async[media]'"),
        ({"pyvenv.cfg": "home = /usr\n"}, "pip install 'akool-async[media]'"),
        ({"uv-receipt.toml": ""}, "uv tool install --force 'akool-async[cli,media]'"),
        ({"pipx_metadata.json": "{}"}, "pipx install --force 'akool-async[cli,media]'"),
    ],
)
def test_the_command_that_installs_an_extra_fits_where_the_program_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], command: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))

    assert install_command("media") == command


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--out", "videos.csv"), "videos.csv is not a folder"),
        (("--out", "videos.csv/results"), "videos.csv is not a folder"),
        (("--journal", "videos.csv/jobs.sqlite3"), "videos.csv is not a folder"),
        (("--out", "s3:///x", "--journal", "jobs.sqlite3"), "must be a bucket such as s3://bucket"),
        (("--out", "s3://Not a bucket/x", "--journal", "jobs.sqlite3"), "bucket"),
        (("--on-saved", "'"), "--on-saved"),
    ],
)
def test_a_plan_refuses_the_places_that_a_run_refuses(
    akool: Command, vendor: Sandbox, options: tuple[str, ...], said: str
) -> None:
    path = catalog(("talk", "https://example.com/talk.mp4"))

    planned, ran = akool("plan", path, *options), akool("run", path, "--yes", *options)

    assert (planned.code, ran.code) == (2, 2), planned.err + ran.err
    assert said in planned.err
    assert planned.err.splitlines()[-1] == ran.err.splitlines()[-1]
    assert "would be submitted" not in planned.out + planned.err
    assert vendor.audit.creates == ()


def test_a_url_or_a_folder_in_place_of_a_catalog_is_named(akool: Command, vendor: Sandbox) -> None:
    url = akool("run", "https://example.com/a.mp4", "--yes")
    Path("films").mkdir()
    folder = akool("plan", "films")

    assert (url.code, folder.code) == (2, 2)
    assert "https://example.com/a.mp4 is a URL, and a catalog is a file." in url.err
    assert "`akool-async translate URL --to ja` translates one video." in url.err
    assert "films: This is a folder, not a file." in folder.err


def test_a_country_in_place_of_a_language_is_recognised(akool: Command, vendor: Sandbox) -> None:
    told = akool("translate", "https://example.com/a.mp4", "--to", "jp,cn,xx", "--yes")

    assert told.code == 2
    assert "--to: The server has no language 'jp'. Did you mean 'ja'?" in told.err
    assert "--to: The server has no language 'cn'. Did you mean 'zh'?" in told.err
    assert "--to: The server has no language 'xx'. `akool-async languages` lists them." in told.err
    assert vendor.audit.creates == ()


def test_a_mistake_on_the_command_line_is_one_however_many_rows_there_are(
    akool: Command, vendor: Sandbox
) -> None:
    rows = "".join(f"https://example.com/{number}.mp4,{number}\n" for number in range(20))
    Path("many.csv").write_text(f"url,key\n{rows}", encoding="utf-8")
    Path("own.yaml").write_text(
        "defaults: {to: jp}\nvideos: [{url: https://example.com/a.mp4}]\n", encoding="utf-8"
    )
    table = akool("plan", "many.csv", "--to", "jp", "--from", "xx")
    own = akool("plan", "own.yaml")

    assert "2 mistakes." in table.err
    assert "  --from: The server has no language 'xx'." in table.err
    assert "  --to: The server has no language 'jp'. Did you mean 'ja'?" in table.err
    assert "--to" not in own.err


def test_a_plan_on_a_terminal_names_videos_and_one_file_of_each(akool: Command, vendor: Sandbox) -> None:
    Path("first.csv").write_text("url,to\nhttps://example.com/talk.mp4,ja\n", encoding="utf-8")
    rows = "https://example.com/a%20tour.mp4,ja\nhttps://example.com/talk.mp4,ja\n"
    Path("both.csv").write_text(f"url,to\n{rows}", encoding="utf-8")
    akool("run", "first.csv", "--yes")
    shown = on_terminal("plan", "both.csv", "--offline", columns=80)
    heading, tour, talk, *_ = (line.split() for line in shown.text.splitlines())

    assert heading == ["Video", "Language", "Now", "Credits", "Files"]
    assert (tour[:4], tour[-1]) == (["a", "tour.mp4", "ja", "new"], "a-tour.ja.mp4")
    assert (talk[:3], talk[-1]) == (["talk.mp4", "ja", "saved"], "results/talk.ja.mp4")
