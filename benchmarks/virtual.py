"""What the benchmarks of polling share: time that costs none, and the schedules that people use.

No question of its own. The jobs' durations and the shapes of their progress are the sandbox's.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Final, get_args

import anyio
import attrs

from akool_async import BackoffSchedule, FixedSchedule, LearnedSchedule, PollContext, PollSchedule
from akool_async.sandbox.settings import ShapeName

SHAPES: Final = get_args(ShapeName)
EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualClock:
    """The event loop's time, which a mock clock lets jump; chance comes from the seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def monotonic(self) -> float:
        return anyio.current_time()

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=anyio.current_time())

    def random(self) -> float:
        return self._random.random()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(max(seconds, 0.0))


@attrs.frozen
class Backoff:
    """Waits that grow by a factor; with full jitter each is anything between nothing and its step."""

    first: float
    factor: float
    longest: float
    full_jitter: bool = False

    def next_poll(self, facts: PollContext, spread: float) -> float:
        step = min(self.first * self.factor ** min(facts.polls, 99), self.longest)
        return step * spread if self.full_jitter else step * (0.9 + 0.2 * spread)


FIVE, PATIENT = "fixed 5 s", "backoff 2 -> 60 s, full jitter"
LEARNED: Final = {lag: f"learned, lag {lag:g} s" for lag in (1.25, 2.5, 5.0)}
OURS: Final = LEARNED[2.5]
BLIND: Final = (FIVE, "fixed 10 s", PATIENT, "backoff 2 -> 10 s, x1.5")
"""Schedules that look at a job's age only."""


def schedule(name: str) -> PollSchedule:
    """Give a fresh schedule by its name."""
    for lag, each in LEARNED.items():
        if each == name:
            return LearnedSchedule(lag=lag)
    known: dict[str, PollSchedule] = {
        FIVE: FixedSchedule(interval=5.0),
        "fixed 10 s": FixedSchedule(interval=10.0),
        PATIENT: Backoff(2.0, 2.0, 60.0, full_jitter=True),
        "backoff 2 -> 10 s, x1.5": Backoff(2.0, 1.5, 10.0),
        "growing": BackoffSchedule(),
    }
    return known[name]


NAMES: Final = (*BLIND, "growing", *LEARNED.values())
