"""The examples of docs/embedding.md run, against the sandbox."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import httpx
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


def test_a_service_takes_orders_and_refuses_bad_ones_also_when_it_is_started_again(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    over = {"state": "Completed", "reason": ""}

    async def serve(*languages: str, files: int) -> list[int]:
        app = _names(0)["app"]
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as http,
        ):
            told = [
                await http.post("/videos", params={"url": "https://example.com/talk.mp4", "language": code})
                for code in languages
            ]
            with anyio.fail_after(50):
                while len(list(tmp_path.glob("out/*.mp4"))) < files:
                    await anyio.sleep(0.02)
            for answer, language in zip(told, languages, strict=True):
                if answer.status_code == 202:
                    url = f"/videos/{answer.json()[language]}"
                    with anyio.fail_after(50):  # its file has its name before it is over
                        while (ended := await http.get(url, params={"language": language})).json() != over:
                            assert ended.json()["state"] == "in progress"
                            await anyio.sleep(0.02)
            assert (await http.get("/videos/nothing", params={"language": "ja"})).status_code == 404
            return [answer.status_code for answer in told]

    async def run() -> None:
        async with sandbox.serve() as server:
            monkeypatch.setenv("AKOOL_API_HOST", server.base_url)
            assert await serve("ja", "not a language", files=1) == [202, 422]
            assert await serve("fr", files=2) == [202]

    anyio.run(run)

    assert sorted(path.name for path in tmp_path.glob("out/*.mp4")) == ["talk.fr.mp4", "talk.ja.mp4"]
    assert len(sandbox.audit.jobs) == 2


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
