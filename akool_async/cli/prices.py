"""What new jobs would probably cost, by what earlier jobs of the journal cost."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

import attrs

from akool_async._journal import Entry
from akool_async._model.fingerprint import canonical_url
from akool_async._model.requests import Request, TranslationRequest


@attrs.frozen
class Estimate:
    """What some new jobs would cost. The vendor names no price before a job is made.

    Attributes:
        credits: for the jobs whose cost can be estimated.
        same_video: jobs that are estimated by earlier jobs of the same video.
        average: jobs that are estimated by the average of earlier jobs of their kind.
        earlier: earlier jobs whose cost is known.
    """

    jobs: int = 0
    credits: float = 0.0
    same_video: int = 0
    average: int = 0
    earlier: int = 0

    @property
    def unknown(self) -> int:
        """Jobs whose cost can't be estimated."""
        return self.jobs - self.same_video - self.average

    @property
    def basis(self) -> str:
        """What the estimate is based on, in words."""
        if not self.jobs:
            return "nothing would be submitted"
        if not self.earlier:
            return "no earlier job in the journal tells what one costs"
        parts = (
            (self.same_video, f"{self.same_video} by what the same video cost before"),
            (self.average, f"{self.average} by the average of {self.earlier} earlier"),
            (self.unknown, f"{self.unknown} unknown: none of their kind was made before"),
        )
        return ", ".join(text for count, text in parts if count)


class Prices:
    """What earlier jobs cost, by video and by kind (with or without lip-sync)."""

    def __init__(self) -> None:
        """Begin empty."""
        self._videos: dict[tuple[str, bool], list[float]] = {}
        self._kinds: dict[bool, list[float]] = {}

    def add(self, entry: Entry) -> None:
        """Record what an entry's job cost, or has locked."""
        # A lock is the most that a job costs: an estimate that is too high is better than a surprise.
        cost = entry.credits_locked if entry.credits_used is None else entry.credits_used
        if cost is not None and entry.job_id:
            video, lipsync = _video_and_kind(entry.request)
            self._videos.setdefault((video, lipsync), []).append(cost)
            self._kinds.setdefault(lipsync, []).append(cost)

    def cost(self, request: Request) -> float | None:
        """Return what one job of a request will probably cost, if known."""
        video, lipsync = _video_and_kind(request)
        # The same video first: prices go by its length, which nobody here knows.
        known = self._videos.get((video, lipsync)) or self._kinds.get(lipsync)
        return fmean(known) if known else None

    def estimate(self, requests: Iterable[Request]) -> Estimate:
        """Estimate the cost of one job for each of `requests`."""
        costs: list[float | None] = []
        same_video = 0
        for request in requests:
            costs.append(self.cost(request))
            same_video += _video_and_kind(request) in self._videos
        known = [cost for cost in costs if cost is not None]
        earlier = sum(map(len, self._kinds.values()))
        return Estimate(len(costs), sum(known), same_video, len(known) - same_video, earlier)


def _video_and_kind(request: Request) -> tuple[str, bool]:
    # Without the query: a URL that was signed again is the same video, and costs the same.
    if isinstance(request, TranslationRequest):
        return canonical_url(request.url).partition("?")[0], request.lipsync
    return canonical_url(request.video_url).partition("?")[0], True
