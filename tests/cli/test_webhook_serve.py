"""A receiver of webhooks on the command line, and runs that read what it wrote."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from akool_async.sandbox import FakeClock, Fault, Sandbox
from tests.cli.conftest import Book, Command, GiveUp
from tests.storage.server import free_ports

pytestmark = pytest.mark.usefixtures("quick")

VIDEO = "https://example.com/talk.mp4"


@contextmanager
def served(out: Path, *, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [
        sys.executable,
        "-m",
        "akool_async",
        "webhook",
        "serve",
        "--port",
        str(port),
        "--out",
        str(out),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", server.stderr.readline())
        assert found is not None
        try:
            yield server, found.group()
        finally:
            server.kill()


@pytest.fixture
def vendor(serve: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    sandbox = serve(time_scale=500.0)
    monkeypatch.setenv("AKOOL_CLIENT_ID", sandbox.settings.client_id)
    monkeypatch.setenv("AKOOL_CLIENT_SECRET", sandbox.settings.client_secret)
    return sandbox


def test_a_lost_answer_is_cleared_up_by_its_callback(akool: Command, book: Book, vendor: Sandbox) -> None:
    vendor.faults.add(Fault(on="create", kind="reset_after", acted=True))
    with served(book.out) as (_, url):
        told = akool(
            "translate", VIDEO, "--to", "ja,fr", "--webhook-url", f"{url}/akool", "--yes", "--out", book.out
        )

    assert told.code == 0, told.err
    assert len(vendor.audit.jobs) == 2
    assert set(book.states().values()) == {"delivered"}
    assert vendor.audit.paid_twice() == ()


def test_what_came_while_no_run_was_on_clears_up_the_doubts_of_the_next(
    akool: Command, book: Book, vendor: Sandbox, serve: Callable[..., Sandbox], give_up: GiveUp
) -> None:
    vendor = serve(clock=FakeClock(time.time()))
    vendor.faults.add(Fault(on="create", kind="reset_after", acted=True))
    give_up(book.is_in_doubt)
    order = ["translate", VIDEO, "--to", "ja", "--yes", "--out", book.out]
    with served(book.out) as (_, url):
        gone = akool(*order, "--webhook-url", f"{url}/akool", "--give-up-after", "1h")
        states = book.states()
        doubt = akool("resolve", "--out", book.out)
        vendor.clock.advance(200)
        while not any(webhook.answered == 200 for webhook in vendor.audit.webhooks):
            time.sleep(0.01)
        vendor.clock.advance(50_000)
        told = akool("resume", "--out", book.out)

    assert gone.code == 4
    assert "its callback names the job" in doubt.out
    assert set(states.values()) == {"in_doubt"}
    assert told.code == 0, told.err
    assert len(vendor.audit.jobs) == 1


def test_a_run_before_the_receiver_sends_its_tokens_and_its_doubt_is_settled_later(
    akool: Command, book: Book, serve: Callable[..., Sandbox], vendor: Sandbox, give_up: GiveUp
) -> None:
    vendor = serve(clock=FakeClock(time.time()))
    vendor.faults.add(Fault(on="create", kind="reset_after", acted=True))
    port = next(free_ports())  # that no connection of another program gets meanwhile
    give_up(book.is_in_doubt)
    order = ["translate", VIDEO, "--to", "ja", "--yes", "--out", book.out]
    gone = akool(*order, "--webhook-url", f"http://127.0.0.1:{port}/akool", "--give-up-after", "1h")
    with served(book.out, port=port):
        vendor.clock.advance(200)
        while not any(webhook.answered == 200 for webhook in vendor.audit.webhooks):
            time.sleep(0.01)
        vendor.clock.advance(50_000)
        told = akool("resume", "--out", book.out)

    assert gone.code == 4, gone.err
    assert f"to {book.out / 'inbox.sqlite3'} yet" in gone.err
    assert f"akool-async webhook serve --out {book.out}" in gone.err
    assert told.code == 0, told.err
    assert "No receiver" not in told.err
    assert len(vendor.audit.jobs) == 1


def test_an_inbox_that_can_not_be_made_is_told_before_anything_is_paid(
    akool: Command, book: Book, vendor: Sandbox
) -> None:
    order = ["translate", VIDEO, "--to", "ja", "--yes", "--out", book.out]
    book.out.mkdir(exist_ok=True)
    (book.out / "inbox.sqlite3").mkdir()
    told = akool(*order, "--webhook-url", "https://me.example/akool")

    assert told.code == 1
    assert "inbox.sqlite3" in told.err
    assert vendor.audit.jobs == ()


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        *(pytest.param(other, marks=pytest.mark.thorough) for other in (signal.SIGINT, signal.SIGHUP)),
    ],
)
def test_a_flood_of_nonsense_is_counted_and_answered_alike(
    number: signal.Signals, out: Path, vendor: Sandbox
) -> None:
    with served(out) as (server, url):
        for body in (b"{}", b"\xff" * 100, b"[" * 1000):
            with urllib.request.urlopen(url, data=body, timeout=120) as answer:
                assert (answer.status, answer.read()) == (200, b"")
        server.send_signal(number)
        assert server.stderr is not None
        said = server.stderr.read()

        assert server.wait(50) == 0
    assert "accepted 3" in said
    assert "malformed 3" in said
    assert "Traceback" not in said


def test_what_it_needs_is_told(
    akool: Command, out: Path, vendor: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = akool("webhook", "serve", "--port", taken.getsockname()[1], "--out", out)
    out.with_name("file").write_text("")
    no_folder = akool("webhook", "serve", "--port", 0, "--out", out.with_name("file") / "x")
    (out / "inbox.sqlite3").write_text("something else" * 100)
    no_inbox = akool("webhook", "serve", "--port", 0, "--out", out)
    monkeypatch.delenv("AKOOL_CLIENT_ID")
    no_id = akool("webhook", "serve", "--port", 0, "--out", out)

    assert [told.code for told in (busy, no_folder, no_inbox, no_id)] == [1, 1, 1, 2]
    assert "Can't listen" in busy.err
    assert "Can't make" in no_folder.err
    assert "inbox.sqlite3" in no_inbox.err
    assert "AKOOL_CLIENT_ID" in no_id.err


def test_its_help_tells_what_it_needs(akool: Command) -> None:
    assert "serve" in akool("webhook", "--help").out
    assert "AKOOL_CLIENT_ID" in akool("webhook", "serve", "--help").out
    assert os.environ.get("AKOOL_CLIENT_ID") is None
