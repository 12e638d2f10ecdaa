"""A process that forks writers of a journal, so that a crash test does not pay for imports each time.

Lines in: `<path> <round> <backend>`. Lines out: `pid <number>`, then what a writer says before it is killed,
then `dead`. A writer says `<key> <number of its step>` when the step's call has returned.
"""

from __future__ import annotations

import os
import sys

import anyio

from akool_async._journal import EntryUpdate, Journal, open_journal
from akool_async._model.requests import TranslationRequest
from akool_async._model.states import State

TARGETS = ("ja", "fr", "de")
STEPS = (State.SUBMITTING, State.SUBMITTED, State.COMPLETED, State.DELIVERED)
WRITERS = 12


def say(key: str, number: int) -> None:
    os.write(1, f"{key} {number}\n".encode())


async def work(journal: Journal, writer: str) -> None:
    """Walk entry after entry from intent to delivery."""
    number = 0
    while True:
        key = f"{writer}-{number}"
        number += 1
        request = TranslationRequest(url=f"https://e.com/{key}.mp4", targets=TARGETS, key=key)
        await journal.intend(request, token=key)
        say(key, 0)
        for which, state in enumerate(STEPS[1:], 1):
            ids = {target: f"job-{key}-{target}" if which == 1 else None for target in TARGETS}
            await journal.record(
                *(EntryUpdate(key=key, target=t, state=state, job_id=ids[t]) for t in TARGETS)
            )
            say(key, which)


async def write(path: str, turn: str) -> None:
    async with open_journal(path) as journal, anyio.create_task_group() as tasks:
        for writer in range(WRITERS):
            tasks.start_soon(work, journal, f"{turn}-{writer}")


def main() -> None:
    for line in sys.stdin:
        path, turn, backend = line.split()
        child = os.fork()
        if child == 0:
            anyio.run(write, path, turn, backend=backend)
        os.write(1, f"pid {child}\n".encode())
        os.waitpid(child, 0)
        os.write(1, b"dead\n")


if __name__ == "__main__":
    main()
