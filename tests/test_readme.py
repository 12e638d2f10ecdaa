"""The README keeps its word: its examples run, and its commands are those that CI runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from akool_async import FixedSchedule
from akool_async.sandbox import Fault, Sandbox

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def run_example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    def run_example(example: str, *faults: str) -> None:
        names: dict[str, Any] = {}
        exec(compile(example.replace("anyio.run(main)", ""), "README example", "exec"), names)
        sandbox = Sandbox(
            media=False,
            time_scale=10_000,
            result_days=1e6,
            sigma=0.1,
            faults=[Fault.parse(fault) for fault in faults],
        )

        async def run() -> None:
            async with sandbox.serve() as server:
                monkeypatch.setenv("AKOOL_API_HOST", server.base_url)
                await names["main"]()

        anyio.run(run)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AKOOL_API_KEY", "sandbox-test-key")
    monkeypatch.setattr("akool_async._client.client.LearnedSchedule", lambda: FixedSchedule(interval=0.05))
    return run_example


@pytest.mark.thorough
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_example_runs(number: int, run_example: Callable[..., None], tmp_path: Path, capsys) -> None:
    run_example(BLOCKS[number])

    printed = capsys.readouterr().out
    assert printed or list((tmp_path / "out").glob("*.mp4"))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("create:omit_language:language=ja", "ja is in doubt"),
        ("create:refuse_language:language=ja:code=1203", "ja "),
        ("create:job_fails:language=ja", "ja "),
        ("cdn:http:status=404:language=ja", "ja "),
    ],
)
def test_no_language_hides_another_one_that_was_paid(
    fault: str, said: str, run_example: Callable[..., None], tmp_path: Path, capsys
) -> None:
    (example,) = (block for block in BLOCKS if "submission.accepted" in block)

    run_example(example, fault)

    assert capsys.readouterr().out.startswith(said)
    assert [path.name for path in (tmp_path / "out").glob("*.mp4")] == ["talk-captions.fr.mp4"]


@pytest.mark.skipif(not (ROOT / ".ci" / "run").exists(), reason="only in the source tree")
def test_ci_runs_the_readmes_test_command() -> None:
    commands = re.findall(r"```sh\n(python3 -m venv .*?)\n```", README.read_text(encoding="utf-8"))

    assert len(commands) == 2
    assert commands[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
