"""Mutants of the code that decides about money: each is one wrong line, which a named test has to see.

`python -m tests.mutants` plants each into a copy of the package and runs its tests, which have to fail.
`python -m tests.mutants WORDS` does so for those whose description holds the words.
`python -m tests.mutants --survey AREA ...` lets mutmut change whole files, and prints what no test saw and
`mutants.toml` does not list; `--sample 150 --seed 12` tries so many of the changes only.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from random import Random

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
        "_batch/post.py",
        "        for entry in post.doubts:\n            self._state.budget.count_unknown(entry.name)\n",
        "",
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
        "                if pause and call.patient:\n",
        "                tries.attempts += 1\n                if pause and call.patient:\n",
        ("tests/batch/test_rate_limits.py",),
    ),
    Mutant(
        "the pace is not told of a rate-limited answer",
        "_batch/post.py",
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
        "named = not refused and may_name_job(failed.body, call.payload)",
        "named = False",
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
        "return part.code not in (None, SUCCESS) and not holds_id(part.raw, create_payload(request))",
        "return part.code not in (None, SUCCESS)",
        ("tests/wire/test_submission.py",),
    ),
    Mutant(
        "a range that begins elsewhere is appended",
        "_download/ranges.py",
        "if not (whole or first == received) or last < first",
        "if last < first",
        ("tests/download/test_ranges.py",),
    ),
    Mutant(
        "a file of another length counts as complete",
        "_download/ranges.py",
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


LIFE = ("tests/batch/test_life.py", "tests/batch/test_life_resumed.py")
AREAS = (
    Area("limits", "_batch/limits.py", ("tests/batch/test_limit_rules.py", "tests/batch/test_slots.py")),
    Area(
        "queues",
        "_batch/entry.py",
        ("tests/batch/test_queues.py", "tests/batch/test_outcome_queue.py"),
        ("put", "get", "close", "drop_oldest", "adopt", "claim", "fail", "complete"),
    ),
    Area(
        "dispositions",
        "_batch/post.py",
        ("tests/batch/test_dispositions.py", "tests/batch/test_recording.py", *LIFE),
    ),
    Area(
        "submit",
        "_batch/life.py",
        (*LIFE, "tests/batch/test_rate_limits.py", "tests/batch/test_pay_again.py"),
    ),
    Area(
        "exchange",
        "_http/exchange.py",
        (
            "tests/client/test_exchange.py",
            "tests/client/test_answer_meaning.py",
            "tests/client/test_shielded_call.py",
        ),
    ),
    Area("senders", "_http/senders.py", ("tests/client/test_exchange.py", "tests/client/test_headers.py")),
    Area("answers", "_wire/responses.py", ("tests/wire",)),
    Area(
        "journal",
        "_journal/operations.py",
        (
            "tests/journal/test_contract.py",
            "tests/journal/test_walks.py",
            "tests/journal/test_undone_posts.py",
            "tests/journal/test_names.py",
            "tests/journal/test_memory.py",
            "tests/journal/test_withdrawing.py",
            "tests/journal/test_concurrency.py",
        ),
    ),
    Area(
        "ranges",
        "_download/ranges.py",
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
SURVIVORS: dict[str, dict[str, str]] = tomllib.loads((TESTS / "mutants.toml").read_text())
"""By file the changed lines that no test can see, or need not, and why they do no harm."""
SEEN_BY_EXIT_CODE = frozenset({1, 3, 24, -24, 36, 152, 255})
"""What mutmut notes of a change that a test saw, or that never came to its end."""


@dataclass(frozen=True)
class Change:
    """One change that mutmut makes: its name, and the lines that differ."""

    name: str
    before: str
    after: str

    @property
    def function(self) -> str:
        """The name of the function, or of the method without its class."""
        return self.name.rpartition("__mutmut_")[0].rpartition("ǁ")[2].removeprefix("x_")


@dataclass(frozen=True)
class Survey:
    """What became of the changes of an area.

    Attributes:
        possible: how many there are.
        tried: how many were tried.
        harmless: those that no test saw and that are listed.
        survived: those that no test saw and that are not.
    """

    possible: int
    tried: int
    harmless: list[Change]
    survived: list[Change]


def survey_of(area: Area, folder: Path, sample: int, seed: int) -> Survey:
    """Change an area in all ways, or in `sample` ways that `seed` chooses."""
    copy_tree(folder)
    settings = SETTINGS.format(area=area, tests=json.dumps(list(area.tests)))
    (folder / "pyproject.toml").write_text((TESTS.parent / "pyproject.toml").read_text() + settings)
    mutmut(folder, "run", "--max-children", "1", "nothing")  # makes the changes, and times the tests
    module = folder / "mutants" / "akool_async" / area.file
    changes = [
        change
        for change in changes_of(module.read_text())
        if not area.functions or change.function in area.functions
    ]
    if not changes:
        raise RuntimeError(f"There is nothing to change in {area.name}.")
    chosen = changes if len(changes) <= sample else Random(seed).sample(changes, sample)
    name = f"akool_async.{area.file.removesuffix('.py').replace('/', '.')}"
    output = mutmut(folder, "run", "--max-children", "2", *(f"{name}.{change.name}" for change in chosen))
    codes = json.loads(module.with_name(f"{module.name}.meta").read_text())["exit_code_by_key"]
    results = {change: codes[f"{name}.{change.name}"] for change in chosen}
    if None in results.values():
        raise RuntimeError(f"The tests of {area.name} do not run: {output[-2000:]}")
    unseen = [change for change in chosen if results[change] not in SEEN_BY_EXIT_CODE]
    listed = SURVIVORS.get(area.file, {})
    return Survey(
        len(changes),
        len(chosen),
        [change for change in unseen if change.after in listed],
        [change for change in unseen if change.after not in listed],
    )


def changes_of(source: str) -> list[Change]:
    """Return the changes in a file of mutmut, but for those of words."""
    functions = {
        node.name: node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "__mutmut_" in node.name
    }
    changes = []
    for name, mutant in functions.items():
        if not name.endswith("_orig"):
            original = functions[re.sub(r"\d+$", "orig", name)]
            bodies = [ast.unparse(ast.Module(node.body, [])) for node in (original, mutant)]
            if len({ast.unparse(WithoutWords().visit(ast.parse(body))) for body in bodies}) == 2:
                lines = [body.split("\n") for body in bodies]
                removed, added = (
                    " ".join(line[1:].strip() for line in unified_diff(*lines, n=0) if re.match(sign, line))
                    for sign in (r"-(?!--)", r"\+(?!\+\+)")
                )
                changes.append(Change(name, removed, added))
    return changes


class WithoutWords(ast.NodeTransformer):
    """Leaves out what is said in an error, or None in its place, and "" where a header is missing."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        text = node.value
        spoken = isinstance(text, str) and (" " in text or text in ("", "XXXX"))
        return ast.Constant("") if spoken or text is None else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        spoken = any(isinstance(part, ast.Constant) and " " in str(part.value) for part in node.values)
        return ast.Constant("") if spoken else node


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


def survey(names: list[str], sample: int, seed: int) -> int:
    """Let mutmut change the areas; return how many changes no test saw that are not listed."""
    unseen = 0
    for area in AREAS:
        if not names or area.name in names:
            with tempfile.TemporaryDirectory() as folder:
                found = survey_of(area, Path(folder), sample, seed)
            seen = found.tried - len(found.harmless) - len(found.survived)
            print(
                f"{area.name}: {seen} of {found.tried} changes seen ({seen / found.tried:.0%}), "
                f"{len(found.harmless)} do no harm, {len(found.survived)} survived; "
                f"of {found.possible}, seed {seed}",
                *(f"{change.name}\n    - {change.before}\n    + {change.after}" for change in found.survived),
                sep="\n",
                flush=True,
            )
            unseen += len(found.survived)
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--survey", action="store_true")
    parser.add_argument("--sample", type=int, default=sys.maxsize)
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("words", nargs="*")
    told = parser.parse_args()
    if told.survey:
        sys.exit(survey(told.words, told.sample, told.seed) > 0)
    sys.exit(main(" ".join(told.words)) > 0)
