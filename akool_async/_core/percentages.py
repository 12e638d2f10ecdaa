"""What a reported percentage is worth, learned from jobs that have ended.

Servers report progress honestly, in leaps, stuck or as a lie. So it is not believed but counted: what
did jobs report when that much of their time was still ahead?
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

AHEAD: Final = (0.0, *(0.01 * 1.6**number for number in range(16)))
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


def bucket_of(progress: int | None) -> int | None:
    """Give the number under which a percentage is counted; None if it is none."""
    if progress is None or not 0 <= progress <= 100:
        return None
    return int(progress) // 5 if progress < _FINE else int(progress) - _FINE + _FINE // 5


class Percentages:
    """A table: of jobs with so much time ahead, the share that reported a percentage."""

    def __init__(self) -> None:
        self._counts = [list(row) for row in _PRIORS]
        self._totals = [_PRIOR] * len(AHEAD)
        self._weights = [1 / _PRIOR] * len(AHEAD)

    def likelihoods(self, bucket: int) -> list[float]:
        """Give for each cell of `AHEAD` the share of jobs there that reported such a percentage."""
        return [count * weight for count, weight in zip(self._counts[bucket], self._weights, strict=True)]

    def learn(self, points: Iterable[tuple[float, int]], total: float) -> None:
        """Take in what a job that took `total` seconds reported at which age."""
        for elapsed, progress in points:
            bucket = bucket_of(progress)
            if bucket is not None and 0 < elapsed < total:
                self._take(bucket, bisect_right(AHEAD, total / elapsed - 1) - 1)
        self._weights = [1 / count for count in self._totals]

    def _take(self, bucket: int, cell: int) -> None:
        for step, weight in _BLUR:
            near = min(max(cell + step, 0), len(AHEAD) - 1)
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


_PRIORS: Final = tuple(zip(*(_prior_reports(share) for share in AHEAD), strict=True))
