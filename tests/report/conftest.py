"""Reports of journals and of made-up entries, and a browser to open them in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from akool_async.report import Report, ReportEntry
from tests.cli.conftest import akool, book, out, portal, quick, serve, vendor

__all__ = ["akool", "book", "out", "portal", "quick", "serve", "vendor"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def make_report(*entries: ReportEntry, **fields: Any) -> Report:
    counts: dict[str, int] = {}
    for entry in entries:
        counts[entry.state] = counts.get(entry.state, 0) + 1
    return Report(**({"title": "results", "now": NOW, "entries": entries, "counts": counts} | fields))


def make_entry(key: str = "talk", target: str = "ja", state: str = "saved", **fields: Any) -> ReportEntry:
    return ReportEntry(
        **({"label": key, "group": key, "key": key, "target": target, "state": state} | fields)
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Window:
    """A page of a browser, with what it complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, path: Path, query: str = "") -> Page:
        self.page.goto(path.absolute().as_uri() + query)
        return self.page


@pytest.fixture
def window(browser: Browser) -> Iterator[Window]:
    context = browser.new_context(viewport={"width": 1300, "height": 800})
    opened = Window(context.new_page())
    yield opened
    context.close()
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
