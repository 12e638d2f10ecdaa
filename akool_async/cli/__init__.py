"""The command line `akool-async`: thin over the public API, and nothing that Python can't do too."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; the console script starts here."""
    try:
        from akool_async.cli.app import run
    except ModuleNotFoundError as error:
        sys.exit(f"akool-async: {error.name} is missing. Install it with: pip install 'akool-async[cli]'")
    sys.exit(run())
