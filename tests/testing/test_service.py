"""The tests of a service that docs/testing.md shows, under both plugins."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.testing.conftest import run_tests

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "testing.md"

pytestmark = [
    pytest.mark.skipif(not PAGE.exists(), reason="only where the documentation is"),
]


@pytest.mark.parametrize("plugin", ["anyio", pytest.param("asyncio", marks=pytest.mark.thorough)])
def test_the_tests_of_a_service_in_the_documentation(plugin: str, tmp_path: Path) -> None:
    program = ROOT / "examples" / "service_fastapi.py"
    (tmp_path / program.name).write_bytes(program.read_bytes())
    (code,) = re.findall(r"```py\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    run = run_tests(tmp_path, code.replace("mark.anyio", f"mark.{plugin}"))

    assert {*map(frozenset, run.outcomes.values())} == {frozenset({"PASSED"})}, run.output
    assert len(run.outcomes) == {"anyio": 4, "asyncio": 3}[plugin]
