"""What new jobs will cost, judged by what earlier ones did.

The vendor tells no price before a job is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

import attrs

from akool_async._core.fingerprint import plain_url
from akool_async._core.requests import Request, TranslationRequest
from akool_async._journal import Entry


@attrs.frozen
class Estimate:
    """What some new jobs would cost.

    Attributes:
        jobs: how many.
        credits: for those that there is a basis for.
        same_video: how many are judged by earlier jobs of the same video.
        average: how many are judged by all earlier jobs of their kind.
        earlier: jobs whose cost is known.
    """

    jobs: int = 0
    credits: float = 0.0
    same_video: int = 0
    average: int = 0
    earlier: int = 0

    @property
    def unknown(self) -> int:
        """How many there is no basis for."""
        return self.jobs - self.same_video - self.average

    @property
    def basis(self) -> str:
        """What it rests on, in words."""
        if not self.jobs:
            return "nothing would be submitted"
        if not self.earlier:
            return "no earlier job in the journal tells what one costs"
        parts = []
        if self.same_video:
            parts.append(f"{self.same_video} by what the same video cost before")
        if self.average:
            parts.append(f"{self.average} by the average of {self.earlier} earlier")
        if self.unknown:
            parts.append(f"{self.unknown} unknown: none of their kind was made before")
        return ", ".join(parts)


class Prices:
    """What jobs have cost: per job, for a video and for a kind (with or without lip-sync)."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._videos: dict[tuple[str, bool], list[float]] = {}
        self._kinds: dict[bool, list[float]] = {}

    def learn(self, entry: Entry) -> None:
        """Take in what an entry's job cost, or has locked."""
        cost = entry.credits_locked if entry.credits_used is None else entry.credits_used
        if cost is not None and entry.job_id:
            video, lipsync = _kind(entry.request)
            self._videos.setdefault((video, lipsync), []).append(cost)
            self._kinds.setdefault(lipsync, []).append(cost)

    def of(self, request: Request) -> float | None:
        """Give what one job of a request will probably cost."""
        same, alike = self._found(request)
        known = same or alike
        return fmean(known) if known else None

    def estimate(self, requests: Iterable[Request]) -> Estimate:
        """Judge jobs, one for each of `requests`."""
        jobs = same_video = average = 0
        total = 0.0
        for request in requests:
            jobs += 1
            same, alike = self._found(request)
            same_video += bool(same)
            average += bool(alike and not same)
            total += fmean(same or alike) if same or alike else 0.0
        earlier = sum(map(len, self._kinds.values()))
        return Estimate(jobs, total, same_video, average, earlier)

    def _found(self, request: Request) -> tuple[list[float], list[float]]:
        video, lipsync = _kind(request)
        return self._videos.get((video, lipsync), []), self._kinds.get(lipsync, [])


def _kind(request: Request) -> tuple[str, bool]:
    if isinstance(request, TranslationRequest):
        return plain_url(request.url), request.lipsync
    return plain_url(request.video_url), True
