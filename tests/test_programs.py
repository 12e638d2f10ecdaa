"""The small programs in examples/ run as they are: two web services, and a notebook cell by cell."""

from __future__ import annotations

import ast
import asyncio
import re
import runpy
from inspect import CO_COROUTINE
from pathlib import Path
from types import FunctionType
from typing import Any

import anyio
import httpx
import pytest

from akool_async import Completed, FixedSchedule
from akool_async.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
VIDEO = "https://example.com/talk.mp4"

pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="only beside the examples")


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sandbox:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AKOOL_API_KEY", "sandbox-test-key")
    monkeypatch.setattr("akool_async._client.client.LearnedSchedule", lambda: FixedSchedule(interval=0.05))
    return Sandbox(media=False, time_scale=10_000, result_days=1e6, sigma=0.1)


@pytest.mark.parametrize("program", ["service_fastapi", "service_starlette"])
def test_a_web_service_keeps_orders_over_a_restart(
    program: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def serve(http_calls: Any) -> Any:
        app = runpy.run_path(str(EXAMPLES / f"{program}.py"))["app"]
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as http,
        ):
            return await http_calls(http)

    async def order(http: httpx.AsyncClient) -> dict[str, str]:
        taken = await http.post("/videos", params={"url": VIDEO, "language": "ja,fr"})
        assert taken.status_code == 202
        for url, language in (
            (VIDEO, "not a language"),
            (VIDEO, "ja,,fr"),
            (VIDEO, "de,de"),
            (VIDEO, ""),
            ("", "de"),
            ("/etc/hostname", "de"),
            ("s3://bucket/talk.mp4", "de"),
        ):
            refused = await http.post("/videos", params={"url": url, "language": language})
            assert refused.status_code == 422, (url, language)
        keys: dict[str, str] = taken.json()
        return keys

    async def run() -> None:
        async with sandbox.serve() as server:
            monkeypatch.setenv("AKOOL_API_HOST", server.base_url)
            keys = await serve(order)
            assert sorted(keys) == ["fr", "ja"]

            async def result(http: httpx.AsyncClient) -> None:
                for language, key in keys.items():
                    with anyio.fail_after(50):
                        while True:
                            answer = await http.get(f"/videos/{key}", params={"language": language})
                            if answer.json()["state"] != "in progress":
                                break
                    assert answer.json() == {"state": "Completed", "reason": ""}
                assert (await http.get("/videos/nothing", params={"language": "ja"})).status_code == 404

            await serve(result)

    anyio.run(run)

    assert sorted(path.name for path in tmp_path.glob("out/*.mp4")) == ["talk.fr.mp4", "talk.ja.mp4"]
    assert len(sandbox.audit.jobs) == 2


def test_a_notebook_runs_cell_by_cell_and_again_without_paying_again(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = re.split(r"^# %%.*\n", (EXAMPLES / "notebook.py").read_text(encoding="utf-8"), flags=re.MULTILINE)

    async def run_notebook() -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": "__main__"}
        for cell in cells:
            code = compile(cell, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            made = FunctionType(code, names)()
            if code.co_flags & CO_COROUTINE:
                await asyncio.create_task(made)  # in a task of its own, as Jupyter's kernel runs each cell
        return names

    async def run() -> list[dict[str, Any]]:
        async with sandbox.serve() as server:
            monkeypatch.setenv("AKOOL_API_HOST", server.base_url)
            return [await run_notebook() for _ in range(2)]

    first, again = asyncio.run(run())

    for names in (first, again):
        assert {code: type(outcome) for code, outcome in names["outcomes"].items()} == {
            "ja": Completed,
            "fr": Completed,
        }
    assert len(sandbox.audit.jobs) == 2


def test_the_documentation_shows_the_service_as_it_is() -> None:
    page = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    _, program = (EXAMPLES / "service_fastapi.py").read_text(encoding="utf-8").split("\n\n", 1)

    assert code == program
