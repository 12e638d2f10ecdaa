"""The examples of docs/embedding.md run, against the sandbox."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from akool_async import (
    Completed,
    FixedSchedule,
    JournalLockedError,
    TranslationRequest,
    open_journal,
)
from akool_async.sandbox import Sandbox

PAGE = Path(__file__).resolve().parents[1] / "docs" / "embedding.md"

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="only where the documentation is")


def _names(example: int) -> dict[str, object]:
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[example]
    names: dict[str, object] = {"__name__": "example"}
    exec(compile(code, f"example {example + 1}", "exec", dont_inherit=True), names)
    return names


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sandbox:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AKOOL_API_KEY", "sandbox-test-key")
    monkeypatch.setattr("akool_async._client.client.LearnedSchedule", lambda: FixedSchedule(interval=0.05))
    return Sandbox(media=False, time_scale=10_000, result_days=1e6, sigma=0.1)


def test_a_service_does_not_take_orders_for_a_journal_that_another_one_is_writing(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        monkeypatch.setenv("AKOOL_API_HOST", "http://127.0.0.1:9")
        app = _names(0)["app"]
        async with open_journal("jobs.sqlite3"):
            with pytest.raises(JournalLockedError):
                async with app.router.lifespan_context(app):
                    pytest.fail("It started.")

    anyio.run(run)


def test_a_task_that_a_queue_runs_twice_is_paid_once(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> list[object]:
        async with sandbox.serve() as server:
            monkeypatch.setenv("AKOOL_API_HOST", server.base_url)
            return [await _names(3)["translate_once"]("42", "https://example.com/talk.mp4") for _ in range(2)]

    first, again = anyio.run(run)

    assert isinstance(first, Completed)
    assert first.saved.video.exists()
    assert again.resumed
    assert len(sandbox.audit.jobs) == 1


def test_a_source_in_a_database_is_read_in_a_thread(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def run() -> None:
        async with sandbox.serve() as server:
            monkeypatch.setenv("AKOOL_API_HOST", server.base_url)
            await _names(2)["translate_all"]()

    with closing(sqlite3.connect(tmp_path / "videos.sqlite3")) as database, database:
        database.execute("CREATE TABLE video (id INTEGER PRIMARY KEY, url TEXT)")
        database.executemany(
            "INSERT INTO video (url) VALUES (?)", [(f"https://example.com/{n}.mp4",) for n in range(3)]
        )
    anyio.run(run)

    assert len([*tmp_path.glob("out/*.mp4")]) == 3


def test_what_was_started_in_one_task_is_stopped_in_another(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def run() -> object:
        async with sandbox.serve() as server:
            monkeypatch.setenv("AKOOL_API_HOST", server.base_url)
            names = _names(1)
            opened = await asyncio.create_task(names["start"]())
            ticket = await opened[2].submit(
                TranslationRequest(url="https://example.com/talk.mp4", targets="ja")
            )
            outcome = await ticket.outcome()
            await asyncio.create_task(names["stop"](*opened))
            return outcome

    assert isinstance(asyncio.run(run()), Completed)
    assert (tmp_path / "out" / "talk.ja.mp4").exists()
