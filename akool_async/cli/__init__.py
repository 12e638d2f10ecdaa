"""The command line `akool-async`: thin over the public API, and nothing that Python can't do too."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; the console script starts here."""
    # A stream that was closed outside leaves its number free. The next file that is opened, such as the
    # journal, would get that number, and messages would be written into it.
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8"))
    try:
        from akool_async.cli.app import run
    except ModuleNotFoundError as error:
        from akool_async._environment import install_command

        sys.exit(f"akool-async: {error.name} is missing. Install it: {install_command('cli')}")
    except KeyboardInterrupt:  # what is imported takes a second, in which nothing was sent
        sys.stderr.write("Interrupted.\n")
        sys.exit(130)
    sys.exit(run())
