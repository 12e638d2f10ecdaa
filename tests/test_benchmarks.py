"""Every benchmark runs, so that none is broken when it is needed; most figures say nothing here."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
NO_BENCHMARKS = {"everything", "frame", "vendor", "virtual"}
QUICK = {"catalog", "life", "plan"}
NAMES = [
    pytest.param(path.stem, marks=[pytest.mark.thorough] if path.stem not in QUICK else [])
    for path in sorted(BENCHMARKS.glob("*.py"))
    if path.stem not in NO_BENCHMARKS
]


KEPT = {"life": {"files entered": 47, "changes of file": 397}}
"""What is a count and no measurement, and must not grow: the files that a reader of one job's way enters. The
changes are 393 where nothing else runs; tasks that take their turns in another order make a few more."""


@pytest.mark.timeout(600)  # both cores may be busy, and nothing here is about time
@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_form_of_a_benchmark_runs(name: str, tmp_path: Path) -> None:
    ratios = tmp_path / "ratios.json"
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--smallest", "--json", str(ratios)]
    # As everywhere in the tests, a warning is an error; the package is the one that is tested here.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "error"}

    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stderr[-2000:]
    # Where the package complains, the benchmark measures something else than it says.
    said = [line for line in run.stderr.splitlines() if not line.startswith("Paid calls under way")]
    assert said == []
    found = json.loads(ratios.read_text(encoding="utf-8"))
    assert found
    assert all(math.isfinite(ratio) for ratio in found.values()), found
    for measure, most in KEPT.get(name, {}).items():
        assert found[measure] <= most
