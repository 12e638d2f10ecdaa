"""Runs every benchmark of this folder, one after the other, and writes one page of results.

`python benchmarks/everything.py` measures and writes `results/`; `--check` measures quickly, writes
nothing and fails if a ratio is much worse than the one that stands there. Names select some of them.
Those that need trio are left out where it is not installed: trio brings sniffio, and with it httpx as it
comes is a quarter faster than its users have it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import attrs
import frame

RESULTS = frame.HERE / "results"
RATIOS = RESULTS / "ratios.json"
WIDE = 1.6
"""How much worse than the committed one a ratio may be in a check: machines differ, and so do hours."""
TINY, TINY_MIB = 0.05, 4.0
"""Differences below this say nothing, whatever the ratio: a process's memory comes in large pieces."""

ORDER = (
    "poll",
    "waiting",
    "policies",
    "capped",
    "catalog",
    "journal",
    "webhook",
    "imports",
    "download",
    "resume",
    "plan",
    "by_hand",
)
PLOTS = ("poll", "waiting", "policies")
TRIO = ("policies", "capped")
APART = ("frame", "vendor", "virtual", "everything", "__init__")


@attrs.frozen
class Ran:
    """One benchmark that ran: what it printed, and its ratios."""

    name: str
    page: str
    ratios: dict[str, float]


def names() -> list[str]:
    """Every benchmark that is there, in the order of the goals."""
    there = {path.stem for path in frame.HERE.glob("*.py")} - {*APART}
    return [name for name in ORDER if name in there] + sorted(there - {*ORDER})


def runnable(chosen: list[str]) -> list[str]:
    """Those that can be measured truly here: the ones of trio where it is, all others where it is not."""
    trio = importlib.util.find_spec("trio") is not None
    return [name for name in chosen or names() if (name in TRIO) is trio]


def run(name: str, options: list[str]) -> Ran:
    """Run one benchmark in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ratios.json"
        command = [sys.executable, str(frame.HERE / f"{name}.py"), "--json", str(path), *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return Ran(name, done.stdout, json.loads(path.read_text(encoding="utf-8")))


def question(name: str) -> str:
    """The first line of what a benchmark says about itself."""
    return (frame.HERE / f"{name}.py").read_text(encoding="utf-8").partition('"""')[2].partition("\n")[0]


def measure(chosen: list[str], *, quick: bool) -> list[Ran]:
    """Run benchmarks, with pictures."""
    RESULTS.mkdir(exist_ok=True)
    ran = []
    for name in chosen:
        print(f"{name}: {question(name)}", flush=True)
        plot = ["--plot", str(RESULTS / f"{name}.svg")] if name in PLOTS else []
        ran.append(run(name, [*plot, *(["--quick"] if quick else [])]))
        print(ran[-1].page, flush=True)
    return ran


def read() -> dict[str, dict[str, float]]:
    return json.loads(RATIOS.read_text(encoding="utf-8")) if RATIOS.exists() else {}


def write(ran: list[Ran]) -> None:
    """Write the page of each, and the page and the ratios of all; what was not run stays as it was."""
    ratios = read() | {each.name: each.ratios for each in ran}
    RATIOS.write_text(json.dumps({name: ratios[name] for name in names() if name in ratios}, indent=2) + "\n")
    for each in ran:
        (RESULTS / f"{each.name}.md").write_text(each.page, encoding="utf-8")
    page = ["# Results", "", "Written by `nox -s bench`; each part by `python benchmarks/<name>.py`."]
    for name in names():
        told = RESULTS / f"{name}.md"
        if told.exists():
            page += ["", f"## {name}", "", question(name), "", told.read_text(encoding="utf-8").strip()]
            page += ["", f"![{name}]({name}.svg)"] if (RESULTS / f"{name}.svg").exists() else []
    (RESULTS / "README.md").write_text("\n".join(page) + "\n", encoding="utf-8")


def worse(ran: Ran, committed: dict[str, float]) -> list[str]:
    """What is much worse than what was committed; of every ratio, less is better.

    A benchmark of which nothing can be compared is found, too: a check that compares nothing can't fail.
    """
    common = ran.ratios.keys() & committed.keys()
    if not common:
        return [f"{ran.name}: no ratio of it is in {RATIOS.name}; measure it without --check first."]
    return [
        f"{ran.name}: {name}: {ran.ratios[name]:g}, was {committed[name]:g}"
        for name in committed
        if name in common
        and ran.ratios[name] > committed[name] * WIDE
        and ran.ratios[name] - committed[name] > (TINY_MIB if name.startswith("MiB") else TINY)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="benchmarks; default is all")
    parser.add_argument("--check", action="store_true", help="compare quick ratios with the committed ones")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    told = parser.parse_args()
    chosen = runnable(told.names)
    if told.check:
        committed = read()
        found = [line for name in chosen for line in worse(run(name, ["--quick"]), committed.get(name, {}))]
        print("\n".join(found) or "No ratio is much worse than the committed one.")
        return bool(found)
    for name in chosen:
        write(measure([name], quick=told.quick))
    return 0


if __name__ == "__main__":
    sys.exit(main())
