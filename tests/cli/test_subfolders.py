"""Results in folders of their own, `--names '{language}/{key}'`: planned, saved, listed and moved."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from akool_async._storage.results import LocalFolder
from akool_async.sandbox import Sandbox
from tests.cli.conftest import Command
from tests.cli.test_run import URL, catalog

pytestmark = pytest.mark.usefixtures("in_a_folder", "quick")
NAMES = ("--names", "{language}/{key}")
ENDINGS = (".json", ".mp4", ".original.srt", ".srt")


def two_videos() -> Path:
    return catalog(f"{URL}/1.mp4,ja fr,one", f"{URL}/2.mp4,ja,a/../b", header="url,languages,key")


def files_below(folder: Path) -> set[str]:
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith(("jobs.sqlite3", "report/"))}


EXPECTED = {f"{name}{ending}" for name in ("ja/one", "fr/one", "ja/a-..-b") for ending in ENDINGS}


def test_each_language_gets_a_folder_and_all_commands_find_the_files(akool: Command, vendor: Sandbox) -> None:
    path = two_videos()
    planned = akool("plan", path, *NAMES, "--json")
    ran = akool("run", path, *NAMES, "--yes", "--report")
    listed = json.loads(akool("list", "--json").out)
    verified = akool("verify")
    pulled = akool("captions", "pull")

    assert ran.code == 0, ran.err
    assert files_below(Path("results")) - {name for name in EXPECTED if name.endswith(".srt")} >= {
        name for name in EXPECTED if not name.endswith(".srt")
    }
    assert {job["files"][0] for job in json.loads(planned.out)["jobs"]} == {
        name for name in EXPECTED if name.endswith(".mp4")
    }
    assert {Path(one["files"][0]).relative_to("results").as_posix() for one in listed} == {
        name for name in EXPECTED if name.endswith(".mp4")
    }
    assert {one["state"] for one in listed} == {"saved"}
    assert "of 3 results in results: all as they were saved" in verified.err
    assert "../ja/one.mp4" in "".join(page.read_text() for page in Path("results/report").glob("*.html"))
    assert pulled.code == 0
    assert Path("results/captions/ja/one.srt").exists()
    assert Path("results/captions/fr/one.srt").exists()
    assert len(vendor.audit.jobs) == 3


def test_a_second_run_and_a_moved_folder_pay_for_nothing(akool: Command, vendor: Sandbox) -> None:
    path = two_videos()
    assert akool("run", path, *NAMES, "--yes").code == 0
    before = files_below(Path("results"))
    Path("results").rename("archive")
    planned = akool("plan", path, *NAMES, "--out", "archive", "--json")
    listed = json.loads(akool("list", "archive", "--json").out)
    again = akool("run", path, *NAMES, "--out", "archive", "--yes")

    assert {job["action"] for job in json.loads(planned.out)["jobs"]} == {"saved"}
    assert {one["state"] for one in listed} == {"saved"}
    assert again.code == 0
    assert len(vendor.audit.jobs) == 3
    assert files_below(Path("archive")) == before


def test_another_entrys_file_of_the_same_last_name_is_no_result_of_this_one(
    akool: Command, vendor: Sandbox
) -> None:
    path = two_videos()
    assert akool("run", path, *NAMES, "--yes").code == 0
    Path("results").rename("archive")
    for ending in ENDINGS:
        Path(f"archive/ja/one{ending}").replace(f"archive/one{ending}")
    listed = json.loads(akool("list", "archive", "--json").out)

    gone = {(one["key"], one["target"]) for one in listed if one["state"] == "files gone"}
    assert gone == {("one", "ja")}


def test_what_was_deleted_is_found_and_fetched_again_into_its_folder(akool: Command, vendor: Sandbox) -> None:
    path = two_videos()
    assert akool("run", path, *NAMES, "--yes").code == 0
    before = Path("results/ja/one.mp4").read_bytes()
    Path("results/ja/one.mp4").unlink()
    found = akool("verify")
    fixed = akool("verify", "--fix")

    assert found.code == 1
    assert "results/ja/one.mp4\tmissing" in found.out
    assert fixed.code == 0, fixed.err
    assert Path("results/ja/one.mp4").read_bytes() == before
    assert len(vendor.audit.jobs) == 3


def test_results_of_a_lost_journal_are_not_paid_again(akool: Command, vendor: Sandbox) -> None:
    path = two_videos()
    assert akool("run", path, *NAMES, "--yes").code == 0
    planned = akool("plan", path, *NAMES, "--journal", "other.sqlite3", "--json")
    akool("run", path, *NAMES, "--journal", "other.sqlite3", "--yes")

    assert {job["action"] for job in json.loads(planned.out)["jobs"]} == {"found"}
    assert len(vendor.audit.jobs) == 3


@pytest.mark.parametrize("names", ["../{key}", "/tmp/{key}", "{language}/../../{key}", "~/{key}", "a//{key}"])
def test_names_that_lead_elsewhere_are_a_mistake(akool: Command, vendor: Sandbox, names: str) -> None:
    ran = akool("run", two_videos(), "--names", names, "--yes")

    assert ran.code == 2
    assert "--names" in ran.err
    assert "below the folder of the results" in " ".join(ran.err.split())
    assert vendor.audit.creates == ()


def test_two_entries_with_one_name_are_told_before_anything_is_paid(akool: Command, vendor: Sandbox) -> None:
    path = catalog(f"{URL}/a/talk.mp4,ja,x", f"{URL}/b/TALK.mp4,ja,y", header="url,languages,key")
    names = ("--names", "{language}/{stem}")
    planned = akool("plan", path, *names)

    assert vendor.audit.creates == ()
    said = " ".join(planned.err.split())
    assert "videos.csv:3: 'ja/TALK' is taken by videos.csv:2, so it becomes 'ja/TALK-" in said
    assert akool("run", path, *names, "--yes").code == 0
    saved = {name for name in files_below(Path("results")) if name.endswith(".mp4")}
    assert "ja/talk.mp4" in saved
    assert {name for name in saved if name.startswith("ja/TALK-")} == saved - {"ja/talk.mp4"}
    assert len(saved) == 2


def test_a_file_where_a_folder_should_be_is_told_before_anything_is_paid(
    akool: Command, vendor: Sandbox
) -> None:
    Path("results").mkdir()
    Path("results/ja").write_text("a note")
    ran = akool("run", two_videos(), *NAMES, "--yes")

    assert ran.code != 0
    assert "results/ja is a file, and results are to be saved in a folder of that name" in " ".join(
        ran.err.split()
    )
    assert Path("results/ja").read_text() == "a note"
    assert {job.language for job in vendor.audit.jobs} <= {"fr"}


def test_results_may_have_a_folder_of_their_own_in_one_that_is_read_only(
    akool: Command, vendor: Sandbox, read_only: Callable[[Path], None]
) -> None:
    for language in ("ja", "fr"):
        Path("results", language).mkdir(parents=True)
    read_only(Path("results"))
    options = (*NAMES, "--journal", "journal/jobs.sqlite3", "--no-report")
    planned = akool("plan", two_videos(), *options)
    ran = akool("run", two_videos(), *options, "--yes")

    assert (planned.code, ran.code) == (0, 0), planned.err + ran.err
    assert {name for name in EXPECTED if name.endswith(".mp4")} <= files_below(Path("results"))
    assert len(vendor.audit.jobs) == 3


@pytest.mark.parametrize("folder", ["results/ja", "results"])
def test_a_plan_asks_once_about_each_folder_of_names_that_may_be_read_only(
    akool: Command,
    vendor: Sandbox,
    read_only: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    folder: str,
) -> None:
    Path("results/ja" if folder == "results/ja" else "results").mkdir(parents=True)
    read_only(Path(folder))
    asked: list[str] = []
    usual = LocalFolder.check_writable

    def check(results: LocalFolder, name: str) -> None:
        asked.append(name)
        usual(results, name)

    monkeypatch.setattr(LocalFolder, "check_writable", check)
    options = (*NAMES, "--journal", "journal/jobs.sqlite3")
    planned = akool("plan", two_videos(), *options)
    told = asked.copy()
    ran = akool("run", two_videos(), *options, "--yes")

    assert (planned.code, ran.code) == (2, 2)
    assert f"Nothing can be saved in results/ja: {folder} is read-only." in " ".join(planned.err.split())
    assert told == ["ja/one", "fr/one"]
    assert vendor.audit.creates == ()


def test_a_name_that_is_too_long_as_a_whole_is_told_by_the_plan(akool: Command, vendor: Sandbox) -> None:
    path = catalog(f"{URL}/1.mp4,ja,{'k' * 90}", f"{URL}/2.mp4,ja,short", header="url,languages,key")
    names, deep = ("--names", "{key}/{key}/{key}/{key}"), Path("/", *["d" * 250] * 15).joinpath("e" * 80)
    for command in ("plan", "run"):
        told = akool(command, path, *names, "--out", deep, "--journal", "j.sqlite3")
        said = " ".join(told.err.split())
        assert told.code == 2
        assert "1 mistake" in said
        assert "videos.csv:2" in said
        assert "which is too long there" in said
    assert vendor.audit.creates == ()


@pytest.mark.parametrize("to", [None, "review"])
def test_subtitles_in_folders_are_corrected_and_pushed_beside_the_first_result(
    akool: Command, vendor: Sandbox, to: str | None
) -> None:
    keyed = catalog(f"{URL}/1.mp4,ja fr,one", header="url,languages,key")
    assert akool("run", keyed, *NAMES, "--caption", "target", "--yes").code == 0
    pulled = akool("captions", "pull", *(["--to", to] if to else []))
    laid_out = Path(to or "results/captions")
    corrected = laid_out / "ja/one.srt"
    corrected.write_text(
        corrected.read_text(encoding="utf-8").replace("/1.mp4", "Phrase 1"), encoding="utf-8"
    )
    relaxed = ["--max-speed", "100", "--max-line", "100"]
    checked = akool(*next_command(pulled.err, "check"), *relaxed)
    pushed = akool(*next_command(checked.err, "push"), "--caption-url", "https://example.com/1.srt", "--yes")

    assert checked.code == 0, checked.out
    assert pushed.code == 0, pushed.err
    assert Path("results/ja/one.captions-2.ja.mp4").exists()
    assert "Phrase 1" in corrected.read_text(encoding="utf-8")
    assert (vendor.audit.creates[-1].payload or {})["caption_url"] == "https://example.com/1.srt"
    assert not list(Path("results").glob("one*"))


def next_command(said: str, verb: str) -> list[str]:
    """Return the words of the command that a command says is next."""
    (line,) = [line for line in said.splitlines() if f"akool-async captions {verb}" in line]
    return shlex.split(line)[1:]


@pytest.mark.parametrize(
    "names", [("talk_japanese", "talk_french", "dubbed"), ("japanese/talk", "", "lips/a")]
)
def test_rows_of_one_key_keep_the_names_that_each_has_in_the_plan(
    akool: Command, vendor: Sandbox, names: tuple[str, str, str]
) -> None:
    ja, fr, dubbed = names
    path = catalog(
        f"{URL}/a.mp4,ja,talk,{ja},",
        f"{URL}/a.mp4,fr,talk,{fr},",
        f"{URL}/a.mp4,,talk,{dubbed},{URL}/a.mp3",
        header="url,languages,key,name,audio_url",
    )
    planned = akool("plan", path, "--json")
    ran = akool("run", path, "--yes")
    listed = json.loads(akool("list", "--json").out)

    assert ran.code == 0, ran.err
    told = {job["target"]: job["files"][0] for job in json.loads(planned.out)["jobs"]}
    saved = {one["target"]: Path(one["files"][0]).relative_to("results").as_posix() for one in listed}
    assert saved == told
    assert len(set(told.values())) == 3
