"""The exit codes that scripts rely on, and which error leads to which."""

from __future__ import annotations

from typing import Final

from akool_async._model.errors import AccountError, AkoolError, InvalidRequestError

OK: Final = 0
"""All is home."""

FAILED: Final = 1
"""Something failed, was refused, or could not be done."""

USAGE: Final = 2
"""The command, its options or the catalog are wrong; nothing was sent."""

ACCOUNT: Final = 3
"""The credentials are missing or refused, or the account can't do this."""

STILL_RUNNING: Final = 4
"""Gave up waiting: jobs go on at the vendor."""

OUT_OF_BUDGET: Final = 5
"""The account's credits or the bound on them are used up."""

IN_DOUBT: Final = 6
"""Paid calls whose outcome is unknown have to be resolved."""

INTERRUPTED: Final = 130
"""Ctrl-C, or told to stop."""


def exit_code_for(error: AkoolError) -> int:
    """Give the exit code of a command that ended with `error`."""
    if isinstance(error, InvalidRequestError):
        return USAGE
    return ACCOUNT if isinstance(error, AccountError) else FAILED
