"""Jobs that an earlier run left at the vendor, taken up before the source comes to them.

A source may come to them late or never, and their results die meanwhile.
"""

from __future__ import annotations

import attrs

from akool_async._core.errors import AkoolError
from akool_async._core.outcomes import Outcome
from akool_async._core.requests import Request


class Early:
    """Keeps apart who was brought home early from who was asked for, by key and language."""

    def __init__(self) -> None:
        self._ended: dict[tuple[str, str], Outcome | AkoolError | None] = {}
        self._asked: dict[tuple[str, str], Request] = {}

    def __contains__(self, name: tuple[str, str]) -> bool:
        """Whether the job of this entry was taken up and not asked for yet."""
        return name in self._ended

    def take_up(self, key: str, target: str) -> None:
        """Take up a job that nobody has asked for yet."""
        self._ended[key, target] = None

    def ask(self, key: str, target: str, request: Request) -> Outcome | AkoolError | None:
        """Take in that the source came to such a job; give its outcome, or why there is none, if it ended."""
        ended = self._ended.pop((key, target))
        if ended is None:
            self._asked[key, target] = request
        elif not isinstance(ended, AkoolError):
            return attrs.evolve(ended, request=request)
        return ended

    def lose(self, name: tuple[str, str], error: AkoolError) -> bool:
        """Take in why it can't be told how a job ended; whether the source has come to it."""
        if name not in self._ended:
            return True
        self._ended[name] = error
        return False

    def end(self, outcome: Outcome) -> Outcome | None:
        """Take in an outcome; give it back unless nobody has asked for it yet."""
        name = (outcome.key, outcome.target)
        if name in self._ended:
            self._ended[name] = outcome
            return None
        request = self._asked.pop(name, None)
        return outcome if request is None else attrs.evolve(outcome, request=request)
