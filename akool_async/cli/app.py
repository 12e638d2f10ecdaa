"""The commands by name; each ends with an exit code, and an expected error never with a traceback."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cache, reduce
from typing import Final

from cyclopts import (
    App,
    CoercionError,
    CycloptsError,
    Group,
    MissingArgumentError,
    UnknownOptionError,
    UnusedCliTokensError,
    ValidationError,
)

from akool_async._environment import MissingExtraError
from akool_async._model.errors import AkoolError, AuthenticationError, InvalidRequestError
from akool_async.cli.catalog import CatalogError, format_issues
from akool_async.cli.catalog.languages import LanguageNames
from akool_async.cli.console import (
    WarningPrinter,
    counted,
    name_options,
    print_error,
    print_info,
    shown_argument,
    stderr,
    write_lines,
)
from akool_async.cli.exit_codes import ExitCode
from akool_async.cli.logins import USED
from akool_async.cli.next_commands import COMMAND_LINE, CommandLine

logger: Final[logging.Logger] = logging.getLogger("akool_async")
COMMANDS: Final[Mapping[str, Mapping[str, str]]] = {
    "Translate a catalog": {"inspect": "inspect", "plan": "catalog", "run": "catalog"},
    "Translate one video": {"translate": "catalog", "lipsync": "catalog"},
    "Work with a journal": {
        "status": "status",
        "list": "list:list_entries",
        "export": "list",
        "verify": "status:verify_results",
        "report": "report",
        "resume": "journal",
        "collect": "journal",
        "resolve": "resolve",
        "retry": "journal",
        "backup": "status",
    },
    "Work on many machines": {
        "enqueue": "enqueue",
        "worker": "worker",
        "workers": "worker",
        "ledger status": "ledger:status",
        "ledger list": "ledger:list_entries",
        "ledger export": "ledger:export",
        "ledger verify": "ledger:verify_results",
        "ledger report": "ledger:report",
        "ledger resolve": "ledger:resolve",
        "ledger retry": "ledger:retry",
    },
    "Correct subtitles": {
        "captions pull": "captions",
        "captions check": "captions",
        "captions push": "captions_push",
    },
    "Receive webhooks": {"webhook serve": "webhook"},
    "Serve an assistant": {"mcp": "mcp"},
    "Ask the vendor": {"languages": "info", "voices": "info", "credit": "info", "doctor": "doctor"},
    "Keep the credentials": {"login": "login", "logout": "login"},
    "Teach the shell": {"completion": "shell", "man": "shell"},
    "Try it without an account": {"demo": "local", "sandbox": "local"},
}
"""The commands by their heading in the help, each with its module in `commands/`.

Each is a function of its name (with "_" for " ") unless another is named, imported when it is run or listed.
"""

_FIRST: Final = frozenset(name.split()[0] for modules in COMMANDS.values() for name in modules)
LEDGER_COMMANDS: Final = frozenset(COMMANDS["Work on many machines"])
STAMPED: Final = frozenset(
    ("run", "resume", "collect", "retry", "translate", "lipsync", "captions push", "webhook serve", "worker")
)
"""Commands whose messages are a log where they don't go to a terminal: their lines have the time."""

_MEANT: Final[Mapping[str, tuple[str, ...]]] = {
    option: meant
    for options, meant in (
        ("--target --targets --lang --langs --language --languages --to", ("--to", "--language")),
        ("--source --source-lang --source-language", ("--from",)),
        ("--state --states --status", ("--failed", "--in-doubt", "--expiring")),
        ("-o --output --output-dir --output-folder --dir --directory --folder --into", ("--out",)),
        ("--max-cost --max-price --budget --limit", ("--max-credits",)),
        ("--max-in-flight --jobs --parallel --concurrency --workers --threads", ("--in-flight",)),
        ("--timeout --deadline --wait", ("--give-up-after",)),
        ("--caption-type --captions --subtitle --subtitles", ("--caption",)),
        ("--voices --voice-id --voices-map", ("--voice",)),
        ("--speaker --speaker-num --speakers-num", ("--speakers",)),
        ("--remove-music --no-music", ("--remove-bgm",)),
        ("--force -y --no-input", ("--yes",)),
        ("--retry --retries", ("--retry-failed", "--retry-transient")),
        ("--webhook --callback-url", ("--webhook-url",)),
        ("--since --before", ("--expiring", "--within")),
        ("--api-key --key --token", ("--key-file",)),
    )
    for option in options.split()
}
"""What people call an option, and what it is called here; of these, the ones that a command has are named."""

_ALIKE: Final = 0.75
"""How alike an option and a known one are when the one is taken for a slip of the other."""

_KINDS: Final[Mapping[object, str]] = {int: "a whole number", float: "a number", bool: "yes or no"}

_LAST: Final = 100
app: Final[App] = App(
    name="akool-async",
    help="Translate videos with the Akool API, one or a whole catalog.",
    help_on_error=False,
    group_commands=Group("Help", sort_key=_LAST),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
_PARENTS: Final[dict[str, App]] = {}
for _number, (_heading, _modules) in enumerate(COMMANDS.items()):
    _group = Group(_heading, sort_key=_number)
    for _name, _place in _modules.items():
        _file, _colon, _named = _place.partition(":")
        _function = f"akool_async.cli.commands.{_file}:{_named or _name.replace(' ', '_')}"
        _above, _last = _name.rpartition(" ")[::2]
        if _above:
            if _above not in _PARENTS:
                _PARENTS[_above] = App(name=_above, help=_heading, group=_group)
                app.command(_PARENTS[_above])
            _PARENTS[_above].command(_function, name=_last, group=_group)
        else:
            app.command(_function, name=_name, group=_group)


def load_commands() -> None:
    """Import every command, which otherwise happens when it is run."""
    for name in (name for modules in COMMANDS.values() for name in modules):
        reduce(App.__getitem__, name.split(), app)


@cache
def options_of(name: str) -> frozenset[str]:
    """Return the options of the command of a name."""
    command = reduce(App.__getitem__, name.split(), app)
    arguments = [argument for argument in command.assemble_argument_collection() if argument.parse]
    names = (name for argument in arguments for name in argument.names)
    return frozenset(name for name in names if name.startswith("--"))


def accepts_option(name: str, option: str) -> bool:
    """Return whether the command of a name has an option, such as "--max-credits"."""
    return option in options_of(name)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; with `--json` its failure is an event on stdout too."""
    given = sys.argv[1:] if arguments is None else arguments
    if (
        given
        and f"ledger {given[0]}" in LEDGER_COMMANDS
        and any(word.partition("=")[0] == "--ledger" for word in given)
    ):
        given = ["ledger", *given]  # the same command, for a list that many machines share
    warnings = WarningPrinter(logging.WARNING)
    logger.addHandler(warnings)
    # Read before the command line is parsed, so that an error in it, in a log, has its time too.
    USED.set("")
    COMMAND_LINE.set(CommandLine(tuple(given), accepts_option))
    named = {" ".join(given[:words]) for words in (1, 2)}
    stderr.stamped = not STAMPED.isdisjoint(named) and "--no-timestamps" not in given
    try:
        _check_command_first(given)
        if not given or (given[0].startswith("-") and given[0] != "--version") or given[0] in _PARENTS:
            load_commands()  # the help shows the first line of each
        code = app(given, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except BrokenPipeError:  # as by `| head`; Python would complain about stdout once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except (CycloptsError, CatalogError, AkoolError, ModuleNotFoundError, KeyboardInterrupt) as error:
        exit_code, failure = _explain(error)
        if "--json" in given:
            _write_error(exit_code, failure)
        return exit_code
    except Exception as error:
        # A fault of this program: the traceback is for its authors, and who reads events has to know, too.
        if "--json" in given:
            what = f"The program failed: {type(error).__name__}."
            advice = "Run the same again. What is paid is in the journal."
            _write_error(ExitCode.FAILED, {"message": what, "impact": "", "advice": advice})
        raise
    finally:
        logger.removeHandler(warnings)
    return code if isinstance(code, int) else ExitCode.OK


def _check_command_first(given: Sequence[str]) -> None:
    """Refuse options before the command.

    Raises:
        InvalidRequestError: there are some.
    """
    commands = [place for place, word in enumerate(given) if word in _FIRST]
    if given and given[0].startswith("--") and commands:
        first, before = given[commands[0]], shown_argument(given[0].partition("=")[0])
        if before not in app.help_flags and before not in app.version_flags:
            raise InvalidRequestError(
                f"{before} comes before the command {first!r}.",
                impact="Nothing was sent.",
                advice=f"Options come after the command: akool-async {first} ... {before} ...",
            )


def _write_error(code: ExitCode, failure: dict[str, str | list[str]]) -> None:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    write_lines([json.dumps({"event": "error", "at": at, "exit_code": code, **failure})])


def _explain(
    error: CycloptsError | CatalogError | AkoolError | ModuleNotFoundError | KeyboardInterrupt,
) -> tuple[ExitCode, dict[str, str | list[str]]]:
    """Print why a command failed; return its exit code, and the same for programs."""
    match error:
        case KeyboardInterrupt():
            print_info("Interrupted.")
            return ExitCode.INTERRUPTED, {"message": "Interrupted.", "impact": "", "advice": ""}
        case CatalogError():
            found = f"{counted(len(error.mistakes), 'mistake')}."
            impact = "Nothing was submitted and nothing was spent."
            print_error(f"{found} {impact}")
            for line in format_issues(error.mistakes):
                print_info(f"  {line}")
            mistakes = [str(issue) for issue in error.mistakes]
            return ExitCode.USAGE, {"message": found, "impact": impact, "advice": "", "mistakes": mistakes}
        case AuthenticationError() if USED.get():
            advice = f"{error.advice} {USED.get()}"
            code = ExitCode.for_error(error)
            failure = AkoolError(error.message, impact=error.impact, advice=advice)
        case AkoolError():
            code, failure = ExitCode.for_error(error), error
        case ModuleNotFoundError():
            said = f"The module {error.name} is not installed."  # what needs another extra says so itself
            code, failure = ExitCode.USAGE, MissingExtraError(said, extra="cli", name=error.name or "")
        case CycloptsError():
            # Not printed by cyclopts, which would show control characters as they were typed.
            command = " ".join(error.command_chain or ())
            options = options_of(command) if command and command not in _PARENTS else frozenset()
            code, failure = ExitCode.USAGE, _usage_error(error, options)
    print_error(failure)
    parts = {"message": failure.message, "impact": failure.impact, "advice": failure.advice}
    return code, {name: name_options(text) for name, text in parts.items()}


def _usage_error(error: CycloptsError, options: Collection[str]) -> AkoolError:
    """Return what is wrong with the command line of a command that has these options, such as "--to"."""
    command = " ".join(error.command_chain or ())
    advice = f"`{' '.join(filter(None, ('akool-async', command)))} --help` shows what there is."
    match error:
        case UnknownOptionError():
            option = (error.token.keyword or error.token.value).partition("=")[0]
            meant = [name for name in _MEANT.get(option, ()) if name in options]
            meant = meant or get_close_matches(option, options, n=1, cutoff=_ALIKE)
            found = f" Did you mean {' or '.join(meant)}?" if meant else ""
            return AkoolError(f"There is no option {shown_argument(option)}.{found}", advice=advice)
        case UnusedCliTokensError():
            unused = error.unused_tokens or []
            text = f"This is one argument too many: {' '.join(map(shown_argument, unused))}."
            if "--to" in options and len(unused) == 1 and LanguageNames().find(unused[0]):
                text += f" Did you mean --to {unused[0]}?"
            return AkoolError(text, advice=advice)
        case CoercionError(token=token) if token is not None and (error.msg or error.target_type in _KINDS):
            name = token.keyword or (error.argument.name if error.argument else "The value")
            must = error.msg or f"must be {_KINDS[error.target_type]}"
            return AkoolError(f"{name} {must}, not {shown_argument(token.value)!r}.", advice=advice)
        case ValidationError() if error.argument is not None and error.argument.tokens:
            token = error.argument.tokens[0]
            must = error.exception_message.rstrip(".")
            text = f"{token.keyword or error.argument.name} {must[:1].lower()}{must[1:]}"
            return AkoolError(f"{text}, not {shown_argument(token.value)!r}.", advice=advice)
        case MissingArgumentError() if error.argument is not None:
            name = error.keyword or error.argument.name
            what = f"{name} needs a value." if error.keyword else f"{name} is missing."
            return AkoolError(what, advice=advice)
        case _:
            return AkoolError(str(error), advice=advice)
