"""What a job will probably cost: by a tariff that is inferred, then by what earlier jobs did cost.

Rules only: where earlier jobs come from the caller knows.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Callable, Mapping
from statistics import median
from typing import Final

import attrs

from akool_async._model.requests import LipSyncRequest, Request

_PERIOD: Final = 10.0
_MOST_KEPT: Final = 500
"""Earlier jobs of each kind that prices are learned from; the newest count."""


class JobKind(enum.StrEnum):
    """What a job's price depends on, besides its length."""

    TRANSLATION = "translation"
    LIPSYNC_TRANSLATION = "translation with lip-sync"
    LIPSYNC = "lip-sync"

    @staticmethod
    def for_request(request: Request) -> JobKind:
        """Return the kind of the jobs of a request."""
        if isinstance(request, LipSyncRequest):
            return JobKind.LIPSYNC
        return JobKind.LIPSYNC_TRANSLATION if request.lipsync else JobKind.TRANSLATION


# Unconfirmed: the vendor publishes no tariff. Two samples of its pages and an older one fit this: 16.44 s
# locked 4 credits, 11.7 s with lip-sync locked 20, 7.91 s with lip-sync locked 10.
TARIFF: Final[Mapping[JobKind, float]] = {
    JobKind.TRANSLATION: 2.0,
    JobKind.LIPSYNC_TRANSLATION: 10.0,
    JobKind.LIPSYNC: 10.0,
}
"""Credits for each started 10 seconds. Source: inferred from samples, not published."""

_UNITS: Final[Mapping[str, Callable[[float], float]]] = {
    "started 10 s": lambda seconds: max(1.0, math.ceil(seconds / _PERIOD)),
    "second": lambda seconds: seconds,
    "started second": lambda seconds: max(1.0, math.ceil(seconds)),
    "started minute": lambda seconds: max(1.0, math.ceil(seconds / 60.0)),
    "job": lambda _: 1.0,
}
"""What a price may be for. Which of them it is, is learned: the first one is what the tariff says."""


def inferred_price(kind: JobKind, seconds: float) -> float:
    """Return what a job costs by the inferred tariff."""
    return TARIFF[kind] * _UNITS["started 10 s"](seconds)


@attrs.frozen(kw_only=True)
class Price:
    """What a job will probably cost.

    Attributes:
        credits: the likely price.
        most: the price if it turns out as dear as the dearest earlier job; never less than `credits`.
        jobs: earlier jobs that it is learned from; 0 if it rests on the inferred tariff alone.
    """

    credits: float
    most: float
    jobs: int = 0


@attrs.frozen(kw_only=True)
class Rate:
    """What earlier jobs of one kind did cost.

    Attributes:
        unit: what the price is for, such as "started 10 s": that by which these jobs differ least.
        each: credits for one unit, the median.
        least: the same for the cheapest of these jobs.
        most: the same for the dearest.
        per_second: credits for a second of video, over all of these jobs.
    """

    kind: JobKind
    unit: str
    jobs: int
    each: float
    least: float
    most: float
    per_second: float


class PriceModel:
    """Learns what jobs cost, by kind and length."""

    def __init__(self) -> None:
        self._seen: dict[JobKind, deque[tuple[float, float]]] = {}
        self._rates: dict[JobKind, Rate] = {}

    def observe(self, kind: JobKind, seconds: float | None, credits: float | None) -> None:  # noqa: A002
        """Learn from a job whose length and cost are known; anything else teaches nothing."""
        if seconds is not None and credits is not None and seconds > 0 and credits > 0:
            self._seen.setdefault(kind, deque(maxlen=_MOST_KEPT)).append((seconds, credits))
            self._rates.pop(kind, None)

    def price(self, kind: JobKind, seconds: float | None) -> Price | None:
        """Return what a job will probably cost; None if its length is not known."""
        if seconds is None or not seconds > 0:
            return None
        rate = self.rate(kind)
        if rate is not None:
            units = _UNITS[rate.unit](seconds)
            return Price(credits=rate.each * units, most=rate.most * units, jobs=rate.jobs)
        # A tariff that is twice the inferred one for one kind is so for another, as far as is known.
        ratios = [
            cost / inferred_price(other, length)
            for other, seen in self._seen.items()
            for length, cost in seen
        ]
        inferred = inferred_price(kind, seconds)
        scale = median(ratios) if ratios else 1.0
        return Price(credits=inferred * scale, most=inferred * max(ratios, default=1.0), jobs=len(ratios))

    def rate(self, kind: JobKind) -> Rate | None:
        """Return what earlier jobs of a kind cost; None if there are none."""
        seen = self._seen.get(kind)
        if not seen:
            return None
        if kind not in self._rates:
            rates = [_rate(kind, unit, seen) for unit in _UNITS]
            # The unit by which these jobs differ least; for jobs of one length that is any, so the first.
            self._rates[kind] = min(rates, key=lambda rate: round((rate.most - rate.least) / rate.each, 6))
        return self._rates[kind]

    @property
    def rates(self) -> tuple[Rate, ...]:
        """What earlier jobs of each kind cost, as far as there are some."""
        found = (self.rate(kind) for kind in JobKind)
        return tuple(rate for rate in found if rate is not None)


def _rate(kind: JobKind, unit: str, seen: deque[tuple[float, float]]) -> Rate:
    ratios = [cost / _UNITS[unit](seconds) for seconds, cost in seen]
    return Rate(
        kind=kind,
        unit=unit,
        jobs=len(ratios),
        each=median(ratios),
        least=min(ratios),
        most=max(ratios),
        per_second=sum(cost for _, cost in seen) / sum(seconds for seconds, _ in seen),
    )


def credits_text(amount: float) -> str:
    """Return an amount with at most two decimals, such as "1,234.5"."""
    return f"{amount:,.2f}".rstrip("0").rstrip(".")


def budget_refusal(most: float, spent: float, left: float, *, estimated: bool = False) -> str:
    """Return the sentence that says why no further job is made within a bound of credits.

    Args:
        most: the bound.
        spent: what is spent or locked.
        left: what the next job has to be left.
        estimated: whether that is an estimate of the job itself, and not the price of the dearest one.
    """
    said = (
        f"max_credits ({credits_text(most)}) would be exceeded: "
        f"{credits_text(spent)} credits are spent or locked"
    )
    least = credits_text(left)
    if estimated:
        return f"{said}, and the next job is estimated at up to {least}."
    if left:
        return f"{said}, and {least}, the price of the dearest job so far, have to be left for the next one."
    return f"{said}."
