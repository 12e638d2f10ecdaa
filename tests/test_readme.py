"""The README keeps its word: its examples run, and its commands are those that CI runs."""

from __future__ import annotations

import re
from pathlib import Path

import anyio
import pytest

from akool_async.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.thorough
@pytest.mark.timeout(300)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_example_runs(number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    code = compile(BLOCKS[number].replace("anyio.run(main)", ""), f"README example {number + 1}", "exec")
    names: dict[str, object] = {}
    exec(code, names)

    async def run() -> None:
        sandbox = Sandbox(media=False, time_scale=10_000, result_days=1e6, sigma=0.1)
        async with sandbox.serve() as server:
            monkeypatch.setenv("AKOOL_API_KEY", "sandbox-test-key")
            monkeypatch.setenv("AKOOL_API_HOST", server.base_url)
            await names["main"]()

    anyio.run(run)

    printed = capsys.readouterr().out
    assert printed or list((tmp_path / "out").glob("*.mp4"))


@pytest.mark.skipif(not (ROOT / ".ci" / "run").exists(), reason="only in the source tree")
def test_ci_runs_the_readmes_test_command() -> None:
    commands = re.findall(r"```sh\n(python3 -m venv .*?)\n```", README.read_text(encoding="utf-8"))

    assert len(commands) == 2
    assert commands[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
