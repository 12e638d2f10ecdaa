"""The tables in the documentation are those that the code goes by.

`python -m tests.test_docs` writes them anew.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from textwrap import dedent

import pytest

import akool_async
import akool_async.ledger
import akool_async.otel
import akool_async.sandbox
import akool_async.testing
import akool_async.webhook
import akool_async.workers.dbos
from akool_async import AkoolError
from akool_async._model.codes import CODES, POLICY, error_for
from akool_async._model.states import RESUME_ACTIONS, TRANSITIONS, State

ROOT = Path(__file__).resolve().parents[1]
FAILURES = ROOT / "docs" / "failures.md"

pytestmark = pytest.mark.skipif(not FAILURES.exists(), reason="only where the documentation is")


def _table(head: str, rows: Iterable[tuple[str, ...]]) -> str:
    names = [name.strip() for name in head.split("|")]
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def calls() -> str:
    """What a failed call leads to."""
    rows = ((failure.value, free.value, paid.value) for failure, (free, paid) in POLICY.items())
    return _table("what happens | a call that may be repeated | the paid POST", rows)


def codes() -> str:
    """The vendor's codes."""
    rows = (
        (str(code), row.meaning, f"`{type(error_for(code)).__name__}`")
        for code, row in CODES.items()
        if code != 1000
    )
    return _table("code | meaning | error", rows)


def states() -> str:
    """The states of an entry."""
    rows = (
        (
            state.name,
            ", ".join(after.name for after in State if after in TRANSITIONS[state]) or "-",
            resume.value,
        )
        for state, resume in RESUME_ACTIONS.items()
    )
    return _table("state | may be followed by | what the next run does", rows)


def errors() -> str:
    """The tree of errors: each below what it is a kind of."""
    for name in akool_async.__all__:
        getattr(akool_async, name)  # an error is known once its module is imported

    def below(parent: type[AkoolError]) -> Iterable[tuple[str, ...]]:
        for error in parent.__subclasses__():
            if error.__name__ in akool_async.__all__:
                said = (inspect.getdoc(error) or "").partition("\n")[0]
                told = " ".join(filter(None, (error.impact, error.advice))) or "-"
                yield f"`{error.__name__}`", f"`{parent.__name__}`", said, told
                yield from below(error)

    return _table("error | base | what happened | impact and advice", below(AkoolError))


TABLES: dict[str, Callable[[], str]] = {"calls": calls, "codes": codes, "states": states, "errors": errors}


def _place(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)", re.DOTALL)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_says_what_the_code_does(name: str) -> None:
    found = _place(name).search(FAILURES.read_text(encoding="utf-8"))

    assert found is not None
    assert found[0] == TABLES[name]()


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted(FAILURES.parent.glob("*.md"))], ids=lambda page: page.name
)
def test_a_page_links_to_pages_that_are_there(page: Path) -> None:
    links = re.findall(r"\]\(((?:docs/)?[\w-]+\.md)\)", page.read_text(encoding="utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted(FAILURES.parent.rglob("*.md"))], ids=lambda page: page.name
)
def test_an_example_is_a_program_as_it_stands(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for block in re.finditer(r"^( *)```python[^\n]*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        line = text[: block.start()].count("\n") + 1
        compile(dedent(block[2]), f"{page.name}, line {line}", "exec")


def test_the_readme_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert [page.name for page in FAILURES.parent.glob("*.md") if f"(docs/{page.name})" not in readme] == []


if __name__ == "__main__":
    text = FAILURES.read_text(encoding="utf-8")
    for told, table in TABLES.items():
        text = _place(told).sub(lambda _, table=table: table(), text, count=1)
    FAILURES.write_text(text, encoding="utf-8")


def test_every_public_name_is_in_the_reference() -> None:
    pages = (ROOT / "docs" / "reference").glob("*.md")
    told = re.findall(r"^::: ([\w.]+)$", "\n".join(page.read_text(encoding="utf-8") for page in pages), re.M)
    wanted = [
        f"{module.__name__}.{name}"
        for module in (
            akool_async,
            akool_async.ledger,
            akool_async.otel,
            akool_async.sandbox,
            akool_async.testing,
            akool_async.webhook,
            akool_async.workers.dbos,
        )
        for name in module.__all__
    ]
    assert sorted(told) == sorted(wanted)


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    navigation = (ROOT / "docs" / "zensical.toml").read_text(encoding="utf-8")
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    pages |= {"index.md", "contributing.md", "changelog.md"}  # they lie elsewhere in the repository
    assert set(re.findall(r'"([\w/-]+\.md)"', navigation)) == pages
