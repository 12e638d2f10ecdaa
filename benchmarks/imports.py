"""P8: what `import akool_async` costs, against the libraries that it stands on.

CPU time of the import statement in a fresh interpreter each time, with its bytecode already compiled.

Run alone: `python benchmarks/imports.py`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

import frame
from frame import Figures, goal

OURS, BASE = "import akool_async", "import httpx, aiohttp"
ARMS = (OURS, BASE, "import httpx", "import aiohttp", "import anyio, attrs, cattrs, httpx")
CLOCKED = "import time; begin = time.process_time(); {}; print(time.process_time() - begin)"


def took(statement: str) -> float:
    """CPU milliseconds of one import in a new interpreter."""
    command = [sys.executable, "-c", CLOCKED.format(statement)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1000


async def measure(rounds: int) -> dict[str, Figures]:
    async def one(statement: str) -> float:
        return took(statement)

    return await frame.in_turns({arm: lambda arm=arm: one(arm) for arm in ARMS}, rounds)


def main() -> None:
    told = frame.arguments(__doc__)
    frame.pin()
    found = asyncio.run(measure(frame.extent(told, 1, 5, 21)))
    print("CPU milliseconds of an import in a fresh interpreter:")
    frame.table(("statement", "ms"), [(f"`{arm}`", figures.told()) for arm, figures in found.items()])
    frame.tell([goal(f"{OURS} / {BASE}", found[OURS].over(found[BASE]), 1.3)], told.json)


if __name__ == "__main__":
    main()
