"""docs/sandbox.md lists every fault as the code has it, and its example runs.

`python -m tests.sandbox.test_docs` writes the table anew.
"""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from akool_async.cli.app import app
from akool_async.sandbox import Fault, FaultKind, fault_kinds

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sandbox.md"
PLACE = re.compile(r"(?<=<!-- faults -->\n).*?(?=<!-- end -->)", re.DOTALL)
API = [on for on in fault_kinds.API_ENDPOINTS if on not in ("create", "lipsync", "status")]

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="only where the documentation is")


def where(kind: FaultKind) -> str:
    places = [on for on, kinds in fault_kinds.SUITED.items() if kind in kinds and on not in ("*", "post")]
    if set(fault_kinds.API_ENDPOINTS) <= set(places):
        places = ["API", *(on for on in places if on not in fault_kinds.API_ENDPOINTS)]
    return ", ".join(places)


def table() -> str:
    """Return a row for each kind, from the docstring of its member."""
    body = ast.parse(inspect.getsource(fault_kinds)).body
    (members,) = [node.body for node in body if isinstance(node, ast.ClassDef) and node.name == "FaultKind"]
    rows = ["| kind | where | what happens |", "| --- | --- | --- |"]
    for member, said in zip(members[1::2], members[2::2], strict=True):
        assert isinstance(member, ast.Assign)
        assert isinstance(said, ast.Expr)
        kind = FaultKind(ast.literal_eval(member.value))
        text = re.sub(r" [A-Z][\w ,]* only\.$", "", " ".join(ast.literal_eval(said.value).split()))
        rows.append(f"| `{kind.value}` | {where(kind)} | {text} |")
    return "\n".join(rows) + "\n"


def test_every_kind_of_fault_is_documented() -> None:
    text = table()
    found = PLACE.search(PAGE.read_text(encoding="utf-8"))

    assert text.count("\n") == len(FaultKind) + 2
    assert found is not None
    assert found[0] == text


def test_the_faults_that_are_named_exist() -> None:
    written = re.findall(r"`((?:create|post|status|cdn|webhook|\*):[^`]+)`", PAGE.read_text(encoding="utf-8"))

    assert len(written) > 10
    for text in written:
        Fault.parse(text)


def test_the_options_that_are_named_exist() -> None:
    for line in re.findall(r"^\$ akool-async (sandbox .*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        _, bound, *_ = app.parse_args(shlex.split(line), exit_on_error=False, print_error=False)

        assert bound.arguments


def test_the_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("SubmissionInDoubt\n1 4.0 ['reset_after']\n", "")


if __name__ == "__main__":
    PAGE.write_text(PLACE.sub(lambda _: table(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
