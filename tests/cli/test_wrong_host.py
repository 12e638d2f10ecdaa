"""A server that is not the API, as the free calls show: nothing that is paid is sent to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from akool_async import State
from tests.cli.conftest import Book, Command
from tests.threads import serve_in_thread

pytestmark = pytest.mark.usefixtures("quick")
FILM = "https://example.com/a.mp4"


@pytest.fixture
def serve_page() -> Iterator[Callable[[int], tuple[str, list[str]]]]:
    """Give a function that serves a web page with a status, and the calls that it got."""

    def serve(status: int) -> tuple[str, list[str]]:
        calls: list[str] = []

        class Page(BaseHTTPRequestHandler):
            def answer(self) -> None:
                calls.append(f"{self.command} {self.path}")
                self.send_response(status)
                self.send_header("Content-Length", "6")
                self.send_header("Location", "https://example.com/")
                self.end_headers()
                self.wfile.write(b"<html>")

            do_GET = do_POST = answer  # noqa: N815 - as the base class calls them

            def log_message(self, *_: object) -> None:
                pass

        return servers.enter_context(serve_in_thread(ThreadingHTTPServer(("127.0.0.1", 0), Page))), calls

    with ExitStack() as servers:
        yield serve


@pytest.mark.parametrize("at_work", [False, True])
@pytest.mark.parametrize("status", [404, 200, 302])
def test_nothing_is_submitted_to_a_server_that_is_not_the_api(
    akool: Command,
    book: Book,
    tmp_path: Path,
    serve_page: Callable[[int], tuple[str, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    at_work: bool,
) -> None:
    if at_work:
        book.enter(("a", State.SUBMITTED))
    path = tmp_path / "films.csv"
    path.write_text(f"url,to,key\n{FILM},ja,a\n{FILM.replace('a.', 'b.')},ja,b\n")
    host, calls = serve_page(status)
    monkeypatch.setenv("AKOOL_API_KEY", "canary-7d1e0c55b2")
    told = akool("run", path, "--yes", "--out", book.out, "--host", host, "--no-check")

    assert told.code not in (0, 6), told.err
    assert [call for call in calls if "createbytranslate" in call] == []
    assert "in doubt" not in told.err
