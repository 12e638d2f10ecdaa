"""Measure the form of the code: `python -m tests.shape` prints a report, with `--list` every finding.

Only the source is read; nothing of the package is imported. Files are found by what is in them, never by
their names. `test_shape` asserts the goals, `old_words` has the words that are out of use.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import io
import math
import re
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from tests import old_words

LONGEST_FILE = 450
SHORT_HELPER = 8
Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    path: str
    """Below the package, such as "_client/client.py"."""
    name: str
    """Dotted, with the package's name; a package stands for its `__init__`."""
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @property
    def lines(self) -> int:
        return self.source.count("\n")

    @property
    def is_package(self) -> bool:
        return self.path.endswith("__init__.py")

    @property
    def folder(self) -> str:
        """Its folder; "" for a file beside the root's `__init__`."""
        folder = PurePosixPath(self.path).parent.as_posix()
        return "" if folder == "." else folder

    @property
    def unit(self) -> str:
        """The package whose private names it may use: its folder; a file at the root is one by itself."""
        return self.folder or self.path

    @property
    def is_public(self) -> bool:
        return not any(part.startswith("_") for part in self.name.split("."))


class Package:
    """All modules of a package, and who imports whom."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules: dict[str, Module] = {}
        for file in sorted(root.rglob("*.py")):
            path = file.relative_to(root)
            parts = path.parts[:-1] if path.name == "__init__.py" else path.with_suffix("").parts
            name = ".".join([root.name, *parts])
            self.modules[name] = Module(path.as_posix(), name, file.read_text(encoding="utf-8"))

    def __iter__(self) -> Iterator[Module]:
        return iter(self.modules.values())

    def imports(self, module: Module, *, lazy: bool = True) -> Iterator[tuple[str, str, str]]:
        """Return what a file imports: the module, the name taken from it or "", the name bound here.

        Imports for type checking count too, and those inside functions unless `lazy` is false.
        """
        inside = {id(node) for each in module.nodes if isinstance(each, Function) for node in ast.walk(each)}
        for node in module.nodes:
            if not lazy and id(node) in inside:
                continue
            if isinstance(node, ast.Import):
                yield from ((alias.name, "", alias.asname or alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = [node.module] if node.module else []
                if node.level:
                    parents = module.name.split(".")
                    base = [*parents[: len(parents) - node.level + module.is_package], *base]
                for alias in node.names:
                    yield ".".join(base), alias.name, alias.asname or alias.name

    def targets(self, module: Module, *, through: bool = False) -> set[str]:
        """Return the modules that a file imports.

        Args:
            module: the file.
            through: for a name that an `__init__` re-exports, return the module that it comes from.
        """
        found = {self.target(base, name, through=through) for base, name, _ in self.imports(module)}
        return found - {"", module.name}

    def target(self, base: str, name: str, *, through: bool) -> str:
        """Return the module that `from base import name` reads, or "" if it is of another package."""
        if f"{base}.{name}" in self.modules:
            return f"{base}.{name}"
        if base not in self.modules:
            return ""
        if through and self.modules[base].is_package:
            for source, original, bound in self.imports(self.modules[base]):
                if bound == name and source != base:
                    return self.target(source, original, through=True) or base
        return base


def find_package(name: str = "akool_async") -> Package:
    """Return the package as the interpreter would find it, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(name)
    return Package(Path(spec.origin).parent)


def sizes(package: Package) -> dict[str, tuple[int, int]]:
    """Return the number of files and of lines of each folder."""
    found: dict[str, tuple[int, int]] = {}
    for module in package:
        files, lines = found.get(module.folder, (0, 0))
        found[module.folder] = (files + 1, lines + module.lines)
    return found


def long_files(package: Package) -> list[str]:
    """Return the files that are too long to be read in one go."""
    return [f"{module.path}: {module.lines} lines" for module in package if module.lines > LONGEST_FILE]


def single_importers(package: Package) -> list[str]:
    """Return the files that belong into the only file that imports them, which is in the same folder.

    An `__init__` is neither of the two. A file that is imported inside functions only stays
    apart, since it is loaded on demand. Who imports a name from a private package imports the file that it
    comes from; what a public package re-exports is imported by users, too.
    """
    importers: dict[str, set[str]] = defaultdict(set)
    for module in package:
        if not module.is_package or module.is_public:
            for target in package.targets(module, through=True):
                importers[target].add(module.name)
    loaded = {
        package.target(base, name, through=True)
        for module in package
        for base, name, _ in package.imports(module, lazy=False)
    }
    found = []
    for name, (only, *others) in sorted((name, sorted(names)) for name, names in importers.items()):
        file, importer = package.modules[name], package.modules[only]
        lines = file.lines + importer.lines
        neither = file.is_package or importer.is_package or name not in loaded
        if not others and not neither and file.folder == importer.folder and lines < LONGEST_FILE:
            found.append(f"{file.path}: imported by {importer.path} only, {lines} lines together")
    return found


def functions(package: Package) -> Iterator[tuple[Module, Function]]:
    """Return all functions and methods."""
    for module in package:
        yield from ((module, node) for node in module.nodes if isinstance(node, Function))


def short_helpers(package: Package, limit: float = SHORT_HELPER) -> list[str]:
    """Return the private functions that are used once in their module and have fewer lines than the limit."""
    uses: dict[str, Counter[str]] = defaultdict(Counter)
    for module in package:
        for node in module.nodes:
            if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
                uses[module.name][node.id if isinstance(node, ast.Name) else node.attr] += 1
    return [
        f"{module.path}:{node.lineno}: {node.name}, {_length(node)} lines"
        for module, node in functions(package)
        if _is_private(node.name) and uses[module.name][node.name] == 1 and _length(node) < limit
    ]


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _length(node: Function) -> int:
    """Return its lines from `def` to the end, without its docstring."""
    first = node.body[0]
    docstring = _span(first) if ast.get_docstring(node, clean=False) is not None else 0
    return _span(node) - docstring


def _span(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def duplicate_classes(package: Package) -> list[str]:
    """Return the class names that stand for several classes."""
    places: dict[str, list[str]] = defaultdict(list)
    for module in package:
        for node in module.nodes:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{module.path}:{node.lineno}")
    return [f"{name}: {', '.join(where)}" for name, where in sorted(places.items()) if len(where) > 1]


def cycles(package: Package) -> list[str]:
    """Return the groups of modules that import each other, directly or through others."""
    graph = {module.name: package.targets(module) for module in package}
    reach = {name: _reachable(graph, name) for name in graph}
    groups = {frozenset(other for other in reach[name] if name in reach[other]) for name in graph}
    return [" <-> ".join(sorted(group)) for group in sorted(groups, key=sorted) if group]


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def private_uses(package: Package) -> list[str]:
    """Return the uses and imports of private names of other packages.

    A use counts if only other packages define the name, or if the object is annotated, under its own name
    somewhere in the package, with a class of another package that defines it.
    """
    units: dict[str, set[str]] = defaultdict(set)
    for module in package:
        for name in _definitions(module.nodes):
            units[name].add(module.unit)
    owners = _owners(package)
    found = []
    for module in package:
        own = {"self", "cls", *(node.name for node in module.nodes if isinstance(node, ast.ClassDef))}
        for line, receiver, name in _private_accesses(module.nodes, own):
            annotated = owners.get((module.unit, receiver), set()) & units[name]
            others = units[name] if module.unit not in units[name] else annotated - {module.unit}
            if others and module.unit not in annotated:
                found.append(f"{module.path}:{line}: {receiver}.{name} of {', '.join(sorted(others))}")
        for base, name, _ in package.imports(module):
            other = package.modules.get(base)
            is_module = f"{base}.{name}" in package.modules
            if other and _is_private(name) and not is_module and other.unit != module.unit:
                found.append(f"{module.path}: imports {name} from {other.path}")
    return found


def _owners(package: Package) -> dict[tuple[str, str], set[str]]:
    """Return which packages the classes are from that a name is annotated with, by unit and name."""
    owners: dict[tuple[str, str], set[str]] = defaultdict(set)
    for module in package:
        origins = {
            bound: package.target(base, name, through=True) for base, name, bound in package.imports(module)
        }
        units = {bound: package.modules[target].unit for bound, target in origins.items() if target}
        units |= {node.name: module.unit for node in module.nodes if isinstance(node, ast.ClassDef)}
        for node in module.nodes:
            match node:
                case ast.arg(arg=name, annotation=ast.expr() as annotation):
                    pass
                case ast.AnnAssign(
                    target=ast.Name(id=name) | ast.Attribute(attr=name), annotation=annotation
                ):
                    pass
                case _:
                    continue
            for kind in ast.unparse(annotation).replace("'", "").split(" | "):
                if kind in units:
                    owners[module.unit, name.lstrip("_")].add(units[kind])
    return owners


def _definitions(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                yield name


def _private_accesses(nodes: Iterable[ast.AST], own: set[str]) -> Iterator[tuple[int, str, str]]:
    """Return line, receiver (the last part of its name, without underscore) and private name."""
    for node in nodes:
        match node:
            case ast.Attribute(attr=name, value=value):
                pass
            case ast.Call(func=ast.Name(id="getattr"), args=[value, ast.Constant(value=str(name)), *_]):
                pass
            case _:
                continue
        receiver = ast.unparse(value)
        if _is_private(name) and receiver not in own and receiver != "super()":
            yield node.lineno, receiver.rpartition(".")[2].lstrip("_"), name


def comment_share(package: Package) -> float:
    """Return the lines with a comment, in percent of the lines with code; orders to tools are no comments."""
    comments = code = 0
    empty = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for module in package:
        lines: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(module.source).readline):
            if token.type == tokenize.COMMENT:
                comments += not token.string.startswith(("# noqa", "# type:", "# pragma", "# pyright"))
            elif token.type not in empty:
                lines.update(range(token.start[0], token.end[0] + 1))
        for node in module.nodes:
            match node:
                case ast.Expr(value=ast.Constant(value=str())):
                    lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        code += len(lines)
    return 100 * comments / max(code, 1)


def undocumented(package: Package) -> tuple[list[str], int]:
    """Return the public modules, classes and functions without a docstring, and how many there are in all."""
    found, total = [], 0
    for module in package:
        for name, node in _public(module.tree, module.path):
            total += 1
            if ast.get_docstring(node) is None:
                found.append(name)
    return found, total


def _public(node: Documented, name: str) -> Iterator[tuple[str, Documented]]:
    yield name, node
    if isinstance(node, ast.Module | ast.ClassDef):
        for child in node.body:
            if isinstance(child, ast.ClassDef | Function) and not child.name.startswith("_"):
                yield from _public(child, f"{name}: {child.name}")


def stale_docstrings(package: Package) -> list[str]:
    """Names below "Args:" or "Attributes:" that the function or class does not have."""
    found = []
    for module in package:
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            text = ast.get_docstring(node) or ""
            for name in _documented(text):
                if name not in _has(node):
                    found.append(f"{module.path}:{node.lineno}: {node.name}: {name}")
    return found


def _documented(text: str) -> Iterator[str]:
    for section in re.findall(r"^(?:Args|Attributes):\n((?:    .*\n?|\n)*)", text, re.MULTILINE):
        yield from re.findall(r"^    \*{0,2}(\w+)(?: \([^)]*\))?:", section, re.MULTILINE)


def _has(node: Function | ast.ClassDef) -> set[str]:
    """Arguments of a function; fields, methods and arguments of `__init__` of a class."""
    if not isinstance(node, ast.ClassDef):
        return {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
    names = {
        child.target.id
        for child in node.body
        if isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name)
    }
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(child.name)
            names |= {part.attr for part in ast.walk(child) if isinstance(part, ast.Attribute)}
            if child.name == "__init__":
                names |= _has(child)
        elif isinstance(child, ast.Assign):
            names |= {target.id for target in child.targets if isinstance(target, ast.Name)}
    return names


def percent(part: int, whole: int) -> float:
    return 100 * part / max(whole, 1)


def report(package: Package, root: Path, *, everything: bool) -> Iterator[str]:
    """Return the lines of the report.

    Args:
        package: what is measured.
        root: the folder with README.md and docs/.
        everything: whether each finding is listed, also where there are many.
    """
    for folder, (files, lines) in sizes(package).items():
        yield f"{folder or '.':24}{files:5} files{lines:8,} lines"
    total = sum(module.lines for module in package)
    yield f"{'in all':24}{len(package.modules):5} files{total:8,} lines"
    helpers, count = short_helpers(package), sum(1 for _ in functions(package))
    once = percent(len(short_helpers(package, math.inf)), count)
    missing, public = undocumented(package)
    words = old_words.hits(package.root, root)
    findings = {
        f"files over {LONGEST_FILE} lines (goal 0)": long_files(package),
        "files with a single importer (goal 0)": single_importers(package),
        f"short helpers: {percent(len(helpers), count):.1f} % of {count} functions (goal <= 3 %)": helpers,
        "class names used twice (goal 0)": duplicate_classes(package),
        "import cycles (goal 0)": cycles(package),
        "private names used across packages (goal 0)": private_uses(package),
        "names in docstrings that do not exist (goal 0)": stale_docstrings(package),
        **{f"old words in {scope} (goal 0)": found for scope, found in words.items()},
        f"without docstring: {percent(len(missing), public):.1f} % of {public} (goal <= 6 %)": missing,
    }
    yield f"private functions used once, short or long: {once:.1f} % (no goal)"
    yield f"comment lines per 100 lines of code: {comment_share(package):.1f} (goal >= 4)"
    for what, found in findings.items():
        yield f"{what}: {len(found)}"
        yield from (f"    {each}" for each in found[: None if everything else 5])
        if len(found) > 5 and not everything:
            yield "    ... (--list shows all)"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the form of the code.")
    parser.add_argument("--list", action="store_true", help="list every finding")
    everything = parser.parse_args().list
    print("\n".join(report(find_package(), Path(__file__).parents[1], everything=everything)))


if __name__ == "__main__":
    main()
