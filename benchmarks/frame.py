"""What every benchmark shares: arms that take turns, CPU time, medians with their spread, and how it is told.

No benchmark's own question stands here. Only ratios of arms from one run count: they are taken round by
round, between neighbours in time, so that a machine with other work on it moves both.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs

HERE = Path(__file__).parent
TOLD = ("httpx", "httpcore", "aiohttp", "httpx-aiohttp", "anyio", "sniffio")


# What is measured.


def cpu() -> float:
    """Seconds of user and system time that this process has used, all threads."""
    used = os.times()
    return used.user + used.system if os.name == "nt" else time.process_time()


def memory() -> int:
    """Bytes that this process holds in memory."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_memory() -> int:
    """Bytes that this process has held at most; unlike `ru_maxrss` not what it was forked from."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@attrs.frozen
class Figures:
    """One quantity, once per round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def over(self, other: Figures) -> Figures:
        """The ratio to another arm, round by round."""
        return Figures(tuple(mine / theirs for mine, theirs in zip(self.values, other.values, strict=True)))

    def told(self, digits: int = 0) -> str:
        """The median, and the smallest and the largest of all rounds."""
        if len(self.values) == 1:
            return f"{self.median:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({min(self.values):,.{digits}f}-{max(self.values):,.{digits}f})"


Arm = Callable[[], Awaitable[float]]
K = TypeVar("K")


async def in_turns(arms: Mapping[K, Arm], rounds: int) -> dict[K, Figures]:
    """Let each arm give one number a round; each round begins with another arm."""
    found: dict[K, list[float]] = {name: [] for name in arms}
    names = [*arms]
    for number in range(rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            value = await arms[name]()
            if number:  # the first round only warms up
                found[name].append(value)
    return {name: Figures(tuple(values)) for name, values in found.items()}


# Where it runs.


def alone(file: str, *options: object) -> str:
    """Run a benchmark in a process of its own; return the last line that it prints."""
    command = [sys.executable, file, *map(str, options)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()[-1]


def in_processes(file: str, arms: Iterable[str], rounds: int, *options: object) -> dict[str, list[Any]]:
    """Run each arm in turn in a process of its own, which prints its figures as JSON."""
    found: dict[str, list[Any]] = {arm: [] for arm in arms}
    for _ in range(rounds):
        for arm, figures in found.items():
            figures.append(json.loads(alone(file, "--arm", arm, *options)))
    return found


CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
"""What this process was given, before it chose one."""


def pin(core: int | None = None) -> None:
    """Stay on one core, the first one if not told, where the system lets a process choose."""
    if CORES:
        os.sched_setaffinity(0, {CORES[0] if core is None else core})


@contextmanager
def vendor(*options: str) -> Iterator[str]:
    """Run the imitated vendor in a process of its own, on the last core; give its origin."""
    where = ["--core", str(CORES[-1])] if CORES else []
    command = [sys.executable, str(HERE / "vendor.py"), *where, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def machine() -> str:
    """One line about where the figures are from."""
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    versions = ", ".join(f"{name} {_version(name)}" for name in TOLD)
    python = f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}"
    return f"{python}, {os.cpu_count()} cores {_processor()}, {load}; {versions}"


# How it is told.


def arguments(description: str | None, add: Callable[[argparse.ArgumentParser], object] = lambda _: None):
    """Read the command line that all benchmarks have, and what `add` adds to it."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the ratios there, by name")
    parser.add_argument("--plot", type=Path, metavar="PATH", help="draw the picture there, as SVG")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, for a glance")
    parser.add_argument("--smallest", action="store_true", help="so few that only a crash can be seen")
    add(parser)
    return parser.parse_args()


T = TypeVar("T")


def extent(options: argparse.Namespace, smallest: T, quick: T, whole: T) -> T:
    """Return how much is measured, as the command line wants it."""
    return smallest if options.smallest else quick if options.quick else whole


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print()
    print(f"| {' | '.join(head)} |")
    print(f"|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")


@attrs.frozen
class Goal:
    """One ratio that is not to be larger, and whether it is."""

    name: str
    found: Figures
    most: float

    @property
    def reached(self) -> bool:
        return self.found.median <= self.most

    @property
    def row(self) -> tuple[str, ...]:
        digits = 2 if self.most < 20 else 0
        return (
            self.name,
            f"<= {self.most:g}",
            self.found.told(digits),
            "yes" if self.reached else "**no**",
        )


def goal(name: str, found: Figures | float, most: float) -> Goal:
    """Give a goal: `found` is at most `most`. Of every ratio, less is better."""
    return Goal(name, found if isinstance(found, Figures) else Figures((found,)), most)


def tell(goals: Sequence[Goal], path: Path | None) -> None:
    """Print the goals and the machine; write the ratios as flat JSON if wanted."""
    table(("ratio", "goal", "measured (smallest-largest round)", "reached"), [each.row for each in goals])
    print(f"\n{machine()}")
    if path is not None:
        ratios = {each.name: round(each.found.median, 4) for each in goals}
        path.write_text(json.dumps(ratios, indent=2) + "\n", encoding="utf-8")


Lines = Mapping[str, Mapping[float, float]]


def draw(path: Path, title: str, across: str, up: str, lines: Lines, *, logarithmic_up: bool = True) -> None:
    """Draw lines over a logarithmic axis as SVG, readable on light and dark pages."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    mpl.rcParams.update({"svg.hashsalt": "akool", "font.size": 11, "svg.fonttype": "path"})
    figure, axes = pyplot.subplots(figsize=(8, 4.6), facecolor="white", layout="constrained")
    for (name, points), mark in zip(lines.items(), "osD^vPX*", strict=False):
        wide = 3.0 if name.startswith("akool") else 1.6
        axes.plot(list(points), list(points.values()), marker=mark, linewidth=wide, markersize=6, label=name)
    axes.set_xscale("log")
    if logarithmic_up:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    else:
        axes.set_ylim(bottom=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xticks(sorted({place for points in lines.values() for place in points}))
    axes.set(title=title, xlabel=across, ylabel=up)
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
