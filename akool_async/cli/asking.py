"""Questions to people, on the terminal.

They are asked while no event loop runs, so that Ctrl-C ends them at once.
"""

from __future__ import annotations

import sys

from akool_async._core.errors import InvalidRequest
from akool_async.cli.talk import can_ask, confirmed, plain, talk


def ask(question: str) -> str:
    """Give one line that was typed, without white space around it; "" at the end of the input."""
    talk.print(plain(question), markup=False, soft_wrap=True, end=" ")
    return sys.stdin.readline().strip()


def agreed(question: str, *, yes: bool) -> bool:
    """Whether something may be done: `yes` was said on the command line, or is typed now.

    Raises:
        InvalidRequest: nobody is there to ask.
    """
    if yes:
        return True
    if not can_ask():
        raise InvalidRequest(question, advice="Say --yes to agree where there is no terminal.")
    return confirmed(question)
