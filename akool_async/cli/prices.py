"""What new jobs would probably cost: by what earlier jobs of the journal cost, or by an inferred tariff."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from enum import Enum
from statistics import fmean
from typing import Final

import attrs

from akool_async._journal import Entry
from akool_async._model.fingerprint import canonical_url
from akool_async._model.requests import Request, video_url
from akool_async._model.tariff import JobKind, PriceModel, Rate, credits_text
from akool_async.cli.console import counted

_MOST_LOOKED_UP: Final = 2000
"""Earlier jobs whose length is looked up: more of them change the price no more."""


class Basis(Enum):
    """What the price of a job is estimated by, the surest first."""

    SAME_VIDEO = "by what the same video cost before"
    LEARNED = "by what earlier jobs of its kind cost"
    AVERAGE = "by the average"
    INFERRED = "by a tariff that is only inferred, as the vendor publishes none"
    UNKNOWN = "unknown"


@attrs.frozen
class JobPrice:
    """What one job will probably cost.

    Attributes:
        credits: the likely price; None if nothing is known.
        most: the price if it is as dear as the dearest job that it is estimated by.
        reserved: what a run leaves for it within `max_credits`; None for the price of the dearest job of all.
    """

    credits: float | None
    most: float
    basis: Basis
    reserved: float | None = None

    def to_reserve(self, dearest: float) -> float:
        """Return what a run leaves for it where the dearest job of all cost so much."""
        return dearest if self.reserved is None else self.reserved


UNKNOWN: Final = JobPrice(None, 0.0, Basis.UNKNOWN)


@attrs.frozen(kw_only=True)
class Estimate:
    """What some new jobs would cost. The vendor names no price before a job is made.

    Attributes:
        credits: for the jobs whose cost can be estimated.
        most: the same, if each is as dear as the dearest job that it is estimated by.
        by: jobs by what they are estimated by.
        earlier: earlier jobs whose cost is known.
        rates: what earlier jobs cost, by kind.
        dearest: what the dearest of the earlier jobs cost.
        first: what has to be left within `max_credits` for a run to make any of them.
        last: what has to be left for it to make all of them, whichever it comes to last.
    """

    jobs: int = 0
    credits: float = 0.0
    most: float = 0.0
    by: Counter[Basis] = attrs.field(factory=Counter)
    earlier: int = 0
    rates: tuple[Rate, ...] = ()
    dearest: float = 0.0
    first: float = 0.0
    last: float = 0.0

    def fit(self, left: float, *, surely: bool = True) -> str:
        """Return in words whether a run makes them where `max_credits` leaves so much.

        Args:
            left: credits.
            surely: whether a run would know no more than this about the lengths of their videos.
        """
        if surely and self.first > left:
            why = ", the price of the dearest job so far," if self.first == self.dearest else ""
            least = credits_text(self.first)
            return f"nothing is submitted, because {least}{why} have to be left for the next job"
        if left <= 0:
            return "nothing is submitted"
        if self.unknown:
            return "whether it fits shows when the first jobs have a price"
        return "it fits" if self.last <= left else "what doesn't fit is not submitted"

    @property
    def unknown(self) -> int:
        """Jobs whose cost can't be estimated."""
        return self.by[Basis.UNKNOWN]

    @property
    def basis(self) -> str:
        """What the estimate is based on, in words."""
        if not self.jobs:
            return "nothing would be submitted"
        if not self.earlier and self.unknown == self.jobs:
            return "no earlier job in the journal tells what one costs"
        if self.unknown == self.jobs:
            return "no job of their kind was made before"
        words = {
            Basis.AVERAGE: f"by the average of {self.earlier:,} earlier",
            Basis.LEARNED: f"by what earlier jobs cost: {'; '.join(map(rate_text, self.rates))}",
            Basis.UNKNOWN: "unknown: none of their kind was made before",
        }
        parts = (f"{self.by[one]:,} {words.get(one, one.value)}" for one in Basis if self.by[one])
        return ", ".join(parts)


def rate_text(rate: Rate) -> str:
    """Return what jobs of one kind cost, with what that rests on and how far they differ."""
    spread = "" if rate.most - rate.least < 1e-6 else f", {rate.least:.3g} to {rate.most:.3g}"
    return (
        f"{rate.kind}: {rate.each:.3g} credits per {rate.unit}{spread}, "
        f"{rate.per_second:.3g} a second over {counted(rate.jobs, 'job')}"
    )


class Prices:
    """What earlier jobs cost, by video, by length and by kind.

    Args:
        known_seconds: returns how long the video of an earlier request is, None if that is not known.
    """

    def __init__(self, known_seconds: Callable[[Request], float | None] | None = None) -> None:
        self._known_seconds = known_seconds
        self._model = PriceModel()
        self._looked_up = 0
        self._videos: dict[tuple[str, JobKind], list[float]] = {}
        self._kinds: dict[JobKind, list[float]] = {}
        self._unpriced = 0
        self._dearest = 0.0

    @property
    def reserved(self) -> float | None:
        """Credits that jobs of unknown cost count for in `max_credits`; None if no cost is known at all."""
        return None if self._unpriced and not self._dearest else self._unpriced * self._dearest

    def add(self, entry: Entry) -> None:
        """Record what an entry's job cost, or has locked."""
        # As a run's `CreditBudget` counts it, so that a plan leaves what the run may spend.
        self._unpriced += entry.doubts_before + entry.last_unpriced
        self._dearest = max(entry.cost or 0.0, self._dearest)
        # A lock is the most that a job costs: an estimate that is too high is better than a surprise.
        cost = entry.credits_locked if entry.credits_used is None else entry.credits_used
        if cost is not None and entry.job_id:
            video, kind = _video_and_kind(entry.request)
            self._videos.setdefault((video, kind), []).append(cost)
            self._kinds.setdefault(kind, []).append(cost)
            if self._known_seconds is not None and self._looked_up < _MOST_LOOKED_UP:
                self._looked_up += 1
                self._model.observe(kind, self._known_seconds(entry.request), cost)

    def price(self, request: Request, seconds: float | None = None) -> JobPrice:
        """Return what one job of a request will probably cost; its video is so long, if that is known."""
        if not self._kinds and seconds is None:
            return UNKNOWN
        video, kind = _video_and_kind(request)
        price = self._model.price(kind, seconds)
        reserved = None if price is None else price.most
        if same := self._videos.get((video, kind)):
            return JobPrice(fmean(same), max(same), Basis.SAME_VIDEO, reserved)
        if price is not None and self._model.rate(kind) is not None:
            return JobPrice(price.credits, price.most, Basis.LEARNED, reserved)
        if known := self._kinds.get(kind):
            return JobPrice(fmean(known), max(known), Basis.AVERAGE, reserved)
        return UNKNOWN if price is None else JobPrice(price.credits, price.most, Basis.INFERRED, reserved)

    def estimate(self, prices: Iterable[JobPrice]) -> Estimate:
        """Sum up what some jobs would cost."""
        listed = list(prices)
        # As a run's `CreditBudget` reserves it; what these jobs cost may raise the price of the dearest one.
        before, most = self._dearest, sum(price.most for price in listed)
        after = max([before, *(price.most for price in listed)])
        return Estimate(
            jobs=len(listed),
            credits=sum(price.credits or 0.0 for price in listed),
            most=most,
            dearest=before,
            first=min((price.to_reserve(before) for price in listed), default=0.0),
            last=most + max((price.to_reserve(after) - price.most for price in listed), default=0.0),
            by=Counter(price.basis for price in listed),
            earlier=sum(map(len, self._kinds.values())),
            rates=self._model.rates,
        )


def _video_and_kind(request: Request) -> tuple[str, JobKind]:
    # Without the query: a URL that was signed again is the same video, and costs the same.
    return canonical_url(video_url(request)).partition("?")[0], JobKind.for_request(request)
