"""The schedule that learns from the jobs it has seen when the next one is worth asking about."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise
from typing import Final

from akool_async._core import durations
from akool_async._core.durations import EDGES, Durations
from akool_async._core.errors import InvalidRequest
from akool_async._core.models import Status
from akool_async._core.percentages import AHEAD, Percentages, bucket_of
from akool_async._core.schedule import PollFacts, Sighting, is_number
from akool_async._core.text import shown

SHORTEST: Final = 0.5
LONGEST: Final = 60.0
"""Seconds between polls, before jitter."""

LONGEST_HINTED: Final = 600.0
"""The same where hints have told of nearly every end."""

JITTER: Final = 0.1

_STEPS: Final = tuple(durations.places_ahead(share) for share in AHEAD)
_GAPS: Final = tuple(end - begin for begin, end in pairwise(AHEAD))
_SURE: Final = 1 - 1e-9
_HINT_AGE: Final = 2.0
"""Seconds in which a job surely ended whose end a hint told."""

_MOST_HINTED: Final = 0.998
"""The share of ends that hints are trusted to tell, at most."""

_VAGUE: Final = 0.3
"""A duration that is not known better than to this share of it says nothing about percentages."""


class LearnedSchedule:
    """Polls where they are worth most, by what the jobs before did; learns from every poll.

    A job whose end is expected soon is asked about often, one that has just begun or seems to have
    long to go seldom. How long jobs take is counted from the first job on, those still running
    included. Progress is not believed but counted: what did jobs report that had so much of their
    time ahead? Where progress is honest that saves most polls; where it lies or is missing, the
    durations alone decide. Of what is gained two thirds are fewer polls and one is seeing ends sooner.
    Where hints tell of most ends, as webhooks do, polls are only for the others and become rare.

    The waits come from the theory of inspection: a thing that fails with hazard h(t) is best inspected
    sqrt(h / 2c) times a second, where c is what one inspection costs, in seconds of lag. So the
    next poll comes where the integral of that density since the last one reaches 1. Here c is the one
    that makes the mean lag what was asked for, for jobs like those seen.
    Source: J. B. Keller, Optimum checking schedules for systems subject to random failure,
    Management Science 21 (1974), 256-260.

    One schedule may serve several clients and batches; they learn from each other's jobs. It is not
    for several threads.

    Args:
        lag: mean seconds that may pass between the end of a job and the poll that sees it, above 0.
            Half of it costs about twice the polls. Where progress says something the lag is smaller.

    Raises:
        InvalidRequest: `lag` is no positive number.
    """

    __slots__ = ("_durations", "_hinted", "_percentages", "_seen_lag", "lag")

    def __init__(self, lag: float = 2.5) -> None:
        if not is_number(lag) or lag <= 0:
            raise InvalidRequest(f"lag must be a positive number of seconds, not {shown(lag)}.")
        self.lag: float = float(lag)
        self._seen_lag = self.lag
        self._hinted = 0.0
        self._durations = Durations()
        self._percentages = Percentages()

    def __repr__(self) -> str:
        """Show the lag that is wanted and how much was learned."""
        return f"LearnedSchedule(lag={self.lag:g})"

    def next_poll(self, facts: PollFacts, spread: float) -> float:
        """Give seconds until the next poll; see `PollSchedule`."""
        age = min(max(facts.elapsed, 0.0), EDGES[-1]) if is_number(facts.elapsed) else 0.0
        bucket = bucket_of(facts.progress)
        wait = self._by_age(age) if bucket is None or age <= 0 else self._by_progress(age, bucket)
        longest = min(LONGEST * self._rarer, LONGEST_HINTED)
        return min(max(wait, SHORTEST), longest) * (1 + JITTER * (2 * spread - 1))

    @property
    def _rarer(self) -> float:
        """How much longer waits are because hints tell of ends: the hazard to look for is what is left."""
        return 1 / math.sqrt(1 - self._hinted)

    def _reach(self) -> float:
        """Give sqrt(2c): how far the integral over the root of the hazard goes between two polls.

        With c = 2 (lag / typical)² the mean lag is what was asked for if polls know the age alone. Where
        they know more and the lag comes out smaller, waits are longer by the square of that gain, until of
        the gain, as a logarithm, a third is left in the lag and two thirds are in the polls.
        """
        gain = self.lag / self._seen_lag
        return 2 * self.lag / self._durations.typical * min(max(gain * gain, 0.5), 6.0) * self._rarer

    def _by_age(self, age: float) -> float:
        """Wait by the law of durations alone."""
        roots = self._durations.roots
        return durations.age_where(roots, durations.at(roots, durations.place(age)) + self._reach()) - age

    def _by_progress(self, age: float, bucket: int) -> float:
        """Wait by what is left of the law once jobs are left out that would have reported otherwise."""
        masses = self._masses(age, bucket)
        at_risk = list(accumulate(reversed(masses)))
        reach, failing = self._reach(), self._durations.failing * age
        for gap, begin, mass, rest in zip(_GAPS, AHEAD, masses, reversed(at_risk), strict=False):
            ending = -math.log1p(-min(mass / rest, _SURE)) if rest > 0 else 0.0
            step = math.sqrt(gap * age * (ending + failing * gap))
            if step >= reach:
                return age * (begin + gap * reach / step)
            reach -= step
        return math.inf

    def _masses(self, age: float, bucket: int) -> list[float]:
        """Give for each cell of time ahead how probable it is that the job ends there, unscaled."""
        survivals, here = self._durations.survivals, durations.place(age)
        places = [here + step for step in _STEPS]
        left = [
            (before := survivals[span := int(place)]) + (survivals[span + 1] - before) * (place - span)
            for place in places
        ]
        left.append(0.0)
        likelihoods = self._percentages.likelihoods(bucket)
        return [
            (begin - end) * likelihood
            for (begin, end), likelihood in zip(pairwise(left), likelihoods, strict=True)
        ]

    def learn(self, seen: Sighting) -> None:
        """Take in what a poll said; see `LearningSchedule`."""
        since = seen.since
        if since is None or not since <= seen.elapsed < EDGES[-1]:
            return
        if not seen.status.terminal:
            self._durations.alive(since, seen.elapsed)
            return
        if seen.hinted:
            recent = max(since, seen.elapsed - _HINT_AGE)
            self._durations.alive(since, recent)
            since = recent
        else:
            self._note_lag((seen.elapsed - since) / 2)
        self._note_hint(_MOST_HINTED if seen.hinted else 0.0)
        total = self._durations.ended(since, seen.elapsed, failed=seen.status is Status.FAILED)
        if seen.status is Status.COMPLETED and seen.elapsed - since <= _VAGUE * total:
            self._percentages.learn(seen.reports, total)

    def _note_lag(self, lag: float) -> None:
        """Take in how late an end was seen, on average; hints apart, and outages not in full."""
        found = min(lag / self._rarer, 4 * self.lag)
        self._seen_lag += (found - self._seen_lag) / min(self._durations.ends + 20, 50)

    def _note_hint(self, share: float) -> None:
        self._hinted += (share - self._hinted) / min(self._durations.ends + 4, 50)
