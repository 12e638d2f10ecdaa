"""P8: what importing a client or a batch costs, against the libraries that they stand on.

CPU time of the import statement in a fresh interpreter each time, with its bytecode already compiled. The
package loads a name when it is first asked for, so that `import akool_async` by itself says little.

Run alone: `python benchmarks/imports.py`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import frame
from frame import Figures, goal

BASE = "import httpx, aiohttp"
GOALS = {
    "import akool_async": 0.1,
    "from akool_async import AkoolClient": 1.3,
    "from akool_async import AkoolClient, open_batch, open_journal": 1.5,
}
ARMS = (*GOALS, BASE, "import httpx", "import aiohttp", "import anyio, attrs, cattrs, httpx")
CLOCKED = "import time; begin = time.process_time(); {}; print(time.process_time() - begin)"


def took(statement: str) -> float:
    """CPU milliseconds of one import in a new interpreter."""
    command = [sys.executable, "-c", CLOCKED.format(statement)]
    environment = {name: os.environ[name] for name in os.environ if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout) * 1000


async def measure(rounds: int) -> dict[str, Figures]:
    async def one(statement: str) -> float:
        return took(statement)

    return await frame.in_turns({arm: lambda arm=arm: one(arm) for arm in ARMS}, rounds)


def main() -> None:
    told = frame.arguments(__doc__)
    frame.pin()
    if not told.smallest:
        asyncio.run(measure(1))  # compiles what was never imported
    found = asyncio.run(measure(frame.extent(told, 1, 5, 21)))
    print("CPU milliseconds of an import in a fresh interpreter:")
    frame.table(("statement", "ms"), [(f"`{arm}`", figures.told()) for arm, figures in found.items()])
    goals = [goal(f"{ours} / {BASE}", found[ours].over(found[BASE]), most) for ours, most in GOALS.items()]
    frame.tell(goals, told.json)


if __name__ == "__main__":
    main()
