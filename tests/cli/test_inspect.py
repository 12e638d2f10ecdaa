"""`akool-async inspect`: facts of videos and what the vendor would refuse, without an account."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.media.file_host import FileHost, Part, film

SIGNATURE = "X-Amz-Signature=canary-2c77d1f0aa"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("AKOOL_", "AWS_"))]:
        monkeypatch.delenv(name)


def test_several_videos_are_looked_into_at_once_and_told_in_their_order(
    akool: Command, files: FileHost
) -> None:
    good, long, silent = film(), film(61.0), film(audio=False)
    Path("here.mp4").write_bytes(good)
    size = len(good) + 300 * 2**20
    box = (300 * 2**20).to_bytes(4, "big") + b"free"
    urls = [
        files.add("long.mp4", long),
        f"{files.add('silent.mp4', silent)}?{SIGNATURE}",
        files.add_sparse("large.mp4", size, Part(0, good), Part(len(good), box)),
        files.add("page.mp4", b"<!DOCTYPE html><p>Sign in</p>"),
        files.add("a.pdf", b"%PDF-1.7\n"),
        f"{files.base_url}/gone.mp4",
    ]
    asked, sent = len(files.asked), files.sent
    told = akool("inspect", "here.mp4", *urls, "--allow-private", "--json")
    rows = json.loads(told.out)
    facts = [(row["verdict"], row["seconds"] and round(row["seconds"]), row["audio_codec"]) for row in rows]

    assert told.code == 1
    assert facts[:4] == [
        ("taken", 2, "aac"),
        ("refused", 61, "aac"),
        ("refused", 2, None),
        ("refused", 2, "aac"),
    ]
    assert [row["refusals"] for row in rows] == [
        [],
        ["61.00 s long, 60 s are allowed (code 1204)"],
        ["there is no audio track (code 1203)"],
        [f"{size:,} bytes, 314,572,800 are allowed (code 1207)"],
        ["This is a web page, not a video."],
        ["This is a PDF document, not a video."],
        [
            "The server answered HTTP 404: the URL has expired, is not public or leads to nothing.",
        ],
    ]
    assert all(1 <= row["requests"] <= 4 for row in rows[1:])
    assert sum(row["requests"] for row in rows) == len(files.asked) - asked
    assert sum(row["bytes_read"] for row in rows[:-1]) == files.sent - sent - len(b"none")
    assert rows[2]["video"] == f"{files.base_url}/silent.mp4?…"
    assert SIGNATURE not in told.out + told.err
    assert "7 videos: 6 would be refused." in told.err


def test_without_leave_no_address_of_this_machine_is_read(akool: Command, files: FileHost) -> None:
    before = len(files.asked)
    told = akool("inspect", files.add("private.mp4", film()))

    assert told.code == 1
    assert "is an address of this machine or a private network" in told.out
    assert len(files.asked) == before


@pytest.mark.parametrize(
    ("given", "verdict", "said"),
    [
        ("nowhere.mp4", "unknown", "No such file or directory"),
        ("pipe.mp4", "refused", "is a folder or a device, not a file"),
        (".", "refused", "is a folder or a device, not a file"),
        ("empty.mp4", "refused", "The file is empty."),
        ("ftp://host/a.mp4", "refused", "must be an absolute http:// or https:// URL"),
        ("s3://x", "refused", "must be an absolute http:// or https:// URL"),
        ("http://[::1", "refused", "must be an absolute http:// or https:// URL"),
        ("https:///a.mp4", "refused", "must be an absolute http:// or https:// URL"),
        ("https://host/a b.mp4", "refused", "A blank within a URL is written as %20"),
        ("https://youtu.be/abcdefghijk", "refused", "not a video"),
    ],
)
def test_what_is_no_video_is_told_as_what_it_is(akool: Command, given: str, verdict: str, said: str) -> None:
    os.mkfifo("pipe.mp4")
    Path("empty.mp4").touch()
    told = akool("inspect", given)

    assert told.code == 1
    assert told.out.split("\t")[1] == verdict
    assert said in told.out


def test_the_signature_of_a_mistyped_url_is_not_shown(akool: Command) -> None:
    for url in (f"https:/a.example/x.mp4?{SIGNATURE}", f"a.example/x.mp4?{SIGNATURE}"):
        told = akool("inspect", url)
        data = akool("inspect", "--json", url)

        assert "x.mp4" in told.out
        assert "canary" not in told.out + told.err + data.out + data.err


def test_limits_may_be_set_and_no_account_is_needed(akool: Command, files: FileHost) -> None:
    url = files.add("sharp.mp4", film(audio=False))
    told = akool("inspect", url, url, "--allow-private", "--allow-silent", "--max-seconds", 1)

    assert told.code == 1
    assert told.out.count("2.00 s long, 1 s are allowed") == 2
    assert akool("inspect", url, "--allow-private", "--allow-silent").code == 0


def test_without_a_video_it_says_so(akool: Command) -> None:
    told = akool("inspect")

    assert told.code == 2
    assert "No video is named" in told.err
