"""The report in a browser, from disk: players, tracks, tabs, filters, keyboard, and no complaints."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Locator, Page, expect

from akool_async.report import ReportEntry, ReportFolder
from akool_async.sandbox.media import sample_video
from tests.report.conftest import NOW, Chromium, make_entry, make_report, needs_chromium

pytestmark = needs_chromium
AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
SPOKEN = ("Good morning.", "We begin with the weather.", "That was all.")
LINES = {
    "ja": ("おはようございます。", "まずは天気です。", "以上です。"),
    "ar": ("صباح الخير.", "نبدأ بالطقس.", "كان هذا كل شيء."),
    "fr": ("Bonjour.", "Commençons par la météo.", "C’est tout."),
}
FIXED = ("Bonjour.", "On commence par la météo.", "C’est tout.")


def srt(*lines: str) -> str:
    return "".join(
        f"{number}\n00:00:0{number - 1},000 --> 00:00:0{number - 1},900\n{line}\n\n"
        for number, line in enumerate(lines, start=1)
    )


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a real video in three languages, one of them corrected, and its original."""
    folder = tmp_path_factory.mktemp("films")
    content = sample_video(3.5)
    (folder / "talk.mp4").write_bytes(content)
    for name, lines in (*LINES.items(), ("captions-2.fr", FIXED)):
        (folder / f"talk.{name}.mp4").write_bytes(content)
        (folder / f"talk.{name}.srt").write_text(srt(*lines), encoding="utf-8")
        (folder / f"talk.{name}.original.srt").write_text(srt(*SPOKEN), encoding="utf-8")
    return folder


def saved(film: Path, name: str, target: str, **fields: Any) -> ReportEntry:
    video = film / f"talk.{name}.mp4"
    return make_entry(
        "talk",
        target,
        video=video,
        translated=video.with_suffix(".srt"),
        spoken=video.with_suffix(".original.srt"),
        files=(video, video.with_suffix(".srt")),
        original=film / "talk.mp4",
        source="en",
        credits=4.0,
        cost=4.0,
        submitted_at=NOW,
        **fields,
    )


@pytest.fixture
def folder(film: Path, tmp_path: Path) -> Path:
    """A report of that video and of entries in every state."""
    versions = [saved(film, target, target) for target in LINES]
    others = [
        make_entry("tour", "ja", "failed", reason="No speech was found.", code=1203, advice="Look at it."),
        make_entry("tour", "fr", "refused", reason="The language is not there."),
        make_entry("short", "ja", "in doubt", advice="`akool-async resolve` finds it.", submitted_at=NOW),
        make_entry("long", "ar", "done", expires_at=NOW + timedelta(days=1), credits=2.0, cost=2.0),
        make_entry("فيلم قصير", "", "at the vendor", expires_at=NOW + timedelta(days=3)),
    ]
    report = make_report(
        *versions,
        saved(film, "captions-2.fr", "fr", version=2),
        *others,
        used=16.0,
        locked=2.0,
        next_steps=(("1 entry in doubt", "akool-async resolve"),),
    )
    return ReportFolder(tmp_path / "report").write(report).parent


def many(number: int) -> list[ReportEntry]:
    dice = random.Random(7)
    states = ["saved"] * 17 + ["failed", "refused", "in doubt"]
    return [
        make_entry(
            f"season {index // 30} episode {index // 3}",
            ("ja", "ar", "fr")[index % 3],
            state := dice.choice(states),
            reason="" if state == "saved" else f"Reason {dice.randrange(40)} why it is so, in some words.",
            job_id=f"{dice.getrandbits(96):024x}",
            credits=dice.choice([2.0, 4.5]),
            cost=4.0,
            submitted_at=NOW - timedelta(hours=index),
        )
        for index in range(number)
    ]


def violations(page: Page) -> list[str]:
    """Return what axe-core objects to in a page, as rule and element."""
    page.evaluate(AXE.read_text(encoding="utf-8"))  # not as an element, which the page's policy forbids
    found = page.evaluate("axe.run({preload: false})")  # it would fetch the style sheet once more
    assert len(found["passes"]) > 10
    return [f"{one['id']}: {node['html']}" for one in found["violations"] for node in one["nodes"]]


def until(element: Locator, condition: str) -> None:
    """Wait for a condition. `wait_for_function` evaluates texts in the page, which its policy forbids."""
    for _ in range(4_000):
        if element.evaluate(condition):
            return
        element.page.wait_for_timeout(30)
    raise AssertionError(condition)


def video_page(folder: Path, entry: ReportEntry) -> Path:
    return folder / entry.page


TALK = make_entry("talk")


def test_players_play_and_show_their_subtitles(chromium: Chromium, folder: Path) -> None:
    with chromium() as window:
        page = window.open(video_page(folder, TALK))
        players = page.locator("video")
        expect(players).to_have_count(5)
        for number in range(5):
            player = players.nth(number)
            player.evaluate("one => { one.muted = true; one.preload = 'auto'; return one.play() }")
            until(player, "one => one.currentTime > 0.2")
            shown = player.evaluate(
                "one => [...one.textTracks].filter(t => t.mode === 'showing')"
                ".flatMap(t => [...t.cues]).map(c => c.text)"
            )
            assert len(shown) == 3
            assert player.evaluate("one => one.error") is None
            player.evaluate("one => one.pause()")
        assert players.nth(1).evaluate("one => [...one.textTracks].map(t => t.label)") == [
            "Translation",
            "Original",
        ]
        second = players.nth(1).evaluate(
            "one => new Promise(done => { const t = one.textTracks[1]; t.mode = 'showing';"
            " const look = () => t.cues?.length ? done(t.cues[0].text) : setTimeout(look, 20); look() })"
        )
        assert second == SPOKEN[0]


def test_a_time_in_the_transcript_moves_both_players(chromium: Chromium, folder: Path) -> None:
    with chromium() as window:
        page = window.open(video_page(folder, TALK), "#in-ja")
        original = page.locator("#original-player")
        original.evaluate("one => { one.preload = 'auto'; one.load() }")
        until(original, "one => one.readyState > 0")
        panel = page.locator("#in-ja")
        panel.locator("video").evaluate("one => { one.muted = true }")
        panel.get_by_role("link", name="0:02").click()
        until(panel.locator("video"), "one => one.currentTime >= 2")

        assert original.evaluate("one => one.currentTime") == 2
        expect(panel.locator("li[aria-current=true]")).to_contain_text("以上です。")


def test_languages_are_tabs_by_mouse_and_keyboard(chromium: Chromium, folder: Path) -> None:
    with chromium() as window:
        page = window.open(video_page(folder, TALK))
        tabs = page.get_by_role("tab")
        expect(tabs).to_have_count(4)
        expect(tabs.nth(0)).to_contain_text("Arabic")
        expect(page.get_by_role("tabpanel")).to_have_count(1)
        tabs.nth(2).click()
        expect(page.locator("#in-fr-2")).to_be_visible()
        expect(page.locator("#in-ar")).to_be_hidden()
        page.keyboard.press("ArrowRight")
        expect(page.locator("#in-ja")).to_be_visible()
        page.keyboard.press("Home")
        expect(page.locator("#in-ar")).to_be_visible()
        page.reload()
        expect(page.locator("#in-ar")).to_be_visible()


def test_lines_that_were_corrected_are_marked(chromium: Chromium, folder: Path) -> None:
    with chromium() as window:
        page = window.open(video_page(folder, TALK), "#in-fr-2")
        changed = page.locator("#in-fr-2 li.changed")
        expect(changed).to_have_count(1)
        expect(changed).to_contain_text("On commence par la météo.")
        expect(changed.locator("del")).to_have_text("Commençons par la météo.")
        expect(page.locator("#in-fr li.changed")).to_have_count(0)


def test_arabic_runs_from_right_to_left(chromium: Chromium, folder: Path) -> None:
    with chromium() as window:
        page = window.open(video_page(folder, TALK), "#in-ar")
        lines = page.locator("#in-ar .transcript p[lang=ar]")
        assert lines.evaluate_all("all => all.map(one => getComputedStyle(one).direction)") == ["rtl"] * 3
        direction = "all => all.map(one => getComputedStyle(one).direction)"
        assert page.locator("#in-ar .source").evaluate_all(direction) == ["ltr"] * 3


def rows(page: Page) -> list[str]:
    return [text.strip() for text in page.locator("#rows tr th").all_inner_texts()]


def test_search_and_filters_on_a_single_page(chromium: Chromium, folder: Path) -> None:
    with chromium() as window:
        page = window.open(folder / "index.html")
        assert len(rows(page)) == 9
        page.get_by_label("Search").fill("NO SPEECH")
        expect(page.get_by_role("status")).to_have_text("1 of 9 entries")
        assert rows(page) == ["tour"]
        page.get_by_label("Search").fill("")
        page.get_by_label("State").select_option("saved")
        page.get_by_label("Language").select_option("fr")
        expect(page.get_by_role("status")).to_have_text("2 of 9 entries")
        page.get_by_label("State").select_option("")
        page.get_by_label("Language").select_option("lip-sync")
        expect(page.get_by_role("status")).to_have_text("1 of 9 entries")
        assert rows(page) == ["فيلم قصير"]
        page.locator(".tiles").get_by_text("in doubt").click()
        expect(page.get_by_role("status")).to_have_text("1 of 9 entries")
        assert rows(page) == ["short"]
        page.locator("#rows a").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("short")


def test_pages_of_two_hundred_and_a_search_over_all(chromium: Chromium, tmp_path: Path) -> None:
    entries = many(450)
    index = ReportFolder(tmp_path / "report").write(make_report(*entries))
    failed = [entry.label for entry in entries if entry.state == "failed"]
    with chromium() as window:
        page = window.open(index)
        seen = rows(page)
        for number in (2, 3):
            page.get_by_role("navigation", name="Pages").get_by_role("link", name=str(number)).click()
            expect(page.get_by_role("heading", level=1)).to_have_text(f"Page {number} of 3")
            seen += rows(page)
        assert seen == [entry.label for entry in entries]
        page.get_by_label("State").select_option("failed")
        expect(page.get_by_role("status")).to_have_text(f"{len(failed)} of 450 entries")
        assert rows(page) == failed
        page.get_by_label("State").select_option("")
        expect(page.get_by_role("status")).to_have_text("450 of 450 entries, 1 to 200 shown")
        page.get_by_role("button", name="Later").click()
        page.get_by_role("button", name="Later").click()
        expect(page.get_by_role("status")).to_have_text("450 of 450 entries, 401 to 450 shown")
        assert rows(page) == seen[400:]
        page.get_by_label("Search").fill(entries[123].job_id)
        expect(page.get_by_role("status")).to_have_text("1 of 450 entries")


def test_without_script_everything_but_the_search_is_there(chromium: Chromium, folder: Path) -> None:
    with chromium(java_script_enabled=False) as window:
        page = window.open(video_page(folder, TALK))
        for panel in ("in-ar", "in-fr", "in-fr-2", "in-ja"):
            expect(page.locator(f"#{panel} video")).to_be_visible()
        link = page.locator("#in-ja .time").nth(1)
        assert (link.get_attribute("href") or "").endswith("talk.ja.mp4#t=1.00")
        page.locator(".tabs a").nth(3).click()
        assert page.url.endswith("#in-ja")
        window.open(folder / "index.html")
        assert page.locator("#rows tr").count() == 9


BOTH = pytest.mark.parametrize(("scheme", "width"), [("light", 1300), ("dark", 390)])


@BOTH
def test_axe_finds_nothing(chromium: Chromium, folder: Path, scheme: Any, width: int) -> None:
    with chromium(color_scheme=scheme, viewport={"width": width, "height": 800}) as window:
        for path in (folder / "index.html", video_page(folder, TALK)):
            page = window.open(path)
            assert violations(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.thorough
@BOTH
def test_axe_finds_nothing_in_long_lists(chromium: Chromium, tmp_path: Path, scheme: Any, width: int) -> None:
    large = ReportFolder(tmp_path / "large").write(make_report(*many(210))).parent
    with chromium(color_scheme=scheme, viewport={"width": width, "height": 800}) as window:
        for name in ("page-2.html", "search.html"):
            page = window.open(large / name)
            assert violations(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_first_page_of_five_thousand_entries_is_light(chromium: Chromium, tmp_path: Path) -> None:
    index = ReportFolder(tmp_path / "report").write(make_report(*many(5_000)))
    weight = sum(path.stat().st_size for path in (index, index.with_name("style.css")))
    with chromium() as window:
        page = window.open(index)

        assert weight <= 2**20
        assert page.locator("#rows tr").count() == 200
        assert len(window.requests) == 2 + sum(url.startswith("data:") for url in window.requests)
