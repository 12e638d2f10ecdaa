"""The doctor finds what is wrong, says what to do, shows no secret and changes nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from akool_async import State
from akool_async.cli.commands import doctor
from akool_async.sandbox import Sandbox, ScaledClock
from tests.cli.conftest import Book, Command
from tests.cli.terminal import on_terminal
from tests.journal.test_lock import another_run


@pytest.fixture
def vendor(serve: Callable[..., Sandbox]) -> Sandbox:
    """A sandbox whose clock is ours."""
    return serve(time_scale=1.0)


@pytest.fixture
def found(akool: Command, out: Path) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Give a function that examines, and gives the exit code and the findings that are not ok."""

    def examine(*arguments: object) -> tuple[int, dict[str, Any]]:
        told = akool("doctor", "--json", "--out", out, *arguments)
        findings = json.loads(told.out)
        assert len({finding["check"] for finding in findings}) >= 5
        return told.code, {one["check"]: one for one in findings if one["level"] != "ok"}

    return examine


def test_all_is_well(akool: Command, vendor: Sandbox, out: Path) -> None:
    told = akool("doctor", "--out", out)
    lines = [line.split("\t") for line in told.out.splitlines()]

    assert told.code == 0
    assert [line[:2] for line in lines] == [
        ["ok", what] for what in ("versions", "credentials", "host", "clock", "account", "folder", "journal")
    ]
    assert "127.0.0.1 port" in lines[2][2]
    assert "100,000 credits" in lines[4][2]
    assert not out.exists()
    assert vendor.audit.creates == ()


def test_no_key(found: Callable[..., Any], vendor: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AKOOL_API_KEY")
    code, wrong = found()

    assert (code, list(wrong)) == (3, ["credentials"])
    assert "AKOOL_API_KEY" in wrong["credentials"]["advice"]


def test_half_a_pair(found: Callable[..., Any], vendor: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AKOOL_API_KEY")
    monkeypatch.setenv("AKOOL_CLIENT_SECRET", "half-of-a-pair")
    code, wrong = found()

    assert (code, list(wrong)) == (3, ["credentials"])
    assert "half-of-a-pair" not in str(wrong)


def test_a_wrong_key(found: Callable[..., Any], vendor: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AKOOL_API_KEY", "another-canary")
    code, wrong = found()

    assert (code, list(wrong)) == (3, ["account"])
    assert "1101" in wrong["account"]["detail"]
    assert "another-canary" not in str(wrong)


def test_a_key_file_that_others_can_read(found: Callable[..., Any], vendor: Sandbox, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(vendor.settings.api_key)
    key.chmod(0o644)
    code, wrong = found("--key-file", key)
    key.chmod(0o600)
    none, missing = found("--key-file", tmp_path / "none")

    assert (code, list(wrong)) == (0, ["credentials"])
    assert wrong["credentials"]["advice"] == f"Run: chmod 600 {key}"
    assert found("--key-file", key) == (0, {})
    assert (none, list(missing)) == (3, ["credentials"])


def test_no_credits(found: Callable[..., Any], serve: Callable[..., Sandbox]) -> None:
    serve(time_scale=1.0, credits=0)
    code, wrong = found()

    assert (code, wrong["account"]["level"]) == (0, "warning")


def test_a_host_that_is_down(found: Callable[..., Any], vendor: Sandbox, free_port: int) -> None:
    code, wrong = found("--host", f"http://127.0.0.1:{free_port}")

    assert (code, list(wrong)) == (1, ["host"])
    assert "can't be reached" in wrong["host"]["detail"]


def test_a_host_that_has_no_address(found: Callable[..., Any], vendor: Sandbox) -> None:
    code, wrong = found("--host", "https://nowhere.invalid")

    assert (code, list(wrong)) == (1, ["host"])
    assert "nowhere.invalid can't be reached: the name has no address" in wrong["host"]["detail"]


def test_a_host_that_would_show_the_key(found: Callable[..., Any], vendor: Sandbox) -> None:
    code, wrong = found("--host", "http://example.com")

    assert (code, list(wrong)) == (1, ["host"])
    assert "plain http" in wrong["host"]["detail"]


def test_a_clock_that_is_wrong(found: Callable[..., Any], serve: Callable[..., Sandbox]) -> None:
    serve(clock=ScaledClock(start=time.time() + 300))
    code, wrong = found()

    assert (code, list(wrong)) == (0, ["clock"])
    assert "behind the host's" in wrong["clock"]["detail"]


def test_a_folder_that_is_a_file(found: Callable[..., Any], vendor: Sandbox, out: Path) -> None:
    out.write_text("")
    code, wrong = found()

    assert (code, "folder" in wrong) == (1, True)
    assert "--out" in wrong["folder"]["advice"]


@pytest.mark.parametrize(("free", "code", "level"), [(10 * 2**20, 1, "bad"), (2**30, 0, "warning")])
def test_a_full_disk(
    free: int,
    code: int,
    level: str,
    found: Callable[..., Any],
    vendor: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))

    ended, wrong = found()
    assert (ended, wrong["folder"]["level"]) == (code, level)


def test_a_journal_that_is_broken_or_written(found: Callable[..., Any], vendor: Sandbox, book: Book) -> None:
    book.enter(("a", State.IN_DOUBT))
    doubtful = found()
    with another_run(book.path):
        written = found()
    book.path.with_name("jobs.sqlite3-wal").unlink(missing_ok=True)
    book.path.write_text("no journal at all" * 50)
    broken = found()

    assert (doubtful[0], written[0], broken[0]) == (0, 0, 1)
    assert "resolve" in doubtful[1]["journal"]["advice"]
    assert "resolve" in written[1]["journal"]["advice"]
    assert "damaged or is not a journal" in broken[1]["journal"]["detail"]


def test_a_run_that_writes_the_journal_is_named(
    found: Callable[..., Any], vendor: Sandbox, book: Book
) -> None:
    book.enter(("a", State.DELIVERED))
    with another_run(book.path) as run:
        code, wrong = found()

    assert (code, list(wrong)) == (0, ["journal"])
    assert f"process {run.pid}" in wrong["journal"]["detail"]


def test_it_fits_a_narrow_terminal(vendor: Sandbox, out: Path) -> None:
    told = on_terminal("doctor", "--out", out, columns=40)

    assert told.code == 0
    assert "\x1b" not in told.text
    assert all(len(line) <= 40 for line in told.text.splitlines())
