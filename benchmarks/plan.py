"""P11: what `akool-async plan` costs for a catalog of 100,000 videos in two languages.

Against reading the same CSV file with the csv module alone, and against making its requests as well. Each arm
is a process of its own: CPU time of all of it but the interpreter's start, and the most memory that it held.
The server is not asked, and no journal is there.

Run alone: `python benchmarks/plan.py`; `--rows N` for a catalog of another size.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import frame
from frame import Figures, goal

PLAN, READ, REQUESTS = "akool-async plan", "csv alone", "csv and requests"
TARGETS = ("ja", "fr")


def write(path: Path, rows: int) -> None:
    """Write the catalog."""
    with path.open("w", newline="", encoding="utf-8") as file:
        catalog = csv.writer(file)
        catalog.writerow(("url", "key", "targets"))
        for number in range(rows):
            url = f"https://example.com/talks/{number}.mp4"
            catalog.writerow((url, f"video-{number}", ", ".join(TARGETS)))


def read(path: Path) -> int:
    with path.open(newline="", encoding="utf-8") as file:
        return sum(1 for _ in csv.DictReader(file))


def read_requests(path: Path) -> int:
    from akool_async import TranslationRequest

    with path.open(newline="", encoding="utf-8") as file:
        return sum(
            bool(TranslationRequest(url=row["url"], key=row["key"], targets=row["targets"].split(", ")))
            for row in csv.DictReader(file)
        )


def plan(path: Path) -> int:
    from akool_async.cli import main

    os.environ["AKOOL_API_KEY"] = "a-key-of-the-benchmark"
    sys.argv = ["akool-async", "plan", str(path), "--offline", "--out", str(path.parent / "out")]
    with contextlib.redirect_stderr(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        main()
    (said,) = re.findall(r": ([\d,]+) rows, ", printed.getvalue())
    return int(said.replace(",", ""))


ARMS: dict[str, Callable[[Path], int]] = {PLAN: plan, READ: read, REQUESTS: read_requests}


def alone(arm: str, path: Path, rows: int) -> None:
    """Run one arm here, and print CPU seconds and MiB."""
    began = frame.cpu()
    assert ARMS[arm](path) == rows
    print(json.dumps({"cpu": frame.cpu() - began, "MiB": frame.peak_memory() / 2**20}))


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, help="rows of the catalog")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)


def main() -> None:
    told = frame.arguments(__doc__, options)
    frame.pin()
    if told.arm is not None:
        alone(told.arm, told.path, told.rows)
        return
    rows = told.rows or frame.extent(told, 40, 20_000, 100_000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalog.csv"
        write(path, rows)
        rounds = frame.extent(told, 1, 3, 3)
        found = frame.in_processes(__file__, ARMS, rounds, "--path", path, "--rows", rows)

    def figures(arm: str, what: str) -> Figures:
        return Figures(tuple(one[what] for one in found[arm]))

    cpu = {arm: figures(arm, "cpu") for arm in ARMS}
    print(f"A catalog of {rows:,} rows in {len(TARGETS)} languages:")
    rows_of_table = [(arm, used.told(2), figures(arm, "MiB").told()) for arm, used in cpu.items()]
    frame.table(("arm", "CPU s", "MiB at most"), rows_of_table)
    share = 100_000 / rows
    goals = [
        goal("CPU of a plan / reading the CSV file alone", cpu[PLAN].over(cpu[READ]), 70),
        goal("CPU seconds of a plan of 100,000 rows", cpu[PLAN].median * share, 10),
        goal("MiB that a plan holds at most", figures(PLAN, "MiB"), 120),
    ]
    frame.tell(goals, told.json)


if __name__ == "__main__":
    main()
