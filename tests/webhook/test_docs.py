"""The examples of docs/webhooks.md run, together, against the sandbox."""

from __future__ import annotations

import re
from pathlib import Path

import anyio
import pytest

from akool_async.sandbox import Fault, Sandbox

from .conftest import CLIENT_ID, SECRET, served

PAGE = Path(__file__).resolve().parents[2] / "docs" / "webhooks.md"

pytestmark = [
    pytest.mark.skipif(not PAGE.exists(), reason="only where the documentation is"),
]


def _example(number: int) -> str:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[number]


def test_a_receiver_and_a_batch_resolve_doubts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AKOOL_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("AKOOL_API_KEY", SECRET)
    hooks: dict[str, object] = {}
    exec(compile(_example(0), "receiver", "exec"), hooks)

    async def run() -> None:
        sandbox = Sandbox(api_key=SECRET, client_id=CLIENT_ID, media=False, time_scale=500.0, sigma=0.1)
        sandbox.faults.add(Fault(on="create", kind="reset_after", nth=(2, 5)))
        async with sandbox.serve() as server:
            monkeypatch.setenv("AKOOL_API_HOST", server.base_url)
            await names["main"]()

    with served(hooks["app"]) as origin:
        code = _example(1).replace("anyio.run(main)", "").replace("https://me.example", origin)
        names: dict[str, object] = {}
        exec(compile(code, "batch", "exec"), names)
        anyio.run(run)

    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "2 doubts resolved"
    assert [line.rpartition(" ")[2] for line in printed[:-1]] == ["Completed"] * 6


def test_a_sealed_body_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    exec(compile(_example(2), "seal", "exec"), names)

    printed = capsys.readouterr().out
    assert printed.startswith("200\n")
    assert "delivered=1" in printed
