"""A request turned down by the vendor with a business code: raised by whoever finds out why.

The reason is for people reading a log; what goes out is the code and its meaning.
"""

from __future__ import annotations

__all__ = ["Refused"]


class Refused(Exception):
    """The vendor says no.

    Args:
        code: The business code of the answer.
        reason: Why, in the sandbox's words.
    """

    def __init__(self, code: int, reason: str) -> None:
        """Say why, and with which code."""
        super().__init__(f"{reason} (code {code})")
        self.code = code
        self.reason = reason
