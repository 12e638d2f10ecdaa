"""A catalog in a process of its own, to be killed: `python -m tests.batch.catalog URL FOLDER COUNT`.

With AKOOL_TEST_NO_INTENT set, intents are not committed before the POST: then a kill has to show.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio

from akool_async import AkoolClient, Completed, FixedSchedule, RetryPolicy, TranslationRequest, open_batch
from akool_async._journal import BatchJournal

KEY = "canary-4f9c1b7e2a"


def requests(count: int) -> list[TranslationRequest]:
    return [
        TranslationRequest(url=f"https://example.com/{number}.mp4", targets="ja,fr", key=f"video-{number}")
        for number in range(count)
    ]


class _Late(BatchJournal):
    """Commits the intent only when the POST is answered: the mistake that the journal is there to avoid."""

    async def intend(self, *wanted, token: str = "", names=None, traceparent: str = "") -> None:
        self._wanted = getattr(self, "_wanted", {})
        for request in wanted:
            for target in request.targets:
                self._wanted[(request.key, target)] = (request, token)

    async def record(self, *changes) -> None:
        first = {}
        for change in changes:
            late = self._wanted.pop((change.key, change.target), None) if hasattr(self, "_wanted") else None
            if late is not None:
                first[id(late[0])] = late
        for request, token in first.values():
            await super().intend(request, token=token)
        await super().record(*changes)


async def main(url: str, folder: Path, count: int) -> None:
    journal = (_Late if "AKOOL_TEST_NO_INTENT" in os.environ else BatchJournal)(folder / "jobs.sqlite3")
    retry = RetryPolicy(initial_delay=0.01, max_delay=0.05)
    schedule = FixedSchedule(interval=0.02)
    async with (
        AkoolClient(api_key=KEY, host=url, retry=retry, schedule=schedule) as client,
        journal,
        open_batch(
            client,
            requests(count),
            max_in_flight=6,
            journal=journal,
            download_to=folder / "out",
            on_in_doubt="hold",
        ) as batch,
    ):
        print("started", flush=True)
        async for outcome in batch:
            if isinstance(outcome, Completed) and not outcome.resumed:
                with (folder / "given.txt").open("a") as given:
                    given.write(f"{outcome.key} {outcome.target}\n")


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
