"""The commands by name, and how one is run: to an exit code, never to a traceback for what was expected."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from functools import reduce
from typing import Final

from cyclopts import App, CycloptsError, Group

from akool_async._model.errors import AkoolError
from akool_async.cli import exit_codes as exits
from akool_async.cli.console import Warnings, print_error, print_info, stderr

logger: Final[logging.Logger] = logging.getLogger("akool_async")
COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "Translate a catalog": ("plan", "run"),
    "Translate one video": ("translate", "lipsync"),
    "Go on": ("status", "resume", "collect", "resolve", "retry"),
    "Receive webhooks": ("webhook serve",),
    "Ask the vendor": ("languages", "voices", "credit", "doctor"),
    "Try it without an account": ("demo", "sandbox"),
}
"""The commands by their heading in the help.

Each is a function of its name ("-" and " " are "_" there), imported when it is run or listed.
"""

MODULES: Final[dict[str, str]] = {
    "plan": "catalog",
    "run": "catalog",
    "translate": "catalog",
    "lipsync": "catalog",
    "status": "journal",
    "resume": "journal",
    "collect": "journal",
    "retry": "journal",
    "resolve": "resolve",
    "webhook serve": "webhook",
    "languages": "info",
    "voices": "info",
    "credit": "info",
    "doctor": "doctor",
    "demo": "local",
    "sandbox": "local",
}
"""The module in `commands/` that holds each command."""

EXTRAS: Final[dict[str, str]] = {
    "av": "sandbox",
    "pysubs2": "sandbox",
    "uvicorn": "sandbox",
    "cryptography": "webhook",
}
"""Which extra brings a module that a command may miss; the others come with `cli`."""

_WITH_OTHERS: Final[set[str]] = {
    name.split()[0] for names in COMMANDS.values() for name in names if " " in name
}
"""Words that commands stand behind."""

_LAST: Final = 100
app: Final[App] = App(
    name="akool-async",
    help="Translate videos with the Akool API, one or a whole catalog.",
    help_on_error=False,
    group_commands=Group("Help", sort_key=_LAST),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)


def _register(group: Group, name: str) -> None:
    """Make a command known; one of two words stands behind its first."""
    function = name.replace("-", "_").replace(" ", "_")
    above, _, last = name.rpartition(" ")
    parent = App(name=above, help=group.name, group=group) if above else app
    parent.command(f"akool_async.cli.commands.{MODULES[name]}:{function}", name=last, group=group)
    if above:
        app.command(parent)


for _number, _heading in enumerate(COMMANDS):
    _group = Group(_heading, sort_key=_number)
    for _name in COMMANDS[_heading]:
        _register(_group, _name)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    warnings = Warnings(logging.WARNING)
    logger.addHandler(warnings)
    try:
        if not given or given[0].startswith("-") or given[0] in _WITH_OTHERS:
            _import_all()  # their first lines stand in the list of commands
        code = app(given, exit_on_error=False, error_console=stderr)
        sys.stdout.flush()
    except CycloptsError:
        return exits.USAGE  # said on stderr already
    except KeyboardInterrupt:
        print_info("Interrupted.")
        return exits.INTERRUPTED
    except BrokenPipeError:
        return _nobody_reads()
    except AkoolError as error:
        print_error(error)
        return exits.exit_code_for(error)
    except ModuleNotFoundError as error:
        return _missing(error)
    finally:
        logger.removeHandler(warnings)
    return code if isinstance(code, int) else exits.OK


def _import_all() -> None:
    for names in COMMANDS.values():
        for name in names:
            reduce(App.__getitem__, name.split(), app)


def _nobody_reads() -> int:
    """End quietly when what stdout leads to was closed, as by `| head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return exits.OK


def _missing(error: ModuleNotFoundError) -> int:
    top = (error.name or "").partition(".")[0]
    print_error(
        f"{error.name} is missing. Install it with: pip install 'akool-async[{EXTRAS.get(top, 'cli')}]'"
    )
    return exits.USAGE
