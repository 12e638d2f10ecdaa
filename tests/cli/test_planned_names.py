"""A plan names the files that its run makes, and knows the paid results that the run would find."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from akool_async.sandbox import Sandbox
from tests.cli.conftest import Command, Told

pytestmark = pytest.mark.usefixtures("quick")
ONE, TWO = "https://example.com/one/talk.mp4,ja", "https://example.com/two/talk.mp4,ja"
RESULTS = Path("results")


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def catalog(*rows: str, name: str = "videos.csv") -> Path:
    path = Path(name)
    path.write_text("\n".join(["url,to,key", *rows]) + "\n", encoding="utf-8")
    return path


def planned(told: Told) -> list[str]:
    """Return the video of each entry, as `plan --json` has it."""
    return [Path(job["files"][0]).name for job in json.loads(told.out)["jobs"]]


def forget_journal() -> None:
    for path in RESULTS.glob("jobs.sqlite3*"):
        path.unlink()


def test_rows_whose_videos_are_called_the_same_are_planned_as_they_are_saved(
    akool: Command, vendor: Sandbox
) -> None:
    path = catalog(ONE, TWO)
    names = planned(akool("plan", path, "--json"))
    said = akool("plan", path)
    akool("run", path, "--yes")

    assert names == ["talk.ja.mp4", "talk.ja-8f2844b0.mp4"]
    assert "'talk.ja' is taken by videos.csv:2, so it becomes 'talk.ja-8f2844b0'. A key for" in said.err
    assert {path.name for path in RESULTS.glob("*.mp4")} == {*names}
    assert planned(akool("plan", path, "--json")) == names
    assert "is taken by" not in akool("plan", path).err


def test_names_that_only_look_different_are_planned_as_they_are_saved(
    akool: Command, vendor: Sandbox
) -> None:
    path = catalog(f"{ONE},Talk", f"{TWO},talk", f"{TWO.replace('ja', 'fr')},talk.ja.original")
    names = planned(akool("plan", path, "--json"))
    akool("run", path, "--yes")

    assert names[0] == "Talk.ja.mp4"
    assert names[1].startswith("talk.ja-")
    assert {path.name for path in RESULTS.glob("*.mp4")} == {*names}


@pytest.mark.parametrize("ending", [".mp4", ".original.vtt", ".json"])
def test_a_name_that_files_in_the_folder_have_is_not_planned(
    akool: Command, vendor: Sandbox, ending: str
) -> None:
    RESULTS.mkdir()
    (RESULTS / f"talk.ja{ending}").write_text("of another program")
    path = catalog(TWO)
    (name,) = planned(akool("plan", path, "--json"))
    said = akool("plan", path)
    akool("run", path, "--yes")

    assert name == "talk.ja-8f2844b0.mp4"
    assert "'talk.ja' is taken by files in results, so it becomes 'talk.ja-8f2844b0'" in said.err
    assert (RESULTS / name).exists()


def test_a_name_of_another_catalog_is_not_planned(akool: Command, vendor: Sandbox) -> None:
    akool("run", catalog(ONE, name="first.csv"), "--yes")
    for file in RESULTS.glob("talk*"):
        file.unlink()
    path = catalog(TWO)

    assert planned(akool("plan", path, "--json")) == ["talk.ja-8f2844b0.mp4"]
    assert "'talk.ja' is taken by an entry of the journal" in akool("plan", path).err


def test_a_paid_result_is_found_under_the_name_that_it_was_given(akool: Command, vendor: Sandbox) -> None:
    akool("run", catalog(ONE, TWO), "--yes")
    forget_journal()
    for file in RESULTS.glob("talk.ja.*"):  # the one that had the first name
        file.unlink()
    path, made = catalog(TWO), len(vendor.audit.creates)
    told = akool("plan", path, "--json")
    ran = akool("run", path, "--yes")

    assert json.loads(told.out)["actions"]["found"] == 1
    assert planned(told) == ["talk.ja-8f2844b0.mp4"]
    assert "Of 1 the results are in the folder and paid" in ran.err
    assert len(vendor.audit.creates) == made
    paying = json.loads(akool("plan", path, "--json", "--pay-again").out)
    assert (paying["actions"]["found"], paying["actions"]["new"]) == (0, 1)


def test_a_paid_result_is_found_in_a_folder_of_its_name(akool: Command, vendor: Sandbox) -> None:
    akool("run", catalog(f"{ONE},a"), "--yes", "--names", "{language}/{key}")
    forget_journal()
    told = akool("plan", catalog(f"{ONE},a"), "--json", "--names", "{language}/{key}")

    assert json.loads(told.out)["actions"]["found"] == 1
    assert planned(told) == ["a.mp4"]
