"""The exit codes that scripts rely on, and which error leads to which."""

from __future__ import annotations

import enum

from akool_async._model.errors import AccountError, AkoolError, InvalidRequestError


class ExitCode(enum.IntEnum):
    """What a command exits with."""

    OK = 0
    """Everything is saved."""
    FAILED = 1
    """Something failed, was refused, expired or could not be saved."""
    USAGE = 2
    """The command, its options or the catalog are wrong; nothing was sent."""
    ACCOUNT = 3
    """The credentials are missing or refused, or the account lacks a permission."""
    STILL_RUNNING = 4
    """Gave up waiting; jobs continue at the vendor."""
    OUT_OF_BUDGET = 5
    """The account is out of credits, or `--max-credits` is reached."""
    IN_DOUBT = 6
    """Paid calls whose outcome is unknown have to be resolved."""
    INTERRUPTED = 130
    """Ctrl-C, SIGTERM, or a question that was answered with no."""

    @classmethod
    def for_error(cls, error: AkoolError) -> ExitCode:
        """Return the exit code of a command that ended with `error`."""
        # Raised before a POST leaves, so that scripts may correct the command and run it again.
        if isinstance(error, InvalidRequestError):
            return cls.USAGE
        return cls.ACCOUNT if isinstance(error, AccountError) else cls.FAILED
