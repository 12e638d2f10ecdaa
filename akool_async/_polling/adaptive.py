"""The schedule that learns from earlier jobs when the next poll of a job is worth its cost."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import accumulate, pairwise
from typing import Any, Final

from akool_async._model.errors import ConfigurationError
from akool_async._model.responses import Status
from akool_async._model.validators import positive
from akool_async._polling.duration_model import (
    BIN_EDGES,
    PER_BIN,
    DurationModel,
    bin_position,
    interpolate,
    inverse_interpolate,
    read_numbers,
)
from akool_async._polling.poll_state import PollContext, PollResult

# Servers report progress honestly, in leaps, stuck or wrongly. So it is not trusted but counted: what did
# finished jobs report when a given share of their time was still ahead?
REMAINING_EDGES: Final = (0.0, *(0.01 * 1.6**number for number in range(16)))
"""Edges of time ahead, as a share of the time gone; the last cell has no end."""

_FINE: Final = 95
_BUCKETS: Final = _FINE // 5 + 6
"""Percentages are counted in fives, and from 95 on one by one."""

_WIDTHS: Final = (*[5] * (_FINE // 5), *[1] * 6)
_MIDDLES: Final = (*range(2, _FINE, 5), *range(_FINE, 101))
_PRIOR: Final = 2.0
"""The weight of the prior, in reports per cell."""

_TRUST: Final = 0.8
_ROUGHLY: Final = 12.0
"""The prior: this share of reports is true within so many percent, the others are arbitrary."""

_BLUR: Final = ((-1, 0.25), (0, 0.5), (1, 0.25))
_MEMORY: Final = 300.0
"""Reports in one cell after which they count half; the prior keeps its weight. So the schedule adapts to a
server that begins to report otherwise."""


def progress_bucket(progress: int | None) -> int | None:
    """Return the bucket of a percentage; None if it is not a valid percentage."""
    if progress is None or not 0 <= progress <= 100:
        return None
    return int(progress) // 5 if progress < _FINE else int(progress) - _FINE + _FINE // 5


class ProgressModel:
    """A table: of jobs with so much time ahead, the share that reported a percentage."""

    def __init__(self) -> None:
        self._counts = [list(row) for row in _PRIORS]
        self._totals = [_PRIOR] * len(REMAINING_EDGES)
        self._weights = [1 / _PRIOR] * len(REMAINING_EDGES)

    def counts(self) -> dict[str, Any]:
        """Return what was observed, as plain JSON."""
        return {"counts": self._counts, "totals": self._totals}

    def restore(self, counts: Mapping[str, Any]) -> None:
        """Resume from what `counts` returned."""
        rows, cells = counts["counts"], len(REMAINING_EDGES)
        if len(rows) != len(_PRIORS):
            raise ValueError("stored numbers are missing")
        self._counts = [read_numbers(row, cells) for row in rows]
        self._totals = read_numbers(counts["totals"], cells)
        self._weights = [1 / count for count in self._totals]

    def likelihoods(self, bucket: int) -> list[float]:
        """Return for each cell of `REMAINING_EDGES` the share of jobs that reported such a percentage."""
        return [count * weight for count, weight in zip(self._counts[bucket], self._weights, strict=True)]

    def learn(self, points: Iterable[tuple[float, int]], total: float) -> None:
        """Learn what a job that took `total` seconds reported at which age."""
        for elapsed, progress in points:
            bucket = progress_bucket(progress)
            # A percentage outside of 0 to 100, or after the end, teaches nothing.
            if bucket is not None and 0 < elapsed < total:
                self._count(bucket, bisect_right(REMAINING_EDGES, total / elapsed - 1) - 1)
        self._weights = [1 / count for count in self._totals]

    def _count(self, bucket: int, cell: int) -> None:
        """Count a report in a cell and its neighbours, and halve the weight of old ones in full cells."""
        for step, weight in _BLUR:
            near = min(max(cell + step, 0), len(REMAINING_EDGES) - 1)
            self._counts[bucket][near] += weight
            self._totals[near] += weight
            if self._totals[near] > _MEMORY:
                for counts, priors in zip(self._counts, _PRIORS, strict=True):
                    counts[near] = (counts[near] + priors[near]) / 2
                self._totals[near] = (self._totals[near] + _PRIOR) / 2


def _prior_reports(ahead: float) -> list[float]:
    """Return the prior of a cell, by percentage."""
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
"""The same where hints announce nearly every end."""

JITTER: Final = 0.1
_STEPS: Final = tuple(math.log1p(share) * PER_BIN for share in REMAINING_EDGES)
_GAPS: Final = tuple(end - begin for begin, end in pairwise(REMAINING_EDGES))
_SURE: Final = 1 - 1e-9
_HINT_AGE: Final = 2.0
"""Seconds before a hinted poll within which the job surely ended."""

_MOST_HINTED: Final = 0.998
"""The largest share of ends that hints are trusted to announce."""

_VAGUE: Final = 0.3
"""A duration that is known less exactly than to this share of it teaches nothing about percentages."""


_STATE_FORMAT: Final = 1
"""Raised when what is learned changes its shape or meaning."""


class LearnedSchedule:
    """Polls when it is worth most, judging by earlier jobs; learns from every poll.

    A job that is expected to end soon is polled often, one that has just begun or seems far from its end
    seldom. Durations are learned from the first job on, including jobs still running. Reported progress
    is compared with what earlier jobs reported at the same distance from their end. Honest progress
    saves most polls; where it is wrong or missing, durations alone decide. Two thirds of the gain are
    fewer polls, one third is a smaller lag. Where hints announce most ends, as webhooks do, polls
    become rare.

    The waits follow inspection theory: something that fails with hazard h(t) is best inspected
    sqrt(h / 2c) times a second, where c is the cost of one inspection in seconds of lag. The next poll
    comes where the integral of that density since the last one reaches 1. Here c is chosen so that jobs
    like those seen have the wanted mean lag.
    Source: J. B. Keller, Optimum checking schedules for systems subject to random failure,
    Management Science 21 (1974), 256-260.

    One schedule may serve several clients and batches, which then learn from each other's jobs. It must
    not be shared by threads.

    Args:
        lag: mean seconds between the end of a job and the poll that sees it, above 0. Half of it costs
            about twice the polls. Useful progress makes the lag smaller.

    Raises:
        ConfigurationError: `lag` is not a positive number.
    """

    __slots__ = ("_durations", "_hinted", "_percentages", "_seen_lag", "lag")

    def __init__(self, lag: float = 2.5) -> None:
        positive.check("lag", lag)
        self.lag: float = float(lag)
        self._seen_lag = self.lag
        self._hinted = 0.0
        self._durations = DurationModel()
        self._percentages = ProgressModel()

    def __repr__(self) -> str:
        """Show the wanted lag."""
        return f"LearnedSchedule(lag={self.lag:g})"

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON, for another process or a later run."""
        return {
            "format": _STATE_FORMAT,
            "lag": self.lag,
            "seen_lag": self._seen_lag,
            "hinted": self._hinted,
            "durations": self._durations.counts(),
            "percentages": self._percentages.counts(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> LearnedSchedule:
        """Return the schedule that `state` was called on, as it was then.

        Raises:
            ConfigurationError: it is not what `state` returns, or from a version that learns otherwise.
        """
        try:
            if state["format"] != _STATE_FORMAT:
                raise ValueError("another format")  # noqa: TRY301 - reported like the errors below
            restored = cls(state["lag"])
            restored._seen_lag, restored._hinted = float(state["seen_lag"]), float(state["hinted"])
            restored._durations.restore(state["durations"])
            restored._percentages.restore(state["percentages"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigurationError(
                "The stored state of a LearnedSchedule can't be read.",
                advice="Begin with a new LearnedSchedule(); it learns again.",
            ) from error
        return restored

    def next_poll(self, context: PollContext, rand: float) -> float:
        """Return the seconds until the next poll; see `PollSchedule`."""
        age = min(context.elapsed, BIN_EDGES[-1]) if 0.0 < context.elapsed < math.inf else 0.0
        bucket = progress_bucket(context.progress)
        # Without progress only the age tells anything, and at age 0 no share of it says what is ahead.
        if bucket is None or age <= 0:
            roots = self._durations.cumulative_sqrt_hazard
            here = interpolate(roots, bin_position(age))
            wait = inverse_interpolate(roots, here + self._poll_spacing()) - age
        else:
            wait = self._by_progress(age, bucket)
        # However sure the model is, a job is looked at now and then: a result expires, a callback gets lost.
        longest = min(LONGEST * self._interval_factor, LONGEST_HINTED)
        return min(max(wait, SHORTEST), longest) * (1 + JITTER * (2 * rand - 1))

    @property
    def _interval_factor(self) -> float:
        """How much longer waits are because hints announce ends: polls only have to find the others."""
        return 1 / math.sqrt(1 - self._hinted)

    def _poll_spacing(self) -> float:
        """Return sqrt(2c): the integral over the root of the hazard between two polls.

        With c = 2 (lag / mean_inverse_root)² the mean lag is the wanted one if only ages are known. Where
        progress makes it smaller, waits are longer by the square of that gain, so that, as a logarithm,
        a third of the gain stays in the lag and two thirds are fewer polls.
        """
        gain = self.lag / self._seen_lag
        spacing = 2 * self.lag / self._durations.mean_inverse_root
        return spacing * min(max(gain * gain, 0.5), 6.0) * self._interval_factor

    def _by_progress(self, age: float, bucket: int) -> float:
        """Return the wait by the durations of those jobs that would have reported the same progress."""
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
        """Return for each cell of remaining time the probability that the job ends there, unscaled."""
        survivals, here = self._durations.survivals, bin_position(age)
        left = [*(interpolate(survivals, here + step) for step in _STEPS), 0.0]
        likelihoods = self._percentages.likelihoods(bucket)
        return [
            (begin - end) * likelihood
            for (begin, end), likelihood in zip(pairwise(left), likelihoods, strict=True)
        ]

    def learn(self, seen: PollResult) -> None:
        """Learn from an answered poll; see `AdaptiveSchedule`."""
        since = seen.since
        # A job whose age is not known, or older than the last edge, would teach durations that are wrong.
        if since is None or not since <= seen.elapsed < BIN_EDGES[-1]:
            return
        if not seen.status.terminal:
            self._durations.observe_running(since, seen.elapsed)
            return
        if seen.hinted:
            # A callback arrives right after the end, so the time before it is known to be free of it.
            recent = max(since, seen.elapsed - _HINT_AGE)
            self._durations.observe_running(since, recent)
            since = recent
        else:
            # An end found by a poll is half an interval old on average; a long outage must not count in full.
            lag = min((seen.elapsed - since) / 2 / self._interval_factor, 4 * self.lag)
            self._seen_lag += (lag - self._seen_lag) / min(self._durations.ends + 20, 50)
        hinted = _MOST_HINTED if seen.hinted else 0.0
        self._hinted += (hinted - self._hinted) / min(self._durations.ends + 4, 50)
        total = self._durations.observe_finished(since, seen.elapsed, failed=seen.status is Status.FAILED)
        # A failed job says nothing about how percentages go with time, and a vague end would blur it.
        if seen.status is Status.COMPLETED and seen.elapsed - since <= _VAGUE * total:
            self._percentages.learn(seen.reports, total)
