"""The words that the code had for itself, each with the word of the field that replaces it.

A pattern is searched without regard to case; a space in it is any white space. Identifiers are split into
words first: `in_flight` and `InFlight` are "in flight". A class's words follow "class", a function's "def".
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path

EVERYWHERE = {
    r"halls?": "batch state",
    r"doors?": "entry point, endpoint",
    r"streets?": "layer",
    r"nets": "callback polling",
    r"fates?": "disposition, script",
    r"parcels?": "download plan",
    r"wish(es)?": "request, operation",
    r"shel(f|ves)": "result store",
    r"couriers?": "webhook sender",
    r"arrivals": "finished queue",
    r"lent": "exclusive",
    r"flights?": "entry",
    r"told": "reported, configured",
    r"home|homecoming": "saved, downloaded",
    r"die|dies|died|dying": "expire, exit",
    r"stands?|stood": "is, is stored",
    r"standing": "status, contribution",
    r"(go|goes|going|went|gone) on": "resume, continue",
    r"at work": "in progress",
    r"sightings?": "poll result",
    r"harvest\w*": "collect",
    r"orphan\w*": "abandoned",
    r"hopeless": "fatal",
    r"clear(s|ed|ing)? up": "resolve",
    r"rep(aid|ays?)": "resubmitted",
    r"(hang|hangs|hung|hanging) up": "close, abort",
    r"patience": "timeout",
    r"affair": "responsibility",
    r"stud(io|ios)": "media backend",
    r"captionless": "without captions",
    r"side files?": "manifest",
    r"somebody|whoever|anybody": "say who",
    r"dice": "randomness",
}
IDENTIFIERS = {
    r"early": "recovered",
    r"passing": "in memory",
    r"held": "row, lock_holder",
    r"rooms?": "capacity",
    r"floors?": "layer",
    r"walk": "iterator, run",
    r"class (\w+ )*line$|^(def )?line$": "connection, row, queue size",
    r"class (\w+ )*picture$|module picture$": "progress view",
    r"class (\w+ )*brief$": "create params",
    r"class (\w+ )*letter$": "delivery",
    r"class (\w+ )*place$": "permit, location",
    r"class (\w+ )*(desk|mill)$": "issuer, generator",
    r"class (wanted|found|item|moment|home|move|score|world|pace|gate|lease)$": "a name of what it is",
    r"def (take|ended|of|left)$": "a verb and its object",
    r"poll facts": "poll context",
    r"learning schedule": "adaptive schedule",
    r"growing schedule": "backoff schedule",
    r"job gone": "JobNotFoundError",
    r"account closed": "PermissionDeniedError",
    r"bad credentials": "AuthenticationError",
    r"server trouble": "ServerError",
    r"connect failed": "ConnectError",
    r"throttled": "RateLimitError",
    r"request refused": "BadRequestError",
    r"media refused": "InvalidMediaError",
    r"duplicate refused": "DuplicateJobError",
    r"journal refused": "IllegalTransitionError",
    r"journal broken": "JournalCorruptedError",
    r"journal too new": "JournalVersionError",
    r"journal unwritable": "JournalWriteError",
    r"inbox unusable": "InboxError",
    r"disk failed": "StorageError",
    r"invalid request$": "InvalidRequestError",
    r"tally": "totals",
    r"trouble": "error",
    r"survey": "plan",
    r"objection": "rejection reason",
    r"flavour": "api version",
    r"^(def )?key of$": "entry_key",
}
TEXTS = {
    r"\Agives?": "return",
    r"\Atakes? in": "record",
    r"(ask|asks|asked|asking) about": "poll",
    r"(come|comes|came) whole": "is complete",
    r"floors?": "layer",
    r"the rooms?": "layer, folder",
    r"a walk|walks over": "iterator, pass",
    r"lines to (them|the)": "connections to",
    r"dead runs?": "interrupted run",
    r"(is|are|was) (?-i:none)(?=[.,;:])": "is invalid, say what",
    r"(has|have) not enough": "does not have enough",
    r"whether it was one": "say what",
    r"what came|what has come": "name it",
}
ORDINARY = (
    r"in[ -]flight",
    r"home (page|directory|folder)s?",
    r"path\.home|\$HOME|HOME=",
    r"random walks?",
    r"stands? for",
    r"long-standing",
    r"stand-?alone",
    r"(process|processes|worker|workers|thread|server|program) (that )?(die|dies|died)",
    r"there (is|are|was|were) none",
    r"held locks?|locks? held",
    r"command line",
    r"early returns?",
    r"_?studio_voice\w*|studio[ _]voice",  # a field of the vendor's
    r"\w*\.captionless\.mp4",  # the ending of a file name
)
"""Phrases in which such a word is ordinary English; they are taken out before the search."""


def _compiled(*tables: Mapping[str, str]) -> list[tuple[re.Pattern[str], str]]:
    return [
        (re.compile(_bounded(pattern), re.IGNORECASE), better)
        for table in tables
        for pattern, better in table.items()
    ]


def _bounded(pattern: str) -> str:
    return rf"(?<!\w)(?:{pattern})(?!\w)".replace(" ", r"\s+")


_IN_IDENTIFIERS = _compiled(EVERYWHERE, IDENTIFIERS)
_IN_TEXTS = _compiled(EVERYWHERE, TEXTS)
_ORDINARY = re.compile("|".join(map(_bounded, ORDINARY)), re.IGNORECASE)
_COMPOUND = re.compile(r"\w*[a-z][A-Z]\w*|\w*_\w*")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
Found = Iterator[tuple[int, str, str]]
"""Line, word and better word."""


def split(identifier: str) -> str:
    """Return the words of an identifier, in lower case."""
    return " ".join(_WORD.findall(identifier)).lower()


def in_identifier(words: str) -> Iterator[tuple[str, str]]:
    """Return the old words in an identifier that is split already, each with a better word."""
    words = _ORDINARY.sub(lambda match: "-" * len(match.group()), words)
    for pattern, better in _IN_IDENTIFIERS:
        if match := pattern.search(words):
            yield match.group(), better


def in_text(text: str) -> Iterator[tuple[int, str, str]]:
    """Return the old words in a text: how many lines after its first, the word, a better word."""
    plain = _ORDINARY.sub(lambda match: re.sub(r"\S", "-", match.group()), text)
    for pattern, better in _IN_TEXTS:
        for match in pattern.finditer(plain):
            yield text.count("\n", 0, match.start()), " ".join(match.group().split()), better
    for token in _COMPOUND.finditer(text):
        for word, better in in_identifier(split(token.group())):
            yield text.count("\n", 0, token.start()), word, better


def identifiers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Return the names that a file defines, split into words.

    `line` is the number or the text of a line where it is a variable or annotated so.
    """
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name):
                yield node.lineno, f"class {split(name)}"
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, f"def {split(name)}"
            case ast.arg(arg=name) | ast.AnnAssign(target=ast.Name(id=name) | ast.Attribute(attr=name)):
                annotation = "" if node.annotation is None else ast.unparse(node.annotation)
                if split(name) != "line" or not re.search(r"\b(int|str|bytes)\b", annotation):
                    yield node.lineno, split(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                if split(name) != "line":
                    yield node.lineno, split(name)


def texts(source: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Return the strings, docstrings and comments of a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def hits(package: Path, root: Path) -> dict[str, list[str]]:
    """Return all old words by scope, as `path:line: word (better): text`."""
    names, strings, pages = [], [], []
    for path in sorted(package.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        lines = source.split("\n")
        shown = path.relative_to(package.parent).as_posix()
        for line, words in [(1, f"module {split(path.stem)}"), *identifiers(tree)]:
            names += [_hit(shown, line, found, lines) for found in in_identifier(words)]
        for line, text in texts(source, tree):
            strings += [_hit(shown, line + after, found, lines) for after, *found in in_text(text)]
    for path in sorted({*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob(".changes/*.md")}):
        text = path.read_text(encoding="utf-8")
        shown = path.relative_to(root).as_posix()
        pages += [_hit(shown, after + 1, found, text.split("\n")) for after, *found in in_text(text)]
    return {"identifiers": _unique(names), "strings and comments": _unique(strings), "docs": _unique(pages)}


def _hit(path: str, line: int, found: tuple[str, str] | list[str], lines: list[str]) -> str:
    word, better = found
    text = lines[min(line, len(lines)) - 1].strip()[:80]
    return f"{path}:{line}: {word} ({better}): {text}"


def _unique(found: list[str]) -> list[str]:
    return list(dict.fromkeys(found))
