"""Mutants of the code that decides about money: each is one wrong line, which a named test has to see.

`python -m tests.mutants` plants each into a copy of the package and runs its tests, which have to fail.
`python -m tests.mutants WORDS` does so for those whose description holds the words.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent
TIMEOUT = 300


@dataclass(frozen=True)
class Mutant:
    """One wrong line.

    Attributes:
        what: what is wrong with it.
        file: below the package.
        right: text of the package, which is there once.
        wrong: what is planted in its place.
        tests: what has to fail, as arguments of pytest.
    """

    what: str
    file: str
    right: str
    wrong: str
    tests: tuple[str, ...]


BUDGET = ("tests/vendor/test_budget.py", "-k", "lost or missing")
MUTANTS = (
    Mutant(
        "the budget is not told of a doubt",
        "_batch/life.py",
        "            self._state.budget.count_unknown(entry.name)\n        if post.answered:",
        "            pass\n        if post.answered:",
        BUDGET,
    ),
    Mutant(
        "the budget leaves doubts out of its sum",
        "_batch/limits.py",
        "spent, jobs = self._spent(), sum(self._unknown.values()) + 1",
        "spent, jobs = self._spent(), 1",
        BUDGET,
    ),
    Mutant(
        "a rate-limited attempt counts as one that failed",
        "_batch/life.py",
        "if entries and not post.rate_limited:",
        "if entries:",
        ("tests/batch/test_rate_limits.py",),
    ),
    Mutant(
        "a rate-limited call uses up an attempt",
        "_http/session.py",
        "                if pause and call.may_wait:\n",
        "                tries.attempts += 1\n                if pause and call.may_wait:\n",
        ("tests/batch/test_rate_limits.py",),
    ),
    Mutant(
        "the pace is not told of a rate-limited answer",
        "_batch/life.py",
        "            self._rate.rate_limited(sent=post.sent, now=self._clock.monotonic())",
        "            pass",
        ("tests/batch/test_rate_limits.py",),
    ),
    Mutant(
        "a code that the vendor sends with an id is a refusal",
        "_http/exchange.py",
        "jobs_may_exist = (refused and named) or",
        "jobs_may_exist =",
        ("tests/vendor/test_answers.py", "-k", "envelope or odd_form"),
    ),
    Mutant(
        "the id in a rate-limited answer is ignored",
        "_http/session.py",
        "if not refused and may_name_job(failed.body) else",
        "if False else",
        ("tests/vendor/test_answers.py", "-k", "envelope or odd_form"),
    ),
    Mutant(
        "an id in an unknown place of a refusal is ignored",
        "_wire/responses.py",
        "        if strays:\n",
        "        if False:\n",
        ("tests/wire/test_submission.py",),
    ),
    Mutant(
        "an id in the refusal of one language is ignored",
        "_wire/responses.py",
        "return part.code not in (None, SUCCESS) and not any(iter_job_objects(part.raw))",
        "return part.code not in (None, SUCCESS)",
        ("tests/wire/test_submission.py",),
    ),
    Mutant(
        "a range that begins elsewhere is appended",
        "_download/fetch.py",
        "if not (whole or first == received) or last < first",
        "if last < first",
        ("tests/download/test_ranges.py",),
    ),
    Mutant(
        "a file of another length counts as complete",
        "_download/fetch.py",
        "if unsatisfied is None or int(unsatisfied[1]) != received:",
        "if unsatisfied is None:",
        ("tests/download/test_ranges.py",),
    ),
)


def problem_of(mutant: Mutant) -> str:
    """Return why a mutant is not seen, or ""."""
    spec = importlib.util.find_spec("akool_async")
    assert spec is not None
    assert spec.origin is not None
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(Path(spec.origin).parent, Path(folder) / "akool_async")
        shutil.copytree(TESTS, Path(folder) / "tests")
        path = Path(folder) / "akool_async" / mutant.file
        text = path.read_text()
        if text.count(mutant.right) != 1:
            return f"its line is in {mutant.file} {text.count(mutant.right)} times"
        path.write_text(text.replace(mutant.right, mutant.wrong))
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
            *mutant.tests,
        ]
        run = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": folder},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        return {0: "it survives", 1: ""}.get(run.returncode, f"its tests do not run: {run.stdout[-500:]}")


def main(words: str) -> int:
    """Try the mutants; return how many are not seen."""
    chosen = [mutant for mutant in MUTANTS if words in mutant.what]
    with ThreadPoolExecutor(2) as threads:
        problems = list(threads.map(problem_of, chosen))
    for mutant, problem in zip(chosen, problems, strict=True):
        print(f"{problem or 'seen':<12} {mutant.what} ({mutant.file})")
    return sum(map(bool, problems))


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])) > 0)
