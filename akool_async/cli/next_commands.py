"""The commands that messages name, to be pasted into a shell: the next one, or the running one again.

A command that is pasted may pay. So it keeps what bounds and shapes a payment of the command that names it,
and never its `--yes`, unless it is the same order.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextvars import ContextVar
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from akool_async._model.locations import BucketPath
from akool_async._model.redact import sanitize
from akool_async.cli.console import may_be_key, strip_control

OptionValue: TypeAlias = str | Path | bool | None
"""What an option is given: True for one without a value, None or False where it is left out."""

_CONSENT: Final = frozenset({"--yes", "--pay-again", "--accept-older-journal"})
KEPT: Final[Mapping[str, bool]] = {
    "--host": True,
    "--key-file": True,
    "--inbox": True,
    "--max-credits": True,
    "--trial": True,
    "--retry-transient": True,
    "--give-up-after": True,
    "--without-captions": False,
    "--on-saved": True,
    "--on-saved-timeout": True,
    "--in-flight": True,
    "--check": False,
    "--no-check": False,
    "--max-seconds": True,
    "--max-megabytes": True,
    "--max-fps": True,
    "--allow-silent": False,
    "--checks-at-once": True,
    "--share": True,
    "--share-expires": True,
    "--keep-shared": False,
}
"""Options that the next command keeps, if it has them, and whether a value follows.

It does not keep consent to pay (`--yes`, `--pay-again`, `--accept-older-journal`), nor what only tells how
messages look.
"""

_NO_SECRET: Final = re.compile(r"--[a-z][a-z-]*|-[A-Za-z]|(?:/|\./|\.\./|~/)[^:@?]*|\$\{?\w+\}?")


def may_hold_secret(command: str) -> bool:
    """Return whether a command of a user's may hold a secret.

    The program, paths, variables and names of options are shown. Any other word may be a password, whatever
    the option before it is called.
    """
    try:
        words = shlex.split(command)
    except ValueError:  # a quote that is left open
        return True
    return (
        sanitize(command) != command
        or not all(map(_NO_SECRET.fullmatch, words[1:]))
        or "=" in "".join(words[:1])
    )


_VALUE: Final = "VALUE"
"""Stands for the value of an option that is not printed."""
_SECRETIVE: Final[Mapping[str, Callable[[str], bool]]] = {
    "--on-saved": may_hold_secret,
    "--key-file": may_be_key,
    "--host": lambda word: may_be_key(word) and "." not in word,
}
"""Options whose value may be a secret, or hold one, each with what recognises that."""


@attrs.frozen
class CommandLine:
    """The command that is running.

    Attributes:
        words: its arguments as they were typed.
        accepts: whether the command of a name has an option.
    """

    words: tuple[str, ...] = ()
    accepts: Callable[[str, str], bool] = lambda _name, _option: False

    @property
    def options(self) -> tuple[str, ...]:
        """The words before "--": after it, none is an option."""
        return self.words[: self.words.index("--")] if "--" in self.words else self.words

    def kept_for(self, name: str, given: Mapping[str, OptionValue]) -> Iterator[str]:
        """Yield the options that the next command of a name keeps, but for those that it is given anyway."""
        for word, following in pairwise((*self.options, "")):
            option, equals, value = word.partition("=")
            if option not in KEPT or option in given or not self.accepts(name, option):
                continue
            if not KEPT[option]:
                yield word
                continue
            value = value if equals else following
            # No secret is printed. What is printed instead is refused, so that nothing is paid.
            yield from _option(option, value if _shown(value, option) == value else _VALUE)

    def again(self, changes: Mapping[str, OptionValue], without: Collection[str]) -> list[str]:
        """Return the words with other values of some options, and without others that have none."""
        words, found = [*self.options], list[str]()
        while words:
            option, equals, _ = (word := words.pop(0)).partition("=")
            if option in changes:
                del words[: not equals]
            elif option not in without:
                found.append(word)
        for option, value in changes.items():
            found += _option(option, value)
        return [*found, *self.words[len(self.options) :]]


_NO_COMMAND: Final = CommandLine()
COMMAND_LINE: Final[ContextVar[CommandLine]] = ContextVar("COMMAND_LINE", default=_NO_COMMAND)
"""The command that is running, for messages that say what to run next."""


def next_command(name: str, keys: tuple[str, ...], options: Mapping[str, OptionValue]) -> str:
    """Return a command for a shell, such as "captions push", with keys, and with options by their names."""
    words = [one for option, value in options.items() for one in _option(option, value)]
    words += COMMAND_LINE.get().kept_for(name, options)
    dashed = any(key.startswith("-") for key in keys)
    words = [*words, "--", *keys] if dashed else [*keys, *words]
    return " ".join(["akool-async", *name.split(), *map(quoted, words)])


def same_command(changes: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield the lines that show the running command, with other values of some options; none if none runs.

    With another value, or a URL that is not shown whole, it is another order: it asks again, without `--yes`.
    """
    line = COMMAND_LINE.get()
    # This goes into logs: a URL that was typed may be signed, or name a webhook's secret.
    whole = _shown_words(line.words) == [*line.words]
    words = line.again(changes or {}, () if whole and not changes else ("--yes",))
    shown = _shown_words(words)
    if words:
        yield f"    akool-async {' '.join(map(quoted, shown))}"
    if any(_VALUE in word for word in {*shown} - {*words}):
        yield f"    with {_VALUE} as it was: it may hold a secret, which is not printed"
    elif not whole:
        yield "    with the URLs as they were: their queries are not printed"


@attrs.frozen
class Order:
    """The command by which a catalog was run, without consent to pay: to be run again, at any later time.

    Attributes:
        folder: where it was typed, which its paths are relative to.
        journal: its journal.
        words: its arguments; what signs URLs is not kept.
    """

    folder: str
    journal: str
    words: tuple[str, ...]

    @classmethod
    def running(cls, journal: Path) -> Order | None:
        """Return the order of the running command; None if that runs no catalog."""
        line = COMMAND_LINE.get()
        if line.words[:1] != ("run",):
            return None
        typed = line.again({}, _CONSENT)
        words = (
            # It is refused without the query, so that nothing is paid.
            word if shown == word else re.sub(r"(?s)^(--[\w-]+=)?.*$", rf"\1{_VALUE}", word)
            for word, shown in zip(typed, _shown_words(typed), strict=True)
        )
        return cls(str(Path.cwd()), str(journal.absolute()), tuple(words))

    def value(self, option: str) -> str:
        """Return the value of an option, or ""."""
        for word, following in pairwise((*self.words, "")):
            name, equals, value = word.partition("=")
            if name == option:
                return value if equals else following
        return ""

    def command(self, journal: Path, where: Mapping[str, Path | None]) -> str:
        """Return it for a shell, for a journal that may have been moved; `where` names its place."""
        here, words = self.folder == str(Path.cwd()), self.words
        if str(journal.absolute()) != self.journal:
            places = {
                option: path if path is None or isinstance(path, BucketPath) else path.absolute()
                for option, path in where.items()
            }
            words = tuple(CommandLine(words).again(places, ()))
        again = " ".join(map(quoted, ("akool-async", *words)))
        return again if here else f"cd {quoted(self.folder)} && {again}"


def quoted(word: str) -> str:
    """Return a word for a shell, printable: what a message can't show is escaped, not lost."""
    if strip_control(word) == word:
        return shlex.quote(word)
    escaped = "".join(
        f"\\{char}"
        if char in "\\'"
        else char
        if char.isprintable()
        else "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
        for char in word
    )
    return f"$'{escaped}'"


def _shown_words(words: Sequence[str]) -> list[str]:
    shown = list[str]()
    for before, word in zip(("", *words), words, strict=False):
        option, equals, value = word.partition("=")
        joined = equals and option in _SECRETIVE
        shown.append(f"{option}={_shown(value, option)}" if joined else _shown(word, before))
    return shown


def _shown(word: str, option: str = "") -> str:
    """Return the value of an option, or another word, without what may be secret in it."""
    if option in _SECRETIVE and _SECRETIVE[option](word) and not os.path.lexists(word):
        return _VALUE
    return sanitize(word) if "://" in word else word


def _option(option: str, value: OptionValue) -> list[str]:
    if value is None or value is False:
        return []
    if value is True:
        return [option]
    # What begins with a dash would be taken for an option.
    return [f"{option}={value}"] if str(value).startswith("-") else [option, str(value)]
