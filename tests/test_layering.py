"""The layers of the package, proved by reading the imports of every file.

A file imports from lower layers and from its own part of the package, and nothing else of the package. What
a part may use from outside is checked here too. A part in the table need not exist yet; a part that is not
in the table fails until it has a layer.
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

LAYERS: Final = {
    part: layer
    for layer, parts in enumerate(
        (
            "_model",
            "_aiohttp _background _clock _environment _library_logs _observer _retry",
            "_wire _polling _signals",
            "_http _download _journal",
            "_media _storage",
            "_client",
            "_batch",
            "webhook sandbox ledger captions otel",
            "report testing workers",
            "cli __main__ __init__",
        )
    )
    for part in parts.split()
}
"""The parts of the package, from the lowest layer up."""
TOP: Final = LAYERS["__init__"]
"""The parts of this layer may use each other: `__main__` starts the command line."""

PURE: Final = frozenset({"_model", "_wire", "_polling", "_retry"})
"""Values and rules: no I/O, no clock, no randomness."""
SCHEDULER: Final = "_polling/scheduler.py"
"""The one file of a pure part that may import anyio, and read a clock that is passed in."""

IMPURE_MODULES: Final = frozenset(
    "aiohttp anyio asyncio httpcore httpx httpx_aiohttp multiprocessing os random requests secrets select "
    "selectors signal sniffio socket sqlite3 ssl starlette subprocess sys threading time trio urllib3 uuid "
    "uvicorn".split()
)
"""Sockets, files, event loops, clocks, randomness."""

IMPURE_CALLS: Final = frozenset(
    "now utcnow today monotonic perf_counter time time_ns monotonic_ns getrandom urandom".split()
)
"""Calls that read a clock or random bytes, whatever they are called on."""


@attrs.frozen
class Import:
    """One module named by an import, and whether `from` takes names out of it."""

    module: str
    line: int


def imports_of(tree: ast.AST, package: str) -> Iterator[Import]:
    """Every module that a file imports, wherever in it: lazily, for typing only, or by name.

    Args:
        tree: the parsed file.
        package: the package that the file is in, for relative imports.
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
    if base == ROOT:  # `from akool_async import _client`: a part of the package, or a name of its root?
        for alias in node.names:
            yield Import(f"{ROOT}.{alias.name}" if alias.name in LAYERS else ROOT, node.lineno)
    else:
        yield Import(base, node.lineno)


def _name(func: ast.expr) -> str:
    return func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""


def part_of(module: str) -> str:
    """Return the part of the package that a module belongs to, such as "_model"."""
    return module.split(".")[1] if "." in module else "__init__"


def violations(source: str, path: str) -> list[str]:
    """Return what is wrong with the imports of one file.

    Args:
        source: its text.
        path: its path below the package, such as "_wire/responses.py".
    """
    tree = ast.parse(source)
    names = path.removesuffix(".py").split("/")
    module = ".".join([ROOT, *names])
    package = module.rpartition(".")[0]
    part = part_of(module)
    if part not in LAYERS:
        return [f"{path}: {part} has no layer yet"]
    found = list(imports_of(tree, package))
    wrong = [*_wrong_inside(part, found), *_asyncio_imports(part, found)]
    if part in PURE:
        schedules = path == SCHEDULER
        wrong += _impure_imports(part, found, allowed="anyio" if schedules else "")
        wrong += _impure_calls(part, tree, clock_allowed=schedules)
    return [f"{path}:{line}: {violation}" for line, violation in wrong]


def _wrong_inside(part: str, found: Iterable[Import]) -> Iterator[tuple[int, str]]:
    for one in found:
        if one.module == ROOT:
            yield one.line, "imports the package root"
        if not one.module.startswith(f"{ROOT}."):
            continue
        other = part_of(one.module)
        if other not in LAYERS:
            yield one.line, f"imports {other}, which has no layer yet"
        elif other != part and LAYERS[other] >= LAYERS[part] and not LAYERS[other] == LAYERS[part] == TOP:
            how = "beside it" if LAYERS[other] == LAYERS[part] else "above it"
            yield one.line, f"{part} imports {other}, which is {how}"


def _asyncio_imports(part: str, found: Iterable[Import]) -> Iterator[tuple[int, str]]:
    for one in found:
        if one.module.partition(".")[0] == "asyncio" and part not in ("_background", "workers"):
            yield one.line, "imports asyncio"


def _impure_imports(part: str, found: Iterable[Import], *, allowed: str) -> Iterator[tuple[int, str]]:
    for one in found:
        top = one.module.partition(".")[0]
        if top == "asyncio" or top == allowed:
            continue
        if top in IMPURE_MODULES or one.module == "urllib.request":
            yield one.line, f"{part} imports {one.module}"


def _impure_calls(part: str, tree: ast.AST, *, clock_allowed: bool) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr in IMPURE_CALLS and not (clock_allowed and _is_clock(node.func.value)):
            yield node.lineno, f"{part} calls {node.func.attr}()"


def _is_clock(receiver: ast.expr) -> bool:
    """Tell whether a call is made on a clock that was passed in, such as `self._clock`."""
    name = receiver.attr if isinstance(receiver, ast.Attribute) else getattr(receiver, "id", "")
    return name.lstrip("_") == "clock"


FILES: Final = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES)
def test_every_file_keeps_to_its_layer(path: str) -> None:
    assert violations((PACKAGE / path).read_text(encoding="utf-8"), path) == []


def test_there_is_something_to_read() -> None:
    assert {"__init__.py", "_client/__init__.py", "_journal/__init__.py"} <= set(FILES)
    assert len(FILES) > 50


@pytest.mark.parametrize(
    ("path", "source", "violation"),
    [
        ("_model/x.py", "import httpx", "_model imports httpx"),
        ("_model/x.py", "import httpx._client as c", "_model imports httpx._client"),
        ("_model/x.py", "from anyio.abc import TaskGroup", "_model imports anyio.abc"),
        ("_wire/x.py", "import json, sqlite3", "_wire imports sqlite3"),
        ("_wire/sealed.py", "def f():\n    import secrets", "_wire imports secrets"),
        ("_polling/x.py", "import random", "_polling imports random"),
        ("_polling/x.py", "import anyio", "_polling imports anyio"),
        ("_polling/scheduler.py", "import time", "_polling imports time"),
        ("_polling/scheduler.py", "import anyio, httpx", "_polling imports httpx"),
        ("_polling/scheduler.py", "def f(loop):\n    loop.time()", "_polling calls time()"),
        ("_polling/x.py", "def f(self):\n    self._clock.monotonic()", "_polling calls monotonic()"),
        ("_retry.py", "from time import monotonic", "_retry imports time"),
        ("_model/x.py", "from urllib.request import urlopen", "_model imports urllib.request"),
        ("_model/x.py", "def f():\n    import asyncio", "imports asyncio"),
        ("_model/x.py", "from datetime import datetime\nx = datetime.now()", "_model calls now()"),
        ("_wire/x.py", "def f(at):\n    return at.time()", "_wire calls time()"),
        (
            "_model/x.py",
            "from akool_async._client import AkoolClient",
            "_model imports _client, which is above it",
        ),
        ("_model/x.py", "from .. import _clock", "_model imports _clock, which is above it"),
        ("_model/deep/x.py", "from ..._wire import fields", "_model imports _wire, which is above it"),
        ("_http/x.py", "import akool_async._journal", "_http imports _journal, which is beside it"),
        ("_clock.py", "from ._retry import RetryPolicy", "_clock imports _retry, which is beside it"),
        ("_download/x.py", "from akool_async import _http", "_download imports _http, which is beside it"),
        ("_journal/x.py", "from akool_async._client import C", "_journal imports _client, which is above it"),
        ("_polling/x.py", "from akool_async._http import H", "_polling imports _http, which is above it"),
        ("_client/x.py", "from akool_async._batch import B", "_client imports _batch, which is above it"),
        ("_batch/x.py", "from akool_async.webhook import W", "_batch imports webhook, which is above it"),
        ("webhook/x.py", "from akool_async.sandbox import S", "webhook imports sandbox, which is beside it"),
        ("sandbox/x.py", "from akool_async.cli import main", "sandbox imports cli, which is above it"),
        ("_client/x.py", "import akool_async", "imports the package root"),
        ("cli/x.py", "from akool_async import AkoolClient", "imports the package root"),
        ("sandbox/x.py", "from akool_async import *", "imports the package root"),
        ("_clock.py", "from . import AkoolClient", "imports the package root"),
        ("_client/x.py", "if TYPE_CHECKING:\n    import asyncio", "imports asyncio"),
        ("_client/x.py", "if TYPE_CHECKING:\n    from .._batch import B", "_batch, which is above it"),
        ("cli/x.py", "import asyncio.subprocess", "imports asyncio"),
        (
            "_client/x.py",
            "import importlib\nimportlib.import_module('akool_async._batch')",
            "_batch, which is above it",
        ),
        ("_client/x.py", "__import__('asyncio')", "imports asyncio"),
        ("_client/x.py", "from akool_async._attic import x", "imports _attic, which has no layer yet"),
        ("_attic.py", "", "_attic has no layer yet"),
    ],
)
def test_the_reader_finds_what_is_wrong(path: str, source: str, violation: str) -> None:
    (found,) = violations(source, path)

    assert found.startswith(f"{path}:")
    assert violation in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("_model/x.py", "import json\nfrom datetime import UTC\nfrom akool_async._model.errors import E"),
        ("_model/x.py", "from .errors import AkoolError\nfrom . import redact"),
        ("_wire/x.py", "from urllib.parse import urlsplit\nimport attrs, cattrs"),
        ("_wire/sealed.py", "def f():\n    from cryptography.hazmat.primitives import ciphers"),
        ("_retry.py", "import backoff"),
        ("_polling/scheduler.py", "import anyio\nfrom anyio.abc import TaskGroup"),
        ("_polling/scheduler.py", "def f(self):\n    return self._clock.monotonic()"),
        ("_http/x.py", "from akool_async._http.auth import Auth\nfrom akool_async._wire import fields"),
        ("_batch/x.py", "from akool_async import _client\nfrom akool_async._journal import Journal"),
        ("sandbox/x.py", "def client():\n    from akool_async._client import AkoolClient"),
        ("workers/taskiq.py", "import asyncio\nfrom akool_async._batch import open_batch"),
        ("cli/x.py", "from akool_async.sandbox import Sandbox"),
        ("__main__.py", "from akool_async.cli import main"),
        ("__init__.py", "from akool_async._client import AkoolClient"),
        ("_client/x.py", "import akool_async_plugins\nimport os"),
    ],
)
def test_the_reader_accepts_what_is_right(path: str, source: str) -> None:
    assert violations(source, path) == []
