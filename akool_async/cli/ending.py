"""How a run ended: what came of its entries, the exit code of that, and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import attrs

from akool_async._batch import StopCause
from akool_async._core.errors import AkoolError
from akool_async._core.outcomes import (
    Completed,
    Expired,
    Failed,
    InDoubt,
    NotSubmitted,
    Outcome,
    Rejected,
)
from akool_async.cli import exits
from akool_async.cli.amounts import exact
from akool_async.cli.home import Home
from akool_async.cli.moments import span
from akool_async.cli.plan_told import counted

HOME: Final = "home"
NOT_HOME: Final = "not home"

_WORDS: Final = {
    Failed: "failed",
    Rejected: "refused",
    InDoubt: "in doubt",
    Expired: "expired",
    NotSubmitted: "not sent",
}


def word_for(outcome: Outcome) -> str:
    """Give how an entry ended, in a word or two."""
    if isinstance(outcome, Completed):
        return NOT_HOME if outcome.saved is None else HOME
    return _WORDS[type(outcome)]


@attrs.define
class Score:
    """What has come of a run's entries so far.

    Attributes:
        expected: entries of the catalog.
        counts: entries by how they ended.
        earlier: how many of them an earlier run had ended.
        made: how many of the others had a job that has ended.
    """

    expected: int
    counts: Counter[str] = attrs.field(factory=Counter)
    earlier: int = 0
    made: int = 0

    def take(self, outcome: Outcome) -> None:
        """Count one more."""
        self.counts[word_for(outcome)] += 1
        self.earlier += outcome.resumed
        self.made += isinstance(outcome, Completed | Failed | Expired) and not outcome.resumed

    def copy(self) -> Score:
        """Give what it is now, for another thread."""
        return attrs.evolve(self, counts=self.counts.copy())

    @property
    def ended(self) -> int:
        """Entries that have ended."""
        return self.counts.total()

    @property
    def home(self) -> int:
        """Entries whose files are home."""
        return self.counts[HOME]


@attrs.frozen(kw_only=True)
class Ending:
    """A run that is over.

    Attributes:
        score: what came of its entries.
        home: where results come home.
        cause: what made it stop to submit, if anything did.
        why: that in words.
        failure: what ended it before its time.
        gave_up: whether its patience ended.
        at_work: jobs that go on at the vendor.
        credits_used: what this run's jobs cost.
        seconds: how long it took.
    """

    score: Score
    home: Home
    cause: StopCause | None = None
    why: str = ""
    failure: AkoolError | None = None
    gave_up: bool = False
    at_work: int = 0
    credits_used: float = 0.0
    seconds: float = 0.0

    @property
    def code(self) -> int:
        """The exit code: the first of these that is so."""
        score = self.score
        if score.home == score.expected:
            return exits.OK
        if self.cause is StopCause.SIGNAL:
            return exits.INTERRUPTED
        if self.failure is not None:
            return exits.code_of(self.failure)
        if self.cause in (StopCause.BUDGET, StopCause.CREDITS):
            return exits.OUT_OF_BUDGET
        if self.gave_up:
            return exits.STILL_RUNNING
        return exits.IN_DOUBT if score.counts["in doubt"] else exits.FAILED

    def in_words(self) -> Iterator[str]:
        """Give the ending as lines for people."""
        score = self.score
        all_of_it = counted(score.expected, "translation")
        spent = f"; {exact(self.credits_used)} credits used in this run" if self.credits_used else ""
        spent += f" ({span(timedelta(seconds=self.seconds))})."
        if score.home == score.expected:
            those = "It is" if score.expected == 1 else f"All {all_of_it} are"
            yield f"{those} home in {self.home.out}{spent}"
            return
        yield f"{score.home:,} of {all_of_it} are home in {self.home.out}{spent}"
        if self.failure is not None:
            yield f"Stopped: {self.failure}"
        elif self.why:
            yield f"Stopped: {self.why}"
        for number, what in self._rest():
            yield f"  {number:,} {what}"
        yield from self._next()

    def _rest(self) -> Iterator[tuple[int, str]]:
        counts = self.score.counts
        left = self.score.expected - self.score.ended - self.at_work
        for number, what in (
            (self.at_work, "at work: they go on at the vendor and are billed"),
            (counts[NOT_HOME], "done and paid, but not brought home"),
            (counts["in doubt"], "in doubt: sent or maybe sent, and perhaps paid"),
            (counts["failed"], "failed"),
            (counts["refused"], "refused, not charged"),
            (counts["expired"], "expired: the results died at the vendor"),
            (counts["not sent"] + max(left, 0), "not submitted, not charged"),
        ):
            if number:
                yield number, what

    def _next(self) -> Iterator[str]:
        counts = self.score.counts
        if counts["in doubt"]:
            yield "Doubts are cleared up with:"
            yield f"    {self.home.command('resolve')}"
        if counts["failed"] or counts["refused"] or counts["expired"]:
            yield "To pay again for what failed:"
            yield f"    {self.home.command('retry', '--failed')}"
        if counts[NOT_HOME] or counts["not sent"] or self.score.ended < self.score.expected:
            yield "To go on: run the same again. What is paid is not paid again."
