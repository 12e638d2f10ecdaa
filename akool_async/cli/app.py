"""The commands by name; each ends with an exit code, and an expected error never with a traceback."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Final

from cyclopts import App, CycloptsError, Group

from akool_async._model.errors import AkoolError
from akool_async.cli.console import WarningPrinter, print_error, print_info, stderr
from akool_async.cli.exit_codes import ExitCode

logger: Final[logging.Logger] = logging.getLogger("akool_async")
COMMANDS: Final[Mapping[str, Mapping[str, str]]] = {
    "Translate a catalog": {"plan": "catalog", "run": "catalog"},
    "Translate one video": {"translate": "catalog", "lipsync": "catalog"},
    "Resume": {
        "status": "journal",
        "resume": "journal",
        "collect": "journal",
        "resolve": "resolve",
        "retry": "journal",
    },
    "Receive webhooks": {"webhook serve": "webhook"},
    "Ask the vendor": {"languages": "info", "voices": "info", "credit": "info", "doctor": "doctor"},
    "Try it without an account": {"demo": "local", "sandbox": "local"},
}
"""The commands by their heading in the help, each with its module in `commands/`.

Each is a function of its name (with "_" for " "), imported when it is run or listed.
"""

EXTRAS: Final[Mapping[str, str]] = {
    "av": "sandbox",
    "pysubs2": "sandbox",
    "uvicorn": "sandbox",
    "cryptography": "webhook",
}
"""The extra that installs a module which may be missing; the others come with `cli`."""

_LAST: Final = 100
app: Final[App] = App(
    name="akool-async",
    help="Translate videos with the Akool API, one or a whole catalog.",
    help_on_error=False,
    group_commands=Group("Help", sort_key=_LAST),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
_PARENTS: Final[set[str]] = set()
for _number, (_heading, _modules) in enumerate(COMMANDS.items()):
    _group = Group(_heading, sort_key=_number)
    for _name, _module in _modules.items():
        _function = f"akool_async.cli.commands.{_module}:{_name.replace(' ', '_')}"
        _above, _last = _name.rpartition(" ")[::2]
        if _above:
            _parent = App(name=_above, help=_heading, group=_group)
            _parent.command(_function, name=_last, group=_group)
            app.command(_parent)
            _PARENTS.add(_above)
        else:
            app.command(_function, name=_name, group=_group)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    warnings = WarningPrinter(logging.WARNING)
    logger.addHandler(warnings)
    try:
        if not given or given[0].startswith("-") or given[0] in _PARENTS:
            for name in (name for modules in COMMANDS.values() for name in modules):
                reduce(App.__getitem__, name.split(), app)  # imports it: the help shows its first line
        code = app(given, exit_on_error=False, error_console=stderr)
        sys.stdout.flush()
    except CycloptsError:
        return ExitCode.USAGE  # cyclopts has printed it to stderr
    except KeyboardInterrupt:
        print_info("Interrupted.")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # as by `| head`; Python would complain about stdout once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except AkoolError as error:
        print_error(error)
        return ExitCode.for_error(error)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0], "cli")
        print_error(f"{error.name} is missing. Install it with: pip install 'akool-async[{extra}]'")
        return ExitCode.USAGE
    finally:
        logger.removeHandler(warnings)
    return code if isinstance(code, int) else ExitCode.OK
