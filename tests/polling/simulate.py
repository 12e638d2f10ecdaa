"""Jobs under a cap, polled by a schedule, in no time at all: what a schedule costs and how late it is."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from typing import Any

import attrs

from akool_async._model.responses import Status
from akool_async._polling.poll_state import (
    NEW,
    AdaptiveSchedule,
    PollContext,
    PollResult,
    PollSchedule,
    append,
)
from akool_async.sandbox.settings import ShapeName, reported_progress


@attrs.frozen
class Polled:
    """How it went."""

    polls: float
    lag: float
    late: float
    """The lag that 5 % of the jobs exceed."""


def poll_all(
    schedule: PollSchedule,
    shape: ShapeName,
    seed: int,
    *,
    jobs: int = 300,
    median: float = 120.0,
    sigma: float = 0.6,
    failing: float = 0.0,
) -> Polled:
    """Run jobs, ten at a time, and poll each by the schedule until its end is seen."""
    dice, spreads = random.Random(seed), random.Random(seed + 1)
    turns = itertools.count()
    due: list[tuple[float, int, dict[str, Any]]] = []
    lags: list[float] = []
    polls = 0

    def start(now: float) -> None:
        number = next(turns)
        whole = max(0.5, median * math.exp(sigma * dice.gauss(0, 1)))
        fails = dice.random() < failing
        total = whole * dice.random() if fails else whole
        job = {
            "began": now,
            "whole": whole,
            "total": total,
            "fails": fails,
            "quirk": dice.random(),
            "trail": NEW,
        }
        heapq.heappush(due, (now + schedule.next_poll(PollContext(), spreads.random()), number, job))

    for _ in range(10):
        start(0.0)
    while due:
        now, number, job = heapq.heappop(due)
        polls += 1
        age = now - job["began"]
        ended = age >= job["total"]
        status = Status.PROCESSING if not ended else Status.FAILED if job["fails"] else Status.COMPLETED
        if isinstance(schedule, AdaptiveSchedule):
            schedule.learn(PollResult(elapsed=age, status=status, history=job["trail"]))
        if ended:
            lags.append(age - job["total"])
            if len(lags) <= jobs - 10:
                start(now)
            continue
        progress = reported_progress(shape, age / job["whole"], job["quirk"])
        job["trail"] = append(job["trail"], age, progress)
        facts = PollContext(polls=1, elapsed=age, progress=progress)
        heapq.heappush(due, (now + schedule.next_poll(facts, spreads.random()), number, job))
    return Polled(polls / len(lags), sum(lags) / len(lags), sorted(lags)[int(0.95 * len(lags))])
