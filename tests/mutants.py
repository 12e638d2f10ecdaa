"""Mutants of the code that decides about money: each is one wrong line, which a named test has to see.

`python -m tests.mutants` plants each into a copy of the package and runs its tests, which have to fail.
`python -m tests.mutants WORDS` does so for those whose description holds the words.
`python -m tests.mutants --survey AREA ...` lets mutmut change whole files, and prints what no test saw.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
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
        "            spent += jobs * max(dearest, self._estimates.get(other, 0.0))",
        "            spent += 0 * jobs * len(other)",
        ("tests/batch/test_limit_rules.py",),
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
        "return part.code not in (None, SUCCESS) and not holds_id(part.raw)",
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


@dataclass(frozen=True)
class Area:
    """Code that mutmut changes in every way that it knows.

    Attributes:
        name: for the command line.
        file: below the package.
        tests: what has to fail, as arguments of pytest.
        functions: those that are changed; all of the file without any.
    """

    name: str
    file: str
    tests: tuple[str, ...]
    functions: tuple[str, ...] = ()


AREAS = (
    Area("limits", "_batch/limits.py", ("tests/batch/test_limit_rules.py",)),
    Area("slots", "_batch/limits.py", ("tests/batch/test_slots.py",)),
    Area("dispositions", "_batch/post.py", ("tests/batch/test_dispositions.py",)),
    Area("submit", "_batch/life.py", ("tests/batch", "tests/vendor/test_answers.py")),
    Area("exchange", "_http/exchange.py", ("tests/client",)),
    Area("classification", "_wire/responses.py", ("tests/wire",)),
    Area("journal", "_journal/operations.py", ("tests/journal",)),
    Area(
        "ranges",
        "_download/fetch.py",
        ("tests/download/test_ranges.py",),
        ("read_range", "_read_partial", "_strong_etag", "_content_length"),
    ),
)
SETTINGS = """
[tool.mutmut]
source_paths = ["akool_async/"]
only_mutate = ["akool_async/{area.file}"]
also_copy = ["tests", "pyproject.toml"]
do_not_mutate_patterns = ["logger\\\\."]
pytest_add_cli_args = ["-q", "-x", "-n", "0", "-p", "no:randomly", "-p", "no:cacheprovider"]
pytest_add_cli_args_test_selection = {tests}
"""
LITERAL = re.compile(r"""f?"[^"]*"|f?'[^']*'|None""")

HARMLESS = {
    "self._posting = None": "as false as False",
    "self._answered = None": "as false as False",
    "self._let_all = None": "as false as False",
    "seconds = float(wait[:7]) if wait.isascii() and wait.isdigit() else None": "cut to 300 s later",
}
"""Changed lines that no test can see, and why they do no harm."""


def survivors_of(area: Area, folder: Path) -> tuple[int, list[str]]:
    """Return how many mutants of an area were tried, and the changes that no test saw."""
    copy_tree(folder)
    settings = SETTINGS.format(area=area, tests=json.dumps(list(area.tests)))
    (folder / "pyproject.toml").write_text((TESTS.parent / "pyproject.toml").read_text() + settings)
    module = f"akool_async.{area.file.removesuffix('.py').replace('/', '.')}"
    names = [f"{module}.x_{function}__mutmut*" for function in area.functions]
    mutmut(folder, "run", "--max-children", "2", *names)
    lines = mutmut(folder, "results", "--all", "true").split("\n")
    results = dict(line.strip().split(": ") for line in lines if module in line)
    tried = [name for name, result in results.items() if result != "not checked"]
    survived = []
    for name in tried:
        if results[name] not in ("killed", "timeout"):
            difference = mutmut(folder, "show", name).split("\n")
            before, after = (
                "".join(line[1:].strip() for line in difference if re.match(rf"[{sign}] ", line))
                for sign in "-+"
            )
            if without_words(before) != without_words(after) and after not in HARMLESS:
                survived.append(f"{name}\n    - {before}\n    + {after}")
    return len(tried), survived


def without_words(code: str) -> str:
    """Leave out what is said in an error, or None in its place, and "" where a header is missing."""

    def kept(literal: re.Match[str]) -> str:
        text = literal[0]
        return "" if text in ("None", '""', '"XXXX"') or " " in text else text

    return LITERAL.sub(kept, code)


def mutmut(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


def copy_tree(folder: Path) -> None:
    """Copy the package, wherever it is installed, and its tests."""
    spec = importlib.util.find_spec("akool_async")
    assert spec is not None
    assert spec.origin is not None
    shutil.copytree(Path(spec.origin).parent, folder / "akool_async")
    shutil.copytree(TESTS, folder / "tests")


def problem_of(mutant: Mutant) -> str:
    """Return why a mutant is not seen, or ""."""
    with tempfile.TemporaryDirectory() as folder:
        copy_tree(Path(folder))
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


def survey(names: list[str]) -> int:
    """Let mutmut change the areas; return how many changes no test saw."""
    unseen = 0
    for area in AREAS:
        if not names or area.name in names:
            with tempfile.TemporaryDirectory() as folder:
                tried, survived = survivors_of(area, Path(folder))
            print(
                f"{area.name}: {tried - len(survived)} of {tried} changes seen",
                *survived,
                sep="\n",
                flush=True,
            )
            unseen += len(survived)
    return unseen


def main(words: str) -> int:
    """Try the mutants; return how many are not seen."""
    chosen = [mutant for mutant in MUTANTS if words in mutant.what]
    with ThreadPoolExecutor(2) as threads:
        problems = list(threads.map(problem_of, chosen))
    for mutant, problem in zip(chosen, problems, strict=True):
        print(f"{problem or 'seen':<12} {mutant.what} ({mutant.file})")
    return sum(map(bool, problems))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--survey"]:
        sys.exit(survey(sys.argv[2:]) > 0)
    sys.exit(main(" ".join(sys.argv[1:])) > 0)
