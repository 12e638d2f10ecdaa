"""The command line `akool-async`: thin over the public API, and nothing that Python can't do too."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; the console script starts here."""
    _open_streams()
    try:
        from akool_async.cli.app import run
    except ModuleNotFoundError as error:
        sys.exit(f"akool-async: {error.name} is missing. Install it with: pip install 'akool-async[cli]'")
    sys.exit(run())


def _open_streams() -> None:
    """Let streams that were closed outside lead nowhere.

    Else the next file that is opened gets their number, and what is said to people goes into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8"))
