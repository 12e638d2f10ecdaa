"""Jobs that an earlier run left at the vendor, taken up before the source comes to them.

A source may come to them late or never, and their results die meanwhile.
"""

from __future__ import annotations

import attrs

from akool_async._core.errors import AkoolError
from akool_async._core.outcomes import Outcome
from akool_async._core.requests import Request


class Early:
    """Keeps apart who was brought home early from who was asked for."""

    def __init__(self) -> None:
        self._ended: dict[str, Outcome | AkoolError | None] = {}
        self._asked: dict[str, Request] = {}

    def __contains__(self, job_id: str) -> bool:
        """Whether this job was taken up and not asked for yet."""
        return job_id in self._ended

    def take_up(self, job_id: str) -> None:
        """Take up a job that nobody has asked for yet."""
        self._ended[job_id] = None

    def ask(self, job_id: str, request: Request) -> Outcome | AkoolError | None:
        """Take in that the source came to such a job; give its outcome, or why there is none, if it ended."""
        ended = self._ended.pop(job_id)
        if ended is None:
            self._asked[job_id] = request
        elif not isinstance(ended, AkoolError):
            return attrs.evolve(ended, request=request)
        return ended

    def lose(self, job_id: str, error: AkoolError) -> bool:
        """Take in why it can't be told how a job ended; whether the source has come to it."""
        if job_id not in self._ended:
            return True
        self._ended[job_id] = error
        return False

    def end(self, outcome: Outcome) -> Outcome | None:
        """Take in an outcome; give it back unless nobody has asked for it yet."""
        job_id = "" if outcome.job is None else outcome.job.id
        if job_id in self._ended:
            self._ended[job_id] = outcome
            return None
        request = self._asked.pop(job_id, None)
        return outcome if request is None else attrs.evolve(outcome, request=request)
