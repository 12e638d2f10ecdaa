"""P3: how often each schedule asks about a job, and how late it sees its end.

1,000 jobs in virtual time, ten at work at once: lognormal durations, median 120 s, sigma 0.6, and the six
ways in which servers report progress. A schedule that learns begins knowing nothing, each time.

Run alone: `python benchmarks/policies.py`.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs
import frame
import virtual
from frame import Figures, Goal, goal

from akool_async import (
    AdaptiveSchedule,
    FixedSchedule,
    LearnedSchedule,
    PollContext,
    PollResult,
    PollSchedule,
    Status,
)
from akool_async._polling.poll_state import NEW, append
from akool_async.sandbox.settings import ShapeName, reported_progress

MEDIAN, SIGMA, CAP = 120.0, 0.6, 10

GOALS: Final = {
    "linear": (0.25, 0.75),
    "stall": (0.25, 0.75),
    "coarse": (0.6, 1.0),
    "front": (0.6, 1.0),
    "liar": (0.6, 1.0),
    "none": (0.9, 1.05),
}
"""Polls per job and mean lag, against asking every 5 s."""
LATE: Final = 1.3
"""The same for the lag that 5 % of the jobs exceed."""


@attrs.define
class Job:
    """One job at work."""

    began: float
    total: float
    quirk: float
    trail: bytes = NEW
    polls: int = 0


@attrs.frozen
class Polled:
    """How one run went."""

    polls: float
    lag: float
    late: float


def poll_all(schedule: PollSchedule, shape: ShapeName, seed: int, jobs: int) -> Polled:
    """Run jobs, some at a time, and ask about each by the schedule until its end is seen."""
    dice, spreads = random.Random(seed), random.Random(seed + 1)
    waiting = iter([(MEDIAN * math.exp(SIGMA * dice.gauss(0, 1)), dice.random()) for _ in range(jobs)])
    order = itertools.count()
    due: list[tuple[float, int, Job]] = []
    lags: list[float] = []
    polls = 0
    learn = schedule.learn if isinstance(schedule, AdaptiveSchedule) else lambda _: None

    def plan(now: float, job: Job, progress: int | None) -> None:
        facts = PollContext(polls=job.polls, elapsed=now - job.began, progress=progress)
        heapq.heappush(due, (now + schedule.next_poll(facts, spreads.random()), next(order), job))

    for total, quirk in itertools.islice(waiting, CAP):
        plan(0.0, Job(0.0, total, quirk), None)
    while due:
        now, _, job = heapq.heappop(due)
        polls += 1
        age = now - job.began
        if age < job.total:
            learn(PollResult(elapsed=age, status=Status.PROCESSING, history=job.trail))
            progress = reported_progress(shape, age / job.total, job.quirk)
            job.trail, job.polls = append(job.trail, age, progress), job.polls + 1
            plan(now, job, progress)
            continue
        learn(PollResult(elapsed=age, status=Status.COMPLETED, history=job.trail))
        lags.append(age - job.total)
        for total, quirk in itertools.islice(waiting, 1):
            plan(now, Job(now, total, quirk), None)
    return Polled(polls / jobs, sum(lags) / jobs, sorted(lags)[int(0.95 * jobs)])


Found = Mapping[tuple[str, str], Sequence[Polled]]


def measure(jobs: int, seeds: int) -> Found:
    """Run every schedule on every shape; those that do not look at progress on one."""
    return {
        (name, shape): [poll_all(virtual.schedule(name), shape, seed, jobs) for seed in range(seeds)]
        for name in virtual.NAMES
        for shape in (("none",) if name in virtual.BLIND else virtual.SHAPES)
    }


def decisions() -> tuple[Figures, Figures]:
    """CPU microseconds of one decision, and of learning from what one poll said."""
    deciding, learning = [], []
    for seed in range(5):
        heard = _Heard()
        poll_all(heard, "stall", seed, 1000)
        both, lessons = _replayed(heard.calls), _replayed([call for call in heard.calls if not call[1]])
        times = sum(bool(call[1]) for call in heard.calls)
        deciding.append((both - lessons) / times * 1e6)
        learning.append(lessons / (len(heard.calls) - times) * 1e6)
    return Figures(tuple(deciding)), Figures(tuple(learning))


class _Heard:
    """A learned schedule that keeps what it was asked and told."""

    def __init__(self) -> None:
        self._schedule = LearnedSchedule()
        self.calls: list[tuple[PollContext | PollResult, bool]] = []

    def next_poll(self, facts: PollContext, spread: float) -> float:
        self.calls.append((facts, True))
        return self._schedule.next_poll(facts, spread)

    def learn(self, seen: PollResult) -> None:
        self.calls.append((seen, False))
        self._schedule.learn(seen)


def _replayed(calls: Sequence[tuple[PollContext | PollResult, bool]]) -> float:
    """Seconds of CPU that a fresh schedule takes for the same calls."""
    schedule = LearnedSchedule()
    begin = frame.cpu()
    for call, decide in calls:
        if decide:
            schedule.next_poll(call, 0.5)
        else:
            schedule.learn(call)
    return frame.cpu() - begin


def column(found: Sequence[Polled], name: str) -> Figures:
    return Figures(tuple(getattr(each, name) for each in found))


def goals(found: Found) -> list[Goal]:
    even = found[virtual.FIVE, "none"]
    told = []
    for shape, (polls, lag) in GOALS.items():
        ours = found[virtual.OURS, shape]
        for name, title, most in (
            ("polls", "polls", polls),
            ("lag", "mean lag", lag),
            ("late", "p95 lag", LATE),
        ):
            ratio = column(ours, name).over(column(even, name))
            told.append(goal(f"{shape}: {title} / {virtual.FIVE}", ratio, most))
    return told


def show(found: Found, jobs: int, seeds: int) -> None:
    print(
        f"{jobs:,} jobs, {CAP} at work at once, in virtual time; medians of {seeds} seeds (smallest-largest):"
    )
    columns = (("polls", 1), ("lag", 2), ("late", 1))
    rows = [
        (
            name,
            "any" if name in virtual.BLIND else shape,
            *(column(each, which).told(digits) for which, digits in columns),
        )
        for (name, shape), each in found.items()
    ]
    frame.table(("schedule", "progress", "polls per job", "mean lag s", "p95 lag s"), rows)
    deciding, learning = decisions()
    print(f"\nOne decision of the learned schedule takes {deciding.told()} µs of one core, ", end="")
    print(f"learning from what one poll said {learning.told()} µs.")


# The picture.


def floor(price: float, step: float = 1.0, horizon: int = 1500, longest: int = 90) -> tuple[float, float]:
    """Give polls and lag of the best schedule that knows the law of durations and each job's age, no more.

    Found backwards from the end of time: after a poll at each age, the wait with the least cost, where
    a poll costs `price` seconds of lag.
    """
    alive = [
        0.5 * math.erfc(math.log(max(n * step, 1e-9) / MEDIAN) / SIGMA / math.sqrt(2))
        for n in range(horizon + longest + 1)
    ]
    area = [
        0.0,
        *itertools.accumulate((alive[n] + alive[n + 1]) / 2 * step for n in range(horizon + longest)),
    ]
    best = [(0.0, 0.0, 0.0)] * (horizon + longest + 1)
    for now in range(horizon - 1, -1, -1):
        options = []
        for wait in range(1, longest):
            then = now + wait
            lag = step * wait * alive[now] - (area[then] - area[now])
            _, polls, late = best[then]
            polls, late = polls + alive[now], late + lag
            options.append((price * polls + late, polls, late))
        best[now] = min(options)
    return best[0][1:]


def draw(path: Path, found: Found, jobs: int) -> None:
    """Polls against lag: the lower and the further left, the better."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, NullFormatter

    mpl.rcParams.update({"svg.hashsalt": "akool", "font.size": 11, "svg.fonttype": "path"})
    figure, axes = pyplot.subplots(figsize=(8, 5.4), facecolor="white", layout="constrained")

    def line(points: Sequence[Polled], **style: object) -> None:
        axes.plot([each.polls for each in points], [each.lag for each in points], **style)

    for shape, colour in zip(virtual.SHAPES, ("C0", "C2", "C1", "C4", "C3", "0.35"), strict=True):
        lags = (1.0, 1.5, 2.5, 4.0, 7.0, 12.0)
        line(
            [poll_all(LearnedSchedule(lag=lag), shape, 0, jobs) for lag in lags],
            color=colour,
            linewidth=2.4,
            label=f"learned, {shape}",
        )
        line([found[virtual.OURS, shape][0]], color=colour, marker="o", markersize=9, linestyle="")
        line([found["growing", shape][0]], color=colour, marker="^", markersize=6, linestyle="")
    line(
        [poll_all(FixedSchedule(interval=gap), "none", 0, jobs) for gap in (2.0, 3.5, 5.0, 10.0, 20.0, 40.0)],
        color="0.6",
        linewidth=1.4,
        linestyle="--",
        label="fixed intervals",
    )
    line(
        [Polled(*floor(price), 0.0) for price in (0.08, 0.2, 0.5, 1.2, 3.0, 8.0)],
        color="black",
        linewidth=1,
        linestyle=":",
        label="best that knows the age alone",
    )
    for name, mark in ((virtual.FIVE, "s"), (virtual.PATIENT, "X"), ("backoff 2 -> 10 s, x1.5", "D")):
        line([found[name, "none"][0]], color="black", marker=mark, markersize=7, linestyle="", label=name)
    axes.plot([], [], color="0.35", marker="o", linestyle="", label="the default, lag 2.5 s")
    axes.plot([], [], color="0.35", marker="^", linestyle="", label="growing")
    axes.set(
        xscale="log",
        yscale="log",
        title="What a schedule asks and how late it is",
        xlabel="polls per job",
        ylabel="mean lag, seconds",
    )
    for axis, ticks in ((axes.xaxis, (3, 5, 10, 20, 30, 50)), (axes.yaxis, (0.2, 0.5, 1, 2, 5, 10, 20))):
        axis.set_ticks(ticks)
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set(xlim=(3, 75), ylim=(0.25, 25))
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--jobs", type=int, help="jobs in each run")
        parser.add_argument("--seeds", type=int, help="runs of each schedule on each shape")

    told = frame.arguments(__doc__, add)
    jobs = told.jobs or frame.extent(told, 20, 300, 1000)
    seeds = told.seeds or frame.extent(told, 1, 2, 5)
    found = measure(jobs, seeds)
    show(found, jobs, seeds)
    frame.tell(goals(found), told.json)
    if told.plot is not None:
        draw(told.plot, found, jobs)


if __name__ == "__main__":
    main()
