"""The floors of the house, proved by reading the imports of every file.

A file imports floors below its own and its own folder, nothing else of the package. What each part may
use of the outside is told here too. Modules that are not built yet may be missing; a new one at the top
has to be given its floor below before it passes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import attrs
import pytest

import akool_async

ROOT: Final = "akool_async"
PACKAGE: Final = Path(akool_async.__file__).parent

FLOORS: Final = {
    name: floor
    for floor, names in enumerate(
        (
            "_core",
            "_clock _transport _download _journal _notifier _inbox",
            "_waiting",
            "_client",
            "_batch",
            "webhook sandbox workers",
            "cli testing __main__ __init__",
        )
    )
    for name in names.split()
}
STREET: Final = FLOORS["__init__"]
"""The floor whose parts may use each other: the command line starts from `__main__`."""

OUTSIDE_OF_CORE: Final = frozenset(
    "aiohttp anyio asyncio httpcore httpx httpx_aiohttp multiprocessing os random requests secrets select "
    "selectors signal sniffio socket sqlite3 ssl starlette subprocess sys threading time trio urllib3 uuid "
    "uvicorn".split()
)
"""Sockets, files, event loops, clocks, chance: none of it is a value or a rule."""

CLOCKS: Final = frozenset(
    "now utcnow today monotonic perf_counter time time_ns monotonic_ns getrandom urandom".split()
)
"""Calls that read a clock or throw dice, whatever they are called on."""


@attrs.frozen
class Import:
    """One module named by an import, and whether `from` takes names out of it."""

    module: str
    line: int


def imports_of(tree: ast.AST, package: str) -> Iterator[Import]:
    """Every module that a file imports, wherever in it: lazily, for typing only, or by name.

    Args:
        tree: the parsed file.
        package: the package that the file stands in, for relative imports.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            yield from _from(node, package)
        elif isinstance(node, ast.Call) and _name(node.func) in {"import_module", "__import__"}:
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield Import(argument.value, node.lineno)


def _from(node: ast.ImportFrom, package: str) -> Iterator[Import]:
    base = node.module or ""
    if node.level:
        parents = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*parents, base] if base else parents)
    if base == ROOT:  # `from akool_async import _client`: is it a part of the package, or a name of its root?
        for alias in node.names:
            yield Import(f"{ROOT}.{alias.name}" if alias.name in FLOORS else ROOT, node.lineno)
    else:
        yield Import(base, node.lineno)


def _name(func: ast.expr) -> str:
    return func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""


def part_of(module: str) -> str:
    """The part of the package that a dotted name stands in, such as "_core"."""
    return module.split(".")[1] if "." in module else "__init__"


def faults(source: str, path: str) -> list[str]:
    """What is wrong with the imports of one file.

    Args:
        source: its text.
        path: where it stands below the package, such as "_core/wire/answers.py".
    """
    tree = ast.parse(source)
    names = path.removesuffix(".py").split("/")
    module = ".".join([ROOT, *names])
    package = module.rpartition(".")[0]
    part = part_of(module)
    if part not in FLOORS:
        return [f"{path}: {part} has no floor yet"]
    found = list(imports_of(tree, package))
    wrong = [
        *_wrong_inside(part, found),
        *_wrong_outside(part, found),
        *(_clock_calls(tree) if part == "_core" else ()),
    ]
    return [f"{path}:{line}: {fault}" for line, fault in wrong]


def _wrong_inside(part: str, found: Iterable[Import]) -> Iterator[tuple[int, str]]:
    for one in found:
        if one.module == ROOT:
            yield one.line, "imports the package root"
        if not one.module.startswith(f"{ROOT}."):
            continue
        other = part_of(one.module)
        if other not in FLOORS:
            yield one.line, f"imports {other}, which has no floor yet"
        elif other == part or FLOORS[other] < FLOORS[part] or FLOORS[other] == FLOORS[part] == STREET:
            continue
        else:
            how = "beside it" if FLOORS[other] == FLOORS[part] else "above it"
            yield one.line, f"{part} imports {other}, which is {how}"


def _wrong_outside(part: str, found: Iterable[Import]) -> Iterator[tuple[int, str]]:
    for one in found:
        top = one.module.partition(".")[0]
        if top == "asyncio" and part != "workers":
            yield one.line, "imports asyncio"
        elif part == "_core" and (top in OUTSIDE_OF_CORE or one.module == "urllib.request"):
            yield one.line, f"_core imports {one.module}"


def _clock_calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS:
            yield node.lineno, f"_core calls {node.func.attr}()"


FILES: Final = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES)
def test_every_file_keeps_to_its_floor(path: str) -> None:
    assert faults((PACKAGE / path).read_text(encoding="utf-8"), path) == []


def test_there_is_something_to_read() -> None:
    assert {"__init__.py", "_client/client.py", "_core/wire/answers.py", "_transport/api.py"} <= set(FILES)


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("_core/x.py", "import httpx", "_core imports httpx"),
        ("_core/x.py", "import httpx._client as c", "_core imports httpx._client"),
        ("_core/x.py", "from anyio.abc import TaskGroup", "_core imports anyio.abc"),
        ("_core/x.py", "import json, sqlite3", "_core imports sqlite3"),
        ("_core/x.py", "import random", "_core imports random"),
        ("_core/x.py", "from time import monotonic", "_core imports time"),
        ("_core/x.py", "from urllib.request import urlopen", "_core imports urllib.request"),
        ("_core/x.py", "def f():\n    import asyncio", "imports asyncio"),
        ("_core/x.py", "from datetime import datetime\nx = datetime.now()", "_core calls now()"),
        (
            "_core/x.py",
            "from akool_async._client import AkoolClient",
            "_core imports _client, which is above it",
        ),
        ("_core/x.py", "from .. import _clock", "_core imports _clock, which is above it"),
        ("_core/deep/x.py", "from ..._waiting import Waiting", "_core imports _waiting, which is above it"),
        ("_transport/x.py", "import akool_async._journal", "_transport imports _journal, which is beside it"),
        ("_clock.py", "from ._notifier import Notifier", "_clock imports _notifier, which is beside it"),
        (
            "_download.py",
            "from akool_async import _transport",
            "_download imports _transport, which is beside it",
        ),
        (
            "_journal/x.py",
            "from akool_async._waiting import W",
            "_journal imports _waiting, which is above it",
        ),
        (
            "_waiting.py",
            "from akool_async._client import AkoolClient",
            "_waiting imports _client, which is above it",
        ),
        (
            "_client.py",
            "from akool_async._batch import open_batch",
            "_client imports _batch, which is above it",
        ),
        ("_batch/x.py", "from akool_async.webhook import Hooks", "_batch imports webhook, which is above it"),
        (
            "webhook/x.py",
            "from akool_async.sandbox import Sandbox",
            "webhook imports sandbox, which is beside it",
        ),
        ("sandbox/x.py", "from akool_async.cli import main", "sandbox imports cli, which is above it"),
        ("_client.py", "import akool_async", "imports the package root"),
        ("cli/x.py", "from akool_async import AkoolClient", "imports the package root"),
        ("sandbox/x.py", "from akool_async import *", "imports the package root"),
        ("_client.py", "from . import AkoolClient", "imports the package root"),
        ("_client.py", "if TYPE_CHECKING:\n    import asyncio", "imports asyncio"),
        ("cli/x.py", "import asyncio.subprocess", "imports asyncio"),
        (
            "_client.py",
            "import importlib\nimportlib.import_module('akool_async._batch')",
            "_batch, which is above it",
        ),
        ("_client.py", "__import__('asyncio')", "imports asyncio"),
        ("_client.py", "from akool_async._attic import x", "imports _attic, which has no floor yet"),
        ("_attic.py", "", "_attic has no floor yet"),
    ],
)
def test_the_reader_sees_what_is_wrong(path: str, source: str, fault: str) -> None:
    (found,) = faults(source, path)

    assert found.startswith(f"{path}:")
    assert fault in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "_core/x.py",
            "import json\nfrom datetime import UTC\nfrom akool_async._core.errors import AkoolError",
        ),
        ("_core/x.py", "from .errors import AkoolError\nfrom . import text"),
        ("_core/x.py", "from urllib.parse import urlsplit\nimport attrs, backoff, cattrs"),
        (
            "_transport/x.py",
            "from akool_async._transport.gate import Gate\nfrom akool_async._core import wire",
        ),
        ("_batch.py", "from akool_async import _client\nfrom akool_async._journal import Journal"),
        ("sandbox/x.py", "def client():\n    from akool_async._client import AkoolClient"),
        ("workers/taskiq.py", "import asyncio\nfrom akool_async._batch import open_batch"),
        ("__main__.py", "from akool_async.cli import main"),
        ("__init__.py", "from akool_async._client import AkoolClient"),
        ("_client.py", "import akool_async_plugins\nimport os"),
    ],
)
def test_the_reader_lets_pass_what_is_right(path: str, source: str) -> None:
    assert faults(source, path) == []
