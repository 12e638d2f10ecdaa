"""Reports of journals and of made-up entries, and a browser to open them in."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from akool_async.report import Report, ReportEntry
from tests.cli.conftest import akool, book, out, portal, quick, serve, vendor

__all__ = ["akool", "book", "out", "portal", "quick", "serve", "vendor"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WAIT = 60_000.0
"""Milliseconds that a browser on a busy machine may take for anything."""
expect.set_options(timeout=WAIT)

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


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing: apt-get install chromium")


class Window:
    """A page of a browser, with what it asked for and complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, path: Path, after: str = "") -> Page:
        """Open a file, with what follows its name in the URL."""
        self.page.goto(path.absolute().as_uri() + after)
        return self.page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for the tests of one module.

    While it is there this thread runs the loop of its driver: no test of the module can run another.
    """
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=WAIT)
        yield started
        started.close()


Chromium = Callable[..., AbstractContextManager[Window]]


@pytest.fixture
def chromium(browser: Browser) -> Chromium:
    """Return what opens a window; at its end no page has complained or asked for anything but files."""

    @contextmanager
    def opened(**options: Any) -> Iterator[Window]:
        with browser.new_context(**({"viewport": {"width": 1300, "height": 800}} | options)) as context:
            context.set_default_timeout(WAIT)
            window = Window(context.new_page())
            yield window
        assert window.complaints == []
        assert [url for url in window.requests if not url.startswith(("file:", "data:"))] == []

    return opened
