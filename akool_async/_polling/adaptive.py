"""The schedule that learns from the jobs it has seen when the next one is worth asking about."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate, pairwise
from typing import Final

from akool_async._model.errors import InvalidRequestError
from akool_async._model.redact import safe_repr
from akool_async._model.responses import Status
from akool_async._model.validators import is_number
from akool_async._polling import duration_model as durations
from akool_async._polling.duration_model import BIN_EDGES, DurationModel
from akool_async._polling.schedules import PollContext, PollResult

# What a reported percentage is worth, learned from jobs that have ended.
#
# Servers report progress honestly, in leaps, stuck or as a lie. So it is not believed but counted: what
# did jobs report when that much of their time was still ahead?


REMAINING_EDGES: Final = (0.0, *(0.01 * 1.6**number for number in range(16)))
"""Edges of time ahead, as a share of the time gone; the last cell has no end."""

_FINE: Final = 95
_BUCKETS: Final = _FINE // 5 + 6
"""Percentages that are counted together: fives, and from 95 on each of its own."""

_WIDTHS: Final = (*[5] * (_FINE // 5), *[1] * 6)
_MIDDLES: Final = (*range(2, _FINE, 5), *range(_FINE, 101))
_PRIOR: Final = 2.0
"""Reports that each cell is thought to have had before it had any."""

_TRUST: Final = 0.8
_ROUGHLY: Final = 12.0
"""The share of them that told the truth, give or take so many percent; the others said anything."""

_BLUR: Final = ((-1, 0.25), (0, 0.5), (1, 0.25))
_MEMORY: Final = 300.0
"""Reports in one cell after which they count half. What was thought before any stays as it was: then a
server that begins to report otherwise is understood again after some jobs."""


def progress_bucket(progress: int | None) -> int | None:
    """Give the number under which a percentage is counted; None if it is none."""
    if progress is None or not 0 <= progress <= 100:
        return None
    return int(progress) // 5 if progress < _FINE else int(progress) - _FINE + _FINE // 5


class ProgressModel:
    """A table: of jobs with so much time ahead, the share that reported a percentage."""

    def __init__(self) -> None:
        self._counts = [list(row) for row in _PRIORS]
        self._totals = [_PRIOR] * len(REMAINING_EDGES)
        self._weights = [1 / _PRIOR] * len(REMAINING_EDGES)

    def likelihoods(self, bucket: int) -> list[float]:
        """Give for each cell of `AHEAD` the share of jobs there that reported such a percentage."""
        return [count * weight for count, weight in zip(self._counts[bucket], self._weights, strict=True)]

    def learn(self, points: Iterable[tuple[float, int]], total: float) -> None:
        """Take in what a job that took `total` seconds reported at which age."""
        for elapsed, progress in points:
            bucket = progress_bucket(progress)
            if bucket is not None and 0 < elapsed < total:
                self._take(bucket, bisect_right(REMAINING_EDGES, total / elapsed - 1) - 1)
        self._weights = [1 / count for count in self._totals]

    def _take(self, bucket: int, cell: int) -> None:
        for step, weight in _BLUR:
            near = min(max(cell + step, 0), len(REMAINING_EDGES) - 1)
            self._counts[bucket][near] += weight
            self._totals[near] += weight
            if self._totals[near] > _MEMORY:
                self._forget(near)

    def _forget(self, cell: int) -> None:
        for counts, priors in zip(self._counts, _PRIORS, strict=True):
            counts[cell] = (counts[cell] + priors[cell]) / 2
        self._totals[cell] = (self._totals[cell] + _PRIOR) / 2


def _prior_reports(ahead: float) -> list[float]:
    """Give the reports that a cell has before there are any, by percentage."""
    true = 100 / (1 + 1.2 * ahead)
    honest = [
        width * math.exp(-(((middle - true) / _ROUGHLY) ** 2) / 2)
        for width, middle in zip(_WIDTHS, _MIDDLES, strict=True)
    ]
    scale = _TRUST / sum(honest)
    return [
        _PRIOR * (share * scale + (1 - _TRUST) * width / 101)
        for share, width in zip(honest, _WIDTHS, strict=True)
    ]


_PRIORS: Final = tuple(zip(*(_prior_reports(share) for share in REMAINING_EDGES), strict=True))


SHORTEST: Final = 0.5
LONGEST: Final = 60.0
"""Seconds between polls, before jitter."""

LONGEST_HINTED: Final = 600.0
"""The same where hints have told of nearly every end."""

JITTER: Final = 0.1
_STEPS: Final = tuple(durations.places_ahead(share) for share in REMAINING_EDGES)
_GAPS: Final = tuple(end - begin for begin, end in pairwise(REMAINING_EDGES))
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
        InvalidRequestError: `lag` is no positive number.
    """

    __slots__ = ("_durations", "_hinted", "_percentages", "_seen_lag", "lag")

    def __init__(self, lag: float = 2.5) -> None:
        if not is_number(lag) or lag <= 0:
            raise InvalidRequestError(f"lag must be a positive number of seconds, not {safe_repr(lag)}.")
        self.lag: float = float(lag)
        self._seen_lag = self.lag
        self._hinted = 0.0
        self._durations = DurationModel()
        self._percentages = ProgressModel()

    def __repr__(self) -> str:
        """Show the lag that is wanted and how much was learned."""
        return f"LearnedSchedule(lag={self.lag:g})"

    def next_poll(self, context: PollContext, rand: float) -> float:
        """Give seconds until the next poll; see `PollSchedule`."""
        age = min(max(context.elapsed, 0.0), BIN_EDGES[-1]) if is_number(context.elapsed) else 0.0
        bucket = progress_bucket(context.progress)
        wait = self._by_age(age) if bucket is None or age <= 0 else self._by_progress(age, bucket)
        longest = min(LONGEST * self._interval_factor, LONGEST_HINTED)
        return min(max(wait, SHORTEST), longest) * (1 + JITTER * (2 * rand - 1))

    @property
    def _interval_factor(self) -> float:
        """How much longer waits are because hints tell of ends: the hazard to look for is what is left."""
        return 1 / math.sqrt(1 - self._hinted)

    def _poll_spacing(self) -> float:
        """Give sqrt(2c): how far the integral over the root of the hazard goes between two polls.

        With c = 2 (lag / typical)² the mean lag is what was asked for if polls know the age alone. Where
        they know more and the lag comes out smaller, waits are longer by the square of that gain, until of
        the gain, as a logarithm, a third is left in the lag and two thirds are in the polls.
        """
        gain = self.lag / self._seen_lag
        return (
            2
            * self.lag
            / self._durations.mean_inverse_root
            * min(max(gain * gain, 0.5), 6.0)
            * self._interval_factor
        )

    def _by_age(self, age: float) -> float:
        """Wait by the law of durations alone."""
        roots = self._durations.cumulative_sqrt_hazard
        return (
            durations.inverse_interpolate(
                roots, durations.interpolate(roots, durations.bin_position(age)) + self._poll_spacing()
            )
            - age
        )

    def _by_progress(self, age: float, bucket: int) -> float:
        """Wait by what is left of the law once jobs are left out that would have reported otherwise."""
        masses = self._end_probabilities(age, bucket)
        at_risk = list(accumulate(reversed(masses)))
        reach, failing = self._poll_spacing(), self._durations.failure_rate * age
        for gap, begin, mass, rest in zip(_GAPS, REMAINING_EDGES, masses, reversed(at_risk), strict=False):
            ending = -math.log1p(-min(mass / rest, _SURE)) if rest > 0 else 0.0
            step = math.sqrt(gap * age * (ending + failing * gap))
            if step >= reach:
                return age * (begin + gap * reach / step)
            reach -= step
        return math.inf

    def _end_probabilities(self, age: float, bucket: int) -> list[float]:
        """Give for each cell of time ahead how probable it is that the job ends there, unscaled."""
        survivals, here = self._durations.survivals, durations.bin_position(age)
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

    def learn(self, seen: PollResult) -> None:
        """Take in what a poll said; see `AdaptiveSchedule`."""
        since = seen.since
        if since is None or not since <= seen.elapsed < BIN_EDGES[-1]:
            return
        if not seen.status.terminal:
            self._durations.observe_running(since, seen.elapsed)
            return
        if seen.hinted:
            recent = max(since, seen.elapsed - _HINT_AGE)
            self._durations.observe_running(since, recent)
            since = recent
        else:
            self._record_lag((seen.elapsed - since) / 2)
        self._record_hint(_MOST_HINTED if seen.hinted else 0.0)
        total = self._durations.observe_finished(since, seen.elapsed, failed=seen.status is Status.FAILED)
        if seen.status is Status.COMPLETED and seen.elapsed - since <= _VAGUE * total:
            self._percentages.learn(seen.reports, total)

    def _record_lag(self, lag: float) -> None:
        """Take in how late an end was seen, on average; hints apart, and outages not in full."""
        found = min(lag / self._interval_factor, 4 * self.lag)
        self._seen_lag += (found - self._seen_lag) / min(self._durations.ends + 20, 50)

    def _record_hint(self, share: float) -> None:
        self._hinted += (share - self._hinted) / min(self._durations.ends + 4, 50)
