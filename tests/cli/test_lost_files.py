"""Files that are gone, changed or not verified are never called saved, and can be had again."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from akool_async import (
    AkoolClient,
    FixedSchedule,
    TranslationRequest,
    open_batch,
    open_journal,
    verify,
)
from akool_async._download import find_file
from akool_async._model.outcomes import Completed, Failed, Saved
from akool_async._model.states import State
from akool_async.cli.options import OutputOptions
from akool_async.cli.progress import RunProgress
from akool_async.cli.run_summary import OutcomeCounts, RunSummary, outcome_label
from akool_async.sandbox import Fault, Sandbox
from tests.cli.conftest import Book, Command
from tests.cli.terminal import on_terminal
from tests.model.test_outcomes import ended

pytestmark = pytest.mark.usefixtures("quick")
RUN = ["translate", "https://example.com/talk.mp4", "--key", "talk", "--to", "ja,fr,de", "--yes"]


def order_of(book: Book) -> Path:
    """Return a catalog of what is in the journal."""
    path = book.out / "talks.csv"
    path.write_text('url,key,languages\nhttps://example.com/talk.mp4,talk,"ja,fr,de"\n')
    return path


@pytest.fixture
def saved(akool: Command, vendor: Sandbox, book: Book) -> Book:
    """Three results: one whole, one of which a file was deleted, one of which a file was changed."""
    assert akool(*RUN, "--out", book.out).code == 0
    (book.out / "talk.fr.mp4").unlink()
    with (book.out / "talk.de.mp4").open("ab") as file:
        file.write(b"more")
    return book


def test_a_file_that_is_gone_is_not_called_saved(akool: Command, saved: Book) -> None:
    listed = {one["target"]: one for one in json.loads(akool("list", saved.out, "--json").out)}
    told = akool("status", "--out", saved.out)
    seen = json.loads(akool("status", "--out", saved.out, "--json").out)
    plan = akool("plan", *RUN[1:2], "--out", saved.out)

    assert (listed["ja"]["state"], listed["fr"]["state"]) == ("saved", "files gone")
    assert "collect" in listed["fr"]["advice"]
    assert "1  saved before, but files are not there any more\n" in told.out
    assert f"akool-async collect --out {saved.out}" in seen["next_steps"]
    assert (seen["counts"]["saved"], seen["counts"]["files gone"]) == (2, 1)
    assert plan.code == 2


def test_a_link_to_a_file_that_is_gone_is_not_called_saved(
    akool: Command, vendor: Sandbox, book: Book, tmp_path: Path
) -> None:
    """As where videos were moved to another disk, and that is not mounted."""
    assert akool(*RUN, "--out", book.out).code == 0
    disk = tmp_path / "disk"
    disk.mkdir()
    for language in ("ja", "fr"):
        video = book.out / f"talk.{language}.mp4"
        shutil.move(video, disk)
        video.symlink_to(disk / video.name)
    (disk / "talk.fr.mp4").unlink()
    listed = {one["target"]: one["state"] for one in json.loads(akool("list", book.out, "--json").out)}
    status = json.loads(akool("status", book.out, "--json").out)
    plan = akool("plan", order_of(book), "--out", book.out)

    assert listed == {"ja": "saved", "fr": "files gone", "de": "saved"}
    assert (status["counts"]["saved"], status["counts"]["files gone"]) == (2, 1)
    assert "1  files are gone: would be saved again" in plan.err
    assert f"akool-async collect --out {book.out}" in status["next_steps"]


def test_a_file_is_found_where_its_folder_was_copied_to_though_a_link_was_left(tmp_path: Path) -> None:
    copied, left = tmp_path / "new" / "talk.mp4", tmp_path / "old" / "talk.mp4"
    for file in (copied, left):
        file.parent.mkdir()
    copied.write_bytes(b"video")
    left.symlink_to(tmp_path / "nowhere")

    assert find_file(str(left), copied.parent, "talk") == copied


def test_verify_names_what_is_not_as_it_was_saved(akool: Command, saved: Book) -> None:
    told = akool("verify", "--out", saved.out)
    every = json.loads(akool("verify", "--out", saved.out, "--json").out)
    found = {Path(line.split("\t")[0]).name: line.split("\t")[1] for line in told.out.splitlines()}

    assert told.code == 1
    assert found == {"talk.de.mp4": "changed", "talk.fr.mp4": "missing"}
    assert f"akool-async verify --fix --out {saved.out}" in told.err
    assert {Path(one["path"]).name for one in every} >= {"talk.ja.mp4", *found}
    assert {one["key"] for one in every} == {"talk"}


def test_a_change_that_keeps_the_size_is_found_by_reading(
    akool: Command, vendor: Sandbox, book: Book
) -> None:
    akool(*RUN, "--out", book.out)
    content = bytearray((book.out / "talk.ja.mp4").read_bytes())
    content[-1] ^= 1
    (book.out / "talk.ja.mp4").write_bytes(content)

    assert akool("verify", "--out", book.out, "--quick").code == 0
    assert akool("verify", "--out", book.out).code == 1

    fixed = akool("verify", "--out", book.out, "--fix")

    assert fixed.code == 0  # the changed file is kept; the result is whole beside it
    assert "talk ja: downloaded again" in fixed.err
    (whole,) = book.out.glob("talk.ja-*.mp4")
    assert whole.read_bytes() == content[:-1] + bytes([content[-1] ^ 1])
    assert len(vendor.audit.jobs) == 3


@pytest.mark.parametrize("all_of_it", [True, False])
def test_what_was_deleted_is_downloaded_again_on_demand(
    akool: Command, vendor: Sandbox, book: Book, all_of_it: bool
) -> None:
    akool(*RUN, "--out", book.out)
    content = (book.out / "talk.ja.mp4").read_bytes()
    for path in list(book.out.glob("talk.ja.*" if all_of_it else "talk.ja.mp4")):
        path.unlink()

    assert akool("verify", "--out", book.out, "--fix").code == 0
    assert (book.out / "talk.ja.mp4").read_bytes() == content
    assert len(vendor.audit.jobs) == 3


def test_a_video_that_could_not_be_verified_ends_a_run_with_code_1(
    akool: Command, vendor: Sandbox, out: Path
) -> None:
    vendor.faults.add(Fault(on="cdn", kind="truncated", keep=0.5))

    ended = akool(*RUN, "--out", out, "--json")
    outcomes = [event for event in map(json.loads, ended.out.splitlines()) if event["event"] == "ended"]

    assert ended.code == 1
    assert {event["outcome"] for event in outcomes} == {"unverified"}
    assert all(event["unverified"]["video"] for event in outcomes)
    assert "could not be verified" in ended.err
    assert akool("verify", "--out", out).code == 1


def test_collect_saves_again_what_is_gone_or_changed_and_pays_nothing(
    akool: Command, saved: Book, vendor: Sandbox
) -> None:
    posts = len(vendor.audit.creates)
    told = akool("collect", "--out", saved.out)

    changed = json.loads(akool("list", saved.out, "--language", "de", "--json").out)[0]["files"][0]

    assert told.code == 0, told.err
    assert len(vendor.audit.creates) == posts
    assert (saved.out / "talk.fr.mp4").exists()
    assert (saved.out / "talk.de.mp4").read_bytes() == Path(changed).read_bytes() + b"more"
    assert akool("verify", "--out", saved.out).out == ""
    assert "is ready to be saved" in akool("collect", "--out", saved.out).err
    assert json.loads(akool("status", "--out", saved.out, "--json").out)["counts"]["files gone"] == 0


def test_results_may_be_moved_with_their_folder(akool: Command, vendor: Sandbox, book: Book) -> None:
    akool(*RUN, "--out", book.out)
    moved = book.out.rename(book.out.with_name("elsewhere"))

    assert {one["state"] for one in json.loads(akool("list", moved, "--json").out)} == {"saved"}
    assert akool("verify", "--out", moved).code == 0


def test_a_copied_folder_has_to_be_whole_by_itself(akool: Command, vendor: Sandbox, book: Book) -> None:
    akool(*RUN, "--caption", "translated", "--out", book.out)
    posts, copy = len(vendor.audit.creates), book.out.with_name("copy")
    shutil.copytree(book.out, copy, ignore=shutil.ignore_patterns("*.lock"))
    (copy / "talk.fr.mp4").unlink()
    (copy / "talk.ja.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nin the copy\n", encoding="utf-8")

    listed = {one["target"]: one for one in json.loads(akool("list", copy, "--json").out)}
    assert listed["fr"]["state"] == "files gone"
    assert {Path(file).parent for one in listed.values() for file in one["files"]} == {copy}
    assert json.loads(akool("status", "--out", copy, "--json").out)["counts"]["files gone"] == 1
    akool("captions", "pull", "talk", "--language", "ja", "--out", copy, "--to", book.out.with_name("pulled"))
    pulled = [path.read_text(encoding="utf-8") for path in book.out.with_name("pulled").rglob("*.srt")]
    assert any("in the copy" in text for text in pulled)
    akool("report", "--out", copy)
    page = (copy / "report" / "index.html").read_text(encoding="utf-8")
    assert f"../{book.out.name}/" not in page

    again = akool(*RUN, "--caption", "translated", "--out", copy)
    assert again.code == 0, again.err
    assert (copy / "talk.fr.mp4").read_bytes() == (book.out / "talk.fr.mp4").read_bytes()
    assert len(vendor.audit.creates) == posts


def test_a_file_that_was_saved_without_its_folders_is_found(tmp_path: Path) -> None:
    (tmp_path / "talk.mp4").touch()

    assert find_file(str(tmp_path / "talk.mp4"), tmp_path / "out", "ja/talk") == tmp_path / "talk.mp4"


def test_relative_paths_of_a_journal_count_from_the_folder_of_its_results(
    akool: Command, vendor: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert akool(*RUN, "--out", "r").code == 0
    elsewhere = tmp_path / "other"
    shutil.copytree("r", elsewhere / "r", ignore=shutil.ignore_patterns("jobs.*"))
    Path("r/talk.ja.mp4").unlink()
    Path("catalog.csv").write_text(f"url,key,to\n{RUN[1]},talk,ja fr de\n", encoding="utf-8")
    monkeypatch.chdir(elsewhere)  # where the same relative paths lead to other files

    status = json.loads(akool("status", "../r", "--json").out)
    listed = {one["target"]: one for one in json.loads(akool("list", "../r", "--json").out)}
    plan = json.loads(akool("plan", "../catalog.csv", "--out", "../r", "--json").out)["jobs"]
    restored = akool("collect", "../r")

    assert (status["counts"]["saved"], status["counts"]["files gone"]) == (2, 1)
    assert listed["ja"]["state"] == "files gone"
    files = [Path(file) for one in [*listed.values(), *plan] for file in one["files"]]
    assert {file.parent for file in files} == {Path("../r")}
    assert {job["target"]: job["action"] for job in plan}["ja"] == "files gone", plan
    assert restored.code == 0, restored.err
    assert (tmp_path / "r" / "talk.ja.mp4").exists()
    assert akool("verify", "../r").code == 0


def test_a_journal_that_is_named_without_its_folder_knows_relative_paths(
    akool: Command, vendor: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    akool(*RUN, "--out", "r")

    listed = json.loads(akool("list", "r/jobs.sqlite3", "--json").out)

    assert {one["state"] for one in listed} == {"saved"}


def test_results_beside_a_journal_that_is_named_alone_are_found_from_anywhere(
    akool: Command, vendor: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    akool(*RUN, "--out", "r")
    Path("r/talk.fr.mp4").unlink()
    monkeypatch.chdir(tmp_path)

    listed = {one["target"]: one for one in json.loads(akool("list", "a/r/jobs.sqlite3", "--json").out)}
    status = json.loads(akool("status", "--journal", "a/r/jobs.sqlite3", "--json").out)

    assert {one["state"] for target, one in listed.items() if target != "fr"} == {"saved"}
    assert {Path(file).parent for file in listed["ja"]["files"]} == {Path("a/r")}
    assert listed["fr"]["state"] == "files gone"
    assert (status["counts"]["saved"], status["counts"]["files gone"]) == (2, 1)


def test_a_manifest_that_was_deleted_alone_takes_no_video_away(
    akool: Command, vendor: Sandbox, book: Book
) -> None:
    Path("catalog.csv").write_text(f"url,key,to\n{RUN[1]},talk,ja fr de\n", encoding="utf-8")
    assert akool("run", "catalog.csv", "--yes", "--out", book.out).code == 0
    (book.out / "talk.ja.json").unlink()

    listed = {one["target"]: one for one in json.loads(akool("list", book.out, "--json").out)}
    status = akool("status", book.out)
    seen = json.loads(akool("status", book.out, "--json").out)
    plan = json.loads(akool("plan", "catalog.csv", "--out", book.out, "--json").out)["jobs"]
    told = akool("verify", book.out)

    assert {one["state"] for one in listed.values()} == {"saved"}
    assert "Its manifest is gone" in listed["ja"]["advice"]
    assert f"verify --fix --out {book.out}" in listed["ja"]["advice"]
    assert listed["fr"]["advice"] == ""
    assert "1  of the saved without their manifest" in status.out
    assert (seen["counts"]["saved"], seen["without_manifest"]) == (3, 1)
    assert {job["action"] for job in plan} == {"saved"}
    assert [line.split("\t")[:3] for line in told.out.splitlines()] == [
        [
            str(book.out / "talk.ja.json"),
            "missing",
            "it was deleted or moved, and nothing else says what the other files were",
        ]
    ]
    assert akool("verify", "--fix", book.out).code == 0
    assert json.loads(akool("status", book.out, "--json").out)["without_manifest"] == 0
    assert len(vendor.audit.creates) == 1


def test_a_copy_beside_the_original_is_looked_at_by_itself(
    akool: Command, vendor: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    akool(*RUN, "--out", "r")
    shutil.copytree("r", "copy", ignore=shutil.ignore_patterns("*.lock"))
    for path in Path("copy").glob("talk.ja.*"):
        path.unlink()

    listed = {one["target"]: one["state"] for one in json.loads(akool("list", "copy", "--json").out)}

    assert listed == {"ja": "files gone", "fr": "saved", "de": "saved"}
    assert akool("verify", "copy").code == 1


def test_what_is_saved_again_beside_a_changed_file_is_told_once(akool: Command, saved: Book) -> None:
    fixed = akool("verify", "--fix", "--out", saved.out)
    told = akool("verify", "--out", saved.out)

    assert (fixed.code, told.code) == (0, 0), fixed.err + told.err
    assert "3 results" in told.err


def test_what_is_saved_again_is_named_and_called_by_its_key(
    akool: Command, vendor: Sandbox, book: Book
) -> None:
    akool("translate", "https://example.com/n-1.mp4", "--key", "n1", "--to", "fr", "--yes", "--out", book.out)
    (book.out / "n1.fr.mp4").write_bytes(b"edited")

    fixed = akool("verify", "--fix", "--out", book.out)
    (again,) = book.out.glob("*.fr-*.mp4")

    assert fixed.code == 0
    assert again.name.startswith("n1.fr-")
    assert f"n1 fr: downloaded again: {again}\n" in fixed.err


def test_what_is_left_beside_a_result_that_is_saved_again_is_named(
    akool: Command, saved: Book, vendor: Sandbox
) -> None:
    """Nobody would know of the changed file, which may be somebody's work, nor of those beside it."""
    fixed = akool("verify", "--fix", "--out", saved.out)
    again = akool("verify", "--fix", "--out", saved.out)

    (line,) = [line for line in fixed.err.splitlines() if "left beside it" in line]
    before, _, names = line.partition("): ")
    assert "because they may have been edited (video: it has" in before
    left = names.split(", ")
    assert str(saved.out / "talk.de.mp4") in left
    assert all(Path(name).exists() and Path(name).name.startswith("talk.de.") for name in left)
    assert "left beside it" not in again.err


def test_what_could_not_be_had_again_is_not_called_downloaded(
    akool: Command, vendor: Sandbox, book: Book
) -> None:
    akool(*RUN, "--caption", "translated", "--out", book.out)
    (book.out / "talk.fr.srt").unlink()
    vendor.faults.add(Fault(on="status", kind="vanish"))

    fixed = akool("verify", "--fix", "--out", book.out)

    assert fixed.code == 1
    assert "downloaded again" not in fixed.err
    assert "talk fr: not downloaded whole. The translated_srt: it was deleted or moved\n" in fixed.err


def test_a_folder_that_can_not_be_read_is_named(akool: Command, out: Path) -> None:
    told = akool("verify", "--out", out)

    assert told.code == 1
    assert f"{out} can't be read: No such file or directory." in told.err


def test_verify_fits_a_terminal(saved: Book) -> None:
    told = on_terminal("verify", "--out", saved.out, columns=60)

    assert told.code == 1
    assert "changed" in told.text


def test_a_result_that_could_not_be_verified_is_no_success(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    result = attrs.evolve(
        ended(Completed),
        saved=Saved(
            video=tmp_path / "talk.ja.mp4",
            unverified={"video": "it ends within a box"},
            missing={"translated_srt": "it is empty"},
        ),
    )
    counts = OutcomeCounts(expected=1)
    counts.add(result)
    summary = RunSummary(counts=counts, output=OutputOptions(out=tmp_path))
    RunProgress({}, drawn=False).entry_ended(result)
    shown = capfd.readouterr().err

    assert outcome_label(result) == "unverified"
    assert summary.code == 1
    assert "  1 saved, but could not be verified: watch them before they expire" in list(summary.lines())
    assert "video: it ends within a box" in shown
    assert "translated_srt: it is empty" in shown


@pytest.mark.parametrize("expected", [1, 2])
def test_a_result_without_its_subtitles_is_a_success_that_says_so(expected: int, tmp_path: Path) -> None:
    saved = Saved(video=tmp_path / "talk.ja.mp4", missing={"translated_srt": "it is empty"})
    counts = OutcomeCounts(expected=expected)
    for _ in range(expected):
        counts.add(attrs.evolve(ended(Completed), saved=saved))
    summary = RunSummary(counts=counts, output=OutputOptions(out=tmp_path))
    lines = list(summary.lines())

    assert summary.code == 0
    assert f"  {expected} without a file that belongs to the video, such as subtitles." in lines
    assert f"    akool-async verify --fix --out {tmp_path}" in lines


def test_one_translation_that_is_not_saved_is_told_in_good_english(tmp_path: Path) -> None:
    counts = OutcomeCounts(expected=1)
    counts.add(ended(Failed))

    lines = RunSummary(counts=counts, output=OutputOptions(out=tmp_path)).lines()
    assert next(lines).startswith("It is not saved")


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def broken(path: Path) -> None:
    path.write_bytes(b"\xff{")


@pytest.mark.parametrize(
    ("manifest", "video", "options"),
    [
        (Path.unlink, None, ()),
        (Path.unlink, emptied, ()),
        (broken, None, ()),
        (broken, Path.unlink, ()),
        (emptied, emptied, ("--quick",)),
        (Path.unlink, None, ("--quick",)),
    ],
)
def test_without_its_manifest_a_result_is_damaged_and_can_be_had_again(
    akool: Command,
    vendor: Sandbox,
    book: Book,
    manifest: Callable[[Path], object],
    video: Callable[[Path], object] | None,
    options: tuple[str, ...],
) -> None:
    akool(*RUN, "--out", book.out)
    whole = (book.out / "talk.ja.mp4").read_bytes()
    manifest(book.out / "talk.ja.json")
    if video is not None:
        video(book.out / "talk.ja.mp4")

    told = akool("verify", book.out, *options)
    rows = json.loads(akool("verify", book.out, "--json", *options).out)
    fixed = akool("verify", book.out, "--fix", *options)
    again = akool("verify", book.out, *options)
    files = json.loads(akool("list", book.out, "--language", "ja", "--json").out)[0]["files"]

    damaged = {(row["key"], row["target"], row["artifact"]) for row in rows if row["state"] != "intact"}
    assert told.code == 1
    assert "of 3 results" in told.err
    assert damaged == {("talk", "ja", name) for name in ("manifest", *["video"] * (video is not None))}
    assert (fixed.code, again.code) == (0, 0), fixed.err + again.err
    assert Path(files[0]).read_bytes() == whole
    assert len(vendor.audit.creates) == 1


@pytest.mark.parametrize("lost", ["talk.ja.*", "talk.*"])
def test_results_of_which_nothing_is_left_are_missed(
    akool: Command, vendor: Sandbox, book: Book, lost: str
) -> None:
    akool(*RUN, "--out", book.out)
    for path in list(book.out.glob(lost)):
        path.unlink()

    told = akool("verify", book.out)

    assert told.code == 1
    assert "of 3 results" in told.err
    assert {line.split("\t")[1] for line in told.out.splitlines()} == {"missing"}
    assert akool("verify", book.out, "--fix").code == 0
    assert len(vendor.audit.creates) == 1


def test_an_empty_video_is_nowhere_called_saved(akool: Command, vendor: Sandbox, book: Book) -> None:
    akool(*RUN, "--out", book.out)
    whole = (book.out / "talk.ja.mp4").read_bytes()
    for name in ("talk.ja.json", "talk.ja.mp4"):
        emptied(book.out / name)

    listed = json.loads(akool("list", book.out, "--language", "ja", "--json").out)[0]
    status = json.loads(akool("status", book.out, "--json").out)
    collected = akool("collect", "--out", book.out)
    files = json.loads(akool("list", book.out, "--language", "ja", "--json").out)[0]["files"]

    assert listed["state"] == "files gone"
    assert status["counts"]["files gone"] == 1
    assert collected.code == 0, collected.err
    assert Path(files[0]).read_bytes() == whole


def test_a_folder_without_results_and_journal_is_not_called_whole(akool: Command, book: Book) -> None:
    book.out.mkdir()
    empty = akool("verify", book.out)
    book.enter(("talk", State.PLANNED))
    planned = akool("verify", book.out)
    book.path.unlink()
    gone = akool("verify", book.out)

    assert empty.code == 1
    assert "no journal says what was saved" in empty.err
    assert planned.code == 0
    assert gone.code == 1


def test_a_journal_that_can_not_be_read_keeps_no_file_from_being_verified(
    akool: Command, saved: Book
) -> None:
    (saved.path).write_bytes(b"no journal")
    told = akool("verify", saved.out)

    assert told.code == 1
    assert {Path(line.split("\t")[0]).name for line in told.out.splitlines()} == {
        "talk.de.mp4",
        "talk.fr.mp4",
    }
    assert str(saved.path) in told.err


@pytest.mark.parametrize("name", ["talk.ja.json", "talk.ja.mp4"])
@pytest.mark.parametrize("journal", [True, False])
def test_one_file_that_can_not_be_read_is_one_damaged_result(
    akool: Command, vendor: Sandbox, book: Book, monkeypatch: pytest.MonkeyPatch, name: str, journal: bool
) -> None:
    akool(*RUN, "--out", book.out)
    (book.out / "talk.fr.mp4").unlink()
    if not journal:
        for path in book.out.glob("jobs.sqlite3*"):
            path.unlink()
    usual = os.open

    def refuse(path: Any, *arguments: Any, **options: Any) -> int:
        if os.fspath(path) == str(book.out / name):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return usual(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    told = akool("verify", book.out)
    found = {Path(line.split("\t")[0]).name for line in told.out.splitlines()}

    assert told.code == 1
    assert found == {name, "talk.fr.mp4"}
    assert "of 3 results" in told.err


def test_one_folder_that_can_not_be_read_keeps_no_other_from_being_verified(
    akool: Command, vendor: Sandbox, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    akool(*RUN, "--names", "{language}/{key}", "--out", book.out)
    (book.out / "fr" / "talk.mp4").unlink()
    (book.out / "lost+found").mkdir()
    refuse_to_list("lost+found", monkeypatch)
    told = akool("verify", book.out)
    found = {Path(line.split("\t")[0]).name: line.split("\t")[2] for line in told.out.splitlines()}
    results = anyio.run(verify, book.out)

    assert told.code == 1
    assert found == {
        "talk.mp4": "it was deleted or moved",
        "lost+found": "this folder can't be read: Permission denied",
    }
    assert "1 folder can't be read, so what was saved there was not verified" in told.err
    assert len(results) == 4


def refuse_to_list(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no folder of this name be read, as root may read every other."""
    usual = os.scandir

    def refuse(path: Any = ".") -> Any:
        if Path(path).name == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return usual(path)

    monkeypatch.setattr(os, "scandir", refuse)


@pytest.mark.parametrize("saved", [False, True])
def test_what_can_not_be_read_is_not_called_verified(
    akool: Command, vendor: Sandbox, book: Book, monkeypatch: pytest.MonkeyPatch, saved: bool
) -> None:
    if saved:
        akool(*RUN, "--out", book.out)
    (book.out / "ja").mkdir(parents=True)
    refuse_to_list("ja", monkeypatch)
    told = akool("verify", book.out)

    assert told.code == 1
    assert "1 folder can't be read, so what was saved there was not verified. Correct" in told.err
    assert ("of 3 results" in told.err, "all as they were saved" in told.err) == (saved, saved)
    assert (f"Nothing in {book.out} could be verified." in told.err) is not saved
    assert "0 not as they were saved" not in told.err


CATALOG = "url,languages,key\nhttps://example.com/talk.mp4,ja,talk\n"


@pytest.fixture
def undownloaded(vendor: Sandbox, book: Book) -> Book:
    """A result of a program that had no folder for it, in a journal that the command line then reads."""
    book.out.mkdir()

    async def order() -> None:
        request = TranslationRequest(url="https://example.com/talk.mp4", targets="ja", key="talk")
        async with (
            AkoolClient(schedule=FixedSchedule(interval=0.05)) as client,
            open_journal(book.path) as journal,
            open_batch(client, [request], journal=journal) as batch,
        ):
            assert [type(outcome) async for outcome in batch] == [Completed]

    anyio.run(order)
    return book


def test_what_was_never_downloaded_is_not_called_saved(akool: Command, undownloaded: Book) -> None:
    out = undownloaded.out
    (videos := out.with_name("videos.csv")).write_text(CATALOG)
    listed = json.loads(akool("list", out, "--json").out)
    soon = json.loads(akool("list", out, "--expiring", "8d", "--json").out)
    told = akool("status", out)
    seen = json.loads(akool("status", out, "--json").out)
    verified = akool("verify", out)
    plan = akool("plan", videos, "--out", out, "--json")

    assert [one["state"] for one in (*listed, *soon)] == ["done", "done"]
    assert "collect" in listed[0]["advice"]
    assert (seen["counts"]["saved"], seen["counts"]["done"]) == (0, 1)
    assert [one["key"] for one in seen["expiring"]] == ["talk"]
    assert seen["next_steps"] == [f"akool-async collect --out {out}"]
    assert "1  done, not saved yet\n" in told.out
    assert "Everything that was submitted is saved." not in told.out
    assert "1 result done and never downloaded, so there is nothing to verify" in verified.err
    assert json.loads(plan.out)["actions"]["saved"] == 0
    assert json.loads(plan.out)["jobs"][0]["action"] == "at the vendor"


@pytest.mark.parametrize("command", ["collect", "collect --within 8d", "run"])
def test_what_was_never_downloaded_is_saved_without_paying(
    akool: Command, vendor: Sandbox, undownloaded: Book, command: str
) -> None:
    (videos := undownloaded.out.with_name("videos.csv")).write_text(CATALOG)
    catalog = [videos, "--yes", "--no-check"] if command == "run" else []
    ended = akool(*command.split(), *catalog, "--out", undownloaded.out)
    again = akool("collect", "--out", undownloaded.out)

    assert ended.code == 0, ended.err
    assert (undownloaded.out / "talk.ja.mp4").exists()
    assert "is ready to be saved" in again.err
    assert len(vendor.audit.jobs) == 1


def saved_first(akool: Command, book: Book, command: str) -> list[object]:
    """Save a catalog; return the words of the command that comes to its results again."""
    (videos := book.out.with_name("videos.csv")).write_text(CATALOG)
    run = ["run", videos, "--yes", "--no-check", "--out", book.out]
    akool(*run)
    return run if command == "run" else ["collect", "--out", book.out]


@pytest.mark.parametrize("command", ["collect", "run"])
def test_a_video_without_captions_is_fetched_on_demand(
    akool: Command, vendor: Sandbox, book: Book, command: str
) -> None:
    arguments = saved_first(akool, book, command)
    later = akool(*arguments, "--without-captions")
    again = akool(*arguments, "--without-captions")

    assert later.code == again.code == 0, later.err
    assert (book.out / "talk.ja.captionless.mp4").exists()
    assert [one.artifact for one in vendor.audit.served].count("video") == 1
    assert len(vendor.audit.jobs) == 1


@pytest.mark.parametrize("command", ["collect", "run"])
def test_a_video_without_captions_that_is_not_there_is_told(
    akool: Command, vendor: Sandbox, book: Book, command: str
) -> None:
    arguments = saved_first(akool, book, command)
    vendor.faults.add(Fault(on="status", kind="vanish"))
    later = akool(*arguments, "--without-captions")

    assert "without_captions" in later.err
    assert len(vendor.audit.jobs) == 1


def test_the_end_of_a_run_names_the_jobs_that_nobody_asked_for(
    akool: Command, vendor: Sandbox, book: Book
) -> None:
    vendor.faults.add(Fault(on="create", kind="extra_language", limit=1))
    first = akool(*RUN, "--out", book.out)
    again = akool(*RUN, "--out", book.out)

    (spare,) = [job.id for job in vendor.audit.jobs if job.language not in ("ja", "fr", "de")]
    assert first.code == again.code == 0
    assert f"1 job that nobody asked for, which may be billed: {spare}." in first.err
    assert "akool-async status" in first.err
    assert "nobody asked for" not in again.err
    assert spare in akool("status", "--out", book.out).out
