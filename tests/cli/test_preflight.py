"""Videos looked into, and their price, before anything is paid: `plan`, `run` and `run --trial`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from akool_async.sandbox import Sandbox
from tests.cli.conftest import KEY, Command
from tests.cli.terminal import on_terminal
from tests.media.file_host import FileHost, film

pytestmark = pytest.mark.usefixtures("in_a_folder", "quick")
Serve = Callable[..., Sandbox]


@pytest.fixture
def vendor(serve: Serve) -> Sandbox:
    return serve(media=True)


def catalog(*rows: tuple[str, str], targets: str = "ja", options: str = "") -> Path:
    path = Path("videos.csv")
    lines = [f'{url},"{targets}",{key},{options}\n' for key, url in rows]
    path.write_text("url,languages,key,lipsync\n" + "".join(lines), encoding="utf-8")
    return path


def rows_of(files: FileHost) -> dict[str, tuple[str, str]]:
    """Return videos that can't be translated, by their key: the URL, and what is said of it."""
    return {
        "drive": (
            "https://drive.google.com/file/d/1aBcD_efGhIjKlMnOp/view",
            "download?id=1aBcD_efGhIjKlMnOp",
        ),
        "youtube": ("https://www.youtube.com/watch?v=dQw4w9WgXcQ", "a page of YouTube"),
        "dropbox": ("https://www.dropbox.com/s/abc/talk.mp4?dl=0", "dl=1 instead of dl=0"),
        "pdf": (files.add("paper.pdf", b"%PDF-1.7\n" + bytes(999)), "a PDF document"),
        "silent": (files.add("silent.mp4", film(audio=False)), "no audio track (code 1203)"),
        "long": (files.add("long.mp4", film(61.0, fps=1)), "61.00 s long, 60 s are allowed (code 1204)"),
        "fast": (
            files.add("fast.mp4", film(1.0, fps=90)),
            "90.00 frames a second, 59 are allowed",
        ),
        "private": ("http://192.168.7.8/talk.mp4", "private network"),
        "gone": (f"{files.base_url}/gone.mp4", "HTTP 404"),
    }


def test_each_row_is_told_rightly_and_only_the_good_ones_are_sent(
    vendor: Sandbox, akool: Command, files: FileHost
) -> None:
    good = files.add("good.mp4", film(12.0))
    smooth = files.add("smooth.mp4", film(2.0, fps=50))
    bad = rows_of(files)
    path = catalog(("good", good), *((key, url) for key, (url, _) in bad.items()))

    planned = akool("plan", path, "--json")

    assert vendor.audit.creates == ()
    jobs = {job["key"]: job for job in json.loads(planned.out)["jobs"]}
    assert jobs.pop("good")["action"] == "new"
    for key, job in jobs.items():
        assert job["action"] == "refused"
        assert bad[key][1] in job["reason"]
    assert "9  refused" in akool("plan", path).err

    ran = akool("run", path, "--yes")

    assert ran.code == 1
    assert len(vendor.audit.creates) == len(vendor.audit.jobs) == 1
    assert "1 of 10 translations are saved" in ran.err
    assert "9 refused before they were sent, not charged: correct them" in ran.err
    assert {method for method, *_ in files.asked} == {"GET"}
    warned = akool("plan", catalog(("smooth", smooth)))
    assert "50.00 frames a second; some plans allow 30 (code 1210)" in warned.err


def test_limits_are_options_and_the_look_can_be_left_out(
    vendor: Sandbox, akool: Command, files: FileHost
) -> None:
    path = catalog(("long", files.add("long.mp4", film(61.0, fps=1, audio=False))))

    def action(*options: str) -> str:
        return str(json.loads(akool("plan", path, "--json", *options).out)["jobs"][0]["action"])

    assert action() == "refused"
    assert action("--max-seconds", "90") == "refused"
    assert action("--max-seconds", "90", "--allow-silent") == "new"
    asked = len(files.asked)
    assert action("--no-check") == action("--offline") == "new"
    assert len(files.asked) == asked


def test_a_plan_is_priced_by_an_inference_that_is_called_so(
    vendor: Sandbox, akool: Command, files: FileHost
) -> None:
    path = catalog(("a", files.add("a.mp4", film(25.0, fps=1))), targets="ja,fr")

    said = akool("plan", path, "--max-credits", "11").err

    assert "Cost: about 12 credits for 2 new jobs (2 by a tariff that is only inferred" in said
    assert "--max-credits 11 leaves 11 for that: what doesn't fit is not submitted." in said
    assert "it fits" in akool("plan", path, "--max-credits", "12").err
    lips = akool("plan", catalog(("b", f"{files.base_url}/a.mp4"), options="true")).err
    assert "about 30 credits for 1 new job" in lips


def test_a_trial_sends_the_cheapest_row_and_asks_for_the_rest_by_its_price(
    serve: Serve, akool: Command, files: FileHost
) -> None:
    vendor = serve(media=True, credits_per_10s=3.0)
    names = {"long": 35.0, "short": 4.0, "middle": 15.0}
    path = catalog(*((key, files.add(f"{key}.mp4", film(length, fps=1))) for key, length in names.items()))

    answers = [
        ("Submit 1 new job for about 2 credits?", "y"),
        ("Submit 2 new jobs for about 18 credits?", "n"),
    ]
    shown = on_terminal("run", path, "--trial", "1", answers=answers)

    assert shown.code == 130
    assert [job.credits for job in vendor.audit.jobs] == [3.0]
    assert "3 credits per started 10 s" in " ".join(shown.text.split())

    ran = akool("run", path, "--trial", "1", "--yes")

    assert ran.code == 0
    assert sorted(job.credits for job in vendor.audit.jobs) == [3.0, 6.0, 12.0]


def test_a_trial_that_fails_submits_nothing_more(vendor: Sandbox, akool: Command, files: FileHost) -> None:
    path = catalog(
        ("smooth", files.add("smooth.mp4", film(2.0, fps=50))),
        ("swift", files.add("swift.mp4", film(2.0, fps=48))),
    )

    ran = akool("run", path, "--trial", "1", "--yes")  # the sandbox takes 30 frames a second at most

    assert ran.code == 1
    assert "The rest is not submitted, because the trial is not saved." in ran.err
    assert len(vendor.audit.creates) == 1


def test_a_trial_leaves_what_is_not_submitted_yet_in_sight(
    vendor: Sandbox, akool: Command, files: FileHost
) -> None:
    """What `status` tells of the rest of the catalog is not what the trial alone was to submit."""
    path = catalog(*((key, files.add(f"{key}.mp4", film(2.0, fps=50))) for key in ("one", "two", "three")))
    akool("run", path, "--trial", "1", "--yes")
    seen = json.loads(akool("status", "--json").out)
    listed = json.loads(akool("list", "--json").out)

    assert seen["not_submitted"] == 2
    assert len(listed) == 3


def test_without_pyav_a_plan_says_that_no_video_was_looked_into(
    vendor: Sandbox, akool: Command, files: FileHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = catalog(("silent", files.add("silent.mp4", film(audio=False))))
    monkeypatch.setattr("akool_async._batch.preflight.importlib.util.find_spec", lambda name: None)

    planned = akool("plan", path)

    assert planned.code == 0
    assert "No video was looked into." in planned.err
    assert "pip install 'akool-async[media]'" in planned.err


def test_what_was_found_is_asked_for_once_by_the_next_plan(
    vendor: Sandbox, akool: Command, files: FileHost
) -> None:
    Path("results").mkdir()
    path = catalog(("a", files.add("a.mp4", film(12.0))))
    first = akool("plan", path)
    sent = files.sent

    assert akool("plan", path) == first
    assert files.sent == sent
    assert Path("results/jobs.sqlite3.media").exists()


def test_the_audio_of_a_lip_sync_is_looked_into_before_it_is_paid(
    vendor: Sandbox, akool: Command, files: FileHost
) -> None:
    video, page = files.add("good.mp4", film()), files.add("page.mp3", b"<!doctype html>")
    gone = f"{files.base_url}/nothere.mp3"
    Path("videos.csv").write_text(f"url,audio_url,key\n{video},{page},talk\n", encoding="utf-8")

    planned = akool("plan", "videos.csv")
    refused = akool("lipsync", video, gone, "--yes")

    assert "refused: videos.csv:2 (talk): Audio: This is a web page, not an audio file." in planned.err
    assert "Audio: The server answered HTTP 404" in refused.err
    assert vendor.audit.creates == ()
    akool("lipsync", video, gone, "--yes", "--no-check")
    assert len(vendor.audit.creates) == 1


def test_captions_are_looked_into_before_they_are_paid_for(
    vendor: Sandbox, akool: Command, files: FileHost
) -> None:
    video, page = files.add("good.mp4", film()), files.add("page.srt", b"<!doctype html>")
    Path("videos.csv").write_text(f"url,to,caption_url,key\n{video},ja,{page},talk\n", encoding="utf-8")

    planned = akool("plan", "videos.csv")
    refused = akool("translate", video, "--to", "ja", "--caption-url", f"{files.base_url}/nothere", "--yes")

    assert "refused: videos.csv:2 (talk): Captions: This is a web page, not a subtitle file." in planned.err
    assert "Captions: The server answered HTTP 404" in refused.err
    assert vendor.audit.creates == ()


def test_without_a_network_no_video_is_refused_for_it(
    akool: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AKOOL_API_HOST", raising=False)
    monkeypatch.setenv("AKOOL_API_KEY", KEY)
    path = catalog(("one", "https://example.com/one.mp4"), ("two", "https://cdn.films.net/two.mp4"))
    plan = akool("plan", path)
    run = akool("run", path, "--out", "out", "--yes")
    looked = akool("inspect", "https://example.com/one.mp4")

    for host in ("example.com", "cdn.films.net"):
        assert f"This machine finds no address for the host {host}." in plan.err
    assert "refused" not in plan.out + plan.err + run.err + looked.out
    assert (run.code, looked.code) == (1, 1)
    assert "The API host https://openapi.akool.com could not be reached" in run.err
    assert looked.out.split("\t")[1] == "unknown"
