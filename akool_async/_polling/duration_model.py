"""How long jobs take, learned from the polls of earlier ones: the hazard of an end at each age."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, pairwise
from typing import Any, Final

_FIRST_EDGE: Final = 0.5
_RATIO: Final = 1.14
_BINS: Final = 96
PER_BIN: Final = 1 / math.log(_RATIO)
"""Bins for each unit of the natural logarithm of an age."""

BIN_EDGES: Final = (0.0, *(_FIRST_EDGE * _RATIO**number for number in range(_BINS)))
"""Ages in seconds between which the hazard is one number: up to half a second, then each 14 % longer."""

_BIN_WIDTHS: Final = tuple(end - begin for begin, end in pairwise(BIN_EDGES))
_STEEPEST: Final = 7.0
"""Ends per job within one bin, at most, so that very regular jobs cause no underflow."""

_NO_SURVIVORS: Final = (0.0,) * _BINS
_PRIOR_JOBS: Final = 3.0
_PRIOR_MEDIAN: Final = 120.0
_PRIOR_SIGMA: Final = 1.3
"""Before anything was seen: as if a few jobs had taken two minutes, give or take a factor of four."""

_ENDS_MEMORY: Final = 1000.0
"""Ends after which all data counts half, so that a change of the jobs is noticed."""

_BIN_BLUR: Final = tuple((step, 0.5 ** abs(step), _RATIO**-step) for step in (-2, -1, 0, 1, 2))
"""Neighbours that smooth a bin: how far away, with what weight, how much wider."""


def bin_position(age: float) -> float:
    """Return the number of the bin of an age, and as a fraction how far into it the age is."""
    if age < _FIRST_EDGE:
        return age / _FIRST_EDGE
    return min(1.0 + math.log(age / _FIRST_EDGE) * PER_BIN, _BINS - 1e-6)


def inverse_interpolate(running: list[float], total: float) -> float:
    """Return the age at which a running total reaches a value; the last edge if it never does."""
    span = bisect_right(running, total) - 1
    if span >= _BINS:
        return BIN_EDGES[-1]
    part = (total - running[span]) / (running[span + 1] - running[span])
    return part * _FIRST_EDGE if span < 1 else float(BIN_EDGES[span] * _RATIO**part)


def interpolate(running: list[float], place: float) -> float:
    """Return a running total at a position."""
    span = int(place)
    before = running[span]
    return before + (running[span + 1] - before) * (place - span)


class DurationModel:
    """How long jobs take, learned while they run: a hazard rate for each of many short bins of age.

    Counts ends and observed time, so that jobs still running count for as long as they have run. A
    histogram of finished jobs alone would miss the long ones, which finish last.

    Attributes:
        survivals: the share of jobs still running at each edge, and 0 far beyond the last.
        cumulative_sqrt_hazard: the square root of the hazard, integrated up to each edge.
        failure_rate: failures per second of age, whatever the age.
        mean_inverse_root: the mean of 1 / sqrt(hazard) at the moment at which a job ends.
        ends: how many jobs were seen to end, old ones counting less.
    """

    def __init__(self) -> None:
        reached = [
            0.5 * math.erfc(math.log(edge / _PRIOR_MEDIAN) / _PRIOR_SIGMA / math.sqrt(2)) if edge else 1.0
            for edge in BIN_EDGES
        ]
        self._prior_ends = [_PRIOR_JOBS * (begin - end) for begin, end in pairwise(reached)]
        self._prior_watched = [
            _PRIOR_JOBS * width * (begin + end) / 2
            for width, (begin, end) in zip(_BIN_WIDTHS, pairwise(reached), strict=True)
        ]
        self._ends = [0.0] * _BINS
        self._watched = [0.0] * _BINS
        self._failures = 0.0
        self._seconds = sum(self._prior_watched)
        self.ends = 0.0
        self._fit()

    def counts(self) -> dict[str, Any]:
        """Return what was observed, as plain JSON."""
        return {
            "ended": self._ends,
            "watched": self._watched,
            "failures": self._failures,
            "seconds": self._seconds,
            "ends": self.ends,
        }

    def restore(self, counts: Mapping[str, Any]) -> None:
        """Resume from what `counts` returned."""
        self._ends, self._watched = (read_numbers(counts[name], _BINS) for name in ("ended", "watched"))
        self._failures, self._seconds, self.ends = read_numbers(
            [counts[name] for name in ("failures", "seconds", "ends")], 3
        )
        self._fit()

    def observe_running(self, since: float, until: float) -> None:
        """Record that a job did not end between two ages."""
        for span, begin, end in _spans(since, until):
            self._watched[span] += end - begin
            self._seconds += end - begin
        self._fit_if_due()

    def observe_finished(self, since: float, until: float, *, failed: bool = False) -> float:
        """Record that a job ended between two ages; return its most probable age at the end.

        The end is distributed over the bins between them by what is known so far.
        """
        shares = []
        for span, one, other in _spans(since, until):
            begin, end = (interpolate(self.survivals, bin_position(age)) for age in (one, other))
            shares.append((span, one, other, max(begin - end, 1e-300)))
        whole = left = sum(share for *_, share in shares)
        mean = 0.0
        for span, one, other, share in shares:
            left -= share
            self._ends[span] += share / whole
            self._watched[span] += (other - one) * max(left + share / 2, 0.0) / whole
            mean += (one + other) / 2 * share / whole
        self._failures += failed
        self.ends += 1
        # Halved, so that a vendor that becomes faster or slower is noticed within a few hundred jobs.
        if self.ends >= _ENDS_MEMORY:
            self.ends /= 2
            self._failures /= 2
            self._seconds /= 2
            self._ends = [count / 2 for count in self._ends]
            self._watched = [seconds / 2 for seconds in self._watched]
            self._fit()
        self._fit_if_due()
        return mean

    def _fit_if_due(self) -> None:
        """Fit again once there is a tenth more data: fitting after each poll would cost too much."""
        if self.ends > 1.1 * self._fitted[0] or self._seconds > 1.1 * self._fitted[1]:
            self._fit()

    def _fit(self) -> None:
        self._fitted = self.ends, self._seconds
        # The prior never leaves: without it, ages at which no job has ended yet would have no hazard at all.
        ends = [seen + prior for seen, prior in zip(self._ends, self._prior_ends, strict=True)]
        watched = [seen + prior for seen, prior in zip(self._watched, self._prior_watched, strict=True)]
        steps = [min(_blurred(ends, watched, span) * _BIN_WIDTHS[span], _STEEPEST) for span in range(_BINS)]
        running = [math.exp(-total) for total in accumulate(steps, initial=0.0)]
        roots = [math.sqrt(step * width) for step, width in zip(steps, _BIN_WIDTHS, strict=True)]
        lost = (begin - end for begin, end in pairwise(running))
        times = (share * width / root for share, width, root in zip(lost, _BIN_WIDTHS, roots, strict=True))
        self.survivals = [*running, *_NO_SURVIVORS]
        self.cumulative_sqrt_hazard = list(accumulate(roots, initial=0.0))
        self.mean_inverse_root = sum(times) / (1 - running[-1])
        self.failure_rate = self._failures / sum(watched)


def read_numbers(values: Iterable[Any], length: int) -> list[float]:
    """Return stored numbers; refuse what is not so many numbers, each finite and 0 or more."""
    numbers = [float(value) for value in values]
    if len(numbers) != length or not all(0 <= number < math.inf for number in numbers):
        raise ValueError("stored numbers are missing or out of range")
    return numbers


def _spans(since: float, until: float) -> Iterator[tuple[int, float, float]]:
    """Split the time between two ages at the edges of bins."""
    span = int(bin_position(since))
    while span < _BINS and BIN_EDGES[span] < until:
        begin, end = max(since, BIN_EDGES[span]), min(until, BIN_EDGES[span + 1])
        if begin < end:
            yield span, begin, end
        span += 1


def _blurred(ends: list[float], watched: list[float], span: int) -> float:
    ended = seconds = 0.0
    for step, weight, wider in _BIN_BLUR:
        other = span + step
        if 0 <= other < _BINS:
            ended += weight * ends[other]
            seconds += weight * watched[other] * wider
    return ended / seconds
