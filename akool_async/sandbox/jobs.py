"""A job: what was ordered, how it will go, how far it is.

The engine alone changes a job. Times are sandbox seconds since the epoch.
"""

from __future__ import annotations

import random
from typing import Final, Literal, TypeAlias

import attrs

from akool_async.sandbox.settings import Settings

__all__ = ["COMPLETED", "FAILED", "PROCESSING", "QUEUEING", "Fate", "Job", "JobKind", "Order", "fate_of"]

JobKind: TypeAlias = Literal["translate", "lipsync"]

QUEUEING: Final = 1
PROCESSING: Final = 2
COMPLETED: Final = 3
FAILED: Final = 4

FAILURE_CODE: Final = 501312
FAILURE_REASON: Final = "The translation broke off on the way. Please start it again."
_SHORTEST: Final = 0.5


@attrs.frozen(kw_only=True)
class Order:
    """What one job was asked for and what it costs."""

    url: str
    language: str
    seconds: float
    credits: float
    kind: JobKind = "translate"
    source_language: str = "DEFAULT"
    lipsync: bool = False
    speaker_num: int = 0
    caption_type: int = 0
    caption_url: str = ""
    audio_url: str = ""
    webhook_url: str = ""
    options: str = "{}"
    """Everything else that makes two orders different, as canonical JSON."""


@attrs.frozen(kw_only=True)
class Fate:
    """How a job will go, decided when it is made."""

    span: float
    """Seconds of work until it ends."""
    whole: float
    """Seconds of work it would take to complete; larger than `span` for one that fails."""
    fails: bool
    quirk: float
    """The job's character, from 0 to 1, for the shape of its progress."""


def fate_of(ordinal: int, settings: Settings) -> Fate:
    """Draw the fate of the n-th job: the same for the same seed, whatever happened before."""
    draw = random.Random(f"{settings.seed}:job:{ordinal}")  # noqa: S311 - repeatable
    whole = max(_SHORTEST, settings.median_seconds * 2.718281828459045 ** (settings.sigma * draw.gauss(0, 1)))
    fails = draw.random() < settings.failure_rate
    share = 0.05 + 0.9 * draw.random() if fails else 1.0
    return Fate(span=whole * share, whole=whole, fails=fails, quirk=draw.random())


@attrs.define(kw_only=True, eq=False)
class Job:
    """One job at the vendor."""

    id: str
    ordinal: int
    order: Order
    fate: Fate
    created: float
    video_id: str
    status: int = QUEUEING
    started: float | None = None
    ended: float | None = None
    generation: int = 0
    """How often the result URLs were renewed."""
    forbidden: frozenset[int] = frozenset()
    """The generations of URLs that answer 403."""
    stale: bool = False
    """Whether the URLs of this generation have answered 403, so that new ones are due."""

    @property
    def at_work(self) -> bool:
        """Whether it is queueing or processing."""
        return self.status in (QUEUEING, PROCESSING)

    def fraction(self, now: float) -> float:
        """Return the share of the work done."""
        if self.started is None:
            return 0.0
        until = now if self.ended is None else self.ended
        return (until - self.started) / self.fate.whole

    def __repr__(self) -> str:
        """Show which job and how far."""
        return f"<Job {self.ordinal} {self.id} {self.order.language} status {self.status}>"
