"""40 videos in 3 languages, with failures, doubts and corrected subtitles, from the run to the retry."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from akool_async.sandbox import Fault, Sandbox
from akool_async.sandbox.media import sample_video
from tests.cli.conftest import Book, Command
from tests.media.file_host import serve_files
from tests.report.conftest import CHROMIUM, WAIT, akool, book, needs_chromium, out, portal, quick, serve
from tests.report.test_browser import until, violations

__all__ = ["akool", "book", "out", "portal", "quick", "serve"]
FILMS, LANGUAGES = 40, ("ja", "ar", "fr")
CORRECTED = "Une phrase corrigée à la main."
FAULTS = (
    Fault(on="create", kind="job_fails", value="no speech", nth=(5, 17)),
    Fault(on="create", kind="refuse_language", language="fr", code=1203, nth=range(20, 23)),
    Fault(on="create", kind="reset_after", nth=(9, 30)),
)
"""Two videos fail in all languages, three are refused in one, and the answers for two are lost."""


def states(akool: Command, *where: object) -> Counter[str]:
    return Counter(row["state"] for row in json.loads(akool("list", "--json", *where).out))


def play_all(page: Page) -> int:
    players = page.locator("video").all()
    for player in players:
        player.evaluate("one => { one.muted = true; one.preload = 'auto'; return one.play() }")
        until(player, "one => one.currentTime > 0.1")
        player.evaluate("one => one.pause()")
        showing = "one => [...one.textTracks].filter(track => track.mode === 'showing')[0]?.cues?.length"
        until(player, f"one => ({showing})(one) > 0")
    return len(players)


def look_at(index: Path, film: str, corrected: int) -> None:
    """Open the report of the season in a browser: numbers, filters, search, players, tracks, complaints."""
    complaints: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=WAIT)
        page = browser.new_page()
        page.set_default_timeout(WAIT)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(index.as_uri())
        every = FILMS * len(LANGUAGES) + corrected
        assert page.locator("#rows tr").count() == every
        for state, number in (("failed", 6), ("refused", 3), ("in doubt", 6), ("saved", 105 + corrected)):
            page.get_by_label("State").select_option(state)
            expect(page.get_by_role("status")).to_have_text(f"{number} of {every} entries")
        page.get_by_label("State").select_option("")
        page.get_by_label("Search").fill("no speech")
        expect(page.get_by_role("status")).to_have_text(f"6 of {every} entries")
        assert violations(page) == []
        page.get_by_label("Search").fill(film)
        page.locator("#rows a").first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text(film)
        assert play_all(page) == 1 + len(LANGUAGES) + corrected
        if corrected:
            page.get_by_role("tab").filter(has_text="corrected").click()
            expect(page.locator("li.changed").first).to_contain_text(CORRECTED)
        assert violations(page) == []
        browser.close()
    assert complaints == []


@pytest.mark.thorough
@needs_chromium
def test_a_season_is_run_looked_at_corrected_and_retried(
    akool: Command, serve: Callable[..., Sandbox], quick: None, tmp_path: Path, book: Book
) -> None:
    where = ["--out", book.out]
    catalog, index = tmp_path / "season.csv", book.out / "report" / "index.html"
    with serve_files() as host:
        content = sample_video(2.0, width=64, height=36)
        urls = [host.add(f"film-{number:02}.mp4", content) for number in range(FILMS)]
        rows = "".join(f'{url},"{",".join(LANGUAGES)}",film-{at:02}\n' for at, url in enumerate(urls))
        catalog.write_text(f"url,languages,key\n{rows}")
        vendor = serve(media=True, faults=FAULTS)

        ran = akool("run", catalog, *where, "--yes", "--in-flight", "30")
        assert ran.code == 6, ran.err
        after = {"saved": 105, "failed": 6, "refused": 3, "in doubt": 6}
        assert states(akool, *where) == after
        assert {job.id for job in vendor.audit.jobs} >= book_ids(book)
        film = next(key for (key, target), entry in book.read().items() if entry.files and target == "fr")
        look_at(index, film, 0)

        pulled = akool("captions", "pull", film, *where)
        srt = book.out / "captions" / f"{film}.fr.srt"
        text = srt.read_text(encoding="utf-8")
        srt.write_text(text.replace("[fr] Sentence 1 of the talk.", CORRECTED), encoding="utf-8")
        checked = akool("captions", "check", srt)
        published = host.add("corrected.fr.srt", srt.read_bytes())
        push = ["captions", "push", film, "--language", "fr", "--caption-url", published, "--yes", *where]
        pushed = akool(*push)
        assert (pulled.code, checked.code, pushed.code) == (0, 0, 0), pulled.err + checked.err + pushed.err
        assert states(akool, *where) == after | {"saved": 106}
        look_at(index, film, 1)

        retried = akool("retry", "--failed", *where, "--yes")
        assert retried.code == 0, retried.err
        assert states(akool, *where) == {"saved": 115, "in doubt": 6}

    numbers = json.loads(akool("status", "--json", *where).out)
    jobs = vendor.audit.jobs
    lost = [job for job in jobs if job.id not in book_ids(book)]
    assert numbers["credits"] == {"used": 230.0, "locked": 0.0}
    assert sum(job.credits for job in jobs if job.status == 3 and job not in lost) == 230.0
    assert len(lost) == 6 + 6
    assert vendor.audit.paid_twice(count_failed=False) == ()


def book_ids(book: Book) -> set[str]:
    return {entry.job_id for entry in book.read().values() if entry.job_id}
