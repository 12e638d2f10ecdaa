"""Results in a bucket: the report says where they are, shows a copy, and never links with a signature."""

from __future__ import annotations

import json
from pathlib import Path

import obstore
import pytest

from akool_async import DownloadError
from akool_async._download import SavedFile
from akool_async._model.locations import BucketPath
from akool_async._model.outcomes import Artifact
from akool_async._storage import result_folder
from akool_async.sandbox import Sandbox
from tests.cli.conftest import Command, Told
from tests.report.conftest import akool, out, portal, quick, serve, vendor
from tests.storage.conftest import TestBucket, bucket, s3

__all__ = ["akool", "bucket", "out", "portal", "quick", "s3", "serve", "vendor"]


@pytest.fixture
def place(bucket: TestBucket, tmp_path: Path) -> list[object]:
    return ["--out", f"{bucket.url}/done", "--journal", tmp_path / "work" / "jobs.sqlite3"]


@pytest.fixture
def ran(akool: Command, vendor: Sandbox, quick: None, place: list[object], tmp_path: Path) -> Told:
    (tmp_path / "work").mkdir()
    words = ["https://example.com/talk.mp4", "--to", "ja", "--key", "talk", "--names", "{language}/{key}"]
    return akool("translate", *words, "--yes", *place)


def page_of(tmp_path: Path) -> str:
    (page,) = (tmp_path / "work" / "report").glob("video-*.html")
    return page.read_text(encoding="utf-8")


def test_a_result_in_a_bucket_is_named_and_a_command_copies_and_shows_it(
    akool: Command, ran: Told, bucket: TestBucket, place: list[object], tmp_path: Path
) -> None:
    before = page_of(tmp_path)
    pull = akool("captions", "pull", *place)
    told = akool("report", "--copies", *place)
    after = page_of(tmp_path)
    again = akool("report", "--copies", *place)

    assert ran.code == 0, ran.err
    assert f"<bdi>{bucket.url}/done/ja/talk.mp4</bdi>" in before
    assert f"akool-async report --out {bucket.url}/done --journal" in before
    assert "jobs.sqlite3 --copies</code>" in before
    assert before.count("<video") == 1  # the original
    assert (pull.code, "report --copies" in pull.err) == (2, True)
    assert told.code == 0, told.err
    assert (tmp_path / "work" / "ja" / "talk.mp4").read_bytes() == bucket.content("done/ja/talk.mp4")
    assert 'src="../ja/talk.mp4"' in after
    assert "--copies" not in after
    assert 'class="transcript"' in after
    assert "copied" not in again.err
    assert akool("captions", "pull", *place).code == 0
    for text in (before, after):
        assert "Signature" not in text
        assert "X-Amz" not in text


def test_what_was_changed_in_the_bucket_is_not_copied(
    akool: Command, ran: Told, bucket: TestBucket, place: list[object], tmp_path: Path
) -> None:
    obstore.put(bucket.store, "done/ja/talk.mp4", b"something else")
    told = akool("report", "--copies", *place)

    assert (told.code, "is not what was saved" in told.err) == (1, True)
    assert list((tmp_path / "work" / "ja").iterdir()) == []


def test_what_is_there_already_is_left_alone(
    akool: Command, ran: Told, place: list[object], tmp_path: Path
) -> None:
    here = tmp_path / "work" / "ja" / "talk.srt"
    here.parent.mkdir()
    here.write_text("mine")
    told = akool("report", "--copies", *place)

    assert told.code == 0, told.err
    assert here.read_text() == "mine"
    assert here.with_suffix(".mp4").exists()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not list open files")
def test_a_copy_that_is_cut_leaves_no_file_open_and_no_part(bucket: TestBucket, tmp_path: Path) -> None:
    folder = result_folder(f"{bucket.url}/done", None)
    gone = SavedFile(artifact=Artifact.VIDEO, path=BucketPath(f"{bucket.url}/done/gone.mp4"))
    before = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(5):
        with pytest.raises(DownloadError):
            folder._fetch(gone, tmp_path / "gone.mp4")  # type: ignore[attr-defined]

    assert len([*Path("/proc/self/fd").iterdir()]) < before + 5
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("folder", [(), ("--out", "elsewhere")])
def test_results_in_a_bucket_are_not_called_gone_where_no_bucket_is_named(
    akool: Command,
    ran: Told,
    bucket: TestBucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folder: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    journal = ("--journal", "work/jobs.sqlite3", *folder)

    status = json.loads(akool("status", *journal, "--json").out)
    listed = json.loads(akool("list", *journal, "--json").out)

    assert (status["counts"]["saved"], status["counts"]["files gone"]) == (len(listed), 0)
    assert status["next_steps"] == []
    assert {(one["state"], one["advice"]) for one in listed} == {("saved", "")}
    assert all(file.startswith(f"{bucket.url}/done/") for one in listed for file in one["files"])
